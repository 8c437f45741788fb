/* Addresses to listen on (addr.h). */
#include "server/addr.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/num.h"

#define HOST_MAX 253 /* characters of a name in the DNS */
#define QUOTED_BYTES 300

static int bad_form(const char *text, const char *why, struct zerr_info *info)
{
    char quoted[QUOTED_BYTES];
    return zerr_fail(info, ZERR_INVALID, 0, "-addr %s: %s",
                     log_quote(slice_str(text), quoted, sizeof quoted), why);
}

/* Cuts text into host, without its brackets, and port. */
static int split(const char *text, char host[HOST_MAX + 1], uint64_t *ret_port,
                 struct zerr_info *info)
{
    const char *colon = strrchr(text, ':');
    if (colon == NULL || num_parse_u64(slice_str(colon + 1), 65535, ret_port) != 0) {
        return bad_form(text, "must be HOST:PORT, with a port from 0 to 65535", info);
    }
    struct slice name = slice_of(text, (size_t)(colon - text));
    if (name.len >= 2 && name.ptr[0] == '[' && name.ptr[name.len - 1] == ']') {
        name = slice_of(name.ptr + 1, name.len - 2);
    } else if (memchr(name.ptr, ':', name.len) != NULL) {
        return bad_form(text, "write an IPv6 address in brackets, as in [::1]:7711", info);
    }
    if (name.len == 0) {
        return bad_form(text, "has no host; write 127.0.0.1 or localhost before the colon", info);
    }
    if (name.len > HOST_MAX) {
        return bad_form(text, "the host's name is too long", info);
    }
    memcpy(host, name.ptr, name.len);
    host[name.len] = '\0';
    return 0;
}

int addr_parse(const char *text, struct sockaddr_storage *ret, struct zerr_info *info)
{
    char host[HOST_MAX + 1];
    uint64_t port;
    int rc = split(text, host, &port, info);
    if (rc != 0) {
        return rc;
    }
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
    int gai = getaddrinfo(host, NULL, &hints, &list);
    if (gai != 0) {
        char quoted[QUOTED_BYTES];
        return zerr_fail(info, ZERR_NOT_FOUND, 0, "-addr: no address for host %s: %s",
                         log_quote(slice_str(host), quoted, sizeof quoted), gai_strerror(gai));
    }
    const struct addrinfo *best = list;
    for (const struct addrinfo *a = list; a != NULL; a = a->ai_next) {
        if (a->ai_family == AF_INET) {
            best = a;
            break;
        }
    }
    memset(ret, 0, sizeof *ret);
    memcpy(ret, best->ai_addr, best->ai_addrlen);
    freeaddrinfo(list);
    in_port_t net_port = htons((uint16_t)port);
    if (ret->ss_family == AF_INET) {
        ((struct sockaddr_in *)ret)->sin_port = net_port;
    } else {
        ((struct sockaddr_in6 *)ret)->sin6_port = net_port;
    }
    return 0;
}

bool addr_is_loopback(const struct sockaddr_storage *ss)
{
    if (ss->ss_family == AF_INET) {
        return ntohl(((const struct sockaddr_in *)ss)->sin_addr.s_addr) >> 24 == 127;
    }
    const struct in6_addr *a = &((const struct sockaddr_in6 *)ss)->sin6_addr;
    return IN6_IS_ADDR_LOOPBACK(a) || (IN6_IS_ADDR_V4MAPPED(a) && a->s6_addr[12] == 127);
}

bool addr_is_any(const struct sockaddr_storage *ss)
{
    if (ss->ss_family == AF_INET) {
        return ((const struct sockaddr_in *)ss)->sin_addr.s_addr == htonl(INADDR_ANY);
    }
    return IN6_IS_ADDR_UNSPECIFIED(&((const struct sockaddr_in6 *)ss)->sin6_addr);
}

unsigned addr_port(const struct sockaddr_storage *ss)
{
    return ntohs(ss->ss_family == AF_INET ? ((const struct sockaddr_in *)ss)->sin_port
                                          : ((const struct sockaddr_in6 *)ss)->sin6_port);
}

void addr_format(const struct sockaddr_storage *ss, char out[ADDR_TEXT_BYTES])
{
    char host[INET6_ADDRSTRLEN] = "?";
    if (ss->ss_family == AF_INET) {
        (void)inet_ntop(AF_INET, &((const struct sockaddr_in *)ss)->sin_addr, host, sizeof host);
        (void)snprintf(out, ADDR_TEXT_BYTES, "%s:%u", host, addr_port(ss));
    } else {
        (void)inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)ss)->sin6_addr, host, sizeof host);
        (void)snprintf(out, ADDR_TEXT_BYTES, "[%s]:%u", host, addr_port(ss));
    }
}

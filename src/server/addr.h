/* Addresses to listen on: "HOST:PORT" to a socket address and back.
 *
 * HOST is a name or an address; IPv6 addresses stand in brackets: "[::1]:7711". A name that has
 * IPv4 and IPv6 addresses means the first IPv4 one. */
#ifndef ZKV_SERVER_ADDR_H
#define ZKV_SERVER_ADDR_H

#include <stdbool.h>
#include <sys/socket.h>

#include "base/zerr.h"

#define ADDR_TEXT_BYTES 64 /* "[" + INET6_ADDRSTRLEN + "]:65535", with the NUL */

/* Port 0 is allowed: the system chooses. Blocks: while a name is looked up.
 * Errors: ZERR_INVALID: not of this form; ZERR_NOT_FOUND: no such host. */
int addr_parse(const char *text, struct sockaddr_storage *ret, struct zerr_info *) ZKV_MUST_CHECK;
/* Only programs on this machine can reach it. */
bool addr_is_loopback(const struct sockaddr_storage *);
/* 0.0.0.0 or [::]: every address of this machine. */
bool addr_is_any(const struct sockaddr_storage *);
void addr_format(const struct sockaddr_storage *, char out[ADDR_TEXT_BYTES]);
unsigned addr_port(const struct sockaddr_storage *);

#endif

/* Keeping web pages out.
 *
 * Only loopback addresses are bound, but a browser on this machine can be made to reach them by any
 * page: by a cross-origin request (browsers add Origin or Sec-Fetch-Site), or by a name of the
 * page's own that resolves to 127.0.0.1 (then Host is that name). S3 clients send none of these.
 * No answer grants anything across origins, so preflights fail as well. With -auth nothing of this is
 * asked: a page has no key, and a link that was signed may be followed from anywhere. */
#include "s3/s3_access.h"

#include "base/num.h"

/* "a.b.c.d" with a = 127 and the rest 0..255. */
static bool is_127(struct slice s)
{
    int n_parts = 0;

    while (n_parts < 4) {
        const uint8_t *dot = s.len > 0 ? memchr(s.ptr, '.', s.len) : NULL;
        size_t len = dot != NULL ? (size_t)(dot - s.ptr) : s.len;
        uint64_t v;
        if (len > 3 || num_parse_u64(slice_of(s.ptr, len), 255, &v) != 0 ||
            (n_parts == 0 && v != 127)) {
            return false;
        }
        n_parts++;
        if (dot == NULL) {
            return n_parts == 4;
        }
        s = slice_of(dot + 1, s.len - len - 1);
    }
    return false;
}

bool s3_host_is_loopback(struct slice host)
{
    const uint8_t *colon;
    uint64_t port;

    if (slice_has_prefix(host, SLICE_LIT("["))) {
        if (!slice_has_prefix(host, SLICE_LIT("[::1]"))) {
            return false;
        }
        host = slice_of(host.ptr + 5, host.len - 5);
        return host.len == 0 ||
               (host.ptr[0] == ':' &&
                num_parse_u64(slice_of(host.ptr + 1, host.len - 1), 65535, &port) == 0);
    }
    colon = host.len > 0 ? memchr(host.ptr, ':', host.len) : NULL;
    if (colon != NULL) {
        size_t len = (size_t)(colon - host.ptr);
        if (num_parse_u64(slice_of(colon + 1, host.len - len - 1), 65535, &port) != 0) {
            return false;
        }
        host.len = len;
    }
    return s3_eq_nocase(host, "localhost") || is_127(host);
}

int s3_access_check(const struct s3_head *head, enum s3_code *ret_code)
{
    if (head->origin.ptr != NULL || head->sec_fetch_site.ptr != NULL) {
        *ret_code = S3_ACCESS_DENIED;
        return ZERR_INVALID;
    }
    if (head->n_host != 1 || !s3_host_is_loopback(head->host)) {
        *ret_code = S3_BAD_HOST;
        return ZERR_INVALID;
    }
    return 0;
}

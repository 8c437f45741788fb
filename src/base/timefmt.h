/* Times as text. All times are wall-clock milliseconds since 1970-01-01 UTC, as int64_t. */
#ifndef ZKV_BASE_TIMEFMT_H
#define ZKV_BASE_TIMEFMT_H

#include <stdint.h>

#include "base/slice.h"
#include "base/zerr.h"

#define TIME_HTTP_LEN 29 /* "Sun, 06 Nov 1994 08:49:37 GMT" */
#define TIME_ISO_LEN 24  /* "1994-11-06T08:49:37.000Z" */

/* Both write a NUL behind their text. Times outside years 1..9999 are clamped. */
void time_http(int64_t ms, char out[TIME_HTTP_LEN + 1]); /* RFC 9110, 5.6.7, IMF-fixdate */
void time_iso(int64_t ms, char out[TIME_ISO_LEN + 1]);   /* S3's XML form */
/* Any of the three forms of RFC 9110, 5.6.7. */
int time_parse_http(struct slice s, int64_t *ret_ms) ZKV_MUST_CHECK;
/* "19941106T084937Z", the form of signatures. */
#define TIME_BASIC_LEN 16
int time_parse_basic(struct slice s, int64_t *ret_ms) ZKV_MUST_CHECK;

#endif

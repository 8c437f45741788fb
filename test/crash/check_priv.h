/* Between the files of the checker. */
#ifndef ZKV_TEST_CRASH_CHECK_PRIV_H
#define ZKV_TEST_CRASH_CHECK_PRIV_H

#include "check.h"

#define HISTORY_MAX (REQUESTS_MAX * CHANGES_MAX)

struct found { /* a history */
    struct change v[HISTORY_MAX];
    size_t n;
    uint32_t next_block;
};

/* Says what is wrong; -1. */
int bad(struct checker *, const char *fmt, ...) ZKV_PRINTF(2, 3);

/* The version that a history leaves under a key, or ABSENT. */
unsigned live_in(const struct found *, unsigned key);
/* All names that ever were, as this history has them. 0, or bad(). */
int check_objects(struct checker *, const struct found *);
/* Exactly those uploads that are under way, with exactly their parts; those that ended stay so. */
int check_uploads(struct checker *, const struct found *);
/* An upload with parts, if there is one, becomes what its parts make: *ret_version, which the model
 * then has for the time being, or ABSENT. */
int check_completes(struct checker *, const struct found *, unsigned *ret_version);

#endif

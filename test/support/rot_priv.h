/* What the parts of rot_store.h share. */
#ifndef ZKV_TEST_ROT_PRIV_H
#define ZKV_TEST_ROT_PRIV_H

#include "support/rot_store.h"

static inline void rot_must(const struct rot *r, bool ok, const char *what)
{
    if (!ok) {
        rot_fail(r, "%s", what);
    }
}

static inline bool rot_in_history(const struct rot_event *e)
{
    return e->op <= ROT_COMPLETE;
}

/* An event that has just happened, with the number of its name. */
struct rot_event *rot_new_event(struct rot *, enum rot_op, const char *key);
/* The version that the name has now: MD5 and time as the store has them. */
void rot_look(struct rot *, struct rot_event *);
/* The last event that gave the name something, or took it. */
int rot_last_of(const struct rot *, int key);
/* The event's body is (in part) that which `source` made, or was itself made of. */
void rot_add_sources(struct rot *, struct rot_event *, int source);

/* Room for a body, which is its event's. */
uint8_t *rot_body(struct rot *, size_t len);

/* ---- events on names ---- */

void rot_put(struct rot *, const char *key, size_t len, const char *meta);
void rot_copy(struct rot *, const char *from, const char *to);
void rot_delete(struct rot *, const char *const *keys, size_t n);

/* ---- multipart uploads (rot_uploads.c) ---- */

void rot_uploads_first(struct rot *, size_t big);
void rot_uploads_second(struct rot *);
/* Part of rot_check(): which uploads there are, with which parts. */
void rot_check_uploads(struct rot *, struct rot_counts *);

/* Reads [off, end) of the name; the version it turns out to be, of these two, in *ret. Bytes that are
 * no version's fail the test, whatever came after them. */
int rot_read_name(struct rot *, int key, bool want_body, uint64_t off, uint64_t end,
                  const struct rot_version *const v[2], const struct rot_version **ret);

#endif

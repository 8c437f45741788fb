/* An index in a directory of its own, and records for it: for tests of the index. */
#ifndef ZKV_TEST_INDEX_RIG_H
#define ZKV_TEST_INDEX_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "store/index.h"

struct fixture {
    char dir[64], path[96];
    struct index *ix;
};

static uint32_t rng = 12345;
static inline uint32_t roll(uint32_t n)
{
    rng ^= rng << 13, rng ^= rng >> 17, rng ^= rng << 5;
    return rng % n;
}

static inline int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    if (f == NULL) {
        return -1;
    }
    snprintf(f->dir, sizeof f->dir, "/tmp/zkv-index-XXXXXX");
    if (mkdtemp(f->dir) == NULL) {
        return -1;
    }
    snprintf(f->path, sizeof f->path, "%s/%s", f->dir, INDEX_NAME);
    *state = f;
    return index_open(f->path, INDEX_WRITER, &f->ix, NULL);
}

static inline int teardown(void **state)
{
    struct fixture *f = *state;
    index_close(f->ix);
    int rc = index_remove(f->path);
    rc |= rmdir(f->dir); /* nothing else may be left */
    free(f);
    return rc;
}

static inline void reopen(struct fixture *f)
{
    index_close(f->ix);
    f->ix = NULL;
    assert_int_equal(index_open(f->path, INDEX_WRITER, &f->ix, NULL), 0);
}

/* A PUT whose body lies in its own frame. */
static inline struct record framed(struct slice key, uint32_t block, uint64_t off, uint64_t size)
{
    struct record r = {.op = RECORD_PUT, .key = key, .seq = 1, .size = size, .mtime_ms = 1234};
    r.framed = r.body_framed = true;
    r.frame = r.body_frame = (struct place){block, off};
    r.body = (struct place){block, off + 100};
    r.has_md5 = true;
    memset(r.md5, (int)(off & 0xff), sizeof r.md5);
    return r;
}

/* One by the original: the body alone. */
static inline struct record plain(const char *key, uint64_t off, uint64_t size)
{
    return (struct record){.op = RECORD_PUT, .key = slice_str(key), .body = {7, off}, .size = size};
}

static inline void apply(struct index *ix, const struct record *r)
{
    assert_int_equal(index_apply(ix, r, false), 0);
}

static inline void put(struct index *ix, const char *key, uint32_t block, uint64_t off,
                       uint64_t size)
{
    struct record r = framed(slice_str(key), block, off, size);
    apply(ix, &r);
}

static inline void del(struct index *ix, const char *key)
{
    struct record r = {.op = RECORD_DELETE, .key = slice_str(key), .seq = 2};
    apply(ix, &r);
}

static inline void assert_totals(struct index *ix, uint64_t objects, uint64_t live, uint64_t names,
                                 uint64_t damaged)
{
    struct index_totals t;
    assert_int_equal(index_get_totals(ix, &t), 0);
    assert_int_equal(t.objects, objects);
    assert_int_equal(t.live_bytes, live);
    assert_int_equal(t.name_bytes, names);
    assert_int_equal(t.damaged, damaged);
}

#endif

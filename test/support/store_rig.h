/* What tests of a store (store_fixture.h) say over and over. Bodies of one seed are the same bytes; each
 * call's take the place of the last one's. */
#ifndef ZKV_TEST_STORE_RIG_H
#define ZKV_TEST_STORE_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/store_fixture.h"
#include "support/vfs_mem.h"

static uint8_t rig_bytes[3 << 20];

static inline struct slice body_of(uint64_t seed, size_t len)
{
    assert_true(len <= sizeof(rig_bytes));
    fx_fill(rig_bytes, len, seed);
    return slice_of(rig_bytes, len);
}

static inline void expect_body(struct fixture *f, const char *key, uint64_t seed, size_t len)
{
    struct buf out = {0};
    assert_int_equal(fx_get(f, key, &out), 0);
    assert_int_equal(out.len, len);
    struct slice want = body_of(seed, len);
    assert_true(len == 0 || memcmp(out.ptr, want.ptr, len) == 0);
    buf_finish(&out);
}

static inline void expect_absent(struct fixture *f, const char *key)
{
    struct buf out = {0};
    assert_int_equal(fx_get(f, key, &out), ZERR_NOT_FOUND);
    buf_finish(&out);
}

static inline void expect_names(struct fixture *f, const char *names)
{
    struct buf out = {0};
    assert_int_equal(fx_names(f, &out), 0);
    assert_int_equal(buf_append(&out, "", 1), 0);
    assert_string_equal((char *)out.ptr, names);
    buf_finish(&out);
}

#endif

/* For tests of what must be on disk before what: a store in memory that is stopped, cut off and started
 * again. An object's bytes follow from its key's first letter. */
#ifndef ZKV_TEST_ORDER_RIG_H
#define ZKV_TEST_ORDER_RIG_H

#include "support/store_rig.h"

static inline void start(struct fixture *f, uint64_t block_size, enum store_sync sync)
{
    fx_init(f, block_size);
    f->cfg.sync = sync;
    assert_int_equal(fx_open(f), 0);
}

static inline void again(struct fixture *f)
{
    if (fx_open(f) != 0) {
        fail_msg("%s", f->info.text);
    }
}

/* A power cut that keeps nothing but what was synced, and the next start. */
static inline void cut(struct fixture *f)
{
    fx_power_cut(f, MEM_CRASH_SYNCED, 1);
    again(f);
}

static inline void put(struct fixture *f, const char *key, size_t len)
{
    assert_int_equal(fx_put(f, key, body_of((uint8_t)key[0], len), 0), 0);
}

static inline int get(struct fixture *f, const char *key)
{
    struct buf out = {0};
    int rc = fx_get(f, key, &out);
    if (rc == 0) {
        assert_true(slice_eq(buf_slice(&out), body_of((uint8_t)key[0], out.len)));
    }
    buf_finish(&out);
    return rc;
}

static inline bool has_file(struct fixture *f, const char *name)
{
    return vfs_mem_get(f->vfs, name).ptr != NULL;
}

static inline void the_store_id(struct fixture *f, uint8_t id[STORE_ID_BYTES])
{
    struct slice db = vfs_mem_get(f->vfs, "db0000000000");
    assert_true(db.len > 40);
    memcpy(id, db.ptr + 16 + 4, STORE_ID_BYTES); /* the first member's extra field */
}

#endif

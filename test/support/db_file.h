/* History files made in memory, and what a scan of them hands out: for tests of the db. */
#ifndef ZKV_TEST_DB_FILE_H
#define ZKV_TEST_DB_FILE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <zlib.h>

#include <cmocka.h>

#include "base/num.h"
#include "store/db.h"
#include "support/vfs_mem.h"

#define NAME "db0000000000"

static const uint8_t store_id[STORE_ID_BYTES] = "0123456789abcde";

/* What a scan handed out. */
struct seen {
    uint64_t n_records, next_rev;
    struct buf text; /* as zipkvhistory prints it */
    uint64_t n_damage, lost_first, lost_count, lost_last_seq, lost_off;
    uint64_t done, total; /* progress */
    int stop_at;          /* record number that stops the scan with 42; 0: none */
};

static inline int see_record(void *user, uint64_t rev, const struct record *rec)
{
    struct seen *seen = user;

    assert_true(rev >= seen->next_rev);
    seen->next_rev = rev + 1;
    seen->n_records++;
    assert_int_equal(buf_printf(&seen->text, "%llu\t%s\t%.*s\n", (unsigned long long)rev,
                                rec->op == RECORD_PUT ? "put" : "delete", SLICE_FMT(rec->key)),
                     0);
    return seen->stop_at != 0 && seen->n_records == (uint64_t)seen->stop_at ? 42 : 0;
}

static inline int see_damage(void *user, const struct db_extra *lost, uint64_t off)
{
    struct seen *seen = user;

    seen->n_damage++;
    seen->lost_first = lost->first_rev;
    seen->lost_count = lost->count;
    seen->lost_last_seq = lost->last_seq;
    seen->lost_off = off;
    return 0;
}

static inline int see_progress(void *user, uint64_t done, uint64_t total)
{
    struct seen *seen = user;

    assert_true(done >= seen->done);
    assert_true(done <= total);
    seen->done = done;
    seen->total = total;
    return 0;
}

static struct seen seen;
static struct db_summary sum;

static inline int scan_from(struct vfs *vfs, const char *name, struct db_pos from)
{
    struct db_visitor visitor = {&seen, see_record, see_damage, see_progress};
    struct zerr_info info = {0};
    struct vfs_file *file;
    int stop_at = seen.stop_at, err;

    buf_finish(&seen.text);
    db_summary_finish(&sum);
    seen = (struct seen){.stop_at = stop_at, .done = from.off};
    sum = (struct db_summary){0};
    assert_int_equal(vfs->ops->open(vfs, name, VFS_READ, &file), 0);
    err = db_scan(vfs, file, from, &visitor, &sum, &info);
    vfs->ops->close(file);
    return err;
}

static inline int scan(struct vfs *vfs, const char *name)
{
    return scan_from(vfs, name, (struct db_pos){0});
}

static inline int reset(void **state)
{
    (void)state;
    buf_finish(&seen.text);
    db_summary_finish(&sum);
    seen = (struct seen){0};
    sum = (struct db_summary){0};
    return 0;
}

/* ---- members written here ---- */

/* Bytes that deflate cannot make smaller, the same for the same seed. */
static inline void noise(uint8_t *p, size_t n, uint64_t seed)
{
    for (size_t i = 0; i < n; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        p[i] = (uint8_t)(seed >> 56);
    }
}

/* Record number i as S3QL would make it; slices point to statics, valid until the next call. */
static inline struct record make_record(uint64_t i)
{
    static char key[32], md5[33];
    static struct attr attrs[2];
    struct record r = {.op = i % 7 == 6 ? RECORD_DELETE : RECORD_PUT, .seq = SEQ_FIRST(1) + i};

    snprintf(key, sizeof(key), "s3ql_data_%llu", (unsigned long long)i);
    r.key = slice_str(key);
    if (r.op == RECORD_PUT) {
        noise(r.md5, 16, i);
        r.has_md5 = true;
        hex_encode(r.md5, 16, md5);
        attrs[0] = (struct attr){SLICE_LIT("X-Amz-Meta-Md5"), slice_str(md5)};
        attrs[1] = (struct attr){SLICE_LIT("X-Amz-Meta-Format"), SLICE_LIT("raw2")};
        r.meta = (struct attrs){attrs, 2};
        r.framed = r.body_framed = true;
        r.frame = r.body_frame = (struct place){(uint32_t)(i / 100), 64 + i % 100 * 4096};
        r.body = (struct place){r.frame.block, r.frame.off + 300};
        r.size = 3000;
        r.mtime_ms = 1700000000000 + (int64_t)i * 10;
    }
    return r;
}

static inline struct db_state make_state(uint64_t n)
{
    static uint32_t open_blocks[2];
    struct db_state st = {.next_backend_file = (uint32_t)(n / 100) + 1,
                          .has_store_id = true,
                          .generation = 3,
                          .last_seq = SEQ_FIRST(1) + n,
                          .open_blocks = open_blocks,
                          .n_open_blocks = 2};

    memcpy(st.store_id, store_id, STORE_ID_BYTES);
    open_blocks[0] = (uint32_t)(n / 100);
    open_blocks[1] = 2000000000;
    return st;
}

/* Appends records [first, first + n) as one member. Returns where it begins. */
static inline uint64_t append_member(struct buf *file, uint64_t first, uint64_t n)
{
    struct db_batch *batch;
    struct db_state st = make_state(first + n);
    struct slice member;
    uint64_t off = file->len;

    assert_int_equal(db_batch_create(&batch), 0);
    for (uint64_t i = first; i < first + n; i++) {
        struct record rec = make_record(i);

        assert_int_equal(db_batch_add(batch, &rec), 0);
    }
    assert_int_equal(db_batch_member(batch, &st, first, &member), 0);
    assert_int_equal(buf_append(file, member.ptr, member.len), 0);
    db_batch_destroy(batch);
    return off;
}

/* Changes a number in the extra field of the member at off (as placed in format.h). */
static inline void set_extra(struct buf *file, uint64_t off, size_t field, uint64_t value)
{
    uint8_t *extra = file->ptr + off + 16;

    le64_put(extra + field, value);
    le32_put(extra + 60, (uint32_t)crc32(0, extra, 60));
}
#define EXTRA_FIRST_REV 28
#define EXTRA_COUNT 36
#define EXTRA_MEMBER_LEN 52

static inline int scan_bytes(const struct buf *file)
{
    struct vfs *vfs = vfs_mem_create(1);
    int err;

    vfs_mem_put(vfs, NAME, buf_slice(file));
    err = scan(vfs, NAME);
    vfs_mem_destroy(vfs);
    return err;
}

#endif

/* Any bytes as a history, and histories that get past gzip's check sums.
 *
 * Revisions must come without a gap, damage counted; what was read can be written again and is the
 * same when it is read; a second scan from the last member ends where the first one did.
 *
 * Input: one byte, even: the rest is the file; odd: fuzz_make_db() makes the file of it. */
#include "files.h"

#include "store/db.h"
#include "support/vfs_mem.h"

#define NAME "db0000000000"

struct seen {
    uint64_t rev, n_records, hash;
    struct buf bytes; /* of the record, encoded */
    struct db_batch *batch;
};

static void add_hash(struct seen *s, struct slice bytes)
{
    for (size_t i = 0; i < bytes.len; i++) {
        s->hash = (s->hash ^ bytes.ptr[i]) * 0x100000001b3u;
    }
}

static int on_record(void *user, uint64_t rev, const struct record *rec)
{
    struct seen *s = user;

    require(rev == s->rev);
    s->rev += record_in_history(rec);
    buf_reset(&s->bytes);
    if (record_encode_history(rec, &s->bytes) == 0) {
        s->n_records++;
        add_hash(s, buf_slice(&s->bytes));
        require(s->batch == NULL || db_batch_add(s->batch, rec) == 0);
    }
    return 0;
}

static int on_damage(void *user, const struct db_extra *lost, uint64_t off)
{
    struct seen *s = user;

    (void)off;
    require(lost->first_rev == s->rev && lost->count <= UINT64_MAX - s->rev);
    s->rev += lost->count;
    return 0;
}

static int scan(struct vfs *vfs, struct db_pos from, struct seen *seen, struct db_summary *ret)
{
    const struct db_visitor visitor = {.user = seen, .record = on_record, .damage = on_damage};
    struct zerr_info info = {0};
    struct vfs_file *file;
    int err;

    require(vfs->ops->open(vfs, NAME, VFS_READ, &file) == 0);
    err = db_scan(vfs, file, from, &visitor, ret, &info);
    vfs->ops->close(file);
    return err;
}

/* What a scan handed out, as one member. */
static void write_again(struct vfs *vfs, const struct seen *first)
{
    struct seen again = {.rev = 0, .hash = 0};
    struct db_state state = {.next_backend_file = 1, .has_store_id = true, .generation = 1};
    struct db_summary summary;
    struct slice member;

    memcpy(state.store_id, FUZZ_STORE_ID, STORE_ID_BYTES);
    require(db_batch_member(first->batch, &state, 0, &member) == 0);
    vfs_mem_put(vfs, NAME, member);
    require(scan(vfs, (struct db_pos){0}, &again, &summary) == 0);
    require(again.n_records == first->n_records && again.hash == first->hash);
    require(summary.end.off == member.len && summary.n_damaged == 0);
    db_summary_finish(&summary);
    buf_finish(&again.bytes);
}

static bool same_identity(const struct db_state *a, const struct db_state *b)
{
    return a->last_seq == b->last_seq && a->generation == b->generation &&
           a->has_store_id == b->has_store_id &&
           memcmp(a->store_id, b->store_id, STORE_ID_BYTES) == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_in in = {data, size};
    bool raw = fuzz_byte(&in) % 2 == 0;
    struct vfs *vfs = vfs_mem_create(1);
    struct buf file = {0};
    struct seen seen = {0}, tail = {0}, alone = {0};
    struct db_summary summary, again, last;
    struct slice whole;

    if (!raw) {
        fuzz_make_db(&in, &file);
    }
    whole = raw ? slice_of(in.p, in.n) : buf_slice(&file);
    vfs_mem_put(vfs, NAME, whole);
    require(db_batch_create(&seen.batch) == 0);
    if (scan(vfs, (struct db_pos){0}, &seen, &summary) == 0) {
        require(summary.end.off <= summary.file_len && summary.end.rev == seen.rev);
        require(summary.last_member.off <= summary.end.off);
        tail.rev = alone.rev = summary.last_member.rev;
        require(scan(vfs, summary.last_member, &tail, &again) == 0);
        /* What is stale behind the end is told by the last number, and by the store and its
         * generation; a member without one, which no writer of ours makes, knows less of it than
         * the whole file. */
        vfs_mem_put(vfs, NAME, slice_of(whole.ptr, summary.end.off));
        require(scan(vfs, summary.last_member, &alone, &last) == 0);
        if (same_identity(&last.state, &summary.state)) {
            require(again.end.off == summary.end.off && again.end.rev == summary.end.rev);
        }
        db_summary_finish(&last);
        db_summary_finish(&again);
        db_summary_finish(&summary);
        write_again(vfs, &seen);
    }
    buf_finish(&alone.bytes);
    db_batch_destroy(seen.batch);
    buf_finish(&tail.bytes);
    buf_finish(&seen.bytes);
    buf_finish(&file);
    vfs_mem_destroy(vfs);
    return 0;
}

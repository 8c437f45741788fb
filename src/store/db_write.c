/* A whole new db file, streamed: a batch is filled, written as a member and emptied, again and
 * again. */
#include <stdlib.h>

#include "store/db_priv.h"

#define WRITER_MEMBER_BYTES (1u << 20) /* compressed */

struct db_writer {
    struct vfs *vfs;
    struct vfs_file *file;
    struct db_batch *batch;
    struct db_state state; /* of all members but the last; open_blocks is ours, last_seq is that of
                              the last record added */
    struct db_pos next;    /* where the next member goes */
    char name[FILE_NAME_BYTES];
};

static void writer_free(struct db_writer *w)
{
    if (w->file != NULL) {
        w->vfs->ops->close(w->file);
    }
    db_batch_destroy(w->batch);
    db_state_finish(&w->state);
    free(w);
}

static int state_copy(const struct db_state *from, struct db_state *ret)
{
    size_t bytes = from->n_open_blocks * sizeof(*from->open_blocks);
    uint32_t *blocks = NULL;

    if (bytes > 0) {
        blocks = malloc(bytes);
        if (blocks == NULL) {
            return ZERR_NOMEM;
        }
        memcpy(blocks, from->open_blocks, bytes);
    }
    *ret = *from;
    ret->open_blocks = blocks;
    return 0;
}

int db_writer_create(struct vfs *vfs, const char *name, const struct db_state *state,
                     struct db_writer **ret)
{
    struct db_writer *w;
    int err;

    if (strlen(name) >= FILE_NAME_BYTES) {
        return ZERR_INVALID;
    }
    w = calloc(1, sizeof(*w));
    if (w == NULL) {
        return ZERR_NOMEM;
    }
    w->vfs = vfs;
    memcpy(w->name, name, strlen(name) + 1);
    err = state_copy(state, &w->state);
    w->state.last_seq = 0;
    if (err == 0) {
        err = db_batch_create(&w->batch);
    }
    if (err == 0) {
        err = vfs->ops->open(vfs, name, VFS_WRITE | VFS_CREATE, &w->file);
    }
    if (err != 0) {
        writer_free(w);
        return err;
    }
    *ret = w;
    return 0;
}

static int write_member(struct db_writer *w, const struct db_state *state)
{
    struct slice member;
    struct iovec iov;
    int err = db_batch_member(w->batch, state, w->next.rev, &member);

    if (err != 0) {
        return err;
    }
    iov = (struct iovec){.iov_base = (void *)member.ptr, .iov_len = member.len};
    err = w->vfs->ops->pwritev(w->file, &iov, 1, w->next.off);
    if (err != 0) {
        return err;
    }
    w->next.off += member.len;
    w->next.rev += db_batch_count(w->batch);
    db_batch_reset(w->batch);
    return 0;
}

int db_writer_add(struct db_writer *w, const struct record *rec)
{
    int err = db_batch_add(w->batch, rec);

    if (err == 0 && rec->seq != 0) {
        w->state.last_seq = rec->seq;
    }
    if (err == 0 && db_batch_bytes(w->batch) >= WRITER_MEMBER_BYTES) {
        err = write_member(w, &w->state);
    }
    return err;
}

int db_writer_finish(struct db_writer *w, const struct db_state *state, struct db_pos *ret_last,
                     struct db_pos *ret_end)
{
    struct db_pos last = w->next, end;
    int err = write_member(w, state);

    end = w->next;
    if (err == 0) {
        err = w->vfs->ops->sync(w->file);
    }
    if (err != 0) {
        db_writer_abort(w);
        return err;
    }
    writer_free(w);
    *ret_last = last;
    *ret_end = end;
    return 0;
}

void db_writer_abort(struct db_writer *w)
{
    struct vfs *vfs = w->vfs;
    char name[FILE_NAME_BYTES];

    memcpy(name, w->name, sizeof(name));
    writer_free(w);
    (void)vfs->ops->unlink(vfs, name);
}

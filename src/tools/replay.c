/* Replaying a directory's history (replay.h): first the db, then what only unsealed blocks hold.
 *
 * A server may be writing meanwhile. The db is read to its last good member. Then the unsealed
 * blocks, by what that member said, under whichever name they have by now, and twice: the first
 * look says up to which number, the second then finds every record up to it, also those that were
 * written into one block while another was looked at. */
#include "tools/replay.h"

#include <stdio.h>
#include <time.h>

#include "store/tail.h"

#define TRIES 5 /* a file may be renamed, replaced or cut between two system calls */
#define SECOND_LOOK_MS 100
#define ROWS_A_TRANSACTION 20000

struct run {
    struct vfs *vfs;
    struct index *ix;
    uint64_t n_max; /* records wanted */
    const struct replay_visitor *visitor;
    struct cli_progress *progress;
    struct replay_result *res;
    uint64_t seq_max; /* of the second look */
    uint64_t n_applied;
};

/* The caller has all it wanted; no failure. */
#define ENOUGH ZERR_CANCELED

static int take(struct run *r, uint64_t rev, const struct record *rec, bool damaged)
{
    if (rev >= r->n_max) {
        return ENOUGH;
    }
    int rc = r->visitor != NULL ? r->visitor->record(r->visitor->user, rev, rec) : 0;
    if (rc == 0 && r->ix != NULL) {
        rc = index_apply(r->ix, rec, damaged);
    }
    if (rc == 0 && record_in_history(rec)) {
        r->res->n_records = rev + 1;
    }
    if (rc == 0 && r->ix != NULL && ++r->n_applied % ROWS_A_TRANSACTION == 0) {
        rc = index_commit(r->ix);
        if (rc == 0) {
            rc = index_begin(r->ix);
        }
    }
    return rc;
}

static int on_db_record(void *user, uint64_t rev, const struct record *rec)
{
    return take(user, rev, rec, false);
}

static int on_db_damage(void *user, const struct db_extra *lost, uint64_t off)
{
    struct run *r = user;
    (void)off;
    r->res->n_damaged++;
    r->res->n_records = lost->first_rev + lost->count;
    return 0;
}

static int on_db_progress(void *user, uint64_t done, uint64_t total)
{
    struct run *r = user;
    if (r->progress != NULL) {
        cli_progress(r->progress, "reading the history", done, total, false);
    }
    return 0;
}

static int on_tail_record(void *user, const struct record *rec, bool damaged)
{
    struct run *r = user;
    if (rec->seq > r->seq_max) {
        return ENOUGH;
    }
    int rc = take(r, r->res->n_records, rec, damaged);
    r->res->n_unflushed += rc == 0 && record_in_history(rec);
    return rc;
}

/* ---- the db ---- */

/* Opens the db that counts. ZERR_NOT_FOUND: there is none. */
static int open_db(struct vfs *vfs, struct vfs_file **ret, char name[FILE_NAME_BYTES],
                   struct zerr_info *info)
{
    int rc = ZERR_NOT_FOUND;
    for (int i = 0; i < TRIES && (rc == ZERR_NOT_FOUND || rc == ZERR_CORRUPT); i++) {
        struct dir_view view;
        struct zerr_info tried = {0};
        bool bad[DB_IDS];
        uint32_t id = 0;
        rc = dir_view_read(vfs, &view, &tried);
        if (rc != 0) {
            (void)zerr_fail(i == TRIES - 1 ? info : NULL, rc, 0, "%s", zerr_text(&tried, rc));
            continue;
        }
        rc = dir_choose_db(vfs, &view, &id, bad, &tried);
        if (rc == ZERR_NOT_FOUND && view.n_blocks == 0) {
            dir_view_finish(&view);
            return ZERR_NOT_FOUND;
        }
        if (rc == ZERR_NOT_FOUND) {
            rc = zerr_fail(&tried, ZERR_CORRUPT, 0,
                           "there are blocks and no db (the history): put it "
                           "back from a copy, or run zipkvverify -rebuild");
        }
        dir_view_finish(&view);
        if (rc == 0) {
            snprintf(name, FILE_NAME_BYTES, DB_NAME_FMT, id);
            rc = vfs->ops->open(vfs, name, VFS_READ, ret);
        }
        if (rc != 0 && (i == TRIES - 1 || (rc != ZERR_NOT_FOUND && rc != ZERR_CORRUPT))) {
            (void)zerr_fail(info, rc, 0, "%s", zerr_text(&tried, rc));
        }
    }
    return rc;
}

static int read_db(struct run *r, struct db_state *ret, struct zerr_info *info)
{
    char name[FILE_NAME_BYTES];
    struct vfs_file *file;
    struct db_summary sum = {0};
    int rc = open_db(r->vfs, &file, name, info);
    if (rc != 0) {
        return rc;
    }
    struct db_visitor visitor = {
        .user = r, .record = on_db_record, .damage = on_db_damage, .progress = on_db_progress};
    rc = db_scan(r->vfs, file, (struct db_pos){0}, &visitor, &sum, info);
    r->vfs->ops->close(file);
    if (rc != 0) {
        return rc == ENOUGH ? rc : zerr_fail(info, rc, 0, "%s: %s", name, zerr_str(rc));
    }
    memcpy(r->res->store_id, sum.state.store_id, STORE_ID_BYTES);
    r->res->n_bad_headers = sum.n_bad_headers;
    *ret = sum.state; /* with its open_blocks: the caller's now */
    return 0;
}

/* ---- the unsealed blocks ---- */

static bool may_be_late(int rc)
{
    return rc == ZERR_NOT_FOUND || rc == ZERR_CORRUPT || rc == ZERR_INCOMPLETE;
}

static int collect(struct run *r, const struct db_state *state, struct dir_view *view,
                   struct tail *ret, struct zerr_info *info)
{
    int rc = ZERR_NOT_FOUND;
    for (int i = 0; i < TRIES && may_be_late(rc); i++) {
        struct zerr_info *last = i == TRIES - 1 ? info : NULL;
        rc = dir_view_read(r->vfs, view, last);
        if (rc == 0) {
            rc = tail_collect(r->vfs, view, state, false, 0, NULL, NULL, ret, last);
            if (rc != 0) {
                dir_view_finish(view);
            }
        }
    }
    return rc;
}

static int read_tail(struct run *r, const struct db_state *state, struct zerr_info *info)
{
    struct dir_view view;
    struct tail tail;
    int rc = collect(r, state, &view, &tail, info);
    if (rc != 0) {
        return rc;
    }
    bool growing = false;
    for (size_t i = 0; i < tail.n_blocks; i++) {
        growing = growing || tail.blocks[i].file->open;
    }
    r->seq_max = UINT64_MAX;
    if (growing) {
        r->seq_max = tail.max_seq;
        tail_finish(&tail);
        dir_view_finish(&view);
        nanosleep(&(struct timespec){.tv_nsec = SECOND_LOOK_MS * 1000000}, NULL);
        rc = collect(r, state, &view, &tail, info);
        if (rc != 0) {
            return rc;
        }
    }
    rc = tail_each(r->vfs, &tail, on_tail_record, r);
    tail_finish(&tail);
    dir_view_finish(&view);
    return rc;
}

int replay(struct source *src, struct index *ix, uint64_t last_rev,
           const struct replay_visitor *visitor, struct cli_progress *progress,
           struct replay_result *ret, struct zerr_info *info)
{
    *ret = (struct replay_result){0};
    struct run r = {.vfs = src->vfs,
                    .ix = ix,
                    .visitor = visitor,
                    .progress = progress,
                    .res = ret,
                    .n_max = last_rev == REPLAY_ALL ? UINT64_MAX : last_rev + 1};
    struct db_state state = {0};
    int rc = ix != NULL ? index_begin(ix) : 0;
    if (rc == 0) {
        rc = read_db(&r, &state, info);
        if (rc == ZERR_NOT_FOUND) {
            rc = zerr_fail(info, rc, 0, "there is no store in this directory");
        }
        if (rc == 0) {
            rc = read_tail(&r, &state, info);
        }
    }
    db_state_finish(&state);
    rc = rc == ENOUGH ? 0 : rc;
    if (rc == 0 && last_rev != REPLAY_ALL && ret->n_records <= last_rev) {
        rc = zerr_fail(info, ZERR_BAD_REV, 0,
                       "there is no revision %llu: the history has %llu records%s",
                       (unsigned long long)last_rev, (unsigned long long)ret->n_records,
                       ret->n_records > 0 ? ", numbered from 0" : "");
    }
    if (ix != NULL && rc == 0) {
        rc = index_commit(ix);
    } else if (ix != NULL) {
        index_rollback(ix);
    }
    return rc;
}

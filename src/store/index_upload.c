/* Multipart uploads under way, in the look-up index (index.h): their records as they are, found by
 * number. Listing them is index_list.c's. */
#include "store/index_priv.h"

/* What is in a record's column, decoded. */
static int take_record(sqlite3_stmt *s, struct arena *arena, enum record_op op, struct record *ret)
{
    struct record rec;
    int rc = record_decode_history(index_column_slice(s, 0), arena, &rec);
    if (rc == 0 && rec.op != op) {
        rc = ZERR_CORRUPT;
    }
    if (rc == 0) {
        *ret = rec;
    }
    return rc;
}

static int fetch_upload(sqlite3_stmt *s, struct arena *arena, struct record *ret)
{
    int rc = index_fetch(s);
    if (rc == 0) {
        rc = take_record(s, arena, RECORD_UPLOAD, ret);
        sqlite3_reset(s);
    }
    return rc;
}

int index_upload(struct index *ix, uint64_t id, struct arena *arena, struct record *ret)
{
    sqlite3_stmt *s = ix->stmts[STMT_UPLOAD];
    if (sqlite3_bind_int64(s, 1, (sqlite3_int64)id) != SQLITE_OK) {
        return ZERR_NOMEM;
    }
    int rc = fetch_upload(s, arena, ret);
    return rc == ZERR_NOT_FOUND ? ZERR_NO_UPLOAD : rc;
}

int index_has_upload(struct index *ix, uint64_t id)
{
    sqlite3_stmt *s = ix->stmts[STMT_UPLOAD];
    if (sqlite3_bind_int64(s, 1, (sqlite3_int64)id) != SQLITE_OK) {
        return ZERR_NOMEM;
    }
    int rc = index_fetch(s);
    if (rc == 0) {
        sqlite3_reset(s);
    }
    return rc == ZERR_NOT_FOUND ? ZERR_NO_UPLOAD : rc;
}

int index_old_upload(struct index *ix, int64_t before_ms, uint64_t after, struct arena *arena,
                     struct record *ret)
{
    sqlite3_stmt *s = ix->stmts[STMT_OLD_UPLOAD];
    int rc = sqlite3_bind_int64(s, 1, before_ms) | sqlite3_bind_int64(s, 2, (sqlite3_int64)after);
    return rc != SQLITE_OK ? ZERR_NOMEM : fetch_upload(s, arena, ret);
}

int index_each_part(struct index *ix, uint64_t id, uint32_t after,
                    int (*each)(void *user, const struct record *), void *user)
{
    sqlite3_stmt *s = ix->stmts[STMT_PARTS];
    struct arena arena = {0};
    int rc = sqlite3_bind_int64(s, 1, (sqlite3_int64)id) | sqlite3_bind_int64(s, 2, after);
    rc = rc != SQLITE_OK ? ZERR_NOMEM : 0;
    while (rc == 0 && (rc = index_fetch(s)) == 0) {
        struct record rec;
        arena_reset(&arena);
        rc = take_record(s, &arena, RECORD_PART, &rec);
        if (rc == 0) {
            rc = each(user, &rec);
        }
    }
    sqlite3_reset(s);
    arena_finish(&arena);
    return rc == ZERR_NOT_FOUND ? 0 : rc;
}

/* ---- writing --------------------------------------------------------------------------------- */

static int run_numbered(sqlite3_stmt *s, uint64_t id, uint32_t part)
{
    int rc = sqlite3_bind_int64(s, 1, (sqlite3_int64)id);
    if (part != 0) {
        rc |= sqlite3_bind_int64(s, 2, part);
    }
    return rc != SQLITE_OK ? ZERR_NOMEM : index_run(s);
}

int index_end_upload(struct index *ix, uint64_t id)
{
    int rc = run_numbered(ix->stmts[STMT_PARTS_REMOVE], id, 0);
    return rc != 0 ? rc : run_numbered(ix->stmts[STMT_UPLOAD_REMOVE], id, 0);
}

static int add_upload(struct index *ix, const struct record *rec)
{
    sqlite3_stmt *s = ix->stmts[STMT_UPLOAD_ADD];
    int rc = sqlite3_bind_int64(s, 1, (sqlite3_int64)rec->seq);
    rc |= index_bind_slice(s, 2, rec->key) | sqlite3_bind_int64(s, 3, rec->mtime_ms);
    rc |= index_bind_slice(s, 4, buf_slice(&ix->meta));
    return rc != SQLITE_OK ? ZERR_NOMEM : index_run(s);
}

static int add_part(struct index *ix, const struct record *rec)
{
    sqlite3_stmt *s = ix->stmts[STMT_PART_ADD];
    int rc = sqlite3_bind_int64(s, 1, (sqlite3_int64)rec->upload);
    rc |= sqlite3_bind_int64(s, 2, rec->part) | index_bind_slice(s, 3, buf_slice(&ix->meta));
    return rc != SQLITE_OK ? ZERR_NOMEM : index_run(s);
}

int index_apply_upload(struct index *ix, const struct record *rec, bool damaged)
{
    if (rec->op == RECORD_ABORT) {
        return index_end_upload(ix, rec->upload);
    }
    if (rec->op == RECORD_PART && damaged) {
        return run_numbered(ix->stmts[STMT_PART_REMOVE], rec->upload, rec->part);
    }
    buf_reset(&ix->meta);
    int rc = record_encode_history(rec, &ix->meta);
    if (rc == 0) {
        rc = rec->op == RECORD_UPLOAD ? add_upload(ix, rec) : add_part(ix, rec);
    }
    return rc;
}

/* The look-up index: applying records, and looking up (index.h). Opening is in index_open.c,
 * pages of names in index_list.c.
 *
 * A transaction keeps totals and mark in memory (`now`) and writes them with one UPDATE when it
 * commits; rolling back takes `committed` again.
 *
 * A body is (block, offset, size): in blocks of the original, an empty body lies where the next one
 * begins. */
#include "store/index_priv.h"

#include <assert.h>

int index_zerr(int rc)
{
    if (rc == SQLITE_IOERR_NOMEM) {
        return ZERR_NOMEM;
    }
    if (rc == SQLITE_IOERR_DATA) { /* index_vfs.c */
        return ZERR_CORRUPT;
    }
    switch (rc & 0xff) {
    case SQLITE_OK:
    case SQLITE_ROW:
    case SQLITE_DONE:
        return 0;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_FORMAT:
    case SQLITE_SCHEMA:
    case SQLITE_CONSTRAINT:
    case SQLITE_MISMATCH:
        return ZERR_CORRUPT;
    case SQLITE_FULL:
        return ZERR_NO_SPACE;
    case SQLITE_NOMEM:
        return ZERR_NOMEM;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return ZERR_BUSY;
    case SQLITE_TOOBIG:
        return ZERR_TOO_LARGE;
    default:
        return ZERR_IO;
    }
}

int index_bind_slice(sqlite3_stmt *stmt, int at, struct slice s)
{
    return sqlite3_bind_blob64(stmt, at, s.ptr != NULL ? (const void *)s.ptr : "", s.len,
                               SQLITE_STATIC);
}

struct slice index_column_slice(sqlite3_stmt *stmt, int col)
{
    const void *ptr = sqlite3_column_blob(stmt, col); /* before the length: it may convert */
    int len = sqlite3_column_bytes(stmt, col);
    return slice_of(ptr, ptr != NULL && len > 0 ? (size_t)len : 0);
}

int index_fetch(sqlite3_stmt *stmt)
{
    int rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW) {
        return 0;
    }
    sqlite3_reset(stmt); /* says the same again */
    return rc == SQLITE_DONE ? ZERR_NOT_FOUND : index_zerr(rc);
}

int index_run(sqlite3_stmt *stmt)
{
    int rc = sqlite3_step(stmt);
    sqlite3_reset(stmt); /* says the same again */
    return rc == SQLITE_ROW ? ZERR_IO : index_zerr(rc);
}

static int bind_u64(sqlite3_stmt *stmt, int at, uint64_t v)
{
    return sqlite3_bind_int64(stmt, at, (int64_t)v);
}

static int bind_place(sqlite3_stmt *stmt, int at, bool present, struct place p)
{
    if (!present) {
        return sqlite3_bind_null(stmt, at) | sqlite3_bind_null(stmt, at + 1);
    }
    return bind_u64(stmt, at, p.block) | bind_u64(stmt, at + 1, p.off);
}

static bool place_eq(struct place a, struct place b)
{
    return a.block == b.block && a.off == b.off;
}

/* ---- writing --------------------------------------------------------------------------------- */

int index_begin(struct index *ix)
{
    assert(ix->mode != INDEX_READER && !ix->in_tx);
    int rc = index_run(ix->stmts[STMT_BEGIN_WRITE]);
    if (rc == 0) {
        ix->in_tx = true;
        ix->tx_error = 0;
    }
    return rc;
}

void index_rollback(struct index *ix)
{
    if (!ix->in_tx) {
        return;
    }
    if (!sqlite3_get_autocommit(ix->db)) { /* some failures have done it already */
        sqlite3_step(ix->stmts[STMT_ROLLBACK]);
        sqlite3_reset(ix->stmts[STMT_ROLLBACK]);
    }
    ix->now = ix->committed;
    ix->in_tx = false;
}

static int write_counts(struct index *ix)
{
    const struct index_mark *m = &ix->now.mark;
    const struct index_totals *t = &ix->now.totals;
    sqlite3_stmt *s = ix->stmts[STMT_SET_MARK];
    int rc = ix->now.has_mark ? index_bind_slice(s, 1, slice_of(m->store_id, STORE_ID_BYTES))
                              : sqlite3_bind_null(s, 1);
    rc |= bind_u64(s, 2, m->generation) | bind_u64(s, 3, m->n_records) | bind_u64(s, 4, m->seq);
    rc |= bind_u64(s, 5, m->db_last_member) | bind_u64(s, 6, m->db_last_member_rev);
    rc |= bind_u64(s, 7, m->db_length) | bind_u64(s, 8, t->objects) | bind_u64(s, 9, t->live_bytes);
    rc |= bind_u64(s, 10, t->name_bytes) | bind_u64(s, 11, t->damaged);
    rc |= bind_u64(s, 12, m->db_members) | bind_u64(s, 13, m->last_seq);
    rc |= bind_u64(s, 14, ix->now.commits) | bind_u64(s, 15, m->unflushed);
    rc |= bind_u64(s, 16, m->durable_seq);
    return rc != SQLITE_OK ? ZERR_NOMEM : index_run(s);
}

int index_commit(struct index *ix)
{
    assert(ix->in_tx);
    int rc = ix->tx_error;
    if (rc == 0) {
        ix->now.commits++;
        rc = write_counts(ix);
    }
    if (rc == 0) {
        rc = index_run(ix->stmts[STMT_COMMIT]);
    }
    if (rc != 0) {
        index_rollback(ix);
        return rc;
    }
    ix->committed = ix->now;
    ix->in_tx = false;
    return 0;
}

int index_set_mark(struct index *ix, const struct index_mark *mark)
{
    assert(ix->in_tx);
    ix->now.mark = *mark;
    ix->now.has_mark = true;
    return 0;
}

/* All columns of the name that a PUT gives a body; the same for INSERT and UPDATE. */
static int bind_put(struct index *ix, sqlite3_stmt *s, const struct record *rec, bool damaged)
{
    static const struct place none = {0};
    int rc = index_bind_slice(s, 1, rec->key) | bind_place(s, 2, true, rec->body);
    rc |= bind_u64(s, 4, rec->size) | bind_place(s, 5, rec->framed, rec->frame);
    if (!rec->body_framed) {
        rc |= bind_place(s, 7, false, none);
        if (rec->framed) {
            rc |= sqlite3_bind_int64(s, 7, -1);
        }
    } else {
        rc |= bind_place(s, 7, !rec->framed || !place_eq(rec->frame, rec->body_frame),
                         rec->body_frame);
    }
    rc |= rec->has_md5 ? index_bind_slice(s, 9, slice_of(rec->md5, sizeof rec->md5))
                       : sqlite3_bind_null(s, 9);
    rc |= rec->mtime_ms != 0 ? sqlite3_bind_int64(s, 10, rec->mtime_ms) : sqlite3_bind_null(s, 10);
    rc |= sqlite3_bind_int64(s, 11, damaged) | sqlite3_bind_int64(s, 12, rec->part);
    rc |=
        ix->meta.len > 0 ? index_bind_slice(s, 13, buf_slice(&ix->meta)) : sqlite3_bind_null(s, 13);
    return rc != SQLITE_OK ? ZERR_NOMEM : 0;
}

/* Whether a name other than key has the body. */
static int is_shared(struct index *ix, struct place body, uint64_t size, struct slice key,
                     bool *ret)
{
    sqlite3_stmt *s = ix->stmts[STMT_SHARED];
    int rc = bind_place(s, 1, true, body) | bind_u64(s, 3, size) | index_bind_slice(s, 4, key);
    if (rc != SQLITE_OK) {
        return ZERR_NOMEM;
    }
    rc = index_fetch(s);
    if (rc == 0) {
        sqlite3_reset(s);
    }
    if (rc == 0 || rc == ZERR_NOT_FOUND) {
        *ret = rc == 0;
        rc = 0;
    }
    return rc;
}

int index_has_body_in(struct index *ix, struct place room, uint64_t len, bool *ret)
{
    sqlite3_stmt *s = ix->stmts[STMT_IN_ROOM];
    if ((bind_place(s, 1, true, room) | bind_u64(s, 3, room.off + len)) != SQLITE_OK) {
        return ZERR_NOMEM;
    }
    int rc = index_fetch(s);
    if (rc == 0) {
        sqlite3_reset(s);
    }
    if (rc == 0 || rc == ZERR_NOT_FOUND) {
        *ret = rc == 0;
        rc = 0;
    }
    return rc;
}

/* A name has lost its body; the row is gone already. */
static int count_loss(struct index *ix, struct slice key, const struct object *old)
{
    bool shared = false;
    int rc = old->size > 0 ? is_shared(ix, old->body, old->size, key, &shared) : 0;
    ix->now.totals.objects--;
    ix->now.totals.name_bytes -= old->size;
    ix->now.totals.live_bytes -= shared ? 0 : old->size;
    ix->now.totals.damaged -= old->damaged;
    return rc;
}

static int count_gain(struct index *ix, const struct record *rec, bool damaged)
{
    /* The body in the record's own frame is new; others may have names already. */
    bool own = rec->framed && rec->body_framed && place_eq(rec->frame, rec->body_frame);
    bool shared = false;
    int rc = own || rec->size == 0 ? 0 : is_shared(ix, rec->body, rec->size, rec->key, &shared);
    ix->now.totals.objects++;
    ix->now.totals.name_bytes += rec->size;
    ix->now.totals.live_bytes += shared ? 0 : rec->size;
    ix->now.totals.damaged += damaged;
    return rc;
}

static int apply_put(struct index *ix, const struct record *rec, bool damaged)
{
    if (rec->size > INT64_MAX || rec->body.off > INT64_MAX) {
        return ZERR_INVALID;
    }
    buf_reset(&ix->meta);
    int rc = !rec->framed && rec->meta.n > 0 ? attrs_encode(rec->meta, &ix->meta) : 0;
    if (rc == 0) {
        rc = bind_put(ix, ix->stmts[STMT_INSERT], rec, damaged);
    }
    if (rc == 0) {
        rc = index_run(ix->stmts[STMT_INSERT]);
    }
    if (rc == 0 && sqlite3_changes(ix->db) == 0) { /* the name is there */
        struct object old;
        rc = index_lookup(ix, rec->key, &old);
        if (rc == 0) {
            rc = bind_put(ix, ix->stmts[STMT_UPDATE], rec, damaged);
        }
        if (rc == 0) {
            rc = index_run(ix->stmts[STMT_UPDATE]);
        }
        if (rc == 0) {
            rc = count_loss(ix, rec->key, &old);
        }
    }
    return rc != 0 ? rc : count_gain(ix, rec, damaged);
}

static int apply_delete(struct index *ix, struct slice key)
{
    struct object old;
    int rc = index_lookup(ix, key, &old);
    if (rc != 0) {
        return rc == ZERR_NOT_FOUND ? 0 : rc;
    }
    sqlite3_stmt *s = ix->stmts[STMT_DELETE];
    rc = index_bind_slice(s, 1, key) != SQLITE_OK ? ZERR_NOMEM : index_run(s);
    return rc != 0 ? rc : count_loss(ix, key, &old);
}

/* The first failure inside a transaction decides its fate. */
static int tx_result(struct index *ix, int rc)
{
    if (rc != 0 && ix->tx_error == 0) {
        ix->tx_error = rc;
    }
    return rc;
}

int index_apply(struct index *ix, const struct record *rec, bool damaged)
{
    assert(ix->in_tx);
    switch (rec->op) {
    case RECORD_PUT: {
        int rc = apply_put(ix, rec, damaged);
        if (rc == 0 && rec->upload != 0) {
            rc = index_end_upload(ix, rec->upload);
        }
        return tx_result(ix, rc);
    }
    case RECORD_DELETE:
        return tx_result(ix, apply_delete(ix, rec->key));
    default:
        return tx_result(ix, index_apply_upload(ix, rec, damaged));
    }
}

/* Runs a damage UPDATE that is bound already (bound: its binds' results). */
static int run_damage(struct index *ix, sqlite3_stmt *s, int bound, bool damaged, uint64_t *ret_n)
{
    assert(ix->in_tx);
    int rc = tx_result(ix, bound != SQLITE_OK ? ZERR_NOMEM : index_run(s));
    if (rc == 0) {
        uint64_t n = (uint64_t)sqlite3_changes(ix->db);
        ix->now.totals.damaged += damaged ? n : -n;
        if (ret_n != NULL) {
            *ret_n = n;
        }
    }
    return rc;
}

int index_set_damage(struct index *ix, struct place body, bool damaged, uint64_t *ret_n)
{
    sqlite3_stmt *s = ix->stmts[STMT_DAMAGE_BODY];
    int bound = bind_place(s, 1, true, body) | sqlite3_bind_int64(s, 3, damaged);
    return run_damage(ix, s, bound, damaged, ret_n);
}

int index_set_key_damage(struct index *ix, struct slice key, bool damaged, uint64_t *ret_n)
{
    sqlite3_stmt *s = ix->stmts[STMT_DAMAGE_KEY];
    int bound = index_bind_slice(s, 1, key) | sqlite3_bind_int64(s, 2, damaged);
    return run_damage(ix, s, bound, damaged, ret_n);
}

int index_set_md5(struct index *ix, struct place body, const uint8_t md5[16])
{
    static const uint8_t of_nothing[16] = {0xd4, 0x1d, 0x8c, 0xd9, 0x8f, 0x00, 0xb2, 0x04,
                                           0xe9, 0x80, 0x09, 0x98, 0xec, 0xf8, 0x42, 0x7e};
    assert(ix->in_tx);
    sqlite3_stmt *s = ix->stmts[STMT_MD5];
    int rc = bind_place(s, 1, true, body) | index_bind_slice(s, 3, slice_of(md5, 16));
    rc |= sqlite3_bind_int64(s, 4, memcmp(md5, of_nothing, sizeof of_nothing) == 0);
    return tx_result(ix, rc != SQLITE_OK ? ZERR_NOMEM : index_run(s));
}

bool index_commit_is_quick(const struct index *ix)
{
    return ix->wal_bytes > 0 && ix->wal_bytes <= INDEX_WAL_MAX;
}

int index_checkpoint(struct index *ix, bool force)
{
    assert(!ix->in_tx);
    if (ix->mode != INDEX_WRITER || (!force && ix->wal_bytes <= INDEX_WAL_MAX)) {
        return 0;
    }
    int in_wal = 0, done = 0;
    int rc = sqlite3_wal_checkpoint_v2(
        ix->db, NULL, force ? SQLITE_CHECKPOINT_TRUNCATE : SQLITE_CHECKPOINT_PASSIVE, &in_wal,
        &done);
    if (rc == SQLITE_OK && in_wal == done) {
        ix->wal_bytes = 0; /* the next commit begins the file anew */
    }
    return index_zerr(rc);
}

/* ---- looking up ------------------------------------------------------------------------------ */

/* Two columns of a place; *ret_present false where they are NULL. */
static int row_place(sqlite3_stmt *s, int col, bool *ret_present, struct place *ret)
{
    *ret_present = sqlite3_column_type(s, col) != SQLITE_NULL;
    int64_t block = sqlite3_column_int64(s, col), off = sqlite3_column_int64(s, col + 1);
    if (*ret_present) {
        ret->block = (uint32_t)block;
        ret->off = (uint64_t)off;
    }
    return block < 0 || block > UINT32_MAX || off < 0 ? ZERR_CORRUPT : 0;
}

int index_row_object(sqlite3_stmt *s, int col, struct object *ret)
{
    struct object o = {0};
    bool has_body, has_own;
    int64_t size = sqlite3_column_int64(s, col + 2);
    if (row_place(s, col, &has_body, &o.body) != 0 || !has_body || size < 0 ||
        row_place(s, col + 3, &o.framed, &o.frame) != 0) {
        return ZERR_CORRUPT;
    }
    o.size = (uint64_t)size;
    if (sqlite3_column_int64(s, col + 5) != -1) {
        if (row_place(s, col + 5, &has_own, &o.body_frame) != 0) {
            return ZERR_CORRUPT;
        }
        if (!has_own) {
            o.body_frame = o.frame;
        }
        o.body_framed = has_own || o.framed;
    }
    struct slice md5 = index_column_slice(s, col + 7);
    if (md5.len != 0 && md5.len != sizeof o.md5) {
        return ZERR_CORRUPT;
    }
    o.has_md5 = md5.len != 0;
    if (o.has_md5) {
        memcpy(o.md5, md5.ptr, md5.len);
    }
    o.mtime_ms = sqlite3_column_int64(s, col + 8);
    o.damaged = sqlite3_column_int64(s, col + 9) != 0;
    int64_t parts = sqlite3_column_int64(s, col + 10);
    if (parts < 0 || parts > PART_MAX) {
        return ZERR_CORRUPT;
    }
    o.parts = (uint32_t)parts;
    *ret = o;
    return 0;
}

int index_lookup(struct index *ix, struct slice key, struct object *ret)
{
    sqlite3_stmt *s = ix->stmts[STMT_LOOKUP];
    int rc = index_bind_slice(s, 1, key) != SQLITE_OK ? ZERR_NOMEM : index_fetch(s);
    if (rc == 0) {
        rc = index_row_object(s, 0, ret);
        sqlite3_reset(s);
    }
    return rc;
}

int index_lookup_meta(struct index *ix, struct slice key, struct arena *arena, struct slice *ret)
{
    sqlite3_stmt *s = ix->stmts[STMT_META];
    int rc = index_bind_slice(s, 1, key) != SQLITE_OK ? ZERR_NOMEM : index_fetch(s);
    if (rc == 0) {
        struct slice meta = arena_dup(arena, index_column_slice(s, 0));
        sqlite3_reset(s);
        if (meta.ptr == NULL) {
            return ZERR_NOMEM;
        }
        *ret = meta;
    }
    return rc;
}

int index_get_mark(struct index *ix, struct index_mark *ret)
{
    struct index_counts counts = ix->now;
    int rc = ix->mode == INDEX_READER ? index_load_counts(ix, &counts) : 0;
    if (rc == 0 && !counts.has_mark) {
        rc = ZERR_NOT_FOUND;
    }
    if (rc == 0) {
        *ret = counts.mark;
    }
    return rc;
}

int index_get_totals(struct index *ix, struct index_totals *ret)
{
    struct index_counts counts = ix->now;
    int rc = ix->mode == INDEX_READER ? index_load_counts(ix, &counts) : 0;
    if (rc == 0) {
        *ret = counts.totals;
    }
    return rc;
}

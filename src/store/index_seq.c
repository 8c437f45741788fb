/* See index_seq.h. Numbers are stored as signed 64-bit: a session below 2^23 keeps their order. */
#include "store/index_seq.h"

#include <sqlite3.h>
#include <stdlib.h>

struct seq_table {
    sqlite3 *db;
    sqlite3_stmt *add, *find, *next, *floor;
};

#define COLUMNS "seq, block, off, body_block, body_off, frame_len, n, flags"

static int zerr_of(int rc)
{
    switch (rc & 0xff) {
    case SQLITE_FULL:
        return ZERR_NO_SPACE;
    case SQLITE_NOMEM:
        return ZERR_NOMEM;
    default:
        return ZERR_IO;
    }
}

int seq_table_create(struct seq_table **ret)
{
    static const char schema[] =
        "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA cache_size=-2048; BEGIN;"
        "CREATE TABLE frames(seq INTEGER PRIMARY KEY, block INTEGER, off INTEGER,"
        " body_block INTEGER, body_off INTEGER, frame_len INTEGER, n INTEGER, flags INTEGER,"
        " record BLOB);"
        "CREATE INDEX by_frame ON frames(block, off);";
    struct seq_table *t = calloc(1, sizeof(*t));
    if (t == NULL) {
        return ZERR_NOMEM;
    }
    int rc = sqlite3_open_v2("", &t->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL);
    if (rc == SQLITE_OK) {
        rc = sqlite3_exec(t->db, schema, NULL, NULL, NULL);
    }
    if (rc == SQLITE_OK) {
        rc = sqlite3_prepare_v2(t->db, "INSERT OR IGNORE INTO frames VALUES(?,?,?,?,?,?,?,?,?)", -1,
                                &t->add, NULL);
    }
    if (rc == SQLITE_OK) {
        rc = sqlite3_prepare_v2(t->db, "SELECT " COLUMNS " FROM frames WHERE block=? AND off=?", -1,
                                &t->find, NULL);
    }
    if (rc == SQLITE_OK) {
        rc = sqlite3_prepare_v2(t->db,
                                "SELECT " COLUMNS " FROM frames WHERE seq > ? ORDER BY seq LIMIT 1",
                                -1, &t->next, NULL);
    }
    if (rc == SQLITE_OK) {
        rc = sqlite3_prepare_v2(
            t->db, "SELECT " COLUMNS " FROM frames WHERE seq <= ? ORDER BY seq DESC LIMIT 1", -1,
            &t->floor, NULL);
    }
    if (rc != SQLITE_OK) {
        seq_table_destroy(t);
        return zerr_of(rc);
    }
    *ret = t;
    return 0;
}

void seq_table_destroy(struct seq_table *t)
{
    if (t == NULL) {
        return;
    }
    (void)sqlite3_finalize(t->add);
    (void)sqlite3_finalize(t->find);
    (void)sqlite3_finalize(t->next);
    (void)sqlite3_finalize(t->floor);
    (void)sqlite3_close(t->db);
    free(t);
}

int seq_table_add(struct seq_table *t, const struct seq_row *row, bool *ret_new)
{
    const sqlite3_int64 v[] = {(sqlite3_int64)row->seq,
                               row->frame.block,
                               (sqlite3_int64)row->frame.off,
                               row->body.block,
                               (sqlite3_int64)row->body.off,
                               (sqlite3_int64)row->frame_len,
                               row->n_records,
                               row->flags};
    int rc = SQLITE_OK;
    for (int i = 0; i < 8 && rc == SQLITE_OK; i++) {
        rc = sqlite3_bind_int64(t->add, i + 1, v[i]);
    }
    if (rc == SQLITE_OK) {
        rc = sqlite3_bind_blob64(t->add, 9, row->record.ptr, row->record.len, SQLITE_STATIC);
    }
    if (rc == SQLITE_OK) {
        rc = sqlite3_step(t->add);
    }
    if (ret_new != NULL) {
        *ret_new = rc == SQLITE_DONE && sqlite3_changes(t->db) > 0;
    }
    (void)sqlite3_reset(t->add);
    (void)sqlite3_clear_bindings(t->add);
    return rc == SQLITE_DONE ? 0 : zerr_of(rc);
}

static void read_row(sqlite3_stmt *s, struct seq_row *row)
{
    *row = (struct seq_row){
        .seq = (uint64_t)sqlite3_column_int64(s, 0),
        .frame = {(uint32_t)sqlite3_column_int64(s, 1), (uint64_t)sqlite3_column_int64(s, 2)},
        .body = {(uint32_t)sqlite3_column_int64(s, 3), (uint64_t)sqlite3_column_int64(s, 4)},
        .frame_len = (uint64_t)sqlite3_column_int64(s, 5),
        .n_records = (uint32_t)sqlite3_column_int64(s, 6),
        .flags = (unsigned)sqlite3_column_int64(s, 7),
    };
}

int seq_table_each(struct seq_table *t, uint64_t after,
                   int (*each)(void *user, const struct seq_row *), void *user)
{
    sqlite3_stmt *s;
    int rc = sqlite3_prepare_v2(
        t->db, "SELECT " COLUMNS ", record FROM frames WHERE seq > ? ORDER BY seq", -1, &s, NULL);
    if (rc != SQLITE_OK) {
        return zerr_of(rc);
    }
    int ret = 0;
    rc = sqlite3_bind_int64(s, 1, (sqlite3_int64)after);
    while (rc == SQLITE_OK && ret == 0 && (rc = sqlite3_step(s)) == SQLITE_ROW) {
        struct seq_row row;
        read_row(s, &row);
        row.record = slice_of(sqlite3_column_blob(s, 8), (size_t)sqlite3_column_bytes(s, 8));
        ret = each(user, &row);
        rc = SQLITE_OK;
    }
    (void)sqlite3_finalize(s);
    return ret != 0 ? ret : rc == SQLITE_DONE ? 0 : zerr_of(rc);
}

static int step_one(sqlite3_stmt *s, int rc, struct seq_row *ret)
{
    if (rc == SQLITE_OK) {
        rc = sqlite3_step(s);
    }
    if (rc == SQLITE_ROW) {
        read_row(s, ret);
    }
    (void)sqlite3_reset(s);
    return rc == SQLITE_ROW ? 0 : rc == SQLITE_DONE ? ZERR_NOT_FOUND : zerr_of(rc);
}

int seq_table_find(struct seq_table *t, struct place at, struct seq_row *ret)
{
    int rc = sqlite3_bind_int64(t->find, 1, at.block);
    if (rc == SQLITE_OK) {
        rc = sqlite3_bind_int64(t->find, 2, (sqlite3_int64)at.off);
    }
    return step_one(t->find, rc, ret);
}

int seq_table_floor(struct seq_table *t, uint64_t seq, struct seq_row *ret)
{
    return step_one(t->floor, sqlite3_bind_int64(t->floor, 1, (sqlite3_int64)seq), ret);
}

int seq_table_next(struct seq_table *t, uint64_t after, struct seq_row *ret)
{
    return step_one(t->next, sqlite3_bind_int64(t->next, 1, (sqlite3_int64)after), ret);
}

/* The look-up index on SQLite: the schema, the statements, opening and closing (index.h).
 *
 * Statements are prepared at open, which also proves the schema, and live as long as the
 * connection. What the file is, is looked at before anything is written to it. */
#include "store/index_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define APPLICATION_ID 0x5a4b5649 /* "ZKVI": tells our file from other programs' databases */
#define BUSY_TIMEOUT_MS 250
#define SQLITE_MAGIC "SQLite format 3" /* with its NUL: 16 bytes */
#define TEXT_OF(x) TEXT_OF_(x)
#define TEXT_OF_(x) #x

/* `mark` comes first: its only page is then the file's second, the first one that a checkpoint
 * writes (see lost_log()). */
static const char schema[] =
    "BEGIN IMMEDIATE;"
    "CREATE TABLE mark(id INTEGER PRIMARY KEY CHECK (id = 1), store_id BLOB,"
    " generation INTEGER, n_records INTEGER, seq INTEGER, last_seq INTEGER,"
    " db_last_member INTEGER, db_last_member_rev INTEGER, db_length INTEGER, db_members INTEGER,"
    " unflushed INTEGER, durable_seq INTEGER,"
    " objects INTEGER NOT NULL, live_bytes INTEGER NOT NULL,"
    " name_bytes INTEGER NOT NULL, damaged INTEGER NOT NULL, commits INTEGER NOT NULL);"
    "INSERT INTO mark(id, objects, live_bytes, name_bytes, damaged, commits)"
    " VALUES(1, 0, 0, 0, 0, 0);"
    "CREATE TABLE objects(key BLOB NOT NULL PRIMARY KEY,"
    " block INTEGER NOT NULL, offset INTEGER NOT NULL, size INTEGER NOT NULL,"
    " frame_block INTEGER, frame_offset INTEGER,"
    " body_frame_block INTEGER, body_frame_offset INTEGER,"
    " md5 BLOB, mtime INTEGER, damage INTEGER NOT NULL, parts INTEGER NOT NULL,"
    " meta BLOB) WITHOUT ROWID;"
    "CREATE INDEX objects_by_place ON objects(block, offset);"
    "CREATE INDEX objects_damaged ON objects(block, offset) WHERE damage <> 0;"
    "CREATE TABLE uploads(id INTEGER PRIMARY KEY, key BLOB NOT NULL, mtime INTEGER NOT NULL,"
    " record BLOB NOT NULL);"
    "CREATE INDEX uploads_by_key ON uploads(key, id);"
    "CREATE TABLE parts(upload INTEGER NOT NULL, number INTEGER NOT NULL, record BLOB NOT NULL,"
    " PRIMARY KEY(upload, number)) WITHOUT ROWID;"
    "PRAGMA application_id = " TEXT_OF(APPLICATION_ID) ";"
                                                       "PRAGMA user_version = " TEXT_OF(
                                                           INDEX_VERSION) ";"
                                                                          "COMMIT";

static const char *const sql[N_STMTS] = {
    [STMT_BEGIN] = "BEGIN",
    [STMT_COMMIT] = "COMMIT",
    [STMT_ROLLBACK] = "ROLLBACK",
    [STMT_MARK] = "SELECT store_id, generation, n_records, seq, db_last_member, db_last_member_rev,"
                  " db_length, objects, live_bytes, name_bytes, damaged, db_members, last_seq,"
                  " commits, unflushed, durable_seq FROM mark WHERE id = 1",
    [STMT_LOOKUP] = "SELECT " INDEX_OBJECT_COLUMNS " FROM objects WHERE key = ?1",
    [STMT_META] = "SELECT meta FROM objects WHERE key = ?1",
    [STMT_LIST] = "SELECT key, size, mtime, md5, damage, parts FROM objects WHERE key >= ?1"
                  " ORDER BY key",
    [STMT_LIST_UPLOADS] = "SELECT key, id, mtime, NULL, 0, 0 FROM uploads"
                          " WHERE key >= ?1 AND (key > ?1 OR id > ?2) ORDER BY key, id",
    [STMT_UPLOAD] = "SELECT record FROM uploads WHERE id = ?1",
    [STMT_OLD_UPLOAD] = "SELECT record FROM uploads WHERE mtime < ?1 AND id > ?2"
                        " ORDER BY id LIMIT 1",
    [STMT_PARTS] = "SELECT record FROM parts WHERE upload = ?1 AND number > ?2 ORDER BY number",
    [STMT_DAMAGED] = "SELECT key, " INDEX_OBJECT_COLUMNS " FROM objects INDEXED BY objects_damaged"
                     " WHERE damage <> 0 AND (block, offset, key) > (?1, ?2, ?3)"
                     " ORDER BY block, offset, key LIMIT ?4",
    [STMT_BY_PLACE] =
        "SELECT key, " INDEX_OBJECT_COLUMNS " FROM objects INDEXED BY objects_by_place"
        " WHERE (block, offset, key) > (?1, ?2, ?3)"
        " ORDER BY block, offset, key LIMIT ?4",
    [STMT_BEGIN_WRITE] = "BEGIN IMMEDIATE",
    [STMT_INSERT] = "INSERT OR IGNORE INTO objects(key, " INDEX_OBJECT_COLUMNS ", meta)"
                    " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
    [STMT_UPDATE] = "UPDATE objects SET block = ?2, offset = ?3, size = ?4, frame_block = ?5,"
                    " frame_offset = ?6, body_frame_block = ?7, body_frame_offset = ?8, md5 = ?9,"
                    " mtime = ?10, damage = ?11, parts = ?12, meta = ?13 WHERE key = ?1",
    [STMT_DELETE] = "DELETE FROM objects WHERE key = ?1",
    [STMT_SHARED] = "SELECT 1 FROM objects INDEXED BY objects_by_place"
                    " WHERE block = ?1 AND offset = ?2 AND size = ?3 AND key <> ?4 LIMIT 1",
    [STMT_IN_ROOM] = "SELECT 1 FROM objects INDEXED BY objects_by_place"
                     " WHERE block = ?1 AND offset > ?2 AND offset <= ?3 LIMIT 1",
    [STMT_DAMAGE_BODY] = "UPDATE objects INDEXED BY objects_by_place SET damage = ?3"
                         " WHERE block = ?1 AND offset = ?2 AND damage <> ?3"
                         " AND (size > 0 OR frame_block IS NOT NULL)",
    [STMT_DAMAGE_KEY] = "UPDATE objects SET damage = ?2 WHERE key = ?1 AND damage <> ?2",
    [STMT_MD5] = "UPDATE objects INDEXED BY objects_by_place SET md5 = ?3"
                 " WHERE block = ?1 AND offset = ?2 AND (size = 0) = ?4",
    [STMT_UPLOAD_ADD] = "INSERT OR REPLACE INTO uploads VALUES(?1, ?2, ?3, ?4)",
    [STMT_UPLOAD_REMOVE] = "DELETE FROM uploads WHERE id = ?1",
    [STMT_PART_ADD] = "INSERT OR REPLACE INTO parts SELECT ?1, ?2, ?3"
                      " WHERE EXISTS(SELECT 1 FROM uploads WHERE id = ?1)",
    [STMT_PART_REMOVE] = "DELETE FROM parts WHERE upload = ?1 AND number = ?2",
    [STMT_PARTS_REMOVE] = "DELETE FROM parts WHERE upload = ?1",
    [STMT_SET_MARK] =
        "UPDATE mark SET store_id = ?1, generation = ?2, n_records = ?3, seq = ?4,"
        " db_last_member = ?5, db_last_member_rev = ?6, db_length = ?7, objects = ?8,"
        " live_bytes = ?9, name_bytes = ?10, damaged = ?11, db_members = ?12, last_seq = ?13,"
        " commits = ?14, unflushed = ?15, durable_seq = ?16 WHERE id = 1",
};

static int exec(struct index *ix, const char *text)
{
    return index_zerr(sqlite3_exec(ix->db, text, NULL, NULL, NULL));
}

static int on_wal(void *user, sqlite3 *db, const char *name, int pages)
{
    (void)db, (void)name;
    struct index *ix = user;
    ix->wal_bytes = (uint64_t)pages * INDEX_PAGE_BYTES;
    return SQLITE_OK;
}

/* The one integer that a PRAGMA or query gives. */
static int query_int(struct index *ix, const char *text, int64_t *ret)
{
    sqlite3_stmt *stmt = NULL;
    int rc = sqlite3_prepare_v2(ix->db, text, -1, &stmt, NULL);
    if (rc == SQLITE_OK) {
        rc = sqlite3_step(stmt);
        if (rc == SQLITE_ROW) {
            *ret = sqlite3_column_int64(stmt, 0);
        }
        sqlite3_finalize(stmt);
    }
    return rc == SQLITE_DONE ? ZERR_CORRUPT : index_zerr(rc);
}

static int foreign_file(struct zerr_info *info)
{
    return zerr_fail(info, ZERR_INVALID, 0, "the database is another program's, not an index");
}

/* Looks at what the file is before anything is written to it. *ret_new: nothing yet. */
static int check_file(struct index *ix, bool *ret_new, struct zerr_info *info)
{
    int64_t app = 0, version = 0, things = 0;
    int rc = query_int(ix, "PRAGMA application_id", &app);
    if (rc == 0) {
        rc = query_int(ix, "PRAGMA user_version", &version);
    }
    if (rc == 0) {
        rc = query_int(ix, "SELECT count(*) FROM sqlite_master", &things);
    }
    if (rc != 0) {
        return rc;
    }
    *ret_new = app == 0 && version == 0 && things == 0;
    if (*ret_new) {
        return ix->mode == INDEX_READER ? ZERR_CORRUPT : 0;
    }
    if (app != APPLICATION_ID) {
        return foreign_file(info);
    }
    return version == INDEX_VERSION ? 0 : ZERR_UNSUPPORTED;
}

static int configure(struct index *ix)
{
    sqlite3_extended_result_codes(ix->db, 1);
    sqlite3_busy_timeout(ix->db, BUSY_TIMEOUT_MS);
    int rc =
        exec(ix, "PRAGMA trusted_schema = OFF; PRAGMA mmap_size = 0; PRAGMA cache_size = -2048;"
                 "PRAGMA temp_store = FILE; PRAGMA cell_size_check = ON");
    if (rc == 0 && ix->mode == INDEX_TEMP) {
        return exec(ix, "PRAGMA synchronous = OFF");
    }
    if (rc == 0 && ix->mode == INDEX_WRITER) { /* both matter to a new file only */
        int reserved = INDEX_PAGE_RESERVED;
        rc = exec(ix, "PRAGMA page_size = " TEXT_OF(INDEX_PAGE_BYTES));
        if (rc == 0) {
            rc = index_zerr(
                sqlite3_file_control(ix->db, "main", SQLITE_FCNTL_RESERVE_BYTES, &reserved));
        }
    }
    if (rc == 0) {
        rc = exec(ix, ix->mode == INDEX_WRITER ? "PRAGMA synchronous = NORMAL"
                                               : "PRAGMA query_only = ON");
    }
    sqlite3_wal_hook(ix->db, on_wal, ix); /* also takes the place of automatic checkpoints */
    if (ix->mode == INDEX_READER &&
        sqlite3_db_config(ix->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, (int *)NULL) != SQLITE_OK) {
        return ZERR_IO;
    }
    return rc;
}

/* WAL is kept by the file, so readers have it without asking. */
static int set_wal(struct index *ix, struct zerr_info *info)
{
    sqlite3_stmt *stmt = NULL;
    int rc = sqlite3_prepare_v2(ix->db, "PRAGMA journal_mode = WAL", -1, &stmt, NULL);
    bool wal = false;
    if (rc == SQLITE_OK) {
        rc = sqlite3_step(stmt);
        wal = rc == SQLITE_ROW && slice_eq_str(index_column_slice(stmt, 0), "wal");
        sqlite3_finalize(stmt);
    }
    if (index_zerr(rc) == 0 && !wal) {
        return zerr_fail(info, ZERR_UNSUPPORTED, 0,
                         "SQLite cannot use write-ahead logging here (a network file system?)");
    }
    return index_zerr(rc);
}

static int prepare(struct index *ix)
{
    int n = ix->mode == INDEX_READER ? STMT_BEGIN_WRITE : N_STMTS;
    for (int i = 0; i < n; i++) {
        int rc =
            sqlite3_prepare_v3(ix->db, sql[i], -1, SQLITE_PREPARE_PERSISTENT, &ix->stmts[i], NULL);
        if (rc != SQLITE_OK) {
            /* A plain error means that the text does not fit the schema. */
            return (rc & 0xff) == SQLITE_ERROR ? ZERR_CORRUPT : index_zerr(rc);
        }
    }
    return 0;
}

int index_load_counts(struct index *ix, struct index_counts *ret)
{
    sqlite3_stmt *s = ix->stmts[STMT_MARK];
    int rc = index_fetch(s);
    if (rc != 0) {
        return rc == ZERR_NOT_FOUND ? ZERR_CORRUPT : rc;
    }
    struct slice id = index_column_slice(s, 0);
    if (id.len == STORE_ID_BYTES) {
        memcpy(ret->mark.store_id, id.ptr, id.len);
    }
    ret->has_mark = id.len != 0;
    ret->mark.generation = (uint64_t)sqlite3_column_int64(s, 1);
    ret->mark.n_records = (uint64_t)sqlite3_column_int64(s, 2);
    ret->mark.seq = (uint64_t)sqlite3_column_int64(s, 3);
    ret->mark.db_last_member = (uint64_t)sqlite3_column_int64(s, 4);
    ret->mark.db_last_member_rev = (uint64_t)sqlite3_column_int64(s, 5);
    ret->mark.db_length = (uint64_t)sqlite3_column_int64(s, 6);
    ret->totals.objects = (uint64_t)sqlite3_column_int64(s, 7);
    ret->totals.live_bytes = (uint64_t)sqlite3_column_int64(s, 8);
    ret->totals.name_bytes = (uint64_t)sqlite3_column_int64(s, 9);
    ret->totals.damaged = (uint64_t)sqlite3_column_int64(s, 10);
    ret->mark.db_members = (uint64_t)sqlite3_column_int64(s, 11);
    ret->mark.last_seq = (uint64_t)sqlite3_column_int64(s, 12);
    ret->commits = (uint64_t)sqlite3_column_int64(s, 13);
    ret->mark.unflushed = (uint64_t)sqlite3_column_int64(s, 14);
    ret->mark.durable_seq = (uint64_t)sqlite3_column_int64(s, 15);
    sqlite3_reset(s);
    return id.len == 0 || id.len == STORE_ID_BYTES ? 0 : ZERR_CORRUPT;
}

/* A database that is neither ours nor has pages like ours is another person's: it is not touched.
 * Before SQLite has a look, to which each of its pages would be a damaged one. */
static bool is_foreign(int fd)
{
    uint8_t head[72];
    if (pread(fd, head, sizeof head, 0) != (ssize_t)sizeof head ||
        memcmp(head, SQLITE_MAGIC, 16) != 0) {
        return false;
    }
    uint32_t app =
        (uint32_t)head[68] << 24 | (uint32_t)head[69] << 16 | (uint32_t)head[70] << 8 | head[71];
    return head[20] != INDEX_PAGE_RESERVED && app != APPLICATION_ID;
}

static int open_file(struct index *ix, const char *path, struct zerr_info *info)
{
    if (ix->mode == INDEX_READER && access(path, F_OK) != 0) {
        return errno == ENOENT ? ZERR_NOT_FOUND : ZERR_IO;
    }
    if (ix->mode == INDEX_WRITER) {
        /* SQLite would make it readable for everyone; its other files take this one's mode. */
        int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        if (fd < 0) {
            return zerr_fail(info, errno == ENOSPC ? ZERR_NO_SPACE : ZERR_IO, errno, "index %s",
                             path);
        }
        bool foreign = is_foreign(fd);
        close(fd);
        if (foreign) {
            return foreign_file(info);
        }
    }
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX;
    const char *vfs = INDEX_VFS;
    if (ix->mode == INDEX_TEMP) {
        path = "";
        vfs = NULL;
        flags |= SQLITE_OPEN_CREATE;
    }
    int rc = index_vfs_register();
    if (rc == 0 && sqlite3_open_v2(path, &ix->db, flags, vfs) != SQLITE_OK) {
        rc = ix->db == NULL ? ZERR_NOMEM : index_zerr(sqlite3_extended_errcode(ix->db));
    }
    return rc;
}

/* The path as a URI that shows the file without its log. */
static char *uri_of(const char *path)
{
    static const char query[] = "?immutable=1&vfs=" INDEX_VFS;
    char *uri = malloc(5 + 3 * strlen(path) + sizeof query), *at = uri;
    if (uri == NULL) {
        return NULL;
    }
    at = stpcpy(at, "file:");
    for (const char *p = path; *p != '\0'; p++) {
        bool plain = *p != '%' && *p != '?' && *p != '#' && *p != ' ';
        at += plain ? (*at = *p, 1) : sprintf(at, "%%%02x", (unsigned char)*p);
    }
    memcpy(at, query, sizeof query);
    return uri;
}

/* A log with a bad frame ends there, for SQLite; what follows it is lost. That is an earlier state
 * of the index and fine, unless a checkpoint had written the lost part to the file before: then the
 * file's pages are newer than the log's, and together they are no state at all. A checkpoint writes
 * in order of pages, and that of the mark, which every commit changes, is the first: so the mark
 * of the file alone tells. Where it cannot be read the log has it, or the index cannot be used. */
static int lost_log(struct index *ix, const char *path)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *s = NULL;
    uint64_t commits = 0;
    char *uri = uri_of(path);
    if (uri == NULL) {
        return ZERR_NOMEM;
    }
    if (sqlite3_open_v2(uri, &db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_URI,
                        INDEX_VFS) == SQLITE_OK &&
        sqlite3_prepare_v2(db, "SELECT commits FROM mark", -1, &s, NULL) == SQLITE_OK &&
        sqlite3_step(s) == SQLITE_ROW) {
        commits = (uint64_t)sqlite3_column_int64(s, 0);
    }
    sqlite3_finalize(s);
    sqlite3_close(db);
    free(uri);
    return commits > ix->committed.commits ? ZERR_CORRUPT : 0;
}

int index_open(const char *path, enum index_open_mode mode, struct index **ret,
               struct zerr_info *info)
{
    struct index *ix = calloc(1, sizeof *ix);
    if (ix == NULL) {
        return ZERR_NOMEM;
    }
    ix->mode = mode;
    bool is_new = false;
    int rc = open_file(ix, path, info);
    if (rc == 0) {
        rc = configure(ix);
    }
    if (rc == 0) {
        rc = check_file(ix, &is_new, info);
    }
    if (rc == 0 && mode == INDEX_WRITER) {
        rc = set_wal(ix, info);
    }
    if (rc == 0 && is_new) {
        rc = exec(ix, schema);
    }
    if (rc == 0) {
        rc = prepare(ix);
    }
    if (rc == 0 && mode != INDEX_READER) {
        rc = index_load_counts(ix, &ix->committed);
        ix->now = ix->committed;
    }
    if (rc == 0 && mode == INDEX_WRITER) {
        rc = lost_log(ix, path);
    }
    if (rc != 0) {
        rc = zerr_fail(info, rc, 0, "index %s: %s", mode == INDEX_TEMP ? "(temporary)" : path,
                       rc == ZERR_UNSUPPORTED || ix->db == NULL ||
                               sqlite3_errcode(ix->db) == SQLITE_OK
                           ? zerr_str(rc)
                           : sqlite3_errmsg(ix->db));
        index_close(ix);
        return rc;
    }
    *ret = ix;
    return 0;
}

void index_close(struct index *ix)
{
    if (ix == NULL) {
        return;
    }
    index_rollback(ix);
    for (int i = 0; i < N_STMTS; i++) {
        sqlite3_finalize(ix->stmts[i]);
    }
    if (ix->db != NULL && ix->mode == INDEX_WRITER) {
        /* Closing does it only for the last connection; a failure leaves it to the next open. */
        sqlite3_wal_checkpoint_v2(ix->db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
    }
    sqlite3_close(ix->db);
    buf_finish(&ix->meta);
    free(ix);
}

int index_remove(const char *path)
{
    static const char *const suffixes[] = {"", "-wal", "-shm"};
    for (size_t i = 0; i < sizeof suffixes / sizeof suffixes[0]; i++) {
        char *name = NULL;
        if (asprintf(&name, "%s%s", path, suffixes[i]) < 0) {
            return ZERR_NOMEM;
        }
        int rc = unlink(name);
        int err = errno;
        free(name);
        if (rc != 0 && err != ENOENT) {
            return ZERR_IO;
        }
    }
    return 0;
}

bool index_is_sqlite(const char *path)
{
    char head[sizeof(SQLITE_MAGIC)];
    FILE *f = fopen(path, "rbe");
    if (f == NULL) {
        return false;
    }
    size_t n = fread(head, 1, sizeof(head), f);
    (void)fclose(f);
    return n == 0 || (n == sizeof(head) && memcmp(head, SQLITE_MAGIC, n) == 0);
}

int index_check(struct index *ix)
{
    sqlite3_stmt *s = NULL;
    int rc = sqlite3_prepare_v2(ix->db, "PRAGMA integrity_check(1)", -1, &s, NULL);
    bool ok = false;
    if (rc == SQLITE_OK) {
        rc = sqlite3_step(s);
        ok = rc == SQLITE_ROW && slice_eq_str(index_column_slice(s, 0), "ok");
    }
    sqlite3_finalize(s);
    return rc == SQLITE_ROW ? (ok ? 0 : ZERR_CORRUPT) : index_zerr(rc);
}

/* What index.c, index_open.c, index_list.c and index_vfs.c share: the connection, its statements,
 * and the files below it. */
#ifndef ZKV_STORE_INDEX_PRIV_H
#define ZKV_STORE_INDEX_PRIV_H

#include <sqlite3.h>

#include "base/buf.h"
#include "store/index.h"

enum index_stmt {
    STMT_BEGIN, /* for reading: one snapshot */
    STMT_COMMIT,
    STMT_ROLLBACK,
    STMT_MARK,
    STMT_LOOKUP,
    STMT_META,
    STMT_LIST,
    STMT_BY_PLACE,
    STMT_DAMAGED,
    STMT_LIST_UPLOADS,
    STMT_UPLOAD,
    STMT_OLD_UPLOAD,
    STMT_PARTS,
    /* From here on only the writer's. */
    STMT_BEGIN_WRITE,
    STMT_INSERT,
    STMT_UPDATE,
    STMT_DELETE,
    STMT_SHARED,
    STMT_IN_ROOM,
    STMT_DAMAGE_BODY,
    STMT_DAMAGE_KEY,
    STMT_MD5,
    STMT_UPLOAD_ADD,
    STMT_UPLOAD_REMOVE,
    STMT_PART_ADD,
    STMT_PART_REMOVE,
    STMT_PARTS_REMOVE,
    STMT_SET_MARK,
    N_STMTS
};

/* What a transaction changes besides rows; kept in memory, written by the commit. */
struct index_counts {
    struct index_totals totals;
    struct index_mark mark;
    bool has_mark;
    uint64_t commits; /* since the file was made */
};

struct index {
    sqlite3 *db;
    sqlite3_stmt *stmts[N_STMTS];
    enum index_open_mode mode;
    struct index_counts now, committed; /* not in readers */
    bool in_tx;
    int tx_error;       /* first failure inside the transaction: nothing of it may be committed */
    uint64_t wal_bytes; /* in the WAL after the last commit */
    struct buf meta;    /* scratch of index_apply(): attributes, or a record */
};

/* The columns that index_row_object() reads, in its order. */
#define INDEX_OBJECT_COLUMNS                                                                       \
    "block, offset, size, frame_block, frame_offset, body_frame_block, body_frame_offset, md5, "   \
    "mtime, damage, parts"

/* index_vfs.c: the file layer that checks each page. The last bytes of each are its own. */
#define INDEX_VFS "zkv-checked"
#define INDEX_PAGE_BYTES 4096
#define INDEX_PAGE_RESERVED 8
int index_vfs_register(void) ZKV_MUST_CHECK; /* any number of times */

/* index_shm.c: what SQLite's xShm functions are for a connection. They return SQLite's codes. */
struct index_shm_conn {
    struct index_shm *shm;      /* NULL: not joined */
    unsigned shared, exclusive; /* the locks that are held, a bit each */
};
int index_shm_join(struct index_shm_conn *, const char *name); /* the file must be there */
void index_shm_leave(struct index_shm_conn *); /* gives back what it holds; must have joined */
int index_shm_map(struct index_shm_conn *, int at, int size, bool extend, void volatile **ret);
int index_shm_lock(struct index_shm_conn *, int first, int n, int flags);
void index_shm_barrier(void);

int index_zerr(int sqlite_rc);
/* Blobs are not copied: valid until the statement is reset. An empty slice is an empty blob. */
int index_bind_slice(sqlite3_stmt *, int at, struct slice);
struct slice index_column_slice(sqlite3_stmt *, int col);
/* 0: a row is there, reset when done; ZERR_NOT_FOUND: none, already reset; or an error, likewise.
 */
int index_fetch(sqlite3_stmt *) ZKV_MUST_CHECK;
/* Runs a statement that gives no rows, and resets it. */
int index_run(sqlite3_stmt *) ZKV_MUST_CHECK;
/* Mark and totals as the file has them. */
int index_load_counts(struct index *, struct index_counts *ret) ZKV_MUST_CHECK;
/* What a record of an upload does. In a transaction. */
int index_apply_upload(struct index *, const struct record *, bool damaged) ZKV_MUST_CHECK;
/* It is over, one way or the other. */
int index_end_upload(struct index *, uint64_t id) ZKV_MUST_CHECK;
/* ZERR_CORRUPT: values that cannot be. */
int index_row_object(sqlite3_stmt *, int col, struct object *ret) ZKV_MUST_CHECK;

#endif

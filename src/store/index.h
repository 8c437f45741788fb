/* The look-up index: where is key K, and what comes after it. An SQLite file, a cache: it can be
 * deleted at any time and is rebuilt from the history.
 *
 * One connection is one `struct index`. The store opens three: one for the commit lane (writes),
 * one for look-ups on the loop, one for listings in a worker. A connection is used by one thread at
 * a time. WAL mode, synchronous NORMAL; memory is the page caches (2 MiB each) whatever the number
 * of objects. SQLite's own errors become ZERR_CORRUPT (SQLITE_CORRUPT, SQLITE_NOTADB),
 * ZERR_NO_SPACE (SQLITE_FULL), ZERR_NOMEM, ZERR_BUSY, else ZERR_IO. The only includer of sqlite3.h.
 *
 * Schema (typed columns, so that a person can look with the sqlite3 shell; user_version is
 * INDEX_VERSION):
 *
 *   objects(key BLOB PRIMARY KEY,
 *           block, offset, size,                  -- the body
 *           frame_block, frame_offset,            -- frame with its record; NULL: the original's
 *           body_frame_block, body_frame_offset,  -- NULL: the record's frame; block -1: none
 *           md5 BLOB, mtime INTEGER, damage INTEGER,
 *           parts INTEGER,                        -- of a multipart object; 0: it is none
 *           meta BLOB) WITHOUT ROWID
 *   objects_by_place on objects(block, offset)
 *   objects_damaged on objects(block, offset) where damage <> 0
 *   uploads(id INTEGER PRIMARY KEY, key BLOB, mtime INTEGER, record BLOB)  -- under way
 *   uploads_by_key on uploads(key, id)
 *   parts(upload, number, record BLOB, PRIMARY KEY(upload, number)) WITHOUT ROWID
 *   mark(one row: store_id, generation, n_records, seq, last_seq, db_last_member,
 *        db_last_member_rev, db_length, db_members, unflushed, durable_seq, objects, live_bytes,
 *        name_bytes, damaged, commits)
 *
 * Records of uploads and parts stand there in the history's form (record.h).
 *
 * Every page of the file and of its log is checked when it is read (index_vfs.c): a wrong bit is
 * ZERR_CORRUPT, from whatever function met it, and never another answer. Whoever meets it gives the
 * index up: it is removed and made anew. One process has it at a time, the one that holds the store's
 * lock (index_shm.c). Programs that know nothing of this can read the file while nobody has it; what
 * they write to it counts as damage. */
#ifndef ZKV_STORE_INDEX_H
#define ZKV_STORE_INDEX_H

#include "store/format.h"
#include "store/record.h"

struct index;

/* What the index has applied; never a file name. */
struct index_mark {
    uint8_t store_id[STORE_ID_BYTES];
    uint64_t generation;         /* of the db that the positions below belong to */
    uint64_t n_records;          /* records applied = revision of the next one */
    uint64_t seq;                /* of the last of these; 0 if it had none */
    uint64_t last_seq;           /* highest number applied, of whatever kind of record */
    uint64_t db_last_member;     /* a member boundary: what was flushed when noted */
    uint64_t db_last_member_rev; /* revision of its first record */
    uint64_t db_length;          /* never more than is synced (I2) */
    uint64_t db_members;         /* in the db, for the rule when to rewrite it */
    uint64_t unflushed;   /* records of whatever kind applied, and behind db_length if at all */
    uint64_t durable_seq; /* up to here everything was synced when it was applied */
};

struct index_totals {
    uint64_t objects;    /* live names, damaged ones too */
    uint64_t live_bytes; /* of bodies that some live name has, each counted once */
    uint64_t name_bytes; /* sum of sizes over names */
    uint64_t damaged;    /* names with a damage mark */
};

/* What is known of one live name without reading its block. */
struct object {
    struct place body;
    uint64_t size;
    bool framed;        /* frame valid */
    struct place frame; /* with the record */
    bool body_framed;
    struct place body_frame;
    bool has_md5;
    uint8_t md5[16];
    int64_t mtime_ms; /* 0: unknown */
    uint32_t parts;   /* of a multipart object: md5 is that of the parts' MD5s; 0: it is none */
    bool damaged;
};

enum index_open_mode {
    INDEX_WRITER, /* creates the file and schema if absent */
    INDEX_READER, /* must exist */
    INDEX_TEMP,   /* path ignored: a private temporary database that vanishes on close */
};

/* ZERR_NOT_FOUND (reader), ZERR_CORRUPT (not a database, wrong schema), ZERR_UNSUPPORTED (another
 * INDEX_VERSION), ZERR_IO, ... On CORRUPT/UNSUPPORTED the caller deletes it (index_remove) and
 * rebuilds. */
int index_open(const char *path, enum index_open_mode, struct index **ret,
               struct zerr_info *) ZKV_MUST_CHECK;
/* Reads and checks all of it, tables against each other: ZERR_CORRUPT. Long. */
int index_check(struct index *) ZKV_MUST_CHECK;
/* NULL is fine; rolls back an open transaction; writer: checkpoints. */
void index_close(struct index *);
/* Removes path, path-wal, path-shm. */
int index_remove(const char *path) ZKV_MUST_CHECK;

/* Does the file begin as an SQLite database does (or is empty)? False for any other person's file.
 */
bool index_is_sqlite(const char *path);

/* ZERR_NOT_FOUND: new, no mark yet. */
int index_get_mark(struct index *, struct index_mark *ret) ZKV_MUST_CHECK;
int index_get_totals(struct index *, struct index_totals *ret) ZKV_MUST_CHECK;

/* ---- writing: one transaction at a time, on the writer, all between begin and commit ----
 * After a failed call the transaction can only be rolled back: index_commit() gives that error. */
int index_begin(struct index *) ZKV_MUST_CHECK;
/* Applies a record. For a PUT of unframed bodies meta is stored; `damaged` sets the mark. A record
 * of a name clears its earlier damage mark. A PUT that completes an upload ends it; parts of uploads
 * that there are not change nothing, and a damaged part is as if it had not come. */
int index_apply(struct index *, const struct record *, bool damaged) ZKV_MUST_CHECK;
int index_set_mark(struct index *, const struct index_mark *) ZKV_MUST_CHECK;
/* Marks (or clears) all names whose body is at `body`. Empty bodies of the original have no bytes
 * to damage and are left alone. *ret_n (may be NULL): names changed. */
int index_set_damage(struct index *, struct place body, bool damaged,
                     uint64_t *ret_n) ZKV_MUST_CHECK;
/* The same for one name, for what is wrong with its record alone. An absent name is no error. */
int index_set_key_damage(struct index *, struct slice key, bool damaged,
                         uint64_t *ret_n) ZKV_MUST_CHECK;
/* MD5 computed later, for bodies of the original: all names with that body. (Of an empty body and
 * another at the same place the MD5 itself says which is meant.) */
int index_set_md5(struct index *, struct place body, const uint8_t md5[16]) ZKV_MUST_CHECK;
/* Whether some name has a body in that frame or run of frames. Only the writer; in a transaction or
 * not. */
int index_has_body_in(struct index *, struct place room, uint64_t len, bool *ret) ZKV_MUST_CHECK;
int index_commit(struct index *) ZKV_MUST_CHECK; /* on failure the transaction is rolled back */
void index_rollback(struct index *);             /* nothing to do if none is open */
/* A commit now writes into the WAL and no more: it begins no new one, which would sync. */
bool index_commit_is_quick(const struct index *);
/* Checkpoints when the WAL is above INDEX_WAL_MAX. ZERR_NO_SPACE etc. are not fatal, ZERR_CORRUPT is: a
 * sync failed, and what a later one says of the same pages means nothing. */
int index_checkpoint(struct index *, bool force);

/* ---- looking up ---- */
/* ZERR_NOT_FOUND */
int index_lookup(struct index *, struct slice key, struct object *ret) ZKV_MUST_CHECK;
/* The stored metadata of an unframed object, encoded as attrs_encode() does; in the arena. Empty if
 * none. */
int index_lookup_meta(struct index *, struct slice key, struct arena *,
                      struct slice *ret) ZKV_MUST_CHECK;

/* One page, in byte order of names. */
struct list_query {
    struct slice prefix; /* names begin with it */
    struct slice after;  /* strict lower bound of names and common prefixes; empty: none */
    /* Names are rolled up to the first delimiter behind the prefix; empty: none. */
    struct slice delimiter;
    size_t max; /* entries, common prefixes too; 0: an empty page, not truncated */
    /* Instead of names the uploads under way, in order of name and number. */
    bool uploads;
    uint64_t after_upload; /* not 0: behind this one of the name `after`, else behind all of them */
};
struct list_entry {
    struct slice key; /* name or common prefix */
    bool is_prefix;
    uint64_t size;
    uint64_t upload; /* its number */
    int64_t mtime_ms;
    bool has_md5;
    uint8_t md5[16];
    uint32_t parts;
};
struct list_page {
    struct arena arena; /* holds entries and keys */
    struct list_entry *entries;
    size_t n;
    bool truncated; /* something comes after the last entry */
};
/* Damaged names are left out. A page costs what the page costs: a rolled-up prefix is skipped by
 * seeking behind it. A common prefix <= after is not listed again. The page's memory:
 * list_page_finish(). */
int index_list(struct index *, const struct list_query *, struct list_page *ret) ZKV_MUST_CHECK;
void list_page_finish(struct list_page *);

/* An upload under way: its record, in the arena. ZERR_NO_UPLOAD. */
int index_upload(struct index *, uint64_t id, struct arena *, struct record *ret) ZKV_MUST_CHECK;
/* Whether it is under way: 0 or ZERR_NO_UPLOAD. */
int index_has_upload(struct index *, uint64_t id) ZKV_MUST_CHECK;
/* The first above `after` that began before that time. ZERR_NOT_FOUND: none. */
int index_old_upload(struct index *, int64_t before_ms, uint64_t after, struct arena *,
                     struct record *ret) ZKV_MUST_CHECK;
/* Its parts with numbers above `after`, in order. The record is valid during the call, which must
 * not use the connection; non-zero stops and is returned. */
int index_each_part(struct index *, uint64_t id, uint32_t after,
                    int (*each)(void *user, const struct record *), void *user) ZKV_MUST_CHECK;

/* All live names in order of (body block, body offset, name), for rebase and verify. The slice is
 * valid during the call; non-zero stops and is returned. Read in batches of some hundred, no
 * transaction stays open in between: each() may write, and what others change meanwhile is seen or
 * not. Only the calling connection's; long. */
int index_each_by_place(struct index *,
                        int (*each)(void *user, struct slice key, const struct object *),
                        void *user) ZKV_MUST_CHECK;
/* The same for names with a damage mark; costs what they are. */
int index_each_damaged(struct index *,
                       int (*each)(void *user, struct slice key, const struct object *),
                       void *user) ZKV_MUST_CHECK;

#endif

/* The store: named objects in block files, with a history of every PUT and DELETE.
 *
 * It knows no HTTP and no S3; attributes of objects are opaque names and values. It owns no thread:
 * whatever may block is a job handed to the `workers` it was opened with (base/job.h); everything
 * else, all functions here and all call-backs, happens on one thread, the loop. Only store_open()
 * and store_destroy() block. Tools and tests use workers_inline and pump it.
 *
 * Calling sequence:
 *   store_open -> { put_*, store_delete, store_copy, reader_*, store_list }* -> store_stop ->
 * store_destroy
 *
 * What an answer means (`-sync ack`): when a call-back reports 0 for an upload, copy or delete, it
 * is on disk, in the index and visible; before, it is nowhere visible. With `-sync block` it is
 * visible, and on disk at the next roll-over or stop. Commits happen in rounds, one at a time
 * (round.c).
 *
 * Call-backs are never made from inside the call that asked for them, and each exactly once,
 * unless the call says that it forgets it. A call-back may call anything here.
 *
 * Refusals that pass by themselves are ZERR_BUSY (too much unsynced, the index or the db cannot be
 * written just now) and ZERR_NO_SPACE (below the reserve): the caller says "try again". */
#ifndef ZKV_STORE_STORE_H
#define ZKV_STORE_STORE_H

#include "base/job.h"
#include "base/log.h"
#include "store/index.h"
#include "store/record.h"
#include "store/vfs.h"

enum store_sync { STORE_SYNC_ACK, STORE_SYNC_BLOCK };

struct store_config {
    struct vfs *vfs;         /* the directory; outlives the store */
    struct workers *workers; /* outlives the store */
    const char *dir;         /* for messages and as the home of the index */
    const char *index_path;  /* NULL: dir/index.sqlite */
    uint64_t block_size;     /* 0: BLOCK_SIZE_DEFAULT; at least BLOCK_SIZE_MIN */
    enum store_sync sync;
    /* Bytes of free space that writes leave. UINT64_MAX: the default, 2 % of the file system, but
     * 8 to 64 MiB, and never more than a quarter of it. */
    uint64_t reserve;
    /* Room promised to uploads that run, by all stores that share this disk; on the loop's thread.
     * NULL: there is only this one. */
    uint64_t *promised;
    void *user; /* of the call-backs below, each of which may be NULL */
    /* Something the person at the terminal should know, once each time it happens. */
    void (*note)(void *user, enum log_level, const char *text);
    /* The store cannot go on: stop in order. Called at most once; store_stop() is the caller's. */
    void (*fatal)(void *user, const char *text);
    /* Long work in store_open(), in some unit; total 0: unknown. Non-zero gives it up: store_open()
     * returns it, and another one begins where this one did. */
    int (*progress)(void *user, const char *what, uint64_t done, uint64_t total);
};

struct store;

/* Takes the lock, recovers (recover.c), opens or rebuilds the index. Blocks.
 * Errors: ZERR_LOCKED (info says by whom), ZERR_CORRUPT, ZERR_UNSUPPORTED, ZERR_IO, ...;
 * the directory is then as recoverable as before. */
int store_open(const struct store_config *, struct store **ret, struct zerr_info *) ZKV_MUST_CHECK;

/* Begins the orderly end: new work gets ZERR_CANCELED, uploads not yet committed are aborted,
 * running rounds finish, blocks are sealed, the history is flushed. stopped(): 0 or what could not
 * be written. Afterwards only store_get_stats() and store_destroy() may be called.
 * Readers must be closed by their owners. */
void store_stop(struct store *, void (*stopped)(void *user, int status), void *user);
/* After stopped(), or without store_stop() to leave everything as a crash would. NULL is fine.
 * Asserts that no job is running and no reader open. */
void store_destroy(struct store *);

/* Housekeeping: time-outs of waiting uploads, retries. Call about once a second while
 * store_wants_tick(); nothing touches the disk when idle. */
void store_tick(struct store *);
bool store_wants_tick(const struct store *);

/* Gives up multipart uploads that nobody has completed for seven days. Looks at most once an hour,
 * so it may be called often: by a server when the store is open, and with the ticks. A new upload
 * calls it too; tools, which are to leave uploads alone, do not. */
void store_expire_uploads(struct store *);

struct store_stats {
    struct index_totals totals; /* as of the last round */
    uint64_t disk_bytes;        /* all block files */
    uint64_t n_blocks;          /* block files, open ones included */
    uint64_t revision;          /* records in the history = number of the next revision */
    uint32_t current_block;     /* number of the block being filled; UINT32_MAX: none */
    uint64_t current_fill;      /* bytes in it */
    uint64_t block_size;
    /* This session. */
    uint64_t puts, deletes, copies, gets, bytes_in, bytes_out;
    uint64_t rounds, syncs, flushes, sealed, aborted;
    uint64_t unsynced; /* bytes received and not yet synced */
    bool new_store;    /* the directory was empty */
    /* What store_open() found. */
    uint64_t recovered; /* records that only unsealed blocks had */
    uint64_t recovered_damaged;
    uint64_t torn; /* incomplete frames dropped */
    bool index_rebuilt;
};
void store_get_stats(const struct store *, struct store_stats *ret);

/* ---- uploads ----------------------------------------------------------------------------------
 *
 * put_begin -> (ready) -> put_write* -> put_commit -> (done), or put_abort at any time before
 * done(). The struct put is valid until done() has been called or put_abort() has returned. */

/* What must hold when the round begins; else ZERR_PRECONDITION and nothing is changed. */
struct condition {
    bool if_absent;    /* If-None-Match: * */
    bool if_match_any; /* If-Match: * (ZERR_NOT_FOUND if absent) */
    bool if_match;     /* MD5 and parts must be these (ZERR_NOT_FOUND if absent) */
    uint8_t md5[16];
    uint32_t parts; /* as object.parts */
};

struct chunk;

/* What an owner wants to compute of a body beside the store's own sums, without the loop waiting for
 * it. The owner embeds it; it may live longer than the owner's interest in the upload. */
struct put_hasher {
    /* In a worker: each chunk once, in order. ZERR_NOMEM. */
    int (*update)(struct put_hasher *, const struct chunk *);
    /* In a worker, behind the last chunk and the MD5's comparison. ZERR_BAD_DIGEST: the body is not
     * what it should be, nothing is stored; ZERR_NOMEM. late: where the bytes of the last sys
     * attribute's value lie, which may be overwritten (a result that is kept with the object); NULL:
     * there is none. */
    int (*finish)(struct put_hasher *, uint8_t *late);
    /* On the loop: the store is done with it, perhaps before done(), perhaps after put_abort(). */
    void (*release)(struct put_hasher *);
};

struct put_spec {
    struct slice key;       /* 1..KEY_MAX_BYTES bytes */
    uint64_t size;          /* exactly so many bytes will come; <= BODY_MAX_BYTES */
    struct attrs meta, sys; /* all slices are copied by put_begin */
    int64_t mtime_ms;       /* 0: the time of the commit */
    struct condition cond;
    /* A part of a multipart upload: its number, and the part's (1..PART_MAX). 0: none, an object.
     * `key` is the upload's. done() gives ZERR_NO_UPLOAD if the upload has ended. */
    uint64_t upload;
    uint32_t part;
    /* NULL: none. The store's to release, if put_begin() does not fail. */
    struct put_hasher *hasher;
};

struct put_ops {
    /* put_begin() was pending: room is reserved (0), or refused (ZERR_BUSY after waiting 5 s,
     * unless waiting() says otherwise, ZERR_NO_SPACE, ...), which ends the put. */
    void (*ready)(void *user, int status);
    /* put_writable() became true again. */
    void (*writable)(void *user);
    /* 0 with what is stored, or why not; ends the put. Also called when a write failed before
     * put_commit(): the caller should stop sending. obj is valid during the call. */
    void (*done)(void *user, int status, const struct object *obj);
    /* Pending, and 5 s have passed again: true if the client has been told to be patient and so it
     * shall go on waiting. NULL: never. Must not call the store. */
    bool (*waiting)(void *user);
};

/* Bytes on their way to the disk. The owner embeds it in the buffer it read them into and hands it
 * over with put_write(); release() gives it back on the loop's thread, in any order. */
struct chunk {
    const uint8_t *data;
    size_t len;
    void (*release)(struct chunk *);
    struct chunk *next; /* the store's, while handed over */
};

struct put;

/* Reserves room. 0: ready now; ZKV_PENDING: ready() will tell; else refused and *ret untouched. */
int put_begin(struct store *, const struct put_spec *, const struct put_ops *, void *user,
              struct put **ret) ZKV_MUST_CHECK;
/* Hands over the next bytes; not more than announced (assert). Takes the chunk in every case. Never
 * blocks. Should be called only while put_writable(). */
void put_write(struct put *, struct chunk *);
bool put_writable(const struct put *);
/* All bytes have been handed over (assert). md5: what the body must have, or NULL; a mismatch gives
 * ZERR_BAD_DIGEST and nothing is stored. */
void put_commit(struct put *, const uint8_t *md5);
/* Gives up: nothing is stored, unless the commit has begun: then it may be. No call-back follows;
 * chunks are still released. */
void put_abort(struct put *);

/* ---- other changes ----------------------------------------------------------------------------
 */

/* status 0: done (for absent names too, which change nothing). */
typedef void (*store_done_fn)(void *user, int status);

/* Removes names, all or none; keys are copied; n <= RECORD_MAX_BATCH. cond applies when n is 1.
 * Errors at once: ZERR_NOMEM, ZERR_CANCELED, ZERR_BUSY, ZERR_NO_SPACE. */
int store_delete(struct store *, const struct slice *keys, size_t n, const struct condition *cond,
                 store_done_fn, void *user) ZKV_MUST_CHECK;

/* Gives the body of `src` (from reader_object(): it stays readable whatever happens to its name) a
 * second name, or the same name other attributes. No data is moved. The outcome as for a put. */
struct copy_spec {
    struct slice key;
    struct object src;
    struct extents extents; /* reader_extents() of it */
    struct attrs meta, sys;
    int64_t mtime_ms; /* 0: the time of the commit */
    struct condition cond;
};
int store_copy(struct store *, const struct copy_spec *,
               void (*done)(void *user, int status, const struct object *obj),
               void *user) ZKV_MUST_CHECK;

/* ---- multipart uploads ------------------------------------------------------------------------
 *
 * store_begin_upload -> { put_* with put_spec.upload, store_copy_part }* -> store_complete_upload
 * or store_abort_upload. An upload is known by its number, survives restarts, and is in no listing
 * and no revision until it is completed. All answers mean what those of a put mean; parts are on disk
 * when they are answered, and completing moves no bytes. */

struct upload_spec {
    struct slice key;
    struct attrs meta, sys; /* of the object to be */
    int64_t mtime_ms;       /* 0: the time of the commit */
};
/* done: the upload's number, not 0. */
int store_begin_upload(struct store *, const struct upload_spec *,
                       void (*done)(void *user, int status, uint64_t upload),
                       void *user) ZKV_MUST_CHECK;

/* A part made of bytes that are there already: [from, from + len) of the object that `src` has
 * open (len 0 only for an empty object). No data is moved, but it is read once, for its MD5. */
struct part_copy_spec {
    struct slice key; /* the upload's */
    uint64_t upload;
    uint32_t part;
    const struct reader *src; /* may be closed as soon as store_copy_part() has returned */
    uint64_t from, len;
    /* As those of a put_spec; finish() is called on the loop. Chunks are only their bytes. */
    struct attrs sys;
    struct put_hasher *hasher;
    /* Not all is read yet: called after each 32 MiB or so, with the user of done(). NULL: never. */
    void (*going_on)(void *user);
};
int store_copy_part(struct store *, const struct part_copy_spec *,
                    void (*done)(void *user, int status, const struct object *obj),
                    void *user) ZKV_MUST_CHECK;

/* Makes the object of the named parts, in that order; parts not named are given up. The outcome as
 * for a put; obj->md5 is that of the parts' MD5s one behind the other.
 * done: ZERR_NO_UPLOAD, ZERR_BAD_PART (*at: which of `parts`), ZERR_SMALL_PART (below part_min and not
 * the last), ZERR_TOO_LARGE, ZERR_PRECONDITION, ...: the upload is then as it was. */
struct part_name {
    uint32_t number; /* rising */
    bool has_md5;    /* else whatever it is */
    bool no_md5;     /* said to have what no part can have: ZERR_BAD_PART */
    uint8_t md5[16];
};
/* What the caller makes of the parts beside the list of their bytes. In a worker; what user is must
 * live until done(). */
struct complete_ops {
    /* The part that parts[at] names, and its attributes. Not 0: the outcome, with at. */
    int (*part)(void *user, size_t at, uint64_t size, struct attrs sys);
    /* All were seen, `size` bytes in all. *sys are the upload's; what they are to be for the object is
     * put there, in the arena. Not 0: the outcome. */
    int (*finish)(void *user, uint64_t size, struct attrs *sys, struct arena *arena);
};
struct complete_spec {
    struct slice key; /* the upload's */
    uint64_t upload;
    const struct part_name *parts; /* copied; 1..PART_MAX */
    size_t n_parts;
    uint64_t part_min; /* bytes */
    int64_t mtime_ms;  /* 0: the time of the commit */
    struct condition cond;
    const struct complete_ops *ops; /* NULL: none; called with the user of done() */
};
int store_complete_upload(struct store *, const struct complete_spec *,
                          void (*done)(void *user, int status, const struct object *obj, size_t at),
                          void *user) ZKV_MUST_CHECK;

/* Gives it up, with its parts. ZERR_NO_UPLOAD if there is none (of number 0 at once). */
int store_abort_upload(struct store *, struct slice key, uint64_t upload, store_done_fn,
                       void *user) ZKV_MUST_CHECK;

/* Whether it is under way, as of the last round, and of that name: 0 or ZERR_NO_UPLOAD. On the loop. */
int store_lookup_upload(struct store *, struct slice key, uint64_t upload) ZKV_MUST_CHECK;

/* The same with the attributes it began with, in the arena. */
int store_get_upload(struct store *, struct slice key, uint64_t upload, struct arena *,
                     struct attrs *ret_sys) ZKV_MUST_CHECK;

/* Parts with numbers above `after`, at most max of them. Uploads are listed by store_list(). */
struct part_entry {
    uint32_t number;
    uint64_t size;
    int64_t mtime_ms;
    uint8_t md5[16];
    struct attrs sys;
};
struct part_page {
    struct arena arena; /* holds the attributes */
    struct part_entry *entries;
    size_t n;
    bool truncated;
};
void part_page_finish(struct part_page *); /* the call-back's to call; {0} is fine */
int store_list_parts(struct store *, uint64_t upload, uint32_t after, size_t max,
                     void (*done)(void *user, int status, struct part_page *page),
                     void *user) ZKV_MUST_CHECK;

/* ---- reading ----------------------------------------------------------------------------------
 *
 * reader_open -> (opened) -> reader_read* -> reader_close. A reader goes on with the object it
 * opened, whatever happens to the name. At most two reads at a time. */

struct reader;

struct read_piece {
    const uint8_t *data;
    size_t len;
};

struct reader_ops {
    void (*opened)(void *user, int status);
    /* For each reader_read(), in order. status 0: piece is checked and valid until it is given
     * back with reader_release(). ZERR_DAMAGED: the bytes are wrong on the device, the object is
     * marked; ZERR_IO, ...: nothing is concluded. */
    void (*read)(void *user, int status, struct read_piece piece);
};

/* Looks up the name now: ZERR_NOT_FOUND, ZERR_DAMAGED. want_body: the body will
 * be read too: that of a small object then comes with the same disk access.
 * 0: open now (all was in the page cache); ZKV_PENDING: opened() will tell (it may give
 * ZERR_DAMAGED). For bodies of the original without a known MD5 it is computed now (the whole
 * body is read). */
int reader_open(struct store *, struct slice key, bool want_body, const struct reader_ops *,
                void *user, struct reader **ret) ZKV_MUST_CHECK;
/* Valid from opened on, until reader_close(). */
const struct object *reader_object(const struct reader *);
struct attrs reader_meta(const struct reader *);
struct attrs reader_sys(const struct reader *);
/* Of a multipart object: what it is made of, for a copy_spec. */
struct extents reader_extents(const struct reader *);
/* How many bytes lie together from off (inside the body) on: a read must not go beyond. The body's
 * rest, but in a multipart object that of the extent. */
uint64_t reader_span(const struct reader *, uint64_t off);
/* Of a multipart object, the range of its part with that number (as uploaded), and *ret_off,
 * *ret_len. ZERR_NOT_FOUND. Part 1 of any other object is all of it. */
int reader_part(const struct reader *, uint32_t number, uint64_t *ret_off,
                uint64_t *ret_len) ZKV_MUST_CHECK;
/* Reads [off, off + len), len <= READ_MAX_BYTES and inside the body and reader_span(). 0: the piece is there already
 * and no call-back follows; ZKV_PENDING; or an error at once. */
#define READ_MAX_BYTES (256u << 10)
int reader_read(struct reader *, uint64_t off, size_t len, struct read_piece *ret) ZKV_MUST_CHECK;
/* Gives back the oldest piece handed out. */
void reader_release(struct reader *);
/* Any time; pieces still out become invalid; no call-back follows. NULL is fine. */
void reader_close(struct reader *);

/* One page of names. query's slices are copied. The page is the call-back's to finish
 * (list_page_finish()). */
int store_list(struct store *, const struct list_query *query,
               void (*done)(void *user, int status, struct list_page *page),
               void *user) ZKV_MUST_CHECK;

/* Only the index, on the loop; ZERR_NOT_FOUND. For conditions and existence, not for serving. */
int store_lookup(struct store *, struct slice key, struct object *ret) ZKV_MUST_CHECK;

#endif

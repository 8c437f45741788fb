/* The history: files db<id>, gzip members of `zipkv.Db` messages (layout and rules: format.h).
 *
 * Three parts: reading (streamed, constant memory, damage reported and passed over), a batch
 * (records held compressed until they are flushed) and writing (append one member, or write a
 * whole new file). The only place that includes zlib besides frame.c's CRC.
 *
 * Nothing here locks or lists the directory; db_choose() in recover.c decides which file. */
#ifndef ZKV_STORE_DB_H
#define ZKV_STORE_DB_H

#include "store/format.h"
#include "store/record.h"
#include "store/vfs.h"

/* What the extra field of a member says (none in members of the original). */
struct db_extra {
    uint8_t store_id[STORE_ID_BYTES];
    uint64_t generation;
    uint64_t first_rev; /* revision of the member's first record (the next one, if it has none) */
    uint64_t count;     /* records in it */
    uint64_t last_seq;
    uint64_t member_len; /* bytes of the whole member, header to trailer */
};

/* The scalars of a Db message, as they stand at the end of a member. */
struct db_state {
    uint32_t next_backend_file;
    uint64_t features; /* unknown bits: refuse to write */
    bool has_store_id;
    uint8_t store_id[STORE_ID_BYTES];
    uint64_t generation; /* 0: the original's */
    uint64_t last_seq;
    uint32_t *open_blocks; /* malloc'd; db_state_finish() */
    size_t n_open_blocks;
};
void db_state_finish(struct db_state *);

/* Where a reader stands: a member boundary, and what came before it. {0} is the file's start. */
struct db_pos {
    uint64_t off; /* of the member's first byte */
    uint64_t rev; /* revision of its first record, i.e. records before it */
};

struct db_visitor {
    void *user;
    /* Each record, in order. rev counts damaged members' records by their extra field, so that
     * revisions stay what they were; of a record that is not in the history (record_in_history())
     * it is that of the next one that is. The record is valid during the call. Non-zero stops the
     * scan and is returned by db_scan(). May be NULL. */
    int (*record)(void *user, uint64_t rev, const struct record *);
    /* One or more members in the middle, from off on, could not be read; their records
     * [first_rev, first_rev + count) were not seen and must come from the blocks. count is exact;
     * last_seq is not below the last lost record's number and may be above it (where a member's
     * extra field was damaged too): the first `count` above the last one seen are the lost ones.
     * Non-zero stops the scan and is returned. May be NULL. */
    int (*damage)(void *user, const struct db_extra *lost, uint64_t off);
    /* Progress in bytes of the file. Non-zero stops the scan and is returned. May be NULL. */
    int (*progress)(void *user, uint64_t done, uint64_t total);
};

struct db_summary {
    struct db_state state;     /* as of the last good member */
    struct db_pos last_member; /* the last good member's start */
    struct db_pos end;         /* behind the last good member: where the next one is appended */
    uint64_t file_len;         /* > end.off: a torn or foreign tail */
    uint64_t n_damaged;        /* members passed over */
    uint64_t n_bad_headers;    /* good ones whose gzip header or extra field is damaged */
    uint64_t members;          /* good ones seen in this scan */
    bool framed_members;       /* members carry our extra field (false: the original's file) */
};
void db_summary_finish(struct db_summary *);

/* Reads members from `from` on (an exact member boundary) to the end.
 * Blocks: yes. Memory: constant (one record at a time; a record is at most RECORD_MAX_BYTES).
 * A member torn at the end of the file, zero padding, or garbage with no readable member behind
 * it is the end, not an error: end.off says where the good part ends. ZERR_CORRUPT only if nothing
 * could be read from the file's start on, or where damage cannot be passed over since no member
 * before it says which store this is. From another `from` where nothing good begins: end = from
 * (ZERR_CORRUPT if that is behind the file's end).
 * Records of a member are handed out only after the whole member has been checked (CRC, length
 * and count): a member is read twice, so nothing wrong is ever handed out.
 * Errors: ZERR_CORRUPT, ZERR_UNSUPPORTED (a newer format, unknown features are only reported in
 * state.features), ZERR_IO, ZERR_NOMEM, or the visitor's. */
int db_scan(struct vfs *, struct vfs_file *, struct db_pos from, const struct db_visitor *,
            struct db_summary *ret, struct zerr_info *) ZKV_MUST_CHECK;

/* Reads the extra field of the member at off. ZERR_NOT_FOUND: a member without one (the
 * original's); ZERR_CORRUPT: no member there, or one whose extra field is damaged;
 * ZERR_UNSUPPORTED: a newer version's. */
int db_read_extra(struct vfs_file *, uint64_t off, struct db_extra *ret) ZKV_MUST_CHECK;

/* ---- batch: records published and not flushed ---- */

/* The db_state.features that a reader of this record must know. */
static inline uint64_t record_features(const struct record *r)
{
    return record_in_history(r) && r->extents.n == 0 && r->upload == 0 ? 0 : DB_FEATURE_UPLOADS;
}

struct db_batch;
int db_batch_create(struct db_batch **ret) ZKV_MUST_CHECK;
void db_batch_destroy(struct db_batch *);
/* Encodes and deflates one record. On failure (ZERR_NOMEM) the batch is as it was: room for the
 * compressed record is made before anything is fed to deflate. */
int db_batch_add(struct db_batch *, const struct record *) ZKV_MUST_CHECK;
uint64_t db_batch_count(const struct db_batch *); /* of the history: revisions */
uint64_t db_batch_n_all(const struct db_batch *); /* of any kind */
uint64_t db_batch_bytes(const struct db_batch *); /* memory held, compressed */
/* Finishes the member: the message's scalars behind the records, gzip trailer, header with the
 * extra field. The bytes are valid until the next call on the batch. May be called again (after a
 * failed flush, with more records added and another state): the batch keeps its records until
 * db_batch_reset(). */
int db_batch_member(struct db_batch *, const struct db_state *, uint64_t first_rev,
                    struct slice *ret) ZKV_MUST_CHECK;
void db_batch_reset(struct db_batch *); /* empty again, memory kept */

/* Writes a whole new file `name` (which must not exist) of members, streamed: feed records, then
 * finish. Used by the rewrite at start, by rebuild, and for the first db of an empty directory.
 * Members of about 1 MiB compressed each; last_seq of all but the last is that of their last record.
 * finish: fsync of the file (not of the directory).
 * Until finish succeeds the file is worthless; abort unlinks it. */
struct db_writer;
int db_writer_create(struct vfs *, const char *name, const struct db_state *,
                     struct db_writer **ret) ZKV_MUST_CHECK;
int db_writer_add(struct db_writer *, const struct record *) ZKV_MUST_CHECK;
/* state: of the last member; every member carries it. ret_end: behind the last member.
 * Destroys the writer, on failure too (the file is unlinked then). */
int db_writer_finish(struct db_writer *, const struct db_state *, struct db_pos *ret_last,
                     struct db_pos *ret_end) ZKV_MUST_CHECK;
void db_writer_abort(struct db_writer *);

#endif

/* The inside of struct store, for the files of this folder that make it up:
 *
 *   store.c    open, stop, statistics, listings, look-ups
 *   block.c    block files and room in them
 *   put.c      uploads: reservation, body jobs, back-pressure
 *   put_wait.c uploads that wait for room
 *   change.c   deletes, copies, and other records without a body
 *   upload.c   multipart uploads
 *   list.c     pages of names, uploads and parts
 *   lane.c     what happens next on the commit lane; seal; tidy.c void numbers and rooms
 *   flush.c    the history on disk
 *   round.c    commit rounds; round_write.c what they write
 *   reader.c   reading and damage; body.c bytes and their sums
 *   recover.c  start; lost.c names whose records are damaged
 *   rebuild.c  a new history from the blocks
 *
 * The commit lane. Everything that orders things runs here, one job at a time: commit rounds,
 * sealing, tidying up after aborts, flushes, index upkeep. So the index's writer connection, the
 * batch, the db file and the sequence numbers have one owner, which is the lane's job while it
 * runs and the loop between jobs; no lock is needed for them. lane_kick() starts the next job if
 * none runs. Body jobs and read jobs run beside the lane. */
#ifndef ZKV_STORE_STORE_PRIV_H
#define ZKV_STORE_STORE_PRIV_H

#include "store/block.h"
#include "store/db.h"
#include "store/index.h"
#include "store/store.h"

#define UNSYNCED_MAX (16u << 20) /* received and not yet synced, see put.c */
#define UNSYNCED_MIN (1u << 20)
#define UNSYNCED_SECONDS 4         /* ... and no more than the disk took in so long */
#define PUT_QUEUE_MAX (512u << 10) /* of one upload, in memory */
#define PUT_JOB_MIN (128u << 10)   /* less waits for more, or goes with the commit round */
#define QUEUED_MAX (8u << 20)      /* of all uploads, in memory */
#define QUEUED_EAGER (2u << 20)    /* above it nothing waits for more */
#define PUT_WAIT_MS 5000           /* for room, before ZERR_BUSY */
#define AHEAD_MIN (8u << 20)       /* of what may be on its way to us, see put_wait.c */
#define AHEAD_FIRST (16u << 20)    /* ... before the disk's speed is known */
#define ROUND_MAX 256              /* commits in a round */
#define BATCH_MAX_BYTES (1u << 20) /* compressed; then a flush */
#define BATCH_MAX_RECORDS 100000
#define BLOCK_CACHE_MAX 64 /* sealed blocks kept open */
#define BLOCK_HASH 256
#define UPLOAD_MAX_AGE_MS (7ll * 24 * 3600 * 1000) /* uploads not completed are given up */
#define INDEX_ANSWER_MS 5000      /* so long commits wait for an index that cannot be written */
#define INDEX_RETRY_MS 10000      /* then the store gives up */
#define ALLOCATE_MIN (256u << 10) /* smaller frames are not preallocated */

/* ---- what a round commits ---- */

enum commit_kind {
    COMMIT_PUT,    /* an upload: put.c */
    COMMIT_DELETE, /* change.c */
    COMMIT_RECORD, /* one record without bytes: copies, multipart uploads; change.c, upload.c */
    COMMIT_VOID,   /* tidy.c's own */
};

struct commit {
    struct commit *next;
    enum commit_kind kind;
    struct condition cond;
    struct record *recs; /* one; several for a DELETE of many */
    size_t n_recs;
    int status;

    /* The frame. */
    struct block *block;                    /* referenced; NULL: no room yet, or nothing to write */
    struct commit *block_next, *block_prev; /* in block->frames or block->voids */
    uint64_t off, frame_len;
    struct frame_head head;
    uint8_t head_bytes[FRAME_HEAD_BYTES];
    bool head_written;
    bool touched;  /* something of the frame may be on disk */
    bool recorded; /* its round failed: the record may be on disk, with a number that must not count
                    */
};

enum put_state {
    PUT_WAITING,  /* for room; in st->waiting */
    PUT_OPEN,     /* has room, bytes come */
    PUT_COMPLETE, /* all bytes handed over, committing asked for; body job may still run */
    PUT_QUEUED,   /* in st->commits */
    PUT_ROUND,    /* in the running round */
    PUT_VOIDING,  /* ended; its room is being made void: in block->voids, freed by the lane */
};

struct put {
    struct commit c; /* c.recs points at rec */
    struct record rec;
    struct store *st;
    struct put *next, *prev; /* in st->puts */
    struct put *wait_next;
    enum put_state state;
    const struct put_ops *ops; /* NULL: nobody listens any more */
    void *user;
    uint64_t wait_since_ns;
    uint64_t heard_ns; /* when it got room, brought bytes, or was told to go on */
    unsigned n_waits;  /* times waiting() was called */

    struct chunk *queue, **queue_tail; /* handed over, in no job yet */
    uint64_t queued;                   /* bytes in it */
    uint64_t received;                 /* bytes handed over in all */
    bool stalled;                      /* was told not to write on */
    bool job_running;
    bool has_md5;
    uint8_t md5[16];           /* expected */
    struct put_hasher *hasher; /* the owner's; NULL: none. The job's while it runs */
    int error;                 /* a body job failed, or the block was poisoned */

    /* The job's while it runs. */
    struct job job;
    bool job_writes_head;
    int job_status;
    struct chunk *in_job;
    uint64_t in_job_bytes;
    struct body_hash *hash;
    struct buf sums;       /* produced by this job, not yet written */
    uint64_t hashed;       /* body bytes hashed and written */
    uint64_t sums_written; /* bytes of sums */
};

/* Of a commit of kind COMMIT_PUT. */
static inline struct put *put_of(struct commit *c)
{
    return container_of(c, struct put, c);
}

/* ---- lane ---- */

enum lane_work {
    LANE_IDLE,
    LANE_ROUND,
    LANE_GATHER,
    LANE_INDEX_RETRY,
    LANE_VOID,
    LANE_TIDY,
    LANE_SEAL,
    LANE_FLUSH,
    LANE_UPKEEP
};

struct head_write { /* the head of a frame reserved before one that commits */
    struct block *block;
    uint64_t off;
    uint8_t bytes[FRAME_HEAD_BYTES];
};

struct round_block {
    struct block *block; /* referenced */
    uint64_t dirty;      /* of block->dirty at the beginning */
    bool sync;
    bool sync_dir;
    bool failed;  /* to be poisoned */
    uint64_t end; /* behind the last frame that commits */
};

struct round {
    struct commit *items;
    size_t n_items;
    uint64_t first_seq, next_seq; /* numbers handed out: [first_seq, next_seq) */
    struct round_block *blocks;
    size_t n_blocks, cap_blocks;
    struct head_write *heads;
    size_t n_heads, cap_heads;
    int sync_status;       /* a write or sync failed: the whole round is void */
    int index_status;      /* frames are on disk, the index or the batch is not complete */
    bool index_done;       /* the transaction is committed; what is missing is the batch */
    int checkpoint_status; /* of the checkpoint behind it */
    size_t n_batched;      /* records of this round in the batch */
    uint64_t n_published;  /* records of it that count */
    uint64_t published_seq, published_last_seq; /* the mark's, behind them */
    uint64_t bytes_synced, sync_ns;
    uint64_t began_ns;
    bool on_loop;       /* run by the loop itself: may not checkpoint the index */
    struct buf scratch; /* records, CRCs, sums */
    struct iovec *iov;
    int n_iov;
};

/* Small index changes that wait for the lane: damage marks and late MD5s. */
struct upkeep {
    struct upkeep *next;
    struct place body;
    bool is_md5;
    uint8_t md5[16];
    struct place frame; /* of the record that is damaged, ... */
    size_t key_len;     /* ... and its name, which alone is marked. 0: whoever has the body */
    uint8_t key[];
};

/* A job that reads the index on ix_list. One at a time, in order. */
struct index_job {
    struct index_job *next;
    struct job job;
    struct store *st;
    void (*run)(struct index_job *);
    void (*done)(struct index_job *); /* frees it */
};

struct store {
    struct store_config cfg;
    char *dir, *index_path;
    struct vfs *vfs;
    struct vfs_file *lock;
    uint64_t reserve, fs_total;

    /* Blocks. */
    struct block *block_hash[BLOCK_HASH];
    struct block *open_blocks; /* FILLING, DRAINING, SEALING, POISONED */
    struct block *cache_head, *cache_tail;
    unsigned n_cached;
    struct block *current; /* referenced; NULL: none yet */
    uint32_t next_block;
    uint8_t store_id[STORE_ID_BYTES];
    uint64_t session;

    /* Uploads. */
    struct put *puts;
    struct put *waiting, **waiting_tail;
    uint64_t unsynced, unsynced_max;
    uint64_t ahead_max; /* of unsynced and what clients have sent that was not read yet */
    uint64_t synced_bytes, synced_ns, last_synced_ns; /* the disk's speed, lately */
    uint64_t queued;
    bool any_stalled;   /* some upload was told to stop */
    uint64_t *promised; /* frame bytes of uploads not ended: cfg.promised or own_promised */
    uint64_t own_promised;
    uint64_t free_bytes, free_checked_ns;

    /* The lane. */
    enum lane_work lane;
    struct job lane_job;
    struct commit *commits, **commits_tail; /* waiting for a round */
    size_t n_commits;
    uint64_t last_sync_ns; /* what the last round's syncs took */
    size_t n_expected;     /* commits in the last round and waiting when it ended */
    struct round round;
    struct block *lane_block; /* being tidied or sealed */
    struct commit *lane_voids;
    uint64_t lane_cut;           /* tidy: where the file ends; UINT64_MAX: no cut */
    uint64_t lane_tail;          /* tidy: the block's before the cut */
    struct commit *lane_frame;   /* the VOID record being written */
    struct db_state flush_state; /* of the member being flushed */
    uint64_t flush_records;
    int lane_status;
    bool lane_removed;        /* seal: the block had nothing and was removed */
    bool tidy_failed;         /* not tried again before the next tick */
    enum lane_work lane_last; /* fairness: a seal may go before the next round */
    bool lane_sealed_last;    /* ... and of seals and tidying it was a seal last */
    uint64_t loop_again_ns;   /* no rounds on the loop before: one took long there */
    uint64_t next_seq;        /* number of the next commit */
    uint64_t last_seq;        /* highest published or void */
    uint64_t durable_seq;
    uint64_t mark_seq, mark_last_seq; /* for the index's mark: of the last published record of the
                                         history, and of any kind */
    uint64_t void_first, void_last;   /* to be declared void before anything else; 0: none */
    /* A round failed, and the history does not say yet that its numbers are void: behind a gap
     * acknowledged records would seem to be lost. Until then no round begins. */
    bool gap_unflushed;
    bool index_down;
    bool index_retry; /* the tick says: now */
    uint64_t index_down_since_ns;
    struct upkeep *upkeep;
    struct upkeep *lane_upkeep;

    /* History. The lane's while it runs. */
    pthread_mutex_t db_mutex; /* db_exists and what the first db sets */
    bool db_exists;
    struct vfs_file *db_file;
    bool db_given_up; /* a sync or cut of it failed: no more appends, the next id takes over */
    int db_error;     /* of that sync or cut, until flush_report() has told it */
    uint32_t db_id;
    struct db_pos db_last, db_end;
    uint64_t db_members;
    uint64_t generation;
    struct db_batch *batch;
    uint64_t n_records; /* published = revision of the next */
    uint64_t n_flushed; /* of them in the db */
    bool flush_failed;  /* writes get ZERR_BUSY until one succeeds */
    bool flush_wanted;
    bool stop_flushed; /* at stop a failing flush is tried once */
    uint64_t flush_retry_ns;

    struct index *ix_write, *ix_read, *ix_list;
    bool index_made;                       /* by this start, from the history */
    bool index_damaged;                    /* to be removed: the next start makes it anew */
    struct index_job *lists, **lists_tail; /* waiting; the first one runs if list_running */
    bool list_running;
    int64_t uploads_checked_ms; /* when old ones were last looked for; 0: never */

    struct store_stats stats; /* disk_bytes: of sealed blocks */
    unsigned n_readers;
    unsigned n_jobs; /* body, read and list jobs under way */
    bool stopping, stopped, failed;
    int stop_status;
    void (*stopped_cb)(void *, int);
    void *stopped_user;
    struct job stop_job;
};

/* store.c */
void store_note(struct store *, enum log_level, const char *fmt, ...) ZKV_PRINTF(3, 4);
void store_fail(struct store *, const char *fmt, ...) ZKV_PRINTF(2, 3); /* fatal(), once */
void store_refuse_commits(struct store *, int status); /* ends what waits for a round */
/* Stopping and nothing is left to do: ends the stop. From lane_kick() and whatever else ends work.
 */
void store_stop_step(struct store *);
/* Gives back what a look into the index came to. ZERR_CORRUPT: the index is damaged, nothing more
 * can be told from it: the store fails, and store_destroy() removes the index. */
int store_saw_index(struct store *, int zerr);
void store_drain_current(struct store *);  /* the current block takes no more frames */
void store_refresh_totals(struct store *); /* while the lane is the caller's */
/* Refuses new writes: ZERR_CANCELED, ZERR_BUSY, ZERR_NO_SPACE; 0 if they may go on. deletes may use
 * half of the reserve. */
int store_may_write(struct store *, uint64_t bytes, bool is_delete) ZKV_MUST_CHECK;

/* put.c */
int put_hash_chunk(struct put *, const struct chunk *) ZKV_MUST_CHECK; /* worker: the next one */
/* Into block->frames, with the caller's reference to the block; counts promised room. */
void frame_join(struct commit *, struct block *);
void frame_leave(struct commit *);
/* The frame will never commit: takes its room back or has the lane make it void. Leaves the block;
 * true: the commit may be freed now, false: the lane will (commit_free()). */
bool frame_give_up(struct commit *) ZKV_MUST_CHECK;
void commit_free(struct commit *); /* of either kind, no longer in any block */
int put_reserve(struct put *) ZKV_MUST_CHECK;
/* put_wait.c */
bool put_must_wait(const struct put *);
void put_wait(struct put *);             /* into st->waiting */
void put_wait_end(struct put *);         /* out of it */
void put_resume_waiting(struct store *); /* room may have come */
/* So many bytes were synced in so long. */
void put_adapt_ahead(struct store *, uint64_t bytes, uint64_t ns);
/* put.c again */
void put_resume_stalled(struct store *);
void put_end_round(struct put *);                /* the round is done with it: c.status */
void put_fail_block(struct block *, int status); /* every upload into it */
void put_free(struct put *);
/* In a round: the owner is told now, whatever becomes of it. */
void put_answer(struct put *, int status);
/* Ends the uploads that are still being received; complete_too: also those not queued yet that have
 * all their bytes, and might still commit. */
void put_abort_all(struct store *, int status, bool complete_too);

/* change.c */
/* Who waits for a change, and what is to be told: one of the three, or none. */
struct change_answer {
    store_done_fn done;
    void (*stored)(void *user, int status, const struct object *);
    void (*completed)(void *user, int status, const struct object *, size_t at); /* at: 0 */
    void (*begun)(void *user, int status, uint64_t seq);
    void *user;
};
/* A COMMIT_RECORD; rec is copied. */
int change_submit(struct store *, const struct record *rec, const struct condition *,
                  const struct change_answer *) ZKV_MUST_CHECK;
int change_prepare(struct commit *); /* on the loop, when its round begins: looks up, reserves */
void change_end_round(struct commit *);
void change_answer(struct commit *, int status); /* as put_answer() */
void change_free(struct commit *);

/* reader.c */
/* What the object is made of, whatever it is; empty if it is. Valid as long as the reader. */
struct extents reader_all_extents(const struct reader *);

/* list.c */
void index_job_submit(struct store *, struct index_job *);

/* tidy.c: _begin and _finish on the loop, _run in the lane's job */
int void_begin(struct store *) ZKV_MUST_CHECK;
int void_run(struct store *) ZKV_MUST_CHECK;
void void_finish(struct store *);
/* Numbers of the failed round in blocks that are poisoned are to be declared void. */
void void_poisoned(struct store *);
bool tidy_wanted(const struct store *, const struct block *);
void tidy_begin(struct store *, struct block *);
int tidy_run(struct store *) ZKV_MUST_CHECK;
void tidy_finish(struct store *);
/* Records of a round that failed are on disk, and could not be made VOID yet. */
bool lane_owes_void(const struct store *);

/* lane.c */
void lane_kick(struct store *);
void lane_queue(struct store *, struct commit *);
void lane_unqueue(struct store *, struct commit *);

/* flush.c */
int flush_begin(struct store *) ZKV_MUST_CHECK; /* loop: what the member says beside its records */
/* A record that counts, into the batch; the features it needs, into flush_state. */
int flush_add(struct store *, const struct record *) ZKV_MUST_CHECK;
int db_flush_run(struct store *) ZKV_MUST_CHECK; /* worker; also recovery */
void flush_finish(struct store *);               /* loop: st->lane_status */
void flush_report(struct store *); /* loop; also recovery: says that a db file was given up */
/* At start: a new file with the next id in large members, if small ones waste a quarter of this one and
 * at least DB_WASTE_MIN. The old one is removed when the new one is on disk. Blocks. */
int db_rewrite(struct store *) ZKV_MUST_CHECK;
void index_fill_mark(const struct store *, struct index_mark *ret);
int store_ensure_db(struct store *)
    ZKV_MUST_CHECK; /* the first db of an empty directory; any thread */

/* Bytes of a block that a sync or the block's end has settled. */
void block_settle(struct block *, uint64_t bytes);

/* round.c */
bool round_is_quick(const struct store *); /* begun: the loop itself may run it */
bool round_begin(struct store *);          /* false: nothing to do */
void round_run(struct store *);
int round_write(struct store *) ZKV_MUST_CHECK; /* round_write.c */
void round_index_run(struct store *);
void round_finish(struct store *);
void round_deliver(struct store *); /* the answers, in number order */
void round_adapt(struct store *);   /* how much may be unsynced, from what the last syncs took */

/* recover.c */
int recover(struct store *, struct zerr_info *) ZKV_MUST_CHECK;

#endif

/* A store under a workload: each operation goes to the store and to the model, and before each change
 * of the disk a snapshot of everything is taken: the disk with what is volatile on it, and the look-up
 * index as it is at that moment.
 *
 * Functions that begin with w_ are the steps of workloads; they assert what cannot fail there. */
#ifndef ZKV_TEST_CRASH_WORLD_H
#define ZKV_TEST_CRASH_WORLD_H

#include "model.h"
#include "support/store_fixture.h"
#include "support/vfs_mem.h"

#define SNAPSHOTS_MAX 4096
#define IMAGES_MAX 1024
#define UPLOADS_MAX 8

struct snapshot {
    struct mem_disk disk;
    unsigned image;      /* of the index */
    unsigned images_end; /* images from here on are of a store that has died in between */
    unsigned n_events;   /* of the model */
    char what[48];       /* the change that follows */
};

/* The index's files at some moment; ptr NULL: no such file. */
struct image {
    struct buf db, wal;
};

struct upload { /* one at a time of each */
    struct world *w;
    struct put *put;
    struct slice body;
    size_t sent;
    unsigned req;
    bool ready, done;
    int status;
};

struct world {
    struct fixture f;
    struct model m;
    uint64_t seed, rng;
    struct snapshot *snaps;
    uint32_t n_snaps;
    uint32_t opened_at; /* snapshot number when the last start began */
    struct image images[IMAGES_MAX];
    unsigned n_images;
    struct upload uploads[UPLOADS_MAX];
    unsigned sessions;              /* seeds of the disks' randomness */
    unsigned begun[BEGUN_MAX];      /* multipart uploads of the workload: the model's version */
    uint64_t numbers[VERSIONS_MAX]; /* of such a version: the store's number of it, 0: none */
    bool refused[REQUESTS_MAX]; /* for want of space: may be there until w_settle() is through */
    uint32_t damaged_at;        /* snapshot from which on the db is damaged; NEVER */
};

void world_init(struct world *, uint64_t seed, enum store_sync);
/* Behind the workload: its history is read, and its numbers are in the model. */
void world_end(struct world *);
void world_finish(struct world *);
/* The index file gets these contents. NULL: there is none. */
void world_set_index(struct fixture *, const struct image *);

uint64_t w_rnd(struct world *, uint64_t n); /* below n */
size_t w_small(struct world *);             /* sizes: of a body that fits many times into a block */
size_t w_large(struct world *);             /* ... of which two do not fit */

void w_open(struct world *);
void w_stop(struct world *);
/* The process dies before a change of the disk that the store made since the last start (or during
 * it); power too if cut. Everything since has not happened. */
void w_die(struct world *, bool cut, bool in_start);
void w_settle(struct world *); /* all that was begun ends */
void w_step(struct world *, unsigned jobs);

void w_put(struct world *, unsigned key, size_t size);
void w_delete(struct world *, unsigned first_key, unsigned n);
void w_copy(struct world *, unsigned from, unsigned to);

/* Uploads beside each other, number 0..UPLOADS_MAX-1. */
void w_begin(struct world *, unsigned i, unsigned key, size_t size);
void w_send(struct world *, unsigned i, size_t n); /* not more than is left */
void w_commit(struct world *, unsigned i);         /* what is left, and the end */
void w_commit_wrong(struct world *, unsigned i);   /* with an MD5 that does not match */
void w_abort(struct world *, unsigned i);

/* Multipart uploads, number 0..BEGUN_MAX-1. Of one that is not under way nothing is asked, but to
 * complete or abort it again, which must be refused. */
void w_upload(struct world *, unsigned u, unsigned key);
void w_begin_part(struct world *, unsigned i, unsigned u, uint32_t part, size_t size);
void w_part(struct world *, unsigned u, uint32_t part, size_t size);
void w_part_copy(struct world *, unsigned u, uint32_t part, unsigned from, size_t off, size_t len);
void w_complete(struct world *, unsigned u, uint32_t but); /* of all parts acknowledged but one */
void w_abort_upload(struct world *, unsigned u);
/* A wrong byte in a member of the history that has records. The index, which could do without it, is
 * gone, too. */
void w_damage_db(struct world *);
void w_expire(struct world *, unsigned key); /* all uploads, since a new one begins a week later */

/* The history as the db files in the directory have it. Keys and versions are the model's. */
size_t world_history(struct model *, struct vfs *, struct change *ret, size_t max,
                     uint32_t *ret_next_block);

#endif

/* A store under a workload of everything at once, with a model of what it must hold beside it: for
 * tests that make something fail while it runs, or before it runs again.
 *
 * Calling sequence:
 *   world_init(&w, sync); world_fill(&w);      a store with a few objects
 *   (arm the fault) world_work(&w);            the workload; all its asserts hold under any fault
 *   (disarm)  world_expect_well_again(&w);     what is visible is right; writes are taken again
 *   (stop, kill or cut it)  world_expect_clean_start(&w, lost);
 *   world_finish(&w);
 *
 * A failed check prints `what` and `n`, which say which fault it was, and ends the test. */
#ifndef ZKV_TEST_FAULT_WORLD_H
#define ZKV_TEST_FAULT_WORLD_H

#include "support/store_fixture.h"

#define N_KEYS 12

struct key_model {
    unsigned now;     /* the version that is visible; 0: none */
    uint32_t allowed; /* versions that may be there after a crash, by bit */
};

struct change_op {
    struct world *w;
    unsigned keys[4], versions[4], n;
    int rc, status;
};

/* A multipart upload; statuses: 1: not asked for, or not answered. */
struct upload_op {
    unsigned key, version;
    uint64_t number; /* 0: none */
    int part_status, end_status;
    size_t part_size; /* of its part 1 */
};
enum { UPLOAD_OF_TWO, UPLOAD_OF_A_COPY, UPLOAD_ABORTED, UPLOAD_LEFT, N_UPLOADS };

struct world {
    struct fixture f;
    struct key_model keys[N_KEYS];
    unsigned next_version;
    const char *what; /* for messages */
    uint64_t n;
    int starts; /* that world_expect_clean_start() makes */
    /* Here, since a fatal error may leave them unanswered until the stop. */
    struct change_op copy, del, late_del;
    struct upload_op uploads[N_UPLOADS];
};

void world_init(struct world *, enum store_sync); /* an empty directory on a vfs_mem */
void world_finish(struct world *);
void world_fill(struct world *); /* opens; four objects */
/* Uploads side by side, in blocks of their own, given up, overwriting; a copy, a delete of several,
 * and a second wave behind what the first one broke. */
void world_work(struct world *);
/* Multipart uploads: one that is completed, one of another object's bytes, one given up, and one that
 * stays under way with a part. Another workload than the one above; once in a world's life. */
void world_uploads(struct world *);
/* Those under way are, with their parts; those that ended are not. */
void world_expect_uploads(struct world *);
/* One upload, to its end. */
void world_put(struct world *, unsigned key);
/* As fx_get(), of a key that is there; ZERR_CORRUPT: with other bytes than it should have. A key
 * that is not there gives 0. */
int world_get(struct world *, unsigned key, struct buf *out);
/* Pumps and lets time pass until nothing waits. */
void world_settle(struct world *);
/* As fx_stop(). After a fatal error it must not say that all is well. */
void world_stop(struct world *);

/* A closed store, to begin with many times. */
struct world_image {
    struct vfs *vfs;
    struct key_model keys[N_KEYS];
    unsigned next_version;
    struct upload_op uploads[N_UPLOADS];
    struct buf index[3];
};
void world_save(struct world *, struct world_image *);
void world_load(struct world *, const struct world_image *); /* after world_init() */
void world_image_finish(struct world_image *);

/* Every key has the version that the model says; after_crash: one of the allowed ones, which the
 * model then takes for its own. */
void world_expect_keys(struct world *, bool after_crash);
/* After the fault: the keys are right, a write is taken, no counter has drifted. Not after a fatal
 * error. */
void world_expect_well_again(struct world *);
/* Opens (the second time without its index), looks at the keys, writes, stops, some times over.
 * lost: the store has said that acknowledged objects may be lost. */
void world_expect_clean_start(struct world *, bool lost);
/* A call failed: there must be a warning or an error. */
void world_expect_told(const struct world *);
void world_report(const struct world *, const char *text, unsigned key, int rc);

#endif

/* Opens what a crash left, and holds it against the model. */
#ifndef ZKV_TEST_CRASH_CHECK_H
#define ZKV_TEST_CRASH_CHECK_H

#include "world.h"

/* The look-up index that a state has. */
enum index_kind {
    INDEX_AT,      /* as it was at the cut */
    INDEX_EARLIER, /* at an earlier commit */
    INDEX_AHEAD,   /* at a later one: of blocks that the cut took away */
    INDEX_ABSENT,
    INDEX_GARBAGE, /* no database, half of one, the database without its log, ... */
    N_INDEX_KINDS,
};

/* One state, wholly: with the workload and its seed it can be made again. */
struct state {
    uint32_t snapshot;
    struct mem_cut cut;
    enum index_kind index;
    uint64_t index_rng; /* which */
};

struct checker {
    struct world *w;
    struct fixture f; /* where states are opened */
    struct seen *seen;
    bool compound;   /* crash during the recovery, too */
    bool may_report; /* damage, in this state */
    bool
        ahead; /* the index knows of what this disk has not: that is damage, if it can tell whose */
    bool is_damaged; /* a start has said so */
    bool must_fit;   /* the index: it need not be rebuilt (but for the original's directories) */
    uint64_t n_opened;
    uint64_t n_compound;
    struct buf why; /* of the last failure */
};

void checker_init(struct checker *, struct world *);
void checker_finish(struct checker *);
/* True if such a state (same disk, index and expectations) has not been opened yet. */
bool checker_is_new(struct checker *, const struct state *);
/* 0, or what is wrong in `why`. */
int checker_run(struct checker *, const struct state *) ZKV_MUST_CHECK;

#endif

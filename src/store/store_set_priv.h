/* The inside of struct store_set, for store_set.c (which stores there are, who uses them, time) and
 * store_entry.c (one store: its states and jobs). */
#ifndef ZKV_STORE_STORE_SET_PRIV_H
#define ZKV_STORE_STORE_SET_PRIV_H

#include <stdatomic.h>

#include "store/store_set.h"

enum entry_state {
    ENTRY_MAKING,
    ENTRY_CLOSED,
    ENTRY_OPENING,
    ENTRY_OPEN,
    ENTRY_CLOSING,
    ENTRY_FAILED,
};

struct use_list {
    struct store_use *first, *last;
    size_t n;
};

struct store_entry {
    struct store_set *set;
    char name[STORE_NAME_MAX + 1];
    int64_t born_ms;
    enum entry_state state;
    struct use_list waiting;
    struct use_list users; /* OPEN only */
    uint64_t idle_ns;      /* OPEN without uses: since when */

    /* What store_set_create() or store_set_remove() asked for, and is to be answered. */
    store_done_fn answer;
    void *answer_user;
    uint64_t answer_ns; /* since when */
    bool removing;      /* ... the latter */
    bool set_aside;     /* CLOSING: because it is being removed, and it is empty */

    /* The job's while it runs (MAKING, OPENING, CLOSING when `handed`), else the loop's. */
    struct job job;
    int job_status;
    struct vfs *vfs;       /* the store's folder; MAKING: the folder of all, if it was not there */
    struct vfs *root;      /* MAKING: the set's when that began */
    struct store *store;   /* OPEN, CLOSING */
    struct zerr_info info; /* why it failed */
    uint64_t told_ns;      /* progress */

    bool gone;          /* OPENING has not found its folder */
    bool handed;        /* CLOSING: the store has stopped, the job destroys it */
    bool dying;         /* the store has called fatal() */
    bool noted;         /* ... and it was acted upon, at failed_ns */
    int why;            /* FAILED */
    uint64_t failed_ns; /* FAILED, or dying */
    char *told;         /* the failure that was noted last; NULL: none since it was open */

    bool was_used;
    struct store_stats last; /* when it was closed last: what there is */
};

struct store_set {
    struct store_set_config config;
    struct vfs *root; /* DIR/buckets; NULL: there is none yet */
    int64_t home_born_ms;
    struct store_entry **entries; /* by name */
    size_t n_entries, cap_entries;
    size_t n_waiting; /* uses, and removals */
    struct job kick_job;
    bool kicked;
    int status;              /* what could not be written */
    struct store_stats past; /* of this session, by stores that are closed */
    atomic_bool stopping;    /* openings look at it */
    bool stopped;
    void (*stopped_cb)(void *user, int status);
    void *stopped_user;
};

/* store_set.c */
uint64_t set_now_ns(const struct store_set *);
void set_note(const struct store_entry *, enum log_level, const char *fmt, ...) ZKV_PRINTF(3, 4);
/* All entries are looked at soon, not from inside this call. */
void set_kick(struct store_set *);
void set_drop_entry(struct store_entry *);         /* out of the set, and freed */
unsigned set_count_live(const struct store_set *); /* OPENING, OPEN, CLOSING */
/* Whether one more may be opened. If not an idle one is closed, unless enough are closing already:
 * then there is a kick. */
bool set_make_room(struct store_set *);
/* Closes the one that has been idle for longest, at least so long. False: there is none. */
bool set_close_idlest(struct store_set *, uint64_t min_ns);
void set_add_past(struct store_set *, const struct store_stats *);

/* store_entry.c */
void entry_step(struct store_entry *); /* does what can be done now */
void entry_make(struct store_entry *); /* MAKING begins */
void entry_begin_close(struct store_entry *);
bool entry_is_idle(const struct store_entry *);
bool entry_wants_opening(const struct store_entry *);
bool entry_has_objects(const struct store_entry *); /* OPEN */
/* All that wait, and a removal, are told. */
void entry_refuse(struct store_entry *, int status);
void entry_answer(struct store_entry *, int status); /* a creation or removal, if there is one */
void use_wait(struct store_entry *, struct store_use *);
void use_unlink(struct store_use *); /* it waits no more */
void use_begin(struct store_entry *, struct store_use *);
void use_finish(struct store_use *);
void entry_tick(struct store_entry *, uint64_t now); /* ends what has lasted long enough */

#endif

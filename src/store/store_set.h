/* The stores of a server: the one in its directory ("home", which is its owner's), and one in each
 * folder of DIR/buckets, complete and independent, known by the folder's name.
 *
 * Names are learnt once, when the set is opened, and then change only by store_set_create() and
 * store_set_remove(). A name is taken for a path only when store_name_ok() has said so.
 *
 * A store is open while it is used, and for a while longer. Whoever wants one has a struct
 * store_use: from ready until store_use_end() the store is there and stays. States of a name:
 *
 *   MAKING --> CLOSED --> OPENING --> OPEN --> CLOSING --> CLOSED, FAILED, or gone
 *                ^           |         |
 *                +---------- FAILED <--+ (by way of CLOSING)
 *
 *   MAKING   the folder is being made (job); nobody sees it yet
 *   CLOSED   nothing of it is in memory but its name and figures
 *   OPENING  store_open() runs (job). Those who want it wait, STORE_WAIT_MS at most: ZERR_BUSY
 *   OPEN     n_uses of it are under way; without any it is idle
 *   CLOSING  store_stop(), then store_destroy() (job); whoever wants it waits as above
 *   FAILED   it could not be opened, or its store has called fatal(). Those who want it are told
 *            why; STORE_RETRY_MS later the next one who asks has it opened again
 *
 * What may take long (store_open() with its recovery, store_destroy(), making and moving folders)
 * is a JOB_STORE: other stores go on meanwhile. An idle store is closed after STORE_IDLE_MS; where
 * more than STORES_KEPT are open, after STORE_EXTRA_IDLE_MS, the longest idle first. Not sooner, for
 * each closing seals a block and flushes: those used in turn, be they a few or twenty, stay open.
 * Only where STORES_OPEN_MAX are open does another one wait, and the longest idle is closed at once
 * for it; if none is idle it waits for one.
 *
 * fatal() of a store ends that store alone: that is noted, nobody gets it any more or waits for it
 * (ZERR_IO), the requests that have it end (all that is left to it is to fail them; readers may go on
 * for STORE_WAIT_MS, then they are told lost()), it is stopped and closed, and FAILED. Its next
 * opening recovers it as the next start of the server would: from what is on the device. Only what
 * store_set_stop() reports remembers it.
 *
 * Crash safety. A store is made by mkdir, and an empty folder is an empty store (as DIR itself
 * is): there is nothing half-made. It is removed by one rename to ".deleted-NAME-TIME", when it has
 * been closed and has no object. Both are synced in DIR/buckets, and that itself in DIR, before they
 * are answered. Multipart uploads under way do not keep a store from being removed, as on S3; they
 * go with the folder. Names with a dot in front are never stores.
 *
 * Threads: all functions and call-backs on the loop's thread, but note(), which also comes from the
 * worker that opens or closes a store. Call-backs are never made from inside the call that asked.
 *
 * Calling sequence:
 *   store_set_open -> { store_set_use -> (ready) -> store_use_end, ... } -> store_set_stop ->
 *   (stopped) -> store_set_destroy -> store_stop() of home */
#ifndef ZKV_STORE_STORE_SET_H
#define ZKV_STORE_STORE_SET_H

#include "store/store.h"

#define STORES_KEPT 8                   /* stay open without being used, for long */
#define STORES_OPEN_MAX 32              /* at the same moment, used or not */
#define STORES_MAX 1000                 /* are there; more are not made */
#define STORE_IDLE_MS (10u * 60 * 1000) /* seals a block and flushes: not too often */
#define STORE_EXTRA_IDLE_MS 30000       /* of those above STORES_KEPT */
#define STORE_WAIT_MS 5000              /* for one that is not open, before ZERR_BUSY */
#define STORE_RETRY_MS 5000             /* between two attempts to open one */
#define STORE_PROGRESS_NS 10000000000u  /* between two words about a long opening */
#define STORE_NAME_MIN 3
#define STORE_NAME_MAX 63

/* Small letters, digits, '.' and '-', 3 to 63 of them, beginning and ending with a letter or digit,
 * no two dots in a row, no IPv4 address, none of the beginnings and ends that Amazon S3 keeps for
 * itself: its rules for the names of buckets. So a name is never "." or "..", has no '/', and never
 * is that of a folder that was set aside. */
bool store_name_ok(struct slice name);

struct store_set_config {
    struct store *home; /* open, and the caller's; outlives the set */
    const char *home_name;
    /* What the others are opened with. vfs, dir and index_path are those of home: the others have
     * theirs below and, where there is an index_path, beside it (index_path.NAME.sqlite). user,
     * note, fatal and progress are not used. */
    struct store_config others;
    uint64_t idle_ms; /* 0: STORE_IDLE_MS */
    void *user;
    /* As store_config.note, of the store with this name. From any thread. NULL: nobody listens. */
    void (*note)(void *user, const char *name, enum log_level, const char *text);
};

struct store_set;

/* Learns which stores there are; opens none. Blocks.
 * Errors: ZERR_EXISTS: one has the name of home (info says what to do), ZERR_IO, ... */
int store_set_open(const struct store_set_config *, struct store_set **ret,
                   struct zerr_info *) ZKV_MUST_CHECK;
/* No more uses; those that wait get ZERR_CANCELED. All uses must have ended. Closes all that are
 * open; one that is being opened gives up. stopped(): 0, or that some store could not write
 * everything, now or since the set was opened. */
void store_set_stop(struct store_set *, void (*stopped)(void *user, int status), void *user);
/* After stopped(), or without store_set_stop() to leave everything as a crash would. NULL is fine.
 * Asserts that no job is running. */
void store_set_destroy(struct store_set *);

/* Call about once a second while store_set_wants_tick(). Ticks the open stores too, not home. */
void store_set_tick(struct store_set *);
bool store_set_wants_tick(const struct store_set *);

/* Adds the figures of all stores used so far: of closed ones as they were then. current_block is
 * set if there is none and just one of these has one. */
void store_set_add_stats(const struct store_set *, struct store_stats *sum);
size_t store_set_count(const struct store_set *); /* without home */

/* ---- using one --------------------------------------------------------------------------------
 */

/* The user embeds it, zeroed but for lost(). */
struct store_use {
    struct store *store; /* valid while it is not NULL */
    /* The store has failed and the use must end soon, at once or later: nothing that it does comes
     * to an end of its own now. Called once at most; NULL: it always ends soon. Not for home. */
    void (*lost)(struct store_use *);
    /* The set's. */
    struct store_entry *entry; /* NULL: nothing, or home */
    void (*ready)(struct store_use *, int status);
    struct store_use *next, *prev; /* of those that wait, or of those that have it */
    uint64_t since_ns;
};

/* 0: use->store is there; ZKV_PENDING: ready() will tell, unless store_use_end() comes first.
 * Errors, here or in ready(): ZERR_NOT_FOUND: there is no such store; ZERR_BUSY: not opened in
 * time; ZERR_LOCKED: a tool has it; ZERR_CANCELED: the end; what store_open() said; ZERR_IO: it has
 * failed. */
int store_set_use(struct store_set *, struct slice name, struct store_use *,
                  void (*ready)(struct store_use *, int status)) ZKV_MUST_CHECK;
/* Any time, also of one that waits, has ended or never began. */
void store_use_end(struct store_use *);

/* ---- which there are --------------------------------------------------------------------------
 */

bool store_set_has(const struct store_set *, struct slice name); /* home too */
bool store_set_is_home(const struct store_set *, struct slice name);
/* Calls back for each, home too, by name. born_ms 0: not known. */
void store_set_each(const struct store_set *,
                    void (*each)(void *user, struct slice name, int64_t born_ms), void *user);

/* Makes one. done: 0, or why not; ZERR_EXISTS: it is there.
 * Errors at once: ZERR_INVALID (store_name_ok()), ZERR_EXISTS, ZERR_TOO_LARGE (STORES_MAX),
 * ZERR_BUSY: it is just being made or removed, ZERR_CANCELED, ZERR_NOMEM. */
int store_set_create(struct store_set *, struct slice name, store_done_fn done,
                     void *user) ZKV_MUST_CHECK;
/* Removes one that has no objects, when all its uses have ended; new ones wait meanwhile. done:
 * ZERR_NOT_EMPTY, as soon as that is known, ZERR_BUSY: still used after STORE_WAIT_MS, or why it
 * cannot be opened, ... Errors at once: ZERR_NOT_EMPTY (it is open, and nobody waits for those who
 * use it), ZERR_NOT_FOUND, ZERR_INVALID (home), ZERR_BUSY, ZERR_CANCELED. */
int store_set_remove(struct store_set *, struct slice name, store_done_fn done,
                     void *user) ZKV_MUST_CHECK;

#endif

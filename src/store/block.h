/* Block files at run time: the one being filled, the ones draining, and a cache of sealed ones.
 *
 * A struct block is ref-counted and lives on the loop; only block_file() may be called from workers.
 * It stays usable until its last reader and writer are done, open or sealed: the descriptor
 * survives the rename. Sealed blocks that nobody holds stay in a bounded cache.
 *
 * States (loop):
 *
 *   FILLING -> DRAINING -> SEALING -> SEALED          sealing: lane.c
 *       \________\____________\-----> POISONED        a write or sync failed: no more writes, reads
 *                                                     go on; stays an open file, verified from the
 *                                                     device and sealed by the next start
 *   FILLING: the current block, or one made for a single large object. DRAINING: takes no new
 *   frames; sealed when its last upload has ended.
 *
 * The file of a new block is made by the first job that needs it, under the block's mutex, so that
 * the loop never waits for the disk. If that fails the number is burned (I4) and every upload into
 * the block fails with the same error. */
#ifndef ZKV_STORE_BLOCK_H
#define ZKV_STORE_BLOCK_H

#include <pthread.h>

#include "store/frame.h"
#include "store/vfs.h"

struct store;
struct commit;

enum block_state { BLOCK_FILLING, BLOCK_DRAINING, BLOCK_SEALING, BLOCK_SEALED, BLOCK_POISONED };

struct block {
    struct store *st;
    struct block *hash_next; /* in st->block_hash */
    struct block *next;      /* in st->open_blocks, or the cache (oldest first) */
    struct block *prev;
    uint32_t number;
    unsigned refs;
    enum block_state state;

    /* Of blocks not sealed; loop only. */
    uint64_t tail;         /* where the next frame goes */
    unsigned n_puts;       /* uploads not yet ended */
    struct commit *frames; /* reserved and not ended, uploads and changes in a round */
    struct commit *voids;  /* given up, their room not yet void on disk */
    bool cutting;          /* a cut of the tail is under way: no reservations */
    bool committed;        /* holds a committed frame */
    bool holds_void;       /* begins with void numbers: stays open as long as the poisoned block
                               whose frames have them, so that the next start sees both */
    bool dir_synced;       /* its directory entry is */
    uint64_t writeback;    /* the lane's: write-back was started up to here */
    uint64_t dirty;        /* bytes written by body jobs and not yet synced */

    /* Under the mutex. */
    pthread_mutex_t mutex;
    bool is_new; /* not yet created */
    int error;   /* why it could not be opened or created; sticky for new ones */
    struct vfs_file *file;
    struct block_header header; /* new: set from the start; else valid once file is open */
    bool framed;                /* has a header (false: written by the original) */
};

/* A new block with the next number, referenced once, in st->open_blocks. NULL: out of memory
 * or block numbers. No I/O but random bytes. */
struct block *block_create(struct store *);
/* The block of that number, referenced: open, cached, or a new entry whose file is opened on
 * first use. NULL: out of memory. */
struct block *block_get(struct store *, uint32_t number);
struct block *block_ref(struct block *);
void block_unref(struct block *); /* NULL is fine */
/* From any thread: opens or creates the file if need be. ZERR_NOT_FOUND: there is no such block. */
int block_file(struct block *, struct vfs_file **ret) ZKV_MUST_CHECK;
/* The file if it is open already, else NULL; never blocks. */
struct vfs_file *block_file_if_open(struct block *);
/* Sealed: out of the open list, into the cache. */
void block_set_sealed(struct block *);
/* Takes no more writes; why: for the note to the person. */
void block_poison(struct block *, int status);
/* Its file could not be created: nothing of it is on disk, or a header alone. */
bool block_is_broken(struct block *);
/* A broken one takes no more frames. After a job that used it has failed. */
void block_retire_broken(struct block *);
/* Removes it from the open list for good (nothing was ever committed to it). */
void block_forget(struct block *);
void blocks_finish(struct store *); /* closes everything; asserts that nobody holds a block */

/* Takes room for a frame: the block (referenced) and the offset. ZERR_BUSY: the tail is being
 * cut, wait. ZERR_NOMEM. Rolls over when the frame does not fit. */
int block_reserve(struct store *, uint64_t frame_len, struct block **ret,
                  uint64_t *ret_off) ZKV_MUST_CHECK;

/* "open0000000031" or "block0000000031" */
void block_name(char out[FILE_NAME_BYTES], uint32_t number, bool sealed);

#endif

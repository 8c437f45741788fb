/* A small store with a bit of everything, what must come back from it, and what may be missing when
 * some of its bytes are wrong: for tests of bit rot.
 *
 * Its history is a list of events; each frame of a block holds one or (a delete of several names)
 * a few. Damage affects the events whose frames it touches, and those with bodies in these frames. What
 * is asked of a damaged store: every name that no affected event is about has exactly what the events
 * gave it; any other has that, or what it had without the affected events, or it is an error; and
 * no read hands out a byte that is in neither, not even before it fails. Uploads under way likewise:
 * those and the parts that no affected event is about are there, others may be, none is that never was;
 * and what is completed of them is read as their parts were, or not at all.
 *
 * Calling sequence: rot_create -> { rot_reset -> damage, rot_affect -> fx_open(&r->f) ->
 * rot_check -> ... }* -> rot_destroy. Everything asserts with the seed or place in `about`. */
#ifndef ZKV_TEST_ROT_STORE_H
#define ZKV_TEST_ROT_STORE_H

#include "support/store_fixture.h"

#define ROT_EVENTS_MAX 48
#define ROT_KEYS_MAX 24
#define ROT_FRAMES_MAX 64
#define ROT_UPLOADS_MAX 10
#define ROT_PARTS_MAX 4 /* numbers of parts are 1 to this */
#define ROT_SOURCES_MAX 8

struct rot_version { /* what a PUT or copy gave a name */
    const uint8_t *body;
    size_t len;
    char meta[16];
    uint8_t md5[16];
    int64_t mtime_ms;
};

enum rot_op {
    ROT_PUT,
    ROT_COPY,
    ROT_DELETE,
    ROT_COMPLETE, /* a PUT, of an upload's parts; what follows is in no history of names */
    ROT_BEGIN,
    ROT_PART,
    ROT_PART_COPY,
    ROT_ABORT,
};

struct rot_event {
    enum rot_op op;
    int key;
    int upload; /* which of `uploads`; -1: of none */
    uint32_t part;
    struct rot_version v; /* what it gave the name, or the part; body NULL: nothing */
    /* The events in whose frames the body lies, if that is not its own. */
    int sources[ROT_SOURCES_MAX];
    int n_sources;
    bool affected;
};

struct rot_upload {
    int key;
    uint64_t id;
};

struct rot_frame {
    uint32_t block;
    bool open;                   /* its block was */
    uint64_t off, len, head_len; /* head and record with its CRC */
    uint64_t content;            /* bytes of head, record, body and sums; the rest is padding */
    int first, n;                /* events; n 0: VOID or never committed */
};

struct rot_counts {
    uint64_t missing;   /* names that were an error or absent, parts and uploads absent; affected */
    uint64_t reverted;  /* of these that had what they had before an affected event */
    uint64_t wrong_err; /* reads that failed after handing out right bytes */
};

enum rot_kind {
    ROT_STOPPED, /* stopped in order: every block is sealed */
    ROT_KILLED,  /* blocks sealed and open, as kill -9 leaves them; some of it not in the db */
};

enum rot_content {
    ROT_OBJECTS, /* PUT, overwrite, copy, delete of one and of several names, an upload that broke off */
    ROT_UPLOADS, /* multipart uploads: completed, under way, given up; parts replaced, and copied */
};

struct rot {
    struct fixture f;
    struct vfs *image, *early; /* the files as they are without damage, and half-way to there */
    struct buf index, wal, early_index; /* index.sqlite* beside image */
    struct rot_event events[ROT_EVENTS_MAX];
    int n_events;
    char keys[ROT_KEYS_MAX][16];
    int n_keys;
    struct rot_upload uploads[ROT_UPLOADS_MAX];
    int n_uploads;
    struct rot_frame frames[ROT_FRAMES_MAX];
    int n_frames;
    uint32_t n_blocks;
    bool may_give_up; /* the index is what is damaged: a read may fail, and ends the store */
    bool gave_up;     /* it did */
    bool knows;       /* the index knows whose records are damaged: nothing of before is served */
    struct buf out;   /* scratch */
    char about[128];
};

/* big: bytes of the one object with several pieces (0: none). */
void rot_create(struct rot *, enum rot_kind, enum rot_content, size_t big);
void rot_destroy(struct rot *);

/* Closes the store; the files are the image's again, the index beside them too, if wanted. */
void rot_reset(struct rot *, bool with_index);
/* For next: nothing is affected. */
void rot_clear(struct rot *);
/* Bytes [off, off + len) of a block are wrong. True if any of them means something. */
bool rot_affect(struct rot *, uint32_t block, uint64_t off, uint64_t len);
/* Name of a block's file in the image; false: no such. */
bool rot_block_name(const struct rot *, uint32_t block, char out[32]);

/* On the open store: reads everything in every way and compares. only_affected: skip names that
 * nothing happened to (their bytes were not touched). */
void rot_check(struct rot *, bool only_affected, struct rot_counts *counts);
/* On the open store: completes every upload that it has with the parts that it has, and reads what came
 * of it. */
void rot_complete_uploads(struct rot *);
/* The history as the newest db of the fixture's directory has it: every event that is not affected,
 * in order, and nothing that is no event. False: some of the db cannot be read. */
bool rot_check_history(struct rot *);
/* Would zipkvverify's look at the block find something? */
bool rot_scan_notices(struct rot *, uint32_t block);

/* A failure of the check, told with r->about. */
void rot_fail(const struct rot *, const char *fmt, ...) ZKV_PRINTF(2, 3);

#endif

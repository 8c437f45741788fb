/* What the history and the frames say, and how it becomes protobuf (proto/zipkv.proto, frame.proto).
 *
 * This is the only place besides db.c that includes nanopb. Everything decoded from disk is
 * hostile: lengths are checked against the input before anything is allocated, at most
 * RECORD_MAX_ATTRS attributes a record, at most RECORD_MAX_BATCH entries a frame.
 *
 * Decoded slices (keys, attributes) are copies in the arena that the caller gives: valid until it
 * is reset. Encoders append to a buf; on failure it is cut back to what it was. */
#ifndef ZKV_STORE_RECORD_H
#define ZKV_STORE_RECORD_H

#include "base/buf.h"
#include "base/slice.h"

#define RECORD_MAX_BYTES (4u << 20)                        /* an encoded frame record */
#define RECORD_MAX_HISTORY_BYTES (RECORD_MAX_BYTES + 4096) /* the same in the history's form */
#define RECORD_MAX_ATTRS 4096                              /* of each kind */
#define RECORD_MAX_BATCH 1000
#define RECORD_MAX_EXTENTS 50000 /* of one object */
#define PART_MAX 10000           /* S3's largest part number */
#define KEY_MAX_BYTES 1024

/* A name and a value the store keeps and does not understand (a header of the object). */
struct attr {
    struct slice name, value;
};

struct attrs {
    const struct attr *v;
    size_t n;
};

/* A byte position in a block file. */
struct place {
    uint32_t block;
    uint64_t off;
};

/* Some bytes of a body somewhere: what objects of several parts are made of. */
struct extent {
    struct place body; /* of the body's first byte */
    uint64_t size;     /* of the whole body */
    bool framed;       /* `frame` is set: the body has sums */
    struct place frame;
    uint64_t from, len; /* the bytes of it that are meant */
    uint32_t part;      /* number of the part they belong to */
};

struct extents {
    const struct extent *v;
    size_t n;
};

/* The first two are the history: a name gets a body, or loses it. The others are what happens to
 * multipart uploads, which have numbers and an order like the history, and no revisions. */
enum record_op {
    RECORD_PUT = 1,
    RECORD_DELETE = 2,
    RECORD_UPLOAD = 3, /* began; its number is the record's own seq */
    RECORD_PART = 4,   /* has a part; one that had that number before is replaced */
    RECORD_ABORT = 5,  /* given up */
};

struct record {
    enum record_op op;
    struct slice key;
    uint64_t seq;    /* 0: written by the original, which has none */
    uint64_t upload; /* PART, ABORT: the upload; PUT: that which it completes, or 0 */
    uint32_t part;   /* PART: its number; PUT: parts of a multipart object, or 0 */

    /* The rest for RECORD_PUT, UPLOAD (attributes and mtime alone) and PART. */
    struct place body; /* of the body's first byte */
    uint64_t size;
    bool framed;        /* `frame` is set */
    struct place frame; /* of the head of the frame that holds this record: its own PUT frame, or
                           for a copy the COPY frame, which is not beside the body */
    bool body_framed;   /* `body_frame` is set: the body lies in a frame and has sums */
    struct place body_frame; /* head of the frame around the body (== frame unless a copy) */
    bool has_md5;
    uint8_t md5[16];
    int64_t mtime_ms;    /* 0: unknown */
    struct attrs meta;   /* x-amz-meta-*: whole header names in Go's spelling */
    struct attrs sys;    /* Content-Type and the like */
    bool has_true_place; /* decode only: Location was the "too large for the original" form */
    /* Not empty: the bytes of the body in order, `size` in all; nothing is at `body` itself, which
     * then names the frame of the first such record (a copy's extents are the same again). */
    struct extents extents;
};

static inline bool record_in_history(const struct record *r)
{
    return r->op == RECORD_PUT || r->op == RECORD_DELETE;
}

/* Bytes that record_keep() needs for what r points to. */
size_t record_room(const struct record *r);
/* Copies what r points to (name, attributes, extents) to `room`, which is aligned for any type, and
 * has r point there. Returns the end of what was used. */
uint8_t *record_keep(struct record *r, uint8_t *room);

/* ---- the history's form: one HistoryRecord message, without tag and length ----
 * (for Db.history, or Db.event where !record_in_history())
 *
 * A record whose place or size does not fit the original's sint32 (size >= 2 GiB, or offset) gets
 * Location {backend_file 2147483647, size 1} and its true place in our fields (format.h). So does one
 * that ends beyond 2 GiB, since the original adds the two up, and one with extents.
 * ZERR_TOO_LARGE: attributes or bytes above the limits; ZERR_INVALID: framed, and the body is in the
 * frame's block without a frame of its own, which the format has no words for. */
int record_encode_history(const struct record *, struct buf *out) ZKV_MUST_CHECK;
/* ZERR_CORRUPT: not such a message (neither put nor delete, put without Location, negative
 * number, wrong type); ZERR_UNSUPPORTED: says something this version must not ignore. */
int record_decode_history(struct slice bytes, struct arena *, struct record *ret) ZKV_MUST_CHECK;

/* The original's `Metadata {map<string,string> metadata = 1}`; used in Location.metadata and
 * in the index. Duplicate names: the last wins when decoding. */
int attrs_encode(struct attrs, struct buf *out) ZKV_MUST_CHECK;
int attrs_decode(struct slice bytes, struct arena *, struct attrs *ret) ZKV_MUST_CHECK;

/* ---- the frame's form: FrameRecord ----
 *
 * Written twice: once to measure (before the body is known) and once with the real values. The
 * encoded length depends only on keys, attributes and the copied body's place: seq, durable_seq,
 * mtime, md5 and sums_hash are always there in fixed width. */
struct frame_record {
    uint64_t seq;         /* of the first entry; entry i has seq + i */
    uint64_t durable_seq; /* the highest number known to be synced when this was written */
    uint64_t sums_hash;   /* XXH3-64 of the body's sums (of nothing, for an empty body) */
    uint64_t void_first, void_last; /* VOID record: these numbers were handed out and are void;
                                       both 0: none */
    const struct record *entries;   /* all kinds but BATCH: one. Where the kind implies the place
                                       (frame.h), body, frame and body_frame are not encoded. */
    size_t n_entries;
};

int frame_record_encode(const struct frame_record *, bool implied_place,
                        struct buf *out) ZKV_MUST_CHECK;
/* `entries` point into the arena. implied_place is frame_implies_place() of the frame's kind: the
 * caller then fills body, frame and body_frame; size comes from the record. For others frame is the
 * caller's to fill. */
int frame_record_decode(struct slice bytes, bool implied_place, struct arena *,
                        struct frame_record *ret) ZKV_MUST_CHECK;

#endif

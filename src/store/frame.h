/* Block headers, frame heads and piece sums, byte for byte (layout: format.h). No I/O.
 *
 * Decoders accept nothing but what the encoders write for this very file and position. */
#ifndef ZKV_STORE_FRAME_H
#define ZKV_STORE_FRAME_H

#include "base/slice.h"
#include "store/format.h"
#include "store/record.h"

struct block_header {
    uint32_t block;
    uint8_t store_id[STORE_ID_BYTES];
    uint64_t salt;    /* random, new for each file */
    uint64_t session; /* the session that created the block; < 2^24 */
};

void block_header_encode(const struct block_header *, uint8_t out[BLOCK_HEADER_BYTES]);
/* ZERR_NOT_FOUND: no magic, i.e. a block of the original (or empty);
 * ZERR_UNSUPPORTED: a newer version; ZERR_CORRUPT: magic, but CRC or number do not fit. */
int block_header_decode(const uint8_t in[BLOCK_HEADER_BYTES], uint32_t block,
                        struct block_header *ret) ZKV_MUST_CHECK;

enum frame_kind {
    FRAME_PUT = 1,  /* record + body + sums */
    FRAME_COPY = 2, /* record names another frame's body */
    FRAME_DELETE = 3,
    FRAME_BATCH = 4, /* several records, all or none */
    FRAME_VOID = 5,  /* room given up; may hold a record with void numbers (record_len > 0) */
    FRAME_MUST_UNDERSTAND = 0x80, /* bit: a reader that does not know the kind must refuse */
    FRAME_PART = 0x86,            /* a part of a multipart upload: record + body + sums */
    FRAME_UPLOAD = 0x87, /* what else happens to one: began, given up, a part made of others'
                            bytes, completed; a record alone */
};

/* The frame has a body of its own. */
static inline bool frame_has_body(uint8_t kind)
{
    return kind == FRAME_PUT || kind == FRAME_PART;
}

/* The record does not say where its body is: it is in this frame (and in an UPLOAD frame empty). */
static inline bool frame_implies_place(uint8_t kind)
{
    return frame_has_body(kind) || kind == FRAME_UPLOAD;
}

struct frame_head {
    uint8_t kind;
    uint32_t record_len; /* of the protobuf alone; RECORD_CRC_BYTES follow it */
    uint64_t body_len;
    /* sums_len follows from body_len: frame_sums_len() */
};

/* off: the frame's own offset in the block, a multiple of FRAME_ALIGN. */
void frame_head_encode(const struct frame_head *, const struct block_header *, uint64_t off,
                       uint8_t out[FRAME_HEAD_BYTES]);
/* ZERR_CORRUPT: not a head of this block at this offset. ZERR_UNSUPPORTED: is one, of an unknown
 * kind with FRAME_MUST_UNDERSTAND, or a newer version. */
int frame_head_decode(const uint8_t in[FRAME_HEAD_BYTES], const struct block_header *, uint64_t off,
                      struct frame_head *ret) ZKV_MUST_CHECK;

/* Offsets inside a frame, all derived from the head; in bytes from the frame's start. */
static inline uint64_t frame_record_off(void)
{
    return FRAME_HEAD_BYTES;
}
static inline uint64_t frame_body_off(uint32_t record_len)
{
    return FRAME_HEAD_BYTES + (uint64_t)record_len + (record_len > 0 ? RECORD_CRC_BYTES : 0);
}
static inline uint64_t frame_pieces(uint64_t body_len)
{
    return body_len / PIECE_BYTES + (body_len % PIECE_BYTES != 0);
}
static inline uint64_t frame_sums_len(uint64_t body_len)
{
    return frame_pieces(body_len) * SUM_BYTES;
}
/* Whole frame with padding to FRAME_ALIGN. No overflow for body_len <= BODY_MAX_BYTES. */
static inline uint64_t frame_len(uint32_t record_len, uint64_t body_len)
{
    uint64_t n = frame_body_off(record_len) + body_len + frame_sums_len(body_len);
    return (n + FRAME_ALIGN - 1) / FRAME_ALIGN * FRAME_ALIGN;
}

/* The record is in the frame at `at`; where its kind implies it, so is the body. */
static inline void record_set_frame(struct record *r, struct place at,
                                    const struct frame_head *head)
{
    r->framed = true;
    r->frame = at;
    if (frame_implies_place(head->kind)) {
        r->body = (struct place){at.block, at.off + frame_body_off(head->record_len)};
        r->body_framed = true;
        r->body_frame = at;
    }
}

/* CRC-32 (zlib's) that binds the record to the encoded head: what stands behind the record. */
uint32_t frame_record_crc(const uint8_t head[FRAME_HEAD_BYTES], struct slice record);

/* XXH3-64 of a piece (of all sums, for sums_hash), as stored: little endian at `out`. */
uint64_t piece_sum(const void *data, size_t len);

/* XXH3-64 of a body's sums in pieces, for readers that do not hold them all. */
struct sums_hash;
struct sums_hash *sums_hash_create(void);   /* NULL: out of memory */
void sums_hash_destroy(struct sums_hash *); /* NULL is fine */
void sums_hash_reset(struct sums_hash *);
void sums_hash_update(struct sums_hash *, const uint8_t *sums, size_t len);
uint64_t sums_hash_final(const struct sums_hash *);

/* Body hashing as bytes arrive: MD5 of the whole and one sum a piece. The sums of at most one
 * call's pieces are handed out at a time, so memory does not grow with the body. */
struct body_hash;
struct body_hash *body_hash_create(void);   /* NULL: out of memory */
void body_hash_destroy(struct body_hash *); /* NULL is fine */
/* Sums of the pieces that became complete are appended to `sums` (8 bytes each).
 * ZERR_NOMEM: as if not called for the sums, but the state is not usable any more. */
int body_hash_update(struct body_hash *, const void *data, size_t len,
                     struct buf *sums) ZKV_MUST_CHECK;
/* Appends the last, partial piece's sum; md5 is the body's. sums_hash covers all sums ever
 * appended. */
int body_hash_final(struct body_hash *, struct buf *sums, uint8_t md5[16],
                    uint64_t *ret_sums_hash) ZKV_MUST_CHECK;

#endif

/* Walks the frames of one block file: recovery, zipkvverify and rebuild all see blocks through it.
 *
 * The scan believes nothing: a head counts only with its CRC, its salt, its block number and its own
 * offset; a record only with its CRC; no length is trusted beyond the file, and no record above
 * RECORD_MAX_BYTES. Where no head is found it steps FRAME_ALIGN bytes on, so what lies behind
 * damage is found (I5, DESIGN: torn tail is not bit rot). Memory: one record and one piece. */
#ifndef ZKV_STORE_SCAN_H
#define ZKV_STORE_SCAN_H

#include "store/frame.h"
#include "store/vfs.h"

enum scan_verdict {
    SCAN_VALID,       /* head, record, and (if asked) sums and every piece are right */
    SCAN_VOID,        /* VOID frame; rec.void_* may name numbers */
    SCAN_UNCOMMITTED, /* head is right, the record's room is all zeros */
    SCAN_BAD_RECORD,  /* head is right, the record is not: key unknown */
    SCAN_BAD_BODY, /* head and record are right, sums or pieces are not (or behind the file's end)
                    */
    SCAN_GARBAGE,  /* no head here: [off, off + len) up to the next head or the file's end. All
                      zeros: see zero */
};

struct scan_frame {
    enum scan_verdict verdict;
    uint64_t off, len;      /* of the frame in the file */
    struct frame_head head; /* not for SCAN_GARBAGE */
    bool zero;              /* SCAN_GARBAGE: nothing but zeros */
    /* For VALID, BAD_BODY and VOID with a record: decoded, places filled in; valid during the call.
     * Of a kind this version does not know (and need not): nothing. */
    struct frame_record rec;
    uint64_t bad_piece; /* BAD_BODY: the first piece that does not match; UINT64_MAX: the sums
                           themselves */
};

enum scan_flags {
    SCAN_BODIES = 1 << 0, /* check sums and pieces; else record CRC only */
};

struct scan_result {
    struct block_header header;
    uint64_t file_len;
    uint64_t end; /* behind the last frame that is not garbage: what follows is a torn tail */
    bool header_damaged; /* the header's own bytes do not check; the salt was taken from the head of
                            the first frame, whose place is fixed (BLOCK_HEADER_BYTES) */
};

/* The block's header, mended from the first frame's head if it is damaged. ZERR_NOT_FOUND: a block of
 * the original (or not one of ours); ZERR_CORRUPT, ZERR_UNSUPPORTED as block_header_decode(). */
int scan_header(struct vfs_file *, uint32_t block, struct block_header *ret,
                bool *ret_damaged) ZKV_MUST_CHECK;

/* each: non-zero stops and is returned.
 * ZERR_NOT_FOUND: no block header (a block of the original, or not one of ours: nothing to walk);
 * ZERR_CORRUPT: the header is another block's, or damaged with no frame right behind it;
 * ZERR_INCOMPLETE: the file was cut while it was read. */
int scan_block(struct vfs_file *, uint32_t block, unsigned flags,
               int (*each)(void *user, const struct scan_frame *), void *user,
               struct scan_result *ret) ZKV_MUST_CHECK;

/* Reads and checks one frame at `off`, as scan_block() would hand it out; the arena holds what it
 * decodes. ZERR_INCOMPLETE as above. */
int scan_one(struct vfs_file *, const struct block_header *, uint64_t off, unsigned flags,
             struct arena *, struct scan_frame *ret) ZKV_MUST_CHECK;

#endif

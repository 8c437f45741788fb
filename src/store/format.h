/* The files on disk, byte for byte, what makes each valid, and the order of writes.
 *
 *   zipdir/
 *     block0000000000   a sealed block: objects, never changed again
 *     open0000000031    a block being filled
 *     db0000000003      the history: the truth about names
 *     index.sqlite*     the look-up index: a cache, can be deleted at any time
 *     lock              flock(2)ed by whoever may write
 *     buckets/NAME/     further stores, each complete in itself (store_set.h)
 *
 * Integers are little endian, written byte by byte. Numbers in file names are decimal, 10 digits.
 *
 * ---- Invariants -------------------------------------------------------------------------------
 *
 * I1  One order: publication, history, revision and sequence numbers are one and the same order.
 * I2  A db member names only frames that are synced; the index never notes more of the db than is
 *     synced.
 * I3  A sequence number is used once.
 * I4  A block number is used once: next_backend_file never falls, whatever happens.
 * I5  In a sealed block every frame is valid or VOID: anything else there is damage.
 * I6  Bytes of an acknowledged frame are never written again. (Assumed of the device: rewriting a
 *     sector leaves its unchanged bytes readable, SQLite's "powersafe overwrite".)
 * I7  Start-up needs only the index, the tail of the db and the unsealed blocks; any other sealed
 *     block may be absent until it is read.
 * I8  Nothing that came from a client is ever taken for structure: heads and records are bound to
 *     their file by a random salt, the block's number and their own offset.
 *
 * ---- Block ------------------------------------------------------------------------------------
 *
 * A block begins with a header of 64 bytes:
 *
 *    0  8  "ZKVBLOCK"
 *    8  4  version, 2 (1: its frames are of version 1)
 *   12  4  block number
 *   16 16  store id, random, one for the directory
 *   32  8  salt, random, new for each file
 *   40  8  session that created the file (below 2^24)
 *   48 12  zero
 *   60  4  CRC-32 of bytes 0..59
 *
 * Then frames, each at a multiple of 64 bytes, each
 *
 *   head     64 bytes
 *   record   protobuf FrameRecord (proto/frame.proto), then 4 bytes: CRC-32 of bytes 0..59 of the
 *            head, and the record. (Version 1: of the whole head and the record. But a CRC over
 *            something and its own CRC is a constant, so that bound the record to no place.)
 *            In a VOID frame's old room both are whatever they were; a record_len of 0 has no CRC
 *   body     the object's bytes, as they came
 *   sums     one XXH3-64 for each 64 KiB piece of the body, the last piece being shorter
 *   padding  zeros up to the next multiple of 64
 *
 * A head:
 *
 *    0  4  "ZKFR"
 *    4  1  version, 2
 *    5  1  kind (enum frame_kind; the bit 0x80: a reader that does not know the kind must refuse)
 *    6  2  zero
 *    8  8  salt of the block's header
 *   16  4  block number
 *   20  4  length of the record
 *   24  8  the frame's own offset
 *   32  8  length of the body
 *   40  8  length of the sums (8 for each piece)
 *   48 12  zero
 *   60  4  CRC-32 of bytes 0..59
 *
 * A frame is COMMITTED when head, record, sums and all pieces check. Its record's room is zeros
 * until the commit round writes it, so all zeros there means: never committed. A frame that was
 * given up is VOID: its head is rewritten with that kind and the same lengths, and its body
 * punched out where the file system can. A VOID frame whose record checks names sequence numbers
 * that were handed out and must never count (void_first..void_last).
 *
 * A multipart upload is frames of its own kinds: UPLOAD (no body; what its record says: it began, it
 * was given up, a part that is made of others' bytes, or the object that completes it) and PART
 * (record, body and sums, as in a PUT frame). The completing record lists the object's bytes as
 * extents of other frames' bodies; where its body would be, nothing is. Its MD5 is that of the parts'
 * MD5s one behind the other. A copy of it lists the same extents. Checksums that clients ask for are
 * system attributes like Content-Type, to the store: what the upload began with says which one its parts
 * have, each part's record has its own, the completing record what came of them (s3_assembly.h).
 *
 * A body's Location.offset points at the body itself, so readers of the original's format need to
 * know nothing of frames. The original's blocks have no header and no frames.
 *
 * ---- db: the history ---------------------------------------------------------------------------
 *
 * db<id> is a sequence of gzip members; each one's content is one protobuf message zipkv.Db
 * (proto/zipkv.proto). Concatenated members are one gzip stream, concatenated messages merge, so
 * the whole is what the original reads. Our members have FEXTRA with one subfield, id "ZK":
 *
 *    0  1  version, 1
 *    1  3  zero
 *    4 16  store id
 *   20  8  generation
 *   28  8  revision of the first record
 *   36  8  number of records
 *   44  8  last_seq
 *   52  8  length of the member
 *   60  4  CRC-32 of bytes 0..59
 *
 * so that a member that cannot be read is passed over by its length and its records are known to
 * be missing: damage in the middle is not the end. A member without it is the original's.
 *
 * Revision N is the state after the first N+1 records, counted from 0. What happened to multipart
 * uploads, but for the object that completes one, has sequence numbers like the records and stands
 * among them in Db.event, without revisions; count and first revision do not count it. Where there
 * is any of this, Db.features has DB_FEATURE_UPLOADS.
 *
 * Flush: sync every block that holds one of the batch's records; pwrite the member at the last good
 * length; fdatasync. A failed append is cut back and the batch kept; if the cut or the sync fails
 * the file is given up and its good part copied into the next id.
 * The id advances (whole new file, fsync, rename, directory fsync, then the old one removed; 9 is
 * followed by 0; generation + 1) only at start, when small members waste a quarter of the file and
 * at least 1 MiB, and in rebuild.
 *
 * A record in the history whose size or offset does not fit the original's sint32, or with extents, has
 * Location {backend_file 2147483647, size 1} and its true place in our fields.
 * next_backend_file is above every block number used or present.
 *
 * ---- What a wrong bit costs ---------------------------------------------------------------------
 *
 * In a sealed block: the object whose frame it is in, and copies of its body. In the header of a
 * block: nothing, the first frame's head has the salt. In a db member: nothing, its records are in
 * the blocks. In the index: nothing, its pages have check sums (index_vfs.c). In an unsealed block:
 * the changes of the frame it is in; the start says that there is damage. The name is marked, also
 * where head or record are wrong, for the index knows whose record is there: the history gets it
 * again, with a new number. Without an index, and of a deletion, it is not known whose they were, and
 * what was before is there again. Of an upload under way: the part, which then has to come again, or
 * that it began, or that it was given up, which then has to be done again.
 * Without meaning, and noticed by nobody: the padding behind a frame, all of a VOID frame but its
 * head (and the record that names numbers), what was never committed at the end of an unsealed
 * block, free pages of the index.
 *
 * ---- Order of writes ---------------------------------------------------------------------------
 *
 *   new directory  db0000000000 with no records (as new-db..., fsync, rename), directory fsync; before
 *                  the first block.
 *   new block      created O_EXCL as open<n>, header, directory fsync before its first commit counts.
 *   upload         head (before any later frame of the block commits), body, sums.
 *   commit round   records; fdatasync of each block that got one (the bodies that a copy names were
 *                  synced by their own round); the directory if one of them is new; the index; then
 *                  the answers. With -sync block without the syncs: those are the flush's.
 *   seal           uncommitted frames to VOID, cut behind the last frame, fdatasync,
 *                  rename open<n> -> block<n>, directory fsync, chmod 0400 where it can be, flush.
 *   failed sync    never tried again. The round's numbers are void: flush with last_seq above them,
 *                  and a VOID record naming them as the first frame of the next block.
 *   no space       what a round wrote before it found none becomes VOID; flush with last_seq above its
 *                  numbers. No round begins before both are done.
 *
 * A sequence number is session * 2^40 + counter. The session is one above the highest seen in db,
 * block headers and index, and stands in each block header before a number of it is used. */
#ifndef ZKV_STORE_FORMAT_H
#define ZKV_STORE_FORMAT_H

#include <stdint.h>

#define STORE_ID_BYTES 16

#define BLOCK_HEADER_BYTES 64
#define BLOCK_MAGIC "ZKVBLOCK"
#define BLOCK_VERSION 2

#define FRAME_ALIGN 64
#define FRAME_HEAD_BYTES 64
#define FRAME_MAGIC "ZKFR"
#define FRAME_VERSION 2
#define RECORD_CRC_BYTES 4
#define PIECE_BYTES (64u << 10)
#define SUM_BYTES 8
#define BODY_MAX_BYTES (5ull << 40) /* S3's largest object, 5 TiB */

#define BLOCK_NUMBER_MAX                                                                           \
    2147483646u /* the original's sint32; 2147483647 is the "too large" mark                       \
                 */
#define BLOCK_SIZE_MIN 4096u
#define BLOCK_SIZE_DEFAULT (40u << 20)

#define DB_EXTRA_BYTES 64
#define DB_EXTRA_VERSION 1
#define DB_IDS 10 /* ids wrap 9 -> 0 */
/* What a member costs beyond its records (header, scalars, trailer, deflate starting anew): 230 to
 * 350 bytes, measured with S3QL's records. */
#define DB_MEMBER_WASTE 300
#define DB_FEATURE_UPLOADS 1u /* there are, or were, multipart uploads */
#define DB_FEATURES DB_FEATURE_UPLOADS
#define DB_WASTE_MIN (1u << 20) /* at least so much makes a rewrite worth it */

#define SEQ_COUNTER_BITS 40
#define SEQ_SESSION_MAX ((1u << 24) - 1)
#define SEQ_SESSION(seq) ((seq) >> SEQ_COUNTER_BITS)
#define SEQ_FIRST(session) (((uint64_t)(session) << SEQ_COUNTER_BITS) + 1)

#define INDEX_VERSION 4
#define INDEX_WAL_MAX (4u << 20)
#define INDEX_NAME "index.sqlite"
#define LOCK_NAME "lock"
#define OTHERS_NAME "buckets" /* the folder of further stores, see store_set.h */

#define FILE_NAME_BYTES 32 /* room for any name we make, with its NUL */
#define BLOCK_NAME_FMT "block%010u"
#define OPEN_NAME_FMT "open%010u"
#define DB_NAME_FMT "db%010u"

#endif

/* How a request's body travels, and what it must turn out to be.
 *
 * It comes as it is, or in aws-chunked coding (x-amz-content-sha256: STREAMING-...), with or without
 * signatures and trailers. Between the transport and the operation: s3_payload_begin() when the head
 * is there, s3_payload_feed() for what the transport brings, which gives the operation the bytes of
 * the object alone, s3_payload_end() before the operation's end(), s3_payload_drop() in done().
 *
 * What is wrong with a body is told here, after the operation has let go of what it has (drop()). The
 * bytes are hashed here, or by whoever takes s3_payload_hasher(): then s3_payload_refuse() is for the
 * taker to call when the store reports ZERR_BAD_DIGEST. */
#ifndef ZKV_S3_S3_PAYLOAD_H
#define ZKV_S3_S3_PAYLOAD_H

#include "base/buf.h"
#include "s3/aws_chunked.h"
#include "s3/s3_digest.h"

struct s3_exchange;

struct s3_payload {
    struct aws_chunked *chunked; /* in the arena; NULL: as it is */
    bool chunks_signed, has_trailers;
    struct slice declared; /* x-amz-trailer */
    bool has_size;
    uint64_t size; /* of the object */

    struct s3_digest *digest; /* NULL: nothing to check */
    bool taken;               /* somebody else feeds it */
    bool late;                /* the checksum comes in a trailer ... */
    bool late_came;

    bool framed; /* something has come */
    bool begins; /* the next bytes begin a signed chunk, with this signature */
    uint8_t signature[AWS_SIGNATURE_BYTES];
    bool has_trailer_signature;
    uint8_t last[AWS_SIGNATURE_BYTES], trailer_signature[AWS_SIGNATURE_BYTES];
    struct buf trailers; /* as they are signed */
};

/* False: refused. */
bool s3_payload_begin(struct s3_exchange *) ZKV_MUST_CHECK;
void s3_payload_feed(struct s3_exchange *, struct slice data);
/* False: refused. */
bool s3_payload_end(struct s3_exchange *) ZKV_MUST_CHECK;
void s3_payload_drop(struct s3_exchange *);

/* Takes over the hashing, for a put_spec; NULL: nothing is to be hashed. */
struct put_hasher *s3_payload_hasher(struct s3_exchange *);
/* Has a checksum computed that the request does not bring. ZERR_NOMEM. */
int s3_payload_want(struct s3_exchange *, enum s3_checksum) ZKV_MUST_CHECK;
/* The checksum that is kept with the object; S3_CHECKSUMS: none. */
enum s3_checksum s3_payload_checksum(const struct s3_exchange *);
/* Room for its text, behind the attributes (a new list in the arena), for the hasher to fill.
 * ZERR_NOMEM. */
int s3_payload_room(struct s3_exchange *, struct attrs *sys) ZKV_MUST_CHECK;
/* Says what is wrong with the body; false: it was not the hasher that found it so. */
bool s3_payload_refuse(struct s3_exchange *) ZKV_MUST_CHECK;

#endif

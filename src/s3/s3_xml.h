/* XML: the only writer, which always escapes, and the readers of what requests bring.
 *
 * The writer appends to a buf and remembers the first failure (out of memory), so that callers
 * check once, with s3_xml_finish(). Element names are literals; text is any bytes. Control
 * characters become &#xN; as S3 writes them; what is not UTF-8 becomes U+FFFD. */
#ifndef ZKV_S3_S3_XML_H
#define ZKV_S3_S3_XML_H

#include "base/buf.h"
#include "base/slice.h"
#include "s3/s3_digest.h"
#include "store/store.h"

#define S3_XMLNS "http://s3.amazonaws.com/doc/2006-03-01/"
#define S3_XML_TYPE "application/xml"
#define S3_XML_DECLARATION "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"

struct s3_xml {
    struct buf *out;
    int err;
};

/* Writes the declaration and opens the root. xmlns NULL: none. */
void s3_xml_begin(struct s3_xml *, struct buf *out, const char *root, const char *xmlns);
void s3_xml_open(struct s3_xml *, const char *name);
void s3_xml_close(struct s3_xml *, const char *name);
/* <name>text</name> */
void s3_xml_text(struct s3_xml *, const char *name, struct slice text);
void s3_xml_u64(struct s3_xml *, const char *name, uint64_t value);
void s3_xml_bool(struct s3_xml *, const char *name, bool value);
/* The same with text percent-encoded first (encoding-type=url) if `url` is set. All but letters,
 * digits and "-._~/" is encoded, the space as %20, so that both kinds of decoders read it. */
void s3_xml_key(struct s3_xml *, const char *name, struct slice text, bool url);
/* Closes the root. 0 or ZERR_NOMEM. */
int s3_xml_finish(struct s3_xml *, const char *root) ZKV_MUST_CHECK;

/* ---- DeleteObjects ---- */

#define S3_XML_MAX_BYTES (2u << 20) /* of a request's body */
#define S3_XML_MAX_DEPTH 16
#define S3_DELETE_MAX_KEYS 1000
#define S3_OWNER "zipkvserver" /* of everything, where S3 names an owner */

struct s3_delete_key {
    struct slice key;   /* cut at KEY_MAX_BYTES + 1 bytes, which tells that it is too long */
    bool other_version; /* names a version that is not "null" */
};

struct s3_delete_list {
    struct s3_delete_key *keys; /* S3_DELETE_MAX_KEYS at most, at least one */
    size_t n;
    bool quiet;
};

/* Reads <Delete>, in any namespace or none; everything in the arena.
 * Errors: ZERR_INVALID (not such a document, a DOCTYPE, too deep, too many keys, none),
 * ZERR_UNSUPPORTED (asks for a conditional delete), ZERR_NOMEM. */
int s3_xml_parse_delete(struct slice body, struct arena *,
                        struct s3_delete_list *ret) ZKV_MUST_CHECK;

/* ---- CreateBucket ---- */

/* Reads <CreateBucketConfiguration>: the text of its <LocationConstraint>, in the arena; empty if
 * there is none. An empty body is like that. Errors: ZERR_INVALID, ZERR_NOMEM. */
int s3_xml_parse_create(struct slice body, struct arena *, struct slice *ret) ZKV_MUST_CHECK;

/* ---- access lists ---- */

/* Reads <AccessControlPolicy>. 0: it is the owner's, and gives nothing to anybody else.
 * Errors: ZERR_UNSUPPORTED (it does), ZERR_INVALID, ZERR_NOMEM. */
int s3_xml_check_acl(struct slice body, struct arena *) ZKV_MUST_CHECK;

/* ---- CompleteMultipartUpload ---- */

/* A checksum that a part is said to have. */
struct s3_claim {
    enum s3_checksum kind; /* S3_CHECKSUMS: none */
    struct slice text;
};
struct s3_complete_list {
    struct part_name *parts;
    struct s3_claim *claims; /* one for each part; NULL: none has one */
    size_t n;
};

/* Reads <CompleteMultipartUpload>: 1..PART_MAX parts with number and ETag, in the document's order;
 * in the arena. Errors: ZERR_INVALID, ZERR_NOMEM. */
int s3_xml_parse_complete(struct slice body, struct arena *,
                          struct s3_complete_list *ret) ZKV_MUST_CHECK;

#endif

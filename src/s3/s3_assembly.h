/* The checksum of an object that comes in parts: which one was agreed on when its upload began, and how
 * it is made of the parts' when it is completed.
 *
 * COMPOSITE is the checksum of the parts' checksums one behind the other, with "-" and their number
 * behind it. FULL_OBJECT is that of all the bytes: CRCs can be combined. The agreement is kept with the
 * upload, as attributes that the object does not get; each part keeps its own checksum, and the object
 * that which came out. Where nothing was agreed on, what the completing request says is computed if all
 * parts have it.
 *
 * A struct s3_assembly is on the heap: the store uses it in a worker, perhaps after the exchange has
 * ended. */
#ifndef ZKV_S3_S3_ASSEMBLY_H
#define ZKV_S3_S3_ASSEMBLY_H

#include "s3/s3_headers.h"
#include "s3/s3_xml.h"

/* What an upload's parts and its object are to have. */
struct s3_agreement {
    enum s3_checksum kind; /* S3_CHECKSUMS: none */
    bool whole;            /* FULL_OBJECT */
};

/* From the headers that begin an upload. ZERR_INVALID: *ret_message says why not. */
int s3_agreement_from(const struct s3_head *, struct s3_agreement *ret,
                      const char **ret_message) ZKV_MUST_CHECK;
const char *s3_agreement_type(const struct s3_agreement *);
/* To an upload's attributes (*sys is replaced by a longer list in the arena: ZERR_NOMEM), and back. */
int s3_agreement_keep(const struct s3_agreement *, struct arena *,
                      struct attrs *sys) ZKV_MUST_CHECK;
struct s3_agreement s3_agreement_of(struct attrs sys);

#define S3_ASSEMBLED_TEXT (S3_CHECKSUM_TEXT + 8) /* with "-10000" */

struct s3_assembly {
    void *user; /* the owner's */

    /* What the request says. */
    bool has_size, has_type, whole;
    uint64_t size;
    enum s3_checksum kind; /* S3_CHECKSUMS: nothing */
    char said[S3_ASSEMBLED_TEXT];

    /* The outcome. made.kind S3_CHECKSUMS: no checksum; code S3_N_CODES: nothing is wrong. */
    struct s3_agreement made;
    char text[S3_ASSEMBLED_TEXT];
    enum s3_code code;
    const char *message;

    /* Of each part, first what the list says it has, then what it has. */
    size_t n;
    struct s3_part_sum {
        enum s3_checksum kind; /* S3_CHECKSUMS: none */
        uint8_t value[S3_CHECKSUM_BYTES];
        uint64_t size;
    } parts[];
};

/* Takes what the request and its list say of the object and the parts. ZERR_NOMEM; ZERR_INVALID:
 * *ret_message says what is wrong with it. */
int s3_assembly_create(const struct http_request *, const struct s3_head *,
                       const struct s3_complete_list *, struct s3_assembly **ret,
                       const char **ret_message) ZKV_MUST_CHECK;
void s3_assembly_destroy(struct s3_assembly *); /* NULL is fine */

/* For store_complete_upload(), with the assembly as user. ZERR_BAD_DIGEST: see code. */
extern const struct complete_ops S3_ASSEMBLY_OPS;

#endif

/* What the two forms of a record share on their way to and from protobuf; private to record*.c.
 *
 * nanopb's types are named by their struct here, so that no header includes it. A call-back that
 * is handed out points to its argument, which must outlive the encoding or decoding. */
#ifndef ZKV_STORE_RECORD_WIRE_H
#define ZKV_STORE_RECORD_WIRE_H

#include "store/record.h"

struct pb_callback_s;
struct pb_msgdesc_s;

/* Encodes msg behind what out has, at most max bytes. ZERR_TOO_LARGE, ZERR_NOMEM: out is as it was.
 */
int wire_encode(const struct pb_msgdesc_s *fields, const void *msg, size_t max,
                struct buf *out) ZKV_MUST_CHECK;
struct pb_callback_s wire_slice_encoder(const struct slice *);
struct pb_callback_s wire_attrs_encoder(const struct attrs *);     /* no attributes: no field */
struct pb_callback_s wire_extents_encoder(const struct extents *); /* none: no field */
bool wire_fits(const struct record *); /* not more attributes or extents than a record may have */

/* What the decoding call-backs of one record fill. */
struct wire_decoder {
    struct arena *arena;
    int err; /* why a call-back gave up; 0: nanopb itself did */
    struct slice key;
    struct attrs meta, sys;
    struct extent *extents;
    size_t n_extents, cap_extents;
};
struct pb_callback_s wire_key_decoder(struct wire_decoder *);
struct pb_callback_s wire_meta_decoder(struct wire_decoder *);
struct pb_callback_s wire_sys_decoder(struct wire_decoder *);
struct pb_callback_s wire_extents_decoder(struct wire_decoder *);
/* What was decoded, for a body of `size` bytes. ZERR_CORRUPT: not so many. */
int wire_take_extents(const struct wire_decoder *, uint64_t size,
                      struct extents *ret) ZKV_MUST_CHECK;

#endif

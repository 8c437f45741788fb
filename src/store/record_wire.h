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
struct pb_callback_s wire_attrs_encoder(const struct attrs *); /* no attributes: no field */
bool wire_attrs_fit(const struct record *);

/* What the decoding call-backs of one record fill. */
struct wire_decoder {
    struct arena *arena;
    int err; /* why a call-back gave up; 0: nanopb itself did */
    struct slice key;
    struct attrs meta, sys;
};
struct pb_callback_s wire_key_decoder(struct wire_decoder *);
struct pb_callback_s wire_meta_decoder(struct wire_decoder *);
struct pb_callback_s wire_sys_decoder(struct wire_decoder *);

#endif

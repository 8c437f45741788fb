/* The whole history of a directory, replayed into an index: what the db holds and what only the
 * unsealed blocks hold. Reads only; a server may be running. */
#ifndef ZKV_TOOLS_REPLAY_H
#define ZKV_TOOLS_REPLAY_H

#include "store/index.h"
#include "tools/cli.h"
#include "tools/source.h"

struct replay_visitor {
    void *user;
    /* Each record in order, before it is applied; of one that is not in the history
     * (record_in_history()) rev is that of the next one that is. Non-zero stops. */
    int (*record)(void *user, uint64_t rev, const struct record *);
};

struct replay_result {
    uint64_t n_records;               /* replayed; the last one's revision is one less */
    uint64_t n_unflushed;             /* of them in unsealed blocks alone */
    uint64_t n_damaged;               /* members of the db that cannot be read */
    uint8_t store_id[STORE_ID_BYTES]; /* zeros: the original's */
    uint64_t n_bad_headers;           /* members that can, but whose header is damaged */
};

#define REPLAY_ALL UINT64_MAX

/* Up to and with revision last_rev, or REPLAY_ALL. ZERR_BAD_REV: the history ends before it.
 * ZERR_NOT_FOUND: there is no store in the directory. ix (may be NULL) is a new INDEX_TEMP. visitor
 * may be NULL. */
int replay(struct source *, struct index *ix, uint64_t last_rev, const struct replay_visitor *,
           struct cli_progress *, struct replay_result *ret, struct zerr_info *) ZKV_MUST_CHECK;

#endif

/* The reference model: what a store that loses nothing must hold, and what it may hold, at each moment
 * of a workload.
 *
 * Time is counted in snapshots of the disk (record.h): one is taken before each of the disk's changes,
 * so what happens while `now` is n holds for the snapshots from n on. A request becomes PENDING when
 * nothing more is needed for it to commit, then ACKED, or DROPPED when it was refused or when a start
 * found nothing of it. Snapshot k then says of it:
 *
 *   before it is pending     must not be there
 *   pending                  wholly there or wholly absent
 *   acked                    there, in the order of the answers; with -sync block this holds from
 *                            `durable_at` on, and from the answer on where nothing but the process died
 *   dropped                  must not be there */
#ifndef ZKV_TEST_CRASH_MODEL_H
#define ZKV_TEST_CRASH_MODEL_H

#include <stdbool.h>

#include "base/buf.h"
#include "store/record.h"

#define KEYS_MAX 64
#define VERSIONS_MAX 192
#define PARTS_MAX 12  /* of one upload, and its highest number */
#define BEGUN_MAX 16  /* multipart uploads in one history */
#define CHANGES_MAX 4 /* of one request */
#define REQUESTS_MAX 192
#define NEVER UINT32_MAX
#define ABSENT UINT32_MAX
#define UNKNOWN (UINT32_MAX - 1)

/* What a name can hold, told apart by the time, where we set it; a part, told apart by its bytes; or a
 * multipart upload, told apart by its metadata, which are those of the object to be. */
struct version {
    enum record_op op; /* PUT, PART, UPLOAD */
    struct slice body;
    uint8_t md5[16];
    int64_t mtime_ms; /* 0: the original's, unknown */
    uint32_t parts;   /* of a multipart object; 0: it is none */
    char meta[1024];  /* "": none */
    bool owns_body;
};

struct change {
    enum record_op op;
    unsigned key, version; /* ABSENT for a delete and an abort */
    uint64_t seq;          /* 0: not known (yet) */
    unsigned upload;       /* the version of the multipart upload that it is about; ABSENT: none */
    uint32_t part;         /* PART */
};

/* Multipart uploads under way. */
struct begun {
    unsigned upload, key;
    uint64_t seq;
    unsigned parts[PARTS_MAX + 1]; /* by number: version, or ABSENT */
};
struct uploads {
    struct begun v[BEGUN_MAX];
    unsigned n;
};

struct request {
    struct change changes[CHANGES_MAX];
    unsigned n; /* all of them or none */
    uint32_t pending_at, acked_at, durable_at, dropped_at;
    bool used; /* while a history is compared */
};

struct model {
    struct slice keys[KEYS_MAX];
    unsigned n_keys;
    struct version versions[VERSIONS_MAX];
    unsigned n_versions;
    struct request reqs[REQUESTS_MAX];
    unsigned n_reqs;
    unsigned order[REQUESTS_MAX]; /* those acked, in the order of the answers */
    unsigned n_order;
    uint32_t now;
    unsigned n_events; /* of which a snapshot's verdict depends */
    bool has_holes;    /* with -sync block: parts may outlive their uploads' beginnings */
    uint64_t seed;     /* of the bodies */
};

void model_init(struct model *, uint64_t seed);
void model_finish(struct model *);

unsigned model_key(struct model *, struct slice name); /* finds or adds; the name is copied */
/* A new body of so many bytes, with metadata of meta_len characters. */
unsigned model_version(struct model *, size_t size, size_t meta_len);
void model_set_body(struct model *, unsigned version, struct slice body); /* as long as it was */
/* Another version with the body of `from`. */
unsigned model_copy(struct model *, unsigned from, size_t meta_len);
/* Bytes of the version `from`, as a part. */
unsigned model_part(struct model *, unsigned from, size_t off, size_t len);
/* An upload's beginning. */
unsigned model_upload(struct model *, size_t meta_len);
/* The object that these parts make. */
unsigned model_joined(struct model *, const struct begun *);
void model_forget(struct model *, unsigned version);     /* the last one */
unsigned model_live(const struct model *, unsigned key); /* version, as of the answers; or ABSENT */
void model_uploads(const struct model *, struct uploads *ret); /* likewise */
/* What a history leaves under way. 0, or the index of the first change (plus 1) that is about an upload
 * which is not; such changes do nothing. */
size_t uploads_of(const struct change *, size_t n, struct uploads *ret);

unsigned model_request(struct model *); /* not pending yet */
void model_add(struct model *, unsigned req, struct change);
void model_pending(struct model *, unsigned req);
/* With durable false it is on disk when model_durable() says so. */
void model_acked(struct model *, unsigned req, bool durable);
void model_dropped(struct model *, unsigned req);
void model_durable(struct model *, uint64_t n_changes); /* the first n of the history are on disk */
/* A start has found this history: what was pending is decided by it. */
void model_resolve(struct model *, const struct change *history, size_t n);
/* The numbers of a history that is known to be the model's. */
void model_learn(struct model *, const struct change *history, size_t n);
/* Back to snapshot k: what came later has not happened. */
void model_rewind(struct model *, uint32_t k);

/* Does the history found after a crash at snapshot k fit? Only the process died (cut false), or the
 * power was cut. 0, or what is wrong in `why`. */
int model_check(struct model *, uint32_t k, bool cut, const struct change *history, size_t n,
                struct buf *why);

#endif

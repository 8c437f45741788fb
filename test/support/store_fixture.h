/* A store on a vfs_mem with an inline pool, driven to the end of each operation: for tests.
 *
 * The index lies in a real temporary directory (SQLite does its own I/O). Functions that begin with
 * fx_ assert where the test could not go on; statuses that a test may be about are returned. */
#ifndef ZKV_TEST_STORE_FIXTURE_H
#define ZKV_TEST_STORE_FIXTURE_H

#include "base/buf.h"
#include "store/store.h"

struct fixture {
    struct vfs *vfs;
    struct workers_inline workers;
    struct store_config cfg;
    struct store *st; /* NULL: closed */
    char dir[64];     /* of the index */
    char notes[8192]; /* what note() and fatal() said, line by line */
    bool fatal;
    struct zerr_info info; /* of the last fx_open() */
    /* Moves the vfs's clocks: vfs_mem_advance, unless the test brought another vfs. */
    void (*advance)(struct vfs *, uint64_t ms);
};

void fx_init(struct fixture *, uint64_t block_size); /* an empty directory, not opened */
void fx_finish(struct fixture *);
int fx_open(struct fixture *);
int fx_stop(struct fixture *);  /* orderly; returns what stopped() said; closes */
void fx_kill(struct fixture *); /* closes as kill -9 would: what was written stays */
/* Closes and replaces the directory by what a power cut would leave. */
void fx_power_cut(struct fixture *, int mode, uint64_t seed);
void fx_drop_index(struct fixture *);

/* One operation each, to its end. body: any bytes. chunk: bytes a put_write (0: all at once). */
int fx_put(struct fixture *, const char *key, struct slice body, size_t chunk);
int fx_put_spec(struct fixture *, const struct put_spec *, struct slice body, size_t chunk,
                const uint8_t *md5, struct object *ret);
int fx_delete(struct fixture *, const char *key);
int fx_copy(struct fixture *, const char *from, const char *to);
/* The body in `out`; attributes may be looked at through `each`. */
int fx_get(struct fixture *, const char *key, struct buf *out);
/* All names, each followed by a newline. */
int fx_names(struct fixture *, struct buf *out);

/* An upload held by hand. */
struct fx_upload {
    struct put *put;
    bool ready, done;
    int ready_status, status;
};
int fx_begin(struct fixture *, struct fx_upload *, const char *key, uint64_t size);
void fx_write(struct fixture *, struct fx_upload *, struct slice data); /* copied */
void fx_pump(struct fixture *);

/* len bytes that depend on seed. */
void fx_fill(uint8_t *out, size_t len, uint64_t seed);

#endif

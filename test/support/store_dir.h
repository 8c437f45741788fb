/* Stores in real temporary directories, for tests of the tools: made, filled, broken, read back.
 *
 * Everything here asserts (cmocka): a test that gets past a call had it work. */
#ifndef ZKV_TEST_STORE_DIR_H
#define ZKV_TEST_STORE_DIR_H

#include "base/buf.h"
#include "store/store.h"

struct store_dir {
    char path[256]; /* the directory; made by the init functions, removed by finish */
    /* While open. */
    struct vfs *vfs;
    struct workers_inline workers;
    struct store *store;
};

void store_dir_init(struct store_dir *);                        /* empty */
void store_dir_init_copy(struct store_dir *, const char *from); /* a copy of the files there */
void store_dir_finish(struct store_dir *); /* crashes it if open; removes everything */

void store_dir_open(struct store_dir *, uint64_t block_size);
void store_dir_stop(struct store_dir *);  /* in order */
void store_dir_crash(struct store_dir *); /* as kill -9 leaves it; the lock is free again */

/* On an open store. One metadata header "X-Amz-Meta-K: <key>" goes with each. */
void store_dir_put(struct store_dir *, const char *key, const void *data, size_t len);
/* In parts of part_size, with the numbers 1, 4, 7, ...; at most 16 of them. */
void store_dir_multipart(struct store_dir *, const char *key, const void *data, size_t len,
                         size_t part_size);
uint64_t store_dir_begin(struct store_dir *, const char *key); /* a multipart upload; its number */
void store_dir_delete(struct store_dir *, const char *key);
void store_dir_copy(struct store_dir *, const char *from, const char *to);
/* The body, appended to out. ZERR_NOT_FOUND, ZERR_DAMAGED. meta (may be NULL): the value of
 * X-Amz-Meta-K, "" if it has none. */
int store_dir_get(struct store_dir *, struct slice key, struct buf *out, char meta[256],
                  struct object *ret_obj) ZKV_MUST_CHECK;

/* Files. name is relative to the directory. */
void store_dir_file(const struct store_dir *, const char *name, char out[512]);
bool store_dir_has(const struct store_dir *, const char *name);
uint64_t store_dir_file_size(const struct store_dir *, const char *name);
void store_dir_flip(const struct store_dir *, const char *name, uint64_t off); /* inverts a byte */
void store_dir_cut(const struct store_dir *, const char *name, uint64_t size);
void store_dir_unlink(const struct store_dir *, const char *name);

/* Standard output of what runs between the two calls. text is NUL-terminated; free() it. */
void capture_begin(void);
char *capture_end(void);

#endif

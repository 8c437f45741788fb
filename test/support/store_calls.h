/* Uploads and changes that count their call-backs: for tests of the store's manners. */
#ifndef ZKV_TEST_STORE_CALLS_H
#define ZKV_TEST_STORE_CALLS_H

#include "support/store_fixture.h"

static uint8_t BODY[2 << 20];

static inline struct slice body_of(size_t len)
{
    fx_fill(BODY, len, len);
    return slice_of(BODY, len);
}

/* ---- uploads that count their call-backs ---- */

struct upload {
    struct put *put;
    unsigned ready, writable, done, waits, patience;
    int status;
};

static inline void on_ready(void *user, int status)
{
    struct upload *u = user;
    u->ready++;
    u->status = status;
}

static inline void on_writable(void *user)
{
    ((struct upload *)user)->writable++;
}

static inline void on_done(void *user, int status, const struct object *obj)
{
    struct upload *u = user;
    (void)obj;
    u->done++;
    u->status = status;
}

static inline bool on_waiting(void *user)
{
    struct upload *u = user;
    u->waits++;
    return u->waits <= u->patience;
}

static const struct put_ops OPS = {
    .ready = on_ready, .writable = on_writable, .done = on_done, .waiting = on_waiting};

static inline int begin(struct fixture *f, struct upload *u, const char *key, uint64_t size)
{
    struct put_spec spec = {.key = slice_str(key), .size = size};
    *u = (struct upload){0};
    return put_begin(f->st, &spec, &OPS, u, &u->put);
}

static inline void write_some(struct fixture *f, struct upload *u, size_t len)
{
    struct fx_upload by = {.put = u->put};
    fx_write(f, &by, body_of(len));
}

struct answer {
    unsigned n;
    int status;
};

static inline void on_answer(void *user, int status)
{
    struct answer *a = user;
    a->n++;
    a->status = status;
}

static inline int delete_name(struct fixture *f, const char *key, struct answer *a)
{
    struct slice k = slice_str(key);
    *a = (struct answer){0};
    return store_delete(f->st, &k, 1, NULL, on_answer, a);
}

static inline void on_copied(void *user, int status, const struct object *obj)
{
    (void)obj;
    on_answer(user, status);
}

static inline int copy_name(struct fixture *f, const struct object *src, const char *key,
                            struct answer *a)
{
    struct copy_spec spec = {.key = slice_str(key), .src = *src};
    *a = (struct answer){0};
    return store_copy(f->st, &spec, on_copied, a);
}

#endif

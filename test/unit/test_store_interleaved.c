/* Jobs in any order: of those submitted, run or not, any may be the next to be run or to be done, as it
 * is with threads. Uploads, copies and deletes at random, with one call of the disk failing; then all must
 * be settled: nothing counted as unsynced or promised that is not, an upload succeeds, and each name has
 * what was answered last at the next start.
 *
 * test_store_interleaved [N [SEED]]: N runs (100), from SEED on, which is new each time and printed. */
#include <openssl/evp.h>
#include <time.h>

#include "store/store_priv.h"
#include "support/store_rig.h"

#define N_KEYS 5
#define N_UPLOADS 6
#define N_OPS 60
#define JOBS_MAX 64
#define N_VERSIONS (N_OPS + 4)
#define CHUNK_MAX 150000

struct upload {
    struct put *put;
    unsigned key, version;
    size_t size, sent;
    bool ready, committed, busy; /* busy: the slot is taken */
};

struct change { /* a copy or a delete */
    struct run *run;
    unsigned key, version;
};

struct run {
    struct fixture f;
    struct workers base;
    struct job *queued[JOBS_MAX], *ran[JOBS_MAX];
    size_t n_queued, n_ran;
    uint64_t seed, rng;
    struct upload uploads[N_UPLOADS];
    struct change changes[N_OPS];
    unsigned n_changes, n_versions;
    size_t sizes[N_VERSIONS];
    unsigned now[N_KEYS];           /* version, 0: none */
    bool maybe[N_KEYS][N_VERSIONS]; /* was refused, or never answered */
};

static struct run *the_run;
static uint64_t n_fatal, n_acked, n_failed;

static uint64_t rnd(struct run *r, uint64_t n)
{
    r->rng ^= r->rng << 13;
    r->rng ^= r->rng >> 7;
    r->rng ^= r->rng << 17;
    return r->rng % n;
}

static struct slice key_of(unsigned key)
{
    static const char *const names[N_KEYS] = {"a", "b", "c", "d", "e"};
    return slice_str(names[key]);
}

/* ---- workers ---- */

static void submit(struct workers *w, struct job *job)
{
    struct run *r = container_of(w, struct run, base);
    assert_true(r->n_queued < JOBS_MAX);
    r->queued[r->n_queued++] = job;
}

static bool step(struct run *r)
{
    size_t n = r->n_queued + r->n_ran;
    if (n == 0) {
        return false;
    }
    size_t i = rnd(r, n);
    if (i < r->n_queued) {
        struct job *job = r->queued[i];
        r->queued[i] = r->queued[--r->n_queued];
        job->run(job);
        r->ran[r->n_ran++] = job;
    } else {
        struct job *job = r->ran[i - r->n_queued];
        r->ran[i - r->n_queued] = r->ran[r->n_ran - 1];
        r->n_ran--;
        job->done(job);
    }
    return true;
}

static void steps(struct run *r, uint64_t n)
{
    while (n-- > 0 && step(r)) {
    }
}

/* ---- uploads ---- */

static void answered(struct run *r, unsigned key, unsigned version, int status)
{
    if (status == 0) {
        r->now[key] = version;
        n_acked++;
    } else {
        n_failed++;
    }
    r->maybe[key][version] = status != 0;
}

static void on_ready(void *user, int status)
{
    struct upload *u = user;
    u->ready = status == 0;
    u->busy = status == 0;
}

static void on_writable(void *user)
{
    (void)user;
}

static void on_done(void *user, int status, const struct object *obj)
{
    struct upload *u = user;
    (void)obj;
    u->busy = false;
    answered(the_run, u->key, u->version, status);
}

static const struct put_ops OPS = {.ready = on_ready, .writable = on_writable, .done = on_done};

static int begin_upload(struct run *r, struct upload *u, unsigned key, size_t size)
{
    struct put_spec spec = {.key = key_of(key), .size = size};
    *u = (struct upload){.key = key, .version = ++r->n_versions, .size = size, .busy = true};
    r->sizes[u->version] = size;
    int rc = put_begin(r->f.st, &spec, &OPS, u, &u->put);
    u->ready = rc == 0;
    u->busy = rc == 0 || rc == ZKV_PENDING;
    return rc;
}

struct own_chunk {
    struct chunk c;
    uint8_t data[];
};

static void release_chunk(struct chunk *c)
{
    free(container_of(c, struct own_chunk, c));
}

static void send_some(struct run *r, struct upload *u, size_t max)
{
    size_t left = u->size - u->sent, n = left < max ? left : max;
    if (n > 0) {
        struct own_chunk *c = malloc(sizeof(*c) + n);
        assert_non_null(c);
        memcpy(c->data, body_of(u->version, u->size).ptr + u->sent, n);
        c->c = (struct chunk){.data = c->data, .len = n, .release = release_chunk};
        u->sent += n;
        put_write(u->put, &c->c);
    }
    if (u->busy && u->sent == u->size) {
        u->committed = true;
        r->maybe[u->key][u->version] = true;
        put_commit(u->put, NULL);
    }
}

static void some_upload(struct run *r)
{
    static const size_t sizes[] = {0, 100, 3000, 3000, 70000, 150000, 290000};
    struct upload *u = &r->uploads[rnd(r, N_UPLOADS)];
    if (!u->busy) {
        (void)begin_upload(r, u, (unsigned)rnd(r, N_KEYS),
                           sizes[rnd(r, sizeof(sizes) / sizeof(sizes[0]))]);
    } else if (u->ready && !u->committed && rnd(r, 10) == 0) {
        u->busy = false;
        put_abort(u->put);
    } else if (u->ready && !u->committed) {
        send_some(r, u, CHUNK_MAX);
    }
}

/* ---- changes ---- */

static void on_deleted(void *user, int status)
{
    struct change *c = user;
    answered(c->run, c->key, 0, status);
}

static void on_copied(void *user, int status, const struct object *obj)
{
    struct change *c = user;
    (void)obj;
    answered(c->run, c->key, c->version, status);
}

/* Visible is more than what has been answered. */
static unsigned version_of(struct run *r, const struct object *obj)
{
    uint8_t md5[16];
    for (unsigned v = 1; v <= r->n_versions; v++) {
        if (r->sizes[v] == obj->size) {
            struct slice body = body_of(v, r->sizes[v]);
            assert_int_equal(EVP_Digest(body.ptr, body.len, md5, NULL, EVP_md5(), NULL), 1);
            if (memcmp(md5, obj->md5, sizeof(md5)) == 0) {
                return v;
            }
        }
    }
    fail_msg("seed %llu: what is visible was never sent", (unsigned long long)r->seed);
    return 0;
}

static void some_change(struct run *r)
{
    struct change *c = &r->changes[r->n_changes++];
    *c = (struct change){.run = r, .key = (unsigned)rnd(r, N_KEYS)};
    struct slice key = key_of(c->key);
    if (rnd(r, 3) == 0) {
        bool before = r->maybe[c->key][0];
        r->maybe[c->key][0] = true;
        if (store_delete(r->f.st, &key, 1, NULL, on_deleted, c) != 0) {
            r->maybe[c->key][0] = before;
        }
        return;
    }
    struct copy_spec spec = {.key = key};
    if (store_lookup(r->f.st, key_of((unsigned)rnd(r, N_KEYS)), &spec.src) == 0) {
        c->version = version_of(r, &spec.src);
        bool before = r->maybe[c->key][c->version];
        r->maybe[c->key][c->version] = true;
        if (store_copy(r->f.st, &spec, on_copied, c) != 0) {
            r->maybe[c->key][c->version] = before;
        }
    }
}

/* ---- a run ---- */

static void tick(struct run *r, uint64_t ms)
{
    vfs_mem_advance(r->f.vfs, ms);
    if (store_wants_tick(r->f.st)) {
        store_tick(r->f.st);
    }
}

static void until_quiet(struct run *r)
{
    for (int i = 0; i < 40; i++) {
        steps(r, 100000);
        tick(r, 1000);
    }
}

static void wrong(const struct run *r, const char *what)
{
    fail_msg("seed %llu: %s\n%s", (unsigned long long)r->seed, what, r->f.notes);
}

static void expect_settled(struct run *r)
{
    struct upload last;
    for (int i = 0; i < N_UPLOADS; i++) {
        struct upload *u = &r->uploads[i];
        if (u->busy && u->committed) {
            wrong(r, "an upload was not answered");
        }
        if (u->busy) {
            put_abort(u->put);
            u->busy = false;
        }
    }
    until_quiet(r);
    uint64_t dirty = 0; /* of uploads that were given up; the next sync of their block settles it */
    for (const struct block *b = r->f.st->open_blocks; b != NULL; b = b->next) {
        dirty += b->dirty;
    }
    if (r->f.st->unsynced != dirty || dirty > UNSYNCED_MAX || r->f.st->queued != 0 ||
        r->f.st->own_promised != 0) {
        wrong(r, "something is counted that is not there");
    }
    if (begin_upload(r, &last, 0, 290000) != 0) {
        wrong(r, "an upload is refused");
    }
    send_some(r, &last, last.size);
    until_quiet(r);
    if (last.busy || r->now[0] != last.version) {
        wrong(r, "an upload does not succeed");
    }
}

static void on_stopped(void *user, int status)
{
    (void)status;
    *(bool *)user = true;
}

static void stop(struct run *r)
{
    bool stopped = false;
    store_stop(r->f.st, on_stopped, &stopped);
    for (int i = 0; i < 100 && !stopped; i++) {
        steps(r, 100000);
        tick(r, 1000);
    }
    if (!stopped) {
        wrong(r, "it does not stop");
    }
    store_destroy(r->f.st);
    r->f.st = NULL;
}

static void expect_keys(struct run *r, bool fatal)
{
    for (unsigned k = 0; k < N_KEYS; k++) {
        struct buf out = {0};
        char name[2] = {(char)key_of(k).ptr[0], '\0'};
        int rc = fx_get(&r->f, name, &out);
        bool right = false;
        for (unsigned v = 0; v <= r->n_versions && !right; v++) {
            if (v == r->now[k] || (fatal && r->maybe[k][v])) {
                right = v == 0 ? rc == ZERR_NOT_FOUND
                               : rc == 0 && slice_eq(buf_slice(&out), body_of(v, r->sizes[v]));
            }
        }
        if (!right) {
            wrong(r, name);
        }
        buf_finish(&out);
    }
}

static void one_run(uint64_t seed)
{
    static const int errors[] = {ZERR_IO, ZERR_NO_SPACE, ZERR_LIMIT};
    static const unsigned ops[] = {MEM_WRITE, MEM_WRITE, MEM_SYNC, MEM_CREATE, MEM_CHANGES};
    struct run *r = the_run = calloc(1, sizeof(*r));
    assert_non_null(r);
    r->seed = seed;
    r->rng = seed * 0x9e3779b97f4a7c15u + 1;
    fx_init(&r->f, rnd(r, 2) == 0 ? 1u << 18 : 1u << 20);
    vfs_mem_destroy(r->f.vfs);
    r->f.vfs = vfs_mem_create(seed);
    r->base.submit = submit;
    r->f.cfg.workers = &r->base;
    assert_int_equal(fx_open(&r->f), 0);
    vfs_mem_fail(r->f.vfs, ops[rnd(r, 5)], 1 + rnd(r, 60), errors[rnd(r, 3)], MEM_ONCE);
    for (int i = 0; i < N_OPS * 4; i++) {
        if (r->n_versions < N_OPS && !r->f.fatal) {
            some_upload(r);
        }
        if (r->n_changes < N_OPS && !r->f.fatal && rnd(r, 4) == 0) {
            some_change(r);
        }
        steps(r, rnd(r, 4));
        if (rnd(r, 20) == 0) {
            tick(r, rnd(r, 1500));
        }
    }
    until_quiet(r);
    vfs_mem_fail(r->f.vfs, 0, 0, 0, MEM_ONCE);
    bool fatal = r->f.fatal;
    n_fatal += fatal;
    if (!fatal) {
        expect_settled(r);
    }
    stop(r);
    r->f.cfg.workers = &r->f.workers.base;
    if (fx_open(&r->f) != 0) {
        wrong(r, r->f.info.text);
    }
    expect_keys(r, fatal);
    fx_finish(&r->f);
    free(r);
}

static uint64_t n_runs = 100, first_seed;

static void whatever_the_order_all_is_settled(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < n_runs; i++) {
        one_run(first_seed + i);
    }
    printf("%llu runs from seed %llu: %llu changes answered, %llu refused, %llu ends\n",
           (unsigned long long)n_runs, (unsigned long long)first_seed, (unsigned long long)n_acked,
           (unsigned long long)n_failed, (unsigned long long)n_fatal);
    assert_true(n_acked > n_runs && n_failed > n_runs / 10);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(whatever_the_order_all_is_settled)};
    n_runs = argc > 1 ? strtoull(argv[1], NULL, 10) : n_runs;
    first_seed = argc > 2 ? strtoull(argv[2], NULL, 10) : (uint64_t)time(NULL) * 1000000;
    return cmocka_run_group_tests(tests, NULL, NULL);
}

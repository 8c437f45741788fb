/* A set of stores (store_set.h) on a real directory, with jobs that run when the test says so and time that
 * passes when it does. Each test that is in the list as T(name) has a fresh one. */
#ifndef ZKV_TEST_SET_RIG_H
#define ZKV_TEST_SET_RIG_H

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "store/store_priv.h"
#include "store/store_set_priv.h"
#include "support/vfs_watch.h"

static char dir[64];
static struct vfs_watch watch;
static struct workers_inline workers;
static struct store *home;
static struct store_set *set;
static char notes[8192];

static inline void on_note(void *user, const char *name, enum log_level level, const char *text)
{
    size_t n = strlen(notes);
    (void)user;
    (void)snprintf(notes + n, sizeof(notes) - n, "%s: %d %s\n", name, (int)level, text);
}

static inline int open_set(struct zerr_info *info)
{
    struct store_config config = {
        .vfs = watch.vfs, .workers = &workers.base, .dir = dir, .block_size = 1 << 20};
    struct store_set_config set_config = {.home_name = "home-1", .others = config, .note = on_note};
    int rc = store_open(&config, &home, info);
    if (rc == 0) {
        set_config.home = home;
        rc = store_set_open(&set_config, &set, info);
    }
    return rc;
}

static inline void on_stopped(void *user, int status)
{
    *(int *)user = status;
}

static inline int stop_set(void)
{
    int status = 1, home_status = 1;
    store_set_stop(set, on_stopped, &status);
    workers_inline_drain(&workers);
    store_set_destroy(set);
    set = NULL;
    store_stop(home, on_stopped, &home_status);
    workers_inline_drain(&workers);
    assert_int_equal(home_status, 0);
    store_destroy(home);
    home = NULL;
    return status;
}

/* As kill -9 leaves it, and another start. */
static inline void crash_and_open(void)
{
    store_set_destroy(set);
    store_destroy(home);
    vfs_watch_close(&watch);
    vfs_watch_open(dir, &watch);
    assert_int_equal(open_set(NULL), 0);
}

static inline int set_up(void **state)
{
    (void)state;
    (void)snprintf(dir, sizeof(dir), "%s/zkv-set-XXXXXX",
                   access("/dev/shm", W_OK | X_OK) == 0 ? "/dev/shm" : "/tmp");
    assert_non_null(mkdtemp(dir));
    workers_inline_init(&workers);
    vfs_watch_open(dir, &watch);
    notes[0] = '\0';
    assert_int_equal(open_set(NULL), 0);
    return 0;
}

static inline int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static inline int tear_down(void **state)
{
    (void)state;
    if (set != NULL) {
        assert_int_equal(stop_set(), 0);
    }
    vfs_watch_close(&watch);
    return nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* A use, and what ready() said. */
struct user {
    struct store_use use;
    int status; /* ZKV_PENDING until then */
};

static inline void on_ready(struct store_use *use, int status)
{
    container_of(use, struct user, use)->status = status;
}

/* Asks for it; nothing runs yet. */
static inline void ask(struct user *u, const char *name)
{
    *u = (struct user){.status = ZKV_PENDING};
    int rc = store_set_use(set, slice_str(name), &u->use, on_ready);
    if (rc != ZKV_PENDING) {
        u->status = rc;
    }
}

static inline int use(struct user *u, const char *name)
{
    ask(u, name);
    workers_inline_drain(&workers);
    assert_true(u->status == 0 || u->use.store == NULL);
    return u->status;
}

static inline void on_done(void *user, int status)
{
    *(int *)user = status;
}

static inline int create(const char *name)
{
    int status = ZKV_PENDING, rc = store_set_create(set, slice_str(name), on_done, &status);
    workers_inline_drain(&workers);
    assert_true(rc != 0 || status != ZKV_PENDING);
    return rc != 0 ? rc : status;
}

static inline int erase(const char *name)
{
    int status = ZKV_PENDING, rc = store_set_remove(set, slice_str(name), on_done, &status);
    workers_inline_drain(&workers);
    return rc != 0 ? rc : status;
}

static inline void on_put(void *user, int status, const struct object *obj)
{
    (void)obj;
    *(int *)user = status;
}

static inline void no_release(struct chunk *c)
{
    (void)c;
}

static inline void put(struct store *st, const char *key)
{
    static const struct put_ops ops = {.done = on_put};
    struct chunk c = {.data = (const uint8_t *)key, .len = strlen(key), .release = no_release};
    struct put_spec spec = {.key = slice_str(key), .size = strlen(key)};
    struct put *p;
    int status = ZKV_PENDING;
    assert_int_equal(put_begin(st, &spec, &ops, &status, &p), 0);
    put_write(p, &c);
    put_commit(p, NULL);
    workers_inline_drain(&workers);
    assert_int_equal(status, 0);
}

static inline bool has_key(struct store *st, const char *key)
{
    struct object obj;
    return store_lookup(st, slice_str(key), &obj) == 0;
}

static inline void pass(uint64_t ms)
{
    watch.ahead_ms += ms;
    store_set_tick(set);
    workers_inline_drain(&workers);
}

static inline bool is_there(const char *path)
{
    char full[300];
    struct stat st;
    (void)snprintf(full, sizeof(full), "%.60s/%.200s", dir, path);
    return stat(full, &st) == 0;
}

static inline void write_file(const char *path, const char *text)
{
    char full[300];
    (void)snprintf(full, sizeof(full), "%.60s/%.200s", dir, path);
    FILE *f = fopen(full, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
    assert_int_equal(fclose(f), 0);
}

static inline void note_name(void *user, struct slice name, int64_t born_ms)
{
    char *text = user;
    size_t n = strlen(text);
    assert_true(born_ms >= 0);
    (void)snprintf(text + n, 400 - n, "%.*s ", SLICE_FMT(name));
}

static inline void assert_names(const char *wanted)
{
    char text[400] = "";
    store_set_each(set, note_name, text);
    assert_string_equal(text, wanted);
}

static inline void make_many(unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "many-%03u", i);
        assert_int_equal(create(name), 0);
    }
}

static inline int use_many(struct user *u, unsigned i)
{
    char name[16];
    (void)snprintf(name, sizeof(name), "many-%03u", i);
    return use(u, name);
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

#endif

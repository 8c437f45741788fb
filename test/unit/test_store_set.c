/* The stores of a server (store_set.h): names, states, waits, failures, and what is left when it ends
 * between two steps. On a real directory, with jobs that run when the test says so. */
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

/* ---- the rig ---- */

static void on_note(void *user, const char *name, enum log_level level, const char *text)
{
    size_t n = strlen(notes);
    (void)user;
    (void)snprintf(notes + n, sizeof(notes) - n, "%s: %d %s\n", name, (int)level, text);
}

static int open_set(struct zerr_info *info)
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

static void on_stopped(void *user, int status)
{
    *(int *)user = status;
}

static int stop_set(void)
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
static void crash_and_open(void)
{
    store_set_destroy(set);
    store_destroy(home);
    vfs_watch_close(&watch);
    vfs_watch_open(dir, &watch);
    assert_int_equal(open_set(NULL), 0);
}

static int set_up(void **state)
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

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static int tear_down(void **state)
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

static void on_ready(struct store_use *use, int status)
{
    container_of(use, struct user, use)->status = status;
}

/* Asks for it; nothing runs yet. */
static void ask(struct user *u, const char *name)
{
    *u = (struct user){.status = ZKV_PENDING};
    int rc = store_set_use(set, slice_str(name), &u->use, on_ready);
    if (rc != ZKV_PENDING) {
        u->status = rc;
    }
}

static int use(struct user *u, const char *name)
{
    ask(u, name);
    workers_inline_drain(&workers);
    assert_true(u->status == 0 || u->use.store == NULL);
    return u->status;
}

static void on_done(void *user, int status)
{
    *(int *)user = status;
}

static int create(const char *name)
{
    int status = ZKV_PENDING, rc = store_set_create(set, slice_str(name), on_done, &status);
    workers_inline_drain(&workers);
    assert_true(rc != 0 || status != ZKV_PENDING);
    return rc != 0 ? rc : status;
}

static int erase(const char *name)
{
    int status = ZKV_PENDING, rc = store_set_remove(set, slice_str(name), on_done, &status);
    workers_inline_drain(&workers);
    return rc != 0 ? rc : status;
}

static void on_put(void *user, int status, const struct object *obj)
{
    (void)obj;
    *(int *)user = status;
}

static void no_release(struct chunk *c)
{
    (void)c;
}

static void put(struct store *st, const char *key)
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

static bool has_key(struct store *st, const char *key)
{
    struct object obj;
    return store_lookup(st, slice_str(key), &obj) == 0;
}

static void pass(uint64_t ms)
{
    watch.ahead_ms += ms;
    store_set_tick(set);
    workers_inline_drain(&workers);
}

static bool is_there(const char *path)
{
    char full[300];
    struct stat st;
    (void)snprintf(full, sizeof(full), "%.60s/%.200s", dir, path);
    return stat(full, &st) == 0;
}

static void write_file(const char *path, const char *text)
{
    char full[300];
    (void)snprintf(full, sizeof(full), "%.60s/%.200s", dir, path);
    FILE *f = fopen(full, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
    assert_int_equal(fclose(f), 0);
}

static void note_name(void *user, struct slice name, int64_t born_ms)
{
    char *text = user;
    size_t n = strlen(text);
    assert_true(born_ms >= 0);
    (void)snprintf(text + n, 400 - n, "%.*s ", SLICE_FMT(name));
}

static void assert_names(const char *wanted)
{
    char text[400] = "";
    store_set_each(set, note_name, text);
    assert_string_equal(text, wanted);
}

/* ---- names ---- */

static void names_are_those_that_s3_allows(void **state)
{
    static const char *const good[] = {
        "abc",
        "a-b",
        "a.b",
        "123",
        "my-bucket.v2",
        "1.2.3",
        "1.2.3.4.5",
        "a1b",
        "a--b",
        "a.-b",
        "0123456789012345678901234567890123456789012345678901234567890ab",
        "xn-a",
    };
    static const char *const bad[] = {
        "",
        "a",
        "ab",
        "s3",
        ".",
        "..",
        "...",
        ".abc",
        "abc.",
        "-abc",
        "abc-",
        "a..b",
        "Abc",
        "a_b",
        "a/b",
        "a b",
        "a\\b",
        "../x",
        "192.168.0.1",
        "1.2.3.4",
        "xn--abc",
        "sthree-x",
        "amzn-s3-demo-x",
        "x-s3alias",
        "x--ol-s3",
        "x.mrap",
        "x--x-s3",
        "x--table-s3",
        "\xc3\xa9\xc3\xa9",
        "a\nb",
        "abc\x7f",
        ".deleted-abc-20260101T000000Z",
        "0123456789012345678901234567890123456789012345678901234567890abc",
    };
    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_true(store_name_ok(slice_str(good[i])));
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(store_name_ok(slice_str(bad[i])));
    }
    for (unsigned c = 0; c < 256; c++) { /* every byte, in the middle */
        uint8_t name[] = {'a', (uint8_t)c, 'b'};
        bool ok = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.';
        assert_int_equal(store_name_ok(slice_of(name, sizeof(name))), ok);
    }
}

static void names_that_are_wrong_never_reach_the_disk(void **state)
{
    (void)state;
    assert_int_equal(create("../../evil"), ZERR_INVALID);
    assert_int_equal(create("a/b"), ZERR_INVALID);
    assert_int_equal(create(".."), ZERR_INVALID);
    assert_int_equal(create("Upper"), ZERR_INVALID);
    assert_string_equal(watch.log, "");
    struct user u;
    assert_int_equal(use(&u, "../home"), ZERR_NOT_FOUND);
    assert_int_equal(erase(".."), ZERR_NOT_FOUND);
}

/* ---- making, using, closing ---- */

static void a_store_is_made_used_closed_and_found_again(void **state)
{
    struct user u;
    (void)state;
    assert_names("home-1 ");
    assert_false(store_set_has(set, SLICE_LIT("photos")));
    assert_int_equal(use(&u, "photos"), ZERR_NOT_FOUND);
    assert_int_equal(create("photos"), 0);
    assert_string_equal(watch.log, "mkdir buckets; sync .; mkdir photos; sync buckets; ");
    assert_int_equal(create("photos"), ZERR_EXISTS);
    assert_int_equal(create("home-1"), ZERR_EXISTS);
    assert_int_equal(create("archive"), 0);
    assert_names("archive home-1 photos ");
    assert_int_equal(use(&u, "photos"), 0);
    put(u.use.store, "one");
    store_use_end(&u.use);
    store_use_end(&u.use); /* again: nothing */
    assert_true(store_set_wants_tick(set));
    pass(STORE_IDLE_MS - 1000);
    assert_int_equal(set_count_live(set), 1);
    pass(2000);
    assert_int_equal(set_count_live(set), 0);
    assert_false(store_set_wants_tick(set));
    assert_int_equal(use(&u, "photos"), 0);
    assert_true(has_key(u.use.store, "one"));
    assert_false(has_key(home, "one"));
    store_use_end(&u.use);
    assert_int_equal(stop_set(), 0);
    assert_int_equal(open_set(NULL), 0);
    assert_names("archive home-1 photos ");
    assert_int_equal(use(&u, "photos"), 0);
    assert_true(has_key(u.use.store, "one"));
    store_use_end(&u.use);
}

static void home_is_used_without_ado(void **state)
{
    struct user u;
    (void)state;
    ask(&u, "home-1");
    assert_int_equal(u.status, 0);
    assert_ptr_equal(u.use.store, home);
    store_use_end(&u.use);
    assert_int_equal(erase("home-1"), ZERR_INVALID);
}

static void make_many(unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "many-%03u", i);
        assert_int_equal(create(name), 0);
    }
}

static int use_many(struct user *u, unsigned i)
{
    char name[16];
    (void)snprintf(name, sizeof(name), "many-%03u", i);
    return use(u, name);
}

/* Each closing makes one. */
static uint64_t n_blocks(void)
{
    struct store_stats sum = {.current_block = UINT32_MAX};
    store_set_add_stats(set, &sum);
    return sum.n_blocks;
}

/* n of them, each written to `rounds` times, in turn, half a second apart. */
static void write_in_turn(unsigned n, unsigned rounds)
{
    struct user u;
    for (unsigned i = 0; i < n * rounds; i++) {
        assert_int_equal(use_many(&u, i % n), 0);
        put(u.use.store, "key");
        store_use_end(&u.use);
        pass(500);
        assert_true(set_count_live(set) <= STORES_OPEN_MAX);
    }
}

static void those_used_in_turn_stay_open(void **state)
{
    (void)state;
    make_many(20);
    write_in_turn(10, 12);
    assert_int_equal(set_count_live(set), 10);
    write_in_turn(20, 6);
    assert_int_equal(set_count_live(set), 20);
    assert_int_equal(n_blocks(), 20); /* the ones that they fill */
    struct store_stats sum = {.current_block = UINT32_MAX};
    store_set_add_stats(set, &sum);
    assert_int_equal(sum.sealed, 0);
}

static void of_those_used_no_more_few_stay_open(void **state)
{
    struct user u;
    (void)state;
    make_many(20);
    write_in_turn(20, 1);
    unsigned n = set_count_live(set);
    assert_int_equal(n, 20);
    for (unsigned s = 0; s < STORE_EXTRA_IDLE_MS / 1000 + 20; s++) {
        pass(1000);
        assert_true(n - set_count_live(set) <= 1); /* one at a time */
        n = set_count_live(set);
    }
    assert_int_equal(n, STORES_KEPT);
    /* The one used last is open still, the first one is not. */
    ask(&u, "many-019");
    assert_int_equal(u.status, 0);
    store_use_end(&u.use);
    ask(&u, "many-000");
    assert_int_equal(u.status, ZKV_PENDING);
    store_use_end(&u.use);
}

static void of_more_than_may_be_open_the_idlest_goes_at_once(void **state)
{
    struct user u[3];
    (void)state;
    make_many(STORES_OPEN_MAX + 3);
    write_in_turn(STORES_OPEN_MAX, 1);
    assert_int_equal(set_count_live(set), STORES_OPEN_MAX);
    ask(&u[0], "many-032");
    ask(&u[1], "many-033");
    ask(&u[2], "many-034");
    workers_inline_drain(&workers);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(u[i].status, 0);
        store_use_end(&u[i].use);
    }
    assert_int_equal(set_count_live(set), STORES_OPEN_MAX); /* three for three, no more */
    struct store_stats sum = {.current_block = UINT32_MAX};
    store_set_add_stats(set, &sum);
    assert_int_equal(sum.sealed, 3);
    ask(&u[0], "many-003");
    assert_int_equal(u[0].status, 0);
    store_use_end(&u[0].use);
    ask(&u[0], "many-002");
    assert_int_equal(u[0].status, ZKV_PENDING);
    store_use_end(&u[0].use);
}

static void more_may_be_open_while_they_are_used(void **state)
{
    static struct user users[STORES_OPEN_MAX + 1];
    (void)state;
    make_many(STORES_OPEN_MAX + 1);
    for (unsigned i = 0; i < STORES_OPEN_MAX; i++) {
        assert_int_equal(use_many(&users[i], i), 0);
    }
    assert_int_equal(use_many(&users[STORES_OPEN_MAX], STORES_OPEN_MAX), ZKV_PENDING);
    store_use_end(&users[3].use);
    workers_inline_drain(&workers);
    assert_int_equal(users[STORES_OPEN_MAX].status, 0);
    for (unsigned i = 0; i <= STORES_OPEN_MAX; i++) {
        store_use_end(&users[i].use);
    }
    pass(STORE_EXTRA_IDLE_MS);
    for (unsigned i = 0; i < STORES_OPEN_MAX; i++) {
        pass(1000);
    }
    assert_int_equal(set_count_live(set), STORES_KEPT);
}

static void who_waits_too_long_is_told_to_come_back(void **state)
{
    struct user a, b;
    (void)state;
    assert_int_equal(create("slow"), 0);
    ask(&a, "slow");
    ask(&b, "slow");
    assert_int_equal(a.status, ZKV_PENDING);
    assert_true(store_set_wants_tick(set));
    watch.ahead_ms += STORE_WAIT_MS - 1000;
    store_set_tick(set);
    assert_int_equal(a.status, ZKV_PENDING);
    store_use_end(&b.use); /* lost patience itself */
    watch.ahead_ms += 1001;
    store_set_tick(set);
    assert_int_equal(a.status, ZERR_BUSY);
    assert_int_equal(b.status, ZKV_PENDING);
    assert_int_equal(use(&a, "slow"), 0);
    store_use_end(&a.use);
}

static void who_asks_while_one_closes_waits_for_the_next_opening(void **state)
{
    struct user u;
    (void)state;
    assert_int_equal(create("busy"), 0);
    assert_int_equal(use(&u, "busy"), 0);
    put(u.use.store, "one");
    store_use_end(&u.use);
    watch.ahead_ms += STORE_IDLE_MS;
    store_set_tick(set); /* begins to close it */
    ask(&u, "busy");
    assert_int_equal(u.status, ZKV_PENDING);
    workers_inline_drain(&workers);
    assert_int_equal(u.status, 0);
    assert_true(has_key(u.use.store, "one"));
    store_use_end(&u.use);
}

/* ---- failures ---- */

static void one_that_a_tool_has_is_told_so_and_comes_back(void **state)
{
    struct vfs_file *lock;
    struct vfs *folder;
    struct user u;
    char path[300];
    (void)state;
    assert_int_equal(create("locked"), 0);
    assert_int_equal(create("other"), 0);
    (void)snprintf(path, sizeof(path), "%s/buckets/locked", dir);
    assert_int_equal(vfs_posix_open(path, &folder, NULL), 0);
    assert_int_equal(folder->ops->lock(folder, LOCK_NAME, "a tool", &lock, NULL), 0);
    assert_int_equal(use(&u, "locked"), ZERR_LOCKED);
    assert_non_null(strstr(notes, "locked: 0 cannot be opened: "));
    assert_non_null(strstr(notes, "in use by a tool"));
    size_t told = strlen(notes);
    assert_int_equal(use(&u, "other"), 0);
    store_use_end(&u.use);
    folder->ops->close(lock);
    assert_int_equal(use(&u, "locked"), ZERR_LOCKED); /* not tried again so soon */
    pass(STORE_RETRY_MS);
    assert_int_equal(folder->ops->lock(folder, LOCK_NAME, "a tool", &lock, NULL), 0);
    assert_int_equal(use(&u, "locked"), ZERR_LOCKED);
    assert_int_equal(strlen(notes), told); /* once */
    folder->ops->close(lock);
    pass(STORE_RETRY_MS);
    assert_int_equal(use(&u, "locked"), 0);
    assert_non_null(strstr(notes, "locked: 2 can be used again"));
    store_use_end(&u.use);
    vfs_posix_close(folder);
}

static void a_damaged_one_is_refused_and_the_others_live(void **state)
{
    struct user u;
    (void)state;
    assert_int_equal(create("damaged"), 0);
    assert_int_equal(create("sound"), 0);
    write_file("buckets/damaged/db0000000003", "this is no history, but it has the name of one");
    assert_int_equal(use(&u, "damaged"), ZERR_CORRUPT);
    assert_int_equal(erase("damaged"), ZERR_CORRUPT);
    assert_non_null(strstr(notes, "damaged: 0 cannot be opened: "));
    assert_int_equal(use(&u, "sound"), 0);
    put(u.use.store, "key");
    store_use_end(&u.use);
    assert_true(is_there("buckets/damaged/db0000000003"));
}

static void one_whose_folder_is_gone_is_no_more(void **state)
{
    struct user u;
    char from[200], to[200];
    (void)state;
    assert_int_equal(create("moved"), 0);
    (void)snprintf(from, sizeof(from), "%s/buckets/moved", dir);
    (void)snprintf(to, sizeof(to), "%s/buckets/.elsewhere", dir);
    assert_int_equal(rename(from, to), 0);
    assert_int_equal(use(&u, "moved"), ZERR_NOT_FOUND);
    assert_false(store_set_has(set, SLICE_LIT("moved")));
    assert_int_equal(rename(to, from), 0);
    assert_int_equal(create("moved"), ZERR_EXISTS); /* and it is known again */
    assert_int_equal(use(&u, "moved"), 0);
    store_use_end(&u.use);
}

static void a_fatal_error_ends_one_store_alone(void **state)
{
    struct user u, late, other;
    (void)state;
    assert_int_equal(create("dying"), 0);
    assert_int_equal(create("other"), 0);
    assert_int_equal(use(&u, "dying"), 0);
    put(u.use.store, "acknowledged");
    assert_int_equal(use(&other, "other"), 0);
    store_fail(u.use.store, "made up by the test");
    ask(&late, "dying");
    workers_inline_drain(&workers);
    assert_int_equal(late.status, ZERR_IO); /* though it is used still */
    assert_int_equal(erase("dying"), ZERR_IO);
    assert_non_null(strstr(notes, "dying: 0 out of service: made up by the test"));
    size_t told = strlen(notes);
    put(other.use.store, "goes on");
    store_use_end(&u.use);
    workers_inline_drain(&workers);
    assert_int_equal(strlen(notes), told); /* once */
    assert_int_equal(use(&u, "dying"), ZERR_IO);
    pass(STORE_RETRY_MS);
    assert_int_equal(use(&u, "dying"), 0);
    assert_true(has_key(u.use.store, "acknowledged"));
    put(u.use.store, "and on");
    store_use_end(&u.use);
    store_use_end(&other.use);
    assert_int_equal(stop_set(), ZERR_IO); /* the session is not forgotten */
    assert_int_equal(open_set(NULL), 0);
}

static unsigned n_lost;

static void on_lost(struct store_use *use)
{
    (void)use;
    n_lost++;
}

static void on_lost_end(struct store_use *use)
{
    n_lost++;
    store_use_end(use);
}

static void who_keeps_one_that_has_failed_is_told_to_let_it_go(void **state)
{
    static struct user users[5];
    (void)state;
    n_lost = 0;
    assert_int_equal(create("dying"), 0);
    for (unsigned i = 0; i < 5; i++) {
        assert_int_equal(use(&users[i], "dying"), 0);
        users[i].use.lost = i == 4 ? NULL : i % 2 == 0 ? on_lost : on_lost_end;
    }
    store_use_end(&users[2].use);
    store_fail(users[0].use.store, "made up by the test");
    workers_inline_drain(&workers);
    assert_true(store_set_wants_tick(set));
    pass(STORE_WAIT_MS - 1000);
    assert_int_equal(n_lost, 0);
    pass(2000);
    assert_int_equal(n_lost, 3);
    pass(2000);
    assert_int_equal(n_lost, 3); /* once */
    assert_null(users[1].use.store);
    store_use_end(&users[0].use);
    store_use_end(&users[4].use);
    workers_inline_drain(&workers);
    pass(STORE_RETRY_MS);
    assert_int_equal(use(&users[0], "dying"), 0);
    store_use_end(&users[0].use);
    assert_int_equal(stop_set(), ZERR_IO);
    assert_int_equal(open_set(NULL), 0);
}

/* ---- removing ---- */

/* The folder that was set aside; its name in out. */
static bool find_aside(const char *name, char *out, size_t cap)
{
    char path[300];
    (void)snprintf(path, sizeof(path), "ls -A %.60s/buckets | grep '^\\.deleted-%s-' | tail -n 1",
                   dir, name);
    FILE *p = popen(path, "r");
    assert_non_null(p);
    bool found = fgets(out, (int)cap, p) != NULL;
    (void)pclose(p);
    out[strcspn(out, "\n")] = '\0';
    return found;
}

static void one_with_objects_is_not_removed(void **state)
{
    struct user u;
    struct slice key = SLICE_LIT("one");
    int status = ZKV_PENDING;
    char aside[100];
    (void)state;
    assert_int_equal(create("full"), 0);
    assert_int_equal(use(&u, "full"), 0);
    put(u.use.store, "one");
    store_use_end(&u.use);
    assert_int_equal(erase("full"), ZERR_NOT_EMPTY);
    assert_int_equal(use(&u, "full"), 0);
    assert_int_equal(store_delete(u.use.store, &key, 1, NULL, on_done, &status), 0);
    workers_inline_drain(&workers);
    assert_int_equal(status, 0);
    store_use_end(&u.use);
    watch.log[0] = '\0';
    assert_int_equal(erase("full"), 0);
    assert_non_null(strstr(watch.log, "rename full .deleted-full-"));
    assert_non_null(strstr(watch.log, "; sync buckets; "));
    assert_false(store_set_has(set, SLICE_LIT("full")));
    assert_int_equal(use(&u, "full"), ZERR_NOT_FOUND);
    assert_int_equal(erase("full"), ZERR_NOT_FOUND);
    assert_true(find_aside("full", aside, sizeof(aside)));
    /* Its history is all there; and the name is free, twice in the same second too. */
    char path[300];
    (void)snprintf(path, sizeof(path), "buckets/%s/db0000000000", aside);
    assert_true(is_there(path));
    for (int i = 0; i < 3; i++) {
        assert_int_equal(create("full"), 0);
        assert_int_equal(use(&u, "full"), 0);
        assert_false(has_key(u.use.store, "one"));
        store_use_end(&u.use);
        assert_int_equal(erase("full"), 0);
    }
    assert_names("home-1 ");
    crash_and_open();
    assert_names("home-1 ");
}

static void a_removal_waits_for_those_who_use_it(void **state)
{
    struct user u, late;
    int status = ZKV_PENDING, twice = ZKV_PENDING;
    (void)state;
    assert_int_equal(create("used"), 0);
    assert_int_equal(use(&u, "used"), 0);
    assert_int_equal(store_set_remove(set, SLICE_LIT("used"), on_done, &status), 0);
    assert_int_equal(store_set_remove(set, SLICE_LIT("used"), on_done, &twice), ZERR_BUSY);
    assert_int_equal(store_set_create(set, SLICE_LIT("used"), on_done, &twice), ZERR_BUSY);
    ask(&late, "used");
    workers_inline_drain(&workers);
    assert_int_equal(status, ZKV_PENDING);
    assert_int_equal(late.status, ZKV_PENDING);
    put(u.use.store, "just in time"); /* an upload that was under way */
    store_use_end(&u.use);
    workers_inline_drain(&workers);
    assert_int_equal(status, ZERR_NOT_EMPTY);
    assert_int_equal(late.status, 0);
    store_use_end(&late.use);

    status = ZKV_PENDING;
    assert_int_equal(create("empty"), 0);
    assert_int_equal(use(&u, "empty"), 0);
    assert_int_equal(store_set_remove(set, SLICE_LIT("empty"), on_done, &status), 0);
    pass(STORE_WAIT_MS);
    assert_int_equal(status, ZERR_BUSY);
    ask(&late, "empty");
    assert_int_equal(late.status, 0);
    store_use_end(&u.use);
    store_use_end(&late.use);
}

static void one_with_objects_is_refused_though_it_is_used(void **state)
{
    struct user u, late, later;
    int status = ZKV_PENDING;
    (void)state;
    assert_int_equal(create("used"), 0);
    assert_int_equal(use(&u, "used"), 0);
    assert_int_equal(store_set_remove(set, SLICE_LIT("used"), on_done, &status), 0);
    ask(&late, "used");
    put(u.use.store, "just in time");
    pass(1000);
    assert_int_equal(status, ZERR_NOT_EMPTY);
    assert_int_equal(late.status, 0); /* both use it */
    assert_int_equal(store_set_remove(set, SLICE_LIT("used"), on_done, &status), ZERR_NOT_EMPTY);
    ask(&later, "used");
    assert_int_equal(later.status, 0);
    store_use_end(&u.use);
    store_use_end(&late.use);
    store_use_end(&later.use);
}

static void a_removal_waits_for_one_that_may_be_closed(void **state)
{
    static struct user users[STORES_OPEN_MAX];
    int status = ZKV_PENDING;
    (void)state;
    make_many(STORES_OPEN_MAX + 1);
    for (unsigned i = 0; i < STORES_OPEN_MAX; i++) {
        assert_int_equal(use_many(&users[i], i), 0);
    }
    assert_int_equal(store_set_remove(set, SLICE_LIT("many-032"), on_done, &status), 0);
    workers_inline_drain(&workers);
    assert_int_equal(status, ZKV_PENDING);
    store_use_end(&users[7].use);
    workers_inline_drain(&workers);
    assert_int_equal(status, 0);
    for (unsigned i = 0; i < STORES_OPEN_MAX; i++) {
        store_use_end(&users[i].use);
    }
}

/* At every moment of a closing. */
static void one_with_objects_is_not_removed_while_it_closes(void **state)
{
    bool done = false;
    (void)state;
    assert_int_equal(create("closing"), 0);
    for (unsigned n = 0; !done; n++) {
        struct user u;
        int status = ZKV_PENDING;
        assert_int_equal(use(&u, "closing"), 0);
        if (n == 0) {
            put(u.use.store, "key");
        }
        store_use_end(&u.use);
        watch.ahead_ms += STORE_IDLE_MS;
        store_set_tick(set);
        for (unsigned i = 0; i < n && !done; i++) {
            done = !workers_inline_step(&workers);
        }
        assert_int_equal(store_set_remove(set, SLICE_LIT("closing"), on_done, &status), 0);
        workers_inline_drain(&workers);
        assert_int_equal(status, ZERR_NOT_EMPTY);
    }
}

static void who_waits_for_one_that_is_removed_hears_so(void **state)
{
    struct user u, late;
    int status = ZKV_PENDING;
    (void)state;
    assert_int_equal(create("going"), 0);
    assert_int_equal(use(&u, "going"), 0);
    assert_int_equal(store_set_remove(set, SLICE_LIT("going"), on_done, &status), 0);
    ask(&late, "going");
    store_use_end(&u.use);
    workers_inline_drain(&workers);
    assert_int_equal(status, 0);
    assert_int_equal(late.status, ZERR_NOT_FOUND);
}

static uint64_t last_upload;

static void on_begun(void *user, int status, uint64_t upload)
{
    last_upload = upload;
    *(int *)user = status;
}

static void uploads_under_way_do_not_keep_it(void **state)
{
    struct user u;
    int status = ZKV_PENDING;
    const struct upload_spec spec = {.key = SLICE_LIT("half")};
    (void)state;
    assert_int_equal(create("partly"), 0);
    assert_int_equal(use(&u, "partly"), 0);
    assert_int_equal(store_begin_upload(u.use.store, &spec, on_begun, &status), 0);
    workers_inline_drain(&workers);
    assert_int_equal(status, 0);
    store_use_end(&u.use);
    assert_int_equal(erase("partly"), 0);
}

static uint64_t begin_upload(struct store *st)
{
    const struct upload_spec spec = {.key = SLICE_LIT("half"), .mtime_ms = 0};
    int status = ZKV_PENDING;
    assert_int_equal(store_begin_upload(st, &spec, on_begun, &status), 0);
    workers_inline_drain(&workers);
    assert_int_equal(status, 0);
    assert_int_equal(store_lookup_upload(st, SLICE_LIT("half"), last_upload), 0);
    return last_upload;
}

/* Without another upload that begins there. */
static void uploads_are_given_up_after_a_week_by_themselves(void **state)
{
    enum { DAY_MS = 24 * 3600 * 1000 };
    struct user u;
    (void)state;
    assert_int_equal(create("partly"), 0);
    assert_int_equal(use(&u, "partly"), 0);
    uint64_t upload = begin_upload(u.use.store);
    pass(6ull * DAY_MS);
    assert_int_equal(store_lookup_upload(u.use.store, SLICE_LIT("half"), upload), 0);
    pass(2ull * DAY_MS); /* while it is open */
    assert_int_equal(store_lookup_upload(u.use.store, SLICE_LIT("half"), upload), ZERR_NO_UPLOAD);
    upload = begin_upload(u.use.store);
    store_use_end(&u.use);
    pass(STORE_IDLE_MS);
    assert_int_equal(set_count_live(set), 0);
    watch.ahead_ms += 8ull * DAY_MS; /* while it is closed */
    assert_int_equal(use(&u, "partly"), 0);
    assert_int_equal(store_lookup_upload(u.use.store, SLICE_LIT("half"), upload), ZERR_NO_UPLOAD);
    store_use_end(&u.use);
}

/* ---- ends between two steps ---- */

/* n-th call that changes a directory fails, and all later ones: what the process ends on. */
static void every_end_of_a_creation_leaves_one_or_none(void **state)
{
    unsigned n = 1;
    (void)state;
    for (;; n++) {
        char name[16];
        struct user u;
        (void)snprintf(name, sizeof(name), "try-%u", n);
        watch.fail_in = n;
        watch.stay_down = true;
        int rc = create(name);
        bool failed = watch.n_failed > 0;
        assert_true((rc == 0) != failed);
        crash_and_open();
        bool has = store_set_has(set, slice_str(name));
        assert_true(has || failed);
        assert_true(create(name) == (has ? ZERR_EXISTS : 0));
        assert_int_equal(use(&u, name), 0);
        put(u.use.store, "key");
        store_use_end(&u.use);
        if (!failed) {
            break;
        }
        tear_down(state);
        set_up(state);
    }
    assert_int_equal(n, 5); /* four steps: it makes DIR/buckets too */
}

static void every_end_of_a_removal_leaves_all_or_none(void **state)
{
    struct slice key = SLICE_LIT("key");
    unsigned n = 1;
    (void)state;
    for (;; n++) {
        struct user u;
        char aside[100];
        int status = ZKV_PENDING;
        (void)create("victim");
        assert_int_equal(use(&u, "victim"), 0);
        put(u.use.store, "key");
        assert_int_equal(store_delete(u.use.store, &key, 1, NULL, on_done, &status), 0);
        workers_inline_drain(&workers);
        store_use_end(&u.use);
        watch.fail_in = n;
        watch.stay_down = true;
        int rc = erase("victim");
        bool failed = watch.n_failed > 0;
        assert_true((rc == 0) != failed);
        crash_and_open();
        bool has = store_set_has(set, SLICE_LIT("victim"));
        assert_true(!has || failed);
        assert_true(has != find_aside("victim", aside, sizeof(aside)));
        if (has) { /* whole, and it can be removed now */
            assert_int_equal(use(&u, "victim"), 0);
            struct store_stats stats;
            store_get_stats(u.use.store, &stats);
            assert_int_equal(stats.revision, 2 * n);
            store_use_end(&u.use);
        } else {
            break;
        }
    }
    assert_in_range(n, 2, 20);
}

/* ---- starts and stops ---- */

static void home_s_name_must_not_be_a_folder_s(void **state)
{
    struct zerr_info info = {0};
    (void)state;
    assert_int_equal(create("photos"), 0);
    assert_int_equal(stop_set(), 0);
    char from[200], to[200];
    (void)snprintf(from, sizeof(from), "%s/buckets/photos", dir);
    (void)snprintf(to, sizeof(to), "%s/buckets/home-1", dir);
    assert_int_equal(rename(from, to), 0);
    assert_int_equal(open_set(&info), ZERR_EXISTS);
    assert_non_null(strstr(info.text, "-bucket"));
    store_destroy(home);
}

static void what_cannot_be_a_store_is_passed_over(void **state)
{
    (void)state;
    assert_int_equal(create("photos"), 0);
    assert_int_equal(watch.vfs->ops->make_dir(set->root, "lost+found"), 0);
    assert_int_equal(watch.vfs->ops->make_dir(set->root, ".hidden"), 0);
    write_file("buckets/a-file", "x");
    crash_and_open();
    assert_names("home-1 photos ");
    assert_non_null(strstr(notes, "lost+found: 1 this folder's name cannot be"));
    assert_int_equal(create("a-file"), ZERR_INVALID);
}

static void a_stop_closes_all_and_refuses_those_that_wait(void **state)
{
    struct user u, late;
    int status = 1;
    (void)state;
    make_many(5);
    for (unsigned i = 0; i < 5; i++) {
        assert_int_equal(use_many(&u, i), 0);
        put(u.use.store, "key");
        store_use_end(&u.use);
    }
    assert_int_equal(create("late"), 0);
    ask(&late, "late");
    store_set_stop(set, on_stopped, &status);
    ask(&u, "many-000");
    assert_int_equal(u.status, ZERR_CANCELED);
    assert_int_equal(create("later"), ZERR_CANCELED);
    workers_inline_drain(&workers);
    assert_int_equal(late.status, ZERR_CANCELED);
    assert_int_equal(status, 0);
    struct store_stats sum = {.current_block = UINT32_MAX};
    store_set_add_stats(set, &sum);
    assert_int_equal(sum.puts, 5);
    assert_int_equal(sum.totals.objects, 5);
    assert_int_equal(sum.n_blocks, 5);
    crash_and_open();
    for (unsigned i = 0; i < 5; i++) {
        char path[80];
        (void)snprintf(path, sizeof(path), "buckets/many-%03u/block0000000000", i);
        assert_true(is_there(path)); /* sealed */
    }
}

static void figures_are_of_all_that_were_used(void **state)
{
    struct store_stats sum = {.current_block = UINT32_MAX};
    struct user u;
    (void)state;
    make_many(STORES_KEPT + 3);
    for (unsigned i = 0; i < STORES_KEPT + 3; i++) {
        assert_int_equal(use_many(&u, i), 0);
        put(u.use.store, "key");
        store_use_end(&u.use);
    }
    store_set_add_stats(set, &sum);
    assert_int_equal(sum.puts, STORES_KEPT + 3);
    assert_int_equal(sum.totals.objects, STORES_KEPT + 3);
    assert_true(sum.current_block == UINT32_MAX); /* several have one */
}

static void room_is_promised_once(void **state)
{
    uint64_t promised = 0;
    struct store_config config = {.vfs = watch.vfs,
                                  .workers = &workers.base,
                                  .dir = dir,
                                  .reserve = 0,
                                  .promised = &promised};
    static const struct put_ops ops = {.done = on_put};
    struct put_spec spec = {.key = SLICE_LIT("key"), .size = 100000};
    struct put *p;
    int status = ZKV_PENDING;
    (void)state;
    assert_int_equal(stop_set(), 0);
    assert_int_equal(store_open(&config, &home, NULL), 0);
    assert_int_equal(put_begin(home, &spec, &ops, &status, &p), 0);
    assert_true(promised >= 100000);
    uint64_t free_bytes, total;
    assert_int_equal(watch.vfs->ops->free_space(watch.vfs, &free_bytes, &total), 0);
    promised += free_bytes; /* another store's uploads */
    struct put *second;
    assert_int_equal(put_begin(home, &spec, &ops, &status, &second), ZERR_NO_SPACE);
    promised -= free_bytes;
    put_abort(p);
    workers_inline_drain(&workers);
    assert_int_equal(promised, 0);
    store_destroy(home);
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_those_that_s3_allows),
        T(names_that_are_wrong_never_reach_the_disk),
        T(a_store_is_made_used_closed_and_found_again),
        T(home_is_used_without_ado),
        T(those_used_in_turn_stay_open),
        T(of_those_used_no_more_few_stay_open),
        T(of_more_than_may_be_open_the_idlest_goes_at_once),
        T(more_may_be_open_while_they_are_used),
        T(who_waits_too_long_is_told_to_come_back),
        T(who_asks_while_one_closes_waits_for_the_next_opening),
        T(one_that_a_tool_has_is_told_so_and_comes_back),
        T(a_damaged_one_is_refused_and_the_others_live),
        T(one_whose_folder_is_gone_is_no_more),
        T(a_fatal_error_ends_one_store_alone),
        T(who_keeps_one_that_has_failed_is_told_to_let_it_go),
        T(one_with_objects_is_not_removed),
        T(a_removal_waits_for_those_who_use_it),
        T(one_with_objects_is_refused_though_it_is_used),
        T(a_removal_waits_for_one_that_may_be_closed),
        T(one_with_objects_is_not_removed_while_it_closes),
        T(who_waits_for_one_that_is_removed_hears_so),
        T(uploads_under_way_do_not_keep_it),
        T(uploads_are_given_up_after_a_week_by_themselves),
        T(every_end_of_a_creation_leaves_one_or_none),
        T(every_end_of_a_removal_leaves_all_or_none),
        T(home_s_name_must_not_be_a_folder_s),
        T(what_cannot_be_a_store_is_passed_over),
        T(a_stop_closes_all_and_refuses_those_that_wait),
        T(figures_are_of_all_that_were_used),
        T(room_is_promised_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

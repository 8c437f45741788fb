/* The stores of a server (store_set.h): names, states, waits, starts and stops. What ends one is in
 * test_store_set_ends.c. */
#include "support/set_rig.h"

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
        T(home_s_name_must_not_be_a_folder_s),
        T(what_cannot_be_a_store_is_passed_over),
        T(a_stop_closes_all_and_refuses_those_that_wait),
        T(figures_are_of_all_that_were_used),
        T(room_is_promised_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

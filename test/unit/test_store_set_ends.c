/* What ends one of a server's stores (store_set.h): a failure, its removal, the end of uploads in it; and
 * what is left when the server ends between two steps. */
#include "support/set_rig.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
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
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

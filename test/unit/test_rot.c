/* Bit rot: every wrong bit is noticed, costs what it lies in, and is never sent.
 *
 * As a test: one bit of most bytes, each in its turn. With arguments:
 *   test_rot all [BYTES [JOBS]]     every bit of every file, with one object of BYTES, in so many
 *                                   processes
 *   test_rot bursts N [SEED]        N times damage of other kinds, at random
 * Each with a store of plain objects and with one of multipart uploads.
 *
 * Flips in sealed blocks are made under a store that is open: nothing else would notice them. All
 * others are made while it is closed, and it is opened on them. What must hold is told in
 * support/rot_store.h; beside that, damage that nothing notices (a read, the start, the look that
 * zipkvverify takes) must be in bytes without a meaning: padding behind a frame, the room of a VOID
 * frame behind its head, an upload that was never committed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "store/rebuild.h"
#include "store/store_priv.h"
#include "support/rot_store.h"
#include "support/store_dir.h"
#include "support/vfs_mem.h"
#include "tools/verify.h"

#if defined(__SANITIZE_ADDRESS__)
#define SLOW 8 /* fewer of everything */
#else
#define SLOW 1
#endif

struct tally {
    uint64_t flips, by_read, by_start, by_scan, harmless, meaningless;
    struct rot_counts counts;
};

static void print_tally(const char *what, const struct tally *t)
{
    printf("%-22s %8llu damaged; noticed by a read %llu, the start %llu, the scan %llu; answered "
           "rightly all the same %llu; without meaning %llu; names missing %llu, as before %llu\n",
           what, (unsigned long long)t->flips, (unsigned long long)t->by_read,
           (unsigned long long)t->by_start, (unsigned long long)t->by_scan,
           (unsigned long long)t->harmless, (unsigned long long)t->meaningless,
           (unsigned long long)t->counts.missing, (unsigned long long)t->counts.reverted);
}

/* Which bits: the bit-th of a file, or not. */
struct choice {
    uint64_t every, phase;
    uint64_t max; /* of one file, 0: no limit */
};

static struct choice choose(const struct choice *c, uint64_t bits)
{
    struct choice some = *c;
    if (c->max > 0 && bits / c->every > c->max) {
        some.every = bits / c->max | 1;
    }
    return some;
}

static bool chosen(const struct choice *c, uint64_t bit)
{
    return bit % c->every == (c->phase + bit / c->every * 5) % c->every; /* another bit each time */
}

/* ---- sealed blocks, under an open store ---- */

static void clear_marks(struct rot *r)
{
    struct store *st = r->f.st;
    assert_int_equal(index_begin(st->ix_write), 0);
    for (int i = 0; i < r->n_events; i++) {
        if (r->events[i].affected) {
            assert_int_equal(index_set_key_damage(
                                 st->ix_write, slice_str(r->keys[r->events[i].key]), false, NULL),
                             0);
        }
    }
    assert_int_equal(index_commit(st->ix_write), 0);
}

static void flip_sealed(struct rot *r, uint32_t block, uint64_t bit, struct tally *t)
{
    char name[FILE_NAME_BYTES];
    uint64_t off = bit / 8, missing = t->counts.missing;
    uint8_t mask = (uint8_t)(1u << bit % 8);
    assert_true(rot_block_name(r, block, name));
    (void)snprintf(r->about, sizeof(r->about), "%s byte %llu mask %02x", name,
                   (unsigned long long)off, mask);
    rot_clear(r);
    r->f.notes[0] = '\0';
    bool means = rot_affect(r, block, off, 1);
    vfs_mem_flip(r->f.vfs, name, off, mask);
    rot_check(r, t->flips % 64 != 0, &t->counts);
    bool scan = rot_scan_notices(r, block);
    vfs_mem_flip(r->f.vfs, name, off, mask);
    t->flips++;
    t->by_read += t->counts.missing > missing;
    t->by_scan += t->counts.missing == missing && scan;
    t->meaningless += !means && t->counts.missing == missing && !scan;
    if (means != scan) {
        rot_fail(r, means ? "not noticed" : "noticed, but it means nothing");
    }
    if (t->counts.missing > missing) {
        clear_marks(r);
    }
}

static void flips_under_an_open_store(struct rot *r, const struct choice *c, struct tally *t)
{
    rot_reset(r, true);
    assert_int_equal(fx_open(&r->f), 0);
    for (uint32_t b = 0; b < r->n_blocks; b++) {
        char name[FILE_NAME_BYTES];
        if (!rot_block_name(r, b, name) || name[0] == 'o') {
            continue;
        }
        uint64_t bits = vfs_mem_get(r->image, name).len * 8;
        for (uint64_t bit = BLOCK_HEADER_BYTES * 8; bit < bits; bit++) {
            if (chosen(c, bit)) {
                flip_sealed(r, b, bit, t);
            }
        }
    }
    fx_kill(&r->f);
}

/* ---- any file, before the store is opened ---- */

static bool start_noticed(const struct rot *r, const struct store_stats *usual)
{
    struct store_stats s;
    store_get_stats(r->f.st, &s);
    return s.torn != usual->torn || s.recovered != usual->recovered ||
           s.index_rebuilt != usual->index_rebuilt || strstr(r->f.notes, "damage") != NULL;
}

/* Makes a history from the blocks, as zipkvverify -rebuild does. */
static void make_history(struct rot *r)
{
    struct rebuild_config cfg = {.vfs = r->f.vfs};
    struct rebuild_result res;
    struct zerr_info info = {0};
    if (rebuild_history(&cfg, &res, &info) != 0) {
        rot_fail(r, "-rebuild: %s", info.text);
    }
    fx_drop_index(&r->f);
}

/* On what the start that met the damage has left behind. */
static void complete_what_is_left(struct rot *r)
{
    if (fx_open(&r->f) != 0) {
        rot_fail(r, "the second start: %s", r->f.info.text);
    }
    rot_complete_uploads(r);
    fx_kill(&r->f);
}

/* Opens the damaged store and looks at all of it. is_db: the start may ask for -rebuild. */
static void open_and_check(struct rot *r, bool is_db, bool means, const struct store_stats *usual,
                           struct tally *t)
{
    uint64_t missing = t->counts.missing;
    bool started = true, scan = false;
    int rc = fx_open(&r->f);
    if (rc != 0 && is_db) {
        if (strstr(r->f.info.text, "-rebuild") == NULL) {
            rot_fail(r, "the start does not say what to do: %s", r->f.info.text);
        }
        make_history(r);
        started = false;
        rc = fx_open(&r->f);
    }
    if (rc != 0) {
        rot_fail(r, "the start: %s (%s)", zerr_str(rc), r->f.info.text);
    }
    bool start = !started || start_noticed(r, usual);
    r->gave_up = false;
    rot_check(r, false, &t->counts);
    if (r->gave_up) { /* the index; the next start makes it anew */
        assert_int_not_equal(fx_stop(&r->f), 0);
        assert_int_equal(fx_open(&r->f), 0);
        r->may_give_up = false;
        rot_check(r, false, &t->counts);
        r->may_give_up = true;
    }
    if (fx_stop(&r->f) != 0) {
        rot_fail(r, "the stop");
    }
    if (!rot_check_history(r)) {
        /* The start has no need of that part; zipkvverify reads it. */
        scan = true;
        make_history(r);
        if (!is_db || !rot_check_history(r)) {
            rot_fail(r, "the history");
        }
    }
    for (uint32_t b = 0; b < r->n_blocks; b++) {
        char name[FILE_NAME_BYTES];
        scan = scan || (rot_block_name(r, b, name) && rot_scan_notices(r, b));
    }
    t->flips++;
    bool read = t->counts.missing > missing || r->gave_up;
    t->by_start += start;
    t->by_read += !start && read;
    t->by_scan += !start && !read && scan;
    t->meaningless += !start && !read && !scan && !means;
    t->harmless += !start && !read && !scan && means;
    if (means && !start && !read && !scan && !is_db && !r->may_give_up) {
        rot_fail(r, "not noticed");
    }
    if (r->n_uploads > 0) {
        complete_what_is_left(r);
    }
}

static void usual_start(struct rot *r, bool with_index, struct store_stats *ret)
{
    rot_reset(r, with_index);
    assert_int_equal(fx_open(&r->f), 0);
    store_get_stats(r->f.st, ret);
    fx_kill(&r->f);
}

/* Flips in one file of the directory. */
static void flips_in_file(struct rot *r, const char *name, uint64_t until, bool with_index,
                          const struct choice *c, struct tally *t)
{
    struct store_stats usual;
    uint64_t bits = vfs_mem_get(r->image, name).len * 8;
    struct choice some = choose(c, bits);
    bool is_db = name[0] == 'd';
    usual_start(r, with_index, &usual);
    for (uint64_t bit = 0; bit < bits && bit < until * 8; bit++) {
        if (!chosen(&some, bit)) {
            continue;
        }
        rot_reset(r, with_index);
        (void)snprintf(r->about, sizeof(r->about), "%s byte %llu bit %llu, index %s", name,
                       (unsigned long long)bit / 8, (unsigned long long)bit % 8,
                       with_index ? "there" : "absent");
        bool means =
            is_db || rot_affect(r, (uint32_t)strtoul(name + strcspn(name, "0123456789"), NULL, 10),
                                bit / 8, 1);
        vfs_mem_flip(r->f.vfs, name, bit / 8, (uint8_t)(1u << bit % 8));
        open_and_check(r, is_db, means, &usual, t);
    }
}

static void flips_in_index(struct rot *r, struct buf *file, const struct choice *c, struct tally *t)
{
    struct store_stats usual;
    usual_start(r, true, &usual);
    r->may_give_up = true;
    struct choice some = choose(c, file->len * 8);
    for (uint64_t bit = 0; bit < file->len * 8; bit++) {
        if (!chosen(&some, bit)) {
            continue;
        }
        file->ptr[bit / 8] ^= (uint8_t)(1u << bit % 8);
        rot_reset(r, true);
        file->ptr[bit / 8] ^= (uint8_t)(1u << bit % 8);
        (void)snprintf(r->about, sizeof(r->about), "index%s byte %llu bit %llu",
                       file == &r->wal ? "-wal" : "", (unsigned long long)bit / 8,
                       (unsigned long long)bit % 8);
        open_and_check(r, false, true, &usual, t);
    }
    r->may_give_up = false;
}

/* ---- all of it ---- */

static void all_flips(enum rot_content content, size_t big, uint64_t sealed, uint64_t others,
                      uint64_t phase, uint64_t max)
{
    struct rot r;
    struct choice c = {sealed, phase, 0};
    struct tally t = {0};
    char name[FILE_NAME_BYTES];
    rot_create(&r, ROT_STOPPED, content, big);
    flips_under_an_open_store(&r, &c, &t);
    print_tally("sealed blocks", &t);
    c.every = others;
    c.max = max;
    t = (struct tally){0};
    for (uint32_t b = 0; b < r.n_blocks; b++) {
        if (rot_block_name(&r, b, name)) {
            /* Uploads are completed where that may go wrong only once. */
            uint64_t until = content == ROT_UPLOADS ? UINT64_MAX : BLOCK_HEADER_BYTES;
            flips_in_file(&r, name, until, true, &c, &t);
        }
    }
    print_tally(content == ROT_UPLOADS ? "sealed, then a start" : "headers of blocks", &t);
    t = (struct tally){0};
    flips_in_file(&r, "db0000000000", UINT64_MAX, true, &c, &t);
    flips_in_file(&r, "db0000000000", UINT64_MAX, false, &c, &t);
    print_tally("db", &t);
    t = (struct tally){0};
    flips_in_index(&r, &r.index, &c, &t);
    print_tally("index.sqlite", &t);
    rot_destroy(&r);

    rot_create(&r, ROT_KILLED, content, 0);
    for (int with_index = 0; with_index < 2; with_index++) {
        t = (struct tally){0};
        for (uint32_t b = 0; b < r.n_blocks; b++) {
            r.knows = with_index != 0;
            if (rot_block_name(&r, b, name) && name[0] == 'o') {
                flips_in_file(&r, name, UINT64_MAX, with_index != 0, &c, &t);
            }
        }
        print_tally(with_index ? "open block" : "open block, no index", &t);
    }
    r.knows = false;
    t = (struct tally){0};
    flips_in_index(&r, &r.wal, &c, &t);
    print_tally("index.sqlite-wal", &t);
    t = (struct tally){0};
    flips_in_file(&r, "db0000000000", UINT64_MAX, true, &c, &t);
    print_tally("db after a kill", &t);
    rot_destroy(&r);
}

static void a_wrong_bit_is_noticed_and_costs_what_it_lies_in(void **state)
{
    (void)state;
    all_flips(ROT_OBJECTS, 0, 8 * SLOW, 64 * SLOW, 3, 800 / SLOW);
}

static void so_it_is_with_multipart_uploads(void **state)
{
    (void)state;
    all_flips(ROT_UPLOADS, 0, 16 * SLOW, 64 * SLOW, 3, 400 / SLOW);
}

/* ---- a block that was being filled and lost its first page ---- */

static void an_open_block_without_its_header_is_not_removed(void **state)
{
    (void)state;
    static const uint8_t zeros[4096];
    struct fixture f;
    struct buf b = {0};
    uint8_t body[5000];
    fx_fill(body, sizeof(body), 1);
    fx_init(&f, 0);
    assert_int_equal(fx_open(&f), 0);
    assert_int_equal(fx_put(&f, "a", slice_of(body, sizeof(body)), 0), 0);
    assert_int_equal(fx_put(&f, "b", slice_of(body, sizeof(body)), 0), 0);
    fx_kill(&f);
    struct slice was = vfs_mem_get(f.vfs, "open0000000000");
    assert_int_equal(buf_append(&b, was.ptr, was.len), 0);
    memcpy(b.ptr, zeros, sizeof(zeros));
    vfs_mem_put(f.vfs, "open0000000000", buf_slice(&b));
    assert_int_equal(fx_open(&f), 0);
    assert_non_null(strstr(f.notes, "open0000000000 has no valid header"));
    assert_int_equal(fx_put(&f, "c", slice_of(body, sizeof(body)), 0), 0);
    assert_int_equal(fx_stop(&f), 0);
    assert_true(slice_eq(vfs_mem_get(f.vfs, "bad-open0000000000"), buf_slice(&b)));
    fx_finish(&f);
    buf_finish(&b);
}

/* ---- bursts of bits, whole pages ---- */

#define PAGE 4096u

static uint64_t rng;
static uint64_t roll(uint64_t n)
{
    rng ^= rng << 13, rng ^= rng >> 7, rng ^= rng << 17;
    return rng % n;
}

static void burst(struct buf *b)
{
    uint64_t n = 2 + roll(31), at = roll(b->len * 8 - n);
    for (uint64_t i = 0; i < n; i++) {
        if (i == 0 || i == n - 1 || roll(2)) {
            b->ptr[(at + i) / 8] ^= (uint8_t)(1u << (at + i) % 8);
        }
    }
}

static size_t page_len(const struct buf *b, uint64_t page)
{
    return b->len - page * PAGE < PAGE ? (size_t)(b->len - page * PAGE) : PAGE;
}

/* What a disk does to whole pages. `early`: what the file had before. */
static const char *spoil_page(struct buf *b, struct slice early)
{
    uint64_t pages = (b->len + PAGE - 1) / PAGE, x = roll(pages), y = roll(pages);
    size_t n = page_len(b, x) < page_len(b, y) ? page_len(b, x) : page_len(b, y);
    uint8_t *px = b->ptr + x * PAGE, *py = b->ptr + y * PAGE, keep[PAGE];
    switch (roll(4)) {
    case 0:
        memset(px, 0, page_len(b, x));
        return "zeroed page";
    case 1:
        memcpy(keep, px, n);
        memmove(px, py, n);
        memcpy(py, keep, n);
        return "swapped pages";
    case 2:
        memmove(px, py, n);
        return "page over another";
    default:
        for (uint64_t i = 0; i < page_len(b, x); i++) {
            px[i] = x * PAGE + i < early.len ? early.ptr[x * PAGE + i] : 0;
        }
        return "stale page";
    }
}

static const char *spoil(struct buf *b, struct slice early)
{
    if (roll(2)) {
        burst(b);
        return "burst";
    }
    return spoil_page(b, early);
}

static void copy_bytes(struct buf *to, struct slice from)
{
    buf_reset(to);
    assert_int_equal(buf_append(to, from.ptr, from.len), 0);
}

/* A file of the directory; false: nothing came of it. */
static bool spoil_file(struct rot *r, const char *name, const char **ret_how, bool *ret_means)
{
    struct buf b = {0};
    struct slice was = vfs_mem_get(r->image, name);
    uint32_t number = (uint32_t)strtoul(name + strcspn(name, "0123456789"), NULL, 10);
    bool changed = false;
    copy_bytes(&b, was);
    *ret_how = spoil(&b, vfs_mem_get(r->early, name));
    *ret_means = name[0] == 'd';
    for (uint64_t i = 0; i < b.len; i++) {
        if (b.ptr[i] != was.ptr[i]) {
            changed = true;
            *ret_means = (name[0] != 'd' && rot_affect(r, number, i, 1)) || *ret_means;
        }
    }
    vfs_mem_put(r->f.vfs, name, buf_slice(&b));
    buf_finish(&b);
    return changed;
}

/* The index or its log. An old page of the index is right in itself: only zipkvverify sees it. */
static bool spoil_index(struct rot *r, struct buf *file, const char **ret_how)
{
    struct buf was = {0};
    copy_bytes(&was, buf_slice(file));
    *ret_how = spoil(file, buf_slice(&r->early_index));
    bool changed = memcmp(was.ptr, file->ptr, was.len) != 0 &&
                   (file == &r->wal || strcmp(*ret_how, "stale page") != 0);
    rot_reset(r, true);
    copy_bytes(file, buf_slice(&was));
    buf_finish(&was);
    return changed;
}

static void one_damage(struct rot *r, const struct store_stats *usual, struct tally *t)
{
    char name[FILE_NAME_BYTES] = "db0000000000";
    const char *how = "";
    bool means = true, changed;
    uint64_t seed = rng, which = roll(10);
    r->may_give_up = which < 3;
    if (which < 3) {
        bool log = which == 0 && r->wal.len > 0;
        (void)snprintf(name, sizeof(name), "index%s", log ? "-wal" : "");
        changed = spoil_index(r, log ? &r->wal : &r->index, &how);
    } else {
        if (which > 3) {
            while (!rot_block_name(r, (uint32_t)roll(r->n_blocks), name)) {
            }
        }
        rot_reset(r, roll(4) > 0);
        changed = spoil_file(r, name, &how, &means);
    }
    (void)snprintf(r->about, sizeof(r->about), "%s in %s, seed %llu", how, name,
                   (unsigned long long)seed);
    if (changed) {
        open_and_check(r, name[0] == 'd', means, usual, t);
    }
}

static void other_damage(enum rot_content content, uint64_t n, uint64_t seed)
{
    for (int kind = ROT_STOPPED; kind <= ROT_KILLED; kind++) {
        struct rot r;
        struct store_stats usual;
        struct tally t = {0};
        rot_create(&r, (enum rot_kind)kind, content, 100000);
        usual_start(&r, true, &usual);
        for (uint64_t i = 0; i < n / 2; i++) {
            rng = (seed + i) * 0x9e3779b97f4a7c15u + 1;
            one_damage(&r, &usual, &t);
        }
        print_tally(kind == ROT_STOPPED ? "bursts and pages" : "the same, after a kill", &t);
        rot_destroy(&r);
    }
}

static void bursts_and_wrong_pages_cost_what_they_lie_in(void **state)
{
    (void)state;
    other_damage(ROT_OBJECTS, 1600 / SLOW, 1);
    other_damage(ROT_UPLOADS, 800 / SLOW, 1);
}

/* In so many processes, each with its share. */
static int every_flip(size_t big, uint64_t jobs)
{
    int status, failed = 0;
    for (uint64_t j = 0; j < jobs; j++) {
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            all_flips(ROT_OBJECTS, big, jobs, jobs, j, 0);
            all_flips(ROT_UPLOADS, big, jobs, jobs, j, 0);
            _exit(0);
        }
    }
    while (wait(&status) > 0) {
        failed |= status != 0;
    }
    return failed;
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc >= 2 && strcmp(argv[1], "all") == 0) {
        return every_flip(argc > 2 ? strtoull(argv[2], NULL, 10) : 0,
                          argc > 3 ? strtoull(argv[3], NULL, 10) : 1);
    }
    if (argc >= 3 && strcmp(argv[1], "bursts") == 0) {
        for (int content = ROT_OBJECTS; content <= ROT_UPLOADS; content++) {
            other_damage((enum rot_content)content, strtoull(argv[2], NULL, 10) / 2,
                         argc > 3 ? strtoull(argv[3], NULL, 10) : 1);
        }
        return 0;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_wrong_bit_is_noticed_and_costs_what_it_lies_in),
        cmocka_unit_test(so_it_is_with_multipart_uploads),
        cmocka_unit_test(an_open_block_without_its_header_is_not_removed),
        cmocka_unit_test(bursts_and_wrong_pages_cost_what_they_lie_in),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

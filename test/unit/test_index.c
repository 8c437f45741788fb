/* The look-up index: pages of names against a naive model, totals, marks, damage marks, memory. */
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "support/index_rig.h"

/* ---- pages of names against a model ---------------------------------------------------------- */

#define KEYS_MAX 400
#define KEY_LEN 7
struct model {
    struct slice keys[KEYS_MAX]; /* sorted, no two equal */
    bool damaged[KEYS_MAX];
    uint8_t bytes[KEYS_MAX][KEY_LEN];
    size_t n;
};

static struct slice random_bytes(uint8_t *out, size_t max)
{
    static const uint8_t alphabet[] = {0x00, 0xff, 'a', 'b', '/', '/', 0xfe};
    size_t len = roll((uint32_t)max + 1);
    for (size_t i = 0; i < len; i++) {
        out[i] = alphabet[roll(sizeof alphabet)];
    }
    return slice_of(out, len);
}

static int by_key(const void *a, const void *b)
{
    return slice_cmp(*(const struct slice *)a, *(const struct slice *)b);
}

static void fill_model(struct model *m, struct index *ix)
{
    for (size_t i = 0; i < KEYS_MAX; i++) {
        m->keys[m->n] = random_bytes(m->bytes[i], KEY_LEN);
        m->n += m->keys[m->n].len > 0;
    }
    qsort(m->keys, m->n, sizeof m->keys[0], by_key);
    size_t n = 0;
    for (size_t i = 0; i < m->n; i++) {
        if (n == 0 || !slice_eq(m->keys[n - 1], m->keys[i])) {
            m->keys[n++] = m->keys[i];
        }
    }
    m->n = n;
    assert_int_equal(index_begin(ix), 0);
    for (size_t i = 0; i < n; i++) {
        struct record r = framed(m->keys[i], 1, i * 256, i);
        m->damaged[i] = roll(10) == 0;
        assert_int_equal(index_apply(ix, &r, m->damaged[i]), 0);
    }
    assert_int_equal(index_commit(ix), 0);
}

/* What a page must be, the slow way: every name in turn. */
static void model_list(const struct model *m, const struct list_query *q, struct list_entry *v,
                       size_t *ret_n, bool *ret_truncated)
{
    size_t n = 0;
    *ret_truncated = false;
    for (size_t i = 0; i < m->n; i++) {
        struct slice k = m->keys[i];
        struct list_entry e = {.key = k, .size = i};
        if (m->damaged[i] || !slice_has_prefix(k, q->prefix)) {
            continue;
        }
        for (size_t at = q->prefix.len; q->delimiter.len > 0 && at + q->delimiter.len <= k.len;
             at++) {
            if (memcmp(k.ptr + at, q->delimiter.ptr, q->delimiter.len) == 0) {
                e = (struct list_entry){.key = slice_of(k.ptr, at + q->delimiter.len),
                                        .is_prefix = true};
                break;
            }
        }
        if ((q->after.len > 0 && slice_cmp(e.key, q->after) <= 0) ||
            (e.is_prefix && n > 0 && slice_eq(v[n - 1].key, e.key))) {
            continue;
        }
        if (n == q->max) {
            *ret_truncated = q->max > 0;
            break;
        }
        v[n++] = e;
    }
    *ret_n = n;
}

static void check_page(struct index *ix, const struct model *m, const struct list_query *q)
{
    static struct list_entry want[KEYS_MAX];
    size_t n;
    bool truncated;
    struct list_page page;
    model_list(m, q, want, &n, &truncated);
    assert_int_equal(index_list(ix, q, &page), 0);
    assert_int_equal(page.n, n);
    assert_int_equal(page.truncated, truncated);
    for (size_t i = 0; i < n; i++) {
        assert_true(slice_eq(page.entries[i].key, want[i].key));
        assert_int_equal(page.entries[i].is_prefix, want[i].is_prefix);
        assert_int_equal(page.entries[i].size, want[i].size);
        assert_int_equal(page.entries[i].has_md5, !want[i].is_prefix);
    }
    list_page_finish(&page);
}

static void pages_of_names_are_what_a_naive_model_says(void **state)
{
    struct fixture *f = *state;
    struct model *m = calloc(1, sizeof *m);
    assert_non_null(m);
    fill_model(m, f->ix);
    for (int i = 0; i < 20000; i++) {
        uint8_t prefix[3], after[8], delimiter[3];
        struct list_query q = {
            .prefix = random_bytes(prefix, sizeof prefix),
            .after = random_bytes(after, sizeof after),
            .delimiter = random_bytes(delimiter, sizeof delimiter),
            .max = roll(4) == 0 ? 1000 : roll(12),
        };
        if (roll(3) == 0) { /* `after` is a name, as when paging */
            q.after = m->keys[roll((uint32_t)m->n)];
        }
        check_page(f->ix, m, &q);
    }
    free(m);
}

static void paging_from_entry_to_entry_gives_every_name_once(void **state)
{
    struct fixture *f = *state;
    struct model *m = calloc(1, sizeof *m);
    assert_non_null(m);
    fill_model(m, f->ix);
    for (size_t max = 1; max < 9; max++) {
        struct list_query q = {.delimiter = slice_str(max % 2 ? "/" : ""), .max = 1000};
        struct list_page all, page = {0};
        assert_int_equal(index_list(f->ix, &q, &all), 0);
        assert_false(all.truncated);
        q.max = max;
        uint8_t last[KEY_LEN];
        for (size_t i = 0; i < all.n; i++) {
            if (i % max == 0) {
                list_page_finish(&page);
                assert_int_equal(index_list(f->ix, &q, &page), 0);
                assert_int_equal(page.truncated, i + max < all.n);
            }
            struct slice key = page.entries[i % max].key;
            assert_true(slice_eq(key, all.entries[i].key));
            memcpy(last, key.ptr, key.len);
            q.after = slice_of(last, key.len);
        }
        list_page_finish(&page);
        list_page_finish(&all);
    }
    free(m);
}

static void a_prefix_of_ff_bytes_ends_with_the_names(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(index_begin(f->ix), 0);
    put(f->ix, "\xff\xff\xff", 1, 0, 1);
    put(f->ix, "\xff\xff/x", 1, 256, 1);
    put(f->ix, "\xff", 1, 512, 1);
    assert_int_equal(index_commit(f->ix), 0);
    struct list_query q = {.prefix = slice_str("\xff"), .delimiter = slice_str("\xff"), .max = 9};
    struct list_page page;
    assert_int_equal(index_list(f->ix, &q, &page), 0);
    assert_int_equal(page.n, 2); /* ff, and ff ff rolled up, behind which nothing can be */
    assert_true(slice_eq_str(page.entries[0].key, "\xff"));
    assert_true(slice_eq_str(page.entries[1].key, "\xff\xff"));
    assert_true(page.entries[1].is_prefix);
    assert_false(page.truncated);
    list_page_finish(&page);
}

/* ---- what is kept of a name ------------------------------------------------------------------ */

static void a_name_is_found_as_it_was_put(void **state)
{
    struct fixture *f = *state;
    struct object o;
    assert_int_equal(index_begin(f->ix), 0);
    put(f->ix, "own", 3, 64, 10);
    struct record copy = framed(slice_str("copy"), 4, 128, 10);
    copy.body_frame = (struct place){3, 64};
    copy.body = (struct place){3, 164};
    apply(f->ix, &copy);
    struct record of_plain = plain("copy of plain", 55, 6);
    of_plain.framed = true;
    of_plain.frame = (struct place){9, 640};
    apply(f->ix, &of_plain);
    struct attr attr = {slice_str("X-Amz-Meta-A"), slice_str("b")};
    struct record original = plain("original", 55, 6);
    original.meta = (struct attrs){&attr, 1};
    apply(f->ix, &original);
    assert_int_equal(index_commit(f->ix), 0);
    reopen(f);

    assert_int_equal(index_lookup(f->ix, slice_str("own"), &o), 0);
    assert_true(o.framed && o.body_framed && o.has_md5 && !o.damaged);
    assert_int_equal(o.body.block, 3);
    assert_int_equal(o.body.off, 164);
    assert_int_equal(o.frame.off, 64);
    assert_int_equal(o.body_frame.off, 64);
    assert_int_equal(o.size, 10);
    assert_int_equal(o.md5[0], 64);
    assert_int_equal(o.mtime_ms, 1234);
    assert_int_equal(index_lookup(f->ix, slice_str("copy"), &o), 0);
    assert_true(o.framed && o.body_framed);
    assert_int_equal(o.frame.block, 4);
    assert_int_equal(o.body_frame.block, 3);
    assert_int_equal(o.body_frame.off, 64);
    assert_int_equal(index_lookup(f->ix, slice_str("copy of plain"), &o), 0);
    assert_true(o.framed && !o.body_framed);
    assert_int_equal(index_lookup(f->ix, slice_str("original"), &o), 0);
    assert_false(o.framed || o.body_framed || o.has_md5);
    assert_int_equal(o.mtime_ms, 0);
    assert_int_equal(index_lookup(f->ix, slice_str("origina"), &o), ZERR_NOT_FOUND);

    struct arena arena = {0};
    struct slice meta;
    struct attrs attrs;
    assert_int_equal(index_lookup_meta(f->ix, slice_str("original"), &arena, &meta), 0);
    assert_int_equal(attrs_decode(meta, &arena, &attrs), 0);
    assert_int_equal(attrs.n, 1);
    assert_true(slice_eq_str(attrs.v[0].value, "b"));
    assert_int_equal(index_lookup_meta(f->ix, slice_str("own"), &arena, &meta), 0);
    assert_int_equal(meta.len, 0);
    assert_int_equal(index_lookup_meta(f->ix, slice_str("none"), &arena, &meta), ZERR_NOT_FOUND);
    arena_finish(&arena);
}

static void a_body_that_names_share_counts_once(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(index_begin(f->ix), 0);
    put(f->ix, "a", 1, 0, 100);
    struct record copy = framed(slice_str("b"), 1, 512, 100);
    copy.body = (struct place){1, 100};
    copy.body_frame = (struct place){1, 0};
    apply(f->ix, &copy);
    assert_totals(f->ix, 2, 100, 200, 0);
    copy.key = slice_str("a"); /* onto itself: other attributes, same body */
    apply(f->ix, &copy);
    assert_totals(f->ix, 2, 100, 200, 0);
    del(f->ix, "a");
    assert_totals(f->ix, 1, 100, 100, 0);
    del(f->ix, "a"); /* is gone already */
    put(f->ix, "c", 2, 0, 7);
    put(f->ix, "c", 2, 256, 9); /* overwritten: the old body is dead */
    assert_totals(f->ix, 2, 109, 109, 0);
    del(f->ix, "b");
    assert_totals(f->ix, 1, 9, 9, 0);
    struct record r = plain("p", 10, 5); /* the original's copies are PUTs of the same place */
    apply(f->ix, &r);
    r.key = slice_str("q");
    apply(f->ix, &r);
    r = plain("empty", 10, 0);
    apply(f->ix, &r);
    assert_totals(f->ix, 4, 14, 19, 0);
    del(f->ix, "empty");
    del(f->ix, "p");
    assert_totals(f->ix, 2, 14, 14, 0);
    assert_int_equal(index_commit(f->ix), 0);
    reopen(f);
    assert_totals(f->ix, 2, 14, 14, 0);
}

static void random_changes_keep_the_totals_right(void **state)
{
    struct fixture *f = *state;
    struct {
        bool live;
        uint64_t off, size;
    } names[20] = {{0}};
    assert_int_equal(index_begin(f->ix), 0);
    for (int i = 0; i < 3000; i++) {
        uint32_t k = roll(20), from = roll(20);
        char key[8];
        snprintf(key, sizeof key, "k%u", k);
        struct record r = plain(key, (uint64_t)i * 100, roll(3) == 0 ? 0 : 1 + roll(90));
        if (roll(2) == 0 && names[from].live) {
            r.body.off = names[from].off;
            r.size = names[from].size;
        }
        r.op = roll(4) == 0 ? RECORD_DELETE : RECORD_PUT;
        apply(f->ix, &r);
        names[k].live = r.op == RECORD_PUT;
        names[k].off = r.body.off;
        names[k].size = r.size;
    }
    uint64_t objects = 0, live = 0, bytes = 0;
    for (int i = 0; i < 20; i++) {
        bool first = true;
        for (int j = 0; j < i; j++) {
            first = first && !(names[j].live && names[j].off == names[i].off);
        }
        objects += names[i].live;
        bytes += names[i].live ? names[i].size : 0;
        live += names[i].live && first ? names[i].size : 0;
    }
    assert_totals(f->ix, objects, live, bytes, 0);
    assert_int_equal(index_commit(f->ix), 0);
}

static void damage_is_marked_for_all_names_of_a_body(void **state)
{
    struct fixture *f = *state;
    uint64_t n = 0;
    struct object o;
    assert_int_equal(index_begin(f->ix), 0);
    struct record r = plain("a", 10, 5);
    apply(f->ix, &r);
    r.key = slice_str("b");
    apply(f->ix, &r);
    r = plain("nothing", 10, 0);
    apply(f->ix, &r);
    put(f->ix, "c", 1, 0, 0);
    assert_int_equal(index_set_damage(f->ix, (struct place){7, 10}, true, &n), 0);
    assert_int_equal(n, 2);
    assert_int_equal(index_set_damage(f->ix, (struct place){7, 10}, true, &n), 0);
    assert_int_equal(n, 0); /* marked already */
    assert_int_equal(index_set_key_damage(f->ix, slice_str("c"), true, &n), 0);
    assert_int_equal(n, 1);
    assert_int_equal(index_set_key_damage(f->ix, slice_str("absent"), true, &n), 0);
    assert_int_equal(n, 0);
    assert_int_equal(index_commit(f->ix), 0);
    reopen(f); /* marks survive */
    assert_totals(f->ix, 4, 5, 10, 3);
    assert_int_equal(index_lookup(f->ix, slice_str("b"), &o), 0);
    assert_true(o.damaged);
    assert_int_equal(index_lookup(f->ix, slice_str("nothing"), &o), 0);
    assert_false(o.damaged);

    assert_int_equal(index_begin(f->ix), 0);
    put(f->ix, "a", 2, 0, 5); /* a new body clears the mark of the name */
    del(f->ix, "c");
    assert_totals(f->ix, 3, 10, 10, 1);
    assert_int_equal(index_set_damage(f->ix, (struct place){7, 10}, false, NULL), 0);
    assert_totals(f->ix, 3, 10, 10, 0);
    struct record bad = framed(slice_str("d"), 2, 512, 1);
    assert_int_equal(index_apply(f->ix, &bad, true), 0);
    assert_totals(f->ix, 4, 11, 11, 1);
    assert_int_equal(index_commit(f->ix), 0);
}

static void a_late_md5_is_for_all_names_of_the_body_and_no_empty_one(void **state)
{
    struct fixture *f = *state;
    struct object o;
    uint8_t md5[16] = {1, 2, 3};
    assert_int_equal(index_begin(f->ix), 0);
    struct record r = plain("a", 10, 5);
    apply(f->ix, &r);
    r.key = slice_str("b");
    apply(f->ix, &r);
    r = plain("nothing", 10, 0);
    apply(f->ix, &r);
    assert_int_equal(index_set_md5(f->ix, r.body, md5), 0);
    assert_int_equal(index_lookup(f->ix, slice_str("b"), &o), 0);
    assert_true(o.has_md5);
    assert_memory_equal(o.md5, md5, 16);
    assert_int_equal(index_lookup(f->ix, slice_str("nothing"), &o), 0);
    assert_false(o.has_md5);
    static const uint8_t of_nothing[16] = {0xd4, 0x1d, 0x8c, 0xd9, 0x8f, 0x00, 0xb2, 0x04,
                                           0xe9, 0x80, 0x09, 0x98, 0xec, 0xf8, 0x42, 0x7e};
    assert_int_equal(index_set_md5(f->ix, r.body, of_nothing), 0);
    assert_int_equal(index_lookup(f->ix, slice_str("nothing"), &o), 0);
    assert_memory_equal(o.md5, of_nothing, 16);
    assert_int_equal(index_lookup(f->ix, slice_str("a"), &o), 0);
    assert_memory_equal(o.md5, md5, 16);
    assert_int_equal(index_commit(f->ix), 0);
}

/* ---- transactions and marks ------------------------------------------------------------------ */

static void the_mark_is_what_was_committed_last(void **state)
{
    struct fixture *f = *state;
    struct index_mark got, mark = {.store_id = {9, 8},
                                   .generation = 3,
                                   .n_records = 44,
                                   .seq = UINT64_MAX - 1,
                                   .db_last_member = 5,
                                   .db_last_member_rev = 6,
                                   .db_length = 7};
    assert_int_equal(index_get_mark(f->ix, &got), ZERR_NOT_FOUND);
    assert_int_equal(index_begin(f->ix), 0);
    assert_int_equal(index_set_mark(f->ix, &mark), 0);
    assert_int_equal(index_commit(f->ix), 0);
    reopen(f);
    assert_int_equal(index_get_mark(f->ix, &got), 0);
    assert_memory_equal(&got, &mark, sizeof mark);
    struct index *reader = NULL;
    assert_int_equal(index_open(f->path, INDEX_READER, &reader, NULL), 0);
    mark.n_records++;
    assert_int_equal(index_begin(f->ix), 0);
    assert_int_equal(index_set_mark(f->ix, &mark), 0);
    assert_int_equal(index_get_mark(reader, &got), 0);
    assert_int_equal(got.n_records, 44); /* not yet committed */
    index_rollback(f->ix);
    assert_int_equal(index_get_mark(f->ix, &got), 0);
    assert_int_equal(got.n_records, 44);
    assert_int_equal(index_begin(f->ix), 0);
    assert_int_equal(index_set_mark(f->ix, &mark), 0);
    assert_int_equal(index_commit(f->ix), 0);
    assert_int_equal(index_get_mark(reader, &got), 0);
    assert_int_equal(got.n_records, 45);
    index_close(reader);
}

static void a_rollback_leaves_rows_and_totals_as_they_were(void **state)
{
    struct fixture *f = *state;
    struct object o;
    assert_int_equal(index_begin(f->ix), 0);
    put(f->ix, "a", 1, 0, 100);
    assert_int_equal(index_commit(f->ix), 0);
    assert_int_equal(index_begin(f->ix), 0);
    put(f->ix, "b", 1, 256, 50);
    del(f->ix, "a");
    assert_totals(f->ix, 1, 50, 50, 0);
    index_rollback(f->ix);
    assert_totals(f->ix, 1, 100, 100, 0);
    assert_int_equal(index_lookup(f->ix, slice_str("a"), &o), 0);
    assert_int_equal(index_lookup(f->ix, slice_str("b"), &o), ZERR_NOT_FOUND);
    assert_int_equal(index_begin(f->ix), 0);
    put(f->ix, "b", 1, 256, 50);
    reopen(f); /* closing rolls back */
    assert_totals(f->ix, 1, 100, 100, 0);
}

static void after_a_failed_apply_nothing_can_be_committed(void **state)
{
    struct fixture *f = *state;
    struct record r = framed(slice_str("huge"), 1, 0, UINT64_MAX);
    assert_int_equal(index_begin(f->ix), 0);
    put(f->ix, "a", 1, 0, 100);
    assert_int_equal(index_apply(f->ix, &r, false), ZERR_INVALID);
    assert_int_equal(index_commit(f->ix), ZERR_INVALID);
    assert_totals(f->ix, 0, 0, 0, 0);
    assert_int_equal(index_begin(f->ix), 0); /* the next one begins anew */
    assert_int_equal(index_commit(f->ix), 0);
}

static void the_wal_is_checkpointed_when_it_has_grown(void **state)
{
    struct fixture *f = *state;
    char wal[128], key[32];
    struct stat st;
    snprintf(wal, sizeof wal, "%s-wal", f->path);
    off_t max = 0;
    for (int i = 0; i < 3000; i++) {
        assert_int_equal(index_begin(f->ix), 0);
        snprintf(key, sizeof key, "%08x", roll(UINT32_MAX));
        put(f->ix, key, 1, (uint64_t)i * 256, 1);
        assert_int_equal(index_commit(f->ix), 0);
        assert_int_equal(index_checkpoint(f->ix, false), 0);
        assert_int_equal(stat(wal, &st), 0);
        max = st.st_size > max ? st.st_size : max;
    }
    assert_true(max > INDEX_WAL_MAX);
    assert_true(max < INDEX_WAL_MAX + (1 << 20));
    assert_int_equal(index_checkpoint(f->ix, true), 0);
    assert_int_equal(stat(wal, &st), 0);
    assert_int_equal(st.st_size, 0);
}

/* ---- many ------------------------------------------------------------------------------------ */

#define MANY 100000

struct walk {
    struct place last;
    uint64_t n;
};

static int check_order(void *user, struct slice key, const struct object *o)
{
    struct walk *w = user;
    assert_true(key.len > 0);
    assert_true(w->n == 0 || o->body.block > w->last.block ||
                (o->body.block == w->last.block && o->body.off >= w->last.off));
    w->last = o->body;
    w->n++;
    return 0;
}

static int stop_at_3(void *user, struct slice key, const struct object *o)
{
    (void)key, (void)o;
    return ++*(int *)user == 3 ? ZERR_CANCELED : 0;
}

static void a_hundred_thousand_names_stay_within_a_few_mebibytes(void **state)
{
    struct fixture *f = *state;
    struct mallinfo2 before = mallinfo2();
    size_t most = 0;
    for (int i = 0; i < MANY;) {
        assert_int_equal(index_begin(f->ix), 0);
        for (int j = 0; j < 500; j++, i++) {
            char key[32];
            snprintf(key, sizeof key, "s3ql_data_%d", i);
            /* Places in no order of names; every third body is a copy of an earlier one. */
            put(f->ix, key, (uint32_t)(i * 7919 % 13), (uint64_t)(i * 31 % 99991) * 256, 1);
        }
        assert_int_equal(index_commit(f->ix), 0);
        assert_int_equal(index_checkpoint(f->ix, false), 0);
        size_t used = mallinfo2().uordblks + mallinfo2().hblkhd;
        size_t grown = used - (before.uordblks + before.hblkhd);
        most = grown > most && used > before.uordblks + before.hblkhd ? grown : most;
    }
    struct walk w = {{0}, 0};
    assert_int_equal(index_each_by_place(f->ix, check_order, &w), 0);
    assert_int_equal(w.n, MANY);
    int seen = 0;
    assert_int_equal(index_each_by_place(f->ix, stop_at_3, &seen), ZERR_CANCELED);
    assert_int_equal(seen, 3);
    assert_true(most < 4 << 20);
}

static void a_temporary_index_works_and_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    struct index *ix = NULL;
    struct walk w = {{0}, 0};
    assert_int_equal(index_open(NULL, INDEX_TEMP, &ix, NULL), 0);
    assert_int_equal(index_begin(ix), 0);
    put(ix, "a", 2, 0, 1);
    put(ix, "b", 1, 0, 1);
    assert_int_equal(index_commit(ix), 0);
    assert_int_equal(index_begin(ix), 0);
    del(ix, "a");
    index_rollback(ix);
    assert_int_equal(index_each_by_place(ix, check_order, &w), 0);
    assert_int_equal(w.n, 2);
    assert_totals(ix, 2, 2, 2, 0);
    assert_totals(f->ix, 0, 0, 0, 0);
    index_close(ix);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(pages_of_names_are_what_a_naive_model_says),
        T(paging_from_entry_to_entry_gives_every_name_once),
        T(a_prefix_of_ff_bytes_ends_with_the_names),
        T(a_name_is_found_as_it_was_put),
        T(a_body_that_names_share_counts_once),
        T(random_changes_keep_the_totals_right),
        T(damage_is_marked_for_all_names_of_a_body),
        T(a_late_md5_is_for_all_names_of_the_body_and_no_empty_one),
        T(the_mark_is_what_was_committed_last),
        T(a_rollback_leaves_rows_and_totals_as_they_were),
        T(after_a_failed_apply_nothing_can_be_committed),
        T(the_wal_is_checkpointed_when_it_has_grown),
        T(a_hundred_thousand_names_stay_within_a_few_mebibytes),
        T(a_temporary_index_works_and_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

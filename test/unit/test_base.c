/* base: numbers, buffers, arena, errors, jobs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>

#include "base/buf.h"
#include "base/job.h"
#include "base/num.h"
#include "base/slice.h"
#include "base/zerr.h"

/* ---- num ---- */

static int parse(const char *s, uint64_t max, uint64_t *ret)
{
    return num_parse_u64(slice_str(s), max, ret);
}

static void test_a_number_is_digits_only_and_within_its_limit(void **state)
{
    static const char *const bad[] = {
        "", " 1", "1 ", "+1", "-1", "0x1", "1.0", "abc", "1a", "٣", "000000000000000000001"};
    uint64_t v = 7;
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(parse(bad[i], UINT64_MAX, &v), ZERR_INVALID);
    }
    assert_int_equal(num_parse_u64(slice_of("1\0002", 3), UINT64_MAX, &v), ZERR_INVALID);
    assert_int_equal(parse("18446744073709551616", UINT64_MAX, &v), ZERR_TOO_LARGE);
    assert_int_equal(parse("99999999999999999999", UINT64_MAX, &v), ZERR_TOO_LARGE);
    assert_int_equal(parse("101", 100, &v), ZERR_TOO_LARGE);
    assert_int_equal(v, 7);
    assert_int_equal(parse("18446744073709551615", UINT64_MAX, &v), 0);
    assert_true(v == UINT64_MAX);
    assert_int_equal(parse("100", 100, &v), 0);
    assert_int_equal(v, 100);
    assert_int_equal(parse("000", 100, &v), 0);
    assert_int_equal(v, 0);
}

static void test_letters_go_there_and_back_and_are_strict(void **state)
{
    uint8_t back[4] = {0}, all[256];
    char text[512];
    uint8_t again[256];

    (void)state;
    for (size_t i = 0; i < sizeof(all); i++) {
        all[i] = (uint8_t)i;
    }
    letters_encode(all, sizeof(all), text);
    assert_memory_equal(text, "aaabac", 6);
    for (size_t i = 0; i < sizeof(text); i++) {
        assert_in_range(text[i], 'a', 'p');
    }
    assert_int_equal(letters_decode(slice_of(text, sizeof(text)), again, sizeof(again)), 0);
    assert_memory_equal(again, all, sizeof(all));
    static const char *const bad[] = {"aaaaaaa",  "aaaaaaaaa", "aaaaaaaq",
                                      "aaaAaaaa", "00000000",  ""};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(letters_decode(slice_str(bad[i]), back, 4), ZERR_INVALID);
    }
    assert_int_equal(letters_decode(slice_str(""), back, 0), 0);
}

static void test_hex_goes_there_and_back_and_is_strict(void **state)
{
    static const uint8_t bytes[4] = {0x00, 0x9f, 0xa0, 0xff};
    uint8_t back[4] = {1, 2, 3, 4};
    char text[9] = "";

    (void)state;
    hex_encode(bytes, 4, text);
    assert_string_equal(text, "009fa0ff");
    assert_int_equal(hex_decode(slice_str("009FA0ff"), back, 4), 0);
    assert_memory_equal(back, bytes, 4);
    back[0] = 77;
    assert_int_equal(hex_decode(slice_str("009fa0f"), back, 4), ZERR_INVALID);
    assert_int_equal(hex_decode(slice_str("009fa0ff0"), back, 4), ZERR_INVALID);
    assert_int_equal(hex_decode(slice_str("009fa0fg"), back, 4), ZERR_INVALID);
    assert_int_equal(back[0], 77);
    assert_int_equal(hex_decode(slice_str(""), back, 0), 0);
}

static void test_base64_takes_only_the_one_text_of_a_value(void **state)
{
    uint8_t out[16];

    (void)state;
    assert_int_equal(base64_decode(slice_str("1B2M2Y8AsgTpgAmY7PhCfg=="), out, 16), 0);
    assert_memory_equal(out, "\xd4\x1d\x8c\xd9\x8f\x00\xb2\x04\xe9\x80\x09\x98\xec\xf8\x42\x7e",
                        16);
    assert_int_equal(base64_decode(slice_str("Zm9v"), out, 3), 0);
    assert_memory_equal(out, "foo", 3);
    assert_int_equal(base64_decode(slice_str("+/8="), out, 2), 0);
    assert_memory_equal(out, "\xfb\xff", 2);
    assert_int_equal(base64_decode(slice_str(""), out, 0), 0);
    out[0] = 77;
    assert_int_equal(base64_decode(slice_str("1B2M2Y8AsgTpgAmY7PhCfg="), out, 16), ZERR_INVALID);
    assert_int_equal(base64_decode(slice_str("1B2M2Y8AsgTpgAmY7PhCfg"), out, 16), ZERR_INVALID);
    assert_int_equal(base64_decode(slice_str("1B2M2Y8AsgTpgAmY7PhCfh=="), out, 16), ZERR_INVALID);
    assert_int_equal(base64_decode(slice_str("1B2M2Y8AsgTpgAmY7PhC-g=="), out, 16), ZERR_INVALID);
    assert_int_equal(base64_decode(slice_str("1B2M2Y8AsgTp=AmY7PhCfg=="), out, 16), ZERR_INVALID);
    assert_int_equal(base64_decode(slice_str("+/9="), out, 2), ZERR_INVALID);
    assert_int_equal(base64_decode(slice_str("Zm9v"), out, 2), ZERR_INVALID);
    assert_int_equal(base64_decode(slice_str("not base"), out, 6), ZERR_INVALID);
    assert_int_equal(out[0], 77);
}

static void test_base64_is_written_as_it_is_read(void **state)
{
    static const uint8_t bytes[6] = {0xfb, 0xff, 0x00, 0x66, 0x6f, 0x6f};
    static const char *const texts[] = {"",         "+w==",     "+/8=",    "+/8A",
                                        "+/8AZg==", "+/8AZm8=", "+/8AZm9v"};
    char out[BASE64_LEN(6) + 1];

    (void)state;
    for (size_t len = 0; len <= 6; len++) {
        base64_encode(bytes, len, out);
        out[BASE64_LEN(len)] = '\0';
        assert_string_equal(out, texts[len]);
    }
}

static void test_little_endian_fields_are_written_byte_by_byte(void **state)
{
    uint8_t p[8];

    (void)state;
    le64_put(p, 0x8877665544332211u);
    assert_memory_equal(p, "\x11\x22\x33\x44\x55\x66\x77\x88", 8);
    assert_true(le64_get(p) == 0x8877665544332211u);
    assert_true(le32_get(p + 4) == 0x88776655u);
}

/* ---- slice ---- */

static void test_slices_compare_as_unsigned_bytes(void **state)
{
    (void)state;
    assert_true(slice_cmp(SLICE_LIT("a"), SLICE_LIT("\xc3\xa4")) < 0);
    assert_true(slice_cmp(SLICE_LIT("ab"), SLICE_LIT("a")) > 0);
    assert_true(slice_cmp(SLICE_LIT("a"), SLICE_LIT("a\0")) < 0);
    assert_int_equal(slice_cmp((struct slice){0}, SLICE_LIT("")), 0);
    assert_true(slice_has_prefix(SLICE_LIT("a"), (struct slice){0}));
    assert_false(slice_has_prefix(SLICE_LIT("a"), SLICE_LIT("ab")));
}

/* ---- buf, arena ---- */

static void test_a_buffer_grows_and_keeps_what_it_has(void **state)
{
    struct buf b = {0};
    size_t i;

    (void)state;
    assert_int_equal(buf_append(&b, NULL, 0), 0);
    for (i = 0; i < 1000; i++) {
        assert_int_equal(buf_printf(&b, "%03zu,", i), 0);
    }
    assert_int_equal(b.len, 4000);
    assert_memory_equal(b.ptr, "000,001,", 8);
    assert_memory_equal(b.ptr + 3996, "999,", 4);
    assert_int_equal(buf_append_str(&b, "end"), 0);
    assert_int_equal(b.len, 4003);
    assert_int_equal(buf_reserve(&b, 10), 0);
    assert_true(b.cap - b.len >= 10);
    assert_int_equal(b.len, 4003);
    buf_reset(&b);
    assert_int_equal(buf_slice(&b).len, 0);
    buf_finish(&b);
    assert_null(b.ptr);
}

static void test_a_buffer_that_cannot_grow_is_as_it_was(void **state)
{
    struct buf b = {0};
    struct buf before;

    (void)state;
    assert_int_equal(buf_append_str(&b, "abc"), 0);
    before = b;
    assert_int_equal(buf_reserve(&b, SIZE_MAX - 2), ZERR_NOMEM);
    assert_int_equal(buf_reserve(&b, SIZE_MAX / 2), ZERR_NOMEM);
    assert_memory_equal(&b, &before, sizeof(b));
    buf_finish(&b);
}

static void test_an_arena_hands_out_aligned_memory_that_stays_put(void **state)
{
    static const size_t sizes[] = {0, 1, 15, 16, 17, 4000, 4096, 5000, 100000, 3};
    struct arena a = {0};
    uint8_t *p[10];
    size_t i, j;
    int round;

    (void)state;
    for (round = 0; round < 3; round++) {
        for (i = 0; i < 10; i++) {
            p[i] = arena_alloc(&a, sizes[i]);
            assert_non_null(p[i]);
            assert_int_equal((uintptr_t)p[i] % _Alignof(max_align_t), 0);
            memset(p[i], (int)i, sizes[i]);
        }
        for (i = 0; i < 10; i++) {
            for (j = 0; j < sizes[i]; j++) {
                assert_int_equal(p[i][j], i);
            }
        }
        assert_true(a.used_total >= 113148);
        arena_reset(&a);
        assert_int_equal(a.used_total, 0);
    }
    assert_null(arena_alloc(&a, SIZE_MAX - 3));
    arena_finish(&a);
    assert_null(a.chunk);
}

static void test_a_duplicate_has_a_nul_behind_it(void **state)
{
    struct arena a = {0};
    struct slice s = arena_dup(&a, SLICE_LIT("key")), e = arena_dup(&a, (struct slice){0});

    (void)state;
    assert_string_equal((const char *)s.ptr, "key");
    assert_int_equal(s.len, 3);
    assert_non_null(e.ptr);
    assert_int_equal(e.len, 0);
    assert_null(arena_dup(&a, slice_of("x", SIZE_MAX)).ptr);
    arena_finish(&a);
}

/* ---- zerr ---- */

static void test_the_innermost_text_of_a_failure_wins(void **state)
{
    struct zerr_info info = {0};

    (void)state;
    assert_string_equal(zerr_text(&info, ZERR_NO_SPACE), "no space left");
    assert_string_equal(zerr_text(NULL, ZERR_NOMEM), "out of memory");
    assert_int_equal(zerr_fail(&info, ZERR_IO, ENOENT, "block %d: cannot open", 3), ZERR_IO);
    assert_int_equal(zerr_fail(&info, ZERR_CORRUPT, 0, "outer"), ZERR_CORRUPT);
    assert_string_equal(info.text, "block 3: cannot open: No such file or directory");
    assert_int_equal(info.sys_errno, ENOENT);
    assert_int_equal(zerr_fail(NULL, ZERR_BUSY, 0, "x"), ZERR_BUSY);
}

static void test_a_long_text_is_cut_and_each_error_has_one(void **state)
{
    struct zerr_info info = {0};
    int e;

    (void)state;
    (void)zerr_fail(&info, ZERR_IO, EIO, "%600d", 1);
    assert_int_equal(strlen(info.text), sizeof(info.text) - 1);
    for (e = ZERR_LIMIT; e < 0; e++) {
        assert_string_not_equal(zerr_str(e), "unknown error");
    }
    assert_string_equal(zerr_str(-1000), "unknown error");
}

/* ---- jobs ---- */

struct step {
    struct job job;
    struct workers_inline *w;
    struct step *then;
    char name;
};

static char trace[16];

static void note(char c)
{
    size_t n = strlen(trace);

    assert_true(n + 1 < sizeof(trace));
    trace[n] = c;
    trace[n + 1] = '\0';
}

static void run(struct job *j)
{
    note(container_of(j, struct step, job)->name);
}

static void done(struct job *j)
{
    struct step *s = container_of(j, struct step, job);

    note((char)(s->name + 'A' - 'a'));
    if (s->then != NULL) {
        s->w->base.submit(&s->w->base, &s->then->job);
    }
}

static void test_inline_jobs_run_when_pumped_first_in_first_out(void **state)
{
    struct workers_inline w;
    struct step c = {{run, done, NULL, JOB_READ}, &w, NULL, 'c'};
    struct step b = {{run, done, NULL, JOB_BODY}, &w, NULL, 'b'};
    struct step a = {{run, done, NULL, JOB_COMMIT}, &w, &c, 'a'};

    (void)state;
    trace[0] = '\0';
    workers_inline_init(&w);
    assert_false(workers_inline_step(&w));
    w.base.submit(&w.base, &a.job);
    w.base.submit(&w.base, &b.job);
    assert_string_equal(trace, "");
    assert_true(workers_inline_step(&w));
    assert_string_equal(trace, "aA");
    workers_inline_drain(&w);
    assert_string_equal(trace, "aAbBcC");
    assert_false(workers_inline_step(&w));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_number_is_digits_only_and_within_its_limit),
        cmocka_unit_test(test_hex_goes_there_and_back_and_is_strict),
        cmocka_unit_test(test_letters_go_there_and_back_and_are_strict),
        cmocka_unit_test(test_base64_takes_only_the_one_text_of_a_value),
        cmocka_unit_test(test_base64_is_written_as_it_is_read),
        cmocka_unit_test(test_little_endian_fields_are_written_byte_by_byte),
        cmocka_unit_test(test_slices_compare_as_unsigned_bytes),
        cmocka_unit_test(test_a_buffer_grows_and_keeps_what_it_has),
        cmocka_unit_test(test_a_buffer_that_cannot_grow_is_as_it_was),
        cmocka_unit_test(test_an_arena_hands_out_aligned_memory_that_stays_put),
        cmocka_unit_test(test_a_duplicate_has_a_nul_behind_it),
        cmocka_unit_test(test_the_innermost_text_of_a_failure_wins),
        cmocka_unit_test(test_a_long_text_is_cut_and_each_error_has_one),
        cmocka_unit_test(test_inline_jobs_run_when_pumped_first_in_first_out),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

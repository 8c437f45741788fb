/* aws-chunked coding: what it means, at every split; and what it is not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/num.h"
#include "s3/aws_chunked.h"

#define SIG1 "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648"
#define SIG2 "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9"

/* Everything that happens, as text: "[5 SIG]hello[0]{name=value}" with '.' at the end where the body
 * may end, or "!" where it is refused. */
static void feed(struct aws_chunked *k, struct slice in, struct buf *out)
{
    while (in.len > 0) {
        struct aws_chunked_piece piece;
        char hex[2 * AWS_SIGNATURE_BYTES];
        size_t used;

        if (out->len > 0 && out->ptr[out->len - 1] == '!') {
            return;
        }
        if (aws_chunked_next(k, in, &used, &piece) != 0) {
            assert_int_equal(buf_append_str(out, "!"), 0);
            return;
        }
        assert_in_range(used, 1, in.len);
        switch (piece.event) {
        case AWS_CHUNK:
            assert_int_equal(buf_printf(out, "[%llu", (unsigned long long)k->left), 0);
            if (k->has_signature) {
                hex_encode(k->signature, sizeof(k->signature), hex);
                assert_int_equal(buf_printf(out, " %.*s", (int)sizeof(hex), hex), 0);
            }
            assert_int_equal(buf_append_str(out, "]"), 0);
            break;
        case AWS_BYTES:
            assert_true(piece.data.len > 0);
            assert_int_equal(buf_append(out, piece.data.ptr, piece.data.len), 0);
            break;
        case AWS_TRAILER:
            assert_int_equal(
                buf_printf(out, "{%.*s=%.*s}", SLICE_FMT(piece.name), SLICE_FMT(piece.data)), 0);
            break;
        case AWS_MORE:
            assert_int_equal(used, in.len);
            break;
        }
        in = slice_of(in.ptr + used, in.len - used);
    }
}

static void expect_out(struct aws_chunked *k, struct buf *out, const char *text, const char *want)
{
    bool refused = out->len > 0 && out->ptr[out->len - 1] == '!';

    assert_int_equal(buf_append(out, refused ? "" : aws_chunked_ended(k) ? "." : "?", !refused), 0);
    if (!slice_eq_str(buf_slice(out), want)) {
        fail_msg("\"%s\" gives \"%.*s\", not \"%s\"", text, SLICE_FMT(*out), want);
    }
    buf_reset(out);
}

/* A copy of exactly its length, so that a look beyond it is seen. */
static void feed_exact(struct aws_chunked *k, const char *text, size_t len, struct buf *out)
{
    char *copy = malloc(len + (len == 0));

    assert_non_null(copy);
    memcpy(copy, text, len);
    feed(k, slice_of(copy, len), out);
    free(copy);
}

static void check(const char *text, const char *want)
{
    struct buf out = {0};
    size_t len = strlen(text);

    for (size_t at = 0; at <= len; at++) {
        struct aws_chunked k = {0};
        feed_exact(&k, text, at, &out);
        feed_exact(&k, text + at, len - at, &out);
        expect_out(&k, &out, text, want);
    }
    struct aws_chunked k = {0};
    for (size_t at = 0; at < len; at++) {
        feed_exact(&k, text + at, 1, &out);
    }
    expect_out(&k, &out, text, want);
    buf_finish(&out);
}

static void every_form_is_taken_apart_at_every_split(void **state)
{
    (void)state;
    check("5\r\nhello\r\n0\r\n\r\n", "[5]hello[0].");
    check("5\r\nhello\r\n0\r\n", "[5]hello[0].");
    check("0\r\n\r\n", "[0].");
    check("1\r\nh\r\n4\r\nello\r\n0\r\n\r\n", "[1]h[4]ello[0].");
    check("00A\r\n0123456789\r\n0\r\n\r\n", "[10]0123456789[0].");
    check("2\r\n\r\n\r\n0\r\n\r\n", "[2]\r\n[0]."); /* data that looks like framing */
    check("5;chunk-signature=" SIG1 "\r\nhello\r\n0;chunk-signature=" SIG2 "\r\n\r\n",
          "[5 " SIG1 "]hello[0 " SIG2 "].");
    check("5;other=1\r\nhello\r\n0\r\n\r\n", "[5]hello[0].");
    /* A signature is of its own chunk. */
    check("5;chunk-signature=" SIG1 "\r\nhello\r\n0\r\n\r\n", "[5 " SIG1 "]hello[0].");
}

static void trailers_are_lines_and_empty_ones_mean_nothing(void **state)
{
    (void)state;
    /* The AWS SDKs, minio-go's unsigned and signed form, several. */
    check("5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n",
          "[5]hello[0]{x-amz-checksum-crc32=NhCmhg==}.");
    check("0\r\nx-amz-checksum-crc32:NhCmhg==\n\r\n\r\n", "[0]{x-amz-checksum-crc32=NhCmhg==}.");
    check("0\r\na:b\n\r\nx-amz-trailer-signature:" SIG1 "\r\n\r\n",
          "[0]{a=b}{x-amz-trailer-signature=" SIG1 "}.");
    check("0\r\nA: \tb c\t \r\nd:\r\n\r\n", "[0]{A=b c}{d=}.");
}

static void what_is_not_complete_is_not_taken_for_it(void **state)
{
    static const char whole[] =
        "3;chunk-signature=" SIG1 "\r\nabc\r\n0;chunk-signature=" SIG2 "\r\na:b\r\n";
    size_t last = strstr(whole, "a:b") - whole;

    (void)state;
    for (size_t len = 0; len < sizeof(whole) - 1; len++) {
        struct aws_chunked k = {0};
        struct buf out = {0};

        feed(&k, slice_of(whole, len), &out);
        assert_true(out.len == 0 || out.ptr[out.len - 1] != '!');
        assert_int_equal(aws_chunked_ended(&k), len == last);
        buf_finish(&out);
    }
}

static void anything_else_is_refused(void **state)
{
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"\r\n", "!"},
        {"x\r\n", "!"},
        {" 5\r\nhello", "!"},
        {"5 \r\nhello", "!"},
        {"+5\r\nhello", "!"},
        {"0x5\r\nhello", "!"},
        {";a\r\n", "!"},
        {"5\nhello", "!"},
        {"5\r\r\nhello", "!"},
        {"5\r\nhello0\r\n", "[5]hello!"},
        {"5\r\nhello\n0\r\n", "[5]hello!"},
        {"5\r\nhello\r\r\n0\r\n", "[5]hello!"},
        {"5\r\nhello\r\n\r\n", "[5]hello!"},
        {"1000000000000000\r\n", "!"}, /* 2^60 */
        {"5;chunk-signature=\r\nhello", "!"},
        {"5;chunk-signature=" SIG1 "0\r\nhello", "!"},
        {"5;chunk-signature=x" SIG1 "\r\nhello", "!"},
        {"5;a\nb\r\nhello", "!"},
        {"0\r\nnocolon\r\n", "[0]!"},
        {"0\r\n:x\r\n", "[0]!"},
        {"0\r\na:b\rc\r\n", "[0]!"},
        {"0\r\na:\x01\r\n", "[0]!"},
        {"0\r\n\r\r\n", "[0]!"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        check(cases[i].text, cases[i].want);
    }
}

static void repeat(struct buf *b, char c, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(buf_append(b, &c, 1), 0);
    }
}

/* Head, n times c, tail: does it still go through? */
static bool passes(const char *head, size_t n, const char *tail)
{
    struct aws_chunked k = {0};
    struct buf in = {0}, out = {0};
    bool good;

    assert_int_equal(buf_append_str(&in, head), 0);
    repeat(&in, 'a', n);
    assert_int_equal(buf_append_str(&in, tail), 0);
    feed(&k, buf_slice(&in), &out);
    good = out.ptr[out.len - 1] != '!' && aws_chunked_ended(&k);
    buf_finish(&in);
    buf_finish(&out);
    return good;
}

static void everything_has_its_limit(void **state)
{
    struct aws_chunked k = {0};
    struct buf in = {0}, out = {0};

    (void)state;
    assert_true(passes("0;", AWS_CHUNK_EXT_MAX, "\r\n"));
    assert_false(passes("0;", AWS_CHUNK_EXT_MAX + 1, "\r\n"));
    assert_true(passes("0\r\nx:", AWS_TRAILER_LINE_MAX - 3, "\r\n"));
    assert_false(passes("0\r\nx:", AWS_TRAILER_LINE_MAX - 2, "\r\n"));
    assert_int_equal(buf_append_str(&in, "0\r\n"), 0);
    repeat(&in, '\n', AWS_TRAILERS_MAX);
    feed(&k, buf_slice(&in), &out);
    assert_true(aws_chunked_ended(&k));
    feed(&k, SLICE_LIT("\n"), &out);
    assert_int_equal(out.ptr[out.len - 1], '!');
    buf_finish(&in);
    buf_finish(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_form_is_taken_apart_at_every_split),
        cmocka_unit_test(trailers_are_lines_and_empty_ones_mean_nothing),
        cmocka_unit_test(what_is_not_complete_is_not_taken_for_it),
        cmocka_unit_test(anything_else_is_refused),
        cmocka_unit_test(everything_has_its_limit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

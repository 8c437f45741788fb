/* Headers: metadata, system headers, entity tags, conditions, ranges. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "s3/s3_headers.h"

static struct arena arena;

static int teardown(void **state)
{
    (void)state;
    arena_finish(&arena);
    return 0;
}

#define assert_slice(s, text) assert_true(slice_eq((s), SLICE_LIT(text)))
#define H(n, v)                                                                                    \
    {                                                                                              \
        SLICE_LIT(n), SLICE_LIT(v)                                                                 \
    }
#define REQUEST(h)                                                                                 \
    {                                                                                              \
        .headers = (h), .n_headers = sizeof(h) / sizeof((h)[0]), .arena = &arena                   \
    }

static void headers_are_found_without_regard_to_case(void **state)
{
    const struct http_header h[] = {
        H("HOST", "localhost"),         H("Content-md5", "x"),  H("range", "bytes=0-"),
        H("X-Amz-Copy-Source", "/b/k"), H("Range", "second"),   H("unknown", "y"),
        H("x-amz-meta-a", "1"),         H("X-Amz-Meta-b", "2"), H("x-amz-meta-", "nameless"),
        H("content-typex", "no"),
    };
    const struct http_request req = REQUEST(h);
    struct s3_head head;

    (void)state;
    s3_head_parse(&req, &head);
    assert_slice(head.host, "localhost");
    assert_int_equal(head.n_host, 1);
    assert_slice(head.content_md5, "x");
    assert_slice(head.range, "bytes=0-");
    assert_slice(head.copy_source, "/b/k");
    assert_null(head.content_type.ptr);
    assert_null(head.origin.ptr);
    assert_int_equal(head.n_meta, 2);
}

static void an_empty_header_is_there(void **state)
{
    const struct http_header h[] = {{SLICE_LIT("Origin"), {NULL, 0}}};
    const struct http_request req = REQUEST(h);
    struct s3_head head;

    (void)state;
    s3_head_parse(&req, &head);
    assert_non_null(head.origin.ptr);
}

static void metadata_round_trips_byte_for_byte_in_canonical_spelling(void **state)
{
    const struct http_header h[] = {
        H("x-amz-meta-md5", "AbC=="),
        H("X-AMZ-META-format", "raw2"),
        H("x-amz-meta-000", "a  \"b\"'\\<>|`%20 \xc3\xa4"),
        H("Content-Length", "3"),
        H("x-amz-meta-s3cmd-attrs", ""),
        H("x-amz-meta-under_score.x", "1"),
    };
    const struct http_request req = REQUEST(h);
    struct s3_head head;
    struct attrs meta;

    (void)state;
    s3_head_parse(&req, &head);
    assert_int_equal(s3_meta_from_headers(&req, &head, &meta), 0);
    assert_int_equal(meta.n, 5);
    assert_slice(meta.v[0].name, "X-Amz-Meta-Md5");
    assert_slice(meta.v[0].value, "AbC==");
    assert_slice(meta.v[1].name, "X-Amz-Meta-Format");
    assert_slice(meta.v[2].name, "X-Amz-Meta-000");
    assert_slice(meta.v[2].value, "a  \"b\"'\\<>|`%20 \xc3\xa4");
    assert_slice(meta.v[3].name, "X-Amz-Meta-S3cmd-Attrs");
    assert_slice(meta.v[3].value, "");
    assert_slice(meta.v[4].name, "X-Amz-Meta-Under_score.x");
}

static void names_are_spelled_as_go_does(void **state)
{
    (void)state;
    assert_slice(s3_canonical_name(SLICE_LIT("x-AMZ-meta-a-b--c"), &arena), "X-Amz-Meta-A-B--C");
    assert_slice(s3_canonical_name(SLICE_LIT("a b-c"), &arena), "a b-c");
    assert_slice(s3_canonical_name(SLICE_LIT("a-b\xff"), &arena), "a-b\xff");
}

static void metadata_of_one_name_is_joined(void **state)
{
    const struct http_header h[] = {H("x-amz-meta-a", "1"), H("x-amz-meta-b", "2"),
                                    H("X-Amz-Meta-A", "3")};
    const struct http_request req = REQUEST(h);
    struct s3_head head;
    struct attrs meta;

    (void)state;
    s3_head_parse(&req, &head);
    assert_int_equal(s3_meta_from_headers(&req, &head, &meta), 0);
    assert_int_equal(meta.n, 2);
    assert_slice(meta.v[0].value, "1,3");
}

static void too_much_metadata_is_refused(void **state)
{
    static uint8_t value[S3_META_MAX_BYTES];
    struct http_header h[] = {{SLICE_LIT("x-amz-meta-a"), {value, S3_META_MAX_BYTES - 1}}};
    const struct http_request req = REQUEST(h);
    struct s3_head head;
    struct attrs meta = {0};

    (void)state;
    s3_head_parse(&req, &head);
    assert_int_equal(s3_meta_from_headers(&req, &head, &meta), 0);
    assert_int_equal(meta.v[0].value.len, S3_META_MAX_BYTES - 1);
    h[0].value.len++;
    assert_int_equal(s3_meta_from_headers(&req, &head, &meta), ZERR_TOO_LARGE);
}

static void system_headers_are_kept_without_aws_chunked(void **state)
{
    static const struct {
        const char *in, *out; /* out NULL: not kept */
    } encodings[] = {
        {"gzip", "gzip"},
        {"aws-chunked", NULL},
        {"aws-chunked,gzip", "gzip"},
        {"gzip , AWS-Chunked , br", "gzip,br"},
        {"", NULL},
        {"a , b", "a , b"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(encodings) / sizeof(encodings[0]); i++) {
        const struct http_header h[] = {
            H("content-type", "text/plain; x=1"),
            {SLICE_LIT("Content-Encoding"), slice_str(encodings[i].in)},
            H("cache-control", "no-cache"),
            H("Expires", "whenever"),
            H("content-disposition", "inline"),
            H("Content-Language", "de"),
        };
        const struct http_request req = REQUEST(h);
        struct s3_head head;
        struct attrs sys;
        bool found = false;
        s3_head_parse(&req, &head);
        assert_int_equal(s3_sys_from_headers(&req, &head, &sys), 0);
        assert_int_equal(sys.n, encodings[i].out != NULL ? 6 : 5);
        assert_slice(sys.v[0].name, "Content-Type");
        assert_slice(sys.v[0].value, "text/plain; x=1");
        for (size_t k = 0; k < sys.n; k++) {
            assert_true(s3_is_sys_name(sys.v[k].name));
            if (slice_eq_str(sys.v[k].name, "Content-Encoding")) {
                found = slice_eq_str(sys.v[k].value, encodings[i].out);
            }
        }
        assert_int_equal(found, encodings[i].out != NULL);
    }
}

static void attributes_from_disk_cannot_forge_other_headers(void **state)
{
    (void)state;
    assert_true(s3_is_meta_name(SLICE_LIT("x-amz-meta-k")));
    assert_false(s3_is_meta_name(SLICE_LIT("Content-Length")));
    assert_false(s3_is_meta_name(SLICE_LIT("X-Amz-Meta-")));
    assert_false(s3_is_sys_name(SLICE_LIT("Set-Cookie")));
}

static const struct object OBJECT = {
    .has_md5 = true,
    .md5 = {0xd4, 0x1d, 0x8c, 0xd9, 0x8f, 0x00, 0xb2, 0x04, 0xe9, 0x80, 0x09, 0x98, 0xec, 0xf8,
            0x42, 0x7e},
    .mtime_ms = 784111777500, /* Sun, 06 Nov 1994 08:49:37.5 GMT */
};
#define ETAG "d41d8cd98f00b204e9800998ecf8427e"

static void entity_tags_are_quoted_lower_case_md5(void **state)
{
    char etag[S3_ETAG_MAX];

    (void)state;
    assert_true(slice_eq_str(s3_etag(OBJECT.md5, 0, etag), "\"" ETAG "\""));
    assert_true(slice_eq_str(s3_etag(OBJECT.md5, 10000, etag), "\"" ETAG "-10000\""));
}

static void an_entity_tag_of_parts_is_no_other(void **state)
{
    struct object parts = OBJECT;

    (void)state;
    parts.parts = 3;
    assert_true(s3_etag_listed(SLICE_LIT("\"" ETAG "-3\""), &parts));
    assert_false(s3_etag_listed(SLICE_LIT("\"" ETAG "-2\""), &parts));
    assert_false(s3_etag_listed(SLICE_LIT("\"" ETAG "-\""), &parts));
    assert_false(s3_etag_listed(SLICE_LIT("\"" ETAG "-0\""), &parts));
    assert_false(s3_etag_listed(SLICE_LIT("\"" ETAG "\""), &parts));
    assert_false(s3_etag_listed(SLICE_LIT("\"" ETAG "-3\""), &OBJECT));
}

static void entity_tags_are_compared_in_all_spellings(void **state)
{
    (void)state;
    assert_true(s3_etag_listed(SLICE_LIT("\"" ETAG "\""), &OBJECT));
    assert_true(s3_etag_listed(SLICE_LIT(ETAG), &OBJECT));
    assert_true(s3_etag_listed(SLICE_LIT("\"D41D8CD98F00B204E9800998ECF8427E\""), &OBJECT));
    assert_true(s3_etag_listed(SLICE_LIT("\"x\" , W/\"" ETAG "\""), &OBJECT));
    assert_true(s3_etag_listed(SLICE_LIT("*"), &OBJECT));
    assert_false(s3_etag_listed(SLICE_LIT("\"\", \"abc\""), &OBJECT));
    assert_false(s3_etag_listed(SLICE_LIT(""), &OBJECT));
}

static void conditions_are_judged_in_http_order(void **state)
{
    static const char SAME[] = "Sun, 06 Nov 1994 08:49:37 GMT",
                      EARLIER[] = "Sun, 06 Nov 1994 08:49:36 GMT";
    const struct slice none = {NULL, 0}, tag = SLICE_LIT("\"" ETAG "\""),
                       other = SLICE_LIT("\"x\"");
    const struct slice same = slice_str(SAME), earlier = slice_str(EARLIER);
    const struct {
        struct s3_conditions cond;
        enum s3_verdict verdict;
    } cases[] = {
        {{none, none, none, none}, S3_GO_ON},
        {{tag, none, none, none}, S3_GO_ON},
        {{other, none, none, none}, S3_FAILS},
        {{none, tag, none, none}, S3_UNCHANGED},
        {{none, other, none, none}, S3_GO_ON},
        {{none, none, same, none}, S3_UNCHANGED},
        {{none, none, earlier, none}, S3_GO_ON},
        {{none, none, none, same}, S3_GO_ON},
        {{none, none, none, earlier}, S3_FAILS},
        {{tag, none, none, earlier}, S3_GO_ON}, /* If-Match wins */
        {{none, other, same, none}, S3_GO_ON},  /* If-None-Match wins */
        {{none, none, SLICE_LIT("nonsense"), SLICE_LIT("nonsense")}, S3_GO_ON},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(s3_judge(&cases[i].cond, &OBJECT), cases[i].verdict);
    }
}

static void conditions_of_changes_are_taken_or_refused_never_ignored(void **state)
{
    struct s3_head head = {0};
    struct condition c;

    (void)state;
    assert_int_equal(s3_change_condition(&head, &c), 0);
    assert_false(c.if_absent || c.if_match || c.if_match_any);
    head.if_none_match = SLICE_LIT("*");
    assert_int_equal(s3_change_condition(&head, &c), 0);
    assert_true(c.if_absent);
    head.if_none_match = SLICE_LIT("\"" ETAG "\"");
    assert_int_equal(s3_change_condition(&head, &c), ZERR_UNSUPPORTED);
    head = (struct s3_head){.if_match = SLICE_LIT("\"" ETAG "\"")};
    assert_int_equal(s3_change_condition(&head, &c), 0);
    assert_true(c.if_match);
    assert_memory_equal(c.md5, OBJECT.md5, 16);
    head.if_match = SLICE_LIT("*");
    assert_int_equal(s3_change_condition(&head, &c), 0);
    assert_true(c.if_match_any);
    head.if_match = SLICE_LIT("\"abc-2\"");
    assert_int_equal(s3_change_condition(&head, &c), 0);
    assert_true(c.if_match && c.parts > PART_MAX); /* what no object has */
    head.if_none_match = SLICE_LIT("*");
    assert_int_equal(s3_change_condition(&head, &c), ZERR_UNSUPPORTED);
}

static void single_ranges_are_resolved_against_the_size(void **state)
{
    static const struct {
        const char *header;
        uint64_t size;
        int err;
        uint64_t off, len;
    } cases[] = {
        {"bytes=0-0", 10, 0, 0, 1},
        {"bytes=2-5", 10, 0, 2, 4},
        {"bytes=2-", 10, 0, 2, 8},
        {"bytes=-3", 10, 0, 7, 3},
        {"bytes=-30", 10, 0, 0, 10},
        {"bytes=9-99", 10, 0, 9, 1},
        {"bytes=0-18446744073709551615", 10, 0, 0, 10},
        {"BYTES=1-2", 10, 0, 1, 2},
        {"bytes=10-", 10, ZERR_INVALID, 0, 0},
        {"bytes=10-11", 10, ZERR_INVALID, 0, 0},
        {"bytes=18446744073709551615-", 10, ZERR_INVALID, 0, 0},
        {"bytes=-0", 10, ZERR_INVALID, 0, 0},
        {"bytes=0-", 0, ZERR_INVALID, 0, 0},
        {"bytes=-1", 0, ZERR_INVALID, 0, 0},
        {"bytes=0-0", 0, ZERR_INVALID, 0, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct s3_range r = s3_range_parse(slice_str(cases[i].header));
        uint64_t off = 0, len = 0;
        assert_int_not_equal(r.kind, S3_RANGE_NONE);
        assert_int_equal(s3_range_resolve(r, cases[i].size, &off, &len), cases[i].err);
        assert_int_equal(off, cases[i].off);
        assert_int_equal(len, cases[i].len);
    }
}

static void nonsense_and_several_ranges_mean_the_whole_object(void **state)
{
    static const char *const headers[] = {
        "",
        "bytes",
        "bytes=",
        "bytes=-",
        "bytes=a-b",
        "bytes=1",
        "bytes=5-2",
        "bytes=0-1,3-4",
        "bytes=1-2-3",
        "bytes=+1-2",
        "bytes=1- 2",
        "items=0-1",
        "bytes=99999999999999999999-",
        "bytes=0x1-2",
        "bytes=--1",
        "bytes =0-1",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++) {
        uint64_t off, len;
        struct s3_range r = s3_range_parse(slice_str(headers[i]));
        assert_int_equal(r.kind, S3_RANGE_NONE);
        assert_int_equal(s3_range_resolve(r, 7, &off, &len), 0);
        assert_int_equal(off, 0);
        assert_int_equal(len, 7);
    }
    assert_int_equal(s3_range_parse(slice_of(NULL, 0)).kind, S3_RANGE_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(headers_are_found_without_regard_to_case),
        cmocka_unit_test(an_empty_header_is_there),
        cmocka_unit_test(metadata_round_trips_byte_for_byte_in_canonical_spelling),
        cmocka_unit_test(names_are_spelled_as_go_does),
        cmocka_unit_test(metadata_of_one_name_is_joined),
        cmocka_unit_test(too_much_metadata_is_refused),
        cmocka_unit_test(system_headers_are_kept_without_aws_chunked),
        cmocka_unit_test(attributes_from_disk_cannot_forge_other_headers),
        cmocka_unit_test(entity_tags_are_quoted_lower_case_md5),
        cmocka_unit_test(an_entity_tag_of_parts_is_no_other),
        cmocka_unit_test(entity_tags_are_compared_in_all_spellings),
        cmocka_unit_test(conditions_are_judged_in_http_order),
        cmocka_unit_test(conditions_of_changes_are_taken_or_refused_never_ignored),
        cmocka_unit_test(single_ranges_are_resolved_against_the_size),
        cmocka_unit_test(nonsense_and_several_ranges_mean_the_whole_object),
    };

    return cmocka_run_group_tests(tests, NULL, teardown);
}

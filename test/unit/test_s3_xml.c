/* The XML writer's escaping, and the reader of DeleteObjects. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "s3/s3_xml.h"
#include "store/record.h"

static struct arena arena;

static int teardown(void **state)
{
    (void)state;
    arena_finish(&arena);
    return 0;
}

static void assert_text(struct slice in, bool url, const char *expected)
{
    static const char HEAD[] = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<R><K>";
    static const char TAIL[] = "</K></R>";
    struct buf out = {0};
    struct s3_xml w;
    size_t n = strlen(expected);

    s3_xml_begin(&w, &out, "R", NULL);
    s3_xml_key(&w, "K", in, url);
    assert_int_equal(s3_xml_finish(&w, "R"), 0);
    assert_int_equal(out.len, sizeof(HEAD) - 1 + n + sizeof(TAIL) - 1);
    assert_memory_equal(out.ptr, HEAD, sizeof(HEAD) - 1);
    assert_memory_equal(out.ptr + sizeof(HEAD) - 1, expected, n);
    assert_memory_equal(out.ptr + sizeof(HEAD) - 1 + n, TAIL, sizeof(TAIL) - 1);
    buf_finish(&out);
}

static void text_is_always_escaped(void **state)
{
    (void)state;
    assert_text(SLICE_LIT("a<b>&\"'c"), false, "a&lt;b&gt;&amp;&quot;&#39;c");
    assert_text(SLICE_LIT("</K><K>"), false, "&lt;/K&gt;&lt;K&gt;");
    assert_text(SLICE_LIT(""), false, "");
    assert_text(SLICE_LIT("plain / text"), false, "plain / text");
}

static void control_characters_become_references(void **state)
{
    (void)state;
    assert_text(SLICE_LIT("a\x01\t\n\r\x1f\x7f"), false, "a&#x1;&#x9;&#xA;&#xD;&#x1F;&#x7F;");
    assert_text(SLICE_LIT("\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80"), false,
                "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80");
}

static void what_is_not_utf8_never_reaches_the_document(void **state)
{
    (void)state;
    assert_text(SLICE_LIT("a\xff\xfe"), false, "a&#xFFFD;&#xFFFD;");
    assert_text(SLICE_LIT("\xc3"), false, "&#xFFFD;");
    assert_text(SLICE_LIT("\xc0\x80"), false, "&#xFFFD;&#xFFFD;");             /* overlong */
    assert_text(SLICE_LIT("\xe0\x80\x80"), false, "&#xFFFD;&#xFFFD;&#xFFFD;"); /* overlong */
    assert_text(SLICE_LIT("\xed\xa0\x80"), false, "&#xFFFD;&#xFFFD;&#xFFFD;"); /* surrogate */
    assert_text(SLICE_LIT("\xef\xbf\xbf"), false, "&#xFFFD;&#xFFFD;&#xFFFD;"); /* U+FFFF */
    assert_text(SLICE_LIT("\xf4\x90\x80\x80x"), false, "&#xFFFD;&#xFFFD;&#xFFFD;&#xFFFD;x");
}

static void url_form_encodes_all_but_unreserved_and_slash(void **state)
{
    (void)state;
    assert_text(SLICE_LIT("a b+c/d%\x01\xff~-._"), true, "a%20b%2Bc/d%25%01%FF~-._");
}

static void numbers_booleans_and_namespaces_are_written(void **state)
{
    static const char EXPECTED[] = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
                                   "<R xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"
                                   "<A><N>18446744073709551615</N><T>true</T><F>false</F></A></R>";
    struct buf out = {0};
    struct s3_xml w;

    (void)state;
    s3_xml_begin(&w, &out, "R", S3_XMLNS);
    s3_xml_open(&w, "A");
    s3_xml_u64(&w, "N", UINT64_MAX);
    s3_xml_bool(&w, "T", true);
    s3_xml_bool(&w, "F", false);
    s3_xml_close(&w, "A");
    assert_int_equal(s3_xml_finish(&w, "R"), 0);
    assert_int_equal(out.len, sizeof(EXPECTED) - 1);
    assert_memory_equal(out.ptr, EXPECTED, out.len);
    buf_finish(&out);
}

static int parse(const char *text, struct s3_delete_list *ret)
{
    return s3_xml_parse_delete(slice_str(text), &arena, ret);
}

static void delete_lists_are_read_with_and_without_a_namespace(void **state)
{
    static const char *const docs[] = {
        "<Delete><Object><Key>a</Key></Object><Object><Key>b&amp;&#xe4;</Key></Object></Delete>",
        "<?xml version=\"1.0\"?>\n<Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\n"
        " <Object>\n  <Key>a</Key>\n </Object>\n <Object><VersionId>null</VersionId>"
        "<Key>b&amp;\xc3\xa4</Key></Object>\n <Quiet>false</Quiet></Delete>",
        "<s:Delete xmlns:s=\"http://s3.amazonaws.com/doc/2006-03-01/\"><s:Object><s:Key>a</s:Key>"
        "<s:Later>x<s:Deep/></s:Later></s:Object><s:Object><s:Key><![CDATA[b&]]>\xc3\xa4</s:Key>"
        "</s:Object></s:Delete>",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(docs) / sizeof(docs[0]); i++) {
        struct s3_delete_list list;
        assert_int_equal(parse(docs[i], &list), 0);
        assert_int_equal(list.n, 2);
        assert_true(slice_eq_str(list.keys[0].key, "a"));
        assert_true(slice_eq_str(list.keys[1].key, "b&\xc3\xa4"));
        assert_false(list.keys[1].other_version);
        assert_false(list.quiet);
    }
}

static void quiet_and_versions_are_noticed(void **state)
{
    struct s3_delete_list list;

    (void)state;
    assert_int_equal(parse("<Delete><Quiet>true</Quiet><Object><Key>a</Key><VersionId>7</VersionId>"
                           "</Object></Delete>",
                           &list),
                     0);
    assert_true(list.quiet);
    assert_true(list.keys[0].other_version);
}

static void what_is_not_a_delete_list_is_refused(void **state)
{
    static const char *const docs[] = {
        "",
        "garbage",
        "<Delete>",
        "<Delete></Delete>",
        "<Delete/>",
        "<Other><Object><Key>a</Key></Object></Other>",
        "<Delete><Object></Object></Delete>",
        "<Delete><Object><Key>a</Key><Key>b</Key></Object></Delete>",
        "<Delete><Object><Key>a<b/></Key></Object></Delete>",
        "<Delete><Object><Key>a</Key></Object></Delete><x/>",
        "<Delete><Object><Key>&unknown;</Key></Object></Delete>",
        "<Delete><Object><Key>\xff</Key></Object></Delete>",
        "<!DOCTYPE Delete><Delete><Object><Key>a</Key></Object></Delete>",
        "<!DOCTYPE d [<!ENTITY e \"x\">]><Delete><Object><Key>&e;</Key></Object></Delete>",
        "<!DOCTYPE d SYSTEM \"file:///etc/passwd\"><Delete><Object><Key>a</Key></Object></Delete>",
    };
    struct s3_delete_list list = {0};

    (void)state;
    for (size_t i = 0; i < sizeof(docs) / sizeof(docs[0]); i++) {
        assert_int_equal(parse(docs[i], &list), ZERR_INVALID);
    }
    assert_null(list.keys);
}

static void conditions_are_not_passed_over(void **state)
{
    struct s3_delete_list list;

    (void)state;
    assert_int_equal(parse("<Delete><Object><Key>a</Key><ETag>x</ETag></Object></Delete>", &list),
                     ZERR_UNSUPPORTED);
}

static void too_deep_a_document_is_refused(void **state)
{
    struct s3_delete_list list;
    struct buf b = {0};

    (void)state;
    for (unsigned depth = S3_XML_MAX_DEPTH - 1; depth <= S3_XML_MAX_DEPTH; depth++) {
        int expected = depth < S3_XML_MAX_DEPTH ? 0 : ZERR_INVALID;
        buf_reset(&b);
        assert_int_equal(buf_append_str(&b, "<Delete>"), 0);
        for (unsigned i = 0; i < depth; i++) {
            assert_int_equal(buf_append_str(&b, "<x>"), 0);
        }
        for (unsigned i = 0; i < depth; i++) {
            assert_int_equal(buf_append_str(&b, "</x>"), 0);
        }
        assert_int_equal(buf_append_str(&b, "<Object><Key>a</Key></Object></Delete>"), 0);
        assert_int_equal(s3_xml_parse_delete(buf_slice(&b), &arena, &list), expected);
    }
    buf_finish(&b);
}

static void a_thousand_keys_are_read_and_no_more(void **state)
{
    struct s3_delete_list list;
    struct buf b = {0};

    (void)state;
    for (unsigned n = S3_DELETE_MAX_KEYS; n <= S3_DELETE_MAX_KEYS + 1; n++) {
        buf_reset(&b);
        assert_int_equal(buf_append_str(&b, "<Delete>"), 0);
        for (unsigned i = 0; i < n; i++) {
            assert_int_equal(buf_printf(&b, "<Object><Key>key%u</Key></Object>", i), 0);
        }
        assert_int_equal(buf_append_str(&b, "</Delete>"), 0);
        if (n == S3_DELETE_MAX_KEYS) {
            assert_int_equal(s3_xml_parse_delete(buf_slice(&b), &arena, &list), 0);
            assert_int_equal(list.n, n);
            assert_true(slice_eq_str(list.keys[999].key, "key999"));
        } else {
            assert_int_equal(s3_xml_parse_delete(buf_slice(&b), &arena, &list), ZERR_INVALID);
        }
    }
    buf_finish(&b);
}

static void long_keys_are_cut_behind_the_limit(void **state)
{
    struct s3_delete_list list;
    struct buf b = {0};

    (void)state;
    assert_int_equal(buf_append_str(&b, "<Delete><Object><Key>"), 0);
    for (unsigned i = 0; i < 50000; i++) {
        assert_int_equal(buf_append_str(&b, "x"), 0);
    }
    assert_int_equal(buf_append_str(&b, "</Key></Object></Delete>"), 0);
    assert_int_equal(s3_xml_parse_delete(buf_slice(&b), &arena, &list), 0);
    assert_int_equal(list.keys[0].key.len, KEY_MAX_BYTES + 1);
    buf_finish(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_is_always_escaped),
        cmocka_unit_test(control_characters_become_references),
        cmocka_unit_test(what_is_not_utf8_never_reaches_the_document),
        cmocka_unit_test(url_form_encodes_all_but_unreserved_and_slash),
        cmocka_unit_test(numbers_booleans_and_namespaces_are_written),
        cmocka_unit_test(delete_lists_are_read_with_and_without_a_namespace),
        cmocka_unit_test(quiet_and_versions_are_noticed),
        cmocka_unit_test(what_is_not_a_delete_list_is_refused),
        cmocka_unit_test(conditions_are_not_passed_over),
        cmocka_unit_test(too_deep_a_document_is_refused),
        cmocka_unit_test(a_thousand_keys_are_read_and_no_more),
        cmocka_unit_test(long_keys_are_cut_behind_the_limit),
    };

    return cmocka_run_group_tests(tests, NULL, teardown);
}

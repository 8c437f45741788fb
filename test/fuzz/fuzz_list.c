/* Any query to ListObjects, both versions, over a small store.
 *
 * The answer is a well-formed document; the keys and prefixes of a page are in order, no more than
 * asked for, each only once.
 *
 * Input: what follows "/bucket?". */
#include "support/s3_toy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define KEYS_MAX 1000 /* of a page */

static void finish_store(void)
{
    (void)teardown(NULL);
}

static void start_store(void)
{
    static const char *const keys[] = {
        "a",      "a%2F",  "a/1",     "a/2",  "a/b/c",       "b%20%26",      "b%2525",
        "c%0A",   "dir/1", "dir/2/x", "dir2", "e%01",        "%C3%A4",       "%C3%A4/%C3%B6",
        "%FF%FE", "z",     "z/z/z/z", "+",    "s3ql_data_1", "s3ql_data_10", "s3ql_data_2"};
    char target[64];

    (void)setup(NULL);
    (void)atexit(finish_store);
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        (void)snprintf(target, sizeof(target), "/bucket/%s", keys[i]);
        put_text(target, "x");
    }
}

/* ---- the answer ---- */

struct page {
    bool in_key, in_common, in_prefix, too_long;
    unsigned n;
    struct buf text, last_key, last_prefix;
};

static void on_start(void *user, const XML_Char *name, const XML_Char **attrs)
{
    struct page *p = user;
    (void)attrs;
    buf_reset(&p->text);
    p->in_key = strcmp(name, "Key") == 0;
    p->in_common |= strcmp(name, "CommonPrefixes") == 0;
    p->in_prefix = p->in_common && strcmp(name, "Prefix") == 0;
}

static void on_text(void *user, const XML_Char *s, int n)
{
    struct page *p = user;
    assert_int_equal(buf_append(&p->text, s, (size_t)n), 0);
}

/* A value that ends must be above the last one of its kind. (What was URL-encoded keeps no order,
 * so that only what differs is asked for.) */
static void take_value(struct page *p, struct buf *last)
{
    p->n++;
    assert_false(last->ptr != NULL && slice_eq(buf_slice(last), buf_slice(&p->text)));
    buf_reset(last);
    assert_int_equal(buf_append(last, p->text.ptr, p->text.len), 0);
    assert_int_equal(buf_reserve(last, 1), 0);
}

static void on_end(void *user, const XML_Char *name)
{
    struct page *p = user;
    if (p->in_key) {
        take_value(p, &p->last_key);
    } else if (p->in_prefix) {
        take_value(p, &p->last_prefix);
    }
    p->in_key = p->in_prefix = false;
    if (strcmp(name, "CommonPrefixes") == 0) {
        p->in_common = false;
    }
}

/* Keys with a control character are references that XML 1.0 does not know, as S3 writes them. */
static bool has_control_reference(const struct toy *t)
{
    return body_has(t, "&#x");
}

static void check_page(const struct toy *t)
{
    struct page page = {0};
    XML_Parser p = XML_ParserCreate(NULL);

    assert_non_null(p);
    XML_SetUserData(p, &page);
    XML_SetElementHandler(p, on_start, on_end);
    XML_SetCharacterDataHandler(p, on_text);
    if (XML_Parse(p, (const char *)t->got.ptr, (int)t->got.len, 1) != XML_STATUS_OK) {
        assert_true(has_control_reference(t));
    }
    assert_true(page.n <= KEYS_MAX);
    XML_ParserFree(p);
    buf_finish(&page.text);
    buf_finish(&page.last_key);
    buf_finish(&page.last_prefix);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool started;
    static const char start[] = "/bucket?";
    struct toy t = {0};
    uint8_t *target = malloc(sizeof(start) + size);

    if (target == NULL) {
        return 0;
    }
    if (!started) {
        started = true;
        start_store();
    }
    memcpy(target, start, sizeof(start) - 1);
    memcpy(target + sizeof(start) - 1, data, size);
    toy_init(&t, HTTP_METHOD_GET, "");
    t.req.target = slice_of(target, sizeof(start) - 1 + size);
    begin(&t);
    finish(&t);
    assert_int_not_equal(t.status, 500);
    if (t.status == 200 &&
        (body_has(&t, "<ListBucketResult") || body_has(&t, "<ListVersionsResult"))) {
        check_page(&t);
    }
    toy_clear(&t);
    free(target);
    return 0;
}

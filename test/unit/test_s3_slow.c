/* Answers that begin before they are known, because what they are about takes long. */
#include <time.h>

#include "support/s3_toy.h"

#include "s3/s3_exchange.h"

static void made(void *user, int status)
{
    *(int *)user = status;
}

static void make_bucket(const char *name)
{
    int status = ZKV_PENDING;

    assert_int_equal(store_set_create(stores, slice_str(name), made, &status), 0);
    workers_inline_drain(&workers);
    assert_int_equal(status, 0);
}

/* With a server for which everything takes long, and time that passes between two steps. Spaces go out
 * before more is done, if the client takes them. */
static void request_slowly(struct toy *t, const char *target, const char *source, bool takes)
{
    const struct timespec pause = {.tv_nsec = 2000000};

    toy_init(t, HTTP_METHOD_PUT, target);
    add_header(t, "x-amz-copy-source", source);
    begin(t);
    do {
        assert_int_equal(nanosleep(&pause, NULL), 0);
        if (takes && t->n_sends > 0 && !t->cut) {
            finish_send(t);
        }
    } while (step(t));
    if (!t->cut) {
        finish(t);
    }
}

/* The declaration, spaces, and behind them `begins`. Returns how many spaces. */
static size_t spaces_before(const struct toy *t, const char *begins)
{
    size_t at = strlen(S3_XML_DECLARATION), n;

    assert_true(slice_has_prefix(buf_slice(&t->got), SLICE_LIT(S3_XML_DECLARATION)));
    n = strspn((const char *)t->got.ptr + at, " ");
    if (strncmp((const char *)t->got.ptr + at + n, begins, strlen(begins)) != 0) {
        fail_msg("no \"%s\" behind the spaces in:\n%.300s", begins, (const char *)t->got.ptr);
    }
    return n;
}

static void be_slow(void)
{
    close_store();
    slow_ms = 1;
    open_store(0);
    slow_ms = 0;
}

static void a_long_copy_between_buckets_says_that_it_goes_on(void **state)
{
    struct toy t = {0};
    struct slice body = pattern(3000000);
    size_t n;

    (void)state;
    be_slow();
    make_bucket("source");
    put_bytes("/source/k", body);
    for (int takes = 0; takes < 2; takes++) {
        request_slowly(&t, "/bucket/k", "/source/k", takes);
        assert_int_equal(t.status, 200);
        assert_int_equal(t.length, S3_SLOW_BYTES);
        assert_well_formed(&t);
        n = spaces_before(&t, "<CopyObjectResult xmlns=");
        assert_in_range(n, takes ? 3 : 1, takes ? 100 : 1); /* no more than one waits */
        assert_body_has(&t, "<ETag>&quot;");
        assert_int_equal(request(&t, HTTP_METHOD_GET, "/bucket/k", NULL, NULL), 200);
        assert_true(slice_eq(buf_slice(&t.got), body));
        assert_int_equal(request(&t, HTTP_METHOD_DELETE, "/bucket/k", NULL, NULL), 204);
    }
    free((void *)body.ptr);
    toy_clear(&t);
}

static void flip_byte(const char *bucket, long at)
{
    char path[120];
    FILE *f;

    (void)snprintf(path, sizeof(path), "%s/buckets/%s/open0000000000", dir, bucket);
    f = fopen(path, "r+");
    assert_non_null(f);
    assert_int_equal(fseek(f, at, SEEK_SET), 0);
    int c = fgetc(f);
    assert_int_equal(fseek(f, at, SEEK_SET), 0);
    assert_int_not_equal(fputc(c ^ 1, f), EOF);
    assert_int_equal(fclose(f), 0);
}

/* Also where the error is as long as it can be. */
static void a_failure_in_the_middle_is_the_rest_of_the_answer(void **state)
{
    struct toy t = {0};
    struct slice body = pattern(3000000);
    char target[40 + KEY_MAX_BYTES];
    size_t n = (size_t)snprintf(target, sizeof(target), "/bucket/");

    (void)state;
    memset(target + n, '&', KEY_MAX_BYTES);
    target[n + KEY_MAX_BYTES] = '\0';
    be_slow();
    make_bucket("source");
    put_bytes("/source/k", body);
    flip_byte("source", 2000000);
    request_slowly(&t, target, "/source/k", true);
    assert_int_equal(t.status, 200);
    assert_int_equal(t.length, S3_SLOW_BYTES);
    assert_well_formed(&t);
    (void)spaces_before(&t, "<Error><Code>NoSuchKey</Code>");
    assert_body_has(&t, "&amp;</Resource>");
    assert_int_equal(request(&t, HTTP_METHOD_HEAD, target, NULL, NULL), 404);
    free((void *)body.ptr);
    toy_clear(&t);
}

/* Nothing but spaces for half a day: then nothing more is said, so that the rest has its room. */
static void there_is_always_room_for_the_end(void **state)
{
    struct toy t = {0};
    struct slice body = pattern(2000000);
    struct s3_exchange *x = NULL;

    (void)state;
    be_slow();
    make_bucket("source");
    put_bytes("/source/k", body);
    toy_init(&t, HTTP_METHOD_PUT, "/bucket/k");
    add_header(&t, "x-amz-copy-source", "/source/k");
    begin(&t);
    x = t.stream.exchange;
    for (unsigned i = 0; i < 2 * S3_SLOW_BYTES; i++) {
        if (x->slow.since_ms > 0) {
            x->slow.since_ms = 1;
            s3_still_here(x);
        } else {
            assert_true(step(&t));
        }
        if (t.n_sends > 0) {
            finish_send(&t);
        }
    }
    assert_int_equal(x->slow.left, S3_SLOW_LAST);
    finish(&t);
    assert_int_equal(t.status, 200);
    assert_well_formed(&t);
    assert_int_equal(spaces_before(&t, "<CopyObjectResult xmlns="),
                     S3_SLOW_BYTES - S3_SLOW_LAST - strlen(S3_XML_DECLARATION));
    free((void *)body.ptr);
    toy_clear(&t);
}

static void a_long_copy_of_a_part_says_that_it_goes_on(void **state)
{
    struct toy t = {0};
    char target[120], id[17] = "";
    struct slice body = pattern(70 << 20);

    (void)state;
    be_slow();
    put_bytes("/bucket/k", body);
    assert_int_equal(request(&t, HTTP_METHOD_POST, "/bucket/whole?uploads", NULL, NULL), 200);
    memcpy(id, strstr((const char *)t.got.ptr, "<UploadId>") + 10, 16);
    (void)snprintf(target, sizeof(target), "/bucket/whole?partNumber=1&uploadId=%s", id);
    request_slowly(&t, target, "/bucket/k", true);
    assert_int_equal(t.status, 200);
    assert_well_formed(&t);
    (void)spaces_before(&t, "<CopyPartResult xmlns=");

    /* Its client leaves: the part comes all the same. */
    toy_init(&t, HTTP_METHOD_PUT, target);
    add_header(&t, "x-amz-copy-source", "/bucket/k");
    begin(&t);
    assert_true(step(&t));
    drop_connection(&t);
    workers_inline_drain(&workers);
    free((void *)body.ptr);
    toy_clear(&t);
}

static void what_is_quick_has_its_own_status(void **state)
{
    struct toy t = {0};
    struct slice body = pattern(3000000);

    (void)state;
    make_bucket("source");
    put_bytes("/source/k", body);
    flip_byte("source", 2000000);
    request_slowly(&t, "/bucket/k", "/source/k", true);
    assert_error(&t, 404, "NoSuchKey");
    free((void *)body.ptr);
    toy_clear(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_long_copy_between_buckets_says_that_it_goes_on),
        T(a_failure_in_the_middle_is_the_rest_of_the_answer),
        T(there_is_always_room_for_the_end),
        T(a_long_copy_of_a_part_says_that_it_goes_on),
        T(what_is_quick_has_its_own_status),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

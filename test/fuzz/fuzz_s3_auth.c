/* Requests of every kind to the one function that lets them in: it lets none in, since the input does
 * not have the secret, and each refusal is one that can be told. The same bytes as a credentials file,
 * which is taken apart without a fault; and what it knows is found again.
 *
 * Input: lines. The first is the method's number and the target; the others are "name:value". */
#include <stdlib.h>
#include <unistd.h>

#include "s3/s3_auth.h"
#include "s3/s3_keys.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool ok)
{
    if (!ok) {
        abort();
    }
}

/* With the key of Amazon's examples, and a secret that no input has. */
static struct s3_auth *open_auth(void)
{
    static char path[] = "/tmp/zkv-fuzz-XXXXXX"; /* borrowed for good */
    static const char text[] = "AKIAIOSFODNN7EXAMPLE:8f6a1c0e5b7d49238f6a1c0e5b7d4923:ro:a,b\n";
    struct s3_auth_config config = {.path = path, .skew_s = 315360000, .port = 80};
    struct zerr_info info = {0};
    struct s3_auth *auth;
    int fd = mkstemp(path);

    require(fd >= 0 && write(fd, text, sizeof(text) - 1) == (ssize_t)sizeof(text) - 1);
    require(close(fd) == 0);
    require(s3_auth_open(&config, &auth, &info) == 0);
    require(unlink(path) == 0);
    return auth;
}

static struct slice next_line(struct slice *rest)
{
    const uint8_t *end = rest->len > 0 ? memchr(rest->ptr, '\n', rest->len) : NULL;
    struct slice line = *rest;

    if (end == NULL) {
        *rest = slice_of(NULL, 0);
        return line;
    }
    line.len = (size_t)(end - rest->ptr);
    *rest = slice_of(end + 1, rest->len - line.len - 1);
    return line;
}

static bool allowed(struct slice s)
{
    return s.len == 0 || (memchr(s.ptr, 0, s.len) == NULL && memchr(s.ptr, '\r', s.len) == NULL);
}

static void one_request(struct s3_auth *auth, struct slice input)
{
    struct slice first = next_line(&input);
    struct arena arena = {0};
    struct http_header headers[100];
    struct http_request req = {.headers = headers, .arena = &arena};
    struct s3_identity who;
    struct s3_refusal why = {0};

    if (first.len < 2 || first.ptr[1] != '/' || !allowed(first)) {
        return;
    }
    req.method = (enum http_method)(first.ptr[0] % (HTTP_METHOD_OPTIONS + 1));
    req.target = slice_of(first.ptr + 1, first.len - 1);
    while (input.len > 0 && req.n_headers < 100) {
        struct slice value = next_line(&input);
        const uint8_t *colon = value.len > 0 ? memchr(value.ptr, ':', value.len) : NULL;
        if (colon == NULL || colon == value.ptr || !allowed(value)) {
            continue;
        }
        size_t n = (size_t)(colon - value.ptr);
        headers[req.n_headers++] =
            (struct http_header){slice_of(value.ptr, n), slice_of(colon + 1, value.len - n - 1)};
    }
    require(s3_auth_check(auth, &req, 1369353600000, &who, &why) != 0);
    require(s3_error_of(why.code)->status >= 400 && s3_error_of(why.code)->status < 500);
    require(why.n_details <= S3_REFUSAL_DETAILS);
    arena_finish(&arena);
}

static void one_file(struct slice text)
{
    struct s3_keys keys = {0};
    struct zerr_info info = {0};

    if (s3_keys_parse(text, &keys, &info) != 0) {
        require(info.text[0] != '\0');
        return;
    }
    require(keys.n > 0 && keys.n <= KEYS_MAX);
    for (size_t i = 0; i < keys.n; i++) {
        require(keys.v[i].access.len > 0 && keys.v[i].secret.len > 0);
        require(s3_keys_find(&keys, keys.v[i].access) == &keys.v[i]);
    }
    s3_keys_finish(&keys);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct s3_auth *auth;

    if (auth == NULL) {
        auth = open_auth();
    }
    if (size <= 32768) {
        one_request(auth, slice_of(data, size));
        one_file(slice_of(data, size));
    }
    return 0;
}

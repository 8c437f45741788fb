/* The credentials file, see s3_keys.h. */
#include "s3/s3_keys.h"

#include <stdlib.h>

#include "base/small_file.h"
#include "s3/s3_crypto.h"

/* Cuts *rest at the first `sep`: what is before it is returned, *rest is what is behind it and has
 * a NULL pointer if there was none. */
static struct slice cut(struct slice *rest, char sep)
{
    const uint8_t *p = rest->len > 0 ? memchr(rest->ptr, sep, rest->len) : NULL;
    struct slice head = *rest;

    if (p == NULL) {
        *rest = slice_of(NULL, 0);
        return head;
    }
    head.len = (size_t)(p - rest->ptr);
    *rest = slice_of(p + 1, rest->len - head.len - 1);
    return head;
}

static bool is_space(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static struct slice trim(struct slice s)
{
    while (s.len > 0 && is_space(s.ptr[0])) {
        s = slice_of(s.ptr + 1, s.len - 1);
    }
    while (s.len > 0 && is_space(s.ptr[s.len - 1])) {
        s.len--;
    }
    return s;
}

static bool is_printable(struct slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] <= ' ' || s.ptr[i] >= 0x7f) {
            return false;
        }
    }
    return true;
}

/* What is wrong with the line, or NULL. */
static const char *parse_line(struct slice line, struct s3_key *ret)
{
    struct slice field;

    *ret = (struct s3_key){.access = cut(&line, ':')};
    ret->secret = cut(&line, ':');
    if (ret->access.len == 0 || ret->secret.len == 0) {
        return "is not ACCESS:SECRET";
    }
    if (ret->access.len > KEYS_ACCESS_MAX) {
        return "has an access key of more than 128 characters";
    }
    if (!is_printable(ret->access) || !is_printable(ret->secret)) {
        return "has a space or a character that is not ASCII in a key";
    }
    if (line.ptr == NULL) {
        return NULL;
    }
    field = cut(&line, ':');
    if (slice_eq_str(field, "ro")) {
        ret->read_only = true;
        if (line.ptr == NULL) {
            return NULL;
        }
        field = cut(&line, ':');
    }
    if (line.ptr != NULL || field.len == 0 || !is_printable(field)) {
        return "has something else than :ro and :bucket,bucket behind the secret";
    }
    ret->buckets = field;
    return NULL;
}

int s3_keys_parse(struct slice text, struct s3_keys *ret, struct zerr_info *info)
{
    struct s3_keys keys = {0};
    struct s3_key key;
    unsigned n_line = 0;
    int err = 0;

    keys.v = calloc(KEYS_MAX, sizeof(*keys.v));
    if (keys.v == NULL) {
        return ZERR_NOMEM;
    }
    while (text.len > 0 && err == 0) {
        struct slice line = trim(cut(&text, '\n'));
        const char *wrong;

        n_line++;
        if (line.len == 0 || line.ptr[0] == '#') {
            continue;
        }
        wrong = parse_line(line, &key);
        if (wrong == NULL && s3_keys_find(&keys, key.access) != NULL) {
            wrong = "has an access key that was there already";
        } else if (wrong == NULL && keys.n == KEYS_MAX) {
            wrong = "is one too many: at most 1000 keys are read";
        }
        if (wrong != NULL) {
            err = zerr_fail(info, ZERR_INVALID, 0, "line %u %s", n_line, wrong);
        } else {
            keys.v[keys.n++] = key;
        }
    }
    if (err == 0 && keys.n == 0) {
        err = zerr_fail(info, ZERR_INVALID, 0, "there is no line ACCESS:SECRET in it");
    }
    if (err != 0) {
        free(keys.v);
        return err;
    }
    *ret = keys;
    return 0;
}

int s3_keys_load(const char *path, struct s3_keys *ret, struct zerr_info *info)
{
    struct s3_keys keys = {0};
    char *text;
    size_t len;
    int err = small_file_read(path, true, &text, &len, info);

    if (err != 0) {
        return err;
    }
    err = s3_keys_parse(slice_of(text, len), &keys, info);
    keys.text = text;
    keys.text_len = len;
    if (err != 0) {
        s3_keys_finish(&keys);
        return err;
    }
    *ret = keys;
    return 0;
}

void s3_keys_finish(struct s3_keys *keys)
{
    if (keys->text != NULL) {
        s3_forget(keys->text, keys->text_len);
    }
    free(keys->text);
    free(keys->v);
    *keys = (struct s3_keys){0};
}

const struct s3_key *s3_keys_find(const struct s3_keys *keys, struct slice access)
{
    for (size_t i = 0; i < keys->n; i++) {
        if (slice_eq(keys->v[i].access, access)) {
            return &keys->v[i];
        }
    }
    return NULL;
}

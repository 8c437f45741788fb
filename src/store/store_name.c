/* What a store may be called (store_set.h). */
#include "store/store_set.h"

static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

static bool is_letter_or_digit(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || is_digit(c);
}

/* Four numbers with dots between, whatever they are. */
static bool looks_like_ip(struct slice name)
{
    unsigned n_dots = 0;

    for (size_t i = 0; i < name.len; i++) {
        if (!is_digit(name.ptr[i]) && name.ptr[i] != '.') {
            return false;
        }
        n_dots += name.ptr[i] == '.';
    }
    return n_dots == 3;
}

static bool is_reserved(struct slice name)
{
    static const char *const begins[] = {"xn--", "sthree-", "amzn-s3-demo-"};
    static const char *const ends[] = {"-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"};

    for (size_t i = 0; i < sizeof(begins) / sizeof(begins[0]); i++) {
        if (slice_has_prefix(name, slice_str(begins[i]))) {
            return true;
        }
    }
    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        size_t n = strlen(ends[i]);
        if (name.len >= n && memcmp(name.ptr + name.len - n, ends[i], n) == 0) {
            return true;
        }
    }
    return false;
}

bool store_name_ok(struct slice name)
{
    if (name.len < STORE_NAME_MIN || name.len > STORE_NAME_MAX ||
        !is_letter_or_digit(name.ptr[0]) || !is_letter_or_digit(name.ptr[name.len - 1])) {
        return false;
    }
    for (size_t i = 0; i < name.len; i++) {
        uint8_t c = name.ptr[i];
        if (!is_letter_or_digit(c) && c != '-' && (c != '.' || name.ptr[i - 1] == '.')) {
            return false;
        }
    }
    return !looks_like_ip(name) && !is_reserved(name);
}

/* XML, see s3_xml.h. */
#include "s3/s3_xml.h"

#include <stdio.h>

#include "store/record.h"

/* ---- the writer ---- */

static void put(struct s3_xml *x, const void *data, size_t len)
{
    if (x->err == 0) {
        x->err = buf_append(x->out, data, len);
    }
}

static void put_str(struct s3_xml *x, const char *s)
{
    put(x, s, strlen(s));
}

/* Length of the UTF-8 character at s that XML may hold; 0 if there is none. */
static size_t utf8_len(struct slice s)
{
    uint8_t c = s.ptr[0];
    size_t n = c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;

    if ((c >= 0x80 && c < 0xc2) || c > 0xf4 || n > s.len) {
        return 0;
    }
    for (size_t i = 1; i < n; i++) {
        if ((s.ptr[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    if ((c == 0xe0 && s.ptr[1] < 0xa0) || (c == 0xed && s.ptr[1] > 0x9f) || /* short, surrogate */
        (c == 0xf0 && s.ptr[1] < 0x90) || (c == 0xf4 && s.ptr[1] > 0x8f) || /* short, too high */
        (c == 0xef && s.ptr[1] == 0xbf && s.ptr[2] >= 0xbe)) {              /* U+FFFE, U+FFFF */
        return 0;
    }
    return n;
}

static const char *escape_of(uint8_t c)
{
    switch (c) {
    case '&':
        return "&amp;";
    case '<':
        return "&lt;";
    case '>':
        return "&gt;";
    case '"':
        return "&quot;";
    case '\'':
        return "&#39;";
    default:
        return NULL;
    }
}

static void put_escaped(struct s3_xml *x, struct slice s)
{
    size_t plain = 0; /* s[plain..i) goes out as it is */

    for (size_t i = 0; i < s.len;) {
        size_t n = utf8_len(slice_of(s.ptr + i, s.len - i));
        uint8_t c = s.ptr[i];
        const char *esc = escape_of(c);
        char ref[12];

        if (esc == NULL && n > 0 && (n > 1 || (c >= 0x20 && c != 0x7f))) {
            i += n;
            continue;
        }
        if (esc == NULL) {
            (void)snprintf(ref, sizeof(ref), n == 0 ? "&#xFFFD;" : "&#x%X;", (unsigned)c);
            esc = ref;
        }
        put(x, s.ptr + plain, i - plain);
        put_str(x, esc);
        plain = ++i;
    }
    if (plain < s.len) {
        put(x, s.ptr + plain, s.len - plain);
    }
}

static void put_url_encoded(struct s3_xml *x, struct slice s)
{
    static const char HEX[] = "0123456789ABCDEF";

    for (size_t i = 0; i < s.len; i++) {
        uint8_t c = s.ptr[i];
        if ((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
            c == '-' || c == '.' || c == '_' || c == '~' || c == '/') {
            put(x, &c, 1);
        } else {
            char enc[3] = {'%', HEX[c >> 4], HEX[c & 15]};
            put(x, enc, sizeof(enc));
        }
    }
}

void s3_xml_begin(struct s3_xml *x, struct buf *out, const char *root, const char *xmlns)
{
    *x = (struct s3_xml){.out = out};
    put_str(x, S3_XML_DECLARATION "<");
    put_str(x, root);
    if (xmlns != NULL) {
        put_str(x, " xmlns=\"");
        put_escaped(x, slice_str(xmlns));
        put_str(x, "\"");
    }
    put_str(x, ">");
}

void s3_xml_open(struct s3_xml *x, const char *name)
{
    put_str(x, "<");
    put_str(x, name);
    put_str(x, ">");
}

void s3_xml_close(struct s3_xml *x, const char *name)
{
    put_str(x, "</");
    put_str(x, name);
    put_str(x, ">");
}

void s3_xml_text(struct s3_xml *x, const char *name, struct slice text)
{
    s3_xml_open(x, name);
    put_escaped(x, text);
    s3_xml_close(x, name);
}

void s3_xml_u64(struct s3_xml *x, const char *name, uint64_t value)
{
    char digits[24];

    (void)snprintf(digits, sizeof(digits), "%llu", (unsigned long long)value);
    s3_xml_text(x, name, slice_str(digits));
}

void s3_xml_bool(struct s3_xml *x, const char *name, bool value)
{
    s3_xml_text(x, name, value ? SLICE_LIT("true") : SLICE_LIT("false"));
}

void s3_xml_key(struct s3_xml *x, const char *name, struct slice text, bool url)
{
    if (!url) {
        s3_xml_text(x, name, text);
        return;
    }
    s3_xml_open(x, name);
    put_url_encoded(x, text);
    s3_xml_close(x, name);
}

int s3_xml_finish(struct s3_xml *x, const char *root)
{
    s3_xml_close(x, root);
    return x->err;
}

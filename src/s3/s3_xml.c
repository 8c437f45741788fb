/* XML, see s3_xml.h. */
#include "s3/s3_xml.h"

#include <expat.h>
#include <stdio.h>

#include "store/record.h"

#define DECLARATION "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"

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
    put_str(x, DECLARATION "<");
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

/* ---- the reader of DeleteObjects ----
 *
 * expat calls back for each element; the reader follows the depth and knows four places:
 * Delete (1), Quiet and Object (2), Key and VersionId in an Object (3). Elements it does not know
 * are passed over with all they hold. Without a DOCTYPE there are no entities to expand, so what
 * expat needs is bounded by the body. */

enum field { FIELD_NONE, FIELD_QUIET, FIELD_KEY, FIELD_VERSION };

struct reader_state {
    XML_Parser parser;
    struct arena *arena;
    struct s3_delete_list *list;
    int err;
    unsigned depth;
    bool in_object, has_key;
    enum field field; /* collecting text of */
    unsigned field_depth;
    uint8_t text[KEY_MAX_BYTES + 1];
    size_t text_len;
};

static void stop(struct reader_state *r, int err)
{
    if (r->err == 0) {
        r->err = err;
    }
    (void)XML_StopParser(r->parser, XML_FALSE);
}

static void on_doctype(void *user, const XML_Char *name, const XML_Char *sysid,
                       const XML_Char *pubid, int has_internal)
{
    (void)name, (void)sysid, (void)pubid, (void)has_internal;
    stop(user, ZERR_INVALID);
}

/* Names come as "namespace|local" or "local". */
static struct slice local_name(const XML_Char *name)
{
    const char *bar = strrchr(name, '|');

    return slice_str(bar != NULL ? bar + 1 : name);
}

static void begin_field(struct reader_state *r, enum field field)
{
    r->field = field;
    r->field_depth = r->depth;
    r->text_len = 0;
}

static void begin_object(struct reader_state *r)
{
    if (r->list->n == S3_DELETE_MAX_KEYS) {
        stop(r, ZERR_INVALID);
        return;
    }
    r->in_object = true;
    r->has_key = false;
    r->list->keys[r->list->n] = (struct s3_delete_key){0};
}

static void on_start(void *user, const XML_Char *raw_name, const XML_Char **attributes)
{
    struct reader_state *r = user;
    struct slice name = local_name(raw_name);

    (void)attributes;
    r->depth++;
    if (r->err != 0) {
        return;
    }
    if (r->depth > S3_XML_MAX_DEPTH || r->field != FIELD_NONE ||
        (r->depth == 1 && !slice_eq_str(name, "Delete"))) {
        stop(r, ZERR_INVALID);
    } else if (r->depth == 2 && slice_eq_str(name, "Object")) {
        begin_object(r);
    } else if (r->depth == 2 && slice_eq_str(name, "Quiet")) {
        begin_field(r, FIELD_QUIET);
    } else if (r->depth == 3 && r->in_object) {
        if (slice_eq_str(name, "Key")) {
            begin_field(r, FIELD_KEY);
        } else if (slice_eq_str(name, "VersionId")) {
            begin_field(r, FIELD_VERSION);
        } else if (slice_eq_str(name, "ETag") || slice_eq_str(name, "LastModifiedTime") ||
                   slice_eq_str(name, "Size")) {
            stop(r, ZERR_UNSUPPORTED);
        }
    }
}

static void on_text(void *user, const XML_Char *s, int len)
{
    struct reader_state *r = user;
    size_t n = (size_t)len, room = sizeof(r->text) - r->text_len;

    if (r->field != FIELD_NONE) {
        memcpy(r->text + r->text_len, s, n < room ? n : room);
        r->text_len += n < room ? n : room;
    }
}

static void end_field(struct reader_state *r)
{
    struct slice text = slice_of(r->text, r->text_len);
    struct s3_delete_key *key = &r->list->keys[r->list->n];
    enum field field = r->field;

    r->field = FIELD_NONE;
    if (field == FIELD_QUIET) {
        r->list->quiet = slice_eq_str(text, "true") || slice_eq_str(text, "1");
    } else if (field == FIELD_VERSION) {
        key->other_version = text.len > 0 && !slice_eq_str(text, "null");
    } else if (r->has_key) {
        stop(r, ZERR_INVALID);
    } else {
        r->has_key = true;
        key->key = arena_dup(r->arena, text);
        if (key->key.ptr == NULL) {
            stop(r, ZERR_NOMEM);
        }
    }
}

static void on_end(void *user, const XML_Char *name)
{
    struct reader_state *r = user;

    (void)name;
    if (r->err == 0 && r->field != FIELD_NONE && r->depth == r->field_depth) {
        end_field(r);
    } else if (r->err == 0 && r->depth == 2 && r->in_object) {
        r->in_object = false;
        if (r->has_key) {
            r->list->n++;
        } else {
            stop(r, ZERR_INVALID);
        }
    }
    r->depth--;
}

int s3_xml_parse_delete(struct slice body, struct arena *arena, struct s3_delete_list *ret)
{
    struct s3_delete_list list = {0};
    struct reader_state *r = arena_alloc(arena, sizeof(*r));

    list.keys = arena_alloc(arena, S3_DELETE_MAX_KEYS * sizeof(*list.keys));
    if (r == NULL || list.keys == NULL) {
        return ZERR_NOMEM;
    }
    if (body.len > S3_DELETE_MAX_BYTES) {
        return ZERR_INVALID;
    }
    memset(r, 0, sizeof(*r));
    r->arena = arena;
    r->list = &list;
    r->parser = XML_ParserCreateNS(NULL, '|');
    if (r->parser == NULL) {
        return ZERR_NOMEM;
    }
    XML_SetUserData(r->parser, r);
    XML_SetElementHandler(r->parser, on_start, on_end);
    XML_SetCharacterDataHandler(r->parser, on_text);
    XML_SetStartDoctypeDeclHandler(r->parser, on_doctype);
    if (XML_Parse(r->parser, (const char *)body.ptr, (int)body.len, 1) != XML_STATUS_OK &&
        r->err == 0) {
        r->err = XML_GetErrorCode(r->parser) == XML_ERROR_NO_MEMORY ? ZERR_NOMEM : ZERR_INVALID;
    }
    XML_ParserFree(r->parser);
    if (r->err == 0 && list.n == 0) {
        r->err = ZERR_INVALID;
    }
    if (r->err == 0) {
        *ret = list;
    }
    return r->err;
}

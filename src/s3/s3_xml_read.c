/* Reading the XML of requests (s3_xml.h).
 *
 * Documents are a root with items in it, and items with fields (in one kind both lie deeper): expat calls back for each
 * element, the reader follows the depth, and a document says which elements it wants. Those it does
 * not know are passed over with all they hold. Without a DOCTYPE there are no entities to expand, so
 * what expat needs is bounded by the body. */
#include "s3/s3_xml.h"

#include <expat.h>

#include "base/num.h"
#include "store/record.h"

#define S3_GRANTS_MAX 100 /* of one list, as on S3 */

/* A kind of document. Functions give ZERR_* to stop with it. */
struct document {
    const char *root, *item;
    size_t min_items, max_items;
    unsigned item_depth;      /* 2 (in the root), or below */
    bool deep;                /* fields may be anywhere below the root */
    int (*begin)(void *user); /* an item */
    /* A field of the item, or of the root: its number, from 1; 0: not wanted. */
    int (*field)(bool in_item, struct slice name);
    int (*text)(void *user, int field, struct slice text); /* valid during the call */
    int (*end)(void *user);                                /* the item */
};

struct reader_state {
    XML_Parser parser;
    const struct document *doc;
    void *user;
    int err;
    unsigned depth;
    bool in_item;
    size_t n_items;
    int field; /* collecting text of; 0: none */
    unsigned field_depth;
    uint8_t text[KEY_MAX_BYTES + 1]; /* cut there */
    size_t text_len;
};

/* Not 0: stops with it. */
static void check(struct reader_state *r, int err)
{
    if (err != 0 && r->err == 0) {
        r->err = err;
        (void)XML_StopParser(r->parser, XML_FALSE);
    }
}

static void on_doctype(void *user, const XML_Char *name, const XML_Char *sysid,
                       const XML_Char *pubid, int has_internal)
{
    (void)name, (void)sysid, (void)pubid, (void)has_internal;
    check(user, ZERR_INVALID);
}

/* Names come as "namespace|local" or "local". */
static struct slice local_name(const XML_Char *name)
{
    const char *bar = strrchr(name, '|');

    return slice_str(bar != NULL ? bar + 1 : name);
}

static void begin_item(struct reader_state *r)
{
    check(r, r->n_items++ == r->doc->max_items ? ZERR_INVALID : r->doc->begin(r->user));
    r->in_item = true;
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
    if (r->depth > S3_XML_MAX_DEPTH || r->field != 0 ||
        (r->depth == 1 && !slice_eq_str(name, r->doc->root))) {
        check(r, ZERR_INVALID);
    } else if (r->depth == r->doc->item_depth && slice_eq_str(name, r->doc->item)) {
        begin_item(r);
    } else if (r->depth == 2 || (r->depth == 3 && r->in_item) || (r->depth > 2 && r->doc->deep)) {
        int field = r->doc->field(r->in_item, name);

        check(r, field < 0 ? field : 0);
        r->field = field > 0 ? field : 0;
        r->field_depth = r->depth;
        r->text_len = 0;
    }
}

static void on_text(void *user, const XML_Char *s, int len)
{
    struct reader_state *r = user;
    size_t n = (size_t)len, room = sizeof(r->text) - r->text_len;

    if (r->field != 0) {
        memcpy(r->text + r->text_len, s, n < room ? n : room);
        r->text_len += n < room ? n : room;
    }
}

static void on_end(void *user, const XML_Char *name)
{
    struct reader_state *r = user;

    (void)name;
    if (r->err == 0 && r->field != 0 && r->depth == r->field_depth) {
        int field = r->field;
        r->field = 0;
        check(r, r->doc->text(r->user, field, slice_of(r->text, r->text_len)));
    } else if (r->err == 0 && r->depth == r->doc->item_depth && r->in_item) {
        r->in_item = false;
        check(r, r->doc->end(r->user));
    }
    r->depth--;
}

static int read_document(struct slice body, const struct document *doc, void *user,
                         struct arena *arena)
{
    struct reader_state *r = arena_alloc(arena, sizeof(*r));

    if (r == NULL) {
        return ZERR_NOMEM;
    }
    if (body.len > S3_XML_MAX_BYTES) {
        return ZERR_INVALID;
    }
    memset(r, 0, sizeof(*r));
    r->doc = doc;
    r->user = user;
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
    return r->err == 0 && r->n_items < doc->min_items ? ZERR_INVALID : r->err;
}

/* ---- DeleteObjects ---- */

enum { DELETE_QUIET = 1, DELETE_KEY, DELETE_VERSION };

struct delete_state {
    struct s3_delete_list list;
    struct arena *arena;
    bool has_key;
};

static int delete_begin(void *user)
{
    struct delete_state *d = user;

    d->has_key = false;
    d->list.keys[d->list.n] = (struct s3_delete_key){0};
    return 0;
}

static int delete_field(bool in_item, struct slice name)
{
    if (!in_item) {
        return slice_eq_str(name, "Quiet") ? DELETE_QUIET : 0;
    }
    if (slice_eq_str(name, "ETag") || slice_eq_str(name, "LastModifiedTime") ||
        slice_eq_str(name, "Size")) {
        return ZERR_UNSUPPORTED;
    }
    return slice_eq_str(name, "Key")         ? DELETE_KEY
           : slice_eq_str(name, "VersionId") ? DELETE_VERSION
                                             : 0;
}

static int delete_text(void *user, int field, struct slice text)
{
    struct delete_state *d = user;
    struct s3_delete_key *key = &d->list.keys[d->list.n];

    if (field == DELETE_QUIET) {
        d->list.quiet = slice_eq_str(text, "true") || slice_eq_str(text, "1");
    } else if (field == DELETE_VERSION) {
        key->other_version = text.len > 0 && !slice_eq_str(text, "null");
    } else if (d->has_key) {
        return ZERR_INVALID;
    } else {
        d->has_key = true;
        key->key = arena_dup(d->arena, text);
        return key->key.ptr == NULL ? ZERR_NOMEM : 0;
    }
    return 0;
}

static int delete_end(void *user)
{
    struct delete_state *d = user;

    d->list.n++;
    return d->has_key ? 0 : ZERR_INVALID;
}

int s3_xml_parse_delete(struct slice body, struct arena *arena, struct s3_delete_list *ret)
{
    static const struct document doc = {.root = "Delete",
                                        .item = "Object",
                                        .item_depth = 2,
                                        .min_items = 1,
                                        .max_items = S3_DELETE_MAX_KEYS,
                                        .begin = delete_begin,
                                        .field = delete_field,
                                        .text = delete_text,
                                        .end = delete_end};
    struct delete_state d = {.arena = arena};
    int err;

    d.list.keys = arena_alloc(arena, S3_DELETE_MAX_KEYS * sizeof(*d.list.keys));
    if (d.list.keys == NULL) {
        return ZERR_NOMEM;
    }
    err = read_document(body, &doc, &d, arena);
    if (err == 0) {
        *ret = d.list;
    }
    return err;
}

/* ---- CreateBucket ---- */

struct create_state {
    struct slice location;
    struct arena *arena;
};

static int no_item(void *user)
{
    (void)user;
    return ZERR_INVALID;
}

static int create_field(bool in_item, struct slice name)
{
    return !in_item && slice_eq_str(name, "LocationConstraint") ? 1 : 0;
}

static int create_text(void *user, int field, struct slice text)
{
    struct create_state *c = user;

    (void)field;
    c->location = arena_dup(c->arena, text);
    return c->location.ptr != NULL || text.len == 0 ? 0 : ZERR_NOMEM;
}

int s3_xml_parse_create(struct slice body, struct arena *arena, struct slice *ret)
{
    static const struct document doc = {.root = "CreateBucketConfiguration",
                                        .item = "",
                                        .begin = no_item,
                                        .field = create_field,
                                        .text = create_text,
                                        .end = no_item};
    struct create_state c = {.arena = arena};
    int err = body.len == 0 ? 0 : read_document(body, &doc, &c, arena);

    if (err == 0) {
        *ret = c.location;
    }
    return err;
}

/* ---- access lists ---- */

enum { ACL_OWNER = 1, ACL_GRANTEE, ACL_PERMISSION };

struct acl_state {
    bool has_grantee, has_permission; /* the grant */
};

static int acl_begin(void *user)
{
    *(struct acl_state *)user = (struct acl_state){0};
    return 0;
}

/* Groups have a URI. */
static int acl_field(bool in_item, struct slice name)
{
    if (slice_eq_str(name, "URI") || slice_eq_str(name, "EmailAddress")) {
        return ZERR_UNSUPPORTED;
    }
    if (slice_eq_str(name, "ID")) {
        return in_item ? ACL_GRANTEE : ACL_OWNER;
    }
    return in_item && slice_eq_str(name, "Permission") ? ACL_PERMISSION : 0;
}

static int acl_text(void *user, int field, struct slice text)
{
    struct acl_state *a = user;

    a->has_grantee |= field == ACL_GRANTEE;
    a->has_permission |= field == ACL_PERMISSION;
    return field == ACL_PERMISSION || slice_eq_str(text, S3_OWNER) ? 0 : ZERR_UNSUPPORTED;
}

static int acl_end(void *user)
{
    const struct acl_state *a = user;

    return a->has_grantee && a->has_permission ? 0 : ZERR_INVALID;
}

int s3_xml_check_acl(struct slice body, struct arena *arena)
{
    static const struct document doc = {.root = "AccessControlPolicy",
                                        .item = "Grant",
                                        .max_items = S3_GRANTS_MAX,
                                        .item_depth = 3,
                                        .deep = true,
                                        .begin = acl_begin,
                                        .field = acl_field,
                                        .text = acl_text,
                                        .end = acl_end};
    struct acl_state a = {0};

    return read_document(body, &doc, &a, arena);
}

/* ---- CompleteMultipartUpload ---- */

enum { PART_NUMBER = 1, PART_ETAG, PART_CHECKSUM /* and so on, one for each kind */ };

struct complete_state {
    struct s3_complete_list list;
    size_t room; /* parts that can come */
    struct arena *arena;
};

static int part_begin(void *user)
{
    struct complete_state *c = user;

    c->list.parts[c->list.n] = (struct part_name){0};
    return 0;
}

static int part_field(bool in_item, struct slice name)
{
    if (!in_item) {
        return 0;
    }
    if (slice_eq_str(name, "PartNumber") || slice_eq_str(name, "ETag")) {
        return name.len == 4 ? PART_ETAG : PART_NUMBER;
    }
    return s3_checksum_of_element(name) != S3_CHECKSUMS
               ? PART_CHECKSUM + (int)s3_checksum_of_element(name)
               : 0;
}

static int add_claim(struct complete_state *c, enum s3_checksum kind, struct slice text)
{
    struct s3_claim *claim;

    if (c->list.claims == NULL) {
        c->list.claims = arena_alloc(c->arena, c->room * sizeof(*c->list.claims));
        if (c->list.claims == NULL) {
            return ZERR_NOMEM;
        }
        for (size_t i = 0; i < c->room; i++) {
            c->list.claims[i] = (struct s3_claim){.kind = S3_CHECKSUMS};
        }
    }
    claim = &c->list.claims[c->list.n];
    claim->kind = kind;
    claim->text = arena_dup(c->arena, text);
    return claim->text.ptr == NULL ? ZERR_NOMEM : 0;
}

static int part_text(void *user, int field, struct slice text)
{
    struct complete_state *c = user;
    struct part_name *part = &c->list.parts[c->list.n];

    while (text.len > 0 && (text.ptr[0] == ' ' || text.ptr[0] == '\n' || text.ptr[0] == '\t')) {
        text = slice_of(text.ptr + 1, text.len - 1);
    }
    while (text.len > 0 && (text.ptr[text.len - 1] == ' ' || text.ptr[text.len - 1] == '\n' ||
                            text.ptr[text.len - 1] == '\t')) {
        text.len--;
    }
    if (field == PART_NUMBER) {
        uint64_t number;
        int err = num_parse_u64(text, PART_MAX, &number);
        part->number = err == 0 ? (uint32_t)number : 0;
        return err == 0 && number > 0 ? 0 : ZERR_INVALID;
    }
    if (field >= PART_CHECKSUM) {
        return add_claim(c, (enum s3_checksum)(field - PART_CHECKSUM), text);
    }
    if (text.len >= 2 && text.ptr[0] == '"' && text.ptr[text.len - 1] == '"') {
        text = slice_of(text.ptr + 1, text.len - 2);
    }
    part->has_md5 = true;
    /* What is no MD5 is none of ours, and no part will be found to have it. */
    part->no_md5 = hex_decode(text, part->md5, sizeof(part->md5)) != 0;
    return 0;
}

static int part_end(void *user)
{
    struct complete_state *c = user;
    const struct part_name *part = &c->list.parts[c->list.n++];

    return part->number > 0 && part->has_md5 ? 0 : ZERR_INVALID;
}

int s3_xml_parse_complete(struct slice body, struct arena *arena, struct s3_complete_list *ret)
{
    static const struct document doc = {.root = "CompleteMultipartUpload",
                                        .item = "Part",
                                        .item_depth = 2,
                                        .min_items = 1,
                                        .max_items = PART_MAX,
                                        .begin = part_begin,
                                        .field = part_field,
                                        .text = part_text,
                                        .end = part_end};
    size_t room = body.len / sizeof("<Part>") + 1; /* items that can be in it */
    struct complete_state c = {.arena = arena};
    int err;

    c.room = room < PART_MAX ? room : PART_MAX;
    c.list.parts = arena_alloc(arena, c.room * sizeof(*c.list.parts));
    if (c.list.parts == NULL) {
        return ZERR_NOMEM;
    }
    err = read_document(body, &doc, &c, arena);
    if (err == 0) {
        *ret = c.list;
    }
    return err;
}

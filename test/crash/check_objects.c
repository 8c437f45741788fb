/* What a start shows of objects and multipart uploads, held against the model (check.h). */
#include "check_priv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- objects ---- */

struct get {
    bool done;
    int status;
};

static void on_opened(void *user, int status)
{
    *(struct get *)user = (struct get){true, status};
}

static void on_read(void *user, int status, struct read_piece piece)
{
    (void)user, (void)status, (void)piece;
    abort(); /* fx_get() reads the bodies */
}

static const struct reader_ops READER = {on_opened, on_read};

static bool head_fits(const struct version *v, struct reader *r)
{
    const struct object *o = reader_object(r);
    struct attrs meta = reader_meta(r);
    bool ok = o->size == v->body.len && o->has_md5 && memcmp(o->md5, v->md5, 16) == 0 &&
              o->parts == v->parts;
    if (v->mtime_ms == 0) {
        return ok;
    }
    return ok && o->mtime_ms == v->mtime_ms && meta.n == 1 &&
           slice_eq_str(meta.v[0].name, "X-Amz-Meta-V") && slice_eq_str(meta.v[0].value, v->meta);
}

/* 1: it is damaged, and may be. */
static int check_object(struct checker *c, unsigned key, unsigned version, struct buf *body)
{
    char name[1025];
    struct get g = {.done = false};
    struct reader *r = NULL;
    struct slice k = c->w->m.keys[key];
    (void)snprintf(name, sizeof(name), "%.*s", (int)k.len, k.ptr);
    int rc = fx_get(&c->f, name, body);
    if (version == ABSENT) {
        return rc == ZERR_NOT_FOUND ? 0 : bad(c, "%s is there (%d), and was deleted", name, rc);
    }
    if (rc == ZERR_DAMAGED && c->is_damaged) {
        return 1;
    }
    if (rc != 0) {
        return bad(c, "%s cannot be read: %s", name, zerr_str(rc));
    }
    if (!slice_eq(buf_slice(body), c->w->m.versions[version].body)) {
        return bad(c, "%s has the wrong bytes", name);
    }
    rc = reader_open(c->f.st, k, false, &READER, &g, &r);
    if (rc == ZKV_PENDING) {
        fx_pump(&c->f);
        rc = g.status;
    }
    bool ok = rc == 0 && head_fits(&c->w->m.versions[version], r);
    reader_close(r);
    fx_pump(&c->f);
    return ok ? 0 : bad(c, "%s has the wrong size, MD5, time or metadata (%d)", name, rc);
}

/* About a name, and not a multipart upload. */
static bool is_name(const struct change *c)
{
    return c->op == RECORD_PUT || c->op == RECORD_DELETE;
}

unsigned live_in(const struct found *h, unsigned key)
{
    unsigned live = ABSENT;
    for (size_t i = 0; i < h->n; i++) {
        live = is_name(&h->v[i]) && h->v[i].key == key ? h->v[i].version : live;
    }
    return live;
}

/* All names that ever were, as this history has them. */
int check_objects(struct checker *c, const struct found *h)
{
    unsigned live[KEYS_MAX], n_live = 0, n_listed = 0;
    struct buf body = {0};
    int rc = 0;
    memset(live, 0xff, sizeof(live));
    for (size_t i = 0; i < h->n; i++) {
        if (is_name(&h->v[i])) {
            live[h->v[i].key] = h->v[i].version;
        }
    }
    for (unsigned i = 0; i < c->w->m.n_keys && rc == 0; i++) {
        rc = check_object(c, i, live[i], &body);
        n_live += live[i] != ABSENT && rc == 0;
        rc = rc > 0 ? 0 : rc;
    }
    int listed = rc == 0 ? fx_names(&c->f, &body) : 0;
    for (size_t i = 0, from = 0; rc == 0 && listed == 0 && i < body.len; i++) {
        if (body.ptr[i] == '\n') {
            unsigned key = model_key(&c->w->m, slice_of(body.ptr + from, i - from));
            rc = live[key] == ABSENT ? bad(c, "LIST has a name that GET has not") : 0;
            from = i + 1;
            n_listed++;
        }
    }
    if (rc == 0 && (listed != 0 || n_listed != n_live)) {
        rc = bad(c, "LIST has %u names, not %u (%d)", n_listed, n_live, listed);
    }
    buf_finish(&body);
    return rc;
}

/* ---- multipart uploads ---- */

struct listing {
    struct list_page page;
    struct part_page parts;
    int status;
};

static void on_page(void *user, int status, struct list_page *page)
{
    struct listing *l = user;
    l->status = status;
    l->page = *page;
}

static void on_parts(void *user, int status, struct part_page *page)
{
    struct listing *l = user;
    l->status = status;
    l->parts = *page;
}

/* Its parts as the listing has them. */
static int check_parts(struct checker *c, const struct begun *b)
{
    struct listing l = {.status = 1};
    size_t at = 0;
    int rc = store_list_parts(c->f.st, b->seq, 0, PARTS_MAX + 1, on_parts, &l);
    fx_pump(&c->f);
    bool ok = rc == 0 && l.status == 0;
    for (unsigned i = 1; ok && i <= PARTS_MAX; i++) {
        if (b->parts[i] != ABSENT) {
            const struct part_entry *e = &l.parts.entries[at];
            const struct version *v = &c->w->m.versions[b->parts[i]];
            ok = at < l.parts.n && e->number == i && e->size == v->body.len &&
                 memcmp(e->md5, v->md5, 16) == 0;
            at++;
        }
    }
    ok = ok && at == l.parts.n;
    part_page_finish(&l.parts);
    return ok ? 0
              : bad(c, "the parts of upload %llx are not those that came last (%d, %d)",
                    (unsigned long long)b->seq, rc, l.status);
}

static bool is_listed(const struct checker *c, const struct listing *l, const struct begun *b)
{
    for (size_t i = 0; i < l->page.n; i++) {
        const struct list_entry *e = &l->page.entries[i];
        if (e->upload == b->seq && slice_eq(e->key, c->w->m.keys[b->key])) {
            return true;
        }
    }
    return false;
}

/* Exactly those under way, with exactly their parts; those that ended stay so. */
int check_uploads(struct checker *c, const struct found *h)
{
    struct listing l = {.status = 1};
    struct list_query q = {.max = 1000000, .uploads = true};
    struct uploads u;
    (void)uploads_of(h->v, h->n, &u);
    int rc = store_list(c->f.st, &q, on_page, &l);
    fx_pump(&c->f);
    if (rc != 0 || l.status != 0 || (l.page.n != u.n && !c->is_damaged)) {
        rc = bad(c, "%zu uploads are listed, not %u (%d)", l.page.n, u.n, l.status);
    }
    for (unsigned i = 0; i < u.n && rc == 0 && !c->is_damaged; i++) {
        rc =
            is_listed(c, &l, &u.v[i]) ? check_parts(c, &u.v[i]) : bad(c, "an upload is not listed");
    }
    list_page_finish(&l.page);
    return rc;
}

static void on_completed(void *user, int status, const struct object *obj, size_t at)
{
    (void)obj, (void)at;
    *(int *)user = status;
}

/* An upload with parts, if there is one, becomes what its parts make: *ret_version, which the model
 * then has for the time being, or ABSENT. */
int check_completes(struct checker *c, const struct found *h, unsigned *ret_version)
{
    struct part_name names[PARTS_MAX];
    struct complete_spec spec = {.parts = names};
    struct uploads u;
    unsigned at = 0;
    int status = 1;
    (void)uploads_of(h->v, h->n, &u);
    for (; at < u.n && spec.n_parts == 0; at++) {
        for (unsigned i = 1; i <= PARTS_MAX; i++) {
            if (u.v[at].parts[i] != ABSENT) {
                names[spec.n_parts++] = (struct part_name){.number = i};
            }
        }
    }
    *ret_version = ABSENT;
    if (spec.n_parts == 0 || c->is_damaged) {
        return 0;
    }
    const struct begun *b = &u.v[at - 1];
    *ret_version = model_joined(&c->w->m, b);
    spec.key = c->w->m.keys[b->key];
    spec.upload = b->seq;
    spec.mtime_ms = c->w->m.versions[*ret_version].mtime_ms;
    int rc = store_complete_upload(c->f.st, &spec, on_completed, &status);
    fx_pump(&c->f);
    if (rc != 0 || status != 0) {
        return bad(c, "an upload cannot be completed: %s", zerr_str(rc != 0 ? rc : status));
    }
    struct buf body = {0};
    rc = check_object(c, b->key, *ret_version, &body);
    buf_finish(&body);
    return rc;
}

/* See model.h. */
#include "model.h"

#include <assert.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/mem_disk.h"
#include "support/store_fixture.h"

#define MTIME_FIRST INT64_C(1600000000000)

void model_init(struct model *m, uint64_t seed)
{
    memset(m, 0, sizeof(*m));
    m->seed = seed;
}

void model_finish(struct model *m)
{
    for (unsigned i = 0; i < m->n_keys; i++) {
        free((void *)(uintptr_t)m->keys[i].ptr);
    }
    for (unsigned i = 0; i < m->n_versions; i++) {
        if (m->versions[i].owns_body) {
            free((void *)(uintptr_t)m->versions[i].body.ptr);
        }
    }
}

unsigned model_key(struct model *m, struct slice name)
{
    for (unsigned i = 0; i < m->n_keys; i++) {
        if (slice_eq(m->keys[i], name)) {
            return i;
        }
    }
    assert(m->n_keys < KEYS_MAX);
    uint8_t *copy = mem_must(malloc(name.len + 1));
    memcpy(copy, name.ptr, name.len);
    m->keys[m->n_keys] = slice_of(copy, name.len);
    return m->n_keys++;
}

static struct version *add_version(struct model *m, size_t meta_len)
{
    assert(m->n_versions < VERSIONS_MAX);
    struct version *v = &m->versions[m->n_versions];
    *v = (struct version){.op = RECORD_PUT, .mtime_ms = MTIME_FIRST + m->n_versions};
    assert(meta_len < sizeof(v->meta) - 16);
    int n = snprintf(v->meta, sizeof(v->meta), "%u/", m->n_versions);
    memset(v->meta + n, 'm', meta_len);
    m->n_versions++;
    return v;
}

static void digest(struct version *v)
{
    int ok = EVP_Digest(v->body.ptr, v->body.len, v->md5, NULL, EVP_md5(), NULL);
    assert(ok == 1);
}

unsigned model_version(struct model *m, size_t size, size_t meta_len)
{
    struct version *v = add_version(m, meta_len);
    uint8_t *body = mem_must(malloc(size + 1));
    fx_fill(body, size, m->seed + m->n_versions);
    v->body = slice_of(body, size);
    v->owns_body = true;
    digest(v);
    return m->n_versions - 1;
}

void model_set_body(struct model *m, unsigned version, struct slice body)
{
    struct version *v = &m->versions[version];
    assert(v->owns_body && body.len == v->body.len);
    memcpy((void *)(uintptr_t)v->body.ptr, body.ptr, body.len);
    digest(v);
}

unsigned model_copy(struct model *m, unsigned from, size_t meta_len)
{
    struct version *v = add_version(m, meta_len);
    v->body = m->versions[from].body;
    memcpy(v->md5, m->versions[from].md5, sizeof(v->md5));
    v->parts = m->versions[from].parts;
    return m->n_versions - 1;
}

unsigned model_part(struct model *m, unsigned from, size_t off, size_t len)
{
    struct version *v = add_version(m, 0);
    v->op = RECORD_PART;
    v->body = slice_of(m->versions[from].body.ptr + off, len);
    digest(v);
    return m->n_versions - 1;
}

unsigned model_upload(struct model *m, size_t meta_len)
{
    struct version *v = add_version(m, meta_len);
    v->op = RECORD_UPLOAD;
    return m->n_versions - 1;
}

unsigned model_joined(struct model *m, const struct begun *b)
{
    struct version *v = add_version(m, 0);
    struct buf body = {0}, md5s = {0};
    memcpy(v->meta, m->versions[b->upload].meta, sizeof(v->meta));
    for (unsigned i = 1; i <= PARTS_MAX; i++) {
        if (b->parts[i] != ABSENT) {
            const struct version *part = &m->versions[b->parts[i]];
            int rc = buf_append(&body, part->body.ptr, part->body.len);
            rc = rc == 0 ? buf_append(&md5s, part->md5, sizeof(part->md5)) : rc;
            assert(rc == 0);
            v->parts++;
        }
    }
    v->body = slice_of(mem_must(malloc(body.len + 1)), body.len);
    v->owns_body = true;
    if (body.len > 0) {
        memcpy((void *)(uintptr_t)v->body.ptr, body.ptr, body.len);
    }
    int ok = EVP_Digest(md5s.ptr, md5s.len, v->md5, NULL, EVP_md5(), NULL);
    assert(ok == 1);
    buf_finish(&body);
    buf_finish(&md5s);
    return m->n_versions - 1;
}

void model_forget(struct model *m, unsigned version)
{
    assert(version + 1 == m->n_versions);
    m->n_versions--;
    if (m->versions[version].owns_body) {
        free((void *)(uintptr_t)m->versions[version].body.ptr);
    }
}

unsigned model_live(const struct model *m, unsigned key)
{
    unsigned live = ABSENT;
    for (unsigned i = 0; i < m->n_order; i++) {
        const struct request *r = &m->reqs[m->order[i]];
        for (unsigned c = 0; c < r->n; c++) {
            bool is_name = r->changes[c].op == RECORD_PUT || r->changes[c].op == RECORD_DELETE;
            live = is_name && r->changes[c].key == key ? r->changes[c].version : live;
        }
    }
    return live;
}

static bool see_upload(struct uploads *u, const struct change *c)
{
    struct begun *b = u->v;
    if (c->op == RECORD_UPLOAD) {
        assert(u->n < BEGUN_MAX);
        u->v[u->n] = (struct begun){.upload = c->version, .key = c->key, .seq = c->seq};
        memset(u->v[u->n++].parts, 0xff, sizeof(b->parts));
        return true;
    }
    if (c->upload == ABSENT) {
        return c->op == RECORD_PUT || c->op == RECORD_DELETE;
    }
    while (b < u->v + u->n && (b->upload != c->upload || b->key != c->key)) {
        b++;
    }
    if (b == u->v + u->n || (c->op == RECORD_PART && (c->part == 0 || c->part > PARTS_MAX))) {
        return false;
    }
    if (c->op == RECORD_PART) {
        b->parts[c->part] = c->version;
    } else { /* in order, so that the next ones can be named by the workloads */
        memmove(b, b + 1, (size_t)(u->v + --u->n - b) * sizeof(*b));
    }
    return true;
}

size_t uploads_of(const struct change *h, size_t n, struct uploads *ret)
{
    size_t bad = 0;
    ret->n = 0;
    for (size_t i = 0; i < n; i++) {
        bool ok = see_upload(ret, &h[i]);
        bad = ok || bad != 0 ? bad : i + 1;
    }
    return bad;
}

void model_uploads(const struct model *m, struct uploads *ret)
{
    ret->n = 0;
    for (unsigned i = 0; i < m->n_order; i++) {
        const struct request *r = &m->reqs[m->order[i]];
        for (unsigned c = 0; c < r->n; c++) {
            bool ok = see_upload(ret, &r->changes[c]);
            assert(ok || m->has_holes);
        }
    }
}

/* ---- requests ---- */

unsigned model_request(struct model *m)
{
    assert(m->n_reqs < REQUESTS_MAX);
    m->reqs[m->n_reqs] = (struct request){
        .pending_at = NEVER, .acked_at = NEVER, .durable_at = NEVER, .dropped_at = NEVER};
    return m->n_reqs++;
}

void model_add(struct model *m, unsigned req, struct change c)
{
    struct request *r = &m->reqs[req];
    assert(r->n < CHANGES_MAX);
    r->changes[r->n++] = c;
}

void model_pending(struct model *m, unsigned req)
{
    m->reqs[req].pending_at = m->now;
    m->n_events++;
}

/* A delete has no record of a name that is not there. */
static void keep_live(struct model *m, struct request *r)
{
    unsigned n = 0;
    for (unsigned i = 0; i < r->n; i++) {
        if (r->changes[i].op != RECORD_DELETE || model_live(m, r->changes[i].key) != ABSENT) {
            r->changes[n++] = r->changes[i];
        }
    }
    r->n = n;
}

void model_acked(struct model *m, unsigned req, bool durable)
{
    struct request *r = &m->reqs[req];
    keep_live(m, r);
    r->acked_at = m->now;
    r->durable_at = durable ? m->now : NEVER;
    m->order[m->n_order++] = req;
    m->n_events++;
}

void model_dropped(struct model *m, unsigned req)
{
    m->reqs[req].dropped_at = m->now;
    m->n_events++;
}

void model_durable(struct model *m, uint64_t n_changes)
{
    for (unsigned i = 0; i < m->n_order && n_changes > 0; i++) {
        struct request *r = &m->reqs[m->order[i]];
        unsigned n = 0;
        for (unsigned c = 0; c < r->n; c++) {
            n += r->changes[c].op == RECORD_PUT || r->changes[c].op == RECORD_DELETE;
        }
        if (n > n_changes) {
            break;
        }
        n_changes -= n;
        if (r->durable_at == NEVER) {
            r->durable_at = m->now;
            m->n_events++;
        }
    }
}

/* Of parts with the same bytes any may be meant. */
static bool same_version(const struct model *m, const struct change *a, const struct change *b)
{
    return a->version == b->version ||
           (a->op == RECORD_PART && a->version != ABSENT && b->version != ABSENT &&
            slice_eq(m->versions[a->version].body, m->versions[b->version].body));
}

static bool same(const struct model *m, const struct change *a, const struct change *b)
{
    bool same_upload = a->upload == b->upload || (m->has_holes && b->upload == UNKNOWN);
    return a->op == b->op && a->key == b->key && same_version(m, a, b) && same_upload &&
           a->part == b->part && (a->seq == 0 || b->seq == 0 || a->seq == b->seq);
}

static bool same_all(const struct model *m, const struct request *r, const struct change *h,
                     size_t n)
{
    bool ok = r->n > 0 && n >= r->n;
    for (unsigned i = 0; i < r->n && ok; i++) {
        ok = same(m, &r->changes[i], &h[i]);
    }
    return ok;
}

/* Changes of the requests answered. */
static size_t n_acked(const struct model *m)
{
    size_t n = 0;
    for (unsigned i = 0; i < m->n_order; i++) {
        n += m->reqs[m->order[i]].n;
    }
    return n;
}

static bool is_undecided(const struct request *r)
{
    return r->pending_at != NEVER && r->acked_at == NEVER && r->dropped_at == NEVER;
}

void model_resolve(struct model *m, const struct change *history, size_t n)
{
    for (unsigned i = 0; i < m->n_reqs; i++) {
        if (is_undecided(&m->reqs[i])) {
            keep_live(m, &m->reqs[i]);
        }
    }
    for (size_t at = n_acked(m); at < n;) {
        unsigned i = 0;
        while (i < m->n_reqs &&
               !(is_undecided(&m->reqs[i]) && same_all(m, &m->reqs[i], &history[at], n - at))) {
            i++;
        }
        assert(i < m->n_reqs); /* the state has been checked */
        model_acked(m, i, true);
        at += m->reqs[i].n;
    }
    for (unsigned i = 0; i < m->n_reqs; i++) {
        if (is_undecided(&m->reqs[i])) {
            model_dropped(m, i);
        }
    }
}

void model_learn(struct model *m, const struct change *history, size_t n)
{
    size_t at = 0;
    for (unsigned i = 0; i < m->n_order; i++) {
        struct request *r = &m->reqs[m->order[i]];
        for (unsigned c = 0; c < r->n && at < n; c++) {
            r->changes[c].seq = history[at++].seq;
        }
    }
}

void model_rewind(struct model *m, uint32_t k)
{
    for (unsigned i = 0; i < m->n_reqs; i++) {
        struct request *r = &m->reqs[i];
        r->pending_at = r->pending_at > k ? NEVER : r->pending_at;
        r->acked_at = r->acked_at > k ? NEVER : r->acked_at;
        r->durable_at = r->durable_at > k ? NEVER : r->durable_at;
        r->dropped_at = r->dropped_at > k ? NEVER : r->dropped_at;
    }
    unsigned n = 0;
    while (n < m->n_order && m->reqs[m->order[n]].acked_at != NEVER) {
        n++;
    }
    m->n_order = n;
    m->now = k + 1;
    m->n_events++;
}

/* ---- comparing ---- */

static int wrong(const struct model *m, struct buf *why, const char *text, size_t at,
                 const struct change *c)
{
    static const char *const ops[] = {"?", "put", "delete", "upload", "part", "abort"};
    struct slice key = c->key < m->n_keys ? m->keys[c->key] : slice_str("?");
    int rc =
        buf_printf(why, "%s: record %zu, %s of %.*s, version %d, upload %d, part %u, number %llx",
                   text, at, ops[c->op], (int)key.len, key.ptr, (int)c->version, (int)c->upload,
                   c->part, (unsigned long long)c->seq);
    assert(rc == 0);
    return -1;
}

static bool is_allowed(const struct request *r, uint32_t k)
{
    return !r->used && r->pending_at <= k && r->dropped_at > k;
}

int model_check(struct model *m, uint32_t k, bool cut, const struct change *history, size_t n,
                struct buf *why)
{
    size_t at = 0;
    for (unsigned i = 0; i < m->n_reqs; i++) {
        m->reqs[i].used = false;
    }
    for (unsigned i = 0; i < m->n_order; i++) {
        struct request *r = &m->reqs[m->order[i]];
        if ((cut ? r->durable_at : r->acked_at) > k) {
            break;
        }
        if (r->n > 0 && !same_all(m, r, history + at, n - at)) {
            return wrong(m, why, "was acknowledged, and is not in its place", at, &r->changes[0]);
        }
        r->used = true;
        at += r->n;
    }
    while (at < n) {
        unsigned i = 0;
        while (i < m->n_reqs &&
               !(is_allowed(&m->reqs[i], k) && same_all(m, &m->reqs[i], history + at, n - at))) {
            i++;
        }
        if (i == m->n_reqs) {
            return wrong(m, why, "must not be there", at, &history[at]);
        }
        m->reqs[i].used = true;
        at += m->reqs[i].n;
    }
    for (at = 1; at < n; at++) {
        if (history[at].seq <= history[at - 1].seq && history[at].seq != 0) {
            return wrong(m, why, "its number does not rise (I1)", at, &history[at]);
        }
    }
    struct uploads under_way;
    at = uploads_of(history, n, &under_way);
    if (at > 0 && !m->has_holes) {
        return wrong(m, why, "is about an upload that is not under way", at - 1, &history[at - 1]);
    }
    return 0;
}

/* See rot_store.h: what must be in the store, and what may be. */
#include "support/rot_priv.h"

#include <stdio.h>
#include <stdlib.h>

#include "store/db.h"
#include "store/dir.h"

/* ---- what must be there ---------------------------------------------------------------------- */

/* What the name has; NULL: nothing. without: as if affected events had not been. */
static const struct rot_version *wanted(const struct rot *r, int key, bool without)
{
    const struct rot_version *v = NULL;
    for (int i = 0; i < r->n_events; i++) {
        const struct rot_event *e = &r->events[i];
        if (e->key == key && rot_in_history(e) && !(without && e->affected)) {
            v = e->op != ROT_DELETE ? &e->v : NULL;
        }
    }
    return v;
}

static bool is_affected(const struct rot *r, int key)
{
    for (int i = 0; i < r->n_events; i++) {
        const struct rot_event *e = &r->events[i];
        if (e->key == key && rot_in_history(e) && e->affected) {
            return true;
        }
    }
    return false;
}

struct fetch {
    struct rot *r;
    bool answered;
    int status;
};

static void on_opened(void *user, int status)
{
    struct fetch *g = user;
    g->answered = true;
    g->status = status;
}

static void on_read(void *user, int status, struct read_piece piece)
{
    struct fetch *g = user;
    g->answered = true;
    g->status = status;
    if (status == 0) {
        rot_must(g->r, buf_append(&g->r->out, piece.data, piece.len) == 0, "buf_append");
    }
}

static const struct reader_ops READER = {on_opened, on_read};

static int read_range(struct rot *r, struct reader *reader, struct fetch *g, uint64_t off,
                      uint64_t end)
{
    int rc = 0;
    while (off < end && rc == 0) {
        uint64_t span = reader_span(reader, off);
        size_t n = end - off < PIECE_BYTES ? (size_t)(end - off) : PIECE_BYTES;
        struct read_piece piece;
        n = n < span ? n : (size_t)span;
        g->answered = false;
        rc = reader_read(reader, off, n, &piece);
        if (rc == 0) {
            on_read(g, 0, piece);
        } else if (rc == ZKV_PENDING) {
            fx_pump(&r->f);
            rot_must(r, g->answered, "a read has no answer");
            rc = g->status;
        }
        if (rc == 0) {
            reader_release(reader);
        }
        off += n;
    }
    return rc;
}

/* What a reader says without the body. */
static bool same_head(const struct reader *reader, const struct rot_version *v)
{
    const struct object *o = reader_object(reader);
    struct attrs meta = reader_meta(reader);
    bool same = o->size == v->len && o->has_md5 && memcmp(o->md5, v->md5, 16) == 0 &&
                o->mtime_ms == v->mtime_ms && meta.n == (v->meta[0] != '\0');
    return same && (meta.n == 0 || (slice_eq_str(meta.v[0].name, "X-Amz-Meta-K") &&
                                    slice_eq_str(meta.v[0].value, v->meta)));
}

int rot_read_name(struct rot *r, int key, bool want_body, uint64_t off, uint64_t end,
                  const struct rot_version *const v[2], const struct rot_version **ret)
{
    struct fetch g = {.r = r};
    struct reader *reader;
    *ret = NULL;
    buf_reset(&r->out);
    int rc = reader_open(r->f.st, slice_str(r->keys[key]), want_body, &READER, &g, &reader);
    if (rc != 0 && rc != ZKV_PENDING) {
        return rc;
    }
    if (rc == ZKV_PENDING) {
        fx_pump(&r->f);
        rot_must(r, g.answered, "an open has no answer");
        rc = g.status;
    }
    for (int i = 0; rc == 0 && i < 2 && *ret == NULL; i++) {
        *ret = v[i] != NULL && same_head(reader, v[i]) ? v[i] : NULL;
    }
    if (rc == 0 && *ret == NULL) {
        rot_fail(r, "%s: what it is opened as was never put there", r->keys[key]);
    }
    if (rc == 0 && want_body) {
        end = end < (*ret)->len ? end : (*ret)->len;
        rc = read_range(r, reader, &g, off, end);
        if ((rc == 0 && r->out.len != end - off) || r->out.len > end - off ||
            (r->out.len > 0 && memcmp(r->out.ptr, (*ret)->body + off, r->out.len) != 0)) {
            rot_fail(r, "%s: wrong bytes were handed out", r->keys[key]);
        }
    }
    reader_close(reader);
    fx_pump(&r->f);
    return rc;
}

/* True if the name is as it must be; false: it is missing, which the caller may allow. */
static bool check_name(struct rot *r, int key, struct rot_counts *counts)
{
    bool affected = is_affected(r, key), reverted = false;
    const struct rot_version *v[2] = {wanted(r, key, false), wanted(r, key, true)}, *got;
    size_t len = v[0] != NULL ? v[0]->len : 0;
    bool missing = false;
    for (int way = 0; way < 3; way++) { /* HEAD, a range, the whole */
        uint64_t off = way == 1 ? len / 3 : 0, end = way == 1 ? len / 3 + len / 4 + 1 : UINT64_MAX;
        end = way == 1 && end > len ? len : end;
        int rc = rot_read_name(r, key, way > 0, off, end, v, &got);
        if (rc == 0) {
            reverted = reverted || got != v[0];
            if (r->knows && v[0] != NULL && got != v[0]) {
                rot_fail(r, "%s has what it had before", r->keys[key]);
            }
        } else if (rc == ZERR_NOT_FOUND && v[0] == NULL) {
            continue;
        } else if (rc == ZERR_CORRUPT && r->may_give_up && r->f.fatal) {
            r->gave_up = true;
            return true;
        } else if (!affected) {
            rot_fail(r, "%s: %s, and nothing of it was damaged", r->keys[key], zerr_str(rc));
        } else if (rc != ZERR_DAMAGED && rc != ZERR_NOT_FOUND) {
            rot_fail(r, "%s: %s is no answer for damage", r->keys[key], zerr_str(rc));
        } else {
            counts->wrong_err += r->out.len > 0;
            missing = true;
        }
    }
    counts->missing += missing;
    counts->reverted += reverted;
    return !missing;
}

/* ---- LIST ---- */

struct listing {
    struct rot *r;
    int status;
    bool seen[ROT_KEYS_MAX];
};

static void on_page(void *user, int status, struct list_page *page)
{
    struct listing *l = user;
    struct rot *r = l->r;
    l->status = status;
    for (size_t i = 0; status == 0 && i < page->n; i++) {
        const struct list_entry *e = &page->entries[i];
        int key = 0;
        while (key < r->n_keys && !slice_eq_str(e->key, r->keys[key])) {
            key++;
        }
        rot_must(r, key < r->n_keys && !l->seen[key],
                 "LIST has a name that was never put, or twice");
        const struct rot_version *v[2] = {wanted(r, key, false), wanted(r, key, true)};
        bool ok = false;
        for (int k = 0; k < 2; k++) {
            ok = ok || (v[k] != NULL && e->size == v[k]->len && e->has_md5 &&
                        memcmp(e->md5, v[k]->md5, 16) == 0 && e->mtime_ms == v[k]->mtime_ms);
        }
        rot_must(r, ok, "LIST says what was never so");
        l->seen[key] = true;
    }
    list_page_finish(page);
}

static void check_list(struct rot *r, const bool missing[ROT_KEYS_MAX])
{
    struct listing l = {.r = r, .status = 1};
    struct list_query q = {.max = 1000};
    rot_must(r, store_list(r->f.st, &q, on_page, &l) == 0, "LIST");
    fx_pump(&r->f);
    if (l.status == ZERR_CORRUPT && r->may_give_up && r->f.fatal) {
        r->gave_up = true;
        return;
    }
    if (l.status != 0) {
        rot_fail(r, "LIST: %s", zerr_str(l.status));
    }
    for (int i = 0; i < r->n_keys; i++) {
        bool want = wanted(r, i, false) != NULL && !missing[i];
        if (l.seen[i] != want && !is_affected(r, i)) {
            rot_fail(r, "LIST %s %s", l.seen[i] ? "has" : "lacks", r->keys[i]);
        }
        if (l.seen[i] && missing[i]) {
            rot_fail(r, "LIST has %s, which cannot be read", r->keys[i]);
        }
    }
}

void rot_check(struct rot *r, bool only_affected, struct rot_counts *counts)
{
    bool missing[ROT_KEYS_MAX] = {false};
    for (int i = 0; i < r->n_keys; i++) {
        if (!only_affected || is_affected(r, i)) {
            missing[i] = !check_name(r, i, counts);
        }
    }
    check_list(r, missing);
    if (!r->gave_up) {
        rot_check_uploads(r, counts);
    }
}

/* ---- history --------------------------------------------------------------------------------- */

struct walk {
    struct rot *r;
    int at;
};

static bool is_event(const struct rot *r, const struct rot_event *e, const struct record *rec)
{
    static const enum record_op ops[] = {
        [ROT_PUT] = RECORD_PUT,        [ROT_COPY] = RECORD_PUT,     [ROT_DELETE] = RECORD_DELETE,
        [ROT_COMPLETE] = RECORD_PUT,   [ROT_BEGIN] = RECORD_UPLOAD, [ROT_PART] = RECORD_PART,
        [ROT_PART_COPY] = RECORD_PART, [ROT_ABORT] = RECORD_ABORT};
    bool body = e->v.body != NULL, of_upload = rec->op == RECORD_PART || rec->op == RECORD_ABORT;
    return rec->op == ops[e->op] && slice_eq_str(rec->key, r->keys[e->key]) &&
           (!body || (rec->size == e->v.len && memcmp(rec->md5, e->v.md5, 16) == 0)) &&
           (!of_upload || (rec->upload == r->uploads[e->upload].id && rec->part == e->part)) &&
           (rec->op != RECORD_UPLOAD || rec->seq == r->uploads[e->upload].id);
}

static int walk_record(void *user, uint64_t rev, const struct record *rec)
{
    struct walk *w = user;
    struct rot *r = w->r;
    (void)rev;
    for (; w->at < r->n_events; w->at++) {
        const struct rot_event *e = &r->events[w->at];
        if (is_event(r, e, rec)) {
            w->at++;
            return 0;
        }
        if (!e->affected) {
            rot_fail(r, "the history lacks event %d (%s) at revision %llu", w->at, r->keys[e->key],
                     (unsigned long long)rev);
        }
    }
    for (int i = 0; i < r->n_events; i++) { /* what only the index knew of stands at the end */
        const struct rot_event *e = &r->events[i];
        if (e->affected && rec->op == RECORD_PUT && is_event(r, e, rec)) {
            return 0;
        }
    }
    rot_fail(r, "the history has more than what happened");
    return 0;
}

static int on_lost(void *user, const struct db_extra *lost, uint64_t off)
{
    (void)user, (void)lost, (void)off;
    return ZERR_CORRUPT;
}

bool rot_check_history(struct rot *r)
{
    struct dir_view view;
    struct db_summary sum = {0};
    struct walk w = {.r = r};
    struct db_visitor v = {.user = &w, .record = walk_record, .damage = on_lost};
    struct vfs_file *file;
    struct zerr_info info = {0};
    bool bad[DB_IDS];
    uint32_t id = 0;
    char name[FILE_NAME_BYTES];
    rot_must(r, dir_view_read(r->f.vfs, &view, &info) == 0, "dir_view_read");
    int rc = dir_choose_db(r->f.vfs, &view, &id, bad, &info);
    dir_view_finish(&view);
    if (rc == 0) {
        (void)snprintf(name, sizeof(name), DB_NAME_FMT, id);
        rot_must(r, r->f.vfs->ops->open(r->f.vfs, name, VFS_READ, &file) == 0, name);
        rc = db_scan(r->f.vfs, file, (struct db_pos){0}, &v, &sum, &info);
        r->f.vfs->ops->close(file);
    }
    if (rc != 0) {
        rot_must(r, rc == ZERR_CORRUPT, "db_scan");
        return false;
    }
    for (; w.at < r->n_events; w.at++) {
        if (!r->events[w.at].affected) {
            rot_fail(r, "the history ends before event %d (%s)", w.at,
                     r->keys[r->events[w.at].key]);
        }
    }
    bool good = sum.n_bad_headers == 0;
    db_summary_finish(&sum);
    return good;
}

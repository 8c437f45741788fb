/* The multipart uploads of rot_store.h: what happens to them, and what must be left of it. */
#include <stdio.h>
#include <stdlib.h>

#include "support/rot_priv.h"
#include "support/vfs_mem.h"

/* ---- what happens ---------------------------------------------------------------------------- */

struct answer {
    bool done;
    int status;
    uint64_t upload;
    struct object obj;
};

static void on_begun(void *user, int status, uint64_t upload)
{
    struct answer *a = user;
    *a = (struct answer){.done = true, .status = status, .upload = upload};
}

static void on_stored(void *user, int status, const struct object *obj)
{
    struct answer *a = user;
    *a = (struct answer){.done = true, .status = status};
    if (obj != NULL) {
        a->obj = *obj;
    }
}

static void on_completed(void *user, int status, const struct object *obj, size_t at)
{
    (void)at;
    on_stored(user, status, obj);
}

static void on_done(void *user, int status)
{
    on_stored(user, status, NULL);
}

/* To its answer, which must be that it is done. */
static void settle(struct rot *r, const struct answer *a, int rc, const char *what)
{
    rot_must(r, rc == 0, what);
    fx_pump(&r->f);
    rot_must(r, a->done && a->status == 0, what);
}

static struct rot_event *upload_event(struct rot *r, enum rot_op op, int upload)
{
    struct rot_event *e = rot_new_event(r, op, r->keys[r->uploads[upload].key]);
    e->upload = upload;
    return e;
}

static int begin(struct rot *r, const char *key, const char *meta)
{
    struct attr attr = {SLICE_LIT("X-Amz-Meta-K"), slice_str(meta)};
    struct upload_spec spec = {.key = slice_str(key), .meta = {&attr, 1}};
    struct answer a = {0};
    rot_must(r, r->n_uploads < ROT_UPLOADS_MAX, "too many uploads");
    struct rot_event *e = rot_new_event(r, ROT_BEGIN, key);
    e->upload = r->n_uploads++;
    (void)snprintf(e->v.meta, sizeof(e->v.meta), "%s", meta);
    settle(r, &a, store_begin_upload(r->f.st, &spec, on_begun, &a), "begin of an upload");
    r->uploads[e->upload] = (struct rot_upload){e->key, a.upload};
    return e->upload;
}

static void on_part(void *user, int status, struct part_page *page)
{
    struct rot_event *e = user;
    if (status == 0 && page->n == 1) {
        memcpy(e->v.md5, page->entries[0].md5, 16);
        e->v.mtime_ms = page->entries[0].mtime_ms;
        e->part = page->entries[0].number;
    }
    part_page_finish(page);
}

static void took(struct rot *r, struct rot_event *e, uint32_t number, uint8_t *body, size_t len)
{
    uint64_t id = r->uploads[e->upload].id;
    e->v.body = body;
    e->v.len = len;
    rot_must(r, store_list_parts(r->f.st, id, number - 1, 1, on_part, e) == 0, "list of parts");
    fx_pump(&r->f);
    rot_must(r, e->part == number, "a part that was not there");
    vfs_mem_advance(r->f.vfs, 1000);
}

static void part(struct rot *r, int upload, uint32_t number, size_t len)
{
    struct rot_event *e = upload_event(r, ROT_PART, upload);
    uint8_t *body = rot_body(r, len);
    fx_fill(body, len, (uint64_t)r->n_events);
    struct put_spec spec = {.key = slice_str(r->keys[e->key]),
                            .size = len,
                            .upload = r->uploads[upload].id,
                            .part = number};
    rot_must(r, fx_put_spec(&r->f, &spec, slice_of(body, len), 0, NULL, NULL) == 0, "part");
    took(r, e, number, body, len);
}

static void on_opened(void *user, int status)
{
    *(int *)user = status;
}

static void on_read(void *user, int status, struct read_piece piece)
{
    (void)user, (void)status, (void)piece;
}

static const struct reader_ops READER = {on_opened, on_read};

static void part_copy(struct rot *r, int upload, uint32_t number, const char *from, uint64_t off,
                      size_t len)
{
    struct rot_event *e = upload_event(r, ROT_PART_COPY, upload);
    int source = 0, opened = 0;
    while (strcmp(r->keys[source], from) != 0) {
        source++;
    }
    source = rot_last_of(r, source);
    uint8_t *body = rot_body(r, len);
    memcpy(body, r->events[source].v.body + off, len);
    struct reader *reader;
    int rc = reader_open(r->f.st, slice_str(from), true, &READER, &opened, &reader);
    rot_must(r, rc == 0 || rc == ZKV_PENDING, "open for a part");
    fx_pump(&r->f);
    struct part_copy_spec spec = {.key = slice_str(r->keys[e->key]),
                                  .upload = r->uploads[upload].id,
                                  .part = number,
                                  .src = reader,
                                  .from = off,
                                  .len = len};
    struct answer a = {0};
    rc = store_copy_part(r->f.st, &spec, on_stored, &a);
    settle(r, &a, opened == 0 ? rc : opened, "copy of a part");
    reader_close(reader);
    fx_pump(&r->f);
    took(r, e, number, body, len);
    rot_add_sources(r, e, source);
}

/* The last event that gave the upload that part. -1: none. without: that is not affected. */
static int part_event(const struct rot *r, int upload, uint32_t number, bool without)
{
    int last = -1;
    for (int i = 0; i < r->n_events; i++) {
        const struct rot_event *e = &r->events[i];
        if (e->upload == upload && e->part == number && !(without && e->affected)) {
            last = i;
        }
    }
    return last;
}

static int complete_of(struct rot *r, int upload, const struct part_name *parts, size_t n,
                       struct answer *a)
{
    struct complete_spec spec = {.key = slice_str(r->keys[r->uploads[upload].key]),
                                 .upload = r->uploads[upload].id,
                                 .parts = parts,
                                 .n_parts = n};
    *a = (struct answer){0};
    int rc = store_complete_upload(r->f.st, &spec, on_completed, a);
    for (int i = 0; rc == 0 && i < 30 && !a->done && !r->f.fatal; i++) {
        fx_pump(&r->f);
        vfs_mem_advance(r->f.vfs, 1000);
        store_tick(r->f.st);
    }
    return rc == 0 && a->done ? a->status : rc == 0 ? ZKV_PENDING : rc;
}

/* The parts' bytes one behind the other, with what the upload began with. */
static struct rot_version joined(struct rot *r, int upload, const int *parts, size_t n)
{
    struct rot_version v = {0};
    for (size_t i = 0; i < n; i++) {
        v.len += r->events[parts[i]].v.len;
    }
    uint8_t *body = rot_body(r, v.len);
    size_t off = 0;
    for (size_t i = 0; i < n; i++) {
        memcpy(body + off, r->events[parts[i]].v.body, r->events[parts[i]].v.len);
        off += r->events[parts[i]].v.len;
    }
    v.body = body;
    for (int i = 0; i < r->n_events; i++) {
        if (r->events[i].op == ROT_BEGIN && r->events[i].upload == upload) {
            memcpy(v.meta, r->events[i].v.meta, sizeof(v.meta));
        }
    }
    return v;
}

/* With parts 1..n. */
static void complete(struct rot *r, int upload, uint32_t n)
{
    struct part_name names[ROT_PARTS_MAX] = {{0}};
    int parts[ROT_PARTS_MAX];
    struct answer a;
    for (uint32_t i = 0; i < n; i++) {
        names[i].number = i + 1;
        parts[i] = part_event(r, upload, i + 1, false);
    }
    rot_must(r, complete_of(r, upload, names, n, &a) == 0, "completion");
    struct rot_event *e = upload_event(r, ROT_COMPLETE, upload);
    e->v = joined(r, upload, parts, n);
    for (uint32_t i = 0; i < n; i++) {
        rot_add_sources(r, e, parts[i]);
    }
    rot_look(r, e);
}

static void give_up(struct rot *r, int upload)
{
    struct rot_event *e = upload_event(r, ROT_ABORT, upload);
    struct answer a = {0};
    int rc =
        store_abort_upload(r->f.st, slice_str(r->keys[e->key]), r->uploads[upload].id, on_done, &a);
    settle(r, &a, rc, "giving up");
}

void rot_uploads_first(struct rot *r, size_t big)
{
    rot_put(r, "source", 900, "m-source");
    rot_put(r, "made", 50, "m-before");
    int made = begin(r, "made", "m-made");
    part(r, made, 1, 700);
    part(r, made, 2, 800);
    int gone = begin(r, "gone", "m-gone");
    part(r, gone, 1, 300);
    part(r, made, 2, 600);
    part_copy(r, made, 3, "source", 100, 300);
    complete(r, made, 3);
    give_up(r, gone);
    rot_copy(r, "made", "twin");
    int wait = begin(r, "wait", "m-wait");
    part(r, wait, 1, 400);
    part(r, wait, 2, 450);
    if (big > 0) {
        int large = begin(r, "large", "m-large");
        part(r, large, 2, big - big / 3);
        part(r, large, 1, big / 3);
        complete(r, large, 2);
    }
}

void rot_uploads_second(struct rot *r)
{
    static const char *const overwritten[] = {"made"};
    int wait = 2;
    part(r, wait, 2, 333);
    part_copy(r, wait, 3, "twin", 650, 200); /* from two parts of it */
    int late = begin(r, "late", "m-late");
    part(r, late, 1, 128);
    rot_put(r, "late", 70, "m-plain");
    part(r, late, 2, 10);
    complete(r, late, 2);
    rot_delete(r, overwritten, 1);
    int none = begin(r, "none", "m-none"); /* without parts */
    int over = begin(r, "over", "m-over");
    part(r, over, 1, 90);
    give_up(r, over);
    int last = begin(r, "late", "m-last");
    part(r, last, 1, 64);
    part_copy(r, last, 2, "source", 0, 900);
    part(r, last, 4, 77);
    rot_must(r, none != last, "numbers");
}

/* ---- what must be there ---------------------------------------------------------------------- */

struct uploads_seen {
    struct rot *r;
    bool done, seen[ROT_UPLOADS_MAX];
    int status, upload;
    int parts[ROT_PARTS_MAX + 1]; /* per number: the event; -1: not there */
};

static void on_uploads(void *user, int status, struct list_page *page)
{
    struct uploads_seen *s = user;
    struct rot *r = s->r;
    s->done = true;
    s->status = status;
    for (size_t i = 0; status == 0 && i < page->n; i++) {
        const struct list_entry *e = &page->entries[i];
        int u = 0;
        while (u < r->n_uploads && r->uploads[u].id != e->upload) {
            u++;
        }
        rot_must(
            r, u < r->n_uploads && !s->seen[u] && slice_eq_str(e->key, r->keys[r->uploads[u].key]),
            "there is an upload that never was, or twice");
        s->seen[u] = true;
    }
    list_page_finish(page);
}

static void on_parts(void *user, int status, struct part_page *page)
{
    struct uploads_seen *s = user;
    struct rot *r = s->r;
    s->done = true;
    s->status = status;
    for (size_t i = 0; status == 0 && i < page->n; i++) {
        const struct part_entry *p = &page->entries[i];
        rot_must(r, p->number <= ROT_PARTS_MAX && s->parts[p->number] < 0,
                 "there is a part that never was, or twice");
        for (int way = 0; way < 2 && s->parts[p->number] < 0; way++) {
            int at = part_event(r, s->upload, p->number, way == 1);
            const struct rot_version *v = at < 0 ? NULL : &r->events[at].v;
            if (v != NULL && p->size == v->len && p->mtime_ms == v->mtime_ms &&
                memcmp(p->md5, v->md5, 16) == 0) {
                s->parts[p->number] = at;
            }
        }
        rot_must(r, s->parts[p->number] >= 0, "a part is as it never was");
    }
    part_page_finish(page);
}

/* Is some event about the upload affected? part 0: one that began or ended it. */
static bool is_affected(const struct rot *r, int upload, uint32_t number)
{
    for (int i = 0; i < r->n_events; i++) {
        const struct rot_event *e = &r->events[i];
        if (e->upload == upload && e->part == number && e->affected) {
            return true;
        }
    }
    return false;
}

static bool is_under_way(const struct rot *r, int upload)
{
    bool ended = false;
    for (int i = 0; i < r->n_events; i++) {
        const struct rot_event *e = &r->events[i];
        ended = ended || (e->upload == upload && (e->op == ROT_COMPLETE || e->op == ROT_ABORT));
    }
    return !ended;
}

/* False: the index has been given up, which the caller may allow. */
static bool list_uploads(struct uploads_seen *s)
{
    struct rot *r = s->r;
    struct list_query q = {.max = 100, .uploads = true};
    s->done = false;
    rot_must(r, store_list(r->f.st, &q, on_uploads, s) == 0, "list of uploads");
    fx_pump(&r->f);
    rot_must(r, s->done, "the list of uploads has no answer");
    return s->status == 0;
}

static bool list_parts(struct uploads_seen *s, int upload)
{
    struct rot *r = s->r;
    s->upload = upload;
    s->done = false;
    for (int i = 0; i <= ROT_PARTS_MAX; i++) {
        s->parts[i] = -1;
    }
    int rc = store_list_parts(r->f.st, r->uploads[upload].id, 0, 100, on_parts, s);
    rot_must(r, rc == 0, "list of parts");
    fx_pump(&r->f);
    rot_must(r, s->done, "the list of parts has no answer");
    return s->status == 0;
}

static void gave_up(struct rot *r, int status)
{
    if (status != ZERR_CORRUPT || !r->may_give_up || !r->f.fatal) {
        rot_fail(r, "the uploads: %s", zerr_str(status));
    }
    r->gave_up = true;
}

static void check_parts(struct uploads_seen *s, struct rot_counts *counts)
{
    struct rot *r = s->r;
    for (uint32_t n = 1; n <= ROT_PARTS_MAX; n++) {
        int want = part_event(r, s->upload, n, false);
        if (s->parts[n] == want) {
            continue;
        }
        if (!is_affected(r, s->upload, n) && !is_affected(r, s->upload, 0)) {
            rot_fail(r, "part %u of the upload of %s is missing, and nothing of it was damaged", n,
                     r->keys[r->uploads[s->upload].key]);
        }
        *(s->parts[n] < 0 ? &counts->missing : &counts->reverted) += 1;
    }
}

void rot_check_uploads(struct rot *r, struct rot_counts *counts)
{
    struct uploads_seen s = {.r = r};
    if (!list_uploads(&s)) {
        gave_up(r, s.status);
        return;
    }
    for (int u = 0; u < r->n_uploads; u++) {
        if (s.seen[u] != is_under_way(r, u)) {
            if (!is_affected(r, u, 0)) {
                rot_fail(r, "the upload of %s %s", r->keys[r->uploads[u].key],
                         s.seen[u] ? "has ended" : "is missing");
            }
            *(s.seen[u] ? &counts->reverted : &counts->missing) += 1;
        }
        if (s.seen[u]) {
            if (!list_parts(&s, u)) {
                gave_up(r, s.status);
                return;
            }
            check_parts(&s, counts);
        }
    }
}

/* What was made of these parts of that upload is read as they were, or not at all. */
static void check_made(struct rot *r, int upload, const int *parts, size_t n,
                       const struct answer *a)
{
    struct rot_version v = joined(r, upload, parts, n);
    const struct rot_version *const is[2] = {&v, NULL}, *got;
    bool affected = false;
    for (size_t i = 0; i < n; i++) {
        affected = affected || r->events[parts[i]].affected;
    }
    memcpy(v.md5, a->obj.md5, 16);
    v.mtime_ms = a->obj.mtime_ms;
    int rc = rot_read_name(r, r->uploads[upload].key, true, 0, UINT64_MAX, is, &got);
    if (rc != 0 && !(affected && rc == ZERR_DAMAGED)) {
        rot_fail(r, "what was made of the upload of %s: %s", r->keys[r->uploads[upload].key],
                 zerr_str(rc));
    }
    free((void *)(uintptr_t)v.body);
}

void rot_complete_uploads(struct rot *r)
{
    struct uploads_seen s = {.r = r};
    if (!list_uploads(&s)) {
        gave_up(r, s.status);
        return;
    }
    for (int u = 0; u < r->n_uploads; u++) {
        struct part_name names[ROT_PARTS_MAX] = {{0}};
        int parts[ROT_PARTS_MAX];
        size_t n = 0;
        struct answer a;
        if (!s.seen[u]) {
            continue;
        }
        if (!list_parts(&s, u)) {
            gave_up(r, s.status);
            return;
        }
        for (uint32_t k = 1; k <= ROT_PARTS_MAX; k++) {
            if (s.parts[k] >= 0) {
                names[n].number = k;
                parts[n++] = s.parts[k];
            }
        }
        if (n > 0) {
            int rc = complete_of(r, u, names, n, &a);
            if ((rc == ZERR_BUSY || rc == ZERR_CORRUPT) && r->may_give_up) {
                return; /* the index cannot be written, or not read */
            }
            rot_must(r, rc == 0, "completion of what is left");
            check_made(r, u, parts, n, &a);
        }
    }
}

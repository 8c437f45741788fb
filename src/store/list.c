/* Listings: pages of names, of uploads and of parts, read from the index in a worker.
 *
 * They share one connection (ix_list), so they go one at a time, in the order they were asked for. */
#include <stdlib.h>

#include "store/store_priv.h"

/* ---- the queue ---- */

static void start(struct store *st);

static void job_run(struct job *job)
{
    struct index_job *j = container_of(job, struct index_job, job);
    j->run(j);
}

static void job_done(struct job *job)
{
    struct index_job *j = container_of(job, struct index_job, job);
    struct store *st = j->st;
    st->lists = j->next;
    if (st->lists == NULL) {
        st->lists_tail = &st->lists;
    }
    st->list_running = false;
    st->n_jobs--;
    start(st);
    j->done(j);
    store_stop_step(st);
}

static void start(struct store *st)
{
    if (st->lists == NULL || st->list_running) {
        return;
    }
    st->list_running = true;
    st->n_jobs++;
    st->lists->job = (struct job){.run = job_run, .done = job_done, .cls = JOB_READ};
    st->cfg.workers->submit(st->cfg.workers, &st->lists->job);
}

void index_job_submit(struct store *st, struct index_job *j)
{
    j->st = st;
    j->next = NULL;
    *st->lists_tail = j;
    st->lists_tail = &j->next;
    start(st);
}

/* ---- names and uploads ---- */

struct list_job {
    struct index_job base;
    struct list_query query;
    struct list_page page;
    int status;
    void (*done)(void *, int, struct list_page *);
    void *user;
    uint8_t bytes[]; /* of the query */
};

static void list_run(struct index_job *j)
{
    struct list_job *l = container_of(j, struct list_job, base);
    l->status = index_list(j->st->ix_list, &l->query, &l->page);
}

static void list_done(struct index_job *j)
{
    struct list_job *l = container_of(j, struct list_job, base);
    (void)store_saw_index(j->st, l->status);
    l->done(l->user, l->status, &l->page);
    free(l);
}

static uint8_t *keep(uint8_t *at, struct slice *s)
{
    if (s->len > 0) {
        memcpy(at, s->ptr, s->len);
    }
    s->ptr = at;
    return at + s->len;
}

int store_list(struct store *st, const struct list_query *q,
               void (*done)(void *user, int status, struct list_page *page), void *user)
{
    struct list_job *l = calloc(1, sizeof(*l) + q->prefix.len + q->after.len + q->delimiter.len);
    if (l == NULL) {
        return ZERR_NOMEM;
    }
    l->query = *q;
    uint8_t *at = keep(l->bytes, &l->query.prefix);
    at = keep(at, &l->query.after);
    (void)keep(at, &l->query.delimiter);
    l->base.run = list_run;
    l->base.done = list_done;
    l->done = done;
    l->user = user;
    index_job_submit(st, &l->base);
    return 0;
}

/* ---- parts ---- */

struct parts_job {
    struct index_job base;
    uint64_t upload;
    uint32_t after;
    size_t max, cap;
    struct part_page page;
    int status;
    void (*done)(void *, int, struct part_page *);
    void *user;
};

#define ENOUGH ZERR_CANCELED

void part_page_finish(struct part_page *page)
{
    free(page->entries);
    arena_finish(&page->arena);
    *page = (struct part_page){0};
}

static int keep_sys(struct parts_job *p, struct attrs sys, struct attrs *ret)
{
    struct attr *v = arena_alloc(&p->page.arena, sys.n * sizeof(*v) + 1);
    if (v == NULL) {
        return ZERR_NOMEM;
    }
    for (size_t i = 0; i < sys.n; i++) {
        v[i].name = arena_dup(&p->page.arena, sys.v[i].name);
        v[i].value = arena_dup(&p->page.arena, sys.v[i].value);
        if (v[i].name.ptr == NULL || v[i].value.ptr == NULL) {
            return ZERR_NOMEM;
        }
    }
    *ret = (struct attrs){v, sys.n};
    return 0;
}

static int take_part(void *user, const struct record *rec)
{
    struct parts_job *p = user;
    if (p->page.n == p->max) {
        p->page.truncated = true;
        return ENOUGH;
    }
    if (p->page.n == p->cap) {
        size_t cap = p->cap == 0 ? 64 : p->cap * 2;
        struct part_entry *v = realloc(p->page.entries, cap * sizeof(*v));
        if (v == NULL) {
            return ZERR_NOMEM;
        }
        p->page.entries = v;
        p->cap = cap;
    }
    struct part_entry *e = &p->page.entries[p->page.n++];
    *e = (struct part_entry){.number = rec->part, .size = rec->size, .mtime_ms = rec->mtime_ms};
    memcpy(e->md5, rec->md5, sizeof(e->md5));
    return keep_sys(p, rec->sys, &e->sys);
}

static void parts_run(struct index_job *j)
{
    struct parts_job *p = container_of(j, struct parts_job, base);
    struct index *ix = j->st->ix_list;
    p->status = index_has_upload(ix, p->upload);
    if (p->status == 0) {
        int rc = index_each_part(ix, p->upload, p->after, take_part, p);
        p->status = rc == ENOUGH ? 0 : rc;
    }
}

static void parts_done(struct index_job *j)
{
    struct parts_job *p = container_of(j, struct parts_job, base);
    if (store_saw_index(j->st, p->status) != 0) {
        part_page_finish(&p->page);
    }
    p->done(p->user, p->status, &p->page);
    free(p);
}

int store_list_parts(struct store *st, uint64_t upload, uint32_t after, size_t max,
                     void (*done)(void *user, int status, struct part_page *page), void *user)
{
    struct parts_job *p = calloc(1, sizeof(*p));
    if (p == NULL) {
        return ZERR_NOMEM;
    }
    p->base.run = parts_run;
    p->base.done = parts_done;
    p->upload = upload;
    p->after = after;
    p->max = max;
    p->done = done;
    p->user = user;
    index_job_submit(st, &p->base);
    return 0;
}

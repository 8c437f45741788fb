/* Pages of names, and all names in order of place (index.h).
 *
 * A page is one ordered walk over `key >= bound`, one snapshot. When a common prefix has been
 * taken, the walk starts again at the first key that does not begin with it, so that a prefix costs
 * one seek however many names it has. */
#include "store/index_priv.h"

#include <stdlib.h>

#define PLACE_BATCH 256

/* bound = the first byte string behind all that begin with s. ZERR_NOT_FOUND: there is none. */
static int bound_behind(struct slice s, struct buf *bound)
{
    while (s.len > 0 && s.ptr[s.len - 1] == 0xff) {
        s.len--;
    }
    if (s.len == 0) {
        return ZERR_NOT_FOUND;
    }
    buf_reset(bound);
    int rc = buf_append(bound, s.ptr, s.len);
    if (rc == 0) {
        bound->ptr[s.len - 1]++;
    }
    return rc;
}

/* The part of key up to and with the first delimiter behind the prefix; empty if none is there. */
static struct slice common_prefix(const struct list_query *q, struct slice key)
{
    if (q->delimiter.len == 0 || !slice_has_prefix(key, q->prefix)) {
        return slice_of(NULL, 0);
    }
    const uint8_t *at = memmem(key.ptr + q->prefix.len, key.len - q->prefix.len, q->delimiter.ptr,
                               q->delimiter.len);
    return at == NULL ? slice_of(NULL, 0)
                      : slice_of(key.ptr, (size_t)(at - key.ptr) + q->delimiter.len);
}

/* Where the walk begins. ZERR_NOT_FOUND: the page is empty. */
static int first_bound(const struct list_query *q, struct buf *bound)
{
    buf_reset(bound);
    if (q->after.len == 0 || slice_cmp(q->after, q->prefix) < 0) {
        return buf_append(bound, q->prefix.ptr, q->prefix.len);
    }
    if (q->uploads && q->after_upload != 0) {
        return buf_append(bound, q->after.ptr, q->after.len); /* STMT_LIST_UPLOADS does the rest */
    }
    /* A common prefix that `after` stands in is not above `after`. */
    struct slice rolled = common_prefix(q, q->after);
    if (rolled.len > 0) {
        return bound_behind(rolled, bound);
    }
    int rc = buf_append(bound, q->after.ptr, q->after.len);
    return rc != 0 ? rc : buf_append(bound, "", 1);
}

/* Room for one more entry; the old array stays in the arena. */
static int grow(struct list_page *page, size_t *cap, size_t max)
{
    if (page->n < *cap) {
        return 0;
    }
    size_t want = *cap > 0 ? *cap * 2 : 64;
    want = want < max ? want : max;
    struct list_entry *v = arena_alloc(&page->arena, want * sizeof *v);
    if (v == NULL) {
        return ZERR_NOMEM;
    }
    if (page->n > 0) {
        memcpy(v, page->entries, page->n * sizeof *v);
    }
    page->entries = v;
    *cap = want;
    return 0;
}

static int add_entry(sqlite3_stmt *s, struct slice key, bool is_prefix, bool is_upload,
                     struct list_page *page)
{
    struct list_entry e = {.key = arena_dup(&page->arena, key), .is_prefix = is_prefix};
    if (e.key.ptr == NULL) {
        return ZERR_NOMEM;
    }
    if (!is_prefix) {
        struct slice md5 = index_column_slice(s, 3);
        *(is_upload ? &e.upload : &e.size) = (uint64_t)sqlite3_column_int64(s, 1);
        e.mtime_ms = sqlite3_column_int64(s, 2);
        e.has_md5 = md5.len == sizeof e.md5;
        if (e.has_md5) {
            memcpy(e.md5, md5.ptr, sizeof e.md5);
        }
        e.parts = (uint32_t)sqlite3_column_int64(s, 5);
    }
    page->entries[page->n++] = e;
    return 0;
}

/* Takes rows from the bound on until the page is full or the names end (ZERR_NOT_FOUND), or a
 * common prefix was taken: then bound is behind it and the walk must start again (0). */
static int walk(sqlite3_stmt *s, const struct list_query *q, struct buf *bound,
                struct list_page *page, size_t *cap)
{
    int rc;
    while ((rc = index_fetch(s)) == 0) {
        struct slice key = index_column_slice(s, 0);
        if (!slice_has_prefix(key, q->prefix)) {
            return ZERR_NOT_FOUND;
        }
        if (sqlite3_column_int64(s, 4) != 0) {
            continue;
        }
        if (page->n == q->max) {
            page->truncated = true;
            return ZERR_NOT_FOUND;
        }
        struct slice rolled = common_prefix(q, key);
        rc = grow(page, cap, q->max);
        if (rc == 0) {
            rc = add_entry(s, rolled.len > 0 ? rolled : key, rolled.len > 0, q->uploads, page);
        }
        if (rc == 0 && rolled.len > 0) {
            sqlite3_reset(s); /* before the bound it is bound to changes; the name was copied */
            return bound_behind(page->entries[page->n - 1].key, bound);
        }
        if (rc != 0) {
            return rc;
        }
    }
    return rc;
}

int index_list(struct index *ix, const struct list_query *q, struct list_page *ret)
{
    struct list_page page = {0};
    struct buf bound = {0};
    size_t cap = 0;
    sqlite3_stmt *s = ix->stmts[q->uploads ? STMT_LIST_UPLOADS : STMT_LIST];
    sqlite3_int64 after = q->uploads ? (sqlite3_int64)q->after_upload : 0;
    bool snapshot = sqlite3_get_autocommit(ix->db) != 0;
    int rc = q->max == 0 ? ZERR_NOT_FOUND : first_bound(q, &bound);
    if (rc == 0 && snapshot) {
        rc = index_run(ix->stmts[STMT_BEGIN]);
        snapshot = rc == 0;
    } else {
        snapshot = false;
    }
    while (rc == 0) {
        rc = index_bind_slice(s, 1, buf_slice(&bound)) != SQLITE_OK ? ZERR_NOMEM : 0;
        if (rc == 0 && q->uploads && sqlite3_bind_int64(s, 2, after) != SQLITE_OK) {
            rc = ZERR_NOMEM;
        }
        if (rc == 0) {
            rc = walk(s, q, &bound, &page, &cap);
            sqlite3_reset(s);
            after = 0; /* of the first bound alone */
        }
    }
    if (snapshot) {
        int end = index_run(ix->stmts[STMT_COMMIT]);
        rc = rc == ZERR_NOT_FOUND && end != 0 ? end : rc;
    }
    buf_finish(&bound);
    if (rc != ZERR_NOT_FOUND) {
        list_page_finish(&page);
        return rc;
    }
    *ret = page;
    return 0;
}

void list_page_finish(struct list_page *page)
{
    arena_finish(&page->arena);
    *page = (struct list_page){0};
}

/* ---- in order of place ----------------------------------------------------------------------- */

struct placed {
    struct slice key;
    struct object obj;
};

/* The next names behind (block, off, key), copied, so that no statement stays open. */
static int read_batch(sqlite3_stmt *s, int64_t block, int64_t off, struct slice key,
                      struct arena *arena, struct placed *v, size_t *ret_n)
{
    size_t n = 0;
    int rc = sqlite3_bind_int64(s, 1, block) | sqlite3_bind_int64(s, 2, off);
    rc |= index_bind_slice(s, 3, key) | sqlite3_bind_int64(s, 4, PLACE_BATCH);
    if (rc != SQLITE_OK) {
        return ZERR_NOMEM;
    }
    while ((rc = index_fetch(s)) == 0) {
        v[n].key = arena_dup(arena, index_column_slice(s, 0));
        rc = v[n].key.ptr == NULL ? ZERR_NOMEM : index_row_object(s, 1, &v[n].obj);
        if (rc != 0) {
            sqlite3_reset(s);
            return rc;
        }
        n++;
    }
    *ret_n = n;
    return rc == ZERR_NOT_FOUND ? 0 : rc;
}

static int each_placed(sqlite3_stmt *s,
                       int (*each)(void *user, struct slice key, const struct object *), void *user)
{
    struct arena arenas[2] = {{0}, {0}}; /* the last key of one batch is where the next begins */
    struct placed *v = calloc(PLACE_BATCH, sizeof *v);
    struct slice key = {0};
    int64_t block = -1, off = -1;
    size_t n = PLACE_BATCH;
    int rc = v != NULL ? 0 : ZERR_NOMEM;
    for (int turn = 0; rc == 0 && n == PLACE_BATCH; turn ^= 1) {
        arena_reset(&arenas[turn]);
        rc = read_batch(s, block, off, key, &arenas[turn], v, &n);
        for (size_t i = 0; rc == 0 && i < n; i++) {
            rc = each(user, v[i].key, &v[i].obj);
        }
        if (rc == 0 && n > 0) {
            block = v[n - 1].obj.body.block;
            off = (int64_t)v[n - 1].obj.body.off;
            key = v[n - 1].key;
        }
    }
    free(v);
    arena_finish(&arenas[0]);
    arena_finish(&arenas[1]);
    return rc;
}

int index_each_by_place(struct index *ix,
                        int (*each)(void *user, struct slice key, const struct object *),
                        void *user)
{
    return each_placed(ix->stmts[STMT_BY_PLACE], each, user);
}

int index_each_damaged(struct index *ix,
                       int (*each)(void *user, struct slice key, const struct object *), void *user)
{
    return each_placed(ix->stmts[STMT_DAMAGED], each, user);
}

#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define BUF_MIN 64
#define ARENA_ALIGN _Alignof(max_align_t) /* malloc()'s: 8 on 32-bit ARM */
#define ARENA_CHUNK 4096

void buf_finish(struct buf *b)
{
    free(b->ptr);
    *b = (struct buf){0};
}

int buf_reserve(struct buf *b, size_t n)
{
    size_t need, cap;
    uint8_t *ptr;

    if (n <= b->cap - b->len) {
        return 0;
    }
    if (n > SIZE_MAX / 2 - b->len) {
        return ZERR_NOMEM;
    }
    need = b->len + n;
    cap = b->cap < BUF_MIN ? BUF_MIN : b->cap * 2;
    if (cap < need) {
        cap = need;
    }
    ptr = realloc(b->ptr, cap);
    if (ptr == NULL) {
        return ZERR_NOMEM;
    }
    b->ptr = ptr;
    b->cap = cap;
    return 0;
}

int buf_append(struct buf *b, const void *data, size_t len)
{
    int err = buf_reserve(b, len);

    if (err != 0) {
        return err;
    }
    if (len > 0) {
        memcpy(b->ptr + b->len, data, len);
        b->len += len;
    }
    return 0;
}

int buf_append_str(struct buf *b, const char *s)
{
    return buf_append(b, s, strlen(s));
}

int buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list ap;
    int n, err;

    va_start(ap, fmt);
    n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0) {
        return ZERR_INVALID;
    }
    err = buf_reserve(b, (size_t)n + 1); /* vsnprintf's NUL lies behind len */
    if (err != 0) {
        return err;
    }
    va_start(ap, fmt);
    (void)vsnprintf((char *)b->ptr + b->len, (size_t)n + 1, fmt, ap);
    va_end(ap);
    b->len += (size_t)n;
    return 0;
}

struct arena_chunk {
    struct arena_chunk *next; /* older */
    size_t used, cap;         /* bytes of data */
    _Alignas(ARENA_ALIGN) uint8_t data[];
};

void arena_reset(struct arena *a)
{
    struct arena_chunk *keep = NULL, *c = a->chunk;

    while (c != NULL) {
        struct arena_chunk *next = c->next;

        if (keep == NULL && c->cap == ARENA_CHUNK) {
            keep = c;
        } else {
            free(c);
        }
        c = next;
    }
    if (keep != NULL) {
        keep->next = NULL;
        keep->used = 0;
    }
    a->chunk = keep;
    a->used_total = 0;
}

void arena_finish(struct arena *a)
{
    while (a->chunk != NULL) {
        struct arena_chunk *next = a->chunk->next;

        free(a->chunk);
        a->chunk = next;
    }
    a->used_total = 0;
}

void *arena_alloc(struct arena *a, size_t n)
{
    struct arena_chunk *c = a->chunk;
    size_t size, cap;
    void *ret;

    if (n > SIZE_MAX / 2) {
        return NULL;
    }
    size = (n + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN;
    size = size > 0 ? size : ARENA_ALIGN; /* each allocation has an address of its own */
    if (c == NULL || size > c->cap - c->used) {
        cap = size > ARENA_CHUNK ? size : ARENA_CHUNK;
        c = malloc(sizeof(*c) + cap);
        if (c == NULL) {
            return NULL;
        }
        *c = (struct arena_chunk){.next = a->chunk, .cap = cap};
        a->chunk = c;
    }
    ret = c->data + c->used;
    c->used += size;
    a->used_total += size;
    return ret;
}

struct slice arena_dup(struct arena *a, struct slice s)
{
    uint8_t *p = s.len < SIZE_MAX ? arena_alloc(a, s.len + 1) : NULL;

    if (p == NULL) {
        return (struct slice){0};
    }
    if (s.len > 0) {
        memcpy(p, s.ptr, s.len);
    }
    p[s.len] = '\0';
    return slice_of(p, s.len);
}

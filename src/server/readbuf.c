#include "server/readbuf.h"

#include <assert.h>
#include <stdlib.h>

#include "http/http_limits.h"

struct readbuf *readbuf_take(struct readbuf_pool *pool, size_t want, void *owner)
{
    bool small = want <= HTTP_READ_SMALL;
    struct readbuf **list = small ? &pool->free_small : &pool->free_large;
    unsigned *n_free = small ? &pool->n_small : &pool->n_large;
    size_t cap = small ? HTTP_READ_SMALL : HTTP_READ_LARGE;
    struct readbuf *b = *list;
    if (b != NULL) {
        *list = b->next_free;
        (*n_free)--;
    } else {
        b = malloc(sizeof(*b) + cap);
        if (b == NULL) {
            return NULL;
        }
        b->pool = pool;
        b->cap = cap;
        ring_init(&b->held);
    }
    pool->n_used++;
    b->owner = owner;
    b->n_holds = 0;
    b->current = true;
    b->fill = 0;
    return b;
}

void readbuf_release(struct readbuf *b)
{
    if (b->current || b->n_holds > 0) {
        return;
    }
    struct readbuf_pool *pool = b->pool;
    bool small = b->cap == HTTP_READ_SMALL;
    struct readbuf **list = small ? &pool->free_small : &pool->free_large;
    unsigned *n_free = small ? &pool->n_small : &pool->n_large;
    assert(!ring_used(&b->held) && pool->n_used > 0);
    pool->n_used--;
    if (*n_free >= (small ? HTTP_KEEP_SMALL : HTTP_KEEP_LARGE)) {
        free(b);
        return;
    }
    b->next_free = *list;
    *list = b;
    (*n_free)++;
}

static void free_all(struct readbuf *b)
{
    while (b != NULL) {
        struct readbuf *next = b->next_free;
        free(b);
        b = next;
    }
}

void readbuf_pool_finish(struct readbuf_pool *pool)
{
    assert(pool->n_used == 0);
    free_all(pool->free_small);
    free_all(pool->free_large);
    *pool = (struct readbuf_pool){0};
}

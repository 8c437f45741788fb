/* An intrusive doubly linked list: a ring of links, the list's head among them.
 * A link that is in no list points to itself. */
#ifndef ZKV_SERVER_RING_H
#define ZKV_SERVER_RING_H

#include <stdbool.h>

struct ring {
    struct ring *prev, *next;
};

static inline void ring_init(struct ring *r)
{
    r->prev = r->next = r;
}

/* Is in a list; of a list's head: has members. */
static inline bool ring_used(const struct ring *r)
{
    return r->next != r;
}

static inline void ring_remove(struct ring *r)
{
    r->prev->next = r->next;
    r->next->prev = r->prev;
    ring_init(r);
}

static inline void ring_append(struct ring *head, struct ring *r)
{
    r->prev = head->prev;
    r->next = head;
    head->prev->next = r;
    head->prev = r;
}

#endif

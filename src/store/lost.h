/* Acknowledged names whose records nobody can read any more.
 *
 * In an unsealed block a frame whose record is damaged does not say whose it was. The look-up index may:
 * a name's row says where its record is. What is found so goes into the history again, so that the
 * name is an error from now on and not what it was before (recover.c). A deletion has no row: if its
 * record is damaged, nobody knows, and the name has its body again. */
#ifndef ZKV_STORE_LOST_H
#define ZKV_STORE_LOST_H

#include "store/index.h"
#include "store/tail.h"

struct lost_name {
    struct slice key; /* in the arena */
    struct object obj;
};

struct lost { /* {0}: none */
    struct arena arena;
    struct lost_name *v;
    size_t n, cap;
};

/* The names with records in rooms of the tail that were not read. Looks at every name. On failure
 * nothing is to be finished. */
int lost_find(struct index *, const struct tail *, struct lost *ret) ZKV_MUST_CHECK;
/* Something is known of that name that came later. */
void lost_forget(struct lost *, struct slice key);
void lost_finish(struct lost *);

/* In a transaction: the name is damaged, if its record is still in that frame. */
int lost_mark(struct index *, struct slice key, struct place frame) ZKV_MUST_CHECK;

#endif

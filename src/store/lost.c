/* See lost.h. */
#include "store/lost.h"

#include <stdlib.h>

struct find {
    const struct tail *tail;
    struct lost lost;
};

static bool is_unread(const struct tail *t, struct place frame)
{
    for (size_t i = 0; i < t->n_loose; i++) {
        if (tail_loose_has(&t->loose[i], frame)) {
            return true;
        }
    }
    return false;
}

static int see_name(void *user, struct slice key, const struct object *obj)
{
    struct find *f = user;
    struct lost *l = &f->lost;
    if (!obj->framed || !is_unread(f->tail, obj->frame)) {
        return 0;
    }
    if (l->n == l->cap) {
        size_t cap = l->cap == 0 ? 16 : l->cap * 2;
        struct lost_name *v = realloc(l->v, cap * sizeof(*v));
        if (v == NULL) {
            return ZERR_NOMEM;
        }
        l->v = v;
        l->cap = cap;
    }
    struct slice copy = arena_dup(&l->arena, key);
    if (copy.ptr == NULL) {
        return ZERR_NOMEM;
    }
    l->v[l->n++] = (struct lost_name){copy, *obj};
    return 0;
}

int lost_find(struct index *ix, const struct tail *tail, struct lost *ret)
{
    struct find f = {.tail = tail};
    int rc = index_each_by_place(ix, see_name, &f);
    if (rc != 0) {
        lost_finish(&f.lost);
        return rc;
    }
    *ret = f.lost;
    return 0;
}

void lost_forget(struct lost *l, struct slice key)
{
    size_t n = 0;
    for (size_t i = 0; i < l->n; i++) {
        if (!slice_eq(l->v[i].key, key)) {
            l->v[n++] = l->v[i];
        }
    }
    l->n = n;
}

void lost_finish(struct lost *l)
{
    arena_finish(&l->arena);
    free(l->v);
    *l = (struct lost){0};
}

int lost_mark(struct index *ix, struct slice key, struct place frame)
{
    struct object now;
    int rc = index_lookup(ix, key, &now);
    if (rc == 0 && now.framed && now.frame.block == frame.block && now.frame.off == frame.off) {
        return index_set_key_damage(ix, key, true, NULL);
    }
    return rc == ZERR_NOT_FOUND ? 0 : rc;
}

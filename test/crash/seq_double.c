/* The sorter of the recovery (store/index_seq.h) without SQLite, for a few hundred frames: see
 * index_double.c. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "store/index_seq.h"
#include "support/mem_disk.h"

#define ROWS_MAX 512

struct seq_table {
    struct seq_row v[ROWS_MAX]; /* in order of numbers */
    size_t n;
};

int seq_table_create(struct seq_table **ret)
{
    *ret = mem_must(malloc(sizeof(**ret)));
    (*ret)->n = 0;
    return 0;
}

void seq_table_destroy(struct seq_table *t)
{
    free(t);
}

int seq_table_add(struct seq_table *t, const struct seq_row *row, bool *ret_new)
{
    size_t at = t->n;
    while (at > 0 && t->v[at - 1].seq >= row->seq) {
        at--;
    }
    bool is_new = at == t->n || t->v[at].seq != row->seq;
    assert(t->n < ROWS_MAX && row->record.len == 0);
    if (is_new) {
        memmove(&t->v[at + 1], &t->v[at], (t->n - at) * sizeof(t->v[0]));
        t->v[at] = *row;
        t->n++;
    }
    if (ret_new != NULL) {
        *ret_new = is_new;
    }
    return 0;
}

int seq_table_next(struct seq_table *t, uint64_t after, struct seq_row *ret)
{
    size_t i = 0;
    while (i < t->n && t->v[i].seq <= after) {
        i++;
    }
    if (i < t->n) {
        *ret = t->v[i];
    }
    return i < t->n ? 0 : ZERR_NOT_FOUND;
}

int seq_table_floor(struct seq_table *t, uint64_t seq, struct seq_row *ret)
{
    size_t i = 0;
    while (i < t->n && t->v[i].seq <= seq) {
        i++;
    }
    if (i > 0) {
        *ret = t->v[i - 1];
    }
    return i > 0 ? 0 : ZERR_NOT_FOUND;
}

int seq_table_each(struct seq_table *t, uint64_t after,
                   int (*each)(void *user, const struct seq_row *), void *user)
{
    struct seq_row row;
    int rc = 0;
    while (rc == 0 && seq_table_next(t, after, &row) == 0) {
        after = row.seq;
        rc = each(user, &row);
    }
    return rc;
}

int seq_table_find(struct seq_table *t, struct place at, struct seq_row *ret)
{
    for (size_t i = 0; i < t->n; i++) {
        if (t->v[i].frame.block == at.block && t->v[i].frame.off == at.off) {
            *ret = t->v[i];
            return 0;
        }
    }
    return ZERR_NOT_FOUND;
}

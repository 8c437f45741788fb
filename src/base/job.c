#include "base/job.h"

#include <stddef.h>

static void submit(struct workers *w, struct job *job)
{
    struct workers_inline *self = container_of(w, struct workers_inline, base);

    job->next = NULL;
    *self->tail = job;
    self->tail = &job->next;
}

void workers_inline_init(struct workers_inline *w)
{
    w->base.submit = submit;
    w->head = NULL;
    w->tail = &w->head;
}

bool workers_inline_step(struct workers_inline *w)
{
    struct job *job = w->head;

    if (job == NULL) {
        return false;
    }
    w->head = job->next;
    if (w->head == NULL) {
        w->tail = &w->head;
    }
    job->run(job);
    job->done(job);
    return true;
}

void workers_inline_drain(struct workers_inline *w)
{
    while (workers_inline_step(w)) {
    }
}

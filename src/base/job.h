/* Work that may block, and who runs it.
 *
 * A job has two functions: run(), pure I/O and hashing, called on any thread (the loop's if it is a
 * JOB_LOOP), which touches nothing but the job and what its owner lent it; and done(), called on the
 * loop's thread afterwards. What the store calls the three steps of a job are: the function that
 * fills the job in and submits it (begin), run(), and done() (finish).
 *
 * `struct workers` is where jobs go. The server's is libuv's pool (server/workers.c); tools and
 * tests have workers_inline, which keeps a queue and runs it when pumped.
 *
 * Owns: the job's memory is its submitter's, and must live until done() has been called;
 * done() may free it. A job submitted is always run and always done, in no promised order
 * between jobs. submit() never calls run() or done() before it returns. */
#ifndef ZKV_BASE_JOB_H
#define ZKV_BASE_JOB_H

#include <stdbool.h>

enum job_class {
    JOB_COMMIT, /* a commit round, seal, flush: never waits behind the others */
    JOB_BODY,   /* a piece of an upload: hash and write */
    JOB_READ,   /* a read, a page of a listing, an MD5 */
    JOB_STORE,  /* a whole store is opened or closed: may take minutes */
    JOB_LOOP, /* on the loop's own thread, soon: so short that telling a worker would take longer */
};

struct job {
    void (*run)(struct job *);
    void (*done)(struct job *);
    struct job *next; /* the runner's, while submitted */
    enum job_class cls;
};

struct workers {
    void (*submit)(struct workers *, struct job *);
};

#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

/* Runs jobs on the caller's thread, first in first out, when pumped. */
struct workers_inline {
    struct workers base;
    struct job *head, **tail;
};

void workers_inline_init(struct workers_inline *);
/* Runs one job: run() then done(). False if there was none. */
bool workers_inline_step(struct workers_inline *);
/* Until the queue is empty, including what done() adds. */
void workers_inline_drain(struct workers_inline *);

#endif

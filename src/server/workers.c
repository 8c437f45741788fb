/* Jobs on libuv's pool (workers.h).
 *
 * A slot is one job handed to libuv; there are as many slots as threads, allocated at the start,
 * so that submitting a job cannot fail. A slot is free when its job is NULL. libuv's threads are all
 * alike; those of JOB_STORE are its own because the other classes never use more than theirs.
 *
 * When a job has run, its slot is given to the next one before its done() is called: the thread
 * works while the loop is busy with the outcome. */
#include "server/workers.h"

#include <assert.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"

#define POOL_THREADS_DEFAULT 4 /* libuv's, if UV_THREADPOOL_SIZE is not set */
#define POOL_THREADS_MAX 1024  /* libuv's */
#define N_CLASSES (JOB_LOOP + 1)
#define LOOP_JOBS_MAX 16 /* one after the other, before what has arrived meanwhile is looked at */
#define SIZE_VARIABLE "UV_THREADPOOL_SIZE"

struct slot {
    uv_work_t req;
    struct job *job;
    struct server_workers *owner;
};

struct job_queue {
    struct job *head, **tail;
    unsigned running;
};

struct server_workers {
    struct workers base;
    uv_loop_t *loop;
    uv_idle_t idle; /* active while a JOB_LOOP waits */
    struct job_queue queues[N_CLASSES];
    enum job_class last;       /* of the job started last */
    enum job_class last_other; /* likewise, JOB_COMMIT left out */
    unsigned running;          /* in all classes but JOB_STORE */
    unsigned n_slots;          /* for these; JOB_STORE_THREADS more behind them */
    bool has_pool;
    struct slot slots[];
};

/* What libuv makes of the variable; anything doubtful is one thread, which is always safe. */
static unsigned pool_threads(void)
{
    const char *text = getenv(SIZE_VARIABLE);
    uint64_t n = 1;
    if (text == NULL) {
        return POOL_THREADS_DEFAULT;
    }
    if (num_parse_u64(slice_str(text), POOL_THREADS_MAX - JOB_STORE_THREADS, &n) != 0 || n == 0) {
        return 1;
    }
    return (unsigned)n;
}

/* Of JOB_BODY and JOB_READ the one whose turn it is, or JOB_COMMIT if none waits or may run. */
static enum job_class next_other(const struct server_workers *w)
{
    unsigned others = w->queues[JOB_BODY].running + w->queues[JOB_READ].running;
    unsigned limit = w->n_slots > 1 ? w->n_slots - 1 : 1;
    if (others >= limit) {
        return JOB_COMMIT;
    }
    enum job_class turn = w->last_other == JOB_BODY ? JOB_READ : JOB_BODY;
    if (w->queues[turn].head != NULL) {
        return turn;
    }
    return w->queues[w->last_other].head != NULL ? w->last_other : JOB_COMMIT;
}

/* The class of the job to start now; false if none can. */
static bool choose(const struct server_workers *w, enum job_class *ret)
{
    const struct job_queue *stores = &w->queues[JOB_STORE];
    if (stores->head != NULL && stores->running < JOB_STORE_THREADS) {
        *ret = JOB_STORE;
        return true;
    }
    if (w->running == w->n_slots) {
        return false;
    }
    enum job_class other = next_other(w);
    if (w->queues[JOB_COMMIT].head == NULL) {
        *ret = other;
        return other != JOB_COMMIT;
    }
    bool others_run = w->running > w->queues[JOB_COMMIT].running;
    *ret = w->last == JOB_COMMIT && !others_run ? other : JOB_COMMIT;
    return true;
}

static void on_work(uv_work_t *req)
{
    struct slot *slot = req->data;
    slot->job->run(slot->job);
}

static void start_jobs(struct server_workers *w);

static void on_after_work(uv_work_t *req, int status)
{
    struct slot *slot = req->data;
    struct server_workers *w = slot->owner;
    struct job *job = slot->job;
    assert(status == 0); /* we cancel nothing */
    (void)status;
    slot->job = NULL;
    w->running -= job->cls != JOB_STORE;
    w->queues[job->cls].running--;
    start_jobs(w);
    job->done(job);
}

static void hand_over(struct server_workers *w, uv_work_t *req)
{
    int rc = uv_queue_work(w->loop, req, on_work, on_after_work);
    assert(rc == 0); /* fails only without a work function */
    (void)rc;
}

/* The first job makes libuv's threads. They take no signals: what the loop's thread blocks is blocked.
 * Their number it reads from the environment, which then is as it was: it is CMD's too. */
static void make_pool(struct server_workers *w, uv_work_t *first)
{
    sigset_t all, mask;
    char size[16];
    const char *was = getenv(SIZE_VARIABLE);
    char *kept = was != NULL ? strdup(was) : NULL;
    (void)snprintf(size, sizeof size, "%u", w->n_slots + JOB_STORE_THREADS);
    (void)setenv(SIZE_VARIABLE, size, 1); /* out of memory: libuv has fewer, and jobs wait there */
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &mask);
    hand_over(w, first);
    (void)pthread_sigmask(SIG_SETMASK, &mask, NULL);
    if (kept != NULL) {
        (void)setenv(SIZE_VARIABLE, kept, 1);
    } else {
        (void)unsetenv(SIZE_VARIABLE);
    }
    free(kept);
    w->has_pool = true;
}

static struct job *dequeue(struct job_queue *q)
{
    struct job *job = q->head;
    q->head = job->next;
    if (q->head == NULL) {
        q->tail = &q->head;
    }
    return job;
}

static void start(struct server_workers *w, enum job_class cls)
{
    struct job_queue *q = &w->queues[cls];
    struct job *job = dequeue(q);
    q->running++;
    struct slot *slot = w->slots;
    if (cls == JOB_STORE) {
        slot += w->n_slots;
    } else {
        w->running++;
        w->last = cls;
        w->last_other = cls != JOB_COMMIT ? cls : w->last_other;
    }
    while (slot->job != NULL) {
        slot++;
    }
    slot->job = job;
    if (w->has_pool) {
        hand_over(w, &slot->req);
    } else {
        make_pool(w, &slot->req);
    }
}

static void start_jobs(struct server_workers *w)
{
    enum job_class cls;
    while (choose(w, &cls)) {
        start(w, cls);
    }
}

static void on_idle(uv_idle_t *idle)
{
    struct server_workers *w = idle->data;
    struct job_queue *q = &w->queues[JOB_LOOP];
    for (int n = 0; n < LOOP_JOBS_MAX && q->head != NULL; n++) {
        struct job *job = dequeue(q);
        job->run(job);
        job->done(job);
    }
    if (q->head == NULL) {
        (void)uv_idle_stop(idle);
    }
}

static void submit(struct workers *base, struct job *job)
{
    struct server_workers *w = container_of(base, struct server_workers, base);
    struct job_queue *q = &w->queues[job->cls];
    job->next = NULL;
    *q->tail = job;
    q->tail = &job->next;
    if (job->cls == JOB_LOOP) {
        (void)uv_idle_start(&w->idle, on_idle); /* fails only without a function */
    } else {
        start_jobs(w);
    }
}

int server_workers_create(uv_loop_t *loop, struct server_workers **ret)
{
    unsigned n = pool_threads(), n_slots = n + JOB_STORE_THREADS;
    struct server_workers *w = calloc(1, sizeof *w + n_slots * sizeof w->slots[0]);
    if (w == NULL) {
        return ZERR_NOMEM;
    }
    /* A heap for each thread would keep what passes from one to another: with 250 slow readers 57 MB
     * were used where two heaps use 46. */
    (void)mallopt(M_ARENA_MAX, 2);
    w->base.submit = submit;
    w->loop = loop;
    w->n_slots = n;
    w->last = w->last_other = JOB_READ;
    (void)uv_idle_init(loop, &w->idle); /* cannot fail */
    w->idle.data = w;
    for (int i = 0; i < N_CLASSES; i++) {
        w->queues[i].tail = &w->queues[i].head;
    }
    for (unsigned i = 0; i < n_slots; i++) {
        w->slots[i].owner = w;
        w->slots[i].req.data = &w->slots[i];
    }
    *ret = w;
    return 0;
}

void server_workers_close(struct server_workers *w)
{
    if (w != NULL && !uv_is_closing((uv_handle_t *)&w->idle)) {
        assert(w->queues[JOB_LOOP].head == NULL);
        uv_close((uv_handle_t *)&w->idle, NULL);
    }
}

void server_workers_destroy(struct server_workers *w)
{
    if (w != NULL) {
        assert(server_workers_idle(w));
        free(w);
    }
}

struct workers *server_workers_base(struct server_workers *w)
{
    return &w->base;
}

bool server_workers_idle(const struct server_workers *w)
{
    return w->running == 0 && w->queues[JOB_STORE].running == 0 && /* while none runs, none waits */
           w->queues[JOB_LOOP].head == NULL;
}

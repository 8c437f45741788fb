/* The server's runner of jobs (base/job.h): libuv's thread pool behind a queue for each class.
 *
 * Jobs wait here, on the loop, and not in libuv's one queue: never more are handed over than the
 * pool has threads, so that what is handed over runs at once, and what runs next is our choice:
 *
 *   - JOB_BODY and JOB_READ together get all threads but one, in turn; the last thread is kept
 *     for JOB_COMMIT, which may use the others too when they are free.
 *   - JOB_COMMIT goes first. With a single thread it waits for the one job that runs, and then
 *     lets one of the others through after each of its own, so that nothing starves.
 *
 *   - JOB_STORE has JOB_STORE_THREADS of its own, which do nothing else: a store whose recovery
 *     takes minutes keeps nobody waiting but those who want that store.
 *
 *   - JOB_LOOP is not for the pool: the loop runs it when it has looked at everything that has
 *     arrived, and before it waits.
 *
 * The pool's threads take no signals.
 *
 * A job may wait for nothing but the disk: all this works with one thread (UV_THREADPOOL_SIZE=1).
 *
 * Calling sequence: server_workers_create -> submit()* -> server_workers_close -> the loop runs ->
 * server_workers_destroy, the last two when no job is left (assert). Everything is called on the
 * loop's thread. */
#ifndef ZKV_SERVER_WORKERS_H
#define ZKV_SERVER_WORKERS_H

#include <uv.h>

#include "base/job.h"
#include "base/zerr.h"

#define JOB_STORE_THREADS 4

struct server_workers;

/* The number of threads for the other classes is libuv's: UV_THREADPOOL_SIZE, or 4.
 * Errors: ZERR_NOMEM. */
int server_workers_create(uv_loop_t *loop, struct server_workers **ret) ZKV_MUST_CHECK;
/* Closes what it has of the loop, which must run once more. NULL, and twice, is fine. */
void server_workers_close(struct server_workers *);
/* NULL is fine. */
void server_workers_destroy(struct server_workers *);
/* What store_config wants. Valid until server_workers_destroy(). */
struct workers *server_workers_base(struct server_workers *);
/* No job runs or waits. */
bool server_workers_idle(const struct server_workers *);

#endif

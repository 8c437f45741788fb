/* The server's runner of jobs, with four threads and with one. libuv makes its pool once in a
 * process, so main() runs the groups in processes of their own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "server/workers.h"

#define MAX_JOBS 400
#define PATIENCE_MS 5000

struct fixture {
    uv_loop_t loop;
    struct server_workers *workers;
    atomic_int n_log; /* run() notes its job's letter, in order */
    char log[MAX_JOBS + 1];
    atomic_int others, most_others; /* running jobs of the two lower classes */
    atomic_bool open;               /* jobs that wait for the gate may go on */
    atomic_bool too_late;           /* one lost patience */
    int n_done;
};

struct test_job {
    struct job job;
    struct fixture *f;
    char letter;
    bool gated;
    bool opens_gate;
    int again; /* done() submits it so many times more */
    int n_run, n_done;
};

static void pause_ms(long ms)
{
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000}, NULL);
}

static void wait_for_gate(struct fixture *f)
{
    for (int ms = 0; !f->open; ms++) {
        if (ms == PATIENCE_MS) {
            f->too_late = true;
            return;
        }
        pause_ms(1);
    }
}

static void run(struct job *job)
{
    struct test_job *t = container_of(job, struct test_job, job);
    struct fixture *f = t->f;
    bool other = job->cls != JOB_COMMIT;
    if (other) {
        int now = ++f->others;
        int most = f->most_others;
        while (now > most && !atomic_compare_exchange_weak(&f->most_others, &most, now)) {
        }
    }
    f->log[f->n_log++] = t->letter;
    t->n_run++;
    if (t->opens_gate) {
        f->open = true;
    }
    if (t->gated) {
        wait_for_gate(f);
    }
    if (other) {
        f->others--;
    }
}

static void submit(struct test_job *t)
{
    struct workers *w = server_workers_base(t->f->workers);
    w->submit(w, &t->job);
}

static void done(struct job *job)
{
    struct test_job *t = container_of(job, struct test_job, job);
    t->n_done++;
    t->f->n_done++;
    assert_int_equal(t->n_run, t->n_done);
    if (t->again > 0) {
        t->again--;
        submit(t);
    }
}

static struct test_job make(struct fixture *f, enum job_class cls, char letter)
{
    return (struct test_job){
        .job = {.run = run, .done = done, .cls = cls}, .f = f, .letter = letter};
}

static int setup(void **state)
{
    struct fixture *f = test_calloc(1, sizeof *f);
    assert_int_equal(uv_loop_init(&f->loop), 0);
    assert_int_equal(server_workers_create(&f->loop, &f->workers), 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    assert_true(server_workers_idle(f->workers));
    server_workers_close(f->workers);
    (void)uv_run(&f->loop, UV_RUN_DEFAULT);
    server_workers_destroy(f->workers);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    test_free(f);
    return 0;
}

static void run_all(struct fixture *f)
{
    assert_int_equal(uv_run(&f->loop, UV_RUN_DEFAULT), 0);
    assert_false(f->too_late);
}

static void neither_run_nor_done_is_called_by_submit(void **state)
{
    struct fixture *f = *state;
    struct test_job t = make(f, JOB_READ, 'r');
    submit(&t);
    pause_ms(20);
    assert_int_equal(t.n_done, 0);
    assert_false(server_workers_idle(f->workers));
    run_all(f);
    assert_int_equal(t.n_done, 1);
}

static void every_job_is_run_and_done_once_each_time_it_is_submitted(void **state)
{
    struct fixture *f = *state;
    static struct test_job jobs[MAX_JOBS / 4];
    for (size_t i = 0; i < MAX_JOBS / 4; i++) {
        jobs[i] = make(f, (enum job_class)(i % 3), 'x');
        jobs[i].again = 3;
        submit(&jobs[i]);
    }
    run_all(f);
    assert_int_equal(f->n_done, MAX_JOBS);
    assert_int_equal(f->n_log, MAX_JOBS);
    for (size_t i = 0; i < MAX_JOBS / 4; i++) {
        assert_int_equal(jobs[i].n_done, 4);
    }
}

static void a_commit_runs_while_bodies_and_reads_occupy_their_threads(void **state)
{
    struct fixture *f = *state;
    struct test_job jobs[12];
    for (size_t i = 0; i < 12; i++) {
        jobs[i] = make(f, i % 2 == 0 ? JOB_BODY : JOB_READ, 'o');
        jobs[i].gated = true;
        submit(&jobs[i]);
    }
    pause_ms(20);
    struct test_job commit = make(f, JOB_COMMIT, 'c');
    commit.opens_gate = true;
    submit(&commit);
    run_all(f);
    assert_int_equal(f->n_done, 13);
    assert_int_equal(f->most_others, 3);
}

static void commits_may_use_the_threads_of_the_others_when_those_are_free(void **state)
{
    struct fixture *f = *state;
    struct test_job jobs[4];
    for (size_t i = 0; i < 4; i++) {
        jobs[i] = make(f, JOB_COMMIT, 'c');
        jobs[i].gated = i < 3;
        jobs[i].opens_gate = i == 3;
        submit(&jobs[i]);
    }
    run_all(f);
}

/* As many as there are threads for, and more that wait. */
static void stores_that_take_long_hold_up_nobody_else(void **state)
{
    struct fixture *f = *state;
    struct test_job stores[JOB_STORE_THREADS + 2], reads[3];
    for (size_t i = 0; i < JOB_STORE_THREADS + 2; i++) {
        stores[i] = make(f, JOB_STORE, 's');
        stores[i].gated = true;
        submit(&stores[i]);
    }
    pause_ms(20);
    for (size_t i = 0; i < 3; i++) {
        reads[i] = make(f, (enum job_class)i, 'r');
        reads[i].opens_gate = i == 2;
        submit(&reads[i]);
    }
    run_all(f); /* nobody lost patience: a read has opened the gate */
    assert_int_equal(f->n_done, JOB_STORE_THREADS + 5);
}

/* With gated reads in every thread: the loop's own jobs need none. */
static void the_loops_jobs_run_on_it_in_order_and_wait_for_nobody(void **state)
{
    struct fixture *f = *state;
    struct test_job reads[4], jobs[3];
    for (size_t i = 0; i < 4; i++) {
        reads[i] = make(f, JOB_READ, 'r');
        reads[i].gated = true;
        submit(&reads[i]);
    }
    for (size_t i = 0; i < 3; i++) {
        jobs[i] = make(f, JOB_LOOP, (char)('1' + i));
        jobs[i].opens_gate = i == 2;
        submit(&jobs[i]);
    }
    assert_int_equal(f->n_done, 0);
    assert_false(server_workers_idle(f->workers));
    run_all(f);
    assert_int_equal(f->n_done, 7);
    const char *one = strchr(f->log, '1');
    assert_true(one < strchr(f->log, '2') && strchr(f->log, '2') < strchr(f->log, '3'));
}

/* One that submits itself again and again lets the others' done() be called. */
static void the_loops_jobs_let_the_others_end(void **state)
{
    struct fixture *f = *state;
    struct test_job loop = make(f, JOB_LOOP, 'l'), read = make(f, JOB_READ, 'r');
    loop.again = 300;
    submit(&read);
    pause_ms(20);
    submit(&loop);
    int n = 0;
    while (read.n_done == 0) {
        assert_true(++n < 3);
        (void)uv_run(&f->loop, UV_RUN_NOWAIT);
    }
    assert_true(loop.n_done < 300);
    run_all(f);
    assert_int_equal(loop.n_done, 301);
}

static void with_one_thread_a_commit_waits_for_one_job_at_most(void **state)
{
    struct fixture *f = *state;
    struct test_job jobs[4], commit = make(f, JOB_COMMIT, 'c');
    for (size_t i = 0; i < 4; i++) {
        jobs[i] = make(f, JOB_BODY, 'b');
        submit(&jobs[i]);
    }
    submit(&commit);
    run_all(f);
    assert_string_equal(f->log, "bcbbb");
}

static void with_one_thread_commits_in_a_row_let_the_others_through(void **state)
{
    struct fixture *f = *state;
    struct test_job first = make(f, JOB_COMMIT, 'C'), second = make(f, JOB_COMMIT, 'c');
    struct test_job body = make(f, JOB_BODY, 'b'), read = make(f, JOB_READ, 'r');
    first.again = second.again = 3;
    submit(&first);
    submit(&second);
    submit(&body);
    submit(&read);
    run_all(f);
    assert_int_equal(strlen(f->log), 10);
    assert_non_null(memchr(f->log, 'b', 4));
    assert_non_null(memchr(f->log, 'r', 4));
}

static void bodies_and_reads_take_turns(void **state)
{
    struct fixture *f = *state;
    struct test_job jobs[6];
    for (size_t i = 0; i < 6; i++) {
        jobs[i] = make(f, i < 3 ? JOB_BODY : JOB_READ, i < 3 ? 'b' : 'r');
        submit(&jobs[i]);
    }
    run_all(f);
    assert_string_equal(f->log, "brbrbr");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

static int four_threads(void)
{
    const struct CMUnitTest tests[] = {
        TEST(neither_run_nor_done_is_called_by_submit),
        TEST(every_job_is_run_and_done_once_each_time_it_is_submitted),
        TEST(a_commit_runs_while_bodies_and_reads_occupy_their_threads),
        TEST(commits_may_use_the_threads_of_the_others_when_those_are_free),
        TEST(stores_that_take_long_hold_up_nobody_else),
        TEST(the_loops_jobs_run_on_it_in_order_and_wait_for_nobody),
        TEST(the_loops_jobs_let_the_others_end),
    };
    return cmocka_run_group_tests_name("workers, four threads", tests, NULL, NULL);
}

static int one_thread(void)
{
    const struct CMUnitTest tests[] = {
        TEST(neither_run_nor_done_is_called_by_submit),
        TEST(every_job_is_run_and_done_once_each_time_it_is_submitted),
        TEST(stores_that_take_long_hold_up_nobody_else),
        TEST(the_loops_jobs_run_on_it_in_order_and_wait_for_nobody),
        TEST(the_loops_jobs_let_the_others_end),
        TEST(with_one_thread_a_commit_waits_for_one_job_at_most),
        TEST(with_one_thread_commits_in_a_row_let_the_others_through),
        TEST(bodies_and_reads_take_turns),
    };
    return cmocka_run_group_tests_name("workers, one thread", tests, NULL, NULL);
}

int main(void)
{
    int status = 1;
    pid_t child = fork();
    if (child == 0) {
        setenv("UV_THREADPOOL_SIZE", "1", 1);
        exit(one_thread());
    }
    if (child < 0 || waitpid(child, &status, 0) != child || status != 0) {
        return 1;
    }
    setenv("UV_THREADPOOL_SIZE", "4", 1);
    return four_threads();
}

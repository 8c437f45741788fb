/* crash [-states N] [-seed S] [-jobs J] [-workload NAME]     every way a crash can end, checked
 * crash -replay STATE                                         one state again, with everything said
 * crash -list                                                 the workloads
 *
 * Each workload runs on the simulated disk (support/mem_disk) with the reference model beside it. Then
 * states are made, at least N in all: what is left if everything stops before each change of the
 * disk, with none, all, each single one, all but one and random parts of the volatile changes, and
 * with the look-up index as it was, at other commits, absent or garbage. Each is opened and checked
 * (check.h); a state that was met before is neither opened nor counted again. Sizes and choices come
 * from the seed, a new one each run, which is printed; whatever fails prints a STATE for -replay.
 *
 * J processes share the snapshots of each run of a workload. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/num.h"
#include "check.h"
#include "workloads.h"

#define JOBS_MAX 64
#define COMPOUND_EVERY 24 /* states */
#define FAILURES_MAX 3    /* of one process, then it ends */
#define INSTANCE_SECONDS 600
#define STATES_OF_A_CUT 12 /* about, without the random ones */
#define RANDOM_MAX 64 /* random parts of what is volatile at one cut, of one run of a workload */

struct options {
    uint64_t states, seed, jobs;
    const char *workload, *replay;
};

struct tally {
    uint64_t runs, cuts, states, compound, cpu_us;
};

struct shared {
    struct tally tallies[JOBS_MAX][64];
    char current[JOBS_MAX][256]; /* what each process is at */
};

struct crash {
    struct options opt;
    struct shared *shared;
    unsigned job;
    unsigned failures;
};

/* ---- naming states ---- */

static void name_state(char out[256], const struct workload *wl, uint64_t seed,
                       const struct state *s)
{
    (void)snprintf(out, 256, "%s,%llu,%u,%d,%llu,%llu,%d,%llu", wl->name, (unsigned long long)seed,
                   s->snapshot, (int)s->cut.keep, (unsigned long long)s->cut.which,
                   (unsigned long long)s->cut.rng, (int)s->index, (unsigned long long)s->index_rng);
}

static const struct workload *find_workload(const char *name, size_t len)
{
    for (unsigned i = 0; i < n_workloads; i++) {
        if (strlen(workloads[i].name) == len && memcmp(workloads[i].name, name, len) == 0) {
            return &workloads[i];
        }
    }
    return NULL;
}

/* ---- one run of a workload ---- */

struct run {
    struct crash *crash;
    const struct workload *wl;
    uint64_t seed, rng;
    struct world w;
    struct checker c;
    struct tally *tally;
};

static void run_begin(struct run *r)
{
    world_init(&r->w, r->seed, r->wl->sync);
    checker_init(&r->c, &r->w);
    r->wl->run(&r->w);
    world_end(&r->w);
    r->rng = r->seed ^ 0x5bd1e995u;
}

static void run_end(struct run *r)
{
    checker_finish(&r->c);
    world_finish(&r->w);
}

static void try_state(struct run *r, struct state s)
{
    struct crash *x = r->crash;
    if (x->failures >= FAILURES_MAX || !checker_is_new(&r->c, &s)) {
        return;
    }
    name_state(x->shared->current[x->job], r->wl, r->seed, &s);
    r->c.compound = r->tally->states % COMPOUND_EVERY == 0;
    int rc = checker_run(&r->c, &s);
    r->tally->states++;
    if (rc != 0) {
        x->failures++;
        printf("FAILED %s before \"%s\": %.*s\n  again: crash -replay %s\n", r->wl->name,
               r->w.snaps[s.snapshot].what, (int)r->c.why.len, r->c.why.ptr,
               x->shared->current[x->job]);
        (void)fflush(stdout);
    }
}

static struct state random_index(struct run *r, uint32_t k, enum mem_keep keep, uint64_t which)
{
    static const enum index_kind kinds[] = {INDEX_AT,      INDEX_AT,      INDEX_AT,
                                            INDEX_EARLIER, INDEX_EARLIER, INDEX_AHEAD,
                                            INDEX_ABSENT,  INDEX_GARBAGE};
    struct state s = {.snapshot = k, .cut = {.keep = keep, .which = which}};
    s.cut.rng = keep == MEM_KEEP_SOME ? mem_rnd(&r->rng) >> 32 : 0;
    s.index = kinds[mem_rnd(&r->rng) % (sizeof(kinds) / sizeof(kinds[0]))];
    s.index_rng = mem_rnd(&r->rng) >> 32;
    return s;
}

/* All states of one cut. */
static void try_cut(struct run *r, uint32_t k, uint64_t n_random)
{
    uint64_t n = mem_disk_n_volatile(&r->w.snaps[k].disk);
    for (int kind = 0; kind < N_INDEX_KINDS; kind++) {
        struct state s = {.snapshot = k, .index = (enum index_kind)kind};
        s.index_rng = mem_rnd(&r->rng) >> 32;
        s.cut.keep = MEM_NO_CUT;
        try_state(r, s);
        s.cut.keep = MEM_KEEP_NONE;
        try_state(r, s);
    }
    if (n == 0) {
        return;
    }
    try_state(r, random_index(r, k, MEM_KEEP_ALL, 0));
    for (uint64_t i = 0; i < n; i++) {
        try_state(r, random_index(r, k, MEM_KEEP_ONE, i));
        try_state(r, random_index(r, k, MEM_LOSE_ONE, i));
    }
    for (uint64_t i = 0; i < n_random; i++) {
        try_state(r, random_index(r, k, MEM_KEEP_SOME, 0));
    }
}

static uint64_t cpu_us(void)
{
    struct rusage u;
    (void)getrusage(RUSAGE_SELF, &u);
    return (uint64_t)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000000u +
           (uint64_t)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

/* This process's part of a run. budget: states that are still wanted of it. */
static void run_once(struct crash *x, const struct workload *wl, uint64_t seed, uint64_t budget)
{
    struct run r = {.crash = x, .wl = wl, .seed = seed};
    uint64_t began = cpu_us();
    r.tally = &x->shared->tallies[x->job][wl - workloads];
    (void)snprintf(x->shared->current[x->job], 256, "%s,%llu", wl->name, (unsigned long long)seed);
    (void)alarm(INSTANCE_SECONDS);
    run_begin(&r);
    uint64_t n_cuts = (r.w.n_snaps + x->opt.jobs - 1) / x->opt.jobs;
    uint64_t n_random = budget / n_cuts;
    n_random = n_random > RANDOM_MAX ? RANDOM_MAX : n_random;
    uint64_t n_wanted = budget / STATES_OF_A_CUT + 1; /* fewer states than cuts: some of them */
    for (uint32_t k = x->job; k < r.w.n_snaps; k += (uint32_t)x->opt.jobs) {
        if (mem_rnd(&r.rng) % n_cuts < n_wanted) {
            try_cut(&r, k, n_random);
            r.tally->cuts++;
        }
    }
    r.tally->runs++;
    r.tally->compound += r.c.n_compound;
    run_end(&r);
    r.tally->cpu_us += cpu_us() - began;
}

/* ---- processes ---- */

static void work(struct crash *x)
{
    uint64_t n = x->opt.workload != NULL ? 1 : n_workloads;
    uint64_t share = (x->opt.states + n * x->opt.jobs - 1) / (n * x->opt.jobs);
    uint64_t seeds = x->opt.seed;
    for (bool more = true; more && x->failures < FAILURES_MAX;) {
        more = false;
        for (unsigned i = 0; i < n_workloads && x->failures < FAILURES_MAX; i++) {
            const struct workload *wl = &workloads[i];
            uint64_t seed = mem_rnd(&seeds) >> 32, done = x->shared->tallies[x->job][i].states;
            if (x->opt.workload != NULL && strcmp(wl->name, x->opt.workload) != 0) {
                continue;
            }
            if (done < share) {
                run_once(x, wl, seed, share - done);
                more = true;
            }
        }
    }
}

static int start_jobs(struct crash *x)
{
    pid_t pids[JOBS_MAX];
    int failed = 0;
    for (x->job = 0; x->job < x->opt.jobs; x->job++) {
        pids[x->job] = fork();
        assert(pids[x->job] >= 0);
        if (pids[x->job] == 0) {
            work(x);
            (void)fflush(stdout);
            _exit(x->failures > 0);
        }
    }
    for (unsigned i = 0; i < x->opt.jobs; i++) {
        int status;
        (void)waitpid(pids[i], &status, 0);
        failed += status != 0;
        if (WIFSIGNALED(status)) {
            printf("FAILED: signal %d\n  again: crash -replay %s\n", WTERMSIG(status),
                   x->shared->current[i]);
        }
    }
    return failed;
}

static void add(struct tally *to, const struct tally *t)
{
    to->runs += t->runs;
    to->cuts += t->cuts;
    to->states += t->states;
    to->compound += t->compound;
    to->cpu_us += t->cpu_us;
}

static void print_line(const char *name, const struct tally *t)
{
    printf("%-26s %6llu %8llu %10llu %9llu %7.0f\n", name, (unsigned long long)t->runs,
           (unsigned long long)t->cuts, (unsigned long long)t->states,
           (unsigned long long)t->compound,
           (double)(t->states + t->compound) / ((double)t->cpu_us / 1e6 + 1e-6));
}

static void print_tallies(const struct crash *x, double seconds)
{
    struct tally all = {0};
    printf("%-26s %6s %8s %10s %9s %7s\n", "workload", "runs", "cuts", "states", "twice", "per s");
    for (unsigned i = 0; i < n_workloads; i++) {
        struct tally t = {0};
        for (unsigned job = 0; job < x->opt.jobs; job++) {
            add(&t, &x->shared->tallies[job][i]);
        }
        t.runs /= x->opt.jobs;
        if (t.runs > 0) {
            print_line(workloads[i].name, &t);
        }
        add(&all, &t);
    }
    print_line("total", &all);
    printf("seed %llu: %llu states (of them %llu crashed twice) in %.0f s, %.0f a second\n",
           (unsigned long long)x->opt.seed, (unsigned long long)(all.states + all.compound),
           (unsigned long long)all.compound, seconds,
           (double)(all.states + all.compound) / seconds);
}

/* ---- replay ---- */

static void print_disk(const struct mem_disk *d, const char *title)
{
    printf("%s\n", title);
    for (size_t i = 0; i < d->now.n; i++) {
        const struct mem_node *n = d->now.v[i].node;
        printf("  %s: %zu bytes, %zu on the device\n", d->now.v[i].name, n->cache.len,
               n->device.len);
        for (const struct mem_op *op = n->ops; op != NULL; op = op->next) {
            if (op->size != UINT64_MAX) {
                printf("    volatile: size %llu\n", (unsigned long long)op->size);
            } else {
                printf("    volatile: %s at %llu, %llu bytes\n",
                       op->data != NULL ? "write" : "zeros", (unsigned long long)op->off,
                       (unsigned long long)op->len);
            }
        }
    }
    for (const struct mem_dir_op *op = d->dir_ops; op != NULL; op = op->next) {
        printf("  volatile: %s%s%s%s\n", op->old, op->old[0] != '\0' ? " -> " : "", op->name,
               op->node == NULL ? " goes" : "");
    }
}

static int replay(struct crash *x)
{
    unsigned long long seed, which, rng, index_rng;
    size_t len = strcspn(x->opt.replay, ",");
    const struct workload *wl = find_workload(x->opt.replay, len);
    struct state s;
    int keep, index;
    int n = wl == NULL ? 0
                       : sscanf(x->opt.replay + len, ",%llu,%u,%d,%llu,%llu,%d,%llu", &seed,
                                &s.snapshot, &keep, &which, &rng, &index, &index_rng);
    if (n < 1) {
        (void)fprintf(stderr, "crash: -replay takes what a failure printed\n");
        return 2;
    }
    struct run r = {.crash = x, .wl = wl, .seed = seed};
    run_begin(&r);
    for (uint32_t i = 0; i < r.w.n_snaps; i++) {
        printf("%4u %s (index %u, event %u)\n", i, r.w.snaps[i].what, r.w.snaps[i].image,
               r.w.snaps[i].n_events);
    }
    int rc = 0;
    if (n == 7 && s.snapshot < r.w.n_snaps) {
        s.cut = (struct mem_cut){(enum mem_keep)keep, which, rng};
        s.index = (enum index_kind)index;
        s.index_rng = index_rng;
        print_disk(&r.w.snaps[s.snapshot].disk, "the disk at the cut");
        (void)checker_is_new(&r.c, &s);
        print_disk(vfs_mem_disk(r.c.f.vfs), "what was left");
        r.c.compound = true;
        rc = checker_run(&r.c, &s);
        printf("%sthe last start said:\n%s%s: %.*s\n", "", r.c.f.notes,
               rc == 0 ? "all is well" : "FAILED", (int)r.c.why.len, r.c.why.ptr);
    }
    run_end(&r);
    return rc == 0 ? 0 : 1;
}

/* ---- main ---- */

static bool take_number(const char *text, uint64_t *ret)
{
    return text != NULL && num_parse_u64(slice_str(text), UINT64_MAX, ret) == 0;
}

static bool parse(int argc, char **argv, struct options *o)
{
    bool ok = true;
    for (int i = 1; i < argc && ok; i += 2) {
        const char *value = argv[i + 1];
        if (strcmp(argv[i], "-states") == 0) {
            ok = take_number(value, &o->states);
        } else if (strcmp(argv[i], "-seed") == 0) {
            ok = take_number(value, &o->seed);
        } else if (strcmp(argv[i], "-jobs") == 0) {
            ok = take_number(value, &o->jobs) && o->jobs > 0 && o->jobs <= JOBS_MAX;
        } else if (strcmp(argv[i], "-workload") == 0) {
            o->workload = value;
            ok = value != NULL && find_workload(value, strlen(value)) != NULL;
        } else if (strcmp(argv[i], "-replay") == 0) {
            o->replay = value;
            ok = value != NULL;
        } else {
            ok = false;
        }
    }
    return ok;
}

static double now_s(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
    struct crash x = {.opt = {.states = 10000, .jobs = 2}};
    struct timespec t;
    (void)clock_gettime(CLOCK_REALTIME, &t);
    x.opt.seed = (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
    if (argc == 2 && strcmp(argv[1], "-list") == 0) {
        for (unsigned i = 0; i < n_workloads; i++) {
            printf("%s\n", workloads[i].name);
        }
        return 0;
    }
    if (!parse(argc, argv, &x.opt)) {
        (void)fprintf(stderr, "usage: crash [-states N] [-seed S] [-jobs J] [-workload NAME]\n"
                              "       crash -replay STATE | -list\n");
        return 2;
    }
    x.shared =
        mmap(NULL, sizeof(*x.shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert(x.shared != MAP_FAILED);
    if (x.opt.replay != NULL) {
        return replay(&x);
    }
    double began = now_s();
    int failed = start_jobs(&x);
    print_tallies(&x, now_s() - began);
    return failed == 0 ? 0 : 1;
}

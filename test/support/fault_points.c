/* See fault_points.h. */
#include "support/fault_points.h"

#include <assert.h>
#include <execinfo.h>
#include <stdlib.h>

#define KINDS_MAX 64
#define DEPTH 64
#define OWN_FRAMES 2 /* note() and fault_next() */

extern const char __executable_start[], etext[];

static struct {
    bool recording;
    struct fault_call *calls;
    size_t n, cap;
    uint64_t seen[KINDS_MAX];

    bool armed;
    unsigned kind;
    uint64_t left, failed;
    enum fault_times times;
    int code;
} F;

void fault_record(void)
{
    F.recording = true;
    F.armed = false;
    F.n = 0;
    for (unsigned i = 0; i < KINDS_MAX; i++) {
        F.seen[i] = 0;
    }
}

static int by_way(const void *a, const void *b)
{
    const struct fault_call *x = *(struct fault_call *const *)a,
                            *y = *(struct fault_call *const *)b;
    if (x->kind != y->kind) {
        return x->kind < y->kind ? -1 : 1;
    }
    if (x->way != y->way) {
        return x->way < y->way ? -1 : 1;
    }
    return x->nth < y->nth ? -1 : 1;
}

size_t fault_recorded(const struct fault_call **ret)
{
    struct fault_call **v = malloc((F.n + 1) * sizeof(struct fault_call *));
    assert(v != NULL);
    for (size_t i = 0; i < F.n; i++) {
        v[i] = &F.calls[i];
    }
    qsort(v, F.n, sizeof(struct fault_call *), by_way);
    for (size_t i = 0, n; i < F.n; i += n) {
        for (n = 1; i + n < F.n && v[i + n]->kind == v[i]->kind && v[i + n]->way == v[i]->way;
             n++) {
        }
        v[i]->first = true;
        v[i]->chosen = v[i + n / 2]->chosen = v[i + n - 1]->chosen = true;
    }
    free(v);
    F.recording = false;
    *ret = F.calls;
    return F.n;
}

__attribute__((noinline)) static void note(unsigned kind)
{
    void *frames[DEPTH];
    int n = backtrace(frames, DEPTH);
    uint64_t way = 14695981039346656037u;
    for (int i = OWN_FRAMES; i < n; i++) {
        const char *at = frames[i];
        if (at >= __executable_start && at < etext) {
            way = (way ^ (uintptr_t)at) * 1099511628211u;
        }
    }
    if (F.n == F.cap) {
        F.cap = F.cap == 0 ? 1024 : F.cap * 2;
        F.calls = realloc(F.calls, F.cap * sizeof(*F.calls));
        assert(F.calls != NULL);
    }
    F.calls[F.n++] = (struct fault_call){.kind = kind, .nth = ++F.seen[kind], .way = way};
}

void fault_arm(unsigned kind, uint64_t nth, enum fault_times times, int code)
{
    assert(nth > 0 && code != 0);
    F.armed = true;
    F.kind = kind;
    F.left = nth;
    F.failed = 0;
    F.times = times;
    F.code = code;
}

uint64_t fault_disarm(void)
{
    F.armed = false;
    return F.failed;
}

__attribute__((noinline)) int fault_next(unsigned kind)
{
    assert(kind < KINDS_MAX);
    if (F.recording) {
        note(kind);
    }
    if (!F.armed || (F.kind != kind && F.kind != FAULT_ANY) || --F.left > 0) {
        return 0;
    }
    F.left = 1;
    F.failed++;
    if (F.times == FAULT_ONCE || (F.times == FAULT_THRICE && F.failed == 3)) {
        F.armed = false;
    }
    return F.code;
}

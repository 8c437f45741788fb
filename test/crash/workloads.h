/* The workloads: two to six operations each, random in their sizes. */
#ifndef ZKV_TEST_CRASH_WORKLOADS_H
#define ZKV_TEST_CRASH_WORKLOADS_H

#include "world.h"

struct workload {
    const char *name;
    void (*run)(struct world *);
    enum store_sync sync;
};

extern const struct workload workloads[];
extern const unsigned n_workloads;

#endif

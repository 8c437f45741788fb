/* Which call fails. Stand-ins for calls (fault_calls.c, fault_alloc.c) ask fault_next() each time;
 * a test first records what its work calls, then has one call after the other fail.
 *
 *   fault_record();  work();  n = fault_recorded(&calls);
 *   for each call i:  fault_arm(calls[i].kind, calls[i].nth, times, code);  work();
 *                     assert(fault_disarm() > 0);
 *
 * The work must call the same each time. Many calls come by the same way: the same callers in this
 * program (those inside of a shared library are not told apart). Of each way the first call and, if
 * there are more, one in the middle and the last are `chosen`, so that tests with little time look
 * at those alone. One thread. */
#ifndef ZKV_TEST_FAULT_POINTS_H
#define ZKV_TEST_FAULT_POINTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum fault_times {
    FAULT_ONCE,
    FAULT_THRICE, /* for what is tried again until it works */
    FAULT_FROM_THEN_ON,
};

struct fault_call {
    unsigned kind;
    uint64_t nth; /* of its kind, from 1 */
    uint64_t way; /* a hash of the callers */
    bool first, chosen;
};

void fault_record(void);
/* Ends the recording; valid until the next one. */
size_t fault_recorded(const struct fault_call **ret);

#define FAULT_ANY UINT32_MAX
/* The nth call of the kind (or of any) from now on gives code. */
void fault_arm(unsigned kind, uint64_t nth, enum fault_times, int code);
uint64_t fault_disarm(void); /* calls that were made to fail */

/* For the stand-ins: 0, or the code to fail with. */
int fault_next(unsigned kind);

#endif

/* The command of `zipkvserver ... -- CMD ARG...`, and what it leaves behind.
 *
 * CMD runs in our process group with our standard input, output and error, with the signal
 * handling and the descriptor limit that we were started with. This process becomes the one that
 * orphans below it go to (PR_SET_CHILD_SUBREAPER), so a program that CMD put into the background
 * (mount.s3ql does that to itself) is waited for too, and nothing stays a zombie.
 *
 * Calling sequence: child_start -> exited() -> gone() -> child_destroy. gone() may come with
 * exited(), and child_destroy() at any time: what still runs then goes on without us.
 * There can be one in a process: it reaps all children. All on the loop's thread. */
#ifndef ZKV_SERVER_CHILD_H
#define ZKV_SERVER_CHILD_H

#include <stdbool.h>
#include <sys/resource.h>

#include <uv.h>

#include "base/zerr.h"

struct child_config {
    char *const *argv;    /* CMD and its arguments, NULL-terminated; CMD is looked up in PATH */
    struct rlimit nofile; /* RLIMIT_NOFILE for CMD */
    void *user;
    /* CMD itself has ended. status: its exit code, or 128 + the signal that ended it.
     * others_left: something that it started still runs. */
    void (*exited)(void *user, int status, bool others_left);
    /* CMD and everything it left behind have ended. */
    void (*gone)(void *user);
};

struct child;

/* Blocks: until CMD has been loaded. Errors: ZERR_NOT_FOUND (no such program), ZERR_INVALID (it
 * cannot be run), ZERR_NOMEM, ZERR_LIMIT (no process or descriptor left). */
int child_start(uv_loop_t *, const struct child_config *, struct child **ret,
                struct zerr_info *) ZKV_MUST_CHECK;
/* CMD itself runs. NULL: false. */
bool child_running(const struct child *);
/* Sends a signal to CMD, if it runs. NULL is fine. */
void child_signal(const struct child *, int signo);
/* Frees it from a later turn of the loop. NULL is fine. */
void child_destroy(struct child *);

#endif

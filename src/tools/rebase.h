/* Copies the objects that were live at a revision into an empty directory (zipkvrebase). */
#ifndef ZKV_TOOLS_REBASE_H
#define ZKV_TOOLS_REBASE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/zerr.h"

struct rebase_options {
    const char *from, *to;
    uint64_t block_size; /* of the new directory; 0: the default */
    bool has_rev;
    uint64_t rev;
    const char *program;
};

struct rebase_result {
    uint64_t revision;   /* the one copied; UINT64_MAX: the history is empty */
    uint64_t objects;    /* names copied */
    uint64_t bodies;     /* bodies copied */
    uint64_t bytes;      /* of bodies */
    uint64_t unchecked;  /* bodies the source has no MD5 of */
    uint64_t damaged;    /* names left out, each named on standard output */
    bool made_directory; /* `to` was not there */
    bool started;        /* something may have been written to it */
};

/* Blocks; standard error shows progress. Damaged objects are left out and counted. On failure the
 * target is incomplete. ZERR_EXISTS: the target is not empty. ZERR_BAD_REV. */
int rebase_run(const struct rebase_options *, struct rebase_result *ret,
               struct zerr_info *) ZKV_MUST_CHECK;

#endif

/* What the tools share at the terminal: exit codes, one line for a failure, sizes for a person,
 * a progress line. Options are in base/opts.h.
 *
 * Results go to standard output, everything else to standard error. */
#ifndef ZKV_TOOLS_CLI_H
#define ZKV_TOOLS_CLI_H

#include <stdbool.h>

#include "base/opts.h"

enum cli_exit {
    CLI_OK = 0,
    CLI_DAMAGE = 1, /* bytes on disk are not what they must be */
    CLI_USAGE = OPTS_EXIT_USAGE,
    CLI_FAILED = 3, /* could not do it: no such directory, locked, I/O error, no space, ... */
};

/* The only place where a zerr becomes an exit code. */
int cli_exit_code(int zerr);

/* Says "program: doing: what was wrong" (doing may be NULL) and gives the exit code. */
int cli_fail(const char *program, const char *doing, int zerr, const struct zerr_info *);

/* Writes out what standard output still holds. */
int cli_flush_stdout(struct zerr_info *) ZKV_MUST_CHECK;

#define CLI_BYTES_LEN 32
/* "512 bytes", "1.5 MiB". Returns out. */
const char *cli_bytes(uint64_t n, char out[CLI_BYTES_LEN]);

/* A line that is renewed a few times a second while standard error is a terminal. Init with {0}. */
struct cli_progress {
    uint64_t shown_ns;
    bool is_shown;
};
/* total 0: unknown; done and total are bytes or, with `count`, things. */
void cli_progress(struct cli_progress *, const char *what, uint64_t done, uint64_t total,
                  bool count);
void cli_progress_end(struct cli_progress *); /* erases the line */

#endif

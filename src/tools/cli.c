/* The tools' manners at the terminal (cli.h). */
#include "tools/cli.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"

#define PROGRESS_NS 200000000u

int cli_exit_code(int zerr)
{
    switch (zerr) {
    case 0:
        return CLI_OK;
    case ZERR_CORRUPT:
    case ZERR_DAMAGED:
    case ZERR_BAD_DIGEST:
        return CLI_DAMAGE;
    case ZERR_INVALID:
    case ZERR_BAD_REV:
        return CLI_USAGE;
    default:
        return CLI_FAILED;
    }
}

int cli_fail(const char *program, const char *doing, int zerr, const struct zerr_info *info)
{
    log_set_status(NULL);
    fflush(stdout); /* results so far come before what ended them */
    fprintf(stderr, "%s: %s%s%s\n", program, doing != NULL ? doing : "", doing != NULL ? ": " : "",
            zerr_text(info, zerr));
    return cli_exit_code(zerr);
}

int cli_flush_stdout(struct zerr_info *info)
{
    if (fflush(stdout) == 0 && !ferror(stdout)) {
        return 0;
    }
    return zerr_fail(info, ZERR_IO, errno, "cannot write to standard output");
}

const char *cli_bytes(uint64_t n, char out[CLI_BYTES_LEN])
{
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double v = (double)n;
    int unit = -1;
    while (v >= 1024 && unit < 5) {
        v /= 1024;
        unit++;
    }
    if (unit < 0) {
        snprintf(out, CLI_BYTES_LEN, "%" PRIu64 " byte%s", n, n == 1 ? "" : "s");
    } else {
        snprintf(out, CLI_BYTES_LEN, "%.1f %s", v, units[unit]);
    }
    return out;
}

void cli_progress(struct cli_progress *p, const char *what, uint64_t done, uint64_t total,
                  bool count)
{
    struct timespec now;
    if (!isatty(STDERR_FILENO) || clock_gettime(CLOCK_MONOTONIC, &now) != 0) {
        return;
    }
    uint64_t ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    if (p->is_shown && ns - p->shown_ns < PROGRESS_NS) {
        return;
    }
    char line[160], a[CLI_BYTES_LEN], b[CLI_BYTES_LEN];
    if (count) {
        snprintf(a, sizeof a, "%" PRIu64, done);
        snprintf(b, sizeof b, "%" PRIu64, total);
    } else {
        cli_bytes(done, a);
        cli_bytes(total, b);
    }
    if (total > 0) {
        snprintf(line, sizeof line, "%s: %s of %s (%d %%)", what, a, b,
                 (int)(100.0 * (double)done / (double)total));
    } else {
        snprintf(line, sizeof line, "%s: %s", what, a);
    }
    log_set_status(line);
    p->shown_ns = ns;
    p->is_shown = true;
}

void cli_progress_end(struct cli_progress *p)
{
    if (p->is_shown) {
        log_set_status(NULL);
        p->is_shown = false;
    }
}

/* What the person at the terminal sees: the message at start, a live line, the report at stop.
 *
 * All of it goes to standard error; messages only where `-log info` (the default) shows them, the
 * live line only on a terminal. It owns no timer: the caller calls status_tick() about once a
 * second while status_wants_tick(). */
#ifndef ZKV_SERVER_STATUS_H
#define ZKV_SERVER_STATUS_H

#include <stdbool.h>
#include <stdint.h>

#include "store/store.h"

/* Figures of one moment. */
struct status_figures {
    struct store_stats store;
    unsigned n_connections;
};

struct status {
    bool on_terminal;
    uint64_t begin_ns;          /* when long work began, and ... */
    uint64_t shown_ns;          /* ... when something was shown last */
    struct status_figures last; /* what the live line shows */
    bool moving;                /* it shows a rate that is not 0 */
    char line[256];
};

struct status_where {
    const char *addr; /* as listened on: "127.0.0.1:7711" */
    const char *host; /* for S3QL's storage URL, which knows no IPv6 addresses: "127.0.0.1:7711" */
    const char *bucket, *dir;
    const char *auth_path; /* where passwords come from; NULL: any will do */
    bool https;
    size_t n_others; /* further buckets */
};

void status_init(struct status *);
/* For store_config.progress. Shows at most a few lines a second; without a terminal one in ten. */
void status_progress(struct status *, const char *what, uint64_t done, uint64_t total);
/* Where it listens, what was found, the S3QL commands to paste. Ends what status_progress()
 * shows. */
void status_print_start(struct status *, const struct status_where *, const struct store_stats *);
/* The live line is out of date, or shows rates that are. */
bool status_wants_tick(const struct status *, const struct status_figures *);
void status_tick(struct status *, const struct status_figures *);
/* Replaces the live line by one text, until the next tick; NULL erases it. */
void status_say(struct status *, const char *text);
/* What this session did and what there is now, in all buckets that were used. Erases the live line. */
void status_print_stop(struct status *, const struct store_stats *, size_t n_others);

#endif

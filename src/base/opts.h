/* Command line options from a table: `-x` and `--x` mean the same, values follow as the next
 * argument or behind `=`, nothing may be abbreviated, the last of several wins. `-h` and
 * `-version` are always there. Everything behind `--` is the rest, for programs that want one.
 *
 * Calling sequence: fill targets with their defaults, then opts_main(); or opts_parse() and
 * opts_print_help() for other manners. Strings are not copied: they point into argv. */
#ifndef ZKV_BASE_OPTS_H
#define ZKV_BASE_OPTS_H

#include <stdbool.h>
#include <stdio.h>

#include "base/zerr.h"

enum opt_kind {
    OPT_FLAG,   /* bool *: set to true; takes no value */
    OPT_STRING, /* const char **: not empty */
    OPT_U64,    /* uint64_t *: decimal */
    OPT_BYTES,  /* uint64_t *: decimal, K, M, G or T behind it for powers of 1024 */
    OPT_ENUM,   /* int *: position of the value in `words` */
};

struct opt {
    const char *name; /* without dashes */
    enum opt_kind kind;
    void *target;
    const char *arg;          /* what the help calls the value: "DIR"; NULL for flags */
    const char *help;         /* sentences; '\n' begins a new line */
    const char *dflt;         /* the default as the help shows it; NULL: not shown */
    uint64_t min, max;        /* numbers: what is allowed; max 0: no limit */
    const char *const *words; /* OPT_ENUM: NULL-terminated */
    bool required;
};

struct opts_spec {
    const char *program; /* "zipkvserver" */
    const char *usage;   /* behind the program's name: "-dir DIR [options]" */
    const char *about;   /* one sentence or more */
    const struct opt *opts;
    size_t n_opts;
    bool allow_rest; /* `-- ARG...` */
};

#define OPTS_HELP 1
#define OPTS_VERSION 2
#define OPTS_EXIT_USAGE 2

/* 0: all targets set, *ret_rest (may be NULL) is the position in argv of the first argument
 * behind `--`, argc if there is none. OPTS_HELP, OPTS_VERSION: asked for; nothing else was
 * looked at. ZERR_INVALID: info says what is wrong; targets may be set. */
int opts_parse(const struct opts_spec *, int argc, char **argv, int *ret_rest,
               struct zerr_info *) ZKV_MUST_CHECK;

void opts_print_help(const struct opts_spec *, FILE *out);

/* Parses, and prints help or version to stdout, or what is wrong to stderr. -1: go on; else the
 * code to exit with (0 after help, OPTS_EXIT_USAGE after an error). */
int opts_main(const struct opts_spec *, int argc, char **argv, int *ret_rest) ZKV_MUST_CHECK;

#endif

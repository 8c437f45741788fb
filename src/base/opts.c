/* Command line options from a table (opts.h). One pass over argv; a value is checked when it is
 * met, what is missing when all are read. */
#include "base/opts.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "base/log.h"
#include "base/num.h"

static const struct opt *find(const struct opts_spec *spec, struct slice name)
{
    for (size_t i = 0; i < spec->n_opts; i++) {
        if (slice_eq_str(name, spec->opts[i].name)) {
            return &spec->opts[i];
        }
    }
    return NULL;
}

static int bad_value(const struct opt *o, const char *value, const char *expected,
                     struct zerr_info *info)
{
    char quoted[128];
    return zerr_fail(info, ZERR_INVALID, 0, "-%s %s: %s", o->name,
                     log_quote(slice_str(value), quoted, sizeof quoted), expected);
}

static int set_number(const struct opt *o, const char *value, struct zerr_info *info)
{
    struct slice digits = slice_str(value);
    uint64_t unit = 1, n;
    if (o->kind == OPT_BYTES && digits.len > 1) {
        static const char suffixes[] = "KMGT";
        const char *at = strchr(suffixes, digits.ptr[digits.len - 1]);
        if (at != NULL) {
            unit = UINT64_C(1) << (10 * (at - suffixes + 1));
            digits.len--;
        }
    }
    int rc = num_parse_u64(digits, UINT64_MAX / unit, &n);
    if (rc == ZERR_INVALID) {
        return bad_value(o, value,
                         o->kind == OPT_BYTES
                             ? "not a number of bytes (digits, then K, M, G, T or nothing)"
                             : "not a number",
                         info);
    }
    char text[64];
    if (rc == 0 && n * unit < o->min) {
        snprintf(text, sizeof text, "at least %" PRIu64, o->min);
        return bad_value(o, value, text, info);
    }
    if (rc != 0 || (o->max != 0 && n * unit > o->max)) {
        snprintf(text, sizeof text, "at most %" PRIu64, o->max != 0 ? o->max : UINT64_MAX);
        return bad_value(o, value, text, info);
    }
    *(uint64_t *)o->target = n * unit;
    return 0;
}

static int set_word(const struct opt *o, const char *value, struct zerr_info *info)
{
    char expected[160] = "must be";
    size_t len = strlen(expected);
    for (int i = 0; o->words[i] != NULL; i++) {
        if (strcmp(o->words[i], value) == 0) {
            *(int *)o->target = i;
            return 0;
        }
        int n = snprintf(expected + len, sizeof expected - len, "%s %s", i > 0 ? " or" : "",
                         o->words[i]);
        len += n > 0 && (size_t)n < sizeof expected - len ? (size_t)n : 0;
    }
    return bad_value(o, value, expected, info);
}

static int set_value(const struct opt *o, const char *value, struct zerr_info *info)
{
    if (*value == '\0') {
        return zerr_fail(info, ZERR_INVALID, 0, "-%s: the value is empty (%s is needed)", o->name,
                         o->arg);
    }
    switch (o->kind) {
    case OPT_U64:
    case OPT_BYTES:
        return set_number(o, value, info);
    case OPT_ENUM:
        return set_word(o, value, info);
    default:
        *(const char **)o->target = value;
        return 0;
    }
}

/* One option at argv[*i]; moves *i over its value. */
static int parse_one(const struct opts_spec *spec, int argc, char **argv, int *i, bool *seen,
                     struct zerr_info *info)
{
    const char *arg = argv[*i];
    char quoted[128];
    log_quote(slice_str(arg), quoted, sizeof quoted);
    if (arg[0] != '-' || arg[1] == '\0') {
        return zerr_fail(info, ZERR_INVALID, 0, "unexpected argument %s (options begin with -)",
                         quoted);
    }
    const char *name = arg + (arg[1] == '-' ? 2 : 1);
    const char *equals = strchr(name, '=');
    struct slice key = slice_of(name, equals != NULL ? (size_t)(equals - name) : strlen(name));
    if (slice_eq_str(key, "h") || slice_eq_str(key, "help")) {
        return OPTS_HELP;
    }
    if (slice_eq_str(key, "version")) {
        return OPTS_VERSION;
    }
    const struct opt *o = find(spec, key);
    if (o == NULL) {
        return zerr_fail(info, ZERR_INVALID, 0, "unknown option %s (-h lists them)", quoted);
    }
    seen[o - spec->opts] = true;
    if (o->kind == OPT_FLAG) {
        if (equals != NULL) {
            return zerr_fail(info, ZERR_INVALID, 0, "-%s takes no value", o->name);
        }
        *(bool *)o->target = true;
        return 0;
    }
    if (equals != NULL) {
        return set_value(o, equals + 1, info);
    }
    if (*i + 1 >= argc) {
        return zerr_fail(info, ZERR_INVALID, 0, "-%s needs a value: %s", o->name, o->arg);
    }
    return set_value(o, argv[++*i], info);
}

#define OPTS_MAX 64

int opts_parse(const struct opts_spec *spec, int argc, char **argv, int *ret_rest,
               struct zerr_info *info)
{
    bool seen[OPTS_MAX] = {false};
    int i = 1;
    assert(spec->n_opts <= OPTS_MAX);
    for (; i < argc && strcmp(argv[i], "--") != 0; i++) {
        int rc = parse_one(spec, argc, argv, &i, seen, info);
        if (rc != 0) {
            return rc;
        }
    }
    int rest = i < argc ? i + 1 : argc;
    if (rest < argc && !spec->allow_rest) {
        return zerr_fail(info, ZERR_INVALID, 0, "nothing may follow --");
    }
    if (i < argc && rest == argc && spec->allow_rest) {
        return zerr_fail(info, ZERR_INVALID, 0, "a command must follow --");
    }
    for (size_t k = 0; k < spec->n_opts; k++) {
        if (spec->opts[k].required && !seen[k]) {
            return zerr_fail(info, ZERR_INVALID, 0, "-%s %s is missing", spec->opts[k].name,
                             spec->opts[k].arg);
        }
    }
    if (ret_rest != NULL) {
        *ret_rest = rest;
    }
    return 0;
}

/* Lines of text, each after `indent`. */
static void print_indented(FILE *out, const char *indent, const char *text)
{
    while (*text != '\0') {
        size_t len = strcspn(text, "\n");
        fprintf(out, "%s%.*s\n", indent, (int)len, text);
        text += len + (text[len] == '\n');
    }
}

void opts_print_help(const struct opts_spec *spec, FILE *out)
{
    fprintf(out, "Usage: %s %s\n\n", spec->program, spec->usage);
    print_indented(out, "", spec->about);
    fprintf(out, "\nOptions (-x and --x are the same):\n");
    for (size_t i = 0; i < spec->n_opts; i++) {
        const struct opt *o = &spec->opts[i];
        fprintf(out, "  -%s%s%s\n", o->name, o->arg != NULL ? " " : "",
                o->arg != NULL ? o->arg : "");
        print_indented(out, "        ", o->help);
        if (o->required) {
            fprintf(out, "        Must be given.\n");
        } else if (o->dflt != NULL) {
            fprintf(out, "        Default: %s\n", o->dflt);
        }
    }
    fprintf(out, "  -h\n        Print this and exit.\n");
    fprintf(out, "  -version\n        Print the version and exit.\n");
}

int opts_main(const struct opts_spec *spec, int argc, char **argv, int *ret_rest)
{
    struct zerr_info info = {0};
    int rc = opts_parse(spec, argc, argv, ret_rest, &info);
    if (rc == 0) {
        return -1;
    }
    if (rc == OPTS_HELP || rc == OPTS_VERSION) {
        if (rc == OPTS_HELP) {
            opts_print_help(spec, stdout);
        } else {
            printf("%s %s\n", spec->program, ZKV_VERSION);
        }
        return fflush(stdout) == 0 ? 0 : 1;
    }
    fprintf(stderr, "%s: %s\n", spec->program, zerr_text(&info, rc));
    return OPTS_EXIT_USAGE;
}

/* The option table: both spellings, values, limits, what the messages name. */
#include "base/opts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct {
    const char *dir;
    uint64_t port, bs;
    bool quiet;
    int sync;
} t;

static const char *const sync_words[] = {"ack", "block", NULL};

static const struct opt table[] = {
    {.name = "dir",
     .kind = OPT_STRING,
     .target = &t.dir,
     .arg = "DIR",
     .help = "Where.",
     .required = true},
    {.name = "port",
     .kind = OPT_U64,
     .target = &t.port,
     .arg = "N",
     .help = "Port.\nOr not.",
     .dflt = "80",
     .max = 65535},
    {.name = "bs",
     .kind = OPT_BYTES,
     .target = &t.bs,
     .arg = "BYTES",
     .help = "Size.",
     .min = 4096},
    {.name = "quiet", .kind = OPT_FLAG, .target = &t.quiet, .help = "Less."},
    {.name = "sync",
     .kind = OPT_ENUM,
     .target = &t.sync,
     .arg = "ack|block",
     .help = "When.",
     .words = sync_words},
};

static struct opts_spec spec = {
    .program = "prog",
    .usage = "-dir DIR [options]",
    .about = "Does it.",
    .opts = table,
    .n_opts = sizeof table / sizeof table[0],
};

static struct zerr_info info;

#define MAX_ARGS 12
/* Parses "prog" and the NULL-terminated arguments. */
static int parse(int *ret_rest, const char *first, ...)
{
    char *argv[MAX_ARGS + 1] = {(char *)"prog"};
    int argc = 1;
    va_list ap;
    va_start(ap, first);
    for (const char *a = first; a != NULL && argc < MAX_ARGS; a = va_arg(ap, const char *)) {
        argv[argc++] = (char *)a;
    }
    va_end(ap);
    memset(&t, 0, sizeof t);
    memset(&info, 0, sizeof info);
    return opts_parse(&spec, argc, argv, ret_rest, &info);
}

static void one_and_two_dashes_and_equals_mean_the_same(void **state)
{
    (void)state;
    int rest = 0;
    assert_int_equal(parse(&rest, "-dir", "a", "--port=7", "--quiet", "-sync", "block", NULL), 0);
    assert_string_equal(t.dir, "a");
    assert_int_equal(t.port, 7);
    assert_true(t.quiet);
    assert_int_equal(t.sync, 1);
    assert_int_equal(rest, 7);
    assert_int_equal(parse(NULL, "--dir=b=c", "-port", "1", "-port", "2", NULL), 0);
    assert_string_equal(t.dir, "b=c");
    assert_int_equal(t.port, 2);
}

static void sizes_take_suffixes_and_limits(void **state)
{
    (void)state;
    assert_int_equal(parse(NULL, "-dir", "a", "-bs", "64K", NULL), 0);
    assert_int_equal(t.bs, 65536);
    assert_int_equal(parse(NULL, "-dir", "a", "-bs", "3M", NULL), 0);
    assert_int_equal(t.bs, 3 << 20);
    static const char *const bad[] = {"4095",
                                      "K",
                                      "64k",
                                      "-1",
                                      "+4096",
                                      "4096 ",
                                      "0x1000",
                                      "99999999999999999999",
                                      "18446744073709551615K"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(parse(NULL, "-dir", "a", "-bs", bad[i], NULL), ZERR_INVALID);
        assert_non_null(strstr(info.text, "-bs"));
        assert_non_null(strstr(info.text, bad[i]));
    }
    assert_int_equal(parse(NULL, "-dir", "a", "-port", "65536", NULL), ZERR_INVALID);
    assert_non_null(strstr(info.text, "at most 65535"));
    assert_int_equal(parse(NULL, "-dir", "a", "-port", "1K", NULL), ZERR_INVALID);
}

static void an_error_names_what_is_wrong(void **state)
{
    (void)state;
    assert_int_equal(parse(NULL, "-di", "a", NULL), ZERR_INVALID); /* no abbreviations */
    assert_non_null(strstr(info.text, "\"-di\""));
    assert_int_equal(parse(NULL, "-quiet", NULL), ZERR_INVALID);
    assert_non_null(strstr(info.text, "-dir DIR is missing"));
    assert_int_equal(parse(NULL, "-dir", NULL), ZERR_INVALID);
    assert_non_null(strstr(info.text, "-dir needs a value"));
    assert_int_equal(parse(NULL, "-dir", "", NULL), ZERR_INVALID);
    assert_non_null(strstr(info.text, "empty"));
    assert_int_equal(parse(NULL, "-dir", "a", "-sync", "never", NULL), ZERR_INVALID);
    assert_non_null(strstr(info.text, "ack or block"));
    assert_int_equal(parse(NULL, "-dir", "a", "b", NULL), ZERR_INVALID);
    assert_non_null(strstr(info.text, "\"b\""));
    assert_int_equal(parse(NULL, "-dir", "a", "-", NULL), ZERR_INVALID);
    assert_int_equal(parse(NULL, "-dir", "a", "-quiet=yes", NULL), ZERR_INVALID);
    assert_int_equal(parse(NULL, "-dir", "a", "-=x", NULL), ZERR_INVALID);
    assert_int_equal(parse(NULL, "---dir", "a", NULL), ZERR_INVALID);
}

static void only_a_program_that_wants_a_rest_takes_one(void **state)
{
    (void)state;
    int rest = 0;
    assert_int_equal(parse(&rest, "-dir", "a", "--", "ls", "-quiet", NULL), ZERR_INVALID);
    spec.allow_rest = true;
    int rc = parse(&rest, "-dir", "a", "--", "ls", "-quiet", NULL);
    int empty = parse(NULL, "-dir", "a", "--", NULL);
    spec.allow_rest = false;
    assert_int_equal(rc, 0);
    assert_int_equal(rest, 4);
    assert_false(t.quiet);
    assert_int_equal(empty, ZERR_INVALID);
}

static void help_is_asked_for_before_anything_is_missing(void **state)
{
    (void)state;
    assert_int_equal(parse(NULL, "-h", NULL), OPTS_HELP);
    assert_int_equal(parse(NULL, "-quiet", "--help", "-nonsense", NULL), OPTS_HELP);
    assert_int_equal(parse(NULL, "-version", NULL), OPTS_VERSION);
}

static void help_lists_every_option_with_its_default(void **state)
{
    (void)state;
    char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);
    assert_non_null(f);
    opts_print_help(&spec, f);
    assert_int_equal(fclose(f), 0);
    assert_non_null(strstr(text, "Usage: prog -dir DIR [options]\n"));
    assert_non_null(strstr(text, "  -dir DIR\n        Where.\n        Must be given.\n"));
    assert_non_null(
        strstr(text, "  -port N\n        Port.\n        Or not.\n        Default: 80\n"));
    assert_non_null(strstr(text, "  -quiet\n"));
    assert_non_null(strstr(text, "  -sync ack|block\n"));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_and_two_dashes_and_equals_mean_the_same),
        cmocka_unit_test(sizes_take_suffixes_and_limits),
        cmocka_unit_test(an_error_names_what_is_wrong),
        cmocka_unit_test(only_a_program_that_wants_a_rest_takes_one),
        cmocka_unit_test(help_is_asked_for_before_anything_is_missing),
        cmocka_unit_test(help_lists_every_option_with_its_default),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

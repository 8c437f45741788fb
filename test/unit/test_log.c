/* base/log: lines, quoting, the live status line on a terminal. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

#include "base/log.h"

/* Standard error, put elsewhere for a while. */
static int saved_stderr = -1;

static void redirect(int fd)
{
    saved_stderr = dup(STDERR_FILENO);
    assert_true(saved_stderr >= 0);
    assert_true(dup2(fd, STDERR_FILENO) >= 0);
    (void)close(fd);
}

static void restore(void)
{
    assert_true(dup2(saved_stderr, STDERR_FILENO) >= 0);
    (void)close(saved_stderr);
}

/* Until the other end is closed (a terminal then gives EIO). */
static size_t take(int fd, char *out, size_t cap)
{
    size_t len = 0;
    ssize_t n;

    while (len < cap - 1 && (n = read(fd, out + len, cap - 1 - len)) > 0) {
        len += (size_t)n;
    }
    out[len] = '\0';
    return len;
}

static void test_lines_have_their_level_and_are_filtered_by_it(void **state)
{
    char out[4096];
    int fd[2];

    (void)state;
    assert_int_equal(pipe(fd), 0);
    redirect(fd[1]);
    log_set_level(LOG_WARN);
    log_error("one %d", 1);
    log_warn("two");
    log_info("three");
    log_debug("four");
    log_set_status("never on a pipe");
    log_set_level(LOG_INFO);
    log_info("five");
    restore();
    (void)take(fd[0], out, sizeof(out));
    assert_string_equal(out, "error: one 1\nwarn: two\ninfo: five\n");
    (void)close(fd[0]);
}

static void test_a_line_too_long_is_cut_and_still_ends(void **state)
{
    char out[8192];
    size_t n;
    int fd[2];

    (void)state;
    assert_int_equal(pipe(fd), 0);
    redirect(fd[1]);
    log_info("%5000d", 7);
    log_info("next");
    restore();
    n = take(fd[0], out, sizeof(out));
    assert_true(n > 2000 && n < 2100);
    assert_memory_equal(out + n - 12, "\ninfo: next\n", 12);
    (void)close(fd[0]);
}

static void test_on_a_terminal_the_status_stays_below_the_log(void **state)
{
    int master = posix_openpt(O_RDWR | O_NOCTTY), slave;
    struct termios raw;
    char out[4096];

    (void)state;
    if (master < 0) {
        fail_msg("there is no pseudo terminal: is /dev/pts mounted?");
    }
    assert_int_equal(grantpt(master), 0);
    assert_int_equal(unlockpt(master), 0);
    slave = open(ptsname(master), O_RDWR | O_NOCTTY);
    assert_true(slave >= 0);
    assert_int_equal(tcgetattr(slave, &raw), 0);
    cfmakeraw(&raw);
    assert_int_equal(tcsetattr(slave, TCSANOW, &raw), 0);
    redirect(slave);
    log_set_status(NULL);
    log_set_status("42 objects");
    log_info("hello");
    log_set_status("");
    log_info("bye");
    restore();
    (void)take(master, out, sizeof(out));
    assert_string_equal(out, "\r\033[K42 objects"
                             "\r\033[Kinfo: hello\n42 objects"
                             "\r\033[K"
                             "info: bye\n");
    (void)close(master);
}

static void test_bytes_from_outside_are_quoted(void **state)
{
    char out[64];

    (void)state;
    assert_string_equal(log_quote(SLICE_LIT("a b"), out, sizeof(out)), "\"a b\"");
    assert_string_equal(log_quote(SLICE_LIT("\"\\\n\0\xc3"), out, sizeof(out)),
                        "\"\\x22\\x5c\\x0a\\x00\\xc3\"");
    assert_string_equal(log_quote((struct slice){0}, out, sizeof(out)), "\"\"");
}

static void test_a_quote_too_long_is_cut_within_its_room(void **state)
{
    char out[16];
    size_t cap;

    (void)state;
    assert_string_equal(log_quote(SLICE_LIT("abcdefgh"), out, 11), "\"abcdefgh\"");
    assert_string_equal(log_quote(SLICE_LIT("abcdefghi"), out, 11), "\"abcde...\"");
    for (cap = 0; cap < sizeof(out); cap++) {
        out[cap] = '!';
        (void)log_quote(SLICE_LIT("a\nb\nc\nd\ne"), out, cap);
        assert_int_equal(out[cap], '!');
        assert_true(cap == 0 || memchr(out, '\0', cap) != NULL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines_have_their_level_and_are_filtered_by_it),
        cmocka_unit_test(test_a_line_too_long_is_cut_and_still_ends),
        cmocka_unit_test(test_on_a_terminal_the_status_stays_below_the_log),
        cmocka_unit_test(test_bytes_from_outside_are_quoted),
        cmocka_unit_test(test_a_quote_too_long_is_cut_within_its_room),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

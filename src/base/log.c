/* One line, one write(2), so that lines of several processes do not mix.
 *
 * A live status line, shown only where standard error is a terminal, always is the last line and
 * has no line end: a log line goes out as "erase, line, status again" in the same write. The level
 * and the status are guarded by a mutex: workers may log. Lines above LINE_MAX_BYTES are cut. */
#include "base/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#define LINE_MAX_BYTES 2048
#define STATUS_MAX_BYTES 256
#define ERASE "\r\033[K"

static atomic_int level = LOG_INFO;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char status[STATUS_MAX_BYTES]; /* "" while none is shown */

static const char *const names[] = {"error", "warn", "info", "debug"};

void log_set_level(enum log_level l)
{
    atomic_store(&level, (int)l);
}

bool log_enabled(enum log_level l)
{
    return (int)l <= atomic_load(&level);
}

/* Nothing can be done about a standard error that is gone. */
static void write_all(const char *p, size_t n)
{
    while (n > 0) {
        ssize_t w = write(STDERR_FILENO, p, n);

        if (w < 0 && errno != EINTR) {
            return;
        }
        if (w > 0) {
            p += w;
            n -= (size_t)w;
        }
    }
}

void log_at(enum log_level l, const char *fmt, ...)
{
    char out[sizeof(ERASE) + LINE_MAX_BYTES + STATUS_MAX_BYTES];
    int saved = errno, n;
    size_t len, start;
    va_list ap;

    if (!log_enabled(l)) {
        return;
    }
    (void)pthread_mutex_lock(&lock);
    start = len = (size_t)snprintf(out, sizeof(out), "%s", status[0] != '\0' ? ERASE : "");
    len += (size_t)snprintf(out + len, sizeof(out) - len, "%s: ", names[l]);
    va_start(ap, fmt);
    n = vsnprintf(out + len, LINE_MAX_BYTES - (len - start) - 1, fmt, ap);
    va_end(ap);
    if (n > 0) {
        size_t room = LINE_MAX_BYTES - (len - start) - 2;

        len += (size_t)n < room ? (size_t)n : room;
    }
    out[len++] = '\n';
    len += (size_t)snprintf(out + len, sizeof(out) - len, "%s", status);
    write_all(out, len);
    (void)pthread_mutex_unlock(&lock);
    errno = saved;
}

void log_set_status(const char *line)
{
    char out[sizeof(ERASE) + STATUS_MAX_BYTES];
    bool had;
    int n;

    if (!isatty(STDERR_FILENO)) {
        return;
    }
    (void)pthread_mutex_lock(&lock);
    had = status[0] != '\0';
    (void)snprintf(status, sizeof(status), "%s", line != NULL ? line : "");
    if (had || status[0] != '\0') {
        n = snprintf(out, sizeof(out), ERASE "%s", status);
        write_all(out, (size_t)n);
    }
    (void)pthread_mutex_unlock(&lock);
}

static bool is_plain(uint8_t c)
{
    return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

const char *log_quote(struct slice s, char *out, size_t cap)
{
    static const char digits[] = "0123456789abcdef";
    const char *end = "\"";
    size_t n = 0, whole = 3, i; /* whole: two quotes and the NUL */

    if (cap < sizeof("\"...\"")) {
        if (cap > 0) {
            out[0] = '\0';
        }
        return out;
    }
    for (i = 0; i < s.len && whole <= cap; i++) {
        whole += is_plain(s.ptr[i]) ? 1 : 4;
    }
    if (whole > cap) {
        end = "...\"";
    }
    out[n++] = '"';
    for (i = 0; i < s.len; i++) {
        uint8_t c = s.ptr[i];

        if (n + (is_plain(c) ? 1 : 4) + strlen(end) + 1 > cap) {
            break;
        }
        if (is_plain(c)) {
            out[n++] = (char)c;
        } else {
            out[n++] = '\\';
            out[n++] = 'x';
            out[n++] = digits[c >> 4];
            out[n++] = digits[c & 15];
        }
    }
    memcpy(out + n, end, strlen(end) + 1);
    return out;
}

/* The words of the server on standard error (status.h). */
#include "server/status.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <uv.h>

#include "base/log.h"

#define PROGRESS_EVERY_NS UINT64_C(200000000)
#define PROGRESS_EVERY_QUIET_NS UINT64_C(10000000000) /* without a terminal */
#define NUMBER_BYTES 32

static bool tell(void)
{
    return log_enabled(LOG_INFO);
}

/* "0 B", "12.3 KiB", ... */
static const char *bytes_text(uint64_t n, char out[NUMBER_BYTES])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    size_t unit = 0;
    double value = (double)n;
    while (value >= 1023.95 && unit + 1 < sizeof units / sizeof units[0]) {
        value /= 1024;
        unit++;
    }
    (void)snprintf(out, NUMBER_BYTES, unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]);
    return out;
}

static const char *plural(uint64_t n)
{
    return n == 1 ? "" : "s";
}

/* "3 objects, 1.2 MiB live and 0 B dead in 2 block files" */
static void describe_store(const struct store_stats *s, char *out, size_t cap)
{
    char live[NUMBER_BYTES], dead[NUMBER_BYTES];
    uint64_t live_bytes = s->totals.live_bytes;
    uint64_t dead_bytes = s->disk_bytes > live_bytes ? s->disk_bytes - live_bytes : 0;
    (void)snprintf(out, cap,
                   "%" PRIu64 " object%s, %s live and %s dead in %" PRIu64 " block file%s",
                   s->totals.objects, plural(s->totals.objects), bytes_text(live_bytes, live),
                   bytes_text(dead_bytes, dead), s->n_blocks, plural(s->n_blocks));
}

void status_init(struct status *st)
{
    memset(st, 0, sizeof *st);
    st->on_terminal = isatty(STDERR_FILENO) == 1;
    st->begin_ns = st->shown_ns = uv_hrtime();
}

/* Shows text as the live line, cut to what the terminal's width holds: a wrapped line could not
 * be erased. */
static void show(struct status *st, const char *text)
{
    struct winsize ws = {0};
    size_t columns = 80;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &ws) == 0 && ws.ws_col > 1) {
        columns = ws.ws_col;
    }
    size_t cap = columns < sizeof st->line ? columns : sizeof st->line;
    (void)snprintf(st->line, cap, "%s", text);
    log_set_status(st->line);
}

void status_say(struct status *st, const char *text)
{
    if (!st->on_terminal) {
        return;
    }
    if (text == NULL) {
        log_set_status(NULL);
    } else {
        show(st, text);
    }
}

void status_progress(struct status *st, const char *what, uint64_t done, uint64_t total)
{
    uint64_t now = uv_hrtime();
    if (now - st->shown_ns < (st->on_terminal ? PROGRESS_EVERY_NS : PROGRESS_EVERY_QUIET_NS)) {
        return;
    }
    st->shown_ns = now;
    char text[160];
    if (total > 0) {
        unsigned percent = done < total ? (unsigned)((double)done * 100 / (double)total) : 100;
        (void)snprintf(text, sizeof text, "%s: %u %%", what, percent);
    } else {
        (void)snprintf(text, sizeof text, "%s: %" PRIu64, what, done);
    }
    if (st->on_terminal) {
        show(st, text);
    } else {
        log_info("%s", text);
    }
}

/* What recovery did has been told by the store already, in its notes. */
static void print_found(const struct store_stats *s)
{
    char text[256];
    if (s->new_store) {
        fprintf(stderr, "new, empty store\n");
        return;
    }
    describe_store(s, text, sizeof text);
    fprintf(stderr, "%s\n", text);
    uint64_t damaged = s->totals.damaged;
    if (damaged > 0) {
        fprintf(stderr, "%" PRIu64 " object%s damaged; zipkvverify tells which\n", damaged,
                damaged == 1 ? " is" : "s are");
    }
}

void status_print_start(struct status *st, const struct status_where *w,
                        const struct store_stats *s)
{
    const char *flags = w->https ? "s3c" : "--backend-options no-ssl s3c";
    status_say(st, NULL);
    st->last.store = *s;
    st->shown_ns = uv_hrtime();
    if (!tell()) {
        return;
    }
    fprintf(stderr, "listening on %s%s, bucket %s, directory %s\n", w->https ? "https://" : "",
            w->addr, w->bucket, w->dir);
    print_found(s);
    if (w->n_others > 0) {
        fprintf(stderr, "%zu further bucket%s in %s/buckets, opened when used\n", w->n_others,
                plural(w->n_others), w->dir);
    }
    fprintf(stderr,
            "S3QL, with %s%s (mkfs.s3ql once, for a new file system%s):\n"
            "  mkfs.s3ql %s://%s/%s\n"
            "  mount.s3ql %s://%s/%s MOUNTPOINT\n"
            "  umount.s3ql MOUNTPOINT\n"
            "To stop the server: first umount.s3ql, then Ctrl+C.\n",
            w->auth_path != NULL ? "a backend login and password of "
                                 : "any backend login and password",
            w->auth_path != NULL ? w->auth_path : "",
            w->https ? "; where the certificate's CA is not known, with\n"
                       "--backend-options ssl-ca-path=CA.pem"
                     : "",
            flags, w->host, w->bucket, flags, w->host, w->bucket);
}

/* What moved between two moments counts; gauges alone do not. */
static bool same(const struct status_figures *a, const struct status_figures *b)
{
    const struct store_stats *x = &a->store, *y = &b->store;
    return x->puts == y->puts && x->deletes == y->deletes && x->copies == y->copies &&
           x->gets == y->gets && x->bytes_in == y->bytes_in && x->bytes_out == y->bytes_out &&
           a->n_connections == b->n_connections;
}

bool status_wants_tick(const struct status *st, const struct status_figures *now)
{
    return st->on_terminal && (st->moving || !same(&st->last, now));
}

void status_tick(struct status *st, const struct status_figures *f)
{
    if (!st->on_terminal) {
        return;
    }
    uint64_t now = uv_hrtime();
    double seconds = (double)(now - st->shown_ns) / 1e9;
    const struct store_stats *s = &f->store, *was = &st->last.store;
    if (seconds < 0.1) {
        return;
    }
    if (!st->moving && seconds > 1) {
        seconds = 1; /* it was quiet until this tick was asked for */
    }
    char in[NUMBER_BYTES], out[NUMBER_BYTES], block[64] = "";
    double in_rate = (double)(s->bytes_in - was->bytes_in) / seconds;
    double out_rate = (double)(s->bytes_out - was->bytes_out) / seconds;
    if (s->current_block != UINT32_MAX && s->block_size > 0) {
        (void)snprintf(block, sizeof block, " | block %" PRIu32 " %.0f %%", s->current_block,
                       (double)s->current_fill * 100 / (double)s->block_size);
    }
    char text[256];
    (void)snprintf(text, sizeof text,
                   "%" PRIu64 " objects | %s/s in, %s/s out | %.0f PUT, %.0f GET, %.0f DELETE/s%s"
                   " | %u connection%s",
                   s->totals.objects, bytes_text((uint64_t)in_rate, in),
                   bytes_text((uint64_t)out_rate, out), (double)(s->puts - was->puts) / seconds,
                   (double)(s->gets - was->gets) / seconds,
                   (double)(s->deletes - was->deletes) / seconds, block, f->n_connections,
                   plural(f->n_connections));
    show(st, text);
    st->moving = !same(&st->last, f);
    st->last = *f;
    st->shown_ns = now;
}

void status_print_stop(struct status *st, const struct store_stats *s, size_t n_others)
{
    char text[256], in[NUMBER_BYTES], out[NUMBER_BYTES];
    status_say(st, NULL);
    if (!tell()) {
        return;
    }
    fprintf(stderr,
            "this session: %" PRIu64 " PUT, %" PRIu64 " DELETE, %" PRIu64 " COPY, %" PRIu64
            " GET; %s in, %s out\n",
            s->puts, s->deletes, s->copies, s->gets, bytes_text(s->bytes_in, in),
            bytes_text(s->bytes_out, out));
    describe_store(s, text, sizeof text);
    fprintf(stderr, "stopped: %s%s\n", text,
            n_others > 0 ? " (of all buckets that were used)" : "");
}

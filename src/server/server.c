/* From start to stop (server.h).
 *
 *   STARTING -> SERVING -> DRAINING -> FLUSHING -> STOPPED
 *
 *   STARTING   everything is made, in the order of `struct server`; a failure undoes what there is
 *   SERVING    until a signal, the end of CMD, or fatal() of the directory's own store. That of
 *              another bucket ends that bucket alone (store_set.h)
 *   DRAINING   the listener is closed; running requests finish, DRAIN_MS at most; a second signal
 *              cuts them (begin_stop, handle_drained)
 *   FLUSHING   no connection is left; the stores write what is to be written: the other buckets'
 *              (handle_others_stopped), then the directory's own (handle_stopped)
 *   STOPPED    all handles are being closed; the loop ends by itself, and signals are blocked
 *
 * From STARTING a signal ends the process as it always does. A third signal to stop ends it from
 * DRAINING or FLUSHING without waiting for the disk (end_at_once): the next start recovers. It is
 * not the second that does this, for a closing terminal sends SIGHUP twice: by the kernel and by
 * the shell.
 *
 * The store may call fatal() from anywhere, so it only leaves a note (stop_wanted), which the next
 * turn of the loop acts on (on_prepare). The same place starts the tick timer when the store or the
 * live line has something to do; on_tick stops it when neither has: a quiet server has no timer. */
#include "server/server.h"

#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include <uv.h>

#include "s3/s3.h"
#include "s3/s3_auth.h"
#include "server/addr.h"
#include "server/child.h"
#include "server/config.h"
#include "server/peer.h"
#include "server/status.h"
#include "server/tls_cert.h"
#include "server/workers.h"

#define DRAIN_MS 5000
#define TICK_MS 1000
#define BACKLOG 511
#define PEERS_MAX 4096 /* connections, where descriptors allow */
#define PEERS_MIN 4
#define OWN_FDS (64 + STORES_OPEN_MAX * 13) /* neither a connection nor the file it reads */
#define N_SIGNALS 3
#define EXIT_NO_COMMAND 127
#define EXIT_BAD_COMMAND 126
#define URL_VARIABLE "ZIPKV_STORAGE_URL" /* in CMD's environment */

enum server_state { STARTING, SERVING, DRAINING, FLUSHING, STOPPED };

struct server {
    const struct server_config *config;
    enum server_state state;
    int exit_code;
    bool stop_wanted;
    bool told_child;      /* a signal to stop was passed on to CMD */
    bool hurried;         /* a signal came after the stop had begun */
    struct rlimit nofile; /* as we were started */
    unsigned max_peers;
    struct sockaddr_storage addr;
    char addr_text[ADDR_TEXT_BYTES], host_text[TLS_CERT_NAME_MAX + 8];
    struct status status;

    uv_loop_t loop;
    bool has_loop;
    uv_tcp_t listener;
    uv_signal_t signals[N_SIGNALS];
    uv_timer_t tick;
    uv_prepare_t prepare;
    struct vfs *vfs;
    struct server_workers *workers;
    struct store *store; /* in the directory itself */
    uint64_t promised;   /* of the disk's room, by all stores */
    struct store_set *stores;
    struct s3_auth *auth;
    struct s3 *s3;
    struct tls_cert *tls_cert;
    struct peers *peers;
    struct child *child;
};

static const int stop_signals[N_SIGNALS] = {SIGINT, SIGTERM, SIGHUP};

/* ---- the end ---- */

/* Also for handles that were never made. */
static void close_handle(void *handle)
{
    uv_handle_t *h = handle;
    if (h->type != UV_UNKNOWN_HANDLE && !uv_is_closing(h)) {
        uv_close(h, NULL);
    }
}

static void close_handles(struct server *s)
{
    close_handle(&s->listener);
    for (int i = 0; i < N_SIGNALS; i++) {
        close_handle(&s->signals[i]);
    }
    close_handle(&s->tick);
    close_handle(&s->prepare);
    server_workers_close(s->workers);
    child_destroy(s->child);
    s->child = NULL;
}

static void handle_stopped(void *user, int status)
{
    struct server *s = user;
    s->state = STOPPED;
    if (child_running(s->child)) {
        log_warn("%s still runs, without a server now", s->config->command[0]);
        s->exit_code = SERVER_EXIT_FAILED;
    }
    if (status != 0) {
        log_error("not everything could be written: %s", zerr_str(status));
        s->exit_code = SERVER_EXIT_FAILED;
    }
    /* With its handle closed a signal has its default action again; but what has stopped in order is
     * not to die of a late one. The workers take none. */
    sigset_t late;
    (void)sigemptyset(&late);
    for (int i = 0; i < N_SIGNALS; i++) {
        (void)sigaddset(&late, stop_signals[i]);
    }
    (void)pthread_sigmask(SIG_BLOCK, &late, NULL);
    close_handles(s);
}

static void handle_others_stopped(void *user, int status)
{
    struct server *s = user;
    if (status != 0) { /* it has been told by which */
        s->exit_code = SERVER_EXIT_FAILED;
    }
    store_stop(s->store, handle_stopped, s);
}

static void handle_drained(void *user)
{
    struct server *s = user;
    s->state = FLUSHING;
    status_say(&s->status, "writing what is left ...");
    store_set_stop(s->stores, handle_others_stopped, s);
}

static void begin_stop(struct server *s)
{
    assert(s->state == SERVING);
    s->state = DRAINING;
    status_say(&s->status, "stopping: running requests finish ...");
    close_handle(&s->listener);
    peers_drain(s->peers, DRAIN_MS, handle_drained, s);
}

/* Leaves the directory as a crash would. */
static void end_at_once(struct server *s)
{
    status_say(&s->status, NULL);
    log_error("ended at once, before everything was written; the next start recovers");
    _exit(SERVER_EXIT_FAILED);
}

static void on_signal(uv_signal_t *handle, int signo)
{
    struct server *s = handle->data;
    if (s->state == SERVING && child_running(s->child)) {
        if (signo == SIGINT) {
            return; /* CMD's: the terminal has sent it there too */
        }
        if (!s->told_child) {
            s->told_child = true;
            child_signal(s->child, signo);
            return;
        }
    }
    if (s->state == SERVING) {
        begin_stop(s);
        return;
    }
    if (s->hurried) {
        end_at_once(s);
    }
    s->hurried = true;
    if (s->state == DRAINING) {
        log_info("cutting %u connection(s)", peers_count(s->peers));
        peers_cut(s->peers);
    }
}

static void handle_child_exited(void *user, int status, bool others_left)
{
    struct server *s = user;
    if (s->exit_code == 0) {
        s->exit_code = status;
    }
    if (others_left && s->state == SERVING) {
        log_info("%s has ended with status %d; serving until what it left running has ended too "
                 "(Ctrl+C stops now)",
                 s->config->command[0], status);
    }
}

static void handle_child_gone(void *user)
{
    struct server *s = user;
    if (s->state == SERVING) {
        begin_stop(s);
    }
}

/* ---- running ---- */

static void handle_note(void *user, enum log_level level, const char *text)
{
    (void)user;
    log_at(level, "%s", text);
}

/* Of another bucket than the directory's own; from any thread. */
static void handle_other_note(void *user, const char *name, enum log_level level, const char *text)
{
    (void)user;
    log_at(level, "bucket %s: %s", name, text);
}

static void handle_fatal(void *user, const char *text)
{
    struct server *s = user;
    log_error("%s", text);
    s->exit_code = SERVER_EXIT_FAILED;
    s->stop_wanted = true;
}

static int handle_progress(void *user, const char *what, uint64_t done, uint64_t total)
{
    struct server *s = user;
    status_progress(&s->status, what, done, total);
    return 0;
}

static void get_figures(const struct server *s, struct status_figures *ret)
{
    store_get_stats(s->store, &ret->store);
    store_set_add_stats(s->stores, &ret->store);
    ret->n_connections = peers_count(s->peers);
}

static bool wants_tick(const struct server *s)
{
    if (store_wants_tick(s->store) || store_set_wants_tick(s->stores)) {
        return true;
    }
    struct status_figures figures;
    if (!s->status.on_terminal || s->state != SERVING) {
        return false;
    }
    get_figures(s, &figures);
    return status_wants_tick(&s->status, &figures);
}

static void on_tick(uv_timer_t *timer)
{
    struct server *s = timer->data;
    struct status_figures figures;
    store_expire_uploads(s->store);
    store_tick(s->store);
    store_set_tick(s->stores);
    if (s->state == SERVING) {
        get_figures(s, &figures);
        status_tick(&s->status, &figures);
    }
    if (!wants_tick(s)) {
        (void)uv_timer_stop(timer);
    }
}

static void on_prepare(uv_prepare_t *prepare)
{
    struct server *s = prepare->data;
    if (s->stop_wanted && s->state == SERVING) {
        begin_stop(s);
    }
    if (s->state != STOPPED && !uv_is_active((uv_handle_t *)&s->tick) && wants_tick(s)) {
        (void)uv_timer_start(&s->tick, on_tick, TICK_MS, TICK_MS);
    }
}

static void on_connection(uv_stream_t *listener, int status)
{
    struct server *s = listener->data;
    if (s->state != SERVING) {
        return;
    }
    if (status == UV_EMFILE || status == UV_ENFILE) {
        (void)peers_close_idlest(s->peers);
        return;
    }
    int rc = status == 0 ? peers_accept(s->peers, listener) : ZERR_IO;
    if (rc == ZERR_LIMIT) {
        (void)peers_close_idlest(s->peers);
    }
    if (rc != 0) {
        log_debug("a connection was not accepted: %s",
                  status != 0 ? uv_strerror(status) : zerr_str(rc));
    }
}

/* ---- the start ---- */

static void prepare_process(struct server *s)
{
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGXFSZ, SIG_IGN);
    if (getrlimit(RLIMIT_NOFILE, &s->nofile) != 0) {
        s->nofile.rlim_cur = s->nofile.rlim_max = 1024;
    }
    struct rlimit wanted = {s->nofile.rlim_max, s->nofile.rlim_max};
    rlim_t have = setrlimit(RLIMIT_NOFILE, &wanted) == 0 ? wanted.rlim_cur : s->nofile.rlim_cur;
    /* Each connection may have a block file open besides itself. */
    rlim_t own = have / 2 < OWN_FDS ? have / 2 : OWN_FDS; /* fewer stores open, then */
    rlim_t peers = (have - own) / 2;
    s->max_peers = peers > PEERS_MAX ? PEERS_MAX : peers < PEERS_MIN ? PEERS_MIN : (unsigned)peers;
}

static int uv_fail(struct zerr_info *info, int uv_code, const char *what)
{
    return zerr_fail(info, uv_code == UV_ENOMEM ? ZERR_NOMEM : ZERR_IO, 0, "%s: %s", what,
                     uv_strerror(uv_code));
}

static int listen_failed(const struct server *s, int uv_code, struct zerr_info *info)
{
    if (uv_code == UV_EADDRINUSE) {
        return zerr_fail(info, ZERR_BUSY, 0,
                         "%s is in use by another program, perhaps another zipkvserver: stop it or "
                         "choose another port with -addr",
                         s->config->addr);
    }
    return zerr_fail(info, ZERR_IO, 0, "cannot listen on %s: %s", s->config->addr,
                     uv_strerror(uv_code));
}

static int make_handles(struct server *s, struct zerr_info *info)
{
    int rc = uv_loop_init(&s->loop);
    if (rc != 0) {
        return uv_fail(info, rc, "cannot start an event loop");
    }
    s->has_loop = true;
    (void)uv_timer_init(&s->loop, &s->tick);
    (void)uv_prepare_init(&s->loop, &s->prepare);
    (void)uv_tcp_init(&s->loop, &s->listener);
    s->tick.data = s->prepare.data = s->listener.data = s;
    for (int i = 0; i < N_SIGNALS; i++) {
        rc = uv_signal_init(&s->loop, &s->signals[i]);
        if (rc != 0) {
            return uv_fail(info, rc, "cannot watch signals");
        }
        s->signals[i].data = s;
    }
    /* A port in use is told now, not after a long recovery; libuv keeps it for the next call. */
    int len = sizeof s->addr;
    rc = uv_tcp_bind(&s->listener, (const struct sockaddr *)&s->addr, 0);
    if (rc == 0) {
        rc = uv_tcp_getsockname(&s->listener, (struct sockaddr *)&s->addr, &len);
    }
    return rc != 0 ? listen_failed(s, rc, info) : 0;
}

static int open_auth(struct server *s, struct zerr_info *info)
{
    const struct server_config *c = s->config;
    const struct s3_auth_config auth_config = {
        .path = c->auth_path,
        .skew_s = c->auth_skew_s,
        .port = addr_port(&s->addr),
    };
    return c->auth_path != NULL ? s3_auth_open(&auth_config, &s->auth, info) : 0;
}

static int open_tls(struct server *s, struct zerr_info *info)
{
    const struct server_config *c = s->config;
    return c->tls_cert_path != NULL
               ? tls_cert_open(c->tls_cert_path, c->tls_key_path, &s->tls_cert, info)
               : 0;
}

static int open_stores(struct server *s, struct zerr_info *info)
{
    const struct server_config *c = s->config;
    int rc = server_workers_create(&s->loop, &s->workers);
    if (rc != 0) {
        return rc;
    }
    const struct store_config store_config = {
        .vfs = s->vfs,
        .workers = server_workers_base(s->workers),
        .dir = c->dir,
        .index_path = c->index_path,
        .block_size = c->block_size,
        .sync = c->sync,
        .reserve = c->reserve,
        .promised = &s->promised,
        .user = s,
        .note = handle_note,
        .fatal = handle_fatal,
        .progress = handle_progress,
    };
    struct zerr_info why = {0};
    rc = store_open(&store_config, &s->store, &why);
    if (rc != 0) {
        return zerr_fail(info, rc, 0, "%s: %s", c->dir, zerr_text(&why, rc));
    }
    const struct store_set_config set_config = {
        .home = s->store,
        .home_name = c->bucket,
        .others = store_config,
        .user = s,
        .note = handle_other_note,
    };
    rc = store_set_open(&set_config, &s->stores, info);
    if (rc != 0) {
        return rc;
    }
    const struct s3_config s3_config = {
        .stores = s->stores, .auth = s->auth, .https = s->tls_cert != NULL};
    rc = s3_create(&s3_config, &s->s3);
    if (rc != 0) {
        return rc;
    }
    const struct peer_config peer_config = {.max_peers = s->max_peers, .tls_cert = s->tls_cert};
    return peers_create(&s->loop, s3_handler(s->s3), &peer_config, &s->peers);
}

static int start_signals(struct server *s, struct zerr_info *info)
{
    for (int i = 0; i < N_SIGNALS; i++) {
        struct sigaction sa;
        if (stop_signals[i] == SIGHUP && sigaction(SIGHUP, NULL, &sa) == 0 &&
            sa.sa_handler == SIG_IGN) {
            continue; /* started by nohup(1) */
        }
        int rc = uv_signal_start(&s->signals[i], on_signal, stop_signals[i]);
        if (rc != 0) {
            return uv_fail(info, rc, "cannot watch signals");
        }
    }
    return 0;
}

static int start_listening(struct server *s, struct zerr_info *info)
{
    int rc = uv_listen((uv_stream_t *)&s->listener, BACKLOG, on_connection);
    if (rc != 0) {
        return listen_failed(s, rc, info);
    }
    addr_format(&s->addr, s->addr_text);
    const char *name = s->tls_cert != NULL ? tls_cert_name(s->tls_cert) : "";
    (void)snprintf(s->host_text, sizeof s->host_text, "%s", s->addr_text);
    if (name[0] != '\0') { /* what clients check it against */
        (void)snprintf(s->host_text, sizeof s->host_text, "%s:%u", name, addr_port(&s->addr));
    } else if (s->addr.ss_family != AF_INET || addr_is_any(&s->addr)) {
        (void)snprintf(s->host_text, sizeof s->host_text, "localhost:%u", addr_port(&s->addr));
    }
    return 0;
}

static int start_child(struct server *s, struct zerr_info *info)
{
    char url[sizeof s->host_text + 80];
    s->status.on_terminal = false; /* CMD has it now: no live line */
    (void)snprintf(url, sizeof url, "s3c://%s/%s", s->host_text, s->config->bucket);
    if (setenv(URL_VARIABLE, url, 1) != 0) {
        return ZERR_NOMEM;
    }
    const struct child_config child_config = {
        .argv = s->config->command,
        .nofile = s->nofile,
        .user = s,
        .exited = handle_child_exited,
        .gone = handle_child_gone,
    };
    int rc = child_start(&s->loop, &child_config, &s->child, info);
    if (rc != 0) { /* as a shell would say it */
        s->exit_code = rc == ZERR_NOT_FOUND ? EXIT_NO_COMMAND : EXIT_BAD_COMMAND;
    }
    return rc;
}

static int start_serving(struct server *s, struct zerr_info *info)
{
    int rc = start_signals(s, info);
    if (rc == 0) {
        rc = start_listening(s, info);
    }
    if (rc != 0) {
        return rc;
    }
    (void)uv_prepare_start(&s->prepare, on_prepare);
    s->state = SERVING;
    store_expire_uploads(s->store);
    const struct status_where where = {
        s->addr_text,         s->host_text,        s->config->bucket,         s->config->dir,
        s->config->auth_path, s->tls_cert != NULL, store_set_count(s->stores)};
    struct store_stats stats;
    store_get_stats(s->store, &stats);
    status_print_start(&s->status, &where, &stats);
    return s->config->command != NULL ? start_child(s, info) : 0;
}

/* Frees everything, from any state; without FLUSHING before it leaves the directory as a crash
 * would. */
static void server_finish(struct server *s)
{
    store_set_destroy(s->stores);
    store_destroy(s->store);
    peers_destroy(s->peers);
    if (s->has_loop) {
        close_handles(s);
        (void)uv_run(&s->loop, UV_RUN_DEFAULT);
        int rc = uv_loop_close(&s->loop);
        assert(rc == 0); /* else a handle was forgotten */
        (void)rc;
    }
    s3_destroy(s->s3);
    s3_auth_close(s->auth);
    tls_cert_close(s->tls_cert);
    server_workers_destroy(s->workers);
    vfs_posix_close(s->vfs);
}

int server_run(const struct server_config *config)
{
    struct server *s = calloc(1, sizeof *s);
    struct zerr_info info = {0};
    if (s == NULL) {
        log_error("%s", zerr_str(ZERR_NOMEM));
        return SERVER_EXIT_FAILED;
    }
    s->config = config;
    prepare_process(s);
    status_init(&s->status);
    int usage = config_check(config, &s->addr, &info);
    int rc = usage;
    if (rc == 0) {
        rc = config_check_dir(config, &info);
    }
    if (rc == 0) {
        rc = vfs_posix_open(config->dir, &s->vfs, &info);
    }
    if (rc == 0) {
        rc = make_handles(s, &info);
    }
    if (rc == 0) {
        rc = open_auth(s, &info);
    }
    if (rc == 0) {
        rc = open_tls(s, &info);
    }
    if (rc == 0) {
        rc = open_stores(s, &info);
    }
    if (rc == 0) {
        rc = start_serving(s, &info);
    }
    if (rc != 0) {
        status_say(&s->status, NULL);
        log_error("%s", zerr_text(&info, rc));
        if (s->exit_code == 0) {
            s->exit_code = usage == ZERR_INVALID ? SERVER_EXIT_USAGE : SERVER_EXIT_FAILED;
        }
        s->stop_wanted = true; /* if it serves already: CMD could not be started */
    }
    if (s->state == SERVING) {
        (void)uv_run(&s->loop, UV_RUN_DEFAULT);
        struct status_figures figures;
        get_figures(s, &figures);
        status_print_stop(&s->status, &figures.store, store_set_count(s->stores));
    }
    int code = s->exit_code;
    server_finish(s);
    free(s);
    return code;
}

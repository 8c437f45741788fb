/* All connections: what they share, their time-outs, the orderly stop. */
#include "server/peer_set.h"

#include <assert.h>
#include <stdlib.h>

#include "base/log.h"
#include "http/http_limits.h"

static unsigned or_default(unsigned value, unsigned standard)
{
    return value != 0 ? value : standard;
}

static void fill_config(struct peer_config *c, const struct peer_config *given)
{
    if (given != NULL) {
        *c = *given;
    }
    c->head_ms = or_default(c->head_ms, HTTP_HEAD_MS);
    c->idle_ms = or_default(c->idle_ms, HTTP_IDLE_MS);
    c->body_window_ms = or_default(c->body_window_ms, HTTP_BODY_WINDOW_MS);
    c->write_stall_ms = or_default(c->write_stall_ms, HTTP_WRITE_STALL_MS);
    c->linger_quiet_ms = or_default(c->linger_quiet_ms, HTTP_LINGER_QUIET_MS);
    c->linger_ms = or_default(c->linger_ms, HTTP_LINGER_MS);
    c->sweep_ms = or_default(c->sweep_ms, HTTP_SWEEP_MS);
}

int peers_create(uv_loop_t *loop, struct http_handler *handler, const struct peer_config *config,
                 struct peers **ret_peers)
{
    struct peers *set = calloc(1, sizeof(*set));
    if (set == NULL) {
        return ZERR_NOMEM;
    }
    set->loop = loop;
    set->handler = handler;
    fill_config(&set->config, config);
    ring_init(&set->all);
    ring_init(&set->idle);
    ring_init(&set->ready);
    ring_init(&set->unsent_first);
    (void)uv_timer_init(loop, &set->sweep);
    (void)uv_idle_init(loop, &set->ready_idle);
    set->sweep.data = set->ready_idle.data = set;
    set->n_handles = 2;
    *ret_peers = set;
    return 0;
}

/* False: that was the last one, and set is gone. */
static bool drop_handle(struct peers *set)
{
    if (--set->n_handles > 0) {
        return true;
    }
    readbuf_pool_finish(&set->readbufs);
    http_pool_finish(&set->pool);
    free(set);
    return false;
}

static void on_handle_closed(uv_handle_t *handle)
{
    (void)drop_handle(handle->data);
}

void peers_destroy(struct peers *set)
{
    if (set != NULL) {
        assert(set->n_peers == 0);
        uv_close((uv_handle_t *)&set->sweep, on_handle_closed);
        uv_close((uv_handle_t *)&set->ready_idle, on_handle_closed);
    }
}

/* ---- members ---- */

void peers_bound_unsent(struct peers *set)
{
    uint64_t now = uv_now(set->loop);
    while (set->unsent > HTTP_UNSENT_MAX) {
        struct peer *p = container_of(set->unsent_first.next, struct peer, in_unsent);
        if (now - p->took_at < HTTP_UNSENT_MS) {
            break;
        }
        peer_reset(p, "takes its answer too slowly");
    }
}

static void maybe_drained(struct peers *set)
{
    if (set->draining && !set->drained && set->n_peers == 0) {
        set->drained = true;
        set->drained_cb(set->drained_data);
    }
}

static void on_sweep(uv_timer_t *timer)
{
    struct peers *set = timer->data;
    uint64_t now = uv_now(set->loop);
    uint64_t elapsed = now - set->swept_at;
    set->swept_at = now;
    if (set->draining && now >= set->drain_until) {
        peers_cut(set);
        return;
    }
    peers_bound_unsent(set);
    /* Nobody is freed here: peer_close() leaves that to the loop. */
    for (struct ring *l = set->all.next; l != &set->all; l = l->next) {
        peer_check_clock(container_of(l, struct peer, in_all), now, elapsed);
    }
}

static void on_ready(uv_idle_t *idle)
{
    struct peers *set = idle->data;
    struct ring now;
    ring_init(&now);
    while (ring_used(&set->ready)) {
        struct ring *l = set->ready.next;
        ring_remove(l);
        ring_append(&now, l);
    }
    while (ring_used(&now)) {
        struct ring *l = now.next;
        ring_remove(l);
        peer_pump(container_of(l, struct peer, in_ready));
    }
    if (!ring_used(&set->ready)) {
        (void)uv_idle_stop(idle);
    }
    maybe_drained(set);
}

void peers_make_ready(struct peers *set, struct peer *p)
{
    if (!ring_used(&p->in_ready)) {
        ring_append(&set->ready, &p->in_ready);
        (void)uv_idle_start(&set->ready_idle, on_ready);
    }
}

static void on_refused_closed(uv_handle_t *handle)
{
    struct peers *set = handle->data;
    uv_stream_t *deaf = set->deaf;
    set->deaf = NULL;
    set->refusing = false;
    int err = drop_handle(set) && deaf != NULL ? peers_accept(set, deaf) : 0;
    if (err != 0) {
        log_debug("a connection was not accepted: %s", zerr_str(err));
    }
}

/* Takes a connection for which there is no memory off the listener, which is deaf until somebody does. */
static void refuse(struct peers *set, uv_stream_t *listener)
{
    if (set->refusing) {
        set->deaf = listener;
        return;
    }
    (void)uv_tcp_init(set->loop, &set->refused);
    (void)uv_accept(listener, (uv_stream_t *)&set->refused);
    set->refused.data = set;
    set->refusing = true;
    set->n_handles++;
    uv_close((uv_handle_t *)&set->refused, on_refused_closed);
}

int peers_accept(struct peers *set, uv_stream_t *listener)
{
    bool accepted = false;
    int err = peer_accept(set, listener, &accepted);
    if (!accepted && !set->draining) {
        refuse(set, listener);
    }
    if (err == 0) {
        set->stat.n_accepted++;
        if (!uv_is_active((uv_handle_t *)&set->sweep)) {
            set->swept_at = uv_now(set->loop);
            (void)uv_timer_start(&set->sweep, on_sweep, set->config.sweep_ms, set->config.sweep_ms);
        }
    }
    return err;
}

void peers_remove(struct peers *set, struct peer *p)
{
    ring_remove(&p->in_all);
    ring_remove(&p->in_ready);
    free(p);
    if (--set->n_peers == 0) {
        (void)uv_timer_stop(&set->sweep);
        maybe_drained(set);
    }
}

bool peers_close_idlest(struct peers *set)
{
    if (!ring_used(&set->idle)) {
        return false;
    }
    peer_close(container_of(set->idle.next, struct peer, in_idle), "makes room for another");
    return true;
}

unsigned peers_count(const struct peers *set)
{
    return set->n_peers;
}

void peers_stat(const struct peers *set, struct peers_stat *ret)
{
    *ret = set->stat;
    ret->n_open = set->n_live;
    ret->n_busy = set->n_live;
    for (const struct ring *l = set->idle.next; l != &set->idle; l = l->next) {
        ret->n_busy--;
    }
}

/* ---- stop ---- */

void peers_drain(struct peers *set, unsigned bound_ms, void (*drained_cb)(void *data), void *data)
{
    assert(!set->draining);
    set->draining = true;
    set->drain_until = uv_now(set->loop) + bound_ms;
    set->drained_cb = drained_cb;
    set->drained_data = data;
    set->deaf = NULL;
    for (struct ring *l = set->all.next; l != &set->all; l = l->next) {
        struct peer *p = container_of(l, struct peer, in_all);
        http_conn_close_soon(&p->conn);
        if (p->conn.state == CONN_READ_HEAD) {
            peer_close(p, "the server stops");
        }
    }
    (void)uv_idle_start(&set->ready_idle, on_ready);
}

void peers_cut(struct peers *set)
{
    for (struct ring *l = set->all.next; l != &set->all; l = l->next) {
        peer_close(container_of(l, struct peer, in_all), "cut at stop");
    }
}

/* The time-outs of one connection: which clock runs in which state, and what happens at its end.
 * peers.c calls peer_check_clock() for each connection every config.sweep_ms. */
#include "server/peer_set.h"

#include "base/log.h"
#include "http/http_limits.h"

enum peer_clock peer_which_clock(const struct peer *p)
{
    switch (p->conn.state) {
    case CONN_READ_HEAD:
        return http_conn_is_idle(&p->conn) && !peer_tls_waits(p) ? PEER_CLOCK_IDLE
                                                                 : PEER_CLOCK_HEAD;
    case CONN_READ_BODY:
        return PEER_CLOCK_BODY;
    case CONN_WRITE:
        return PEER_CLOCK_WRITE;
    case CONN_DRAIN:
        return p->lingering ? PEER_CLOCK_LINGER : PEER_CLOCK_WRITE;
    case CONN_HANDLE:
    case CONN_DONE:
        break;
    }
    return PEER_CLOCK_NONE;
}

static void time_out(struct peer *p, const char *what)
{
    if (!peer_can_answer(p)) {
        peer_close(p, what);
        return;
    }
    log_debug("conn %u: %s", p->number, what);
    http_conn_fail(&p->conn, HTTP_ERR_TIMEOUT);
    peer_pump(p);
}

/* The body's and the write's clock stand while the other side is not to blame. */
static bool waited(struct peer *p, bool counts, uint64_t elapsed_ms, unsigned limit_ms)
{
    p->waited_ms += counts ? elapsed_ms : 0;
    return p->waited_ms >= limit_ms;
}

void peer_check_clock(struct peer *p, uint64_t now, uint64_t elapsed_ms)
{
    const struct peer_config *config = &p->set->config;
    uint64_t age = now - p->clock_since;
    if (p->closing || p->clock != peer_which_clock(p)) { /* not settled yet */
        return;
    }
    switch (p->clock) {
    case PEER_CLOCK_IDLE:
        if (age >= config->idle_ms) {
            peer_close(p, "idle for too long");
        }
        break;
    case PEER_CLOCK_HEAD:
        if (age >= config->head_ms) {
            time_out(p, "head not received in time");
        }
        break;
    case PEER_CLOCK_BODY:
        if (waited(p, peer_wants_read(p), elapsed_ms, config->body_window_ms)) {
            if (p->n_body < HTTP_BODY_MIN) {
                time_out(p, "body too slow");
            }
            p->n_body = p->waited_ms = 0;
        }
        break;
    case PEER_CLOCK_WRITE: {
        uint64_t queued = uv_stream_get_write_queue_size((uv_stream_t *)&p->tcp);
        uint64_t progress = p->n_written - queued;
        if (queued == 0 || progress != p->progress) {
            p->waited_ms = 0;
            p->progress = progress;
            peer_took_some(p);
        } else if (waited(p, true, elapsed_ms, config->write_stall_ms)) {
            peer_reset(p, "answer not taken in time");
        }
        break;
    }
    case PEER_CLOCK_LINGER:
        if (age >= config->linger_ms || now - p->last_read >= config->linger_quiet_ms) {
            peer_close(p, "answered");
        }
        break;
    case PEER_CLOCK_NONE:
        break;
    }
}

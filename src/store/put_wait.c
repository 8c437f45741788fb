/* Uploads that wait for room, so that nobody waits for his answer (no answer later than 10 s).
 *
 * What a client has sent is not only what was received: the buffers of both systems between us hold
 * some MiB of each large upload, and the client, who has sent all, waits for his answer while we
 * have not even read it. So an upload waits while what is unsynced and what may be on its way is
 * more than the disk takes in AHEAD_SECONDS; the client has no "100 Continue" before. It waits, too,
 * while too much is unsynced as it is, or the tail of the block is being cut. Small ones pass large
 * ones that wait; those keep their order.
 *
 * An upload that brings nothing although we listen has nothing on its way: slow clients keep
 * nobody waiting for longer than AHEAD_QUIET_MS.
 *
 * The end is ready(0), or ready(ZERR_BUSY) after PUT_WAIT_MS, unless waiting() says that the client
 * has been told that we are still here. */
#include <assert.h>

#include "store/store_priv.h"

#define AHEAD_OF_ONE (5u << 20) /* the buffers of both systems */
#define AHEAD_SMALL (64u << 10) /* uploads up to this size do not count and do not wait */
#define AHEAD_QUIET_MS 250      /* who brings nothing for so long has nothing on its way */
#define AHEAD_SECONDS 3
#define PUT_WAITS_MAX 60 /* times PUT_WAIT_MS: 5 minutes */

static uint64_t at_most(uint64_t n, uint64_t max)
{
    return n < max ? n : max;
}

/* What has probably been sent and not been read yet. */
static uint64_t ahead_of(const struct put *p, uint64_t now)
{
    bool is_slow = !p->stalled && !p->job_running && p->queued == 0 &&
                   now - p->heard_ns > (uint64_t)AHEAD_QUIET_MS * 1000000;
    if (p->state != PUT_OPEN || p->rec.size <= AHEAD_SMALL || is_slow) {
        return 0;
    }
    return at_most(p->rec.size - p->received, AHEAD_OF_ONE);
}

/* One upload alone never waits for itself. */
static bool too_much_ahead(const struct store *st, uint64_t size)
{
    uint64_t now = st->vfs->ops->mono_ns(st->vfs), ahead = 0;
    for (const struct put *p = st->puts; p != NULL; p = p->next) {
        ahead += ahead_of(p, now);
    }
    return ahead > 0 && st->unsynced + ahead + at_most(size, AHEAD_OF_ONE) > st->ahead_max;
}

static bool no_room(const struct put *p)
{
    const struct store *st = p->st;
    if (st->current != NULL && st->current->cutting) {
        return true;
    }
    return st->cfg.sync == STORE_SYNC_ACK &&
           (st->unsynced >= st->unsynced_max ||
            (p->rec.size > AHEAD_SMALL && too_much_ahead(st, p->rec.size)));
}

bool put_must_wait(const struct put *p)
{
    return no_room(p) || (p->st->waiting != NULL && p->rec.size > AHEAD_SMALL);
}

void put_wait(struct put *p)
{
    struct store *st = p->st;
    p->state = PUT_WAITING;
    p->wait_since_ns = st->vfs->ops->mono_ns(st->vfs);
    p->wait_next = NULL;
    *st->waiting_tail = p;
    st->waiting_tail = &p->wait_next;
}

void put_wait_end(struct put *p)
{
    struct store *st = p->st;
    for (struct put **at = &st->waiting; *at != NULL; at = &(*at)->wait_next) {
        if (*at == p) {
            *at = p->wait_next;
            if (st->waiting_tail == &p->wait_next) {
                st->waiting_tail = at;
            }
            return;
        }
    }
}

/* May it go on waiting? Its client is told. */
static bool still_waits(struct put *p, uint64_t now)
{
    if (now < p->wait_since_ns + (uint64_t)PUT_WAIT_MS * 1000000) {
        return true;
    }
    p->wait_since_ns = now;
    return p->ops->waiting != NULL && p->n_waits++ < PUT_WAITS_MAX && p->ops->waiting(p->user);
}

void put_resume_waiting(struct store *st)
{
    uint64_t now = st->vfs->ops->mono_ns(st->vfs);
    bool blocked = false; /* a large one waits: those behind it came later */
    for (struct put *p = st->waiting, *next; p != NULL; p = next) {
        next = p->wait_next;
        bool large = p->rec.size > AHEAD_SMALL;
        int rc = st->stopping                       ? ZERR_CANCELED
                 : (large && blocked) || no_room(p) ? ZERR_BUSY
                                                    : put_reserve(p);
        if (rc == ZERR_BUSY && still_waits(p, now)) {
            blocked = blocked || large;
            continue;
        }
        const struct put_ops *ops = p->ops;
        void *user = p->user;
        put_wait_end(p);
        if (rc != 0) {
            put_free(p);
        }
        ops->ready(user, rc);
        next = st->waiting; /* the call-back may have ended any */
    }
}

/* The disk's speed decides how much may be on its way. A disk with a cache is fast at first: so
 * it is believed to be faster only by as much as it has taken. */
void put_adapt_ahead(struct store *st, uint64_t bytes, uint64_t ns)
{
    st->synced_bytes = st->synced_bytes / 2 + bytes; /* what is older counts less */
    st->synced_ns = st->synced_ns / 2 + ns;
    double max = (double)st->synced_bytes / ((double)st->synced_ns / 1e9) * AHEAD_SECONDS;
    uint64_t most = st->ahead_max + bytes;
    st->ahead_max = max >= (double)most ? most : max <= AHEAD_MIN ? AHEAD_MIN : (uint64_t)max;
}

/* Which stores there are, who uses them, and time (store_set.h). */
#include "store/store_set.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "store/format.h"
#include "store/store_set_priv.h"

#define MS_NS UINT64_C(1000000)

uint64_t set_now_ns(const struct store_set *set)
{
    struct vfs *vfs = set->config.others.vfs;
    return vfs->ops->mono_ns(vfs);
}

void set_note(const struct store_entry *e, enum log_level level, const char *fmt, ...)
{
    const struct store_set_config *c = &e->set->config;
    char text[700];
    va_list ap;
    if (c->note == NULL) {
        return;
    }
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    c->note(c->user, e->name, level, text);
}

/* ---- names ---- */

static struct slice name_of(const struct store_entry *e)
{
    return slice_str(e->name);
}

/* Where it is, or where it would be. */
static size_t position(const struct store_set *set, struct slice name)
{
    size_t low = 0, high = set->n_entries;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (slice_cmp(name_of(set->entries[mid]), name) < 0) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low;
}

static struct store_entry *find(const struct store_set *set, struct slice name)
{
    size_t i = position(set, name);
    return i < set->n_entries && slice_eq(name_of(set->entries[i]), name) ? set->entries[i] : NULL;
}

static int add_entry(struct store_set *set, struct slice name, struct store_entry **ret)
{
    size_t at = position(set, name);
    assert(store_name_ok(name));
    if (set->n_entries == set->cap_entries) {
        size_t cap = set->cap_entries == 0 ? 16 : set->cap_entries * 2;
        struct store_entry **p = realloc(set->entries, cap * sizeof(struct store_entry *));
        if (p == NULL) {
            return ZERR_NOMEM;
        }
        set->entries = p;
        set->cap_entries = cap;
    }
    struct store_entry *e = calloc(1, sizeof(*e));
    if (e == NULL) {
        return ZERR_NOMEM;
    }
    e->set = set;
    memcpy(e->name, name.ptr, name.len);
    e->state = ENTRY_CLOSED;
    memmove(set->entries + at + 1, set->entries + at,
            (set->n_entries - at) * sizeof(struct store_entry *));
    set->entries[at] = e;
    set->n_entries++;
    *ret = e;
    return 0;
}

void set_drop_entry(struct store_entry *e)
{
    struct store_set *set = e->set;
    size_t at = position(set, name_of(e));
    assert(e->users.n == 0 && e->waiting.n == 0 && e->answer == NULL);
    set->n_entries--;
    memmove(set->entries + at, set->entries + at + 1,
            (set->n_entries - at) * sizeof(struct store_entry *));
    free(e->told);
    free(e);
}

bool store_set_is_home(const struct store_set *set, struct slice name)
{
    return slice_eq_str(name, set->config.home_name);
}

bool store_set_has(const struct store_set *set, struct slice name)
{
    const struct store_entry *e = find(set, name);
    return store_set_is_home(set, name) || (e != NULL && e->state != ENTRY_MAKING);
}

size_t store_set_count(const struct store_set *set)
{
    return set->n_entries;
}

void store_set_each(const struct store_set *set,
                    void (*each)(void *user, struct slice name, int64_t born_ms), void *user)
{
    struct slice home = slice_str(set->config.home_name);
    bool home_told = false;
    for (size_t i = 0; i < set->n_entries; i++) {
        const struct store_entry *e = set->entries[i];
        if (!home_told && slice_cmp(home, name_of(e)) < 0) {
            home_told = true;
            each(user, home, set->home_born_ms);
        }
        if (e->state != ENTRY_MAKING) {
            each(user, name_of(e), e->born_ms);
        }
    }
    if (!home_told) {
        each(user, home, set->home_born_ms);
    }
}

/* ---- life cycle ---- */

static int see_folder(void *user, const struct vfs_dirent *d)
{
    struct store_set *set = user;
    const struct store_set_config *c = &set->config;
    struct store_entry *e;
    if (!d->is_dir || d->name[0] == '.') {
        return 0;
    }
    if (!store_name_ok(slice_str(d->name))) {
        if (c->note != NULL) {
            c->note(c->user, d->name, LOG_WARN,
                    "this folder's name cannot be a bucket's, ignoring");
        }
        return 0;
    }
    if (store_set_is_home(set, slice_str(d->name))) {
        return ZERR_EXISTS;
    }
    int rc = add_entry(set, slice_str(d->name), &e);
    if (rc == 0) {
        e->born_ms = d->born_ms;
    }
    return rc;
}

static int read_names(struct store_set *set, struct zerr_info *info)
{
    const struct store_config *c = &set->config.others;
    struct vfs_dirent home = {0};
    if (c->vfs->ops->stat(c->vfs, ".", &home) == 0) {
        set->home_born_ms = home.born_ms;
    }
    int rc = c->vfs->ops->open_dir(c->vfs, OTHERS_NAME, &set->root);
    if (rc == ZERR_NOT_FOUND) {
        set->root = NULL;
        return 0;
    }
    if (rc == 0) {
        rc = set->root->ops->list(set->root, see_folder, set);
    }
    if (rc == ZERR_EXISTS) {
        return zerr_fail(
            info, rc, 0,
            "%s is the name of %s itself (-bucket), and there is a folder %s/" OTHERS_NAME
            "/%s too: choose another -bucket, or move that folder away",
            set->config.home_name, c->dir, c->dir, set->config.home_name);
    }
    return rc == 0 ? 0
                   : zerr_fail(info, rc, vfs_last_errno(), "cannot read %s/" OTHERS_NAME, c->dir);
}

int store_set_open(const struct store_set_config *config, struct store_set **ret,
                   struct zerr_info *info)
{
    struct store_set *set = calloc(1, sizeof(*set));
    if (set == NULL) {
        return ZERR_NOMEM;
    }
    set->config = *config;
    if (set->config.idle_ms == 0) {
        set->config.idle_ms = STORE_IDLE_MS;
    }
    int rc = read_names(set, info);
    if (rc != 0) {
        store_set_destroy(set);
        return rc;
    }
    *ret = set;
    return 0;
}

void store_set_destroy(struct store_set *set)
{
    if (set == NULL) {
        return;
    }
    assert(!set->kicked);
    while (set->n_entries > 0) {
        struct store_entry *e = set->entries[set->n_entries - 1];
        assert(e->state == ENTRY_CLOSED || e->state == ENTRY_OPEN || e->state == ENTRY_FAILED);
        if (e->store != NULL) {
            store_destroy(e->store);
            e->vfs->ops->close_dir(e->vfs);
        }
        set_drop_entry(e);
    }
    if (set->root != NULL) {
        set->root->ops->close_dir(set->root);
    }
    free(set->entries);
    free(set);
}

static bool has_job(const struct store_entry *e)
{
    return e->state == ENTRY_MAKING || e->state == ENTRY_OPENING || e->state == ENTRY_OPEN ||
           e->state == ENTRY_CLOSING;
}

static void nothing_to_run(struct job *job)
{
    (void)job;
}

static void kick_done(struct job *job)
{
    struct store_set *set = container_of(job, struct store_set, kick_job);
    bool any = false;
    set->kicked = false;
    /* Call-backs may add entries; those that are passed by are looked at by the next kick. */
    for (size_t i = 0; i < set->n_entries; i++) {
        if (atomic_load(&set->stopping)) {
            entry_refuse(set->entries[i], ZERR_CANCELED);
        }
        entry_step(set->entries[i]);
        any = any || has_job(set->entries[i]);
    }
    if (atomic_load(&set->stopping) && !any && !set->kicked && !set->stopped) {
        set->stopped = true;
        set->stopped_cb(set->stopped_user, set->status);
    }
}

void set_kick(struct store_set *set)
{
    struct workers *w = set->config.others.workers;
    if (!set->kicked) {
        set->kicked = true;
        set->kick_job = (struct job){.run = nothing_to_run, .done = kick_done, .cls = JOB_COMMIT};
        w->submit(w, &set->kick_job);
    }
}

void store_set_stop(struct store_set *set, void (*stopped)(void *user, int status), void *user)
{
    set->stopped_cb = stopped;
    set->stopped_user = user;
    atomic_store(&set->stopping, true);
    set_kick(set);
}

/* ---- using one ---- */

int store_set_use(struct store_set *set, struct slice name, struct store_use *use,
                  void (*ready)(struct store_use *, int status))
{
    assert(use->store == NULL && use->entry == NULL);
    if (store_set_is_home(set, name)) {
        use->store = set->config.home;
        return 0;
    }
    struct store_entry *e = find(set, name);
    if (e == NULL || e->state == ENTRY_MAKING) {
        return ZERR_NOT_FOUND;
    }
    if (atomic_load(&set->stopping)) {
        return ZERR_CANCELED;
    }
    if (e->state == ENTRY_OPEN && e->waiting.n == 0 && !e->dying && !e->removing) {
        use_begin(e, use);
        return 0;
    }
    use->ready = ready;
    use_wait(e, use);
    set_kick(set);
    return ZKV_PENDING;
}

void store_use_end(struct store_use *use)
{
    struct store_entry *e = use->entry;
    if (e != NULL && use->store == NULL) {
        use_unlink(use);
    } else if (e != NULL) {
        use_finish(use);
    }
    use->store = NULL;
}

/* ---- making and removing ---- */

int store_set_create(struct store_set *set, struct slice name, store_done_fn done, void *user)
{
    struct store_entry *e = find(set, name);
    if (store_set_is_home(set, name)) {
        return ZERR_EXISTS;
    }
    if (e != NULL) {
        return e->state == ENTRY_MAKING || e->removing ? ZERR_BUSY : ZERR_EXISTS;
    }
    if (!store_name_ok(name)) {
        return ZERR_INVALID;
    }
    if (atomic_load(&set->stopping)) {
        return ZERR_CANCELED;
    }
    if (set->n_entries >= STORES_MAX) {
        return ZERR_TOO_LARGE;
    }
    int rc = add_entry(set, name, &e);
    if (rc == 0) {
        e->state = ENTRY_MAKING;
        e->answer = done;
        e->answer_user = user;
        entry_make(e);
    }
    return rc;
}

int store_set_remove(struct store_set *set, struct slice name, store_done_fn done, void *user)
{
    struct store_entry *e = find(set, name);
    if (store_set_is_home(set, name)) {
        return ZERR_INVALID;
    }
    if (e == NULL) {
        return ZERR_NOT_FOUND;
    }
    if (atomic_load(&set->stopping)) {
        return ZERR_CANCELED;
    }
    if (e->state == ENTRY_MAKING || e->removing) {
        return ZERR_BUSY;
    }
    if (e->state == ENTRY_OPEN && !e->dying && entry_has_objects(e)) {
        return ZERR_NOT_EMPTY;
    }
    e->removing = true;
    set->n_waiting++;
    e->answer = done;
    e->answer_user = user;
    e->answer_ns = set_now_ns(set);
    set_kick(set);
    return 0;
}

/* ---- time ---- */

unsigned set_count_live(const struct store_set *set)
{
    unsigned n = 0;
    for (size_t i = 0; i < set->n_entries; i++) {
        enum entry_state s = set->entries[i]->state;
        n += s == ENTRY_OPENING || s == ENTRY_OPEN || s == ENTRY_CLOSING;
    }
    return n;
}

bool set_close_idlest(struct store_set *set, uint64_t min_ns)
{
    uint64_t now = set_now_ns(set);
    struct store_entry *idlest = NULL;
    for (size_t i = 0; i < set->n_entries; i++) {
        struct store_entry *e = set->entries[i];
        if (entry_is_idle(e) && now - e->idle_ns >= min_ns &&
            (idlest == NULL || e->idle_ns < idlest->idle_ns)) {
            idlest = e;
        }
    }
    if (idlest != NULL) {
        entry_begin_close(idlest);
    }
    return idlest != NULL;
}

bool set_make_room(struct store_set *set)
{
    unsigned n_closing = 0, n_wanted = 0;
    if (set_count_live(set) < STORES_OPEN_MAX) {
        return true;
    }
    for (size_t i = 0; i < set->n_entries; i++) {
        n_closing += set->entries[i]->state == ENTRY_CLOSING;
        n_wanted += entry_wants_opening(set->entries[i]);
    }
    if (n_closing < n_wanted) {
        (void)set_close_idlest(set, 0);
    }
    return false;
}

/* The store that the loop may look into. */
static struct store *store_of(const struct store_entry *e)
{
    bool has = e->state == ENTRY_OPEN || (e->state == ENTRY_CLOSING && !e->handed);
    return has ? e->store : NULL;
}

bool store_set_wants_tick(const struct store_set *set)
{
    if (set->n_waiting > 0) {
        return true;
    }
    for (size_t i = 0; i < set->n_entries; i++) {
        const struct store_entry *e = set->entries[i];
        const struct store *st = store_of(e);
        if (entry_is_idle(e) || (st != NULL && (e->dying || store_wants_tick(st)))) {
            return true;
        }
    }
    return false;
}

void store_set_tick(struct store_set *set)
{
    uint64_t now = set_now_ns(set);
    for (size_t i = 0; i < set->n_entries; i++) {
        struct store_entry *e = set->entries[i];
        struct store *st = store_of(e);
        if (st != NULL) {
            store_expire_uploads(st);
        }
        if (st != NULL && store_wants_tick(st)) {
            store_tick(st);
        }
        entry_tick(e, now);
    }
    while (set_close_idlest(set, set->config.idle_ms * MS_NS)) {
    }
    if (set_count_live(set) > STORES_KEPT) {
        (void)set_close_idlest(set, STORE_EXTRA_IDLE_MS * MS_NS);
    }
}

/* ---- figures ---- */

/* What has been done. */
static void add_session(struct store_stats *sum, const struct store_stats *s)
{
    sum->puts += s->puts;
    sum->deletes += s->deletes;
    sum->copies += s->copies;
    sum->gets += s->gets;
    sum->bytes_in += s->bytes_in;
    sum->bytes_out += s->bytes_out;
    sum->rounds += s->rounds;
    sum->syncs += s->syncs;
    sum->flushes += s->flushes;
    sum->sealed += s->sealed;
    sum->aborted += s->aborted;
}

/* What there is. */
static void add_state(struct store_stats *sum, const struct store_stats *s)
{
    sum->totals.objects += s->totals.objects;
    sum->totals.live_bytes += s->totals.live_bytes;
    sum->totals.name_bytes += s->totals.name_bytes;
    sum->totals.damaged += s->totals.damaged;
    sum->disk_bytes += s->disk_bytes;
    sum->n_blocks += s->n_blocks;
    sum->unsynced += s->unsynced;
}

void set_add_past(struct store_set *set, const struct store_stats *s)
{
    add_session(&set->past, s);
}

void store_set_add_stats(const struct store_set *set, struct store_stats *sum)
{
    unsigned n_filling = sum->current_block != UINT32_MAX;
    add_session(sum, &set->past);
    for (size_t i = 0; i < set->n_entries; i++) {
        const struct store_entry *e = set->entries[i];
        const struct store *st = store_of(e);
        struct store_stats now = e->last;
        if (st != NULL) {
            store_get_stats(st, &now);
            add_session(sum, &now);
        }
        if (st != NULL || e->was_used) {
            add_state(sum, &now);
        }
        if (st != NULL && now.current_block != UINT32_MAX && n_filling++ == 0) {
            sum->current_block = now.current_block;
            sum->current_fill = now.current_fill;
            sum->block_size = now.block_size;
        }
    }
    if (n_filling > 1) {
        sum->current_block = UINT32_MAX;
    }
}

/* One store of a set: its states (store_set.h) and the jobs between them.
 *
 * entry_step() looks at what is wanted and begins what can be begun: it is called for every entry
 * whenever something has changed (set_kick()). The end of a job changes the state and kicks. */
#include "store/store_set_priv.h"

#include <assert.h>
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "store/format.h"

#define OUT_OF_SERVICE "out of service: "
#define ASIDE_TRIES 100 /* names for a folder set aside in the same second */

/* ---- who waits, and who has it ---- */

static void list_add(struct use_list *l, struct store_use *use)
{
    use->next = NULL;
    use->prev = l->last;
    *(l->last != NULL ? &l->last->next : &l->first) = use;
    l->last = use;
    l->n++;
}

static void list_remove(struct use_list *l, struct store_use *use)
{
    *(use->prev != NULL ? &use->prev->next : &l->first) = use->next;
    *(use->next != NULL ? &use->next->prev : &l->last) = use->prev;
    use->next = use->prev = NULL;
    l->n--;
}

void use_wait(struct store_entry *e, struct store_use *use)
{
    use->entry = e;
    use->since_ns = set_now_ns(e->set);
    list_add(&e->waiting, use);
    e->set->n_waiting++;
}

void use_unlink(struct store_use *use)
{
    struct store_entry *e = use->entry;
    list_remove(&e->waiting, use);
    use->entry = NULL;
    e->set->n_waiting--;
}

void use_begin(struct store_entry *e, struct store_use *use)
{
    use->entry = e;
    use->store = e->store;
    list_add(&e->users, use);
}

void use_finish(struct store_use *use)
{
    struct store_entry *e = use->entry;
    struct store_set *set = e->set;
    list_remove(&e->users, use);
    use->entry = NULL;
    if (e->users.n == 0) {
        e->idle_ns = set_now_ns(set);
        if (e->dying || set->n_waiting > 0 || atomic_load(&set->stopping)) {
            set_kick(set);
        }
    }
}

void entry_answer(struct store_entry *e, int status)
{
    store_done_fn answer = e->answer;
    e->set->n_waiting -= e->removing;
    e->answer = NULL;
    e->removing = false;
    if (answer != NULL) {
        answer(e->answer_user, status);
    }
}

void entry_refuse(struct store_entry *e, int status)
{
    /* Not those that come meanwhile. */
    for (size_t n = e->waiting.n; n > 0 && e->waiting.first != NULL; n--) {
        struct store_use *use = e->waiting.first;
        use_unlink(use);
        use->ready(use, status);
    }
    if (e->removing && !e->set_aside) { /* else the job is moving its folder */
        entry_answer(e, status);
    }
}

/* OPEN: those that wait have it. */
static void serve(struct store_entry *e)
{
    struct store_use *use;
    while ((use = e->waiting.first) != NULL && !e->dying && !e->removing) {
        use_unlink(use);
        use_begin(e, use);
        use->ready(use, 0);
    }
}

/* Those that have it are told that it has failed. They end in the call, or later. */
static void tell_lost(struct store_entry *e)
{
    for (size_t n = e->users.n; n > 0 && e->users.first != NULL; n--) {
        struct store_use *use = e->users.first;
        void (*lost)(struct store_use *) = use->lost;
        list_remove(&e->users, use);
        list_add(&e->users, use);
        use->lost = NULL;
        if (lost != NULL) {
            lost(use);
        }
    }
}

void entry_tick(struct store_entry *e, uint64_t now)
{
    uint64_t limit = STORE_WAIT_MS * UINT64_C(1000000);
    while (e->waiting.first != NULL && now - e->waiting.first->since_ns >= limit) {
        struct store_use *use = e->waiting.first;
        use_unlink(use);
        use->ready(use, ZERR_BUSY);
    }
    if (e->removing && !e->set_aside) {
        if (now - e->answer_ns >= limit) {
            entry_answer(e, ZERR_BUSY);
        }
        set_kick(e->set); /* it is for others again, or it has got an object meanwhile */
    }
    if (e->state == ENTRY_OPEN && e->noted && now - e->failed_ns >= limit) {
        tell_lost(e);
    }
}

/* ---- opening ---- */

static void on_note(void *user, enum log_level level, const char *text)
{
    set_note(user, level, "%s", text);
}

/* From anywhere inside the store: acted upon later. */
static void on_fatal(void *user, const char *text)
{
    struct store_entry *e = user;
    e->dying = true;
    e->info = (struct zerr_info){0};
    (void)zerr_fail(&e->info, ZERR_IO, 0, "%s", text);
    set_kick(e->set);
}

static int on_progress(void *user, const char *what, uint64_t done, uint64_t total)
{
    struct store_entry *e = user;
    uint64_t now = set_now_ns(e->set);
    if (atomic_load(&e->set->stopping)) {
        return ZERR_CANCELED;
    }
    if (now - e->told_ns > STORE_PROGRESS_NS && total > 0) {
        e->told_ns = now;
        set_note(e, LOG_INFO, "%s: %" PRIu64 " %%", what,
                 done / (total / 100 > 0 ? total / 100 : 1));
    }
    return 0;
}

/* PATH.NAME.sqlite: no file that SQLite puts beside one of these has the name of another. */
static char *index_path_of(const struct store_entry *e)
{
    const char *base = e->set->config.others.index_path;
    size_t n = strlen(base) + sizeof(e->name) + sizeof("..sqlite");
    char *path = malloc(n);
    if (path != NULL) {
        (void)snprintf(path, n, "%s.%s.sqlite", base, e->name);
    }
    return path;
}

static void open_run(struct job *job)
{
    struct store_entry *e = container_of(job, struct store_entry, job);
    struct store_set *set = e->set;
    struct store_config cfg = set->config.others;
    size_t n = strlen(cfg.dir) + sizeof(OTHERS_NAME) + sizeof(e->name) + 2;
    char *dir = malloc(n), *index_path = cfg.index_path != NULL ? index_path_of(e) : NULL;
    int rc = dir == NULL || (cfg.index_path != NULL && index_path == NULL) ? ZERR_NOMEM : 0;
    if (rc == 0) {
        (void)snprintf(dir, n, "%s/%s/%s", cfg.dir, OTHERS_NAME, e->name);
        rc = set->root->ops->open_dir(set->root, e->name, &e->vfs);
        if (rc != 0) {
            e->gone = rc == ZERR_NOT_FOUND;
            (void)zerr_fail(&e->info, rc, vfs_last_errno(), "cannot open its folder");
        }
    }
    if (rc == 0) {
        cfg.vfs = e->vfs;
        cfg.dir = dir;
        cfg.index_path = index_path;
        cfg.user = e;
        cfg.note = on_note;
        cfg.fatal = on_fatal;
        cfg.progress = on_progress;
        rc = store_open(&cfg, &e->store, &e->info);
        if (rc != 0) {
            set->root->ops->close_dir(e->vfs);
            e->store = NULL;
        }
    }
    free(dir);
    free(index_path);
    e->job_status = rc;
}

/* Says it, unless it was said before. */
static void note_failure(struct store_entry *e, const char *text)
{
    if (e->told != NULL && strcmp(e->told, text) == 0) {
        return;
    }
    free(e->told);
    e->told = strdup(text); /* out of memory: said again */
    set_note(e, LOG_ERROR, "%s", text);
}

static void become_failed(struct store_entry *e, int why, const char *what)
{
    char text[sizeof(e->info.text) + 64];
    e->state = ENTRY_FAILED;
    e->why = why;
    e->failed_ns = set_now_ns(e->set);
    (void)snprintf(text, sizeof(text), "%s%s", what, zerr_text(&e->info, why));
    note_failure(e, text);
    entry_refuse(e, why);
}

/* OPEN or CLOSING, and its store has failed. */
static void step_dying(struct store_entry *e)
{
    char text[sizeof(e->info.text) + 64];
    if (!e->noted) {
        e->noted = true;
        e->failed_ns = set_now_ns(e->set);
        (void)snprintf(text, sizeof(text), OUT_OF_SERVICE "%s", e->info.text);
        note_failure(e, text);
    }
    entry_refuse(e, ZERR_IO);
}

/* It is no more. */
static void drop(struct store_entry *e)
{
    e->state = ENTRY_MAKING; /* nobody sees it */
    entry_refuse(e, ZERR_NOT_FOUND);
    set_drop_entry(e);
}

static void open_done(struct job *job)
{
    struct store_entry *e = container_of(job, struct store_entry, job);
    struct store_set *set = e->set;
    int rc = e->job_status;
    set_kick(set);
    if (rc == 0) {
        e->state = ENTRY_OPEN;
        e->was_used = true;
        e->idle_ns = set_now_ns(set);
        store_expire_uploads(e->store);
        if (e->told != NULL) {
            set_note(e, LOG_INFO, "can be used again");
            free(e->told);
            e->told = NULL;
        }
        return;
    }
    if (rc == ZERR_CANCELED && atomic_load(&set->stopping)) {
        e->state = ENTRY_CLOSED;
        entry_refuse(e, ZERR_CANCELED);
    } else if (e->gone) {
        set_note(e, LOG_WARN, "its folder is gone");
        drop(e);
    } else {
        become_failed(e, rc, "cannot be opened: ");
    }
}

static void submit(struct store_entry *e, void (*run)(struct job *), void (*done)(struct job *))
{
    struct workers *w = e->set->config.others.workers;
    e->job = (struct job){.run = run, .done = done, .cls = JOB_STORE};
    w->submit(w, &e->job);
}

static void begin_open(struct store_entry *e)
{
    struct store_set *set = e->set;
    if (!set_make_room(set)) {
        return; /* when one has been closed this is tried again */
    }
    e->state = ENTRY_OPENING;
    e->info = (struct zerr_info){0};
    e->dying = e->noted = e->gone = false;
    e->told_ns = set_now_ns(set);
    submit(e, open_run, open_done);
}

/* ---- closing and removing ---- */

/* A name that nothing has: ".deleted-NAME-20261231T235959Z", or with "-2" and so on behind it. */
static int name_aside(struct store_entry *e, char *out, size_t cap)
{
    struct vfs *root = e->set->root;
    time_t now = (time_t)(root->ops->wall_ms(root) / 1000);
    struct vfs_dirent there;
    struct tm tm;
    char when[32] = "";
    if (gmtime_r(&now, &tm) != NULL) {
        (void)strftime(when, sizeof(when), "%Y%m%dT%H%M%SZ", &tm);
    }
    (void)snprintf(out, cap, ".deleted-%s-%s", e->name, when);
    for (unsigned i = 2; i < ASIDE_TRIES; i++) {
        int rc = root->ops->stat(root, out, &there);
        if (rc != 0) {
            return rc == ZERR_NOT_FOUND ? 0 : rc;
        }
        (void)snprintf(out, cap, ".deleted-%s-%s-%u", e->name, when, i);
    }
    return ZERR_EXISTS;
}

static int move_aside(struct store_entry *e)
{
    struct vfs *root = e->set->root;
    char aside[STORE_NAME_MAX + 64];
    int rc = name_aside(e, aside, sizeof(aside));
    if (rc == 0) {
        rc = root->ops->rename(root, e->name, aside);
    }
    if (rc != 0) {
        return rc;
    }
    set_note(e, LOG_INFO, "deleted: its folder is %s/" OTHERS_NAME "/%s now",
             e->set->config.others.dir, aside);
    if (e->set->config.others.index_path != NULL) {
        char *index_path = index_path_of(e);
        if (index_path == NULL || index_remove(index_path) != 0) {
            set_note(e, LOG_WARN, "its look-up index could not be removed, ignoring");
        }
        free(index_path);
    }
    return root->ops->sync_dir(root);
}

static void close_run(struct job *job)
{
    struct store_entry *e = container_of(job, struct store_entry, job);
    store_destroy(e->store);
    e->store = NULL;
    e->set->root->ops->close_dir(e->vfs);
    /* The heap of each worker keeps what it freed: with a hundred stores one after the other that
     * was 25 MB, so the system has it back. */
    (void)malloc_trim(0);
    e->vfs = NULL;
    e->job_status = e->set_aside ? move_aside(e) : 0;
}

static void close_done(struct job *job)
{
    struct store_entry *e = container_of(job, struct store_entry, job);
    struct store_set *set = e->set;
    struct vfs_dirent there;
    int rc = e->job_status;
    bool moved = e->set_aside;
    e->handed = e->set_aside = false;
    e->state = ENTRY_CLOSED;
    set_kick(set);
    if (e->dying) {
        become_failed(e, ZERR_IO, OUT_OF_SERVICE);
    } else if (moved) {
        bool gone = rc == 0 || set->root->ops->stat(set->root, e->name, &there) == ZERR_NOT_FOUND;
        e->state = gone ? ENTRY_MAKING : ENTRY_CLOSED;
        entry_answer(e, rc);
        if (gone) {
            drop(e);
        }
    }
}

static void handle_stopped(void *user, int status)
{
    struct store_entry *e = user;
    store_get_stats(e->store, &e->last);
    set_add_past(e->set, &e->last);
    if (status != 0) {
        e->set->status = status;
        if (!e->dying) {
            set_note(e, LOG_ERROR, "not everything could be written: %s", zerr_str(status));
        }
    }
    if (e->set_aside && (status != 0 || e->last.totals.objects > 0)) {
        e->set_aside = false;
        entry_answer(e, status != 0 ? status : ZERR_NOT_EMPTY);
    }
    e->handed = true;
    submit(e, close_run, close_done);
}

void entry_begin_close(struct store_entry *e)
{
    assert(e->state == ENTRY_OPEN && e->users.n == 0);
    e->state = ENTRY_CLOSING;
    store_stop(e->store, handle_stopped, e);
}

bool entry_has_objects(const struct store_entry *e)
{
    struct store_stats stats;
    store_get_stats(e->store, &stats);
    return stats.totals.objects > 0;
}

/* It waits for those who use it only while it is empty. */
static void step_removal(struct store_entry *e)
{
    if (entry_has_objects(e)) {
        entry_answer(e, ZERR_NOT_EMPTY);
        serve(e);
    } else if (e->users.n == 0) {
        e->set_aside = true;
        entry_begin_close(e);
    }
}

/* ---- making ---- */

static void make_run(struct job *job)
{
    struct store_entry *e = container_of(job, struct store_entry, job);
    struct vfs *home = e->set->config.others.vfs, *root = e->root;
    struct vfs_dirent there = {0};
    int rc = 0;
    if (root == NULL) {
        rc = home->ops->make_dir(home, OTHERS_NAME);
        if (rc == 0 || rc == ZERR_EXISTS) {
            rc = home->ops->sync_dir(home);
        }
        if (rc == 0) {
            rc = home->ops->open_dir(home, OTHERS_NAME, &e->vfs);
            root = e->vfs;
        }
    }
    if (rc == 0) {
        rc = root->ops->make_dir(root, e->name);
    }
    if (rc == 0 || rc == ZERR_EXISTS) { /* put there by hand: it is one now */
        int synced = root->ops->sync_dir(root);
        rc = synced != 0 ? synced : rc;
    }
    if ((rc == 0 || rc == ZERR_EXISTS) && root->ops->stat(root, e->name, &there) == 0) {
        e->born_ms = there.born_ms;
        rc = there.is_dir ? rc : ZERR_INVALID;
    }
    e->job_status = rc;
}

static void make_done(struct job *job)
{
    struct store_entry *e = container_of(job, struct store_entry, job);
    struct store_set *set = e->set;
    int rc = e->job_status;
    if (e->vfs != NULL && set->root == NULL) {
        set->root = e->vfs;
    } else if (e->vfs != NULL) { /* two were made at once */
        e->vfs->ops->close_dir(e->vfs);
    }
    bool made = rc == 0 || rc == ZERR_EXISTS;
    e->vfs = NULL;
    e->state = made ? ENTRY_CLOSED : ENTRY_MAKING;
    set_kick(set);
    entry_answer(e, rc);
    if (!made) {
        drop(e);
    }
}

void entry_make(struct store_entry *e)
{
    e->vfs = NULL;
    e->root = e->set->root; /* which the end of another creation may change meanwhile */
    submit(e, make_run, make_done);
}

/* ---- what next? ---- */

bool entry_is_idle(const struct store_entry *e)
{
    return e->state == ENTRY_OPEN && e->users.n == 0 && e->waiting.n == 0 && !e->removing;
}

static void step_open(struct store_entry *e)
{
    if (e->dying || atomic_load(&e->set->stopping)) {
        if (e->users.n == 0) {
            entry_begin_close(e);
        }
    } else if (!e->removing) {
        serve(e);
    } else {
        step_removal(e);
    }
}

bool entry_wants_opening(const struct store_entry *e)
{
    return (e->state == ENTRY_CLOSED || e->state == ENTRY_FAILED) &&
           (e->waiting.n > 0 || e->removing);
}

void entry_step(struct store_entry *e)
{
    if (e->dying && (e->state == ENTRY_OPEN || e->state == ENTRY_CLOSING)) {
        step_dying(e);
    }
    if (e->state == ENTRY_OPEN) {
        step_open(e);
    } else if (e->state == ENTRY_FAILED && entry_wants_opening(e) &&
               set_now_ns(e->set) - e->failed_ns < STORE_RETRY_MS * UINT64_C(1000000)) {
        entry_refuse(e, e->why);
    } else if (entry_wants_opening(e)) {
        begin_open(e);
    }
}

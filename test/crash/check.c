/* See check.h.
 *
 * A state is opened as a start after a crash would, and then
 *   1  the history is the model's (model_check), every object reads as the history says (bytes, MD5,
 *      metadata, time), LIST shows those names and no others, the multipart uploads under way are
 *      listed with exactly their parts, nothing is called damaged, no unsealed block and no second db
 *      is left over
 *   2  what is durable at that moment alone (a power cut right after the start) opens again with the
 *      same history and objects: nothing is served that could still be lost, and a start repeated
 *      changes nothing
 *   3  a PUT and a DELETE work, and an upload under way becomes the object that its parts make; their
 *      numbers and block are new (I3, I4); after a clean stop every frame of every block is valid or
 *      VOID (I5) and a third start finds them
 * 2 and 3 depend on nothing but the disk after 1: they are done once for each such disk.
 * With `compound` the start of 1 is recorded like a workload, and states of its own changes are
 * opened, too. */
#include "check_priv.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "store/dir.h"
#include "store/scan.h"
#include "store/store_priv.h"

#define COMPOUND_CUTS 6
#define RECOVERY_SNAPS 128

int bad(struct checker *c, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    int rc = buf_printf(&c->why, "%s", text);
    assert(rc == 0);
    return -1;
}

/* ---- what has been seen ---- */

struct seen { /* of hashes; 0: free */
    uint64_t *v;
    size_t n, cap;
};

/* True: it was not there. */
static bool seen_add(struct seen *s, uint64_t hash)
{
    hash = hash == 0 ? 1 : hash;
    if (s->n * 2 >= s->cap) {
        struct seen bigger = {.cap = s->cap == 0 ? 4096 : s->cap * 2};
        bigger.v = mem_must(calloc(bigger.cap, sizeof(uint64_t)));
        for (size_t i = 0; i < s->cap; i++) {
            if (s->v[i] != 0) {
                (void)seen_add(&bigger, s->v[i]);
            }
        }
        free(s->v);
        *s = bigger;
    }
    size_t at = hash % s->cap;
    while (s->v[at] != 0 && s->v[at] != hash) {
        at = (at + 1) % s->cap;
    }
    bool is_new = s->v[at] == 0;
    s->v[at] = hash;
    s->n += is_new;
    return is_new;
}

void checker_init(struct checker *c, struct world *w)
{
    *c = (struct checker){.w = w};
    c->seen = mem_must(calloc(1, sizeof(*c->seen)));
    fx_init(&c->f, w->f.cfg.block_size);
    vfs_mem_destroy(c->f.vfs);
    c->f.vfs = NULL;
    c->f.cfg.sync = w->f.cfg.sync;
}

void checker_finish(struct checker *c)
{
    fx_finish(&c->f);
    free(c->seen->v);
    free(c->seen);
    buf_finish(&c->why);
}

/* ---- the index ---- */

static const struct image *pick_image(struct world *w, const struct state *s)
{
    unsigned at = w->snaps[s->snapshot].image;
    uint64_t rng = s->index_rng;
    if (s->index == INDEX_EARLIER) {
        at = (unsigned)(mem_rnd(&rng) % (at + 1));
    } else if (s->index == INDEX_AHEAD) {
        at += (unsigned)(mem_rnd(&rng) % (w->snaps[s->snapshot].images_end - at));
    }
    /* An index that needs the damaged part of the history no more keeps it from being mended. */
    bool none = s->index == INDEX_ABSENT || s->snapshot >= w->damaged_at;
    return none ? NULL : &w->images[at];
}

static void garbage_index(struct checker *c, const struct image *from, uint64_t rng)
{
    struct image g = {.db = {0}};
    uint64_t choice = mem_rnd(&rng) % 5;
    mem_copy(&g.db, &from->db);
    mem_copy(&g.wal, &from->wal);
    if (choice == 0 && g.db.len > 0) { /* no database */
        fx_fill(g.db.ptr, g.db.len, rng);
        g.wal.len = 0;
    } else if (choice == 1) { /* half of one */
        g.db.len = g.db.len / 2;
        g.wal.len = 0;
    } else if (choice == 2) { /* without its log */
        g.wal.len = 0;
    } else if (choice == 3 && g.wal.len > 0) { /* with a torn log */
        g.wal.len = mem_rnd(&rng) % g.wal.len;
    } else { /* of another version */
        memset(g.db.ptr + 60, 0x7f, g.db.len >= 64 ? 4 : 0);
    }
    world_set_index(&c->f, &g);
    buf_finish(&g.db);
    buf_finish(&g.wal);
}

static void set_index(struct checker *c, const struct state *s)
{
    const struct image *image = pick_image(c->w, s);
    if (s->index == INDEX_GARBAGE && image != NULL) {
        garbage_index(c, image, s->index_rng);
    } else {
        world_set_index(&c->f, image);
    }
}

/* ---- the directory ---- */

struct look {
    struct checker *c;
    uint32_t max_block; /* highest number of a block file, plus 1 */
    uint64_t max_seq;   /* in any record that can be read */
    unsigned n_open, n_dbs;
    bool judge; /* I5 */
    int rc;
};

static int see_frame(void *user, const struct scan_frame *f)
{
    struct look *l = user;
    uint64_t last = f->rec.seq + f->rec.n_entries - 1;
    if (f->verdict != SCAN_GARBAGE && f->rec.n_entries > 0 && last > l->max_seq) {
        l->max_seq = last;
    }
    if (f->rec.void_last > l->max_seq && f->verdict == SCAN_VOID) {
        l->max_seq = f->rec.void_last;
    }
    if (l->judge && f->verdict != SCAN_VALID && f->verdict != SCAN_VOID) {
        l->rc = bad(l->c, "the frame at %llu is neither valid nor VOID (%d) (I5)",
                    (unsigned long long)f->off, (int)f->verdict);
    }
    return 0;
}

static int see_file(void *user, const struct vfs_dirent *e)
{
    struct look *l = user;
    struct vfs *vfs = l->c->f.vfs;
    unsigned number;
    bool open = sscanf(e->name, "open%u", &number) == 1;
    l->n_dbs += strncmp(e->name, "db", 2) == 0;
    l->n_open += open;
    if (open || sscanf(e->name, "block%u", &number) == 1) {
        struct vfs_file *file;
        struct scan_result res;
        l->max_block = number >= l->max_block ? number + 1 : l->max_block;
        int rc = vfs->ops->open(vfs, e->name, VFS_READ, &file);
        if (rc == 0) {
            rc = scan_block(file, number, l->judge ? SCAN_BODIES : 0, see_frame, l, &res);
            vfs->ops->close(file);
        }
    }
    return 0;
}

static struct look look_at(struct checker *c, bool judge)
{
    struct look l = {.c = c, .judge = judge};
    int rc = c->f.vfs->ops->list(c->f.vfs, see_file, &l);
    assert(rc == 0);
    return l;
}

/* ---- one start ---- */

static int open_it(struct checker *c)
{
    c->f.notes[0] = '\0';
    int rc = fx_open(&c->f);
    if (rc != 0) {
        return bad(c, "does not open: %s (%s)", c->f.info.text, zerr_str(rc));
    }
    c->is_damaged = c->is_damaged || (c->ahead && strstr(c->f.notes, "damaged") != NULL);
    if (c->f.fatal || (strstr(c->f.notes, "damaged") != NULL && !c->may_report) ||
        strstr(c->f.notes, "cannot") != NULL) {
        return bad(c, "the start says: %s", c->f.notes);
    }
    return 0;
}

static void read_history(struct checker *c, struct found *ret)
{
    ret->n = world_history(&c->w->m, c->f.vfs, ret->v, HISTORY_MAX, &ret->next_block);
}

static bool begins_with(const struct found *h, const struct found *first)
{
    bool same = h->n >= first->n;
    for (size_t i = 0; same && i < first->n; i++) {
        const struct change *a = &h->v[i], *b = &first->v[i];
        same = a->op == b->op && a->key == b->key && a->version == b->version && a->seq == b->seq;
    }
    return same;
}

/* Opens; the history must be `expect`. */
static int open_same(struct checker *c, const struct found *expect)
{
    struct found now;
    int rc = open_it(c);
    if (rc != 0) {
        return rc;
    }
    read_history(c, &now);
    if (now.n != expect->n || !begins_with(&now, expect)) {
        return bad(c, "opened again the history is another: %zu records, not %zu", now.n,
                   expect->n);
    }
    rc = check_objects(c, expect);
    return rc == 0 ? check_uploads(c, expect) : rc;
}

/* Only what is durable stays. */
static void cut_again(struct checker *c, uint64_t seed)
{
    struct vfs *after = vfs_mem_crash(c->f.vfs, MEM_CRASH_SYNCED, seed);
    if (c->f.st != NULL) {
        fx_kill(&c->f);
    }
    vfs_mem_destroy(c->f.vfs);
    c->f.vfs = after;
}

/* A DELETE, a PUT, and an upload completed; then a clean stop. */
static int make_changes(struct checker *c, const struct found *h, unsigned key,
                        struct object *ret_obj, unsigned *ret_joined)
{
    const struct version *v = &c->w->m.versions[0];
    struct attr one = {SLICE_LIT("X-Amz-Meta-V"), slice_str(v->meta)};
    struct put_spec spec = {.key = c->w->m.keys[key],
                            .size = v->body.len,
                            .meta = {&one, 1},
                            .mtime_ms = v->mtime_ms != 0 ? v->mtime_ms : 1};
    char name[1025];
    (void)snprintf(name, sizeof(name), "%.*s", (int)spec.key.len, spec.key.ptr);
    int rc = fx_delete(&c->f, name);
    rc = rc == 0 ? fx_put_spec(&c->f, &spec, v->body, 0, NULL, ret_obj) : rc;
    rc = rc == 0 ? check_completes(c, h, ret_joined) : rc;
    if (rc == 0) {
        rc = fx_stop(&c->f);
    } else {
        fx_kill(&c->f);
    }
    if (rc != 0 && c->why.len == 0) {
        return bad(c, "after the start: DELETE, PUT or stop fails (%s)\n%s", zerr_str(rc),
                   c->f.notes);
    }
    return rc;
}

/* What they made: `key`'s record or two, and the completed object's. */
static int check_changes(struct checker *c, const struct found *h, const struct found *now,
                         unsigned key, unsigned joined)
{
    size_t n = h->n;
    bool ok = begins_with(now, h);
    if (ok && live_in(h, key) != ABSENT) {
        ok = n < now->n && now->v[n].op == RECORD_DELETE && now->v[n].key == key;
        n++;
    }
    ok = ok && n < now->n && now->v[n].op == RECORD_PUT && now->v[n].key == key;
    n++;
    if (ok && joined != ABSENT) {
        ok = n < now->n && now->v[n].op == RECORD_PUT && now->v[n].version == joined;
        n++;
    }
    return ok && n == now->n ? 0 : bad(c, "a DELETE and a PUT make another history");
}

/* 3: goes on working. `before` is what was on the disk before the first start. */
static int check_goes_on(struct checker *c, const struct look *before, struct found *h)
{
    struct found now;
    struct object obj;
    unsigned joined = ABSENT;
    unsigned key = h->n > 0 ? h->v[h->n - 1].key : model_key(&c->w->m, SLICE_LIT("key/00"));
    int rc = make_changes(c, h, key, &obj, &joined);
    if (rc == 0) {
        read_history(c, &now);
        rc = check_changes(c, h, &now, key, joined);
    }
    if (rc == 0 && (now.v[h->n].seq <= before->max_seq || obj.frame.block < before->max_block ||
                    obj.frame.block < h->next_block || now.next_block <= obj.frame.block)) {
        rc = bad(c, "a number is used twice (I3, I4): block %u after %u, %u; %llx after %llx",
                 obj.frame.block, before->max_block, h->next_block,
                 (unsigned long long)now.v[h->n].seq, (unsigned long long)before->max_seq);
    }
    if (rc == 0) {
        struct look l = look_at(c, !c->may_report);
        rc = l.rc != 0 || l.n_open == 0 ? l.rc : bad(c, "a block is open after a clean stop");
    }
    if (rc == 0 &&
        c->w->m.versions[0].mtime_ms != 0) { /* the adopted ones have no time to know them by */
        cut_again(c, 3000);
        rc = open_same(c, &now);
        if (c->f.st != NULL) {
            fx_kill(&c->f);
        }
    }
    if (joined != ABSENT) {
        model_forget(&c->w->m, joined);
    }
    return rc;
}

/* 1. The store stays open, unless it could not be. */
static int check_start(struct checker *c, uint32_t k, bool cut, const struct look *before,
                       struct found *ret)
{
    int rc = open_it(c);
    if (rc != 0) {
        return rc;
    }
    if (c->must_fit && strstr(c->f.notes, "rebuilt") != NULL) {
        rc = bad(c, "the index was rebuilt, and nothing of it was lost");
    }
    read_history(c, ret);
    size_t n = ret->n;
    while (c->is_damaged && n > 0 && ret->v[n - 1].seq > before->max_seq) {
        n--; /* what only the index knew of */
    }
    rc = rc != 0 ? rc : model_check(&c->w->m, k, cut, ret->v, n, &c->why);
    if (rc == 0) {
        rc = check_objects(c, ret);
    }
    rc = rc == 0 ? check_uploads(c, ret) : rc;
    struct look l = look_at(c, false);
    if (rc == 0 && (l.n_open > 0 || l.n_dbs > 1)) {
        rc = bad(c, "%u unsealed blocks and %u dbs are left over", l.n_open, l.n_dbs);
    }
    return rc;
}

static int check_disk(struct checker *c, uint32_t k, bool cut, struct found *h)
{
    struct look before = look_at(c, false);
    c->must_fit = c->must_fit && before.n_dbs < 2; /* not while a new one takes over */
    int rc = check_start(c, k, cut, &before, h);
    c->n_opened++;
    if (rc == 0 && seen_add(c->seen, mem_disk_hash(vfs_mem_disk(c->f.vfs)) ^ 0x5555)) {
        cut_again(c, 2000);
        rc = open_same(c, h);
        rc = rc == 0 ? check_goes_on(c, &before, h) : rc;
    }
    if (c->f.st != NULL) {
        fx_kill(&c->f);
    }
    return rc;
}

/* An index that knows objects which the disk has lost: that is damage, and said so. */
static bool may_report(const struct checker *c, enum index_kind index, bool cut)
{
    return index == INDEX_AHEAD || (cut && c->w->f.cfg.sync == STORE_SYNC_BLOCK) ||
           c->w->damaged_at != NEVER;
}

/* ---- crashes during the recovery ---- */

struct second {
    struct mem_disk snaps[RECOVERY_SNAPS];
    unsigned n;
    struct vfs *vfs;
};

static void before_change(void *user, unsigned op, const char *name)
{
    struct second *s = user;
    (void)op, (void)name;
    if (s->n < RECOVERY_SNAPS) {
        mem_disk_init(&s->snaps[s->n]);
        mem_disk_copy(vfs_mem_disk(s->vfs), &s->snaps[s->n++]);
    }
}

static int check_compound(struct checker *c, const struct state *s, bool cut)
{
    struct second *rec = mem_must(calloc(1, sizeof(*rec)));
    uint64_t rng = s->cut.rng ^ s->index_rng ^ s->snapshot;
    struct found h;
    rec->vfs = c->f.vfs;
    vfs_mem_watch(c->f.vfs, before_change, rec);
    int rc = open_it(c);
    vfs_mem_watch(c->f.vfs, NULL, NULL);
    if (c->f.st != NULL) {
        fx_kill(&c->f);
    }
    for (unsigned i = 0; i < COMPOUND_CUTS && rc == 0 && rec->n > 0; i++) {
        unsigned at = (unsigned)(mem_rnd(&rng) % rec->n);
        struct mem_cut again = {.keep = mem_rnd(&rng) % 4 == 0 ? MEM_NO_CUT : MEM_KEEP_SOME};
        struct state index = {
            s->snapshot, {0}, (enum index_kind)(mem_rnd(&rng) % N_INDEX_KINDS), 0};
        index.index_rng = again.rng = mem_rnd(&rng);
        cut = cut || again.keep != MEM_NO_CUT;
        c->must_fit = false;
        c->ahead = c->ahead || index.index == INDEX_AHEAD;
        c->may_report = c->may_report || may_report(c, index.index, cut);
        vfs_mem_destroy(c->f.vfs);
        c->f.vfs = vfs_mem_cut(&rec->snaps[at], &again, 4000);
        set_index(c, &index);
        rc = check_disk(c, s->snapshot, cut, &h);
        c->n_compound++;
        if (rc != 0) {
            rc = bad(c, " (crashed again at change %u of the recovery, %d, index %d)", at,
                     (int)again.keep, (int)index.index);
        }
    }
    for (unsigned i = 0; i < rec->n; i++) {
        mem_disk_finish(&rec->snaps[i]);
    }
    free(rec);
    return rc;
}

/* ---- states ---- */

static void make_disk(struct checker *c, const struct state *s)
{
    vfs_mem_destroy(c->f.vfs);
    c->f.vfs = vfs_mem_cut(&c->w->snaps[s->snapshot].disk, &s->cut, 1000);
}

bool checker_is_new(struct checker *c, const struct state *s)
{
    uint64_t key[3] = {0, c->w->snaps[s->snapshot].n_events, s->index};
    make_disk(c, s);
    key[0] = mem_disk_hash(vfs_mem_disk(c->f.vfs));
    key[2] = key[2] << 32 | (uint32_t)(s->index == INDEX_GARBAGE ? s->index_rng % 5 : 0) << 24 |
             (uint32_t)(pick_image(c->w, s) == NULL ? 0 : pick_image(c->w, s) - c->w->images);
    return seen_add(c->seen, XXH3_64bits(key, sizeof(key)));
}

int checker_run(struct checker *c, const struct state *s)
{
    struct found h;
    bool cut = s->cut.keep != MEM_NO_CUT;
    c->may_report = may_report(c, s->index, cut);
    c->ahead = s->index == INDEX_AHEAD;
    c->is_damaged = false;
    c->must_fit = s->index == INDEX_AT && !cut && c->w->m.versions[0].mtime_ms != 0 &&
                  c->w->damaged_at == NEVER;
    buf_reset(&c->why);
    make_disk(c, s);
    set_index(c, s);
    int rc = check_disk(c, s->snapshot, cut, &h);
    if (rc == 0 && c->compound) {
        c->is_damaged = false;
        make_disk(c, s);
        set_index(c, s);
        rc = check_compound(c, s, cut);
    }
    return rc;
}

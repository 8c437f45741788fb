/* Checking a directory (verify.h): the history, then the blocks (verify_blocks.c), then each live
 * name against both and against the look-up index.
 *
 * History and frames are compared as sets: of every record that has a number, its encoded form is
 * hashed, and the hashes are added up on either side. Only where the sums differ, or a part could
 * not be read, is each live name's record looked up in its frame. */
#include "tools/verify_priv.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "tools/replay.h"

#define READ_BYTES (256u << 10)

void verify_say(struct verify *v, const char *fmt, ...)
{
    va_list ap;
    cli_progress_end(&v->progress);
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    putchar('\n');
}

int verify_grow(void **ptr, size_t n, size_t *cap, size_t size)
{
    if (n < *cap) {
        return 0;
    }
    size_t want = *cap > 0 ? *cap * 2 : 16;
    void *p = realloc(*ptr, want * size);
    if (p == NULL) {
        return ZERR_NOMEM;
    }
    *ptr = p;
    *cap = want;
    return 0;
}

int verify_add_record(struct verify *v, struct record_set *set, const struct record *rec)
{
    buf_reset(&v->scratch);
    int rc = record_encode_history(rec, &v->scratch);
    if (rc == 0) {
        set->sum += piece_sum(v->scratch.ptr, v->scratch.len);
        set->count++;
    }
    return rc;
}

/* ---- the history ----------------------------------------------------------------------------- */

static int on_record(void *user, uint64_t rev, const struct record *rec)
{
    struct verify *v = user;
    if (rec->seq == 0) {
        return 0; /* the original's */
    }
    if (rec->seq <= v->prev_seq) {
        verify_say(
            v, "damaged: history: the number of revision %" PRIu64 " is not above the one before",
            rev);
        v->res->places_damaged++;
    }
    v->prev_seq = rec->seq;
    v->last_seq = rec->seq > v->last_seq ? rec->seq : v->last_seq;
    return verify_add_record(v, &v->in_history, rec);
}

static int read_history(struct verify *v)
{
    struct replay_visitor visitor = {.user = v, .record = on_record};
    struct replay_result replayed = {0};
    int rc = replay(&v->src, v->ix, REPLAY_ALL, &visitor, &v->progress, &replayed, v->info);
    cli_progress_end(&v->progress);
    if (rc != 0) {
        return rc;
    }
    v->res->revisions = replayed.n_records;
    v->res->unflushed = replayed.n_unflushed;
    if (replayed.n_bad_headers > 0) {
        verify_say(v,
                   "damaged: history: the headers of %" PRIu64
                   " parts, nothing is lost (-rebuild writes them anew)",
                   replayed.n_bad_headers);
        v->res->places_damaged += replayed.n_bad_headers;
    }
    if (replayed.n_damaged > 0) {
        verify_say(v,
                   "damaged: history: %" PRIu64
                   " parts of it cannot be read, what they say of names "
                   "is not known here (-rebuild takes it from the blocks)",
                   replayed.n_damaged);
        v->lost_history = true;
        v->res->places_damaged += replayed.n_damaged;
        v->partial = true;
    }
    return v->opt->resume != NULL ? done_open(&v->done, v->opt->resume, replayed.store_id, v->info)
                                  : 0;
}

static void compare_sets(struct verify *v)
{
    const struct record_set *h = &v->in_history, *f = &v->in_frames;
    bool equal = h->sum == f->sum && h->count == f->count;
    v->precise = v->partial || !equal;
    if (equal || v->partial) {
        return;
    }
    if (h->count == f->count) {
        verify_say(v, "damaged: history and blocks disagree on at least one record");
    } else {
        verify_say(
            v,
            "damaged: the history has %" PRIu64 " records, the blocks have %" PRIu64 " of them%s",
            h->count, f->count,
            f->count > h->count ? " and more (zipkvverify -rebuild makes a history from the blocks)"
                                : "");
    }
    v->res->places_damaged++;
}

/* ---- the look-up index ------------------------------------------------------------------------
 */

/* Opens it if it can be used at all, and finds out whether it must agree with the history. That of
 * a running server is left alone: its log is orderly for one process (index_shm.c). */
static void open_index(struct verify *v, const char *path)
{
    struct index_mark mark;
    struct zerr_info info = {0};
    if (!v->res->locked) {
        snprintf(v->res->index_note, sizeof v->res->index_note,
                 "not compared, a server is changing it");
        return;
    }
    int rc = index_open(path, INDEX_READER, &v->real, NULL);
    if (rc == 0) { /* it is there: now to write marks */
        index_close(v->real);
        v->real = NULL;
        rc = index_open(path, INDEX_WRITER, &v->real, &info);
    }
    if (rc == 0) {
        rc = index_get_mark(v->real, &mark);
    }
    char *note = v->res->index_note;
    size_t cap = sizeof v->res->index_note;
    if (rc == ZERR_NOT_FOUND) {
        snprintf(note, cap, "there is none; the next start makes it");
    } else if (rc == ZERR_CORRUPT) {
        v->index_wrong = true;
    } else if (rc != 0) {
        snprintf(note, cap, "cannot be used (%s); the next start makes it anew", zerr_str(rc));
    } else if (v->lost_history) {
        snprintf(note, cap, "not compared, the history is damaged");
    } else if (mark.n_records != v->res->revisions) {
        snprintf(note, cap, "not compared, it is not up to date; the next start sees to that");
    } else {
        v->compare = v->res->index_checked = true;
    }
    if (rc != 0) {
        index_close(v->real);
        v->real = NULL;
    }
}

static int set_mark(struct verify *v, struct slice key, bool damaged)
{
    uint64_t n = 0;
    int rc = v->in_tx ? 0 : index_begin(v->real);
    if (rc == 0) {
        v->in_tx = true;
        rc = index_set_key_damage(v->real, key, damaged, &n);
    }
    *(damaged ? &v->res->marked : &v->res->cleared) += n;
    if (rc == ZERR_CORRUPT) {
        v->index_wrong = true;
        rc = 0;
    }
    return rc;
}

/* What must hold between index and history when all is well, and the mark of this name. */
static int check_index(struct verify *v, struct slice key, const struct object *obj,
                       const struct object *found, bool is_damaged, bool is_sure)
{
    if (v->compare && (found == NULL || found->body.block != obj->body.block ||
                       found->body.off != obj->body.off || found->size != obj->size ||
                       found->framed != obj->framed || found->frame.block != obj->frame.block ||
                       found->frame.off != obj->frame.off)) {
        v->index_wrong = true;
    }
    if (found == NULL || !is_sure || found->damaged == is_damaged || v->index_wrong) {
        return 0;
    }
    return set_mark(v, key, is_damaged);
}

/* An index that says something else than the history is worth nothing; it is only a cache. */
static int finish_index(struct verify *v, const char *path)
{
    struct index_totals want, have;
    int rc = 0;
    if (v->compare && !v->index_wrong) {
        rc = index_check(v->real); /* of its tables each has what the others have */
        v->index_wrong = rc == ZERR_CORRUPT;
        rc = v->index_wrong ? 0 : rc;
    }
    if (rc == 0 && v->compare && !v->index_wrong) {
        rc = index_get_totals(v->ix, &want);
        if (rc == 0) {
            rc = index_get_totals(v->real, &have);
        }
        v->index_wrong = v->index_wrong || (rc == 0 && (want.objects != have.objects ||
                                                        want.live_bytes != have.live_bytes ||
                                                        want.name_bytes != have.name_bytes));
    }
    if (rc == 0 && v->in_tx && !v->index_wrong) {
        rc = index_commit(v->real);
        v->in_tx = false;
        if (rc == ZERR_CORRUPT) {
            v->index_wrong = true;
            rc = 0;
        }
    }
    if (rc != 0) {
        return zerr_fail(v->info, rc, 0, "look-up index %s: %s", path, zerr_str(rc));
    }
    index_close(v->real);
    v->real = NULL;
    if (v->index_wrong) {
        verify_say(v, "damaged: the look-up index%s",
                   v->compare ? ": it is not what the history says" : "");
        v->res->places_damaged++;
        rc = index_remove(path);
        snprintf(v->res->index_note, sizeof v->res->index_note, "%s",
                 rc == 0 ? "removed; the next start makes it anew"
                         : "cannot be removed; do that by hand");
    }
    return 0;
}

/* ---- names ----------------------------------------------------------------------------------- */

struct finding {
    const char *why; /* NULL: nothing wrong was seen */
    bool sure;       /* all that can be checked was */
    bool unchecked;  /* there is nothing to check the body's bytes against */
};

static bool same_place(struct place a, struct place b)
{
    return a.block == b.block && a.off == b.off;
}

/* The record of the name, in its own frame. */
static int check_record(struct verify *v, struct slice key, const struct object *obj,
                        struct finding *f)
{
    const struct bad_place *bad = verify_find_bad(v, obj->frame);
    if (bad != NULL) {
        f->why = bad->why;
        f->sure = !bad->unreadable;
        return 0;
    }
    if (dir_view_block(&v->view, obj->frame.block) == NULL) {
        f->why = "its block is missing";
        verify_bad_block(v, obj->frame.block);
        return 0;
    }
    if (!v->precise) {
        return 0;
    }
    struct record rec;
    arena_reset(&v->arena);
    int rc = source_record(&v->src, obj->frame, key, &v->arena, &rec);
    if (rc == ZERR_DAMAGED ||
        (rc == 0 && (!same_place(rec.body, obj->body) || rec.size != obj->size ||
                     memcmp(rec.md5, obj->md5, sizeof rec.md5) != 0))) {
        f->why = "its record is not where the history says";
        rc = 0;
    }
    return rc;
}

/* The frame around the body of a copy. Its pieces were checked with its block. */
static int check_body_frame(struct verify *v, const struct object *obj, struct finding *f)
{
    const struct bad_place *bad = verify_find_bad(v, obj->body_frame);
    if (bad != NULL) {
        f->why = bad->why;
        f->sure = !bad->unreadable;
        return 0;
    }
    if (dir_view_block(&v->view, obj->body_frame.block) == NULL) {
        f->why = "the block of the body it shares is missing";
        verify_bad_block(v, obj->body_frame.block);
        return 0;
    }
    const struct source_block *b;
    struct scan_frame frame = {0};
    arena_reset(&v->arena);
    int rc = source_block(&v->src, obj->body_frame.block, &b);
    if (rc == 0) {
        rc = b->framed ? scan_one(b->file, &b->header, obj->body_frame.off, 0, &v->arena, &frame)
                       : ZERR_CORRUPT;
    }
    if (rc != 0 && rc != ZERR_NOT_FOUND && rc != ZERR_CORRUPT) {
        return rc;
    }
    if (rc != 0 || frame.verdict != SCAN_VALID ||
        frame.head.kind != (obj->parts > 0 ? FRAME_UPLOAD : FRAME_PUT) ||
        frame.rec.entries[0].size != obj->size ||
        !same_place(frame.rec.entries[0].body, obj->body)) {
        f->why = "the body it shares is not where the history says";
    }
    return 0;
}

/* Reads a body of the original and compares its MD5. */
static int check_md5(struct verify *v, const struct source_block *b, const struct object *obj,
                     const uint8_t md5[16], struct finding *f)
{
    struct body_hash *hash = body_hash_create();
    uint8_t *buffer = malloc(READ_BYTES), got[16];
    uint64_t sums_hash;
    int rc = hash != NULL && buffer != NULL ? 0 : ZERR_NOMEM;
    for (uint64_t off = 0; rc == 0 && off < obj->size;) {
        size_t want = obj->size - off < READ_BYTES ? (size_t)(obj->size - off) : READ_BYTES, n = 0;
        rc = v->src.vfs->ops->pread(b->file, buffer, want, obj->body.off + off, &n);
        if (rc == 0 && n < want) {
            rc = ZERR_DAMAGED;
        }
        if (rc == 0) {
            pace_take(&v->pace, n);
            buf_reset(&v->scratch);
            rc = body_hash_update(hash, buffer, n, &v->scratch);
        }
        off += n;
    }
    if (rc == 0) {
        rc = body_hash_final(hash, &v->scratch, got, &sums_hash);
    }
    if (rc == ZERR_DAMAGED || (rc == 0 && memcmp(got, md5, 16) != 0)) {
        f->why = "its bytes do not match its MD5";
        rc = 0;
    } else if (rc == 0) {
        v->res->bytes_checked += obj->size;
    }
    body_hash_destroy(hash);
    free(buffer);
    return rc;
}

/* A body of the original: it must be there, and where its MD5 is known, match it. */
static int check_plain_body(struct verify *v, const struct object *obj, const struct object *found,
                            struct finding *f)
{
    const struct object *known =
        obj->has_md5                                                            ? obj
        : found != NULL && found->has_md5 && same_place(found->body, obj->body) ? found
                                                                                : NULL;
    if (v->has_last && same_place(v->last_body, obj->body) && v->last_size == obj->size) {
        f->why = v->last_why;
        f->unchecked = v->last_unchecked;
    } else {
        const struct source_block *b;
        int rc = source_block(&v->src, obj->body.block, &b);
        if (rc == ZERR_NOT_FOUND) {
            f->why = "its block is missing";
            verify_bad_block(v, obj->body.block);
        } else if (rc != 0 && rc != ZERR_CORRUPT) {
            return rc;
        } else if (rc != 0 || obj->body.off > b->size || obj->size > b->size - obj->body.off) {
            f->why = "it lies behind the end of its block";
        } else if (known != NULL) {
            rc = check_md5(v, b, obj, known->md5, f);
            if (rc != 0) {
                return rc;
            }
        } else {
            f->unchecked = true;
        }
        v->has_last = true;
        v->last_body = obj->body;
        v->last_size = obj->size;
        v->last_why = f->why;
        v->last_unchecked = f->unchecked;
    }
    f->sure = !f->unchecked;
    return 0;
}

/* The frames around the bytes of a multipart object. Their pieces were checked with their blocks. */
static int check_extents(struct verify *v, struct slice key, const struct object *obj,
                         struct finding *f)
{
    struct record rec;
    arena_reset(&v->arena);
    int rc = source_record(&v->src, obj->frame, key, &v->arena, &rec);
    if (rc != 0) {
        f->why = rc == ZERR_DAMAGED ? "its record is not where the history says" : f->why;
        return rc == ZERR_DAMAGED ? 0 : rc;
    }
    for (size_t i = 0; i < rec.extents.n && f->why == NULL; i++) {
        const struct extent *e = &rec.extents.v[i];
        const struct source_block *b;
        uint8_t head_bytes[FRAME_HEAD_BYTES];
        struct frame_head head;
        size_t n = 0;
        const struct bad_place *bad = verify_find_bad(v, e->framed ? e->frame : e->body);
        if (bad != NULL) {
            f->why = bad->why;
            f->sure = !bad->unreadable;
            return 0;
        }
        rc = source_block(&v->src, e->body.block, &b);
        if (rc == ZERR_NOT_FOUND || rc == ZERR_CORRUPT) {
            f->why = "the block of one of its parts is missing";
        } else if (rc != 0) {
            return rc;
        } else if (e->framed &&
                   (v->src.vfs->ops->pread(b->file, head_bytes, sizeof(head_bytes), e->frame.off,
                                           &n) != 0 ||
                    n < sizeof(head_bytes) ||
                    frame_head_decode(head_bytes, &b->header, e->frame.off, &head) != 0 ||
                    !frame_has_body(head.kind) || head.body_len != e->size)) {
            f->why = "one of its parts is not where the history says";
        }
    }
    return 0;
}

static int check_name(struct verify *v, struct slice key, const struct object *obj,
                      const struct object *found, struct finding *f)
{
    *f = (struct finding){.sure = true};
    if (obj->damaged) {
        f->why = "it was acknowledged, but its bytes did not reach the disk";
        return 0;
    }
    int rc = obj->framed ? check_record(v, key, obj, f) : 0;
    if (rc != 0 || f->why != NULL || obj->size == 0) {
        return rc;
    }
    if (!obj->body_framed) {
        return check_plain_body(v, obj, found, f);
    }
    if (obj->parts > 0) {
        rc = check_extents(v, key, obj, f);
        if (rc != 0 || f->why != NULL) {
            return rc;
        }
    }
    return obj->framed && same_place(obj->frame, obj->body_frame) ? 0 : check_body_frame(v, obj, f);
}

static int on_name(void *user, struct slice key, const struct object *obj)
{
    struct verify *v = user;
    struct object in_index;
    const struct object *found = NULL;
    struct finding f;
    int rc =
        v->real != NULL && !v->index_wrong ? index_lookup(v->real, key, &in_index) : ZERR_NOT_FOUND;
    if (rc == 0) {
        found = &in_index;
    } else if (rc == ZERR_CORRUPT) {
        v->index_wrong = true;
    } else if (rc != ZERR_NOT_FOUND) {
        return zerr_fail(v->info, rc, 0, "look-up index: %s", zerr_str(rc));
    }
    cli_progress(&v->progress, "checking names", v->res->objects, 0, true);
    v->res->objects++;
    rc = check_name(v, key, obj, found, &f);
    if (rc != 0) {
        return zerr_fail(v->info, rc, vfs_last_errno(), "block %" PRIu32, obj->body.block);
    }
    v->res->unchecked += f.unchecked;
    if (f.why != NULL) {
        char quoted[1024];
        verify_say(v, "damaged: %s: %s", log_quote(key, quoted, sizeof quoted), f.why);
        v->res->names_damaged++;
    }
    return check_index(v, key, obj, found, f.why != NULL, f.sure);
}

/* ---- all of it ------------------------------------------------------------------------------- */

static int take_lock(struct verify *v)
{
    struct zerr_info info = {0};
    int rc = v->src.vfs->ops->lock(v->src.vfs, LOCK_NAME, "zipkvverify", &v->lock, &info);
    v->res->locked = rc == 0;
    /* A directory that cannot be written to can still be read. */
    return rc == 0 || rc == ZERR_LOCKED || rc == ZERR_IO || rc == ZERR_NO_SPACE ? 0 : rc;
}

static int run(struct verify *v, const char *index_path)
{
    struct index_totals totals;
    int rc = source_open(&v->src, v->opt->dir, v->info);
    if (rc == 0) {
        rc = take_lock(v);
    }
    if (rc == 0) {
        rc = index_open(NULL, INDEX_TEMP, &v->ix, v->info);
    }
    if (rc == 0) {
        rc = read_history(v);
    }
    if (rc == 0) {
        v->pace.rate = v->opt->rate;
        rc = verify_blocks(v);
    }
    if (rc == 0) {
        compare_sets(v);
        open_index(v, index_path);
        rc = index_each_by_place(v->ix, on_name, v);
    }
    cli_progress_end(&v->progress);
    if (rc == 0) {
        rc = finish_index(v, index_path);
    }
    if (rc == 0) {
        rc = done_end(&v->done, v->info);
    }
    if (rc == 0) {
        rc = index_get_totals(v->ix, &totals);
        v->res->live_bytes = rc == 0 ? totals.live_bytes : 0;
    }
    return rc;
}

int verify_run(const struct verify_options *opt, struct verify_result *ret, struct zerr_info *info)
{
    *ret = (struct verify_result){0};
    struct verify *v = calloc(1, sizeof *v);
    char *path = NULL;
    if (v == NULL || asprintf(&path, "%s/" INDEX_NAME, opt->dir) < 0) {
        free(v);
        return ZERR_NOMEM;
    }
    v->opt = opt;
    v->res = ret;
    v->info = info;
    int rc = run(v, opt->index_path != NULL ? opt->index_path : path);
    index_close(v->real);
    index_close(v->ix);
    if (v->lock != NULL) {
        v->src.vfs->ops->close(v->lock);
    }
    source_close(&v->src);
    done_close(&v->done);
    dir_view_finish(&v->view);
    arena_finish(&v->arena);
    buf_finish(&v->scratch);
    free(v->bad);
    free(v->voids);
    free(v);
    free(path);
    if (rc == 0 && ret->places_damaged + ret->names_damaged > 0) {
        rc = ZERR_DAMAGED;
    }
    return rc;
}

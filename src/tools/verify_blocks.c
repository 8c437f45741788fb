/* The blocks' part of zipkvverify: every frame of every block, every piece of every body.
 *
 * In a sealed block whatever is neither valid nor VOID is damage (I5). In an unsealed one, frames
 * are being written or were cut off: there only what the history counts on is damage, and that the
 * names' part finds out from the list kept here. Memory goes with the damage, not with the blocks.
 */
#include <inttypes.h>
#include <stdio.h>

#include "tools/verify_priv.h"

/* ---- which blocks ---- */

static int list_blocks(struct verify *v)
{
    int rc = ZERR_CORRUPT;
    for (int i = 0; i < 3 && rc == ZERR_CORRUPT; i++) { /* a block may be sealed while we look */
        rc = dir_view_read(v->src.vfs, &v->view, i < 2 ? NULL : v->info);
    }
    for (size_t i = 0; rc == 0 && i < v->view.n_blocks; i++) {
        v->res->disk_bytes += v->view.blocks[i].size;
    }
    v->res->blocks = v->view.n_blocks;
    return rc;
}

/* ---- what is bad ---- */

static int add_bad(struct verify *v, uint32_t block, uint64_t off, uint64_t end, const char *why,
                   bool unreadable)
{
    int rc = verify_grow((void **)&v->bad, v->n_bad, &v->cap_bad, sizeof *v->bad);
    if (rc == 0) {
        v->bad[v->n_bad++] = (struct bad_place){{block, off}, end, why, unreadable};
    }
    return rc;
}

const struct bad_place *verify_find_bad(const struct verify *v, struct place p)
{
    size_t lo = 0, hi = v->n_bad; /* bad[lo - 1] begins at or before p */
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        const struct place *at = &v->bad[mid].at;
        if (at->block < p.block || (at->block == p.block && at->off <= p.off)) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    const struct bad_place *b = lo > 0 ? &v->bad[lo - 1] : NULL;
    return b != NULL && b->at.block == p.block && p.off < b->end ? b : NULL;
}

void verify_bad_block(struct verify *v, uint32_t number)
{
    struct verify_result *r = v->res;
    for (size_t i = 0; i < r->n_bad_blocks && i < VERIFY_BLOCKS_TOLD; i++) {
        if (r->bad_blocks[i] == number) {
            return;
        }
    }
    if (r->n_bad_blocks < VERIFY_BLOCKS_TOLD) {
        r->bad_blocks[r->n_bad_blocks] = number;
    }
    r->n_bad_blocks++;
}

/* ---- frames ---- */

static bool is_void(const struct verify *v, uint64_t seq)
{
    for (size_t i = 0; i < v->n_voids; i++) {
        if (seq >= v->voids[i].first && seq <= v->voids[i].last) {
            return true;
        }
    }
    return false;
}

/* First pass: all records that the history must have. Second: takes out those whose numbers turned
 * out to be void. */
static int count_records(struct verify *v, const struct frame_record *rec)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < rec->n_entries; i++) {
        const struct record *r = &rec->entries[i];
        if (r->seq > v->last_seq || (v->voids_only && !is_void(v, r->seq))) {
            continue;
        }
        struct record_set one = {0};
        rc = verify_add_record(v, &one, r);
        if (rc == 0) {
            v->in_frames.sum += v->voids_only ? -one.sum : one.sum;
            v->in_frames.count += v->voids_only ? -one.count : one.count;
        }
    }
    return rc;
}

static int add_void(struct verify *v, const struct frame_record *rec)
{
    if (rec->void_first == 0 || rec->void_last < rec->void_first) {
        return 0;
    }
    int rc = verify_grow((void **)&v->voids, v->n_voids, &v->cap_voids, sizeof *v->voids);
    if (rc == 0) {
        v->voids[v->n_voids++] = (struct seq_range){rec->void_first, rec->void_last};
    }
    return rc;
}

static const char *what_is_wrong(const struct scan_frame *f)
{
    switch (f->verdict) {
    case SCAN_BAD_RECORD:
        return "its record is damaged";
    case SCAN_BAD_BODY:
        return f->bad_piece == UINT64_MAX ? "its check sums are damaged or cut off"
                                          : "a piece of its body does not match its check sum";
    case SCAN_UNCOMMITTED:
        return "its record is missing";
    default:
        return f->zero ? "zeros where a frame should be" : "garbage where a frame should be";
    }
}

static int bad_frame(struct verify *v, const struct scan_frame *f)
{
    const char *why = what_is_wrong(f);
    if (v->scanning->unsealed) {
        v->partial = true;
    } else {
        char key[256] = "", piece[48] = "";
        if (f->verdict == SCAN_BAD_BODY && f->rec.n_entries > 0) {
            log_quote(f->rec.entries[0].key, key, sizeof key);
            if (f->bad_piece != UINT64_MAX) {
                snprintf(piece, sizeof piece, " (piece %" PRIu64 ")", f->bad_piece);
            }
        }
        verify_say(v, "damaged: block %" PRIu32 ", offset %" PRIu64 ", %" PRIu64 " bytes: %s%s%s%s",
                   v->scanning->number, f->off, f->len, why, piece, key[0] != '\0' ? ": " : "",
                   key);
        v->res->places_damaged++;
        verify_bad_block(v, v->scanning->number);
        v->partial = v->partial || f->verdict != SCAN_BAD_BODY;
    }
    return add_bad(v, v->scanning->number, f->off, f->off + f->len, why, false);
}

static int on_frame(void *user, const struct scan_frame *f)
{
    struct verify *v = user;
    cli_progress(&v->progress, "checking blocks", v->bytes_before + f->off, v->res->disk_bytes,
                 false);
    int rc = 0;
    if (f->verdict == SCAN_VALID || (f->verdict == SCAN_BAD_BODY && !v->scanning->unsealed)) {
        rc = count_records(v, &f->rec);
    }
    if (rc != 0 || v->voids_only) {
        return rc;
    }
    if (f->verdict == SCAN_VALID || f->verdict == SCAN_BAD_BODY) {
        v->res->body_bytes += f->head.body_len;
    }
    if (f->verdict == SCAN_VALID) {
        v->res->frames++;
        v->res->bytes_checked += v->skip_bodies ? 0 : f->head.body_len;
        return 0;
    }
    return f->verdict == SCAN_VOID ? add_void(v, &f->rec) : bad_frame(v, f);
}

/* ---- one block, all blocks ---- */

/* A block that cannot be walked: what that means, and whether to go on. */
static int bad_block(struct verify *v, uint32_t number, int rc)
{
    const char *why = rc == ZERR_IO           ? "the device cannot read it"
                      : rc == ZERR_INCOMPLETE ? "it became shorter while it was read"
                                              : "its header is damaged beyond repair";
    if (rc == ZERR_NOT_FOUND) {
        return 0; /* gone since the directory was listed; the names' part sees whether it is missed
                   */
    }
    if (rc == ZERR_UNSUPPORTED) {
        return zerr_fail(v->info, rc, 0, "block %" PRIu32 " was written by a newer version",
                         number);
    }
    if (rc != ZERR_CORRUPT && rc != ZERR_IO && rc != ZERR_INCOMPLETE) {
        return zerr_fail(v->info, rc, vfs_last_errno(), "block %" PRIu32, number);
    }
    verify_say(v, "damaged: block %" PRIu32 ": %s", number, why);
    v->res->places_damaged++;
    verify_bad_block(v, number);
    v->partial = true;
    return add_bad(v, number, 0, UINT64_MAX, why, rc == ZERR_IO);
}

/* The block could not be walked to its end. */
static int bad_number(struct verify *v, uint32_t number, size_t n_bad, int rc)
{
    if (rc == ZERR_IO || rc == ZERR_CORRUPT || rc == ZERR_INCOMPLETE) {
        v->n_bad = n_bad; /* the whole block takes their place, so that the list rises */
    }
    return bad_block(v, number, rc);
}

/* From the disk, not from what is still in memory of it. */
static int scan_frames(struct verify *v, struct scan_result *ret)
{
    struct vfs_file *file = v->scanning->file;
    struct paced_file paced;
    uint32_t number = v->scanning->number;
    if (!v->scanning->unsealed && !v->skip_bodies && !v->voids_only) {
        (void)file->vfs->ops->drop_cache(file);
    }
    int rc = scan_block(paced_file_init(&paced, file, &v->pace), number,
                        v->voids_only || v->skip_bodies ? 0 : SCAN_BODIES, on_frame, v, ret);
    /* Cut meanwhile: a server has given up the room at its end. */
    return rc == ZERR_INCOMPLETE && v->scanning->unsealed ? 0 : rc;
}

static int scan_number(struct verify *v, uint32_t number)
{
    struct scan_result scanned = {0};
    size_t n_bad = v->n_bad;
    uint64_t places = v->res->places_damaged;
    int rc = source_block(&v->src, number, &v->scanning);
    v->skip_bodies = done_has(&v->done, number);
    if (rc == 0 && v->scanning->framed) {
        rc = scan_frames(v, &scanned);
        if (rc == 0 && scanned.header_damaged && !v->voids_only) {
            verify_say(v, "damaged: block %" PRIu32 ": its header (its frames can be read)",
                       number);
            v->res->places_damaged++;
            verify_bad_block(v, number);
        }
        v->bytes_before += rc == 0 ? scanned.file_len : 0;
    } else if (rc == 0) {
        v->bytes_before += v->scanning->size;
        v->res->body_bytes += v->voids_only ? 0 : v->scanning->size;
    }
    if (rc != 0 || v->voids_only) {
        return v->voids_only ? rc : bad_number(v, number, n_bad, rc);
    }
    v->res->blocks_skipped += v->skip_bodies;
    bool right = v->scanning->framed && !v->scanning->unsealed && v->res->places_damaged == places;
    return right ? done_add(&v->done, number, v->info) : 0;
}

static int scan_all(struct verify *v)
{
    v->bytes_before = 0;
    for (size_t i = 0; i < v->view.n_blocks; i++) {
        int rc = scan_number(v, v->view.blocks[i].number);
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

int verify_blocks(struct verify *v)
{
    int rc = list_blocks(v);
    if (rc == 0) {
        rc = scan_all(v);
    }
    if (rc == 0 && v->n_voids > 0) {
        v->voids_only = true;
        rc = scan_all(v);
    }
    cli_progress_end(&v->progress);
    return rc;
}

/* zipkvverify: checks a directory against itself, or makes a new history from its blocks. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "store/index.h"
#include "store/rebuild.h"
#include "store/vfs.h"
#include "tools/cli.h"
#include "tools/verify.h"

#define PROGRAM "zipkvverify"

/* What a person can do about it. */
static void advise(const struct verify_result *r)
{
    if (r->n_bad_blocks == 0) {
        return;
    }
    printf("Put these back from a copy, with no server running, and run " PROGRAM " again:\n");
    for (size_t i = 0; i < r->n_bad_blocks && i < VERIFY_BLOCKS_TOLD; i++) {
        printf("  block%010" PRIu32 "\n", r->bad_blocks[i]);
    }
    if (r->n_bad_blocks > VERIFY_BLOCKS_TOLD) {
        printf("  and %" PRIu64 " more\n", r->n_bad_blocks - VERIFY_BLOCKS_TOLD);
    }
    printf(
        "A sealed block never changes, so any copy of it will do. Without one, the objects named\n"
        "above are lost; all others are whole.\n");
}

static void report(const struct verify_result *r)
{
    char a[CLI_BYTES_LEN], b[CLI_BYTES_LEN], c[CLI_BYTES_LEN];
    printf("checked %" PRIu64 " blocks (%s), %" PRIu64 " frames, %s of bodies%s\n", r->blocks,
           cli_bytes(r->disk_bytes, a), r->frames, cli_bytes(r->bytes_checked, b),
           r->locked ? "" : ", reading only: a server has the directory");
    if (r->blocks_skipped > 0) {
        printf("%" PRIu64 " of the blocks were checked by the run that this one goes on with\n",
               r->blocks_skipped);
    }
    printf("history: %" PRIu64 " records", r->revisions);
    if (r->unflushed > 0) {
        printf(", %" PRIu64 " of them only in unsealed blocks", r->unflushed);
    }
    uint64_t dead = r->body_bytes > r->live_bytes ? r->body_bytes - r->live_bytes : 0;
    printf("\nobjects: %" PRIu64 "; bodies: live %s, dead %s\n", r->objects,
           cli_bytes(r->live_bytes, b), cli_bytes(dead, c));
    if (r->unchecked > 0) {
        printf("%" PRIu64
               " objects were written by the original, without check sums: their bytes are there,\n"
               "whether they are right cannot be said (zipkvrebase gives them check sums)\n",
               r->unchecked);
    }
    printf("look-up index: %s\n",
           r->index_checked && r->index_note[0] == '\0' ? "agrees" : r->index_note);
    if (r->marked > 0) {
        printf("%" PRIu64 " objects were marked damaged: reading them gives an error\n", r->marked);
    }
    if (r->cleared > 0) {
        printf("%" PRIu64 " objects are right again, their damage marks were removed\n",
               r->cleared);
    }
    if (r->places_damaged + r->names_damaged == 0) {
        printf("no damage found\n");
    } else {
        printf("DAMAGE: %" PRIu64 " objects, %" PRIu64 " places in blocks, history and index\n",
               r->names_damaged, r->places_damaged);
        advise(r);
    }
}

static int verify(const struct verify_options *opt)
{
    struct verify_result result;
    struct zerr_info info = {0};
    int rc = verify_run(opt, &result, &info);
    if (rc != 0 && rc != ZERR_DAMAGED) {
        int code = cli_fail(PROGRAM, NULL, rc, &info);
        return code == CLI_OK || code == CLI_DAMAGE ? CLI_FAILED : code;
    }
    report(&result);
    int flushed = cli_flush_stdout(&info);
    return flushed != 0 ? cli_fail(PROGRAM, NULL, flushed, &info) : cli_exit_code(rc);
}

/* ---- -rebuild ---- */

static int on_progress(void *user, const char *what, uint64_t done, uint64_t total)
{
    cli_progress(user, what, done, total, false);
    return 0;
}

static int rebuild_locked(struct vfs *vfs, const struct verify_options *opt, struct zerr_info *info)
{
    struct cli_progress progress = {0};
    struct rebuild_config cfg = {.vfs = vfs, .user = &progress, .progress = on_progress};
    struct rebuild_result result = {0};
    char *path = NULL;
    if (asprintf(&path, "%s/" INDEX_NAME, opt->dir) < 0) {
        return ZERR_NOMEM;
    }
    int rc = rebuild_history(&cfg, &result, info);
    cli_progress_end(&progress);
    if (rc == 0) {
        rc = index_remove(opt->index_path != NULL ? opt->index_path : path);
        printf("new history db%010" PRIu32 ": %" PRIu64 " records, %" PRIu64
               " of them from the blocks\n",
               result.db_id, result.records, result.from_frames);
        if (result.damaged > 0) {
            printf("%" PRIu64
                   " frames could not be read: run zipkvverify without -rebuild to see which\n",
                   result.damaged);
        }
    }
    if (rc == 0) {
        rc = cli_flush_stdout(info);
    }
    free(path);
    return rc != 0 ? rc : result.damaged > 0 ? ZERR_DAMAGED : 0;
}

static int rebuild(const struct verify_options *opt)
{
    struct zerr_info info = {0};
    struct vfs *vfs = NULL;
    struct vfs_file *lock = NULL;
    int rc = vfs_posix_open(opt->dir, &vfs, &info);
    if (rc == 0) {
        rc = vfs->ops->lock(vfs, LOCK_NAME, PROGRAM " -rebuild", &lock, &info);
    }
    if (rc == 0) {
        rc = rebuild_locked(vfs, opt, &info);
        vfs->ops->close(lock);
    }
    vfs_posix_close(vfs);
    return rc == 0 || rc == ZERR_DAMAGED ? cli_exit_code(rc) : cli_fail(PROGRAM, NULL, rc, &info);
}

int main(int argc, char **argv)
{
    struct verify_options o = {0};
    bool is_rebuild = false;
    const struct opt opts[] = {
        {.name = "dir",
         .kind = OPT_STRING,
         .target = &o.dir,
         .arg = "DIR",
         .required = true,
         .help = "The directory of the store."},
        {.name = "index",
         .kind = OPT_STRING,
         .target = &o.index_path,
         .arg = "FILE",
         .help = "The look-up index, where the server has it elsewhere.",
         .dflt = "DIR/" INDEX_NAME},
        {.name = "rate",
         .kind = OPT_BYTES,
         .target = &o.rate,
         .arg = "BYTES",
         .min = 1024,
         .help = "Read no more than BYTES of blocks a second (K, M, G for powers of 1024).",
         .dflt = "as fast as the disk goes"},
        {.name = "resume",
         .kind = OPT_STRING,
         .target = &o.resume,
         .arg = "FILE",
         .help = "Note in FILE which blocks are checked, and skip those that it names: goes on\n"
                 "where a run was cut off. FILE is removed when all is checked."},
        {.name = "rebuild",
         .kind = OPT_FLAG,
         .target = &is_rebuild,
         .help = "Make a new history (db) from the blocks and what can be read of the old one.\n"
                 "No server may be running. The old db files are kept under other names."},
    };
    const struct opts_spec spec = {
        .program = PROGRAM,
        .usage = "-dir DIR [options]",
        .about = "Checks every frame of every block, every piece of every body, the history and "
                 "the look-up\n"
                 "index against each other. While a server runs it only reads; else it also sets "
                 "and removes\n"
                 "the marks of damaged objects.\n"
                 "Exit status: 0 no damage, 1 damage found, 2 wrong usage, 3 could not check.",
        .opts = opts,
        .n_opts = sizeof opts / sizeof opts[0],
    };
    int code = opts_main(&spec, argc, argv, NULL);
    if (code >= 0) {
        return code;
    }
    return is_rebuild ? rebuild(&o) : verify(&o);
}

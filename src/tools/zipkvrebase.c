/* zipkvrebase: copies the objects live at a revision into an empty directory. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "store/format.h"
#include "tools/cli.h"
#include "tools/rebase.h"

#define NO_REV UINT64_MAX

static void report(const struct rebase_options *o, const struct rebase_result *r)
{
    char bytes[CLI_BYTES_LEN];
    if (r->made_directory) {
        printf("made the directory %s\n", o->to);
    }
    if (r->revision == UINT64_MAX) {
        printf("the history of %s is empty: nothing to copy\n", o->from);
        return;
    }
    printf("copied %" PRIu64 " objects with %" PRIu64 " bodies (%s) as of revision %" PRIu64
           " from %s to %s\n",
           r->objects, r->bodies, cli_bytes(r->bytes, bytes), r->revision, o->from, o->to);
    if (r->unchecked > 0) {
        printf("of %" PRIu64 " bodies no MD5 is on record, they were copied as they are\n",
               r->unchecked);
    }
    if (r->damaged > 0) {
        printf("%" PRIu64 " objects are damaged and were left out\n", r->damaged);
    }
}

int main(int argc, char **argv)
{
    struct rebase_options o = {.program = "zipkvrebase", .rev = NO_REV};
    const struct opt opts[] = {
        {.name = "from",
         .kind = OPT_STRING,
         .target = &o.from,
         .arg = "DIR",
         .required = true,
         .help = "The directory to copy from. It is not changed."},
        {.name = "to",
         .kind = OPT_STRING,
         .target = &o.to,
         .arg = "DIR",
         .required = true,
         .help = "The directory to copy to: empty, or it is made."},
        {.name = "to-bs",
         .kind = OPT_BYTES,
         .target = &o.block_size,
         .arg = "BYTES",
         .min = BLOCK_SIZE_MIN,
         .help = "The size of the new blocks.",
         .dflt = "40M"},
        {.name = "rev",
         .kind = OPT_U64,
         .target = &o.rev,
         .arg = "N",
         .max = UINT64_MAX - 1,
         .help = "The revision to copy: the state after records 0 to N of the history\n"
                 "(zipkvhistory lists them).",
         .dflt = "the last one"},
    };
    const struct opts_spec spec = {
        .program = o.program,
        .usage = "-from DIR -to DIR [options]",
        .about = "Copies the objects of a store, as they were at a revision, into an empty "
                 "directory, and\n"
                 "checks them. What was overwritten or deleted by then stays behind.",
        .opts = opts,
        .n_opts = sizeof opts / sizeof opts[0],
    };
    int code = opts_main(&spec, argc, argv, NULL);
    if (code >= 0) {
        return code;
    }
    o.has_rev = o.rev != NO_REV;
    struct rebase_result result;
    struct zerr_info info = {0};
    int rc = rebase_run(&o, &result, &info);
    if (rc == 0) {
        report(&o, &result);
        rc = cli_flush_stdout(&info);
        if (rc == 0) {
            return result.damaged > 0 ? CLI_DAMAGE : CLI_OK;
        }
    }
    code = cli_fail(o.program, NULL, rc, &info);
    if (result.started) {
        fprintf(stderr, "%s: %s is not complete, remove it\n", o.program, o.to);
    }
    return code;
}

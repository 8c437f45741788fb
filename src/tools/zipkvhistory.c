/* zipkvhistory: prints the history of a directory, one line for each record. */
#include <inttypes.h>
#include <stdio.h>

#include "tools/replay.h"

static void print_header(bool *printed)
{
    if (!*printed) {
        puts("rev\toperation\tfilename");
        *printed = true;
    }
}

static int print_record(void *user, uint64_t rev, const struct record *rec)
{
    print_header(user);
    if (!record_in_history(rec)) {
        return 0; /* an upload under way: no name has changed */
    }
    printf("%" PRIu64 "\t%s\t", rev, rec->op == RECORD_PUT ? "put" : "delete");
    fwrite(rec->key.ptr, 1, rec->key.len, stdout);
    putchar('\n');
    return ferror(stdout) ? ZERR_IO : 0;
}

int main(int argc, char **argv)
{
    const char *dir = NULL;
    const struct opt opts[] = {
        {.name = "dir",
         .kind = OPT_STRING,
         .target = &dir,
         .arg = "DIR",
         .required = true,
         .help = "The directory of the store."},
    };
    const struct opts_spec spec = {
        .program = "zipkvhistory",
        .usage = "-dir DIR",
        .about = "Prints every PUT and DELETE of a store in order: its revision, what it was, and "
                 "the name.\n"
                 "A server may be running.",
        .opts = opts,
        .n_opts = sizeof opts / sizeof opts[0],
    };
    int code = opts_main(&spec, argc, argv, NULL);
    if (code >= 0) {
        return code;
    }
    struct source src = {0};
    struct zerr_info info = {0};
    struct replay_result result = {0};
    bool printed = false;
    struct replay_visitor visitor = {.user = &printed, .record = print_record};
    int rc = source_open(&src, dir, &info);
    if (rc == 0) {
        rc = replay(&src, NULL, REPLAY_ALL, &visitor, NULL, &result, &info);
    }
    if (rc == 0) {
        print_header(&printed);
        rc = cli_flush_stdout(&info);
    }
    if (rc == 0 && result.n_damaged > 0) {
        rc = zerr_fail(
            &info, ZERR_DAMAGED, 0,
            "%" PRIu64 " parts of the history cannot be read: their "
            "revisions are missing here (zipkvverify -rebuild takes them from the blocks)",
            result.n_damaged);
    }
    source_close(&src);
    return rc == 0 ? CLI_OK : cli_fail("zipkvhistory", NULL, rc, &info);
}

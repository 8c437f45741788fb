/* zipkvserver: options, then server_run(). The man page beside this file is their reference. */
#include <stdlib.h>

#include "base/log.h"
#include "base/opts.h"
#include "server/server.h"
#include "store/format.h"

/* Above it an offset in a block would not fit the original's 32 bits. */
#define BLOCK_SIZE_MAX 2147483647u

int main(int argc, char **argv)
{
    static const char *const sync_words[] = {"ack", "block", NULL};
    static const char *const log_words[] = {"error", "warn", "info", "debug", NULL};
    struct server_config config = {
        .addr = SERVER_ADDR_DEFAULT,
        .bucket = SERVER_BUCKET_DEFAULT,
        .block_size = BLOCK_SIZE_DEFAULT,
        .reserve = UINT64_MAX,
        .auth_skew_s = SERVER_AUTH_SKEW_DEFAULT,
    };
    int sync = STORE_SYNC_ACK, level = LOG_INFO;
    const struct opt opts[] = {
        {.name = "dir",
         .kind = OPT_STRING,
         .target = &config.dir,
         .arg = "DIR",
         .required = true,
         .help = "The directory with the objects. It must exist; an empty one is a new store."},
        {.name = "addr",
         .kind = OPT_STRING,
         .target = &config.addr,
         .arg = "HOST:PORT",
         .dflt = SERVER_ADDR_DEFAULT,
         .help =
             "The address to listen on, without -auth a loopback one. Port 0: a free one, told\n"
             "at start."},
        {.name = "auth",
         .kind = OPT_STRING,
         .target = &config.auth_path,
         .arg = "FILE",
         .help =
             "Who may ask: lines ACCESS:SECRET, then optionally :ro and :bucket,bucket. Its mode\n"
             "must be 0600. Without it any program on this machine may."},
        {.name = "auth-skew",
         .kind = OPT_U64,
         .target = &config.auth_skew_s,
         .arg = "SECONDS",
         .dflt = "900",
         .min = 1,
         .max = SERVER_AUTH_SKEW_MAX,
         .help = "How far a client's clock may be from this machine's, with -auth."},
        {.name = "tls-cert",
         .kind = OPT_STRING,
         .target = &config.tls_cert_path,
         .arg = "FILE",
         .help =
             "Speak TLS (https) with this certificate and those up to its CA, in PEM form; with\n"
             "-tls-key. Read again when it changes."},
        {.name = "tls-key",
         .kind = OPT_STRING,
         .target = &config.tls_key_path,
         .arg = "FILE",
         .help = "The certificate's private key, in PEM form. Its mode must be 0600."},
        {.name = "bucket",
         .kind = OPT_STRING,
         .target = &config.bucket,
         .arg = "NAME",
         .dflt = SERVER_BUCKET_DEFAULT,
         .help = "The name of the bucket that DIR itself is; others are made by clients."},
        {.name = "bs",
         .kind = OPT_BYTES,
         .target = &config.block_size,
         .arg = "BYTES",
         .dflt = "41943040",
         .min = BLOCK_SIZE_MIN,
         .max = BLOCK_SIZE_MAX,
         .help = "The size at which a block file is full, at least 4096."},
        {.name = "sync",
         .kind = OPT_ENUM,
         .target = &sync,
         .arg = "WHEN",
         .dflt = "ack",
         .words = sync_words,
         .help = "ack: a change is on disk before it is answered.\n"
                 "block: only when a block is full and at stop; faster, and a power cut may take\n"
                 "what was answered since."},
        {.name = "reserve",
         .kind = OPT_BYTES,
         .target = &config.reserve,
         .arg = "BYTES",
         .dflt = "2 % of the file system, but 8M to 64M",
         .help = "Free space that uploads leave; below it they are told to come back later."},
        {.name = "index",
         .kind = OPT_STRING,
         .target = &config.index_path,
         .arg = "FILE",
         .dflt = "index.sqlite in DIR",
         .help = "Where the look-up index is, on a local disk. It can be deleted between runs."},
        {.name = "log",
         .kind = OPT_ENUM,
         .target = &level,
         .arg = "LEVEL",
         .dflt = "info",
         .words = log_words,
         .help = "What is told on standard error: error, warn, info or debug."},
    };
    const struct opts_spec spec = {
        .program = "zipkvserver",
        .usage = "-dir DIR [options] [-- CMD ARG...]",
        .about =
            "An S3-compatible server that packs objects into large block files.\n"
            "With CMD it serves while CMD and what that leaves behind run, and exits with its\n"
            "status.",
        .opts = opts,
        .n_opts = sizeof opts / sizeof opts[0],
        .allow_rest = true,
    };
    int rest;
    int code = opts_main(&spec, argc, argv, &rest);
    if (code >= 0) {
        return code;
    }
    log_set_level((enum log_level)level);
    config.sync = (enum store_sync)sync;
    config.command = rest < argc ? &argv[rest] : NULL;
    return server_run(&config);
}

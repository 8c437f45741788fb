#!/usr/bin/env bash
# slow-disk.sh [CLIENTS MIB]: no answer later than 10 s, on a disk of 5 MB/s too (32 x 3 MiB).
#
# Exercises: nbdkit's rate filter below a loop device below ext4; so many uploads at once, each with
# "Expect: 100-continue" as S3QL sends it. No client hears nothing for longer than 10 s: neither
# while it waits for its 100, nor while it sends, nor for the answer. Everything is read back.
. "$(dirname "${BASH_SOURCE[0]}")/../support/disks.sh"
own_namespaces "$@"
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
trap 'end_disks; cleanup' EXIT
export PYTHONPATH=$ROOT/test/support
clients=${1:-32}
mib=${2:-3}

slow_disk
start_server "$SLOW"
said=$(python3 "$ROOT/test/support/slow_disk.py" "$SERVER_ADDR" "$clients" "$mib" 10) || fail "$said"
stop_server
expect_eq "exit code" "$STATUS" 0
ok "5 MB/s: $said"

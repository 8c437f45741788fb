#!/usr/bin/env bash
# disk-full.sh [tmpfs|ext4 FILLS [SEED]]: a disk that is full; without arguments 20 fills of each kind.
#
# Exercises: on a file system of 64 MiB, with the index on it, too: 503 SlowDown with Retry-After while
# the reserve is still free; GET, LIST and DELETE go on; stop, start, kill -9 and a rebuild of the index
# in the reserve; another program that takes the reserve to the last byte, while uploads run and
# while none do; stop and start at 0 bytes free; nothing acknowledged lost; all by itself when
# there is room again. And what -reserve is on a tiny disk, and when it is told.
. "$(dirname "${BASH_SOURCE[0]}")/../support/disks.sh"
own_namespaces "$@"
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
trap 'end_disks; cleanup' EXIT
export WORK ZKV_BIN PYTHONPATH=$ROOT/test/support

# fills KIND N [SEED]
fills()
{
    local disk=$WORK/$1 said
    mkdir "$disk"
    if [ "$1" = tmpfs ]; then
        mount -t tmpfs -o size=64m tmpfs "$disk" || fail "cannot mount a tmpfs"
    else
        make_ext4 "$disk.img" 64
        loop_mount "$disk.img" "$disk"
        rmdir "$disk/lost+found"
    fi
    python3 "$ROOT/test/support/disk_full.py" "$disk" "${@:2}" >"$disk.said" 2>&1 || {
        cat "$disk.said" >&2
        fail "a full $1"
    }
    said=$(tail -n 1 "$disk.said")
    umount "$disk"
    ok "$1: $said"
}

# put_until_refused: small objects until the answer is 503.
put_until_refused()
{
    local n code
    random_file "$WORK/part" 200000
    for n in $(seq 1000); do
        code=$(http -T "$WORK/part" "$SERVER_BUCKET/k$n")
        [ "$code" != 503 ] || return 0
        expect_eq "PUT $n" "$code" 200
    done
    fail "never refused"
}

free_kib()
{
    df --output=avail -k "$1" | tail -n 1
}

# On a disk of 12 MiB a quarter is kept, 3 MiB; and what -reserve says is what is kept.
tiny()
{
    local disk=$WORK/tiny left
    mkdir "$disk"
    mount -t tmpfs -o size=12m tmpfs "$disk" || fail "cannot mount a tmpfs"
    mkdir "$disk/store"
    start_server "$disk/store" -bs 1M
    put_until_refused
    left=$(free_kib "$disk")
    [ "$left" -gt 1500 ] && [ "$left" -lt 3500 ] || fail "$left KiB are left of 3 MiB"
    stop_server
    expect_eq "exit code on a full tiny disk" "$STATUS" 0
    start_server "$disk/store" -bs 1M -reserve 1M
    put_until_refused
    left=$(free_kib "$disk")
    [ "$left" -gt 500 ] && [ "$left" -lt 1500 ] || fail "$left KiB are left of -reserve 1M"
    expect_match "the server's words" "$(cat "$SERVER_LOG")" "*503 SlowDown: no space left*"
    stop_server
    expect_eq "exit code with -reserve 1M" "$STATUS" 0
    umount "$disk"
    ok "a disk of 12 MiB keeps a quarter; -reserve is what is kept"
}

if [ $# -gt 0 ]; then
    fills "$@"
    exit
fi
tiny
# Both at once, for they mostly wait. Each has a log of its own.
fills tmpfs 20 &
fills_tmpfs=$!
fills ext4 20 || exit
wait "$fills_tmpfs"

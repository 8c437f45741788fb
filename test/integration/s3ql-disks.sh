#!/usr/bin/env bash
# s3ql-disks.sh [OBJECTS]: real S3QL on a disk that is full, and on one that is slow (12 objects).
#
# Exercises: the disk fills up during an rsync into a mounted S3QL file system; S3QL waits; there is
# room again and the copy completes by itself; umount, fsck and every checksum. And so many uploads of
# 10 MiB at once, with 32 threads, onto a disk of 5 MB/s: not one 503, not one retry in S3QL's log,
# each object sent once.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/../support/debian13.sh"
with_debian13 "$@"
. "$here/../support/disks.sh"
. "$here/lib.sh"
scheme=s3c4
compression=none
. "$here/../support/s3ql.sh"
trap 'end_mounts; end_disks; cleanup' EXIT
objects=${1:-12}

said_slow_down()
{
    grep -q '503 SlowDown: no space left' "$SERVER_LOG"
}

# What S3QL's log has of trouble; it does not log the first two retries, but the server does.
no_retry()
{
    expect_eq "$1: S3QL's log" "$(grep -iE 'encountered|retry|timeout|error' "$outside/mount.log")" ""
    expect_eq "$1: the server's log" "$(grep -E '503|500' "$SERVER_LOG")" ""
}

full()
{
    local disk=$WORK/disk n copying
    mkdir "$disk" "$outside" "$outside/source"
    for n in $(seq 60); do
        random_file "$outside/source/$n" $((n * 40000))
    done
    (cd "$outside/source" && sha256sum ./*) >"$WORK/sums"
    make_ext4 "$disk.img" 160
    loop_mount "$disk.img" "$disk"
    rmdir "$disk/lost+found"
    mkdir "$disk/store"
    start_server "$disk/store"
    bind_s3ql
    write_authinfo anything
    mkfs_s3ql first || fail "mkfs.s3ql: $(cat "$WORK/said")"
    mount_s3ql first
    # Room for the half of it.
    fallocate -l "$(($(df --output=avail -B1 "$disk" | tail -n 1) - 48000000))" "$disk/ballast" ||
        fail "no ballast"
    (must 300 rsync -a "$inside/source/" "$inside/mountpoint/backup/" &&
        must 300 s3qlctrl flushcache "$inside/mountpoint") &
    copying=$!
    wait_for 120 said_slow_down || fail "the disk does not fill up"
    sleep 3
    kill -0 "$copying" || fail "the copy has ended on a full disk"
    rm "$disk/ballast"
    wait "$copying" || fail "the copy did not complete"
    umount_s3ql
    fsck_s3ql first
    mount_s3ql second
    (cd "$seen/mountpoint/backup" && sha256sum --quiet -c "$WORK/sums") >&2 || fail "checksums"
    umount_s3ql
    stop_server
    expect_eq "exit code" "$STATUS" 0
    umount "$seen" "$disk"
    rm -r "$outside" "$disk.img"
    ok "the disk fills up during an rsync: S3QL waits, the copy completes, fsck finds nothing"
}

slow()
{
    local began
    mkdir "$outside"
    slow_disk
    mkdir "$SLOW/store"
    start_server "$SLOW/store"
    bind_s3ql
    write_authinfo anything
    mkfs_s3ql first --data-block-size 10240 || fail "mkfs.s3ql: $(cat "$WORK/said")"
    mount_options=(--threads 32 --cachesize 1000000)
    mount_s3ql first
    random_file "$WORK/large" $((objects * 10485760))
    cp "$WORK/large" "$seen/mountpoint/large" || fail "cp"
    began=$SECONDS
    must 600 s3qlctrl flushcache "$inside/mountpoint"
    began=$((SECONDS - began))
    no_retry "$objects uploads"
    cmp "$WORK/large" "$seen/mountpoint/large" || fail "the file is not the same"
    umount_s3ql
    no_retry "umount"
    stop_server
    expect_eq "objects sent" "$("$ZKV_BIN/tools/zipkvhistory" -dir "$SLOW/store" |
        awk '$2 == "put" && $3 ~ /^s3ql_data_/' | wc -l)" "$objects"
    ok "$objects uploads of 10 MiB with 32 threads onto 5 MB/s in $began s, none refused or retried"
}

full
slow

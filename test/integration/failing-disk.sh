#!/usr/bin/env bash
# failing-disk.sh [ROUNDS [SEED]]: writes that fail on a real ext4 (2).
#
# Exercises: nbdkit's error filter below a loop device below ext4, under load. A third of the writes
# fails for a moment, with the journal elsewhere so that ext4 itself mostly goes on: fdatasync gives EIO,
# the group gets 500, the server goes on in another block or stops with an error; nothing acknowledged is
# lost, nothing of a group that was declared void is ever seen. And all writes fail, journal and all:
# ext4 turns read-only, the server stops with an error, and the next start, mounted again, has it all.
. "$(dirname "${BASH_SOURCE[0]}")/../support/disks.sh"
own_namespaces "$@"
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
trap 'end_disks; cleanup' EXIT
export WORK ZKV_BIN PYTHONPATH=$ROOT/test/support
rounds=${1:-2}
seed=${2:-$RANDOM$RANDOM}

# failures NAME RATE MOUNT-OPTIONS
failures()
{
    local disk=$WORK/$1
    mkdir "$disk"
    nbd_disk "$disk.img" "$disk.nbd" --filter=error -- error-pwrite=EIO "error-pwrite-rate=$2" \
        error-zero=EIO "error-zero-rate=$2" "error-file=$disk.fault"
    loop_mount "$disk.nbd/nbd" "$disk" "$3"
    # As a machine does when it starts again: what ext4 has given up is not used before e2fsck has seen it.
    cat >"$disk.remount" <<END
umount '$disk' || exit
e2fsck -fp ${LOOP_JOURNAL:+-j "$LOOP_JOURNAL"} '$disk.nbd/nbd' || [ \$? -eq 1 ] || exit
mount -o 'loop${3:+,$3}' '$disk.nbd/nbd' '$disk'
END
    python3 "$ROOT/test/support/failing_disk.py" "$disk" "$disk.fault" "$1" "$rounds" "$seed" \
        sh "$disk.remount" >"$disk.said" 2>&1 || {
        cat "$disk.said" >&2
        fail "seed $seed, $1"
    }
    umount "$disk"
    umount "$disk.nbd"
    ok "$1: $(tail -n 1 "$disk.said")"
}

echo "seed $seed"
truncate -s 16M "$WORK/journal.img"
mke2fs -q -F -b 4096 -O journal_dev "$WORK/journal.img" >/dev/null || fail "no journal device"
loop_device "$WORK/journal.img"
make_ext4 "$WORK/some.img" 256 -J "device=$LOOP"
LOOP_JOURNAL=$LOOP failures some 30% "journal_path=$LOOP"
losetup -d "$LOOP"

make_ext4 "$WORK/all.img" 256
failures all 100% ""

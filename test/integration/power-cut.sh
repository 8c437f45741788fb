#!/usr/bin/env bash
# power-cut.sh [STATES [SEED]]: power cuts of a real ext4, by replaying what its disk was told (200).
#
# Exercises: a server on ext4 on a disk that logs every write and every flush in their order, loaded
# with PUTs, overwrites, DELETEs, COPYs and multipart uploads by eight clients, with blocks so small
# that they roll over all the time; sessions that end with Ctrl+C, with kill -9 and a recovery, and with the power.
# Then states of the disk that a power cut could have left: ext4 mounts it, the server starts,
# everything acknowledged is there, nothing is there in part, LIST agrees with GET, and a second start
# sees the same. And the control: with a server whose syncs do nothing the same test finds losses.
#
# A log holds so many cuts; for many states several are recorded. SEED replays one recording's
# choices, as far as threads and a real disk can be replayed; the states of one log exactly.
. "$(dirname "${BASH_SOURCE[0]}")/../support/disks.sh"
own_namespaces "$@"
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
trap 'end_disks; cleanup' EXIT
export WORK ZKV_BIN PYTHONPATH=$ROOT/test/support
python=/usr/bin/python3 # fusepy is a package of Debian's own
seconds=4
per_log=250
states=${1:-200}
seed=${2:-$RANDOM$RANDOM}

# Memory is quick, and what is lost here is lost on purpose.
mkdir "$WORK/fast" && mount -t tmpfs tmpfs "$WORK/fast" || fail "cannot mount a tmpfs"
base=$WORK/fast/base.img
make_ext4 "$base" 64
mkdir "$WORK/fuse" "$WORK/ext4" "$WORK/state"

fuse_there()
{
    [ -e "$WORK/fuse/disk" ]
}

# record SEED [WRAP...]: a log of one load, in $log; the disk is gone afterwards.
record()
{
    local fuse
    log=$WORK/fast/log
    "$python" "$ROOT/test/support/block_log.py" "$WORK/fuse" "$base" "$log" &
    fuse=$!
    wait_for 20 fuse_there || fail "no FUSE disk"
    loop_mount "$WORK/fuse/disk" "$WORK/ext4"
    "$python" "$ROOT/test/support/power_cut.py" "$WORK/ext4" "$WORK/fuse/marks" "$log" record "$seconds" \
        "$1" -- "${@:2}" || fail "the load with seed $1"
    umount "$WORK/ext4" || fail "cannot unmount ext4"
    umount "$WORK/fuse" || fail "cannot unmount the FUSE disk"
    wait "$fuse"
}

replay()
{
    "$python" "$ROOT/test/support/power_cut.py" "$base" "$log" "$WORK/state" replay "$@"
}

echo "seed $seed"
left=$states
while [ "$left" -gt 0 ]; do
    n=$((left < per_log ? left : per_log))
    record "$seed"
    if ! replay "$n" "$seed"; then
        kept=$(mktemp -d "${TMPDIR:-/tmp}/power-cut.XXXXXX")
        cp "$base" "$log" "$kept"
        fail "with seed $seed; the disk and the log are in $kept"
    fi
    left=$((left - n))
    seed=$((seed + 1))
done
ok "$states states after a power cut, nothing acknowledged is lost"

record control eatmydata
said=$(replay 8 control | tail -n 1)
expect_match "the control" "$said" "8 states, [4-8] caught"
ok "the control: with syncs that do nothing, $said"

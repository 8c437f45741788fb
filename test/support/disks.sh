# Sourced by scripts of test/integration that need disks of their own, before lib.sh.
#
#   own_namespaces "$@"          runs the script again, as root, in mount and process namespaces of its
#                                own: whatever it mounts or starts is seen by it alone and is gone when
#                                it ends, however it ends
#   loop_mount FILE DIR [OPT]    mounts the file system in FILE; the loop device goes with the mount
#   make_ext4 FILE MIB [OPT..]   a new ext4 in FILE, 4 KiB blocks, nothing kept back for root
#   loop_device FILE             sets LOOP to a loop device for it, detached at the end
#   nbd_disk FILE DIR FILTER.. -- PARAMETER..
#                                FILE as DIR/nbd, through filters of nbdkit
#   slow_disk                    SLOW: an empty ext4 folder on a disk of 5 MB/s
#   end_disks                    for traps, before anything below $WORK is removed
own_namespaces()
{
    if [ "${ZKV_NAMESPACES:-}" = own ]; then
        return
    fi
    . "$(dirname "${BASH_SOURCE[0]}")/../../scripts/lib.sh"
    if [ "$(id -u)" -ne 0 ] && ! command -v sudo >/dev/null; then
        die "mounts disks, so it must be run by root"
    fi
    # Not exec'ed through sudo: its own end must not leave the inside behind.
    as_root unshare --mount --pid --fork --kill-child --mount-proc env ZKV_NAMESPACES=own \
        ZKV_BIN="${ZKV_BIN:-}" TMPDIR="${TMPDIR:-/tmp}" bash "$0" "$@"
    exit
}

make_ext4()
{
    local file=$1 mib=$2
    shift 2
    truncate -s "${mib}M" "$file" && mkfs.ext4 -q -F -b 4096 -m 0 -E lazy_itable_init=0,nodiscard \
        "$@" "$file" || fail "cannot make a file system in $file"
}

# The machine's loop devices are few, and others use them, too.
loop_mount()
{
    local try
    for try in 1 2 3 4 5 6 7 8 9 10; do
        if mount -o "loop${3:+,$3}" "$1" "$2" 2>"$WORK/mount.err"; then
            return
        fi
        sleep "$try"
    done
    fail "cannot mount $1: $(cat "$WORK/mount.err")"
}

LOOPS=
loop_device()
{
    LOOP=$(losetup -f --show "$1") || fail "no loop device is free"
    LOOPS="$LOOPS $LOOP"
}

nbd_there()
{
    [ -e "$1/nbd" ]
}

nbd_disk()
{
    local file=$1 dir=$2 filters=()
    shift 2
    while [ "$1" != -- ]; do
        filters+=("$1")
        shift
    done
    shift
    mkdir "$dir"
    nbdkit -f -U "$dir.sock" "${filters[@]}" file "$file" "$@" 2>"$dir.err" &
    wait_for 20 test -e "$dir.sock" || fail "nbdkit: $(cat "$dir.err")"
    nbdfuse "$dir" --unix "$dir.sock" 2>>"$dir.err" &
    wait_for 20 nbd_there "$dir" || fail "nbdfuse: $(cat "$dir.err")"
}

# A disk of 5 MB/s, in memory.
slow_disk()
{
    SLOW=$WORK/slow
    mkdir "$SLOW" "$WORK/fast"
    mount -t tmpfs tmpfs "$WORK/fast" || fail "cannot mount a tmpfs"
    make_ext4 "$WORK/fast/slow.img" 2048
    nbd_disk "$WORK/fast/slow.img" "$WORK/nbd" --filter=rate -- rate=40M
    loop_mount "$WORK/nbd/nbd" "$SLOW"
    chmod 700 "$SLOW"
    rmdir "$SLOW/lost+found"
}

# In its own namespace a script may unmount whatever is below its folder.
end_disks()
{
    local code=$? dir
    if [ -n "$SERVER_PID" ]; then
        kill -9 "$SERVER_PID" 2>/dev/null
    fi
    while read -r dir; do
        umount -l "$dir" 2>/dev/null
    done < <(awk -v work="$WORK/" 'index($5, work) == 1 {print $5}' /proc/self/mountinfo | tac)
    # shellcheck disable=SC2086 # words
    [ -z "$LOOPS" ] || losetup -d $LOOPS 2>/dev/null
    return "$code"
}

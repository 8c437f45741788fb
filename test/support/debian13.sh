# Sourced after lib.sh and clients.sh, inside `scripts/debian13 with`, by scripts that use clients of
# Debian 13.
#
#   in13 COMMAND...   in the tree, which sees $WORK as /mnt and begins there; with clients.sh's key
#
# What is mounted is seen by the script alone and ends with it.
mount --bind "$WORK" "$S3QL_ROOT/mnt" || fail "cannot bind $WORK"

in13()
{
    local keys
    mapfile -t keys < <(env | grep '^AWS_')
    chroot "$S3QL_ROOT" /usr/bin/env -i -C /mnt PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 \
        HOME=/mnt/home TMPDIR=/mnt "${keys[@]}" timeout 300 "$@"
}

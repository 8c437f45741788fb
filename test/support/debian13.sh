# Sourced before lib.sh by scripts that use programs of Debian 13, beside this system's own.
#
#   with_debian13 "$@"  runs the script again inside `scripts/debian13 with`, which sets S3QL_ROOT and makes
#                       the tree if it is not there; unless it is inside already
#   show_work           for in13, behind lib.sh: the tree sees $WORK as /mnt
#   in13 COMMAND...     in the tree, beginning in /mnt; with clients.sh's key
#
# What is mounted is seen by the script alone and ends with it.
with_debian13()
{
    if [ -z "${S3QL_ROOT:-}" ]; then
        exec "$(dirname "${BASH_SOURCE[0]}")/../../scripts/debian13" with "$0" "$@"
    fi
}

show_work()
{
    mount --bind "$WORK" "$S3QL_ROOT/mnt" || fail "cannot bind $WORK"
}

in13()
{
    local keys
    mapfile -t keys < <(env | grep '^AWS_')
    chroot "$S3QL_ROOT" /usr/bin/env -i -C /mnt PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 \
        HOME=/mnt/home TMPDIR=/mnt "${keys[@]}" timeout 300 "$@"
}

# Sourced by scripts that use real S3QL, after lib.sh, inside `scripts/debian13 with`. Set before:
# compression (none, or default for S3QL's own), scheme (s3c, s3c4); backend_options, if not no-ssl.
#
#   bind_s3ql                a folder for it ($outside, which it sees as $inside)
#   mkfs_s3ql CACHE [OPT..]  with the cache of that name, which is made, on the server that runs; what it
#                            says is in $WORK/said, and its exit code is returned; $mkfs_seconds (60) at most
#   mount_s3ql CACHE         with the cache of that name, at $seen/mountpoint; mount_options are added
#   umount_s3ql, flush_cache, fsck_s3ql CACHE, verify_s3ql CACHE
#   must SECONDS COMMAND..   in the tree; its words are shown only if it fails
url=
mount_options=()
backend_options=${backend_options:-no-ssl}
inside=/mnt # where S3QL sees $outside
outside=$WORK/s3ql
seen=${S3QL_ROOT%/}$inside
auth=$inside/authinfo2

# Before lib.sh removes $WORK nothing may be mounted below it or busy in it.
end_mounts()
{
    local code=$?
    umount -l "$seen/mountpoint" "$seen" 2>/dev/null
    return $code
}
trap 'end_mounts; cleanup' EXIT

in_tree=(chroot "$S3QL_ROOT" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME="$inside" LC_ALL=C.UTF-8)
s3ql()
{
    "${in_tree[@]}" "$@"
}

# must SECONDS COMMAND...: its words are shown only if it fails.
must()
{
    local seconds=$1
    shift
    if ! s3ql timeout "$seconds" "$@" >"$WORK/said" 2>&1 </dev/null; then
        cat "$WORK/said" >&2
        tail -n 20 "$outside"/.s3ql/*.log "$outside"/cache-*/*.log >&2 2>/dev/null
        fail "$*"
    fi
}

# Sets mount_command for the cache of that name.
set_mount_command()
{
    mkdir -p "$outside/cache-$1"
    mount_command=(mount.s3ql --authfile "$auth" --cachedir "$inside/cache-$1" --log "$inside/mount.log"
        --backend-options "$backend_options")
    [ "$compression" = default ] || mount_command+=(--compress "$compression")
    mount_command+=("${mount_options[@]}" "$url" "$inside/mountpoint")
}

mount_s3ql()
{
    set_mount_command "$1"
    must 120 "${mount_command[@]}"
}

umount_s3ql()
{
    must 120 umount.s3ql "$inside/mountpoint"
}

# fsck with the cache of that name; anything found is a failure (its exit code is then not 0).
fsck_s3ql()
{
    must 180 fsck.s3ql --force --batch --authfile "$auth" --cachedir "$inside/cache-$1" \
        --log "$inside/fsck.log" --backend-options "$backend_options" "$url"
}

verify_s3ql()
{
    must 180 s3ql_verify --data --authfile "$auth" --cachedir "$inside/cache-$1" \
        --log "$inside/verify.log" --backend-options "$backend_options" "$url"
}

flush_cache()
{
    must 180 s3qlctrl flushcache "$inside/mountpoint"
}

bind_s3ql()
{
    mkdir -p "$outside/mountpoint"
    mount --bind "$outside" "$seen" || fail "cannot bind $outside"
}

# write_authinfo PASSWORD: S3QL's own file of passwords.
write_authinfo()
{
    cat >"$outside/authinfo2" <<END
[zipkv]
storage-url: $scheme://
backend-login: backup
backend-password: $1
fs-passphrase: secret
END
    chmod 600 "$outside/authinfo2"
}

mkfs_s3ql()
{
    local cache=$1
    shift
    mkdir "$outside/cache-$cache"
    url=$scheme://$SERVER_ADDR/bucket
    printf 'secret\nsecret\n' | s3ql timeout "${mkfs_seconds:-60}" mkfs.s3ql --authfile "$auth" \
        --cachedir "$inside/cache-$cache" --log none --backend-options "$backend_options" "$@" "$url" >"$WORK/said" 2>&1
}

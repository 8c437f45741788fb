#!/usr/bin/env bash
# s3ql-tls.sh [SCHEME..]: real S3QL over TLS, with a CA made on the spot, and with passwords (s3c4).
#
# Exercises: mkfs with a CA that S3QL does not know is refused, with a wrong password too; mkfs, mount, a
# copy of 300 files, umount, fsck, a mount from an empty cache, every checksum. The certificate is
# replaced while it is mounted.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/../support/debian13.sh"
with_debian13 "$@"
. "$here/lib.sh"
compression=none
scheme=s3c
. "$here/../support/s3ql.sh"
mkdir "$outside"
bind_s3ql
tls=$WORK/ca
make_ca "$tls"
make_pair "$tls" server
make_ca "$WORK/other"
cp "$tls/ca.pem" "$outside/ca.pem"
cp "$WORK/other/ca.pem" "$outside/other.pem"
printf 'backup:right\n' >"$WORK/keys"
chmod 600 "$WORK/keys"
mkdir "$outside/source"
for n in $(seq 300); do
    random_file "$outside/source/$n" $((n * 300))
done
(cd "$outside/source" && sha256sum ./*) >"$WORK/sums"

[ $# -gt 0 ] || set -- s3c4
for scheme; do
    new_store "$scheme"
    start_server "$STORE" -auth "$WORK/keys" -tls-cert "$tls/server.pem" -tls-key "$tls/server.key"
    write_authinfo right
    backend_options=ssl-ca-path=$inside/other.pem
    # It tries again and again, and says so.
    mkfs_seconds=20 mkfs_s3ql "$scheme-unknown" && fail "S3QL trusts a CA that it does not know"
    expect_match "what mkfs.s3ql says of an unknown CA" "$(cat "$WORK/said")" "*certificate*"
    backend_options=ssl-ca-path=$inside/ca.pem
    write_authinfo wrong
    mkfs_s3ql "$scheme-wrong" && fail "a wrong password is let in"
    expect_match "what mkfs.s3ql says of a wrong password" "$(cat "$WORK/said")" "*403 Forbidden*"
    write_authinfo right
    mkfs_s3ql "$scheme-first" || fail "mkfs.s3ql: $(cat "$WORK/said")"
    mount_s3ql "$scheme-first"
    cp -r "$outside/source" "$seen/mountpoint/source" || fail "cp into the mount"
    flush_cache
    make_pair "$tls" server
    sleep 1.1
    cp -r "$outside/source" "$seen/mountpoint/again" || fail "cp with another certificate"
    umount_s3ql
    fsck_s3ql "$scheme-first"
    mount_s3ql "$scheme-second"
    for copy in source again; do
        (cd "$seen/mountpoint/$copy" && sha256sum --quiet -c "$WORK/sums") || fail "$copy: checksums"
    done
    umount_s3ql
    n_puts=$("$ZKV_BIN/tools/zipkvhistory" -dir "$STORE" | grep -c 's3ql_data_')
    [ "$n_puts" -ge 300 ] || fail "only $n_puts objects"
    stop_server INT
    expect_eq "exit code" "$STATUS" 0
    ok "$scheme over TLS: mkfs, mount, cp, umount, fsck, mount from an empty cache (after $SECONDS s)"
done

#!/usr/bin/env bash
# s3ql.sh s3c|s3c4 COMPRESSION [server options]: real S3QL on a store, as a person uses it.
#
# Exercises: mkfs, mount, df, rsync of a real tree (4,000 files, 80 MB and more), flushcache, s3qlcp,
# s3qllock, s3qlrm, a second rsync that sends no data, umount, fsck --force, s3ql_verify --data,
# Ctrl+C, a start from the same directory, a mount from an empty cache ("another machine"), every
# checksum; kill -9 of the server in the middle of an upload, after which S3QL carries on; and one
# damaged object, which is EIO for its file while the mount lives; `-- mount.s3ql`. All of it with -auth:
# the right password is let in, and a wrong one is refused at once, in S3QL's own words.
#
# S3QL's programs come from scripts/debian13; what this mounts and starts ends with it.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/../support/debian13.sh"
with_debian13 "$@"
. "$here/lib.sh" # takes "$@" whole: it may begin the script again
scheme=$1 compression=$2
shift 2
server_options=("$@")
. "$here/../support/s3ql.sh"

ok()
{
    echo "ok - $scheme: $* (after $SECONDS s)"
}

data_puts()
{
    "$ZKV_BIN/tools/zipkvhistory" -dir "$STORE" | awk '$2 == "put" && $3 ~ /^s3ql_data_/' | wc -l
}

store_bytes()
{
    du -sB1 "$STORE" | cut -f 1
}

grown_since()
{
    [ "$(store_bytes)" -gt "$(($1 + 4000000))" ]
}

# A part of the Debian tree, always the same, and what is odd about file systems.
make_source()
{
    local src=$outside/source
    mkdir -p "$src"
    (cd "${S3QL_ROOT%/}/usr" && find lib/python3* share lib -xdev -type f | LC_ALL=C sort -u |
        head -n 4200 | rsync -a --files-from=- . "$src/") || fail "cannot copy a tree"
    mkdir "$src/odd"
    random_file "$src/odd/incompressible" 20000000
    : >"$src/odd/empty"
    truncate -s 5M "$src/odd/hole"
    echo text >"$src/odd/"$'new\nline & "quotes" \xc3\xa9'
    ln "$src/odd/empty" "$src/odd/hard link"
    ln -s nowhere "$src/odd/symlink"
    chmod 000 "$src/odd/empty"
    n_files=$(find "$src" -type f | wc -l)
    n_bytes=$(find "$src" -type f -printf '%s\n' | awk '{n += $1} END {print n}')
    [ "$n_files" -ge 4000 ] && [ "$n_bytes" -ge 80000000 ] || fail "$n_files files, $n_bytes bytes: too few"
    (cd "$src" && find . -type f -print0 | sort -z | xargs -0 sha256sum >"$outside/sums")
}

same_as_source()
{
    (cd "$seen/mountpoint/$1" && sha256sum --quiet -c "$outside/sums") >&2 || fail "$1: checksums"
    expect_eq "$1: differences" "$(s3ql rsync -aHn --delete --itemize-changes "$inside/source/" \
        "$inside/mountpoint/$1/")" ""
}

mkdir "$outside"
make_source
bind_s3ql

printf 'backup:right\n' >"$WORK/keys"
chmod 600 "$WORK/keys"
new_store auth
start_server "$STORE" -auth "$WORK/keys"
write_authinfo wrong
mkfs_s3ql wrong && fail "a wrong password is let in"
expect_match "what mkfs.s3ql says of a wrong password" "$(cat "$WORK/said")" "*403 Forbidden*"
expect_eq "objects stored with a wrong password" \
    "$("$ZKV_BIN/tools/zipkvhistory" -dir "$STORE" 2>/dev/null | grep -c put)" 0
write_authinfo right
mkfs_s3ql right || fail "the right password: $(cat "$WORK/said")"
write_authinfo wrong
set_mount_command right
# refused COMMAND...
refused()
{
    s3ql timeout 60 "$@" >"$WORK/said" 2>&1 </dev/null && fail "a wrong password is let in by $1"
    expect_match "what $1 says of a wrong password" "$(cat "$WORK/said")" "*Invalid credentials*"
}
refused "${mount_command[@]}"
refused fsck.s3ql --force --batch --authfile "$auth" --cachedir "$inside/cache-right" --log none \
    --backend-options no-ssl "$url"
write_authinfo right
stop_server INT
ok "-auth: the right password is let in; mkfs, mount and fsck with a wrong one are refused"
server_options+=(-auth "$WORK/keys")

new_store store
start_server "$STORE" "${server_options[@]}"
address=$SERVER_ADDR
mkfs_s3ql first || fail "mkfs.s3ql: $(cat "$WORK/said")"
ok "mkfs.s3ql"

mount_s3ql first
expect_match "what df shows" "$(df --output=source "$seen/mountpoint" | tail -n 1)" "$url*"
ok "mount.s3ql; df shows the storage URL"

must 300 rsync -aH "$inside/source/" "$inside/mountpoint/backup/"
flush_cache
first_puts=$(data_puts)
[ "$first_puts" -ge 1000 ] || fail "only $first_puts objects for $n_files files"
ok "rsync of $n_files files, $n_bytes bytes, made $first_puts objects"

must 60 s3qlcp "$inside/mountpoint/backup" "$inside/mountpoint/snapshot"
must 60 s3qllock "$inside/mountpoint/snapshot"
if touch "$seen/mountpoint/snapshot/new" 2>/dev/null; then
    fail "the locked snapshot can be written"
fi
must 60 s3qlcp "$inside/mountpoint/backup" "$inside/mountpoint/third"
must 60 s3qlrm "$inside/mountpoint/third"
[ ! -e "$seen/mountpoint/third" ] || fail "s3qlrm left something"
ok "s3qlcp, s3qllock, s3qlrm"

must 300 rsync -aH "$inside/source/" "$inside/mountpoint/backup/"
flush_cache
expect_eq "data objects sent after a second rsync" "$(data_puts)" "$first_puts"
ok "a second rsync sends no data request"

umount_s3ql
fsck_s3ql first
verify_s3ql first
ok "umount.s3ql; fsck.s3ql --force and s3ql_verify --data find nothing"

stop_server INT
expect_eq "exit code after Ctrl+C" "$STATUS" 0
if [[ " ${server_options[*]} " == *" -bs "* ]]; then
    n_blocks=$(find "$STORE" -name 'block*' | wc -l)
    [ "$n_blocks" -ge 24 ] || fail "only $n_blocks blocks"
    ok "$n_blocks blocks"
fi
start_server "$STORE" "${server_options[@]}" -addr "$address"
mount_s3ql second
same_as_source backup
same_as_source snapshot
ok "Ctrl+C, start, mount from an empty cache: every file's checksum is equal"

mkdir "$outside/late"
for n in 1 2 3 4 5 6 7 8; do
    random_file "$outside/late/$n" 5000000
done
before=$(store_bytes)
cp -r "$outside/late" "$seen/mountpoint/late" || fail "cp into the mount"
s3ql timeout 300 s3qlctrl flushcache "$inside/mountpoint" >"$WORK/flush" 2>&1 &
flushing=$!
wait_for 60 grown_since "$before" || fail "nothing is uploaded"
kill_server
kill -0 "$flushing" || fail "the upload was over before the kill"
start_server "$STORE" "${server_options[@]}" -addr "$address"
wait "$flushing" || fail "flushcache after the kill: $(cat "$WORK/flush")"
(cd "$outside/late" && sha256sum ./*) >"$WORK/late.sums"
(cd "$seen/mountpoint/late" && sha256sum --quiet -c "$WORK/late.sums") || fail "late: checksums"
umount_s3ql
fsck_s3ql second
verify_s3ql second
ok "kill -9 in the middle of an upload: S3QL carries on, fsck and verify find nothing"

stop_server INT
expect_eq "exit code after Ctrl+C" "$STATUS" 0
set_mount_command second
start_server "$STORE" "${server_options[@]}" -addr "$address" -- "${in_tree[@]}" "${mount_command[@]}"
wait_for 120 mountpoint -q "$seen/mountpoint" || fail "mount.s3ql behind -- does not mount"
random_file "$seen/mountpoint/victim" 300000
flush_cache
victim=$("$ZKV_BIN/tools/zipkvhistory" -dir "$STORE" | awk '$2 == "put" && $3 ~ /^s3ql_data_/ {k = $3} END {print k}')
umount_s3ql
wait_server
expect_eq "exit code after umount.s3ql" "$STATUS" 0
ok "-- mount.s3ql: the server ends when it has been unmounted"

python3 "$ROOT/test/support/damage.py" "$STORE" "$victim" || fail "cannot damage $victim"
start_server "$STORE" "${server_options[@]}" -addr "$address"
mount_s3ql third
said=$(cat "$seen/mountpoint/victim" 2>&1 >/dev/null) && fail "the damaged file can be read"
expect_match "reading the damaged file" "$said" "*Input/output error*"
(cd "$seen/mountpoint/late" && sha256sum --quiet -c "$WORK/late.sums") || fail "late: checksums"
ok "a damaged object: EIO for its file, the mount lives"
grep -q damaged "$SERVER_LOG" || fail "the server says nothing of the damage"
umount_s3ql
stop_server INT
expect_eq "exit code after Ctrl+C" "$STATUS" 0

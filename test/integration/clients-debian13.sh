#!/usr/bin/env bash
# Exercises: Debian 13's boto3, awscli and restic, as clients are since 2025: a checksum (CRC32,
# CRC64NVME) with every body, and every answer's compared. Names of every kind, each algorithm,
# files in one and in many parts, copies, lists, wrong checksums, conditional writes; with TLS, checksums
# behind the body (boto3, awscli); awscli's cp, sync, mv, rm and s3api; restic from init to forget --prune.
# All that comes back is compared byte by byte, and what is stored is asked without these clients, too.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/../support/debian13.sh"
with_debian13 "$@"
. "$here/lib.sh"
. "$here/../support/clients.sh"
show_work

new_store store
start_signed "$STORE" -bs 4000000

# ---- boto3 ----

cp "$ROOT/test/support/clients_boto3.py" "$WORK/"
client boto3 "$(in13 python3 -c 'import boto3; print(boto3.__version__)')"
in13 python3 clients_boto3.py "$SERVER_URL" bucket || fail "clients_boto3.py"
stop_server

new_store tls
ZKV_TLS=1 start_signed "$STORE" -bs 4000000
in13 python3 clients_boto3.py "$SERVER_URL" bucket tls/ca.pem || fail "clients_boto3.py with TLS"
random_file "$WORK/behind" 20000001
for what in put get; do
    [ $what = put ] && set -- behind s3://bucket/behind || set -- s3://bucket/behind back-behind
    must in13 aws --endpoint-url "$SERVER_URL" --ca-bundle tls/ca.pem s3 cp "$@"
done
cmp "$WORK/behind" "$WORK/back-behind" || fail "awscli with TLS: another file comes back"
ok "awscli, with TLS: a file there and back"
stop_server
start_signed "$WORK/store" -bs 4000000

# ---- awscli ----

# The server keeps what the client sent and says so; a wrong one is refused.
aws()
{
    in13 aws --endpoint-url "$SERVER_URL" "$@"
}

# field NAME: of the JSON that awscli said.
field()
{
    sed -n "s/.*\"$1\": \"\\?\\([^\",]*\\).*/\\1/p" "$WORK/said" | tail -n 1
}

make_tree "$WORK/tree" 0 1 65536 300000 20000001
must aws s3 cp tree s3://bucket/cp --recursive
expect_stored cp/ "$WORK/tree"
must aws s3 cp s3://bucket/cp back --recursive
expect_files "$WORK/tree" "$WORK/back"
version=$(in13 aws --version | sed 's/.*aws-cli.\([0-9.]*\).*/\1/')
client awscli "$version"
version="awscli $version"
ok "$version: cp --recursive of $n_stored files there and back"

rm -r "$WORK/back/in" "$WORK/tree/plain"
echo changed >"$WORK/tree/with space"
cp "$WORK/tree/size/300000" "$WORK/tree/new"
must aws s3 sync --delete tree s3://bucket/cp
expect_stored cp/ "$WORK/tree"
must aws s3 sync --delete s3://bucket/cp back
expect_files "$WORK/tree" "$WORK/back"
must aws s3 mv s3://bucket/cp/size s3://bucket/moved --recursive
must aws s3 mv s3://bucket/moved back/moved --recursive
expect_files "$WORK/tree/size" "$WORK/back/moved"
must aws s3 rm s3://bucket/cp --recursive
expect_kept cp/ 0
expect_kept moved/ 0
ok "$version: sync --delete both ways, mv (copies in parts, too), rm --recursive"

declare -A option=([CRC32]=--checksum-crc32 [CRC32C]=--checksum-crc32-c [CRC64NVME]=--checksum-crc64-nvme
    [SHA1]=--checksum-sha1 [SHA256]=--checksum-sha256)
for algorithm in CRC32 CRC32C CRC64NVME SHA1 SHA256; do
    must aws s3 cp tree/size/20000001 "s3://bucket/sums/$algorithm" --checksum-algorithm "$algorithm"
    must aws s3 cp "s3://bucket/sums/$algorithm" "back/$algorithm" --checksum-mode ENABLED
    cmp "$WORK/tree/size/20000001" "$WORK/back/$algorithm" || fail "$algorithm: another file comes back"
    must aws s3api head-object --bucket bucket --key "sums/$algorithm" --checksum-mode ENABLED
    [ -n "$(field "Checksum$algorithm")" ] || fail "$algorithm is not kept: $(cat "$WORK/said")"
    type=COMPOSITE
    [ "$algorithm" != CRC64NVME ] || type=FULL_OBJECT
    expect_eq "$algorithm" "$(field ChecksumType)" "$type"
    must aws s3api put-object --bucket bucket --key small --body tree/size/65536 --checksum-algorithm "$algorithm"
    sum=$(field "Checksum$algorithm")
    must aws s3api get-object --bucket bucket --key small --checksum-mode ENABLED back/small
    cmp "$WORK/tree/size/65536" "$WORK/back/small" || fail "$algorithm: another object comes back"
    expect_eq "$algorithm of what comes back" "$(field "Checksum$algorithm")" "$sum"
    must_not '*BadDigest*' aws s3api put-object --bucket bucket --key wrong --body tree/new "${option[$algorithm]}" "$sum"
done
must_not '*404*' aws s3api head-object --bucket bucket --key wrong
ok "$version: each algorithm in one and in many parts; a wrong checksum is BadDigest and nothing is stored"

must aws s3api put-object --bucket bucket --key single --body tree/new --if-none-match '*'
must_not '*PreconditionFailed*' aws s3api put-object --bucket bucket --key single --body tree/size/1 --if-none-match '*'
url=$(aws s3 presign s3://bucket/single --expires-in 60)
curl -sS "$url" | cmp - "$WORK/tree/new" || fail "a presigned URL"
must_not '*AccessDenied*' in13 env AWS_ACCESS_KEY_ID=READER AWS_SECRET_ACCESS_KEY=readersecret \
    aws --endpoint-url "$SERVER_URL" s3 cp tree/new s3://bucket/reader
must_not '*SignatureDoesNotMatch*' in13 env AWS_SECRET_ACCESS_KEY=wrong aws --endpoint-url "$SERVER_URL" s3 ls s3://bucket
must aws s3 rm s3://bucket --recursive
expect_kept '' 0
ok "$version: conditional writes, presigned URLs, a reader and a wrong password refused"

# ---- restic ----

restic()
{
    in13 env RESTIC_PASSWORD=secret RESTIC_CACHE_DIR=/mnt/cache restic -r "s3:$SERVER_URL/bucket/restic" "$@"
}

snapshots()
{
    restic snapshots --json | grep -o '"short_id"' | wc -l
}

must_not '*' in13 env RESTIC_PASSWORD=secret AWS_SECRET_ACCESS_KEY=wrong restic -r "s3:$SERVER_URL/bucket/restic" init
must restic init
must restic backup tree
cp "$WORK/tree/size/20000001" "$WORK/tree/second"
must restic backup tree
must restic check --read-data
must restic restore latest --target restored
expect_files "$WORK/tree" "$WORK/restored/tree"
expect_eq "snapshots" "$(snapshots)" 2
must restic forget --keep-last 1 --prune
expect_eq "snapshots" "$(snapshots)" 1
must restic check --read-data
rm -r "$WORK/restored" "$WORK/cache"
must restic restore latest --target restored
expect_files "$WORK/tree" "$WORK/restored/tree"
version=$(in13 restic version | cut -d ' ' -f 2)
client restic "$version"
ok "restic $version: init, backup, check --read-data, restore, forget --prune"

stop_server
expect_eq "exit code" "$STATUS" 0
must "$ZKV_BIN/tools/zipkvverify" -dir "$STORE"
ok "zipkvverify finds nothing wrong with what they left"

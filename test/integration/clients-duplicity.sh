#!/usr/bin/env bash
# Exercises: Debian's duplicity with passwords. By boto3: a full backup of a tree of odd names in volumes of
# 8 MiB, sent in parts, increments, verify, a restore with nothing cached, of now and of the time before,
# list-current-files, removal of what is old. By boto, which signs with version 2: a backup, and verify.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/../support/clients.sh"
client duplicity "$(duplicity --version | cut -d ' ' -f 2)"
export TMPDIR=$WORK

# duplicity's own words are many; retries would hide what goes wrong.
backup()
{
    must run_duplicity "$@"
}

run_duplicity()
{
    duplicity "$@" --no-encryption --num-retries 1 --archive-dir "$WORK/archive" --s3-endpoint-url "$SERVER_URL"
}

new_store duplicity
start_signed "$STORE" -bs 4000000
url=boto3+s3://bucket/backups/nas
make_tree -bytes "$WORK/src" 0 1 5242880 12000000
AWS_SECRET_ACCESS_KEY=wrong must_not '*(403)*HeadBucket*' run_duplicity full "$WORK/src" "$url"
AWS_ACCESS_KEY_ID=READER AWS_SECRET_ACCESS_KEY=readersecret must_not '*AccessDenied*' \
    run_duplicity full "$WORK/src" "$url"
expect_kept "" 0
expect_refusals "HEAD bucket 403
PUT object 403"
rm -rf "$WORK/archive"
ok "duplicity: a wrong secret and a reader who writes are told so"

backup full --volsize 8 --s3-multipart-chunk-size 5 "$WORK/src" "$url"
grep -q 'PUT "/bucket/backups/nas/.*partNumber=2' "$SERVER_LOG" || fail "no volume was sent in parts"
backup verify --compare-data "$url" "$WORK/src"
cp -r "$WORK/src" "$WORK/before"
first=$(date +%s)
sleep 2
printf 'more' >>"$WORK/src/size/12000000"
rm "$WORK/src/plain"
mkdir "$WORK/src/new folder"
head -c 7000000 "$WORK/src/size/12000000" >"$WORK/src/new folder/ü +%41"
backup incremental "$WORK/src" "$url"
rm -rf "$WORK/archive"
backup verify --compare-data "$url" "$WORK/src"
backup restore "$url" "$WORK/now"
expect_files "$WORK/src" "$WORK/now"
backup restore --time "$first" "$url" "$WORK/then"
expect_files "$WORK/before" "$WORK/then"
backup list-current-files "$url"
expect_match "list-current-files" "$(cat "$WORK/said")" "*new folder/ü +%41*"
ok "duplicity full, incremental, verify, restore of now and of before with nothing cached"

backup full "$WORK/src" "$url"
backup remove-all-but-n-full 1 --force "$url"
backup collection-status "$url"
expect_match "collection-status" "$(cat "$WORK/said")" "*Found 0 secondary backup chains*"
backup verify --compare-data "$url" "$WORK/src"
expect_refusals ""
ok "duplicity remove-all-but-n-full, collection-status"

# There is no boto any more in Debian 13.
if is_debian12; then
    url=s3://$SERVER_ADDR/bucket/boto
    rm -rf "$WORK/archive"
    AWS_SECRET_ACCESS_KEY=wrong must_not '*403 Forbidden*' run_duplicity full --s3-unencrypted-connection "$WORK/src" "$url"
    backup full --s3-unencrypted-connection "$WORK/src" "$url"
    backup verify --compare-data --s3-unencrypted-connection "$url" "$WORK/src"
    expect_refusals "HEAD bucket 403
PUT bucket 403"
    ok "duplicity by boto, with signatures of version 2"
fi
stop_server
expect_eq "exit code" "$STATUS" 0

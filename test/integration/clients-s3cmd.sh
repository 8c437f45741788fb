#!/usr/bin/env bash
# Exercises: Debian's s3cmd with passwords, signatures of version 4 and 2: sync of a tree of odd names both
# ways, objects in parts (5 MiB), one that is continued, copies, moves, headers, info, links, DeleteObjects
# by del --recursive; what the server does not offer is said so and changes nothing.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/../support/clients.sh"
client s3cmd "$(s3cmd --version | cut -d ' ' -f 3)"

# configure SECRET [LINE..]; verbatim: names go out as they are.
configure()
{
    local secret=$1
    shift
    printf '%s\n' '[default]' "host_base = $SERVER_ADDR" "host_bucket = $SERVER_ADDR" 'use_https = False' \
        'access_key = ADMIN' "secret_key = $secret" 'multipart_chunk_size_mb = 5' 'urlencoding_mode = verbatim' \
        'progress_meter = False' "$@" >"$HOME/.s3cfg"
}

new_store s3cmd
start_signed "$STORE" -bs 4000000
# Of names with control characters s3cmd cuts line feeds off and takes others for white space.
make_tree -xml -line "$WORK/src" 0 1 5242879 5242880 5242881 12000000

round_trip()
{
    configure wrong "signature_v2 = $1"
    must_not '*SignatureDoesNotMatch*' s3cmd ls s3://bucket
    expect_refusals "$2"
    configure adminsecret "signature_v2 = $1"
    must s3cmd sync "$WORK/src/" s3://bucket/tree/
    expect_stored tree/ "$WORK/src"
    must s3cmd sync "$WORK/src/" s3://bucket/tree/
    expect_eq "a second sync" "$(grep -c '^upload' "$WORK/said")" 0
    rm -rf "$WORK/back"
    must s3cmd sync s3://bucket/tree/ "$WORK/back/"
    expect_files "$WORK/src" "$WORK/back"
    expect_match "du" "$(s3cmd du s3://bucket/tree/)" "* $n_stored objects *"
    must s3cmd cp --recursive s3://bucket/tree/ s3://bucket/copy/
    must s3cmd mv --recursive s3://bucket/copy/ s3://bucket/gone/
    expect_stored gone/ "$WORK/src"
    expect_kept copy/ 0
    must s3cmd del --recursive --force s3://bucket/gone/
    expect_kept gone/ 0
    expect_refusals ""
}

single()
{
    local object="s3://bucket/a+b %41 ü" link
    must s3cmd put "$WORK/src/size/12000000" "$object" --add-header=Cache-Control:no-store --mime-type=image/x
    must s3cmd modify --add-header=Content-Disposition:attachment --mime-type=text/x "$object"
    must s3cmd get --force "$object" "$WORK/out"
    cmp "$WORK/src/size/12000000" "$WORK/out" || fail "an object whose headers were modified"
    must s3cmd info "$object"
    expect_match "info" "$(cat "$WORK/said")" "*File size: 12000000*MIME type: text/x*x-amz-meta-s3cmd-attrs:*"
    head -c 7000000 "$WORK/src/size/12000000" >"$WORK/out"
    must s3cmd get --continue "$object" "$WORK/out"
    cmp "$WORK/src/size/12000000" "$WORK/out" || fail "get --continue"
    link=$(s3cmd signurl "$object" +60) || fail "signurl"
    curl -sSf "$link" | cmp - "$WORK/src/size/12000000" || fail "what is behind the link"
    expect_eq "a link that was changed" "$(http "${link/a%2Bb/a%2Bc}")" 403
    must s3cmd mb s3://bucket
    must s3cmd ls
    expect_match "ls" "$(cat "$WORK/said")" "* s3://bucket"
    expect_refusals "GET bucket?cors 404
GET bucket?policy 404
GET object 403"
}

# What a killed upload left is continued, and nothing is sent twice.
continued()
{
    local object=s3://bucket/continued upload
    configure adminsecret "signature_v2 = $1" 'limitrate = 4m'
    s3cmd put "$WORK/src/size/12000000" "$object" >"$WORK/said" 2>&1 &
    local sender=$!
    wait_for 30 part_is_there || fail "no part is uploaded"
    kill -9 "$sender"
    wait "$sender" 2>/dev/null
    configure adminsecret "signature_v2 = $1"
    must s3cmd multipart s3://bucket
    upload=$(sed -n 's/.*s3:\/\/bucket\/continued\t//p' "$WORK/said")
    must s3cmd listmp "$object" "$upload"
    expect_match "listmp" "$(cat "$WORK/said")" "*5242880*"
    must s3cmd put --continue-put "--upload-id=$upload" "$WORK/src/size/12000000" "$object"
    expect_match "put --continue-put" "$(cat "$WORK/said")" "*part 1, skipping*"
    s3cmd get "$object" - | cmp - "$WORK/src/size/12000000" || fail "an upload that was continued"
    must s3cmd del "$object"
}

part_is_there()
{
    tail -n "+$n_seen" "$SERVER_LOG" | grep -q 'PUT "/bucket/continued?partNumber=2&.*" 200 '
}

buckets()
{
    must s3cmd mb s3://another
    must s3cmd cp s3://bucket/tree/size/12000000 "s3://another/a+b %41"
    s3cmd get "s3://another/a+b %41" - | cmp - "$WORK/src/size/12000000" || fail "a copy in another bucket"
    must_not '*BucketNotEmpty*' s3cmd rb s3://another
    must s3cmd rb --recursive --force s3://another
    expect_eq "buckets" "$(s3cmd ls | sed 's/.* //')" "s3://bucket"
    ok "s3cmd: mb, a copy between buckets, rb, rb --recursive"
}

not_offered()
{
    local arguments
    printf '{}' >"$WORK/policy"
    for arguments in "setacl --acl-public s3://bucket/tree/plain" "setacl --acl-grant=read:x s3://bucket/tree/plain" \
        "setpolicy $WORK/policy s3://bucket" "delpolicy s3://bucket" "setlifecycle $WORK/policy s3://bucket" \
        "expire --expiry-days=1 s3://bucket" "setcors $WORK/policy s3://bucket" "ws-create s3://bucket" \
        "accesslog s3://bucket"; do
        # shellcheck disable=SC2086 # words
        must_not '*501 (NotImplemented)*' s3cmd $arguments
    done
    must s3cmd setacl --acl-private s3://bucket/tree/plain
    must s3cmd info s3://bucket
    must s3cmd del --recursive --force s3://bucket/size
    expect_stored tree/ "$WORK/src"
}

round_trip False "GET bucket 403
GET bucket?location 403"
single
ok "s3cmd: $n_stored files of odd names, parts, headers, copies, moves, links, deletes"
continued False
ok "s3cmd: an upload that was killed is listed and continued"
buckets
not_offered
ok "s3cmd: access lists, policies and the like are refused and change nothing"
expect_refusals "DELETE bucket 409
DELETE bucket?policy 501
GET bucket?cors 404
GET bucket?lifecycle 404
GET bucket?location 404
GET bucket?logging 501
GET bucket?policy 404
GET bucket?requestPayment 501
PUT bucket?cors 501
PUT bucket?lifecycle 501
PUT bucket?policy 501
PUT bucket?website 501
PUT object?acl 501"
must s3cmd del --recursive --force s3://bucket/
round_trip True "GET bucket 403"
single
ok "s3cmd, signatures of version 2: the same"
stop_server
expect_eq "exit code" "$STATUS" 0

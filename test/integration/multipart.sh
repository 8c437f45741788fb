#!/usr/bin/env bash
# Exercises: multipart uploads. boto3 sends, reads, copies, lists and gives up objects in parts, in
# small blocks; all of it is there after kill -9, after the look-up index is deleted, and in a
# history made anew from the blocks; the history shows objects and no parts; zipkvverify finds
# nothing wrong, and zipkvrebase carries the objects over with their parts. Uploads that nobody ends are
# listed for seven days by the wall clock, and then given up for good: at a start, or when the next one
# begins; objects and history stay as they are.
. "$(dirname "$0")/lib.sh"
tools=$ZKV_BIN/tools

# Names, sizes and ETags.
objects()
{
    curl -sS "$SERVER_BUCKET?list-type=2" | grep -o '<Key>[^<]*\|<ETag>[^<]*\|<Size>[^<]*'
}

# What is there, with the uploads under way.
listing()
{
    objects
    curl -sS "$SERVER_BUCKET?uploads" | grep -o '<Key>[^<]*</Key><UploadId>[^<]*'
}

bodies()
{
    local name
    for name in copy whole hand; do
        curl -sS "$SERVER_BUCKET/$name" | md5sum
    done
}

new_store parts
start_server "$STORE" -bs 4000000
/usr/bin/python3 "$ROOT/test/support/boto.py" "$SERVER_ADDR" leave >"$WORK/out" 2>&1 || {
    cat "$WORK/out" >&2
    fail "boto.py"
}
ok "$(tail -n 1 "$WORK/out")"
wanted=$(listing) names=$(objects) md5s=$(bodies)
expect_eq "names and uploads" "$(grep -c "^<Key>" <<<"$wanted")" 4
kill_server
start_server "$STORE" -bs 4000000
expect_eq "after kill -9" "$(listing)" "$wanted"
stop_server
rm "$STORE"/index.sqlite*
start_server "$STORE"
expect_eq "after a deleted index" "$(listing)" "$wanted"
expect_eq "bodies" "$(bodies)" "$md5s"
stop_server
ok "objects in parts and uploads under way survive kill -9 and a deleted index"

"$tools/zipkvhistory" -dir "$STORE" >"$WORK/history"
expect_eq "operations" "$(cut -f 2 "$WORK/history" | sort | uniq -c | tr -s ' \n' ' ')" " 1 delete 1 operation 4 put "
"$tools/zipkvverify" -dir "$STORE" >"$WORK/out" || fail "zipkvverify: $(cat "$WORK/out")"
"$tools/zipkvverify" -dir "$STORE" -rebuild >"$WORK/out" || fail "-rebuild: $(cat "$WORK/out")"
"$tools/zipkvhistory" -dir "$STORE" | cmp - "$WORK/history" || fail "another history"
start_server "$STORE"
expect_eq "after a rebuild" "$(listing)" "$wanted"
stop_server
ok "the history has the objects and none of the parts, and can be made anew from the blocks"

"$tools/zipkvrebase" -from "$STORE" -to "$WORK/rebased" >"$WORK/out" || fail "zipkvrebase: $(cat "$WORK/out")"
start_server "$WORK/rebased"
expect_eq "objects" "$(listing)" "$names"
expect_eq "bodies" "$(bodies)" "$md5s"
expect_eq "second part" "$(http "$SERVER_BUCKET/whole?partNumber=2")" 206
stop_server
"$tools/zipkvverify" -dir "$WORK/rebased" >"$WORK/out" || fail "zipkvverify: $(cat "$WORK/out")"
ok "zipkvrebase carries objects over with their parts"

# at_time OFFSET: the server on $STORE, its wall clock that much ahead, and later as $WORK/clock says. To be
# stopped in order: killed, it leaves faketime's shared memory behind.
at_time()
{
    echo "$1" >"$WORK/clock"
    SERVER_WRAP="env LD_PRELOAD=$(dpkg -L libfaketime | grep MT) FAKETIME_TIMESTAMP_FILE=$WORK/clock
        FAKETIME_NO_CACHE=1 DONT_FAKE_MONOTONIC=1"
    start_server "$STORE"
    SERVER_WRAP=
}

listed()
{
    [ "$(listing)" = "$1" ]
}

# begin KEY: its upload's id.
begin()
{
    curl -sS -X POST "$SERVER_BUCKET/$1?uploads" | grep -o '<UploadId>[^<]*' | cut -d '>' -f 2
}

[ "$wanted" != "$names" ] || fail "no upload is under way"
at_time +167h
expect_eq "uploads after seven days but an hour" "$(listing)" "$wanted"
upload=$(begin late)
expect_eq "a part of another" "$(http -T "$WORK/out" "$SERVER_BUCKET/late?partNumber=1&uploadId=$upload")" 200
stop_server
at_time +169h
wait_for 10 listed "$names
<Key>late</Key><UploadId>$upload" || fail "uploads after seven days and an hour: $(listing)"
echo +337h >"$WORK/clock"
last=$(begin last)
wait_for 10 listed "$names
<Key>last</Key><UploadId>$last" || fail "uploads when the next one begins: $(listing)"
expect_eq "a part of what was given up" \
    "$(http -T "$WORK/out" "$SERVER_BUCKET/late?partNumber=2&uploadId=$upload")" 404
stop_server
start_server "$STORE"
expect_eq "uploads when the clock is back" "$(listing)" "$names
<Key>last</Key><UploadId>$last"
expect_eq "bodies" "$(bodies)" "$md5s"
stop_server
"$tools/zipkvhistory" -dir "$STORE" | cmp - "$WORK/history" || fail "another history"
"$tools/zipkvverify" -dir "$STORE" >"$WORK/out" || fail "zipkvverify: $(cat "$WORK/out")"
ok "uploads that nobody ends are given up after seven days, for good"

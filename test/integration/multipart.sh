#!/usr/bin/env bash
# Exercises: multipart uploads. boto3 sends, reads, copies, lists and gives up objects in parts, in
# small blocks; all of it is there after kill -9, after the look-up index is deleted, and in a
# history made anew from the blocks; the history shows objects and no parts; zipkvverify finds
# nothing wrong, and zipkvrebase carries the objects over with their parts.
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

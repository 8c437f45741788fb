#!/usr/bin/env bash
# exercises: an object with a wrong byte, over HTTP: the transfer is cut before the bad piece, then
# 404 NoSuchKey that names zipkvverify, not in LIST; others untouched; zipkvverify names it, beside
# a server and alone, and what to put back; right again after that, by a start and by zipkvverify.
# zipkvverify -rate, killed, goes on with -resume; refuses another store's file. -rebuild: the same
# history and names. A damaged index: the server stops, the next start makes it anew.
. "$(dirname "$0")/lib.sh"

verify()
{
    OUT=$("$ZKV_BIN/tools/zipkvverify" -dir "$STORE" "$@" 2>&1 </dev/null)
    STATUS=$?
}

names()
{
    curl -sS "$SERVER_BUCKET/?list-type=2" | grep -o '<Key>[^<]*' | cut -c 6- | paste -sd ' '
}

damage()
{
    python3 "$ROOT/test/support/damage.py" "$STORE" "$1" || fail "cannot damage $1"
}

# put_back: the blocks as they were when kept.
put_back()
{
    chmod u+w "$STORE"/block*
    cp "$WORK/kept"/block* "$STORE"/ || fail "cannot put the blocks back"
}

new_store store
start_server "$STORE"
random_file "$WORK/big" 300000
random_file "$WORK/small" 500
random_file "$WORK/other" 70000
for name in big small other; do
    put "$name" "$WORK/$name"
done
expect_eq "copy" "$(http -X PUT -H 'x-amz-copy-source: /bucket/big' "$SERVER_BUCKET/twin")" 200
stop_server
cp -r "$STORE" "$WORK/kept"

# As it shows to clients.
damage big
damage small
start_server "$STORE"
expect_eq "names before anything was read" "$(names)" "big other small twin"
curl -sS -o "$WORK/got" "$SERVER_BUCKET/big" 2>/dev/null && fail "a damaged object came to its end"
expect_eq "bytes before the damaged piece" "$(cmp -n "$(stat -c %s "$WORK/got")" "$WORK/got" "$WORK/big" && echo same)" same
[ "$(stat -c %s "$WORK/got")" -lt 200000 ] || fail "bytes behind the damage were sent"
code=$(curl -sS -o "$WORK/got" -w '%{http_code}' "$SERVER_BUCKET/small")
expect_eq "status of a small damaged object" "$code" 404
expect_match "its body" "$(cat "$WORK/got")" "*<Code>NoSuchKey</Code>*damaged*zipkvverify*"
for key in big twin small; do
    expect_eq "GET $key" "$(http "$SERVER_BUCKET/$key")" 404
    expect_eq "HEAD $key" "$(http -I "$SERVER_BUCKET/$key")" 404
    expect_eq "Range of $key" "$(http -r 0-9 "$SERVER_BUCKET/$key")" 404
done
expect_eq "names that are left" "$(names)" other
get other "$WORK/got"
cmp "$WORK/got" "$WORK/other" || fail "an object beside it"
expect_eq "lines about it" "$(grep -c 'is damaged' "$SERVER_LOG")" 2
ok "cut before the bad piece, then 404 that names zipkvverify; others as before"

verify
expect_eq "exit code beside a server" "$STATUS" 1
for key in big twin small; do
    expect_match "what it says" "$OUT" "*damaged: \"$key\": a piece of its body does not match*"
done
expect_match "what to do" "$OUT" "*Put these back*block0000000000*any copy of it will do*"
stop_server
verify
expect_eq "exit code alone" "$STATUS" 1
expect_match "its last words" "$OUT" "*DAMAGE: 3 objects*"
ok "zipkvverify names the objects and the block to put back"

put_back
start_server "$STORE"
expect_eq "names after a start" "$(names)" "big other small twin"
for name in big small other; do
    get "$name" "$WORK/got"
    cmp "$WORK/got" "$WORK/$name" || fail "$name after it was put back"
done
stop_server
damage big
verify
expect_match "marks" "$OUT" "*2 objects were marked damaged*"
put_back
verify
expect_eq "exit code after the repair" "$STATUS" 0
expect_match "marks" "$OUT" "*2 objects are right again*no damage found*"
ok "back from a copy: right again after a start, or after zipkvverify"

# One that is cut off goes on.
new_store many
start_server "$STORE" -bs 65536
for n in $(seq 1 40); do
    put "n$n" "$WORK/other"
done
stop_server
"$ZKV_BIN/tools/zipkvverify" -dir "$STORE" -rate 500K -resume "$WORK/done" >/dev/null 2>&1 &
verifying=$!
wait_for 30 grep -qs '^blocks' "$WORK/done" || fail "-resume: nothing is noted"
kill -9 "$verifying"
wait "$verifying" 2>/dev/null
(STORE=$WORK/store && verify -resume "$WORK/done" && [ "$STATUS" = 3 ]) || fail "-resume: another store's file was taken"
verify -resume "$WORK/done"
expect_eq "exit code" "$STATUS" 0
expect_match "what was skipped" "$OUT" "*of the blocks were checked by the run that this one goes on with*"
[ ! -e "$WORK/done" ] || fail "-resume: the file is left"
verify -rate 10
expect_eq "exit code of a senseless rate" "$STATUS" 2
ok "zipkvverify -rate -resume: killed, goes on where it was"

# A history made anew is the same.
"$ZKV_BIN/tools/zipkvhistory" -dir "$STORE" >"$WORK/before"
start_server "$STORE" -bs 65536
for n in 3 5 8; do
    delete "n$n"
    put "n$((n + 20))" "$WORK/small"
done
printf '<Delete><Object><Key>n1</Key></Object><Object><Key>n2</Key></Object><Object><Key>n9</Key></Object></Delete>' >"$WORK/xml"
expect_eq "multi-delete" "$(http -X POST -H "Content-MD5: $(openssl md5 -binary "$WORK/xml" | base64)" --data-binary @"$WORK/xml" "$SERVER_BUCKET/?delete")" 200
put n2 "$WORK/small"
before=$(names)
stop_server
"$ZKV_BIN/tools/zipkvhistory" -dir "$STORE" >"$WORK/before"
for what in nothing middle all; do
    db=$(ls "$STORE"/db*)
    [ $what != middle ] || printf 'rotten' | dd of="$db" bs=1 seek=400 conv=notrunc status=none
    [ $what != all ] || rm "$db"
    verify -rebuild
    expect_eq "exit code of -rebuild, damaged: $what" "$STATUS" 0
    "$ZKV_BIN/tools/zipkvhistory" -dir "$STORE" >"$WORK/after"
    cmp "$WORK/before" "$WORK/after" || fail "the history after -rebuild, damaged: $what"
    verify
    expect_eq "exit code of the check after it ($OUT)" "$STATUS" 0
    start_server "$STORE" -bs 65536
    expect_eq "names after -rebuild, damaged: $what" "$(names)" "$before"
    stop_server
done
ok "-rebuild: the same history and names, with deletes, overwrites, multi-delete"

# The look-up index is a cache.
start_server "$STORE"
stop_server
for page in 2 3 4; do
    printf 'rotten' | dd of="$STORE/index.sqlite" bs=1 seek=$((page * 4096 + 4000)) conv=notrunc status=none
done
start_server "$STORE"
code=$(http "$SERVER_BUCKET/?list-type=2")
if [ "$code" = 500 ]; then
    wait_server
    [ "$STATUS" != 0 ] || fail "a server with a damaged index ends with 0"
    grep -q 'index.*is damaged' "$SERVER_LOG" || fail "it does not say why"
    start_server "$STORE"
fi
expect_eq "names with the index made anew" "$(names)" "$before"
stop_server
expect_eq "exit code" "$STATUS" 0
ok "a damaged index is given up and made anew"

#!/bin/bash
# exercises: many buckets: boto3 (making, listing, deleting, copies compared byte for byte), the tools on
# a bucket's folder, buckets that cannot be opened (a tool has the lock, damage, too slow) or die while
# they are used, each without harm to the others; starts that must fail; -index; memory of a hundred; kill -9
# while clients make and delete buckets and write to them.
#
#   buckets.sh [CYCLES [SEED]]   kills (5)
. "$(dirname "$0")/lib.sh"
export PYTHONPATH=$ROOT/test/support

run_python()
{
    /usr/bin/python3 "$ROOT/test/support/buckets.py" "$@" || fail "buckets.py $1: see above"
}

tool()
{
    "$ZKV_BIN/tools/$1" "${@:2}" >"$WORK/tool" 2>&1 || fail "$*: $(cat "$WORK/tool")"
}

new_store many
start_server "$STORE"
run_python boto "$SERVER_ADDR"
random_file "$WORK/body" 3000000
expect_eq "a PUT" "$(http -T "$WORK/body" "$SERVER_URL/photos/big")" 200
stop_server
expect_eq "exit code" "$STATUS" 0
expect_match "its last words" "$(cat "$SERVER_LOG")" "*this session: * PUT, * COPY*stopped: * (of all buckets that were used)*"

# ---- the tools ----

others=$STORE/buckets
for folder in "$STORE" "$others"/photos "$others"/.deleted-to-go-*; do
    tool zipkvverify -dir "$folder"
    tool zipkvhistory -dir "$folder"
done
tool zipkvhistory -dir "$others/photos"
expect_match "the bucket's history" "$(cat "$WORK/tool")" $'rev\toperation\tfilename*put\tsmall*put\tbig'
before=$(cd "$others" && find . -type f ! -name 'index.sqlite*' ! -name lock -print0 | sort -z | xargs -0 sha256sum)
mkdir "$WORK/rebased"
tool zipkvrebase -from "$STORE" -to "$WORK/rebased"
tool zipkvverify -dir "$STORE"
[ ! -e "$WORK/rebased/buckets" ] || fail "zipkvrebase of the directory copies other buckets"
expect_eq "the other buckets after tools on the directory" \
    "$(cd "$others" && find . -type f ! -name 'index.sqlite*' ! -name lock -print0 | sort -z | xargs -0 sha256sum)" "$before"
mkdir "$others/rebased"
tool zipkvrebase -from "$others/photos" -to "$others/rebased"
start_server "$STORE"
expect_match "the start message" "$(cat "$SERVER_LOG")" "*4 further buckets in $STORE/buckets*"
curl -sS "$SERVER_URL/rebased/big" | cmp - "$WORK/body" || fail "the rebased bucket has other bytes"
curl -sS "$SERVER_URL/photos/big" | cmp - "$WORK/body" || fail "the bucket has other bytes"
ok "the tools take a bucket's folder, and leave it alone when they are given the directory"

# ---- buckets that cannot be opened ----

# status_of URL-PATH: "status code" of a GET
status_of()
{
    local status
    status=$(curl -sS -o "$WORK/answer" -D "$WORK/head" -w '%{http_code}' --max-time 60 "$SERVER_URL$1")
    echo "$status $(sed -n 's:.*<Code>\(.*\)</Code>.*:\1:p' "$WORK/answer")"
}

put home "$WORK/body"
for name in locked damaged newer slow dying; do
    expect_eq "making $name" "$(http -X PUT "$SERVER_URL/$name")" 200
    expect_eq "a PUT into $name" "$(http -T "$WORK/body" "$SERVER_URL/$name/key")" 200
done
stop_server
exec {lock}>>"$others/locked/lock"
flock -x $lock
printf 'a test' >"$others/locked/lock"
mv "$others/damaged/db0000000000" "$WORK/db"
head -c 400 /dev/urandom >"$others/damaged/db0000000000"
python3 - "$others/newer/db0000000000" <<'END'
import gzip, sys
# A member whose message has features (field 16) that nobody knows.
with open(sys.argv[1], "ab") as db:
    db.write(gzip.compress(b"\x80\x01\xff\xff\xff\xff\x0f"))
END
start_server "$STORE"
expect_eq "a bucket whose lock is taken" "$(status_of /locked/key)" "503 SlowDown"
expect_match "its head" "$(cat "$WORK/head")" "*Retry-After: 5*"
expect_match "its message" "$(cat "$WORK/answer")" "*in use by another program*"
expect_eq "a damaged bucket" "$(status_of /damaged/key)" "500 InternalError"
expect_eq "a bucket of a newer version" "$(status_of /newer/key)" "500 InternalError"
grep -q 'error: bucket newer: cannot be opened: .*newer version' "$SERVER_LOG" || fail "nothing is said of the version"
expect_eq "a copy from the damaged one" "$(http -X PUT -H 'x-amz-copy-source: /damaged/key' "$SERVER_BUCKET/copy")" 500
expect_eq "deleting it" "$(http -X DELETE "$SERVER_URL/damaged")" 500
expect_eq "it is there" "$(http -I "$SERVER_URL/damaged")" 200
expect_eq "another bucket" "$(status_of /photos/big)" "200 "
expect_eq "the directory's own" "$(status_of /bucket/home)" "200 "
for i in 1 2 3; do
    status_of /locked/key >/dev/null
done
expect_eq "times the log says so" "$(grep -c 'error: bucket locked: cannot be opened: .*in use by a test' "$SERVER_LOG")" 1
grep -q 'error: bucket damaged: cannot be opened: ' "$SERVER_LOG" || fail "nothing is said of the damage"
flock -u $lock
exec {lock}>&-
mv "$WORK/db" "$others/damaged/db0000000000"
is_back()
{
    [ "$(status_of "/$1/key")" = "200 " ]
}
for name in locked damaged; do
    wait_for 20 is_back $name || fail "$name does not come back"
    cmp "$WORK/answer" "$WORK/body" || fail "$name has other bytes"
done
grep -q 'bucket locked: can be used again' "$SERVER_LOG" || fail "nothing is said of its return"
ok "a bucket whose lock is taken, or that is damaged, is refused; the others go on; it comes back"

# ---- one that opens slowly, one that dies ----

strace_server()
{
    strace -qq -f -o "$WORK/strace" "$@" -p "$SERVER_PID" 2>"$WORK/strace.err" &
    TRACER=$!
    wait_for 10 grep -q 'TracerPid:[[:space:]]*[1-9]' "/proc/$SERVER_PID/status" ||
        fail "strace is not there: $(cat "$WORK/strace.err")"
}

strace_off()
{
    kill -INT "$TRACER"
    wait "$TRACER"
}

strace_server -e trace=fdatasync,pread64,preadv2 -e inject=fdatasync,pread64,preadv2:delay_enter=3000000 \
    -P "$others/slow/db0000000000"
began=$SECONDS
status_of /slow/key >"$WORK/slow" &
waiting=$!
meanwhile=0
while kill -0 $waiting 2>/dev/null; do
    expect_eq "another bucket meanwhile" "$(http "$SERVER_URL/photos/small")" 200
    expect_eq "a PUT meanwhile" "$(http -T "$WORK/body" "$SERVER_BUCKET/meanwhile")" 200
    meanwhile=$((meanwhile + 1))
done
wait $waiting
waited=$((SECONDS - began))
expect_eq "who waits for a bucket that opens slowly" "$(cat "$WORK/slow")" "503 SlowDown"
[ "$meanwhile" -ge 3 ] || fail "the others had to wait too"
[ "$waited" -le 20 ] || fail "who wants the slow one waits for $waited s"
strace_off
wait_for 60 is_back slow || fail "the slow one does not come back"
ok "while a bucket takes long to open the others go on, and who wants it hears so in time"

wait_for 20 is_back dying || fail "dying is not there"
strace_server -e trace=pwrite64 -e inject=pwrite64:error=EIO -P "$others/dying/index.sqlite-wal" \
    -P "$others/dying/index.sqlite"
out_of_service()
{
    http --max-time 5 -T "$WORK/head" "$SERVER_URL/dying/more" >/dev/null 2>&1
    grep -q 'error: bucket dying: out of service: .*cannot be written' "$SERVER_LOG"
}
wait_for 60 out_of_service || fail "nothing is said of the bucket that died"
strace_off
expect_eq "the directory's own" "$(status_of /bucket/home)" "200 "
wait_for 20 is_back dying || fail "the bucket that died does not come back"
cmp "$WORK/answer" "$WORK/body" || fail "the bucket that died has other bytes"
expect_eq "a PUT into it" "$(http -T "$WORK/body" "$SERVER_URL/dying/again")" 200
stop_server
expect_eq "exit code of a session with a bucket that died" "$STATUS" 1
tool zipkvverify -dir "$others/dying"
ok "a bucket that cannot go on ends alone and is recovered at its next use"

# ---- starts ----

run_server -dir "$STORE" -addr 127.0.0.1:0 -bucket photos
expect_eq "exit code" "$STATUS" 1
expect_match "words" "$OUT" "*photos is the name of $STORE itself*$STORE/buckets/photos*another -bucket*"
mkdir "$WORK/ssd"
start_server "$STORE" -index "$WORK/ssd/index"
expect_eq "a GET" "$(status_of /photos/big)" "200 "
expect_eq "making one" "$(http -X PUT "$SERVER_URL/brief")" 200
expect_eq "its first use" "$(status_of /brief/x)" "404 NoSuchKey"
[ -s "$WORK/ssd/index.photos.sqlite" ] && [ -e "$WORK/ssd/index.brief.sqlite" ] || fail "the indexes are not with -index"
expect_eq "deleting it" "$(http -X DELETE "$SERVER_URL/brief")" 204
[ ! -e "$WORK/ssd/index.brief.sqlite" ] || fail "the index of a deleted bucket is left"
stop_server
expect_eq "exit code" "$STATUS" 0
ok "-bucket must not be a folder's name; -index has the other buckets' beside it"

# ---- memory, kill -9 ----

new_store memory
start_server "$STORE"
run_python memory "$SERVER_ADDR" "$SERVER_PID" 24 # of the 32 that are open
stop_server
expect_eq "exit code" "$STATUS" 0

mkdir "$WORK/torture"
run_python torture "$SERVER" "$WORK/torture" "${1:-5}" ${2:+"$2"}
ok "kill -9 while buckets are made and deleted and written to"

#!/bin/bash
# exercises: what the server cannot go on from, on the real binary, with system calls that strace
# makes fail: it answers 500 or 503, says why, stops by itself with exit code 1, and the next start
# has everything that was acknowledged and nothing that was not. Sync failures for good, in a
# session of -sync block, and at the stop alone; an index that cannot be written.
. "$(dirname "$0")/lib.sh"
random_file "$WORK/body" 100000

# break_calls INJECTION...: from now on, in the running server.
break_calls()
{
    strace -qq -f -o "$WORK/strace" "$@" -p "$SERVER_PID" 2>"$WORK/strace.err" &
    TRACER=$!
    wait_for 10 grep -q 'TracerPid:[[:space:]]*[1-9]' "/proc/$SERVER_PID/status" || {
        cat "$WORK/strace.err" >&2
        fail "strace is not there"
    }
}

# ends_itself SECONDS GLOB: it ends without a signal, with 1 and these words.
ends_itself()
{
    gone()
    {
        ! kill -0 "$SERVER_PID" 2>/dev/null
    }
    wait_for "$1" gone || fail "it goes on"
    wait_server
    wait "$TRACER"
    expect_eq "exit code" "$STATUS" 1
    expect_match "its words" "$(cat "$SERVER_LOG")" "$2"
}

# has KEY...: these objects and no other are there at the next start.
has()
{
    local key
    start_server "$STORE"
    for key in "$@"; do
        get "$key" "$WORK/got"
        cmp -s "$WORK/got" "$WORK/body" || fail "$key: other bytes"
    done
    expect_match "objects" "$(cat "$SERVER_LOG")" "*$# objects, *"
    stop_server
    expect_eq "exit code of the next session" "$STATUS" 0
    "$ZKV_BIN/tools/zipkvverify" -dir "$STORE" >"$WORK/verify" 2>&1 || {
        cat "$WORK/verify" >&2
        fail "zipkvverify"
    }
}

# The commit fails, and so does declaring it void.
new_store sync
start_server "$STORE"
put one "$WORK/body"
put two "$WORK/body"
break_calls -e trace=fdatasync,fsync -e inject=fdatasync,fsync:error=EIO
expect_eq "a PUT that cannot be synced" "$(http -T "$WORK/body" "$SERVER_BUCKET/three")" 500
ends_itself 15 "*could not be declared void*"
has one two
ok "no sync works any more"

# The first sync after the last answer is the one of the stop.
new_store stop
start_server "$STORE"
put one "$WORK/body"
put two "$WORK/body"
break_calls -e trace=fdatasync,fsync -e inject=fdatasync,fsync:error=EIO
kill -TERM "$SERVER_PID"
ends_itself 15 "*not everything could be written*"
has one two
ok "nothing can be synced at the stop"

# Acknowledged without a sync; the roll-over finds that the disk has failed.
new_store block
start_server "$STORE" -sync block -bs 250000
put one "$WORK/body"
break_calls -e trace=fdatasync,fsync -e inject=fdatasync,fsync:error=EIO
for key in two three four five; do
    http -T "$WORK/body" "$SERVER_BUCKET/$key" >>"$WORK/codes" 2>&1
done
ends_itself 15 "*acknowledged with -sync block may be lost*"
start_server "$STORE"
stop_server
expect_eq "exit code of the next session" "$STATUS" 0
ok "-sync block: what was acknowledged may be lost, and it says so"

# SQLite's own writes fail: it tries again for ten seconds.
new_store index
start_server "$STORE"
put one "$WORK/body"
break_calls -e trace=pwrite64 -e inject=pwrite64:error=EIO -P "$STORE/index.sqlite-wal" -P "$STORE/index.sqlite"
http --max-time 25 -T "$WORK/body" "$SERVER_BUCKET/two" >"$WORK/code" 2>/dev/null &
upload=$!
sleep 1
expect_eq "a PUT while the index cannot be written" "$(http -T "$WORK/body" "$SERVER_BUCKET/three")" 503
expect_eq "reading goes on" "$(http "$SERVER_BUCKET/one")" 200
ends_itself 40 "*index.sqlite cannot be written*"
wait "$upload"
if [ "$(cat "$WORK/code")" = 200 ]; then
    fail "answered, though the index could not be written"
fi
start_server "$STORE"
get one "$WORK/got"
expect_eq "the one refused" "$(http "$SERVER_BUCKET/three")" 404
stop_server
expect_eq "exit code of the next session" "$STATUS" 0
ok "the index cannot be written"

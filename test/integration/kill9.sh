#!/usr/bin/env bash
# Exercises: what was acknowledged stays. 2,000 PUTs and then kill -9, in a new directory with the
# default block size: all there. A session of 100 DELETEs alone and then Ctrl+C: all gone. LIST
# while eight writers PUT: every page in order, nothing missing that was acknowledged before. And
# kill -9 under a load of PUTs and DELETEs, as often as the argument says (20).
. "$(dirname "$0")/lib.sh"
export PYTHONPATH=$ROOT/test/support

load()
{
    python3 "$ROOT/test/support/load.py" "$@" || fail "load.py $*"
}

new_store new
start_server "$STORE"
load put "$SERVER_ADDR" 2000 >"$WORK/acked"
kill_server
start_server "$STORE"
load check "$SERVER_ADDR" "$WORK/acked"
expect_eq "objects acknowledged" "$(wc -l <"$WORK/acked")" 2000
echo "ok - 2,000 acknowledged PUTs are there after kill -9"
stop_server INT
expect_eq "exit code after Ctrl+C" "$STATUS" 0

start_server "$STORE"
load delete "$SERVER_ADDR" "$WORK/acked" 100 >"$WORK/left"
stop_server INT
expect_eq "exit code after Ctrl+C" "$STATUS" 0
expect_eq "deletes in the history" "$("$ZKV_BIN/tools/zipkvhistory" -dir "$STORE" | awk '$2 == "delete"' | wc -l)" 100
start_server "$STORE"
load check "$SERVER_ADDR" "$WORK/left"
expect_eq "objects left" "$(grep -vc ' -$' "$WORK/left")" 1900
echo "ok - a session of 100 DELETEs alone, ended with Ctrl+C, is not forgotten"

load list "$SERVER_ADDR" 8 300
stop_server TERM
expect_eq "exit code after SIGTERM" "$STATUS" 0
echo "ok - LIST while eight writers PUT"

new_store cycles
: >"$WORK/acked"
cycles=${1:-20}
for cycle in $(seq "$cycles"); do
    start_server "$STORE" -bs 100000
    load check "$SERVER_ADDR" "$WORK/acked"
    python3 "$ROOT/test/support/load.py" mixed "$SERVER_ADDR" "$cycle" >>"$WORK/acked" &
    loading=$!
    sleep "0.$((RANDOM % 5 + 2))$((RANDOM % 10))"
    kill_server
    wait "$loading" || fail "load.py mixed"
done
start_server "$STORE" -bs 100000
load check "$SERVER_ADDR" "$WORK/acked"
stop_server INT
"$ZKV_BIN/tools/zipkvverify" -dir "$STORE" >"$WORK/verify" 2>&1 || {
    cat "$WORK/verify" >&2
    fail "zipkvverify"
}
echo "ok - kill -9 under load, $cycles times: $(wc -l <"$WORK/acked") answers, none of them wrong"

#!/usr/bin/env bash
# Exercises: what was acknowledged stays. 2,000 PUTs and then kill -9, in a new directory with the
# default block size: all there. A session of 100 DELETEs alone and then Ctrl+C: all gone. LIST
# while eight writers PUT: every page in order, nothing missing that was acknowledged before. And
# kill -9 under mixed load, as often as the first argument says (300), with the seed of the second.
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

mkdir "$WORK/cycles"
python3 "$ROOT/test/support/kill9.py" "$SERVER" "$WORK/cycles" "${1:-300}" ${2:+"$2"} || fail "kill9.py"
ok "kill -9 under mixed load, during start, roll-over and stop"

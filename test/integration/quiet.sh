#!/bin/bash
# exercises: a server with nothing to do: it does not wake up, writes no log line and touches no
# file, before the first request and after work.
. "$(dirname "$0")/lib.sh"

# How often each of its threads has gone to sleep, the files' times and sizes, and the log's length.
snapshot()
{
    grep -h voluntary_ctxt_switches /proc/"$SERVER_PID"/task/*/status
    find "$STORE" -printf '%p %s %T@ %C@\n' | sort
    wc -c <"$SERVER_LOG"
}

expect_quiet()
{
    local before
    before=$(snapshot)
    sleep 3
    expect_eq "what has happened $1" "$(diff <(echo "$before") <(snapshot))" ""
    ok "quiet $1"
}

new_store s
start_server "$STORE"
expect_quiet "before the first request"
random_file "$WORK/body" 200000
for i in 1 2 3; do
    put "key-$i" "$WORK/body"
    get "key-$i" "$WORK/got"
done
delete key-1
expect_eq "LIST" "$(http "$SERVER_BUCKET/")" 200
sleep 3
expect_quiet "after some work"
grep -E '^(error|warn|info|debug):' "$SERVER_LOG" && fail "there are log lines"
stop_server
expect_eq "exit code" "$STATUS" 0

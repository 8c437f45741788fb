#!/bin/bash
# exercises: `-- CMD ARG...`: exit codes, the environment and descriptors of CMD, what CMD leaves
# in the background, signals to the server while CMD runs, a CMD that cannot be run.
. "$(dirname "$0")/lib.sh"

new_store s
LOG=$WORK/log

# serve CMD...: runs it under a server; exit code in $STATUS.
serve()
{
    timeout 60 "$SERVER" -dir "$STORE" -addr 127.0.0.1:0 -- "$@" 2>"$LOG"
    STATUS=$?
}

# What runs in the background of a test is started from a subshell with its own log.
start_serving()
{
    SERVER_LOG=$LOG
    : >"$LOG" # no words of the server before
    "$SERVER" -dir "$STORE" -addr 127.0.0.1:0 -- "$@" </dev/null 2>"$LOG" &
    SERVER_PID=$!
    wait_for 20 grep -q '^listening on ' "$LOG" || fail "the server does not listen"
}

serve true
expect_eq "true" "$STATUS" 0
serve sh -c 'exit 7'
expect_eq "exit 7" "$STATUS" 7
serve sh -c 'kill -TERM $$'
expect_eq "ended by SIGTERM" "$STATUS" 143
serve sh -c 'kill -KILL $$'
expect_eq "ended by SIGKILL" "$STATUS" 137
expect_match "the report at the end" "$(cat "$LOG")" "*stopped: *"
ok "exit codes"

serve "$WORK/no-such-program"
expect_eq "no such program" "$STATUS" 127
expect_match "no such program" "$(cat "$LOG")" "*cannot run*no-such-program*"
ok "no such program"
echo text >"$WORK/plain"
serve "$WORK/plain"
expect_eq "not executable" "$STATUS" 126
ok "not executable"

# CMD gets its arguments as they are, standard input, output, and the storage URL.
expect_eq "arguments" "$(serve printf '%s|' a 'b c' '' --d)" 'a|b c||--d|'
expect_eq "standard input" "$(echo words | serve cat)" words
url=$(serve sh -c 'echo "$ZIPKV_STORAGE_URL"')
expect_match "the storage URL" "$url" 's3c://127.0.0.1:[1-9]*/bucket'

# Served while it runs.
random_file "$WORK/body" 100000
serve sh -c 'curl -sf -T "$1" "http${ZIPKV_STORAGE_URL#s3c}/key"' sh "$WORK/body"
expect_eq "PUT from within" "$STATUS" 0
serve sh -c 'curl -sf "http${ZIPKV_STORAGE_URL#s3c}/key" | cmp - "$1"' sh "$WORK/body"
expect_eq "GET in the next session" "$STATUS" 0
ok "arguments, input and output; served while it runs"

# CMD has the server's own start: its signals and limits, and none of its descriptors.
before=$(ulimit -Sn; grep -E '^Sig(Ign|Blk)' /proc/self/status)
serve sh -c 'ulimit -Sn; grep -E "^Sig(Ign|Blk)" /proc/self/status' >"$WORK/inside"
expect_eq "limit and signals of CMD" "$(cat "$WORK/inside")" "$before"
serve sh -c 'ls -l /proc/self/fd' </dev/null >"$WORK/fds"
if grep -E "socket|$STORE|eventpoll|eventfd" "$WORK/fds"; then
    fail "CMD has descriptors of the server"
fi
ok "CMD has the limits and signals of the server's own start"

# What CMD leaves in the background is waited for, also what left its process group, and reaped.
rm -f "$WORK/mark"
serve sh -c '(setsid sh -c "sleep 0.7; echo late >\"\$0\"" "$1" >/dev/null 2>&1 &) ; exit 5' sh "$WORK/mark"
expect_eq "status with something left behind" "$STATUS" 5
expect_eq "the server waited" "$(cat "$WORK/mark" 2>/dev/null)" late
expect_match "the server says so" "$(cat "$LOG")" "*has ended with status 5*"
ok "what it left behind is waited for"

# SIGINT to the server while CMD runs is CMD's business; SIGTERM is passed on to it.
start_serving sh -c 'trap "exit 9" TERM; while :; do sleep 0.1; done'
kill -INT "$SERVER_PID"
sleep 0.4
kill -0 "$SERVER_PID" 2>/dev/null || fail "SIGINT has stopped the server under CMD"
kill -TERM "$SERVER_PID"
wait_server
expect_eq "CMD's answer to SIGTERM" "$STATUS" 9
ok "SIGINT is left to it, SIGTERM passed on"

# A second one stops the server, CMD or not.
start_serving sh -c 'trap "" TERM; echo $$ >"$1"; exec sleep 30' sh "$WORK/pid"
wait_for 10 test -s "$WORK/pid"
kill -TERM "$SERVER_PID"
sleep 0.3
kill -0 "$SERVER_PID" 2>/dev/null || fail "the first SIGTERM has stopped the server"
kill -TERM "$SERVER_PID"
wait_server
expect_eq "exit code of a server that left CMD" "$STATUS" 1
expect_match "it says so" "$(cat "$LOG")" "*still runs*"
ok "a second SIGTERM"
kill -9 "$(cat "$WORK/pid")" 2>/dev/null

# When only what it left behind runs, SIGINT stops the server, with CMD's status.
start_serving sh -c '(setsid sleep 30 >/dev/null 2>&1 & echo $! >"$1"); exit 6' sh "$WORK/pid"
wait_for 10 grep -q 'has ended with status' "$LOG" || fail "CMD's end is not told"
kill -INT "$SERVER_PID"
wait_server
expect_eq "exit code after SIGINT" "$STATUS" 6
ok "SIGINT when CMD itself has ended"
kill -9 "$(cat "$WORK/pid")" 2>/dev/null

# Nothing stays a zombie while CMD runs.
start_serving sh -c 'for i in 1 2 3; do (setsid true >/dev/null 2>&1 &); done; echo on >"$1"; sleep 1' sh "$WORK/on"
wait_for 10 test -s "$WORK/on"
sleep 0.3
zombies=$(ps -o stat= --ppid "$SERVER_PID" | grep -c Z)
wait_server
expect_eq "zombies" "$zombies" 0
ok "no zombies"

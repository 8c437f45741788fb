#!/usr/bin/env bash
# Exercises: system calls of the real program that fail, or at which it is killed: answers are true,
# the end is in order, and the next start has everything. Arguments: short (some of each kind) or long
# (every one of them), a seed, and which faults ("* signal=KILL", say; all). And a signal at the moment at
# which libuv lets go of signals.
. "$(dirname "$0")/lib.sh"

mkdir "$WORK/runs"
python3 "$ROOT/test/support/strace_faults.py" "$SERVER" "$WORK/runs" "${@:-short}" || fail "strace_faults.py"
ok "calls that fail"

traced()
{
    grep -q '^TracerPid:.*[1-9]' "/proc/$SERVER_PID/status"
}

new_store late
start_server "$STORE"
random_file "$WORK/body" 1000
put key "$WORK/body"
strace -f -q -o "$WORK/trace" -e trace=rt_sigaction -e inject=rt_sigaction:signal=INT:when=1 -p "$SERVER_PID" 2>/dev/null &
tracer=$!
wait_for 10 traced || fail "strace does not attach"
stop_server TERM
wait "$tracer"
expect_match "the trace" "$(cat "$WORK/trace")" "*SIGINT, {sa_handler=SIG_DFL*"
expect_eq "exit code with a signal as the handles are closed" "$STATUS" 0
ok "a late signal"

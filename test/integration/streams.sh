#!/usr/bin/env bash
# streams.sh [MIB SECONDS]
#
# Exercises: a large object, and 64 clients at once, go through a server whose memory neither is large
# nor grows (test/support/streams.py). Where there is a memory cgroup (version 1, as root) the server
# is in one of 32 MiB, page cache included: more would be its end.
. "$(dirname "$0")/lib.sh"
export PYTHONPATH=$ROOT/test/support
[ $# -gt 0 ] || set -- 256 8
memory=/sys/fs/cgroup/memory/zkv-test-$$

new_store streams
space=$(df --output=avail -m "$WORK" | tail -n 1)
[ "$space" -gt $(($1 + 4000)) ] || fail "$WORK has $space MiB; this needs $(($1 + 4000))"
end()
{
    local code=$?
    [ -z "$SERVER_PID" ] || { kill -9 "$SERVER_PID" && wait "$SERVER_PID"; } 2>/dev/null
    [ ! -d "$memory" ] || rmdir "$memory"
    SERVER_PID=
    (exit "$code")
    cleanup
}
trap end EXIT
if mkdir "$memory" 2>/dev/null && echo $((32 << 20)) >"$memory/memory.limit_in_bytes"; then
    SERVER_WRAP="bash $WORK/in-cgroup"
    printf 'echo $$ >%s/cgroup.procs && exec "$@"\n' "$memory" >"$WORK/in-cgroup"
    what="in a cgroup of 32 MiB"
else
    what="without a cgroup"
fi
start_server "$STORE"
SERVER_WRAP=
python3 "$ROOT/test/support/streams.py" "$SERVER_ADDR" "$SERVER_PID" "$@" 32 || fail "streams.py, $what"
ok "memory stays as it is, $what"
stop_server INT
expect_eq "exit code" "$STATUS" 0
if [ -d "$memory" ]; then
    killed=$(sed -n 's/^oom_kill //p' "$memory/memory.oom_control")
    expect_eq "processes killed for memory" "${killed:-0}" 0
fi
ok "and a clean stop"

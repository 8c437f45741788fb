#!/usr/bin/env bash
# slow-clients.sh [SECONDS FLOOR HEADS BODIES READERS LISTS]
#
# Exercises: 2,000 half-open connections, 200 slow bodies, 200 slow readers of a large object and 50
# of listings do not trouble a good client, nor the server's memory, and are closed in time
# (test/support/slow_clients.py). FLOOR: milliseconds below which a time is good in any case; here it
# is large, since other tests run at the same time.
#
# The store is in memory if there is room: what a busy disk does to the times is not the question.
avail=$(df --output=avail -k /dev/shm 2>/dev/null | tail -n 1)
[ "${avail:-0}" -lt 500000 ] || export TMPDIR=/dev/shm
. "$(dirname "$0")/lib.sh"
export PYTHONPATH=$ROOT/test/support
[ $# -gt 0 ] || set -- 12 25 2000 200 200 50

new_store slow
start_server "$STORE"
python3 "$ROOT/test/support/slow_clients.py" "$SERVER_ADDR" "$SERVER_PID" "$@" || fail "slow clients"
ok "a good client beside slow ones"
stop_server INT
expect_eq "exit code" "$STATUS" 0
ok "and a clean stop"

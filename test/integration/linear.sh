#!/usr/bin/env bash
# Exercises: many clients on the same few keys see one order of things, with If-Match and
# If-None-Match as compare-and-set; then the same with everything that clients do. Arguments: seconds
# for the two (6 and 3), clients (32). Afterwards the store is in order. The sanitizers that look at
# threads run this, too.
. "$(dirname "$0")/lib.sh"
seconds=${1:-6}
clients=${2:-32}

python3 "$ROOT/test/support/history.py" || fail "history.py"
ok "the search finds the order where there is one, and no other"

new_store s
start_server "$STORE" -bs 1000000
python3 "$ROOT/test/support/linear.py" "$SERVER_ADDR" "$seconds" "$clients" narrow || fail "linear.py narrow"
ok "$clients clients on eight keys for $seconds s"
stop_server
expect_eq "exit code" "$STATUS" 0

new_store mixed
start_server "$STORE" -bs 200000
python3 "$ROOT/test/support/linear.py" "$SERVER_ADDR" $((seconds / 2)) "$clients" mixed || fail "linear.py mixed"
curl -sS "$SERVER_BUCKET/" >"$WORK/listed"
stop_server
expect_eq "exit code" "$STATUS" 0
start_server "$STORE"
curl -sS "$SERVER_BUCKET/" | cmp - "$WORK/listed" || fail "another LIST after the stop"
stop_server
expect_eq "exit code" "$STATUS" 0
"$ZKV_BIN/tools/zipkvverify" -dir "$STORE" >"$WORK/verify" 2>&1 || {
    cat "$WORK/verify" >&2
    fail "zipkvverify"
}
ok "$clients clients with mixed load, and a stop in order"

#!/usr/bin/env bash
# Exercises: Kopia and Duplicati, which no Debian has, by their requests (test/support/replay.py says where
# each comes from): with their headers in their order, their forms of queries and bodies; signatures checked;
# status, headers, XML and bytes of the answers compared. In plain HTTP and with TLS, where both sign bodies
# otherwise. What an answer means on disk is for others to show: -sync block.
. "$(dirname "$0")/lib.sh"
printf 'ADMIN:adminsecret\n' >"$WORK/keys"
chmod 600 "$WORK/keys"

for ZKV_TLS in '' yes; do
    new_store "store$ZKV_TLS"
    start_server "$STORE" -auth "$WORK/keys" -bs 4000000 -sync block
    for client in kopia duplicati; do
        python3 "$ROOT/test/support/replay.py" "$SERVER_ADDR" "$client" || fail "replay.py $client, ${SERVER_URL%%:*}"
    done
    stop_server
    expect_eq "exit code" "$STATUS" 0
    "$ZKV_BIN/tools/zipkvverify" -dir "$STORE" >"$WORK/verify" 2>&1 || fail "zipkvverify: $(cat "$WORK/verify")"
done
ok "the same with TLS; zipkvverify finds nothing wrong with what they left"

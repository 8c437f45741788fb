#!/usr/bin/env bash
# Exercises: what programs ask for beside the great operations (test/support/surface.py): versions, access
# lists, tags, headers of one answer, checksums of objects in parts, and what must be refused. The
# checksums are there after kill -9, after the look-up index is deleted, in a history made anew from the
# blocks, and behind zipkvrebase.
. "$(dirname "$0")/lib.sh"
tools=$ZKV_BIN/tools

printf 'ADMIN:secret/of+it\n' >"$WORK/keys"
chmod 600 "$WORK/keys"

surface()
{
    /usr/bin/python3 "$ROOT/test/support/surface.py" "$SERVER_ADDR" ADMIN secret/of+it "$@" \
        >"$WORK/out" 2>&1 || { cat "$WORK/out" >&2; fail "surface.py"; }
}

new_store surface
start_server "$STORE" -bs 4000000 -auth "$WORK/keys"
surface
cat "$WORK/out"
kill_server
start_server "$STORE" -auth "$WORK/keys"
surface again
stop_server
rm "$STORE"/index.sqlite*
start_server "$STORE" -auth "$WORK/keys"
surface again
stop_server
"$tools/zipkvverify" -dir "$STORE" -rebuild >"$WORK/out" || fail "-rebuild: $(cat "$WORK/out")"
start_server "$STORE" -auth "$WORK/keys"
surface again
stop_server
"$tools/zipkvrebase" -from "$STORE" -to "$WORK/rebased" >"$WORK/out" || fail "zipkvrebase: $(cat "$WORK/out")"
start_server "$WORK/rebased" -auth "$WORK/keys"
surface again
stop_server
ok "checksums of objects in parts survive kill -9, a deleted index, -rebuild and zipkvrebase"

#!/usr/bin/env bash
# Exercises: the README's copy elsewhere, with the commands that stand there, while the server runs
# under load. The copy opens; its history is a beginning of the server's; every object in it that is
# read has the right bytes, and what lay in blocks that were not copied yet is set aside by
# zipkvverify, after which LIST and GET agree.
. "$(dirname "$0")/lib.sh"
export PYTHONPATH=$ROOT/test/support
export RCLONE_CONFIG=$WORK/none RCLONE_CONFIG_REMOTE_TYPE=alias RCLONE_CONFIG_REMOTE_REMOTE=$WORK/far

commands=$(sed -n "s|^    \(rclone copy \)/mnt/disk/store|\1$WORK/near|p" "$ROOT/README.md")
expect_eq "rclone commands in the README" "$(wc -l <<<"$commands")" 3
new_store near
start_server "$STORE" -bs 100000
python3 "$ROOT/test/support/load.py" put "$SERVER_ADDR" 3000 >"$WORK/acked" &
loading=$!
for _ in 1 2 3; do
    sleep 0.5
    eval "$commands" 2>"$WORK/rclone.log" || {
        cat "$WORK/rclone.log" >&2
        fail "rclone"
    }
done
wait "$loading" || fail "load.py"
stop_server INT
"$ZKV_BIN/tools/zipkvhistory" -dir "$STORE" >"$WORK/history"

cp -r "$WORK/far/backup" "$WORK/copy"
chmod 700 "$WORK/copy"
[ ! -e "$WORK/copy/lock" ] && ! ls "$WORK/copy"/open* "$WORK/copy"/index* 2>/dev/null || fail "too much was copied"
"$ZKV_BIN/tools/zipkvhistory" -dir "$WORK/copy" >"$WORK/copied"
copied=$(wc -l <"$WORK/copied")
[ "$copied" -gt 100 ] || fail "the copy has a history of only $copied lines"
head -n "$copied" "$WORK/history" | cmp -s - "$WORK/copied" || fail "the copy has another history"
start_server "$WORK/copy"
stop_server INT
"$ZKV_BIN/tools/zipkvverify" -dir "$WORK/copy" >"$WORK/verify" 2>&1
missing=$(grep -c 'its block is missing' "$WORK/verify")
[ "$missing" -lt $((copied / 2)) ] || fail "$missing of $copied objects are not there"
start_server "$WORK/copy"
# The names that were set aside are as if deleted.
awk 'NR == FNR {md5[$1] = $2; next} FNR > 1 {print $3, md5[$3]}' "$WORK/acked" "$WORK/copied" >"$WORK/expected"
sed -n 's/^damaged: "\(.*\)": its block is missing$/\1 -/p' "$WORK/verify" >>"$WORK/expected"
python3 "$ROOT/test/support/load.py" check "$SERVER_ADDR" "$WORK/expected" || fail "load.py check"
stop_server INT
ok "an offsite copy made under load has $((copied - 1 - missing)) objects, all right; $missing were not copied yet"

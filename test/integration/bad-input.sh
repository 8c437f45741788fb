#!/usr/bin/env bash
# Exercises: every bad request gets its answer (test/support/bad_input.py lists them), stores
# nothing, and leaves the server serving; and files that are not what they should be: foreign ones
# in the directory, a db from the future, garbage and cut db, block and index files.
. "$(dirname "$0")/lib.sh"
export PYTHONPATH=$ROOT/test/support

load()
{
    python3 "$ROOT/test/support/load.py" "$@" || fail "load.py $*"
}

# refused WHAT GLOB: the server does not start on $STORE, and says what GLOB matches.
refused()
{
    run_server -addr 127.0.0.1:0 -dir "$STORE"
    expect_eq "$1: exit code" "$STATUS" 1
    expect_match "$1" "$OUT" "$2"
}

new_store requests
start_server "$STORE"
python3 "$ROOT/test/support/bad_input.py" "$SERVER_ADDR" || fail "bad_input.py"
kill -0 "$SERVER_PID" || fail "the server is gone"
stop_server INT
expect_eq "exit code" "$STATUS" 0
grep -vw 501 "$SERVER_LOG" | grep -E '^(warn|error)' && fail "bad requests fill the log"

new_store files
start_server "$STORE" -bs 20000
load put "$SERVER_ADDR" 100 >"$WORK/objects"
stop_server INT
cp -r "$STORE" "$WORK/good"
again()
{
    rm -rf "$STORE"
    cp -r "$WORK/good" "$STORE"
    chmod u+w "$STORE"/*
}
served()
{
    start_server "$STORE"
    load check "$SERVER_ADDR" "$WORK/objects"
    stop_server INT
    expect_eq "$1: exit code" "$STATUS" 0
    echo "ok - $1"
}

again
echo mine >"$STORE/notes.txt"
echo mine >"$STORE/block12"
mkdir "$STORE/lost+found"
served "foreign files do not matter"
expect_eq "a foreign file" "$(cat "$STORE/notes.txt")" mine

for damage in "rm -f" "truncate -s 0" "truncate -s 5000" "cp $STORE/notes.txt"; do
    again
    head -c 20000 /dev/urandom >"$STORE/notes.txt"
    $damage "$STORE/index.sqlite"
    served "the index is made anew after: ${damage%% *} ${damage##* }"
done

again
head -c 3000 /dev/urandom >"$STORE/index.sqlite-wal"
served "garbage in the index's log"

again
set -- "$STORE"/db*
db=$1
size=$(stat -c %s "$db")
truncate -s $((size - 7)) "$db"
served "a db that is cut short: the rest comes from the blocks"

again
head -c 500 /dev/urandom >"$db"
rm "$STORE"/index*
refused "a garbage db beside framed blocks names the way out" "*zipkvverify*"
[ "$(stat -c %s "$db")" = 500 ] || fail "the refused db was touched"
"$ZKV_BIN/tools/zipkvverify" -dir "$STORE" -rebuild >"$WORK/rebuild" 2>&1 || {
    cat "$WORK/rebuild" >&2
    fail "zipkvverify -rebuild"
}
served "a garbage db: refused, and rebuilt with zipkvverify -rebuild"

again
rm "$STORE"/db* "$STORE"/index*
refused "no db beside framed blocks" "*zipkvverify*"
"$ZKV_BIN/tools/zipkvverify" -dir "$STORE" -rebuild >"$WORK/rebuild" 2>&1 || {
    cat "$WORK/rebuild" >&2
    fail "zipkvverify -rebuild"
}
served "db and index deleted: rebuilt with zipkvverify -rebuild"
diff <("$ZKV_BIN/tools/zipkvhistory" -dir "$WORK/good") <("$ZKV_BIN/tools/zipkvhistory" -dir "$STORE") ||
    fail "the rebuilt history is another"
echo "ok - the rebuilt history is the same"

again
python3 - "$db" <<'END'
import gzip, sys
features = b"\x80\x01" + b"\x80\x80\x80\x80\x80\x80\x80\x80\x40"  # field 16: bit 62
with open(sys.argv[1], "ab") as file:
    file.write(gzip.compress(features))
END
refused "a db from the future" "*newer*"
echo "ok - a db from the future is refused"

again
set -- "$STORE"/block*
block=$2
truncate -s 3000 "$block"
start_server "$STORE"
python3 "$ROOT/test/support/bad_input.py" "$SERVER_ADDR" damaged "$WORK/objects" || fail "a cut block"
stop_server INT
echo "ok - a block that is cut short: its objects are missing, no wrong byte is sent"

again
head -c "$(stat -c %s "$block")" /dev/urandom >"$block"
start_server "$STORE"
python3 "$ROOT/test/support/bad_input.py" "$SERVER_ADDR" damaged "$WORK/objects" || fail "a garbage block"
stop_server INT
echo "ok - a block of garbage: its objects are missing, no wrong byte is sent"

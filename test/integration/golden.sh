#!/usr/bin/env bash
# Exercises: directories that the original program wrote (test/golden), and an earlier version of
# this one (frames-1: a session that ended, and one that was killed), open unchanged. Each serves
# exactly what its .json says, zipkvhistory prints exactly its .history, zipkvrebase gives the same
# objects, -rev N the state of a replay of the history; a directory of 2 GiB listens within a
# second; and a directory written here is, to a reader of the original's format alone, one gzip
# stream of one message that leads to every object.
. "$(dirname "$0")/lib.sh"
export PYTHONPATH=$ROOT/test/support
golden=$ROOT/test/golden

check()
{
    python3 "$ROOT/test/support/golden.py" "$@" || fail "golden.py $*"
}

rebase()
{
    "$ZKV_BIN/tools/zipkvrebase" "$@" >"$WORK/rebase" 2>&1 || {
        cat "$WORK/rebase" >&2
        fail "zipkvrebase $*"
    }
}

for name in one-block many-blocks wrapped-db two-dbs frames-1; do
    cp -r "$golden/$name" "$WORK/$name"
    chmod -R u+w "$WORK/$name"
    "$ZKV_BIN/tools/zipkvhistory" -dir "$WORK/$name" >"$WORK/history" || fail "zipkvhistory"
    cmp "$WORK/history" "$golden/$name.history" || fail "$name: zipkvhistory before"

    # Twice: from the db of the original, and from what we have made of it.
    for time in first second; do
        start_server "$WORK/$name"
        check served "$SERVER_ADDR" "$golden/$name.json"
        stop_server INT
        expect_eq "$name: exit code" "$STATUS" 0
    done
    "$ZKV_BIN/tools/zipkvhistory" -dir "$WORK/$name" >"$WORK/history" || fail "zipkvhistory"
    cmp "$WORK/history" "$golden/$name.history" || fail "$name: zipkvhistory after"
    "$ZKV_BIN/tools/zipkvverify" -dir "$WORK/$name" >"$WORK/verified" 2>&1 || {
        cat "$WORK/verified" >&2
        fail "$name: zipkvverify"
    }
    echo "ok - $name: served as its .json says, history as its .history says"

    rebase -from "$WORK/$name" -to "$WORK/$name.rebased"
    start_server "$WORK/$name.rebased"
    check served "$SERVER_ADDR" "$golden/$name.json"
    stop_server INT
    last=$(tail -n 1 "$golden/$name.history" | cut -f 1)
    for rev in 0 1 $((last / 3)) $((last / 2)) $((last - 1)) "$last"; do
        rm -rf "$WORK/at-rev"
        rebase -from "$WORK/$name" -to "$WORK/at-rev" -rev "$rev"
        start_server "$WORK/at-rev"
        check revision "$SERVER_ADDR" "$golden/$name" "$rev"
        stop_server INT
        expect_eq "$name at revision $rev: exit code" "$STATUS" 0
    done
    "$ZKV_BIN/tools/zipkvrebase" -from "$WORK/$name" -to "$WORK/no-such-rev" -rev $((last + 1)) \
        >/dev/null 2>&1 && fail "$name: revision $((last + 1)) is not refused"
    echo "ok - $name: zipkvrebase, at the end and at earlier revisions"
done

mkdir "$WORK/large"
check make-large "$WORK/large"
began=$(date +%s%N)
start_server "$WORK/large"
took=$((($(date +%s%N) - began) / 1000000))
[ "$took" -lt 1000 ] || fail "2 GiB: listens after $took ms"
check served "$SERVER_ADDR" "$WORK/large.json"
stop_server INT
echo "ok - a directory of 2 GiB listens after $took ms"

new_store ours
start_server "$STORE" -bs 100000
check fill "$SERVER_ADDR" >"$WORK/ours.json"
check served "$SERVER_ADDR" "$WORK/ours.json"
stop_server INT
expect_eq "ours: exit code" "$STATUS" 0
start_server "$STORE"
http -X DELETE "$SERVER_BUCKET/nothing" >/dev/null
http -X DELETE "$SERVER_BUCKET/key-1" >/dev/null
stop_server INT
set -- "$STORE"/db*
expect_eq "db files" $# 1
gzip -dc "$1" | protoc --decode=Db --proto_path="$ROOT/test/support" original.proto >"$WORK/decoded" ||
    fail "the original's reader cannot read our db"
check decoded "$STORE" "$WORK/ours.json" "$WORK/decoded" key-1
echo "ok - the original's five messages alone lead to every object written here"

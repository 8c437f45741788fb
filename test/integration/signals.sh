#!/bin/bash
# exercises: stops under load by one, two and three signals, as often as the argument says (2 times
# each): what was acknowledged is there at the next start, and after one or two signals nothing had
# to be recovered. Two signals at any distance end an idle server with 0. A third one does not wait
# for a disk that hangs. SIGPIPE and SIGXFSZ: a client, a terminal that goes away, a file that may
# not grow.
. "$(dirname "$0")/lib.sh"
export PYTHONPATH=$ROOT/test/support
rounds=${1:-2}

check_acked()
{
    python3 "$ROOT/test/support/load.py" check "$SERVER_ADDR" "$WORK/acked" || fail "something acknowledged is gone"
}

# several N SECONDS: sends so many signals, so far apart, as long as there is somebody to get them.
several()
{
    local i
    for i in $(seq "$1"); do
        kill -TERM "$SERVER_PID" 2>/dev/null || return 0
        [ "$i" -eq "$1" ] || sleep "$2"
    done
}

new_store load
: >"$WORK/acked"
stops=0
for round in $(seq "$rounds"); do
    for n in 1 2 3; do
        for gap in 0 0.01 0.1; do
            [ "$n" -gt 1 ] || [ "$gap" = 0 ] || continue
            start_server "$STORE" -bs 300000
            check_acked
            python3 "$ROOT/test/support/load.py" mixed "$SERVER_ADDR" "$round $n $gap" >>"$WORK/acked" &
            loading=$!
            sleep "0.$((RANDOM % 3 + 2))$((RANDOM % 10))"
            several "$n" "$gap"
            began=$SECONDS
            wait_server
            [ $((SECONDS - began)) -le 6 ] || fail "a stop by $n signals took $((SECONDS - began)) s"
            wait "$loading" || fail "load.py mixed"
            if [ "$STATUS" != 0 ]; then
                expect_eq "exit code after $n signals, $gap s apart" "$n $STATUS" "3 1"
                expect_match "its words" "$(cat "$SERVER_LOG")" "*ended at once*"
            elif ls "$STORE"/open* >/dev/null 2>&1; then
                fail "a block is left unsealed after $n signals"
            fi
            stops=$((stops + 1))
        done
    done
done
start_server "$STORE"
check_acked
stop_server
ok "$stops stops under load by one, two and three signals: $(wc -l <"$WORK/acked") answers, all kept"

for i in $(seq 0 19); do
    start_server "$STORE"
    kill -HUP "$SERVER_PID"
    sleep "0.0$(printf %02d "$i")"
    kill -HUP "$SERVER_PID" 2>/dev/null
    wait_server
    expect_eq "exit code after two signals, $i ms apart" "$STATUS" 0
done
ok "two signals to an idle server"

# A disk that hangs: each sync takes a minute once the file is there.
cat >"$WORK/hang.c" <<'END'
#include <stdlib.h>
#include <unistd.h>
int fdatasync(int fd)
{
    if (access(getenv("HANG"), F_OK) == 0) {
        sleep(60);
    }
    return fsync(fd);
}
END
cc -shared -fPIC -o "$WORK/hang.so" "$WORK/hang.c" || fail "cannot build the disk that hangs"
random_file "$WORK/body" 100000
new_store slow
SERVER_WRAP="env HANG=$WORK/hang LD_PRELOAD=$WORK/hang.so" start_server "$STORE"
put before "$WORK/body"
touch "$WORK/hang"
http --max-time 30 -T "$WORK/body" "$SERVER_BUCKET/hangs" >"$WORK/code" 2>/dev/null &
upload=$!
sleep 0.5
began=$SECONDS
kill -TERM "$SERVER_PID"
sleep 0.2
kill -TERM "$SERVER_PID"
sleep 0.2
kill -0 "$SERVER_PID" || fail "two signals ended it though the disk hangs"
stop_server TERM
expect_eq "exit code after three signals" "$STATUS" 1
expect_match "its words" "$(cat "$SERVER_LOG")" "*ended at once*"
[ $((SECONDS - began)) -le 5 ] || fail "the third signal waited $((SECONDS - began)) s for the disk"
wait "$upload"
[ "$(cat "$WORK/code")" != 200 ] || fail "answered, though the disk hangs"
start_server "$STORE"
get before "$WORK/got"
cmp -s "$WORK/got" "$WORK/body" || fail "before: other bytes"
stop_server
ok "a third signal does not wait for the disk"

# Clients that go away in the middle of an answer, and a reader of the log that does.
random_file "$WORK/large" 5000000
mkfifo "$WORK/log"
head -n 1 "$WORK/log" >"$WORK/first" &
reader=$!
exec 8>"$WORK/log"
"$SERVER" -dir "$STORE" -addr 127.0.0.1:0 -log debug </dev/null 2>&8 &
SERVER_PID=$!
wait "$reader"
exec 8>&-
port()
{
    PORT=$(ss -Hltnp 2>/dev/null | sed -n "s/.*127.0.0.1:\([0-9]*\) .*pid=$SERVER_PID,.*/\1/p")
    [ -n "$PORT" ]
}
wait_for 20 port || fail "it does not listen when nobody reads its log"
SERVER_BUCKET=http://127.0.0.1:$PORT/bucket
put large "$WORK/large"
for i in 1 2 3 4 5; do
    curl -s "$SERVER_BUCKET/large" | head -c 1000 >/dev/null
done
get large "$WORK/got"
cmp -s "$WORK/got" "$WORK/large" || fail "large: other bytes"
stop_server
expect_eq "exit code with nobody reading the log" "$STATUS" 0
ok "SIGPIPE"

# No file may be larger than 8 MiB: an upload that needs more is told so, the next one is not harmed.
new_store small
SERVER_WRAP="prlimit --fsize=8388608" start_server "$STORE" -bs 67108864
put one "$WORK/large"
expect_eq "an upload that does not fit" "$(http -T "$WORK/large" "$SERVER_BUCKET/two")" 503
expect_eq "reading goes on" "$(http "$SERVER_BUCKET/one")" 200
expect_eq "nothing of it" "$(http "$SERVER_BUCKET/two")" 404
put three "$WORK/body"
stop_server
expect_eq "exit code where files may not grow" "$STATUS" 0
start_server "$STORE"
get one "$WORK/got"
cmp -s "$WORK/got" "$WORK/large" || fail "one: other bytes"
get three "$WORK/got"
cmp -s "$WORK/got" "$WORK/body" || fail "three: other bytes"
stop_server
ok "SIGXFSZ"

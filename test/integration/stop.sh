#!/bin/bash
# exercises: SIGINT, SIGTERM and SIGHUP: exit code 0 and a report, running requests finish, idle
# connections do not hold the stop up, a request that does not end is cut after 5 seconds or by a
# second signal, what was written is there at the next start; nohup; few descriptors; one thread.
. "$(dirname "$0")/lib.sh"

new_store s
random_file "$WORK/body" 300000

for signal in INT TERM HUP; do
    start_server "$STORE"
    put "key-$signal" "$WORK/body"
    stop_server "$signal"
    expect_eq "exit code after SIG$signal" "$STATUS" 0
    expect_match "the report after SIG$signal" "$(cat "$SERVER_LOG")" "*this session: 1 PUT*stopped: *object*"
    if ls "$STORE"/open* >/dev/null 2>&1; then
        fail "a block is left unsealed after SIG$signal"
    fi
    ok "SIG$signal"
done
start_server "$STORE"
expect_match "found at start" "$(cat "$SERVER_LOG")" "*3 objects, *"
for signal in INT TERM HUP; do
    get "key-$signal" "$WORK/got"
    cmp -s "$WORK/got" "$WORK/body" || fail "key-$signal: other bytes"
done

# A session in which objects are only deleted.
for signal in INT TERM HUP; do
    delete "key-$signal"
done
stop_server
start_server "$STORE"
expect_match "found after the deletes" "$(cat "$SERVER_LOG")" "*0 objects, *"
ok "a session of deletes alone"

# An idle connection is closed, a slow upload finishes within the 5 seconds.
exec 7<>"/dev/tcp/127.0.0.1/${SERVER_ADDR##*:}"
curl -sS -o /dev/null -w '%{http_code}' --limit-rate 200K -T "$WORK/body" "$SERVER_BUCKET/slow" >"$WORK/code" &
upload=$!
sleep 0.5
begin=$SECONDS
stop_server TERM
wait "$upload"
expect_eq "exit code with an upload running" "$STATUS" 0
expect_eq "the upload's answer" "$(cat "$WORK/code")" 200
[ $((SECONDS - begin)) -le 4 ] || fail "the idle connection held the stop up"
exec 7>&-
start_server "$STORE"
get slow "$WORK/got"
cmp -s "$WORK/got" "$WORK/body" || fail "slow: other bytes"
ok "a running upload finishes, an idle connection is closed"

# An upload that does not end is cut after 5 seconds ...
hold_upload()
{
    exec 7<>"/dev/tcp/127.0.0.1/${SERVER_ADDR##*:}"
    printf 'PUT /bucket/never HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000000\r\n\r\nabc' >&7
    sleep 0.3
}
hold_upload
begin=$SECONDS
stop_server
expect_eq "exit code with a hanging upload" "$STATUS" 0
took=$((SECONDS - begin))
[ "$took" -ge 4 ] && [ "$took" -le 9 ] || fail "a hanging upload: stopped after $took s, not 5"
exec 7>&-
ok "an upload that does not end is cut"

# ... or by a second signal at once. The stop is in order all the same.
start_server "$STORE"
expect_eq "nothing of the cut upload" "$(http "$SERVER_BUCKET/never")" 404
put more "$WORK/body"
hold_upload
begin=$SECONDS
kill -INT "$SERVER_PID"
sleep 0.3
stop_server
expect_eq "exit code after two signals" "$STATUS" 0
[ $((SECONDS - begin)) -le 3 ] || fail "the second signal did not hurry"
exec 7>&-
start_server "$STORE"
get more "$WORK/got"
expect_match "nothing to recover" "$(grep -c recovered "$SERVER_LOG")" 0
stop_server
ok "a second signal cuts at once"

# Under nohup a closed terminal does not stop it.
SERVER_WRAP=nohup start_server "$STORE"
kill -HUP "$SERVER_PID"
sleep 0.3
expect_eq "still served under nohup" "$(http "$SERVER_BUCKET/more")" 200
stop_server TERM
expect_eq "exit code under nohup" "$STATUS" 0
ok "nohup"

# Few descriptors: a new client is served though many idle ones are there.
cat >"$WORK/few" <<'END'
#!/bin/sh
ulimit -n 100 && exec "$@"
END
chmod 755 "$WORK/few"
SERVER_WRAP=$WORK/few start_server "$STORE"
fds=()
for i in $(seq 1 60); do
    exec {fd}<>"/dev/tcp/127.0.0.1/${SERVER_ADDR##*:}" || fail "connection $i is refused"
    fds+=("$fd")
done
expect_eq "served beside 60 idle connections" "$(http "$SERVER_BUCKET/more")" 200
for fd in "${fds[@]}"; do
    exec {fd}>&-
done
stop_server
expect_eq "exit code with few descriptors" "$STATUS" 0
ok "few descriptors"

# One thread is enough for everything.
export UV_THREADPOOL_SIZE=1
start_server "$STORE" -bs 65536
pids=()
for i in 1 2 3 4 5 6 7 8; do
    curl -sS -f -T "$WORK/body" "$SERVER_BUCKET/one-$i" &
    pids+=("$!")
done
for pid in "${pids[@]}"; do
    wait "$pid" || fail "a PUT failed with one thread"
done
for i in 1 2 3 4 5 6 7 8; do
    get "one-$i" "$WORK/got"
    cmp -s "$WORK/got" "$WORK/body" || fail "one-$i: other bytes"
done
stop_server
expect_eq "exit code with one thread" "$STATUS" 0
ok "one thread"

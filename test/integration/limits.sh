#!/usr/bin/env bash
# limits.sh [deadlines]
#
# Exercises: sizes and numbers at their limits and one above, in a server that can have 320 MiB of
# addresses and no more; with "deadlines" those of the clock, which take two and a half minutes
# (test/support/limits.py). And more connections than there are descriptors for, all of them busy.
. "$(dirname "$0")/lib.sh"
limits="python3 $ROOT/test/support/limits.py"

new_store limits
if [ "${1-}" = deadlines ]; then
    start_server "$STORE"
    $limits "$SERVER_ADDR" deadlines || fail "deadlines"
    stop_server INT
    expect_eq "exit code" "$STATUS" 0
    exit
fi

SERVER_WRAP="prlimit --as=$((320 << 20))"
start_server "$STORE"
$limits "$SERVER_ADDR" "$SERVER_PID" || fail "limits"
stop_server INT
expect_eq "exit code" "$STATUS" 0
grep -E '^(warn|error)' "$SERVER_LOG" | grep -v 503 && fail "bad requests fill the log"

[ -z "${ZKV_TLS:-}" ] || exit 0 # the rest is the same with TLS

trap '' PIPE # what is written to a connection that was closed
# 100 descriptors are 25 connections: 40 uploads cannot all be there, those that are go on, and
# when they end there is room again.
SERVER_WRAP="prlimit --nofile=100"
start_server "$STORE"
SERVER_WRAP=
fds=()
for i in $(seq 1 40); do
    exec {fd}<>"/dev/tcp/127.0.0.1/${SERVER_ADDR##*:}" || fail "connection $i is refused"
    printf 'PUT /bucket/%d HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\na' "$i" >&"$fd" 2>/dev/null
    fds+=("$fd")
done
sleep 0.3
ticks=$(awk '{print $14 + $15}' "/proc/$SERVER_PID/stat")
sleep 1
ticks=$(($(awk '{print $14 + $15}' "/proc/$SERVER_PID/stat") - ticks))
[ "$ticks" -lt 30 ] || fail "it spins: $ticks ticks in a second"
n_stored=0
for fd in "${fds[@]}"; do
    printf b 2>/dev/null >&"$fd"
    if read -r -t 10 line <&"$fd" && [[ $line == *" 200 "* ]]; then
        n_stored=$((n_stored + 1))
    fi 2>/dev/null
    exec {fd}>&-
done
[ "$n_stored" -ge 10 ] || fail "only $n_stored of 40 uploads were stored"
[ "$n_stored" -le 25 ] || fail "$n_stored uploads were stored with 25 connections"
expect_eq "served again" "$(http "$SERVER_BUCKET/")" 200
ok "more connections than descriptors: $n_stored of 40 uploads stored, no spinning"
stop_server INT
expect_eq "exit code with few descriptors" "$STATUS" 0

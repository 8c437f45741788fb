#!/usr/bin/env bash
# vectors.sh [nginx]
#
# Exercises: the requests of test/http/vectors.txt, sent to the server; or to nginx, to compare with
# (package nginx-light, which is not installed for this).
. "$(dirname "$0")/lib.sh"
send="python3 $ROOT/test/support/vectors.py"

if [ "${1-}" = nginx ]; then
    command -v nginx >/dev/null || fail "nginx is not installed"
    port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    cat >"$WORK/nginx.conf" <<END
daemon off; master_process off; error_log $WORK/error.log; pid $WORK/pid;
events { }
http {
    access_log off; client_body_temp_path $WORK/body; proxy_temp_path $WORK/proxy;
    fastcgi_temp_path $WORK/f; uwsgi_temp_path $WORK/u; scgi_temp_path $WORK/s;
    server { listen 127.0.0.1:$port; location / { return 200 "ok"; } }
}
END
    nginx -p "$WORK" -c "$WORK/nginx.conf" >"$WORK/nginx.log" 2>&1 &
    SERVER_PID=$!
    wait_for 10 bash -c "exec 3<>/dev/tcp/127.0.0.1/$port" 2>/dev/null || fail "$(cat "$WORK/nginx.log")"
    $send "127.0.0.1:$port" nginx || fail "nginx refuses what we take"
    ok "nginx refuses nothing that we take"
    exit
fi

new_store vectors
start_server "$STORE" -bucket x
$send "$SERVER_ADDR" || fail "vectors"
ok "each vector has its verdict, however it is cut"
stop_server INT
expect_eq "exit code" "$STATUS" 0
grep -v 501 "$SERVER_LOG" | grep -E '^(warn|error)' && fail "bad requests fill the log"
ok "the log stays empty"

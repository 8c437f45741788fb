# Sourced by the scripts of this folder: a scratch directory, a server on an ephemeral port, and
# how a test fails. Needs bash. The programs are those of $ZKV_BIN (default: build/src).
#
#   new_store NAME          an empty directory below $WORK; its path is in $STORE
#   start_server DIR OPT..  starts it, waits until it listens; sets SERVER_PID, SERVER_ADDR
#                           (host:port), SERVER_URL (http://host:port), SERVER_BUCKET (.../bucket);
#                           what it writes is in $SERVER_LOG
#   make_ca DIR             a CA and one below it: DIR/ca.pem is what clients must know
#   make_pair DIR NAME OPT..  DIR/NAME.pem (with the lower CA) and DIR/NAME.key for localhost and
#                           127.0.0.1; OPT for openssl req -newkey, default P-256
#   run_server OPT..        for starts that must fail: its exit code in $STATUS, its words in $OUT
#   stop_server [SIGNAL]    sends it (default INT), waits; the exit code is in $STATUS
#   kill_server             kill -9, waits
#   put KEY FILE, get KEY FILE, delete KEY: by curl, must succeed; http ARGS... prints the status
#   random_file FILE BYTES  made-up content, the same for the same arguments
#   expect_eq WHAT GOT WANTED, expect_match WHAT GOT GLOB, fail TEXT, ok TEXT
#
# SERVER_WRAP may hold a command to put in front of the server (valgrind, a ulimit wrapper).
# With ZKV_TLS=1 every server speaks TLS, and curl and the clients of test/support know its CA.
#
# nohup, for one, has HUP ignored from here on down, and the server keeps to that: a script begins again
# with the signals as they are by themselves, so this is sourced before its arguments are shifted.
[ -n "${SIGNALS_AS_USUAL-}" ] ||
    SIGNALS_AS_USUAL=yes exec env --default-signal=HUP,INT,TERM "$BASH" "$0" "$@"
set -u
export LC_ALL=C

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(cd "$HERE/../.." && pwd)
ZKV_BIN=${ZKV_BIN:-$ROOT/build/src}
ZKV_BIN=$(cd "$ZKV_BIN" && pwd) || exit 99
SERVER=$ZKV_BIN/zipkvserver
WORK=$(mktemp -d "${TMPDIR:-/tmp}/zkv-test.XXXXXX") || exit 99
SERVER_PID=
SERVER_LOG=$WORK/server.log
SERVER_WRAP=${SERVER_WRAP:-}
N_STARTS=0

cleanup()
{
    local code=$?
    trap - EXIT
    if [ -n "$SERVER_PID" ]; then
        kill -9 "$SERVER_PID" 2>/dev/null
        wait "$SERVER_PID" 2>/dev/null
    fi
    chmod -R u+rwX "$WORK" 2>/dev/null
    rm -rf "$WORK"
    exit "$code"
}
trap cleanup EXIT
trap 'exit 130' INT TERM HUP

fail()
{
    echo "FAILED: $*" >&2
    if [ -s "$SERVER_LOG" ]; then
        echo "--- the server's last words:" >&2
        tail -n 20 "$SERVER_LOG" >&2
    fi
    exit 1
}

# One thing shown: scripts/test counts these.
ok()
{
    echo "ok - $*"
}

expect_eq()
{
    [ "$2" = "$3" ] || fail "$1: got '$2', wanted '$3'"
}

expect_match()
{
    # shellcheck disable=SC2053 # a pattern is wanted
    [[ $2 == $3 ]] || fail "$1: got '$2', wanted a match of '$3'"
}

new_store()
{
    STORE=$WORK/$1
    mkdir -m 700 "$STORE" || fail "cannot make $STORE"
}

# wait_for SECONDS COMMAND...: until the command succeeds.
wait_for()
{
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        [ "$SECONDS" -lt "$end" ] || return 1
        sleep 0.05
    done
}

server_line()
{
    grep -q '^listening on ' "$SERVER_LOG" || ! kill -0 "$SERVER_PID" 2>/dev/null
}

# Quietly, unless it fails.
openssl_said()
{
    openssl "$@" >"$WORK/openssl" 2>&1 || fail "openssl $1: $(cat "$WORK/openssl")"
}

make_ca()
{
    mkdir -p "$1"
    openssl_said req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=root \
        -keyout "$1/ca.key" -out "$1/ca.pem"
    openssl_said req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=lower \
        -keyout "$1/lower.key" -out "$1/lower.csr"
    openssl_said x509 -req -in "$1/lower.csr" -CA "$1/ca.pem" -CAkey "$1/ca.key" -CAcreateserial -days 30 \
        -extfile <(echo basicConstraints=critical,CA:true) -out "$1/lower.pem"
}

make_pair()
{
    local at=$1/$2
    shift 2
    [ $# -gt 0 ] || set -- ec -pkeyopt ec_paramgen_curve:P-256
    openssl_said req -newkey "$@" -nodes -subj /CN=localhost -keyout "$at.key.new" -out "$at.csr"
    openssl_said x509 -req -in "$at.csr" -CA "${at%/*}/lower.pem" -CAkey "${at%/*}/lower.key" -CAcreateserial \
        -days 20 -extfile <(echo subjectAltName=DNS:localhost,IP:127.0.0.1) -out "$at.pem.new"
    cat "${at%/*}/lower.pem" >>"$at.pem.new"
    chmod 600 "$at.key.new"
    mv "$at.pem.new" "$at.pem" # one after the other, as such programs do
    mv "$at.key.new" "$at.key"
}

start_server()
{
    local dir=$1
    shift
    if [ -n "${ZKV_TLS:-}" ]; then
        [ -e "$WORK/tls/ca.pem" ] || { make_ca "$WORK/tls" && make_pair "$WORK/tls" server; }
        set -- "$@" -tls-cert "$WORK/tls/server.pem" -tls-key "$WORK/tls/server.key"
        export CURL_CA_BUNDLE=$WORK/tls/ca.pem ZKV_CA=$WORK/tls/ca.pem
    fi
    N_STARTS=$((N_STARTS + 1))
    SERVER_LOG=$WORK/server-$N_STARTS.log
    : >"$SERVER_LOG"
    # shellcheck disable=SC2086 # the wrapper is words
    $SERVER_WRAP "$SERVER" -addr 127.0.0.1:0 -dir "$dir" "$@" </dev/null 2>"$SERVER_LOG" &
    SERVER_PID=$!
    wait_for "${SERVER_START_SECONDS:-60}" server_line || fail "the server does not listen"
    SERVER_ADDR=$(sed -n 's/^listening on \([^ ,]*\).*/\1/p' "$SERVER_LOG" | head -n 1)
    [ -n "$SERVER_ADDR" ] || fail "the server did not start"
    SERVER_URL=http://${SERVER_ADDR#https://}
    [ "$SERVER_ADDR" = "${SERVER_ADDR#https://}" ] || SERVER_URL=$SERVER_ADDR
    SERVER_ADDR=${SERVER_ADDR#https://}
    SERVER_BUCKET=$SERVER_URL/bucket
}

run_server()
{
    OUT=$(timeout 60 "$SERVER" "$@" 2>&1 </dev/null)
    STATUS=$?
}

wait_server()
{
    wait "$SERVER_PID"
    STATUS=$?
    SERVER_PID=
}

stop_server()
{
    kill -s "${1:-INT}" "$SERVER_PID" || fail "the server is gone already"
    wait_server
}

kill_server()
{
    kill -9 "$SERVER_PID" || fail "the server is gone already"
    wait "$SERVER_PID" 2>/dev/null
    SERVER_PID=
}

http()
{
    curl -sS -o /dev/null -w '%{http_code}' --max-time 60 "$@"
}

put()
{
    local code
    code=$(http -T "$2" "$SERVER_BUCKET/$1")
    [ "$code" = 200 ] || fail "PUT $1: status $code"
}

get()
{
    local code
    code=$(curl -sS -o "$2" -w '%{http_code}' --max-time 60 "$SERVER_BUCKET/$1")
    [ "$code" = 200 ] || fail "GET $1: status $code"
}

delete()
{
    local code
    code=$(http -X DELETE "$SERVER_BUCKET/$1")
    [ "$code" = 204 ] || fail "DELETE $1: status $code"
}

random_file()
{
    openssl enc -aes-128-ctr -nosalt -pass "pass:$1$2" -pbkdf2 -iter 1 -in /dev/zero 2>/dev/null |
        head -c "$2" >"$1"
}

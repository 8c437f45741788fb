#!/bin/bash
# exercises: -auth: who is let in and who is not. Starts that must fail; every operation x every way to
# ask without the right (support/auth_matrix.py); odd names and parameters signed by botocore;
# boto3, curl and s3cmd with right and wrong passwords; a changed file; -auth-skew; any address; and
# that comparing signatures takes the same time whatever they are (valgrind).
#
#   auth.sh [N]   N requests signed by botocore (10000)
. "$(dirname "$0")/lib.sh"
requests=${1:-10000}

keys=$WORK/keys
cat >"$keys" <<'END'
# for the tests
ADMIN:adminsecret
READER:readersecret:ro
OTHER:othersecret:elsewhere
FIRST:firstsecret:bucket
END
chmod 600 "$keys"

# ---- starts that must fail ----

# refused CODE GLOB ARGS...
refused()
{
    local code=$1 glob=$2
    shift 2
    run_server -dir "$STORE" "$@"
    expect_eq "exit code of: $*" "$STATUS ($OUT)" "$code ($OUT)"
    expect_match "words of: $*" "$OUT" "$glob"
}

new_store auth
refused 2 '*loopback*-auth*' -addr 0.0.0.0:0
refused 1 "*-auth $WORK/missing*No such file*" -addr 0.0.0.0:0 -auth "$WORK/missing"
refused 1 "*-auth $WORK*not a file*" -addr 127.0.0.1:0 -auth "$WORK"
for mode in 640 604 660 777; do
    chmod $mode "$keys"
    refused 1 '*chmod 600*' -addr 127.0.0.1:0 -auth "$keys"
done
printf 'ADMIN:adminsecret\nnonsense\n' >"$WORK/bad"
chmod 600 "$keys" "$WORK/bad"
refused 1 '*line 2 *' -addr 127.0.0.1:0 -auth "$WORK/bad"
refused 2 '*-auth-skew*' -addr 127.0.0.1:0 -auth "$keys" -auth-skew 0
expect_eq "files made by failed starts" "$(ls -A "$STORE")" ""
ok "a credentials file that others may read, or that is none, stops the start"

# ---- the matrix, botocore, boto3 ----

start_server "$STORE" -auth "$keys"
run_python()
{
    /usr/bin/python3 "$ROOT/test/support/$1" "$SERVER_ADDR" bucket "${@:2}" || fail "$1: see above"
}
run_python auth_matrix.py
run_python auth_botocore.py "$requests"
stop_server
grep -q 'adminsecret\|readersecret' "$SERVER_LOG" && fail "a secret is in the log"
new_store boto3
start_server "$STORE" -auth "$keys"
run_python auth_boto3.py

# ---- curl, s3cmd ----

signed=(curl -s -o "$WORK/answer" -w '%{http_code}' --aws-sigv4 aws:amz:attic:s3 -H 'x-amz-content-sha256: UNSIGNED-PAYLOAD')
random_file "$WORK/body" 300000
expect_eq "curl, PUT" "$("${signed[@]}" -u ADMIN:adminsecret -T "$WORK/body" "$SERVER_BUCKET/from%20curl")" 200
expect_eq "curl, GET" "$("${signed[@]}" -u ADMIN:adminsecret "$SERVER_BUCKET/from%20curl")" 200
cmp "$WORK/body" "$WORK/answer" || fail "curl: the object comes back changed"
expect_eq "curl, a wrong password" "$("${signed[@]}" -u ADMIN:wrong "$SERVER_BUCKET/from%20curl")" 403
expect_match "what it is told" "$(cat "$WORK/answer")" "*<Code>SignatureDoesNotMatch</Code>*<CanonicalRequest>GET*"
expect_eq "curl, no password" "$(http "$SERVER_BUCKET/from%20curl")" 403
expect_eq "curl, a preflight" "$(http -X OPTIONS -H 'Origin: http://evil.example' "$SERVER_BUCKET/x")" 403
ok "curl --aws-sigv4, with the right password and without"

s3cmd_with()
{
    s3cmd --config="$WORK/s3cfg" --no-ssl --host="$SERVER_ADDR" --host-bucket="$SERVER_ADDR" --access_key=ADMIN \
        --secret_key="$@" >"$WORK/s3cmd.out" 2>&1
}
: >"$WORK/s3cfg"
for version in '' --signature-v2; do
    for name in plain 'with space' 'a+b%20c' 'é&='; do
        s3cmd_with adminsecret $version put "$WORK/body" "s3://bucket/s3cmd/$name" ||
            fail "s3cmd $version put $name: $(cat "$WORK/s3cmd.out")"
        rm -f "$WORK/back"
        s3cmd_with adminsecret $version get "s3://bucket/s3cmd/$name" "$WORK/back" ||
            fail "s3cmd $version get $name: $(cat "$WORK/s3cmd.out")"
        cmp "$WORK/body" "$WORK/back" || fail "s3cmd $version: $name comes back changed"
    done
    s3cmd_with adminsecret $version ls s3://bucket/s3cmd/ || fail "s3cmd $version ls: $(cat "$WORK/s3cmd.out")"
    expect_eq "s3cmd $version, names" "$(wc -l <"$WORK/s3cmd.out")" 4
    s3cmd_with adminsecret $version del --recursive --force s3://bucket/s3cmd/ ||
        fail "s3cmd $version del: $(cat "$WORK/s3cmd.out")"
    s3cmd_with wrong $version ls s3://bucket/ && fail "s3cmd $version: a wrong password is let in"
    expect_match "what s3cmd says" "$(cat "$WORK/s3cmd.out")" "*SignatureDoesNotMatch*"
done
ok "s3cmd, versions 4 and 2, with the right password and a wrong one"

# ---- a changed file ----

cp "$keys" "$WORK/new"
echo "LATER:latersecret" >>"$WORK/new"
sed -i '/^READER/d' "$WORK/new"
mv "$WORK/new" "$keys"
is_let_in()
{
    [ "$("${signed[@]}" -u "$1" "$SERVER_BUCKET/")" = 200 ]
}
sleep 1.1
is_let_in LATER:latersecret || fail "a new key is not known"
is_let_in READER:readersecret && fail "a removed key is still known"
chmod 644 "$keys"
sleep 1.1
is_let_in LATER:latersecret || fail "a file that others may read took the keys away"
grep -q 'warn.*chmod 600' "$SERVER_LOG" || fail "nothing is said of a file that others may read"
chmod 600 "$keys"
ok "changes of the file count without a restart"
stop_server

# ---- clocks, addresses, the port that S3QL signs and does not send ----

start_server "$STORE" -auth "$keys" -auth-skew 100000 -addr 0.0.0.0:0
cat >"$WORK/shifted.py" <<'END'
import http.client, sys
from sigv4 import EMPTY, Signer
address, host, shift = sys.argv[1], sys.argv[2], int(sys.argv[3])
headers = Signer("ADMIN", "adminsecret", shift=shift).v4("GET", "/bucket/", [("Host", sys.argv[4])], EMPTY)
connection = http.client.HTTPConnection(address)
connection.putrequest("GET", "/bucket/", skip_host=True, skip_accept_encoding=True)
for name, value in headers:
    connection.putheader(name, host if name == "Host" else value)
connection.endheaders()
print(connection.getresponse().status)
END
ask()
{
    PYTHONPATH=$ROOT/test/support python3 "$WORK/shifted.py" "127.0.0.1:${SERVER_ADDR##*:}" "$@"
}
port=${SERVER_ADDR##*:}
expect_eq "a clock of yesterday" "$(ask nas -86400 nas)" 200
expect_eq "a clock of two days ago" "$(ask nas -172800 nas)" 403
expect_eq "the port is signed and not sent" "$(ask nas 0 "nas:$port")" 200
expect_eq "the port is sent and not signed" "$(ask "nas:$port" 0 nas)" 200
expect_eq "another port is signed" "$(ask nas 0 "nas:81")" 403
stop_server
ok "-auth-skew, any address and host, S3QL's port"

# ---- secrets do not show in the time that a comparison takes ----

crypto=$ZKV_BIN/../test/test_s3_crypto
valgrind -q --error-exitcode=9 "$crypto" control >"$WORK/valgrind" 2>&1
expect_eq "valgrind, of a comparison that ends early" "$?" 9
valgrind -q --error-exitcode=9 "$crypto" compare >"$WORK/valgrind" 2>&1 ||
    fail "the comparison depends on what it compares: $(cat "$WORK/valgrind")"
ok "signatures are compared in constant time"

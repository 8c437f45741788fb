#!/usr/bin/env bash
# tls.sh [IDLE]
#
# Exercises: -tls-cert and -tls-key with a CA made on the spot: what is refused at the start; curl with
# TLS 1.2 and 1.3 and not 1.1, plain requests on a port with TLS and the other way round, resumption;
# rclone, restic, boto3 and presigned URLs; bodies that are cut, garbage; a certificate
# that is replaced under load, by a broken one and a good one; the memory of IDLE (1,000) connections at
# rest and of readers that take nothing; the end of all connections at a stop (test/support/tls.py).
. "$(dirname "$0")/lib.sh"
unset AWS_CA_BUNDLE CURL_CA_BUNDLE REQUESTS_CA_BUNDLE SSL_CERT_FILE SSL_CERT_DIR
export PYTHONPATH=$ROOT/test/support
tls=$WORK/ca
pair=(-tls-cert "$tls/server.pem" -tls-key "$tls/server.key")
make_ca "$tls"
make_pair "$tls" server
make_pair "$tls" other

# ---- the start ----

new_store refused
refused()
{
    local wanted=$1
    shift
    run_server -dir "$STORE" -addr 127.0.0.1:0 "$@"
    [ "$STATUS" != 0 ] || fail "started with $*"
    expect_match "what is said of $*" "$OUT" "$wanted"
}
refused "*-tls-key is missing*" -tls-cert "$tls/server.pem"
refused "*-tls-cert is missing*" -tls-key "$tls/server.key"
refused "*-tls-cert $tls/none: it cannot be read: No such file*" -tls-cert "$tls/none" -tls-key "$tls/server.key"
refused "*-tls-key $tls/none: it cannot be read: No such file*" -tls-cert "$tls/server.pem" -tls-key "$tls/none"
refused "*-tls-key $tls/other.key: this is not the key of the certificate in $tls/server.pem*" \
    -tls-cert "$tls/server.pem" -tls-key "$tls/other.key"
refused "*-tls-cert $0: there is no certificate in PEM form*" -tls-cert "$0" -tls-key "$tls/server.key"
chmod 640 "$tls/other.key"
refused "*-tls-key $tls/other.key: others may read*chmod 600*" -tls-cert "$tls/other.pem" -tls-key "$tls/other.key"
expect_eq "files made by starts that were refused" "$(ls -A "$STORE")" ""
ok "a pair that cannot be used is refused with the file and the reason"

# ---- curl and openssl ----

new_store store
start_server "$STORE" "${pair[@]}"
expect_match "where it says that it listens" "$(head -n 1 "$SERVER_LOG")" "listening on https://127.0.0.1:*"
grep -q "mount.s3ql s3c://localhost:" "$SERVER_LOG" || fail "S3QL's URL has not the name of the certificate"
plain_log=$SERVER_LOG
http -k "$SERVER_URL/" >/dev/null || fail "nothing listens"
if http "$SERVER_URL/" >/dev/null 2>&1; then
    fail "curl trusts a CA that it does not know"
fi
export CURL_CA_BUNDLE=$tls/ca.pem ZKV_CA=$tls/ca.pem
random_file "$WORK/body" 5000000
for version in 1.2 1.3; do
    said=$(curl -sSv --tlsv$version --tls-max $version -T "$WORK/body" "$SERVER_BUCKET/body-$version" 2>&1) ||
        fail "PUT with TLS $version: $said"
    expect_match "PUT with TLS $version" "$said" "*TLSv$version*ALPN: server accepted http/1.1*100 Continue*200 OK*"
    curl -sS --tlsv$version --tls-max $version -o "$WORK/got" "$SERVER_BUCKET/body-$version" ||
        fail "GET with TLS $version"
    cmp "$WORK/body" "$WORK/got" || fail "another body with TLS $version"
    expect_eq "connections for three requests" "$(curl -sS -o /dev/null -w '%{num_connects}' \
        "$SERVER_BUCKET/body-$version" -o /dev/null "$SERVER_BUCKET/body-$version")" 10
    ask='GET /bucket/x HTTP/1.0\r\nHost: localhost\r\n\r\n'
    s_client=(openssl s_client -connect "$SERVER_ADDR" -CAfile "$tls/ca.pem" -verify_return_error -ign_eof
        "-tls${version/./_}")
    # shellcheck disable=SC2059 # that is what it is
    printf "$ask" | "${s_client[@]}" -sess_out "$WORK/session" >"$WORK/first" 2>&1 || fail "s_client: $(cat "$WORK/first")"
    # shellcheck disable=SC2059
    printf "$ask" | "${s_client[@]}" -sess_in "$WORK/session" >"$WORK/second" 2>&1
    expect_eq "the first and the second connection" "$(grep -ho '^New\|^Reused' "$WORK/first" "$WORK/second" | xargs)" \
        "New Reused"
    ok "TLS $version: curl, 100-continue, keep-alive, resumption"
done
old=(curl -sS --tls-max 1.1 --ciphers "DEFAULT@SECLEVEL=0" "$SERVER_BUCKET/")
expect_match "TLS 1.1" "$("${old[@]}" 2>&1)" "*alert protocol version*"
expect_match "HTTP/2 alone" "$(printf '' | openssl s_client -connect "$SERVER_ADDR" -alpn h2 2>&1)" \
    "*no application protocol*"
expect_match "a plain request" "$(curl -sSi "http://$SERVER_ADDR/bucket/" 2>&1)" "*400 Bad Request*This port speaks TLS*"
ok "TLS 1.1, HTTP/2 and plain requests are refused and told why"

python3 "$ROOT/test/support/tls.py" ends "$SERVER_ADDR" || fail "ends"
ok "bodies that are cut are not stored, ends are announced"
python3 "$ROOT/test/support/tls.py" garbage "$SERVER_ADDR" || fail "garbage"
ok "what is not TLS does no harm"
grep -E '^(warn|error)' "$plain_log" && fail "clients that misbehave fill the log"

# ---- renewal ----

cat >"$WORK/renew" <<END
set -e
cp "$tls/server.key" "$tls/kept.key"
echo broken >"$tls/server.key"
sleep 1.3
mv "$tls/kept.key" "$tls/server.key"
sleep 1.3
mv "$tls/next.pem" "$tls/server.pem"
sleep 1.3
mv "$tls/next.key" "$tls/server.key"
sleep 1.3
END
make_pair "$tls" next
serial()
{
    openssl x509 -noout -serial
}
before=$(openssl s_client -connect "$SERVER_ADDR" </dev/null 2>/dev/null | serial)
expect_eq "the serial number served" "$before" "$(serial <"$tls/server.pem")"
python3 "$ROOT/test/support/tls.py" renew "$SERVER_ADDR" 6.5 bash "$WORK/renew" || fail "renewal"
after=$(openssl s_client -connect "$SERVER_ADDR" </dev/null 2>/dev/null | serial)
expect_eq "the serial number served afterwards" "$after" "$(serial <"$tls/server.pem")"
[ "$before" != "$after" ] || fail "the certificate is the old one"
grep -q 'warn: .*cannot be used, those known before stay: -tls-key .*no private key' "$SERVER_LOG" || fail "the broken key is not told"
ok "a certificate is replaced under load, a broken one is not taken, no request fails"

# ---- memory ----

stop_server INT
new_store memory
start_server "$STORE" "${pair[@]}"
python3 "$ROOT/test/support/tls.py" idle "$SERVER_ADDR" "$SERVER_PID" "${1:-1000}" || fail "idle connections"
python3 "$ROOT/test/support/tls.py" slow "$SERVER_ADDR" "$SERVER_PID" 40 || fail "slow readers"
ok "connections at rest and slow readers hold a bounded amount"

# ---- the stop ----

python3 - "$SERVER_ADDR" "$SERVER_PID" <<'END' || fail "the end of connections at a stop"
import os, signal, sys
from s3client import connect
socks = [connect(sys.argv[1], timeout=20) for _ in range(5)]
for sock in socks[1:]:
    sock.sendall(b"HEAD /bucket HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert sock.recv(1000).startswith(b"HTTP/1.1 200")
os.kill(int(sys.argv[2]), signal.SIGTERM)
for sock in socks:
    assert sock.recv(1000) == b"", "not announced"
END
wait_server
expect_eq "exit code" "$STATUS" 0
ok "a stop ends idle connections in order"

new_store plain
start_server "$STORE"
if said=$(curl -sS "https://$SERVER_ADDR/" 2>&1); then
    fail "a server without TLS speaks it"
fi
expect_match "TLS on a port without" "$said" "*wrong version number*"
expect_eq "and then" "$(http "$SERVER_BUCKET/")" 200
stop_server INT
ok "TLS on a port without is refused"

# ---- programs ----

printf 'access:secret\n' >"$WORK/keys"
chmod 600 "$WORK/keys"
new_store programs
start_server "$STORE" "${pair[@]}" -auth "$WORK/keys"
export AWS_ACCESS_KEY_ID=access AWS_SECRET_ACCESS_KEY=secret HOME=$WORK
export AWS_DEFAULT_REGION=us-east-1 AWS_CONFIG_FILE=$WORK/none
mkdir "$WORK/tree"
for i in $(seq 1 20); do
    random_file "$WORK/tree/file $i" $((i * i * 1000))
done
cp "$WORK/body" "$WORK/tree/large"

remote=":s3,provider=Other,env_auth,endpoint='$SERVER_URL':bucket"
rclone=(rclone --config "" --ca-cert "$tls/ca.pem" --s3-upload-cutoff 1M --s3-chunk-size 5M -q)
"${rclone[@]}" copy "$WORK/tree" "$remote/tree" || fail "rclone copy"
"${rclone[@]}" check --download "$WORK/tree" "$remote/tree" || fail "rclone check"
ok "rclone"

export RESTIC_REPOSITORY=s3:$SERVER_URL/bucket/restic RESTIC_PASSWORD=p
restic=(restic -q --no-cache --cacert "$tls/ca.pem")
"${restic[@]}" init && "${restic[@]}" backup "$WORK/tree" && "${restic[@]}" check --read-data &&
    "${restic[@]}" restore latest --target "$WORK/restored" || fail "restic"
diff -r "$WORK/tree" "$WORK/restored$WORK/tree" || fail "restic restored something else"
ok "restic"

AWS_CA_BUNDLE=$tls/ca.pem python3 - "$SERVER_URL" "$WORK/body" <<'END' || fail "boto3"
import os, ssl, sys, urllib.request
import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
url, path = sys.argv[1:]
body = open(path, "rb").read() * 4
s3 = boto3.client("s3", endpoint_url=url.replace("127.0.0.1", "localhost"),
                  config=Config(s3={"addressing_style": "path"}))
s3.put_object(Bucket="bucket", Key="small", Body=b"x" * 1000)
assert s3.get_object(Bucket="bucket", Key="small")["Body"].read() == b"x" * 1000
up = s3.create_multipart_upload(Bucket="bucket", Key="parts")["UploadId"]
part = s3.upload_part(Bucket="bucket", Key="parts", UploadId=up, PartNumber=1, Body=body)
done = s3.complete_multipart_upload(Bucket="bucket", Key="parts", UploadId=up,
                                    MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]})
assert done["Location"].startswith("https://localhost:"), done["Location"]
s3.upload_file(path, "bucket", "file", Config=TransferConfig(multipart_threshold=1, multipart_chunksize=5 << 20))
assert s3.get_object(Bucket="bucket", Key="file")["Body"].read() == open(path, "rb").read()
signed = s3.generate_presigned_url("get_object", {"Bucket": "bucket", "Key": "parts"})
assert signed.startswith("https://")
known = ssl.create_default_context(cafile=os.environ["ZKV_CA"])
assert urllib.request.urlopen(signed, context=known).read() == body
END
ok "boto3: bodies, parts, presigned URLs, https in Location"
stop_server INT
expect_eq "exit code" "$STATUS" 0

# The README's own command, which makes one file for both ends.
readme=$(sed -n '/^    openssl req -x509/,/tls.pem$/p' "$ROOT/README.md" | sed 's/192.168.1.2/127.0.0.1/')
(cd "$WORK" && eval "$readme") >/dev/null 2>&1 || fail "the README's command: $readme"
start_server "$STORE" -auth "$WORK/keys" -tls-cert "$WORK/tls.pem" -tls-key "$WORK/tls.key"
expect_eq "curl" "$(curl -sS -o /dev/null -w '%{http_code}' --cacert "$WORK/tls.pem" "$SERVER_URL/")" 403
expect_eq "rclone" "$(rclone --config "" --ca-cert "$WORK/tls.pem" lsf \
    ":s3,provider=Other,env_auth,endpoint='$SERVER_URL':bucket/tree/large")" large
restic -q --no-cache --cacert "$WORK/tls.pem" -r "s3:$SERVER_URL/bucket/restic" check || fail "restic"
ok "the certificate that the README makes"
stop_server INT

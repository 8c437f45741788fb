#!/bin/bash
# exercises: wrong options, and starts that must fail: each with a sentence that says what is wrong
# and the right exit code (2 usage, 1 the rest); nothing is made or changed by a failed start.
# Addresses that must work; standard input is left alone.
. "$(dirname "$0")/lib.sh"

# refused CODE GLOB ARGS...: the start fails with that code, one line, and these words.
refused()
{
    local code=$1 glob=$2
    shift 2
    run_server "$@"
    expect_eq "exit code of: $*" "$STATUS ($OUT)" "$code ($OUT)"
    expect_match "words of: $*" "$OUT" "$glob"
    expect_eq "lines of: $*" "$(printf '%s\n' "$OUT" | wc -l)" 1
    ok "refused: ${*//$WORK/...}"
}

new_store usage
refused 2 '*-dir*' # nothing given
refused 2 '*-bogus*' -bogus
refused 2 '*-ad*' -dir "$STORE" -ad 127.0.0.1:0 # no abbreviations
refused 2 '*-dir*' -dir
refused 2 '*extra*' -dir "$STORE" extra
refused 2 '*-bs*4096*' -dir "$STORE" -bs 4095
refused 2 '*-bs*' -dir "$STORE" -bs -1
refused 2 '*-bs*' -dir "$STORE" -bs 40MB
refused 2 '*-bs*2147483647*' -dir "$STORE" -bs 2G
refused 2 '*-sync*' -dir "$STORE" -sync never
refused 2 '*-log*' -dir "$STORE" -log loud
refused 2 '*-reserve*' -dir "$STORE" -reserve lots
refused 2 '*--*' -dir "$STORE" --
refused 2 '*-bucket*' -dir "$STORE" -bucket a/b
refused 2 '*-bucket*' -dir "$STORE" -bucket ''

refused 2 '*HOST:PORT*' -dir "$STORE" -addr 7711
refused 2 '*HOST:PORT*' -dir "$STORE" -addr 127.0.0.1:
refused 2 '*HOST:PORT*' -dir "$STORE" -addr 127.0.0.1:65536
refused 2 '*HOST:PORT*' -dir "$STORE" -addr 127.0.0.1:+80
refused 2 '*no host*' -dir "$STORE" -addr :7711
refused 2 '*brackets*' -dir "$STORE" -addr ::1:7711
refused 2 '*loopback*' -dir "$STORE" -addr 0.0.0.0:0
refused 2 '*loopback*' -dir "$STORE" -addr 192.0.2.1:0
refused 2 '*loopback*' -dir "$STORE" -addr '[::]:0'
refused 1 '*no.such.host.invalid*' -dir "$STORE" -addr no.such.host.invalid:0

refused 1 "*$WORK/missing does not exist*mkdir -m 700*" -dir "$WORK/missing"
[ ! -e "$WORK/missing" ] || fail "the server made the missing directory"
echo text >"$WORK/file"
refused 1 '*not a directory*' -dir "$WORK/file"
refused 1 '*ot a directory*' -dir "$WORK/file/below"
refused 1 '*-index*' -dir "$STORE" -index "$WORK/missing/index"
refused 1 '*-index*not a file*' -dir "$STORE" -index "$WORK"
expect_eq "files made by failed starts" "$(ls -A "$STORE")" ""
ok "failed starts make nothing"

# Read-only for everybody, root too, where the test may mount.
mkdir "$WORK/ro"
if [ "$(id -u)" != 0 ]; then
    chmod 500 "$WORK/ro"
    refused 1 "*cannot write in $WORK/ro*" -dir "$WORK/ro"
elif mount -t tmpfs -o ro,size=64k none "$WORK/ro" 2>/dev/null; then
    refused 1 "*cannot write in $WORK/ro*" -dir "$WORK/ro"
    umount "$WORK/ro"
fi

# A directory in use, and a port in use.
new_store busy
start_server "$STORE"
refused 1 "*$STORE*$SERVER_PID*" -dir "$STORE" -addr 127.0.0.1:0
new_store other
refused 1 "*$SERVER_ADDR is in use*" -dir "$STORE" -addr "$SERVER_ADDR"
expect_eq "files made beside a port in use" "$(ls -A "$STORE")" ""
expect_eq "the first server goes on" "$(http "$SERVER_BUCKET/")" 200
stop_server
expect_eq "its exit code" "$STATUS" 0
ok "what is in use stays as it is"

# Addresses: a name, IPv6, all of 127.0.0.0/8; both spellings of an option; values behind `=`.
for addr in localhost:0 '[::1]:0' 127.1.2.3:0; do
    if [ "$addr" = '[::1]:0' ] && ! grep -q '^0*1 ' /proc/net/if_inet6 2>/dev/null; then
        continue # this machine has no IPv6
    fi
    start_server "$STORE" -addr "$addr" --log=debug
    expect_match "listens on, for $addr" "$SERVER_ADDR" "*:[1-9]*"
    expect_eq "GET at $addr" "$(http -g "$SERVER_BUCKET/")" 200
    [[ $(cat "$SERVER_LOG") == *"mount.s3ql --backend-options no-ssl s3c://"*":${SERVER_ADDR##*:}/bucket"* ]] ||
        fail "no S3QL command with the real port"
    stop_server
    expect_eq "exit code at $addr" "$STATUS" 0
    ok "listens on $addr"
done

# Another bucket's name; quiet levels.
start_server "$STORE" -bucket My.bucket_1
expect_eq "the named bucket" "$(http "$SERVER_URL/My.bucket_1/")" 200
expect_eq "the default one" "$(http "$SERVER_URL/bucket/")" 404
stop_server
"$SERVER" -dir "$STORE" -addr 127.0.0.1:0 -log warn -- true </dev/null >"$WORK/out" 2>&1
expect_eq "exit code with -log warn" "$?" 0
expect_eq "words with -log warn" "$(cat "$WORK/out")" ""
ok "-bucket, -log"

# An index elsewhere.
start_server "$STORE" -index "$WORK/elsewhere.sqlite"
random_file "$WORK/body" 1000
put key "$WORK/body"
stop_server
[ -s "$WORK/elsewhere.sqlite" ] || fail "-index: no file there"
ok "-index"

# Standard input is left to whoever has it.
printf 'one\ntwo\n' >"$WORK/lines"
{
    "$SERVER" -dir "$STORE" -addr 127.0.0.1:0 -- true 2>/dev/null
    cat
} <"$WORK/lines" >"$WORK/rest"
expect_eq "standard input after a run" "$(cat "$WORK/rest")" "$(cat "$WORK/lines")"
ok "standard input is left alone"

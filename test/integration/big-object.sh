#!/usr/bin/env bash
# big-object.sh [MIB]
#
# Exercises: a large object through multipart uploads, in constant memory (test/support/big_object.py):
# up from a stream, back with the same hash, ranges and parts of it; under 32 MiB of memory all the time.
# And S3's limit for a single PUT, on paper: 5 GiB are let in, one byte more is EntityTooLarge, and nothing
# of either is left.
. "$(dirname "$0")/lib.sh"
mib=${1:-300}

# announce BYTES: the status that a PUT of so many is answered with, before any byte of it.
announce()
{
    local status
    exec {wire}<>"/dev/tcp/${SERVER_ADDR%:*}/${SERVER_ADDR##*:}"
    printf 'PUT /bucket/announced HTTP/1.1\r\nHost: %s\r\nExpect: 100-continue\r\nContent-Length: %s\r\n\r\n' \
        "$SERVER_ADDR" "$1" >&"$wire"
    read -r -t 20 -u "$wire" status
    exec {wire}>&-
    echo "${status%$'\r'}"
}

new_store big
space=$(df --output=avail -m "$WORK" | tail -n 1)
[ "$space" -gt $((mib + 6000)) ] || fail "$WORK has $space MiB; this needs $((mib + 6000))"
start_server "$STORE"
expect_eq "a PUT of 5 GiB" "$(announce 5368709120)" "HTTP/1.1 100 Continue"
expect_eq "a PUT of one byte more" "$(announce 5368709121)" "HTTP/1.1 400 Bad Request"
expect_eq "what is there of it" "$(http "$SERVER_BUCKET/announced")" 404
ok "a single PUT may have 5 GiB and no more"
said=$(/usr/bin/python3 "$ROOT/test/support/big_object.py" "$SERVER_ADDR" "$SERVER_PID" "$mib" 32) || fail "big_object.py: $said"
ok "$said"
stop_server
expect_eq "exit code" "$STATUS" 0

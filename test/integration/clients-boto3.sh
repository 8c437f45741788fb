#!/usr/bin/env bash
# Exercises: Debian's boto3 with passwords: keys that no file system has, streams, links, forms, conditions
# (support/client_boto3.py; more of boto3 is in auth.sh and multipart.sh).
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/../support/clients.sh"
client boto3 "$(/usr/bin/python3 -c 'import boto3; print(boto3.__version__)')"

new_store boto3
start_signed "$STORE" -bs 4000000
/usr/bin/python3 "$ROOT/test/support/client_boto3.py" "$SERVER_ADDR" || fail "client_boto3.py"
stop_server
expect_eq "exit code" "$STATUS" 0

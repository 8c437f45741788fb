#!/usr/bin/env bash
# Exercises: every operation of S3 that botocore knows, against the README's table of them.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/../support/clients.sh"

new_store operations
start_signed "$STORE"
/usr/bin/python3 "$ROOT/test/support/operations.py" "$SERVER_ADDR" "$ROOT/README.md" || fail "operations.py"
stop_server
expect_eq "exit code" "$STATUS" 0

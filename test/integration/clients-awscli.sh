#!/usr/bin/env bash
# Exercises: Debian's AWS command line with passwords: trees of odd names, parts both ways, streams, links,
# and every operation of s3api that the server has (support/client_aws.py); then what is there is compared
# without it, and that the server refused nothing on the way but what must be.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/../support/clients.sh"
client awscli "$(/usr/bin/aws --version | sed 's,aws-cli/\([0-9.]*\).*,\1,')"
mkdir "$HOME/.aws"
cat >"$HOME/.aws/config" <<'SETTINGS'
[default]
output = json
cli_pager =
s3 =
    multipart_threshold = 5MB
    multipart_chunksize = 5MB
    addressing_style = path
SETTINGS

new_store awscli
start_signed "$STORE" -bs 4000000
make_tree "$WORK/src" 0 1 5242879 5242880 5242881 30000000
/usr/bin/python3 "$ROOT/test/support/client_aws.py" "$SERVER_ADDR" "$WORK/src" "$WORK" || fail "awscli.py"
/usr/bin/aws --endpoint-url "$SERVER_URL" s3 sync --quiet "$WORK/src" s3://bucket/tree || fail "sync"
expect_stored tree/ "$WORK/src"
expect_refusals "DELETE bucket 409
DELETE object?uploadId 404
GET bucket 403
GET bucket 404
GET bucket?cors 404
GET bucket?lifecycle 404
GET bucket?policy 404
GET bucket?tagging 404
GET object 403
GET object 404
GET object 412
GET object 416
HEAD bucket 404
HEAD object 404
POST object?restore 501
PUT bucket 400
PUT bucket?lifecycle 501
PUT bucket?policy 501
PUT bucket?versioning 501
PUT object 400
PUT object 403
PUT object 404
PUT object 501
PUT object?tagging 501"
stop_server
expect_eq "exit code" "$STATUS" 0

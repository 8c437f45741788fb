#!/usr/bin/env bash
# Exercises: clients in JavaScript, with Debian 13's node: the AWS SDK (@aws-sdk/client-s3, lib-storage,
# s3-request-presigner), whose streams come with their checksum behind them, in aws-chunked coding inside
# HTTP chunks; and minio. Their exact versions are in test/npm/package-lock.json, with checksums; npm
# fetches them into the build folder, once.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/../support/debian13.sh"
with_debian13 "$@"
. "$here/lib.sh"

# Before clients.sh forgets proxies. What this machine trusts, npm trusts.
npm=$(dirname "$ZKV_BIN")/npm
mkdir -p "$npm" && mount --bind "$npm" "$S3QL_ROOT/srv" || fail "cannot bind $npm"
if ! cmp -s "$ROOT/test/npm/package-lock.json" "$npm/installed.json"; then
    cp "$ROOT"/test/npm/package*.json "$npm/"
    [ ! -e /etc/ssl/certs/ca-certificates.crt ] || cp -L /etc/ssl/certs/ca-certificates.crt "$npm/ca.crt"
    chroot "$S3QL_ROOT" /usr/bin/env -C /srv HOME=/srv PATH=/usr/sbin:/usr/bin:/sbin:/bin NODE_EXTRA_CA_CERTS=/srv/ca.crt \
        npm ci --ignore-scripts --no-audit --no-fund >"$WORK/npm.log" 2>&1 </dev/null || {
        tail -n 20 "$WORK/npm.log" >&2
        fail "npm cannot install what test/npm/package-lock.json names"
    }
    cp "$npm/package-lock.json" "$npm/installed.json"
fi
cp "$ROOT"/test/npm/*.js "$npm/"

. "$here/../support/clients.sh"
show_work

new_store store
start_signed "$STORE" -bs 4000000
for package in @aws-sdk/client-s3 minio; do
    client "$package" "$(sed -n "s|.*\"$package\": \"\(.*\)\".*|\1|p" "$ROOT/test/npm/package.json")"
done
in13 env NODE_NO_WARNINGS=1 node /srv/aws.js "$SERVER_URL" bucket || fail "aws.js"
kill_server
new_store second
start_signed "$STORE" -bs 4000000
in13 node /srv/minio.js "$SERVER_ADDR" bucket || fail "minio.js"
stop_server
must "$ZKV_BIN/tools/zipkvverify" -dir "$WORK/second"
ok "zipkvverify finds nothing wrong with what they left"

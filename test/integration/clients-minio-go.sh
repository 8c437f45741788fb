#!/usr/bin/env bash
# Exercises: minio-go's functional tests, those of Debian 13's package, built with Debian 13's Go in the
# build folder (no download). All are run; those that do not pass here are in test/support/minio_go.txt, each
# with its reason, and one that does after all is an error, too.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/../support/debian13.sh"
with_debian13 "$@"
. "$here/lib.sh"
. "$here/../support/clients.sh"
show_work

go=$(dirname "$ZKV_BIN")/minio-go
source=/usr/share/gocode/src/github.com/minio/minio-go/v7/functional_tests.go
mkdir -p "$go" && mount --bind "$go" "$S3QL_ROOT/srv" || fail "cannot bind $go"
python3 "$ROOT/test/support/minio_go.py" make "${S3QL_ROOT%/}$source" "$go" || fail "minio_go.py make"
must in13 env -C /srv GO111MODULE=off GOPATH=/usr/share/gocode GOCACHE=/srv/cache GOFLAGS=-buildvcs=false \
    CGO_ENABLED=0 go build -o functional functional.go main.go
version=$(dpkg-query --admindir="${S3QL_ROOT%/}/var/lib/dpkg" -W -f '${Version}' golang-github-minio-minio-go-v7-dev)
client minio-go "${version%-*}"

new_store store
start_signed "$STORE" -bs 10000000
export SERVER_ENDPOINT=$SERVER_ADDR ACCESS_KEY=$AWS_ACCESS_KEY_ID SECRET_KEY=$AWS_SECRET_ACCESS_KEY
said=$(cd "$WORK" && python3 "$ROOT/test/support/minio_go.py" run "$go/functional" "$ROOT/test/support/minio_go.txt") || fail "minio-go ${version%-*}"
ok "$said (${version%-*})"
stop_server
expect_eq "exit code" "$STATUS" 0

#!/usr/bin/env bash
# Exercises: Debian's restic with passwords: init, backups, a second one that sends only what is new,
# check --read-data, restore, diff, snapshots, dump, forget --prune, a second repository below a prefix, a
# third in a bucket of its own; kill -9 of the server in the middle of a backup, which goes on when it is
# back, with a check after it; and that the server refused nothing on the way but what must be.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/../support/clients.sh"
unset AWS_DEFAULT_REGION
export RESTIC_PASSWORD=secret RESTIC_CACHE_DIR=$WORK/restic-cache RESTIC_PROGRESS_FPS=0.1
client restic "$(restic version | cut -d ' ' -f 2)"

backup()
{
    must restic backup --quiet "$WORK/src" "$@"
}

snapshots()
{
    restic snapshots --json | grep -o '"short_id":"[^"]*' | sed 's/.*"//'
}

# restic COMMAND.. with a repository in a bucket that it makes.
another()
{
    RESTIC_REPOSITORY=s3:$SERVER_URL/another RESTIC_PASSWORD=other must restic "$@"
}

restore()
{
    rm -rf "$WORK/back"
    must restic restore latest --target "$WORK/back"
    expect_files "$WORK/src" "$WORK/back$WORK/src"
}

new_store restic
start_signed "$STORE" -bs 4000000
address=$SERVER_ADDR
export RESTIC_REPOSITORY=s3:$SERVER_URL/bucket
AWS_SECRET_ACCESS_KEY=wrong must_not '*signature*' timeout 60 restic snapshots
AWS_ACCESS_KEY_ID=NOBODY must_not '*access key*' timeout 60 restic snapshots
expect_refusals "GET bucket?location 403"
expect_kept "" 0
ok "restic: a wrong secret and an unknown key are told so"

make_tree -bytes "$WORK/src" 0 1 40000000
must restic init
backup
backup
make_tree "$WORK/src/more" 700000
backup --tag second
restore
must restic check --read-data
must restic diff $(snapshots | sed -n '1p;$p')
expect_match "diff" "$(cat "$WORK/said")" "*+ *more/size/700000*"
restic dump latest "$WORK/src/more/size/700000" | cmp - "$WORK/src/more/size/700000" || fail "dump"
expect_refusals "HEAD object 404"
ok "restic init, backup, diff, dump, restore, check --read-data"

must restic forget --keep-last 1 --prune
expect_eq "snapshots" "$(snapshots | wc -l)" 1
must restic check --read-data
rm -rf "$WORK/src/size" "$WORK/src/in"
backup
must restic forget --keep-last 1 --prune
must restic check --read-data --no-cache
restore
export RESTIC_REPOSITORY=$RESTIC_REPOSITORY/hosts/nas
must restic init
backup
must restic check --read-data
must restic -o s3.list-objects-v1=true snapshots
another init
another copy --from-repo "$RESTIC_REPOSITORY" --from-password-command "echo secret"
another check --read-data
RESTIC_REPOSITORY=s3:$SERVER_URL/bucket must restic check
expect_refusals "GET bucket?location 404
HEAD object 404"
ok "restic forget --prune; a second repository below a prefix, a third in a bucket that init makes"

# Packs have 16 MB.
make_tree "$WORK/src/late" 60000000
restic backup --quiet --limit-upload 20000 "$WORK/src" >"$WORK/backup" 2>&1 &
running=$!
is_sending()
{
    tail -n +"$n_seen" "$SERVER_LOG" | grep -q 'PUT "/bucket/hosts/nas/data/.* 200'
}
wait_for 60 is_sending || fail "nothing is sent"
kill_server
kill -0 "$running" || fail "the backup was over before the kill"
sleep 0.3
start_signed "$STORE" -bs 4000000 -addr "$address"
wait "$running" || fail "backup after the kill: $(cat "$WORK/backup")"
must restic check --read-data
restore
expect_refusals ""
ok "kill -9 in the middle of a backup: restic carries on, check and restore find everything"
stop_server
expect_eq "exit code" "$STATUS" 0

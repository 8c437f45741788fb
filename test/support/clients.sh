# Sourced after lib.sh by the scripts that use real clients (clients-*.sh): a server with passwords, a tree
# of odd names, and what the server refused meanwhile.
#
#   client NAME VERSION       says what runs, and that it is in the README
#   start_signed DIR OPT..    start_server with -auth; the key is ADMIN, its secret adminsecret
#   must COMMAND..            its words are in $WORK/said, and shown only if it fails
#   must_not GLOB COMMAND..   fails, and its words match
#   make_tree DIR SIZE..      see client_tree.py
#   expect_stored PREFIX DIR  what is below PREFIX is DIR, byte for byte; asked without the client
#   expect_files A B          two trees are equal, byte for byte
#   expect_refusals KINDS     what was answered with 4xx or 5xx since the last call, one line a kind, for
#                             a client may keep quiet about it
# Nothing of the caller's own set-up.
unset PYTHONPATH "${!AWS_@}" "${!RCLONE_@}" "${!RESTIC_@}" http_proxy https_proxy HTTP_PROXY HTTPS_PROXY all_proxy ALL_PROXY
export AWS_ACCESS_KEY_ID=ADMIN AWS_SECRET_ACCESS_KEY=adminsecret AWS_DEFAULT_REGION=us-east-1
export AWS_EC2_METADATA_DISABLED=true HOME=$WORK/home XDG_CACHE_HOME=$WORK/cache
# Debian's programs, whatever else is installed; and names are UTF-8 to them.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8
mkdir "$HOME"
n_seen=0

is_debian12()
{
    [ "$(. /etc/os-release && echo "${VERSION_ID:-}")" = 12 ]
}

# The README says what was tried; on another Debian it may be another version.
client()
{
    echo "with $1 $2"
    if is_debian12; then
        grep -Eq "^\| (.*, )?$1 $2[ ,]" "$ROOT/README.md" || fail "the README's table of clients has no \"$1 $2\""
    fi
}

start_signed()
{
    local dir=$1
    shift
    (umask 077 && printf 'ADMIN:adminsecret\nREADER:readersecret:ro\n' >"$WORK/keys")
    start_server "$dir" -auth "$WORK/keys" -log debug "$@"
    n_seen=0
}

must()
{
    if ! "$@" >"$WORK/said" 2>&1 </dev/null; then
        tail -n 40 "$WORK/said" >&2
        fail "$*"
    fi
}

must_not()
{
    local glob=$1
    shift
    if "$@" >"$WORK/said" 2>&1 </dev/null; then
        fail "$* should have failed"
    fi
    expect_match "words of: $*" "$(cat "$WORK/said")" "$glob"
}

make_tree()
{
    python3 "$ROOT/test/support/client_tree.py" make "$@" || fail "client_tree.py make $*"
}

expect_stored()
{
    n_stored=$(python3 "$ROOT/test/support/client_tree.py" same "$SERVER_ADDR" "$@") || fail "what is stored below $1"
}

expect_kept()
{
    python3 "$ROOT/test/support/client_tree.py" kept "$SERVER_ADDR" "$@" || fail "what is stored below $1"
}

expect_files()
{
    diff -r --no-dereference "$1" "$2" >"$WORK/said" 2>&1 || {
        head -n 20 "$WORK/said" >&2
        fail "$1 and $2 differ"
    }
}

# "METHOD WHAT STATUS", where WHAT is service, bucket or object and the parameters that say what is wanted.
refusals()
{
    tail -n +$((n_seen + 1)) "$SERVER_LOG" | sed -nE 's/.*conn [0-9]+: ([A-Z-]+) "([^ ]*)" ([45][0-9][0-9]) .*/\1 \2 \3/p' |
        awk '{
            n = split($2, part, "?"); query = ""
            split(part[2], item, "&")
            for (i = 1; i in item; i++) {
                sub(/=.*/, "", item[i])
                if (item[i] ~ /^(acl|cors|delete|lifecycle|location|logging|notification|object-lock|partNumber|policy|policyStatus|requestPayment|tagging|uploadId|uploads|versionId|versioning|versions|website|publicAccessBlock|ownershipControls|encryption|replication|torrent|restore|accelerate)$/)
                    query = query (query == "" ? "?" : "&") item[i]
            }
            what = part[1] == "/" ? "service" : part[1] ~ /^\/[^\/]*\/?$/ ? "bucket" : "object"
            print $1, what query, $3}' | LC_ALL=C sort -u
}

expect_refusals()
{
    local got
    got=$(refusals)
    n_seen=$(wc -l <"$SERVER_LOG")
    expect_eq "what was refused" "$got" "$1"
}

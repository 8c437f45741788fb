#!/bin/bash
# exercises: `meson install`: the programs, their man pages and the systemd unit, and nothing else;
# they run from where they are. The unit: systemd finds nothing to complain about in it, its exposure
# is at most 2.0 of 10, and the system calls of a whole session are all among those it allows.
. "$(dirname "$0")/lib.sh"
tree=$WORK/tree
unit=$tree/usr/local/lib/systemd/system/zipkvserver@.service

DESTDIR=$tree meson install -C "$ZKV_BIN/.." --no-rebuild >"$WORK/out" 2>&1 || {
    cat "$WORK/out" >&2
    fail "meson install"
}
expect_eq "what is installed" "$(cd "$tree/usr/local" && find . -type f | sort | tr '\n' ' ')" \
    "./bin/zipkvhistory ./bin/zipkvrebase ./bin/zipkvserver ./bin/zipkvverify\
 ./lib/systemd/system/zipkvserver@.service ./share/man/man1/zipkvhistory.1\
 ./share/man/man1/zipkvrebase.1 ./share/man/man1/zipkvserver.1 ./share/man/man1/zipkvverify.1 "
for program in zipkvserver zipkvhistory zipkvrebase zipkvverify; do
    expect_match "$program" "$("$tree/usr/local/bin/$program" -version)" "*[0-9].[0-9]*"
done
ok "meson install"

# As it would be on this machine, where nothing is installed below /usr/local.
sed "s|/usr/local/bin|$tree/usr/local/bin|" "$unit" >"$WORK/zipkvserver@.service"
cp "$WORK/zipkvserver@.service" "$WORK/zipkvserver@mnt-disk-store.service"
for file in zipkvserver@.service zipkvserver@mnt-disk-store.service; do
    systemd-analyze verify --man=no "$WORK/$file" >"$WORK/out" 2>&1 || fail "$file: $(cat "$WORK/out")"
    expect_eq "systemd-analyze verify $file" "$(cat "$WORK/out")" ""
done
ok "systemd-analyze verify"
systemd-analyze security --offline=true --threshold=20 "$WORK/zipkvserver@.service" >"$WORK/out" 2>&1 ||
    fail "systemd-analyze security: $(tail -n 1 "$WORK/out")"
ok "systemd-analyze security:$(sed -n 's/^.*Overall exposure level[^:]*:\(.*[0-9]\) .*/\1/p' "$WORK/out")"

# Names of system calls that a set has, with those it includes.
calls_of()
{
    local line
    systemd-analyze syscall-filter "$1" | sed '1d;s/^ *//;/^#/d;/^$/d' | while read -r line; do
        case $line in
        @*) calls_of "$line" ;;
        *) printf '%s\n' "$line" ;;
        esac
    done
}
sets=$(sed -n 's/^SystemCallFilter=//p' "$unit")
for set in $sets; do
    case $set in
    ~@*) calls_of "${set#"~"}" >>"$WORK/forbidden" ;;
    @*) calls_of "$set" >>"$WORK/allowed" ;;
    *) echo "$set" >>"$WORK/allowed" ;;
    esac
done
[ "$(wc -l <"$WORK/allowed")" -gt 100 ] && [ -s "$WORK/forbidden" ] || fail "cannot read the sets of $sets"

new_store calls
random_file "$WORK/body" 300000
SERVER_WRAP="strace -D -qq -f -o $WORK/strace" start_server "$STORE" -addr localhost:0 -bs 500000
for key in 1 2 3 4; do
    put "$key" "$WORK/body"
done
get 2 "$WORK/got"
delete 3
curl -sf "$SERVER_BUCKET?list-type=2" >/dev/null || fail "LIST"
curl -sf -X PUT -H 'x-amz-copy-source: /bucket/1' "$SERVER_BUCKET/5" >/dev/null || fail "copy"
kill_server
SERVER_WRAP="strace -D -qq -f -o $WORK/strace2" start_server "$STORE"
get 5 "$WORK/got"
stop_server TERM
expect_eq "exit code" "$STATUS" 0
cat "$WORK/strace" "$WORK/strace2" | sed -n 's/^[0-9]* *\([a-z_0-9]*\)(.*/\1/p' | sort -u >"$WORK/used"
if [ "$(id -u)" = 0 ]; then
    sed -i '/^fchown$/d' "$WORK/used" # SQLite gives its files to the owner of the database, as root
fi
[ "$(wc -l <"$WORK/used")" -gt 30 ] || fail "strace saw too little: $(cat "$WORK/used")"
sort -u "$WORK/allowed" | grep -vxF -f "$WORK/forbidden" >"$WORK/net"
expect_eq "system calls that the unit would refuse" "$(grep -vxF -f "$WORK/net" "$WORK/used" | tr '\n' ' ')" ""
ok "$(wc -l <"$WORK/used") system calls used, all of them allowed by the unit"

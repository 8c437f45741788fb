#!/usr/bin/env bash
# Exercises: a key is a name, never a path. Keys with dots, slashes, backslashes, once and twice
# encoded, overlong UTF-8, of 1,024 and 1,025 bytes, and buckets like ".." (test/support/paths.py);
# and strace as witness that the server, while it serves them, names no file outside its directory.
. "$(dirname "$0")/lib.sh"
export PYTHONPATH=$ROOT/test/support

traced()
{
    grep -q '^TracerPid:.*[1-9]' "/proc/$SERVER_PID/status"
}

new_store paths
start_server "$STORE" -bs 4096
# The first digest of all makes OpenSSL read its configuration, once.
put stays "$0"
# -y shows what a descriptor stands for.
strace -f -q -y -o "$WORK/trace" -e trace=%file -p "$SERVER_PID" 2>"$WORK/strace.err" &
tracer=$!
wait_for 10 traced || fail "strace does not attach: $(cat "$WORK/strace.err")"
python3 "$ROOT/test/support/paths.py" "$SERVER_ADDR" || fail "paths.py"
ok "keys are names"
stop_server INT
wait "$tracer"
expect_eq "exit code" "$STATUS" 0

python3 - "$WORK/trace" "$(realpath "$STORE")" <<'END' || fail "a file outside of the directory"
import os.path, re, sys
ours = re.compile(r"(block|open|(new-)?db)\d{10}|index\.sqlite(-wal|-shm|-journal)?")
seen = foreign = 0
for line in open(sys.argv[1]):
    call = re.match(r"\d+ +(\w+)\((?:(?:\d+|AT_FDCWD)<([^>]*)>, )?\"([^\"]*)\"", line)
    if not call:
        continue
    seen += call[1] == "openat"
    path = os.path.normpath(os.path.join(call[2] or "/?", call[3]))
    folder, name = os.path.split(path)
    if path != sys.argv[2] and not (folder == sys.argv[2] and ours.fullmatch(name)):
        foreign += 1
        print(line, end="")
print("%d files opened, %d calls with other paths" % (seen, foreign))
sys.exit(foreign > 0 or seen < 5)
END
ok "no file outside of the directory is named"
set -- "$STORE"/*
for file; do
    [[ ${file##*/} =~ ^(block[0-9]{10}|db[0-9]{10}|index\.sqlite|lock)$ ]] || fail "a strange file: $file"
done
ok "no strange file is left"

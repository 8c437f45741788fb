#!/usr/bin/env bash
# Exercises: system calls of the real program that fail, or at which it is killed: answers are true,
# the end is in order, and the next start has everything. Arguments: short (some of each kind) or long
# (every one of them), and a seed.
. "$(dirname "$0")/lib.sh"

mkdir "$WORK/runs"
python3 "$ROOT/test/support/strace_faults.py" "$SERVER" "$WORK/runs" "${1:-short}" ${2:+"$2"} || fail "strace_faults.py"
ok "calls that fail"

#!/usr/bin/env bash
# Exercises: a bucket whose files fail while GETs, PUTs, lists and copies of it are under way: they end, those
# that cannot be told so by being cut, within the time that store_set.h says; other buckets go on; it comes
# back with what was acknowledged. Ctrl+C while a bucket is being opened, which takes long. And a copy into
# one whose disk is slow: the client hears that it goes on.
. "$(dirname "$0")/lib.sh"
export ZKV_BIN PYTHONPATH=$ROOT/test/support
for what in fail opening copy; do
    python3 "$ROOT/test/support/lost_bucket.py" "$what" "$WORK" || fail "lost_bucket.py $what"
done

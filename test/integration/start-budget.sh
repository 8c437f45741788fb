#!/usr/bin/env bash
# start-budget.sh [OBJECTS]: what a start may cost, in instructions (8,000 objects).
#
# Exercises: a start after a kill with a full block of 40 MiB open; one with OBJECTS and their look-up
# index; and one that makes the index anew from the history, with OBJECTS and with a quarter of them, which
# must cost the same for each. Valgrind counts, so the figures are the same on every machine and under every
# load; the time on the clock is looked at, too, but only for what is not work (sleeping, syncs).
#
# A Raspberry Pi 4 (Cortex-A72 at 1.5 GHz, which can begin three instructions a cycle) is taken to do
# 1.2 billion a second on one core, 0.8 a cycle: what misses its caches often, as look-ups in B-trees do,
# comes to that on it; checking and copying bodies is quicker. Instructions of an x86-64 and of an arm64
# build differ by less than that guess. Its disk is not in it: it has 40 MiB in half a second.
#   the open block             1 s
#   OBJECTS with their index  10 s, however many
#   the index made anew       75,000 an object: a minute for a million
. "$(dirname "$0")/lib.sh"
objects=${1:-8000}
per_second=1200000000
test_start=$ZKV_BIN/../test/test_start
[ -x "$test_start" ] || fail "no $test_start"
command -v valgrind >/dev/null || fail "valgrind is not installed"

# fill NAME OBJECTS BYTES [kill]
fill()
{
    new_store "$1"
    "$test_start" fill "$STORE" "${@:2}" || fail "test_start fill $*"
}

# start NAME SECONDS: a start and a stop, on the clock.
start()
{
    local began=$EPOCHREALTIME
    "$SERVER" -dir "$WORK/$1" -addr 127.0.0.1:0 -- true 2>"$SERVER_LOG" || fail "the start of $1"
    took=$(((${EPOCHREALTIME/./} - ${began/./}) / 1000))
    [ "$took" -le $(($2 * 1000)) ] || fail "$1: the start took $took ms"
}

# count NAME: the same, in instructions; in $counted.
count()
{
    valgrind --tool=callgrind --callgrind-out-file=/dev/null "$SERVER" -dir "$WORK/$1" -addr 127.0.0.1:0 \
        -- true 2>"$SERVER_LOG" || fail "the start of $1 under valgrind"
    counted=$(awk '/Collected/ {n = $NF} END {print n}' "$SERVER_LOG")
    [ -n "$counted" ] || fail "valgrind has not counted"
}

on_a_pi()
{
    awk -v n="$1" -v per="$per_second" 'BEGIN {printf "%.2f billion instructions, %.1f s on a Pi 4", n / 1e9, n / per}'
}

fill block 3900 10000 kill
size=$(stat -c %s "$WORK"/block/open* | awk '{n += $1} END {print n}')
[ "$size" -gt $((38 << 20)) ] || fail "only $size bytes in the open block"
cp -r "$WORK/block" "$WORK/again"
count block
[ "$counted" -le "$per_second" ] || fail "an open block of 40 MiB: $(on_a_pi "$counted")"
grep -q 'recovered 3900 records' "$SERVER_LOG" || fail "the block was not recovered"
start again 20
ok "an open block of 40 MiB: $(on_a_pi "$counted"); here $took ms"

fill many "$objects" 300
count many
[ "$counted" -le $((10 * per_second)) ] || fail "$objects objects: $(on_a_pi "$counted")"
start many 20
ok "$objects objects with their index: $(on_a_pi "$counted"); here $took ms"

fill few $((objects / 4)) 300
for name in few many; do
    rm "$WORK/$name"/index.sqlite*
    count "$name"
    grep -q 'index rebuilt' "$SERVER_LOG" || fail "$name: the index was not made anew"
    declare "n_$name=$counted"
done
rm "$WORK"/many/index.sqlite*
start many $((20 + objects / 10000))
each_few=$((n_few * 4 / objects))
each_many=$((n_many / objects))
[ $((each_many * 2)) -le $((each_few * 3)) ] ||
    fail "the index anew: $each_many instructions an object of $objects, $each_few of a quarter of them"
[ "$each_many" -le 75000 ] || fail "the index anew: $each_many instructions an object"
ok "$objects objects, the index anew: $each_many instructions each ($each_few if they are a quarter), $(on_a_pi "$n_many"); here $took ms"

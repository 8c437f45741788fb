#!/bin/bash
# exercises: -h of each program against its man page: the same options with the same arguments, in
# the same order, and the same defaults; mandoc finds nothing wrong with the pages.
. "$(dirname "$0")/lib.sh"

# Lines "name arg" from -h, and "name: default".
help_options()
{
    sed -n 's/^  -\([a-z][a-z-]*\) *\(.*\)$/\1 \2/p' "$1" | sed 's/ *$//'
}
help_defaults()
{
    awk '/^  -/ { name = substr($1, 2) } /^        Default: / { sub(/^ *Default: /, ""); print name ": " $0 }' "$1"
}
# The same from the list of options of a man page; "-- CMD" is no option.
man_options()
{
    sed -n '/^\.Sh OPTIONS/,/^\.Sh [^O]/s/^\.It Fl \([a-z][a-z-]*\)\( Ar \(.*\)\)\{0,1\}$/\1 \3/p' "$1" |
        sed 's/ *$//'
}
# What the page says of one option, on one line and without macros.
man_text()
{
    awk -v name="$2" '/^\.Sh/ { options = $2 == "OPTIONS" }
        /^\.It/ { on = options && $2 == "Fl" && $3 == name } /^\.El/ { on = 0 }
        on { sub(/^\.[A-Z][a-z] /, ""); printf "%s ", $0 }' "$1"
}

compared=0
for page in "$ROOT"/src/zipkvserver.1 "$ROOT"/src/tools/*.1; do
    [ -e "$page" ] || continue
    name=$(basename "$page" .1)
    program=$ZKV_BIN/$name
    [ -x "$program" ] || program=$ZKV_BIN/tools/$name
    [ -x "$program" ] || fail "no program for $page"
    "$program" -h >"$WORK/help" || fail "$name -h: exit code $?"
    [ -n "$(help_options "$WORK/help")" ] || fail "$name -h lists no options"
    expect_eq "$name: options (man page against -h)" "$(man_options "$page")" "$(help_options "$WORK/help")"
    while read -r option _; do
        wanted=$(help_defaults "$WORK/help" | sed -n "s/^$option: //p")
        text=$(man_text "$page" "$option")
        if [ -n "$wanted" ]; then
            expect_match "$name: default of -$option in the man page" "$text" "*efault*$wanted*"
        else
            expect_eq "$name: default of -$option" "${text/efault/} (-h: none)" "$text (-h: none)"
        fi
    done < <(help_options "$WORK/help")
    expect_eq "$name: --help's twin --h" "$("$program" --h)" "$(cat "$WORK/help")"
    if command -v mandoc >/dev/null; then
        expect_eq "$name: mandoc" "$(mandoc -T lint -W warning "$page" 2>&1)" ""
    fi
    ok "$name"
    compared=$((compared + 1))
done
[ "$compared" -ge 1 ] || fail "no man page found"

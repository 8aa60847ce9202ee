#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# demo_story.sh - the demo, with few questions, says that all is well; as a page of
# text it fits 80 columns and comes line by line, also through a pipe. As TAP.
cd "$(dirname "$0")/../.." || exit 1
export LC_ALL=C.UTF-8
out=$(mktemp "${TMPDIR:-/tmp}/ckv-e2e.XXXXXX")
trap 'rm -f "$out"' EXIT
n=0 bad=0

# check NAME COMMAND...: it must succeed.
check() {
	n=$((n + 1))
	if "${@:2}"; then echo "ok $n - $1"; return; fi
	bad=1
	echo "not ok $n - $1"
}

# holds NAME PATTERN: the report has a line that matches.
holds() { check "$1" grep -qE "$2" "$out"; }

build/ckv-engine --demo --quick --json >"$out"
rc=$?
holds "the demo says that all is well" '"well": true'
holds "four answers rest on the same bits" '"same": 4'
holds "the dead engine leaked nothing" '"leaked": false'
# restart NAME: a number of what the killed daemon and the next one held.
restart() { sed -n '/"restart": {/,/}/s/.*"'"$1"'": \([0-9]*\),*$/\1/p' "$out"; }
kept() { echo "blocks $(restart blocks_before), then $(restart blocks_after)" >&2
	[ "$(restart blocks_before)" -gt 0 ] && [ "$(restart blocks_after)" = "$(restart blocks_before)" ]; }
check "the daemon is killed, and the next one has every block" kept
found() { grep -c '"found": 1792' "$out"; }
check "engines 2, 3 and 4 found the document" [ "$(found)" -eq 3 ]
# joined NAME: a number of what two engines did with one new document while one waited.
joined() { sed -n '/"waiting": {/,/}/s/.*"'"$1"'": \([0-9]*\),*$/\1/p' "$out"; }
once() { echo "tokens $(joined tokens), computed $(joined computed)" >&2
	[ "$(joined computed)" -le $(($(joined tokens) + 16)) ]; }
check "of two engines with a new document one computes it" once
holds "with the whole cache every answer is right" '"right_whole": 4'
check "it ends well" [ $rc -eq 0 ]
[ $bad -eq 0 ] || cat "$out" >&2

# Does a process that this one started keep ckvd going? It does until the demo's end.
plays() {
	local child
	for child in $(cat "/proc/$1/task/$1/children"); do
		[ "$(cat "/proc/$child/comm")" = ckvd-keeper ] && return 0
	done 2>/dev/null
	return 1
}

coproc build/ckv-engine --demo --quick
demo=$COPROC_PID
exec {page}<&"${COPROC[0]}"
live=
: >"$out"
while IFS= read -r line <&"$page"; do
	echo "$line" >>"$out"
	case $line in "engine 1: "*) plays "$demo" && live=yes ;; esac
done
wait "$demo"
rc=$?
fits() { while IFS= read -r line; do [ ${#line} -le 80 ] || { echo "wide: $line" >&2; return 1; }; done <"$out"; }
# in_order LINE...: they begin lines of the page, one after another.
in_order() {
	local from=1 at line
	for line in "$@"; do
		at=$(tail -n +"$from" "$out" | grep -nm 1 "^$line" | cut -d: -f1)
		[ -n "$at" ] || { echo "no $line" >&2; return 1; }
		from=$((from + at))
	done
}
check "the page comes while the demo plays" [ "$live" = yes ]
check "no line is wider than 80 columns" fits
check "each step is there, in its order" in_order "no cache: " "engine 1: " "engine 2: " \
	"Engine 1 is killed" "  before  .* 1 " "  after  .* 0 " "engine 3: " \
	"The daemon is killed" "  It held .* serves again, and holds " "engine 4: " \
	"  Nothing was lost: 4 of 4" "Two engines get one new document" \
	"  each for itself: .* tokens computed, .* s of CPU  █" \
	"  the second waits: .* tokens computed, .* s of CPU  " "  Both answer from the same" \
	"  all .* 4/4 .* 4/4 " " * 50 %.*/4 .*/4 .*/4 " \
	"All is as it should be"
check "that ends well, too" [ $rc -eq 0 ]
[ $bad -eq 0 ] || cat "$out" >&2
echo "1..$n"
exit $bad

#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# demo_story.sh - the demo, with few questions, says that all is well. As TAP.
cd "$(dirname "$0")/../.." || exit 1
out=$(mktemp "${TMPDIR:-/tmp}/ckv-e2e.XXXXXX")
trap 'rm -f "$out"' EXIT
n=0 bad=0

# holds NAME PATTERN: the report has a line that matches.
holds() {
	n=$((n + 1))
	if grep -qE "$2" "$out"; then echo "ok $n - $1"; return; fi
	bad=1
	echo "not ok $n - $1"
}

build/ckv-engine --demo --quick --json >"$out"
rc=$?
holds "the demo says that all is well" '"well": true'
holds "engine 2 found the document" '"found": 1792'
holds "three answers rest on the same bits" '"same": 3'
holds "the dead engine leaked nothing" '"leaked": false'
holds "with the whole cache every answer is right" '"right_whole": 4'
[ $rc -eq 0 ] || { n=$((n + 1)); bad=1; echo "not ok $n - exit code $rc"; }
[ $bad -eq 0 ] || cat "$out" >&2
echo "1..$n"
exit $bad

# SPDX-License-Identifier: Apache-2.0
# tap.sh - what a script checks, as TAP: source it. $dir is a folder of the script's own.
n=0 bad=0

# check WHAT COMMAND...: it must succeed. What it prints is in $dir/out, and shown if not.
check() {
	n=$((n + 1))
	if "${@:2}" >"$dir/out" 2>&1; then echo "ok $n - $1"; return; fi
	bad=1
	echo "not ok $n - $1"
	tail -n 30 "$dir/out" | sed 's/^/  /' >&2
}

# skip WHAT WHY
skip() {
	n=$((n + 1))
	echo "ok $n - $1 # SKIP $2"
}

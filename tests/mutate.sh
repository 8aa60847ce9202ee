# SPDX-License-Identifier: Apache-2.0
# mutate.sh - break one file of the tree, in a copy; for the tables of mutants.

# mutate DIRECTORY FILE EXPRESSION: DIRECTORY/FILE is FILE changed by sed.
# Fails when that changes nothing.
mutate() {
	mkdir -p "$1/$(dirname "$2")"
	sed "$3" "$2" >"$1/$2"
	! cmp -s "$2" "$1/$2"
}

# time_limit FILE COMMAND...: run what is not broken, and leave in FILE how many seconds a
# mutant of it may take: ten times as long, and a few. Its exit code. A mutant that hangs
# is seen by this limit, one that is slow on a busy machine is not taken for one.
time_limit() {
	local file=$1 started=$EPOCHREALTIME rc
	shift
	"$@"
	rc=$?
	awk -v a="$started" -v b="$EPOCHREALTIME" 'BEGIN { print int((b - a) * 10 + 5) }' >"$file"
	return $rc
}

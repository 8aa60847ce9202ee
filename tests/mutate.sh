# mutate.sh - break one file of the tree, in a copy; for the tables of mutants.

# mutate DIRECTORY FILE EXPRESSION: DIRECTORY/FILE is FILE changed by sed.
# Fails when that changes nothing.
mutate() {
	mkdir -p "$1/$(dirname "$2")"
	sed "$3" "$2" >"$1/$2"
	! cmp -s "$2" "$1/$2"
}

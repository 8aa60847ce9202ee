# table.sh - what `run` checks: model | macros | what must come out.
#
# "ok": the whole state space is searched without an error. Anything else is
# the violation that Spin must find, as a regular expression. REACH_ rows show that the model
# does get to the interesting place, so that its "ok" is not an empty one.

table()
{
	cat <<'EOF'
pin |                         | ok
pin | REACH_HIT               | assertion violated no_hit
pin | NO_READER_FENCE         | assertion violated content_is_right
pin | NO_CONFIRM              | assertion violated content_is_right
pin | HIGH_AFTER_FENCE        | assertion violated content_is_right
pin | UNPIN_EARLY             | assertion violated content_is_right
pin | ODD_IS_ABSENT           | assertion violated parent_is_found
pin | ANCESTORS_FROM_SEARCH   | assertion violated content_is_right
pin | PAGE_BEFORE_GENERATION  | assertion violated content_is_right
pin | NO_DAEMON_FENCE         | assertion violated content_is_right
pin | SCAN_BEFORE_ODD         | assertion violated content_is_right
pin | FREE_BEFORE_SCAN        | assertion violated content_is_right
pin | NO_ANCESTORS            | assertion violated content_is_right
pin | COMPARE_GENERATIONS     | assertion violated content_is_right
pin | SAME_GENERATION         | assertion violated (content_is_right|parent_is_found)
pin | GENERATION_BEFORE_KEY   | assertion violated (content_is_right|parent_is_found)
pin | PART_OF_CHAIN           | assertion violated (content_is_right|parent_is_found)
pin | PAGE_BEFORE_PIN         | ok
pin | MOVE_KEEPS_GENERATION   | ok
pin | PAGE_BEFORE_PIN MOVE_KEEPS_GENERATION | assertion violated content_is_right
EOF
}

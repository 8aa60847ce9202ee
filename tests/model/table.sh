# SPDX-License-Identifier: Apache-2.0
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
pin | OUTSIDE_SEQUENCE        | assertion violated (content_is_right|parent_is_found)
pin | PART_OF_CHAIN           | assertion violated (content_is_right|parent_is_found)
pin | PAGE_BEFORE_PIN         | ok
pin | MOVE_KEEPS_GENERATION   | ok
pin | PAGE_BEFORE_PIN MOVE_KEEPS_GENERATION | assertion violated content_is_right
pin | ROUNDS=2 WEAK_STORES             | ok
pin | ROUNDS=2 WEAK_STORES PLAIN_GENERATION | ok
pin | ROUNDS=2 WEAK_STORES NO_READER_FENCE  | assertion violated content_is_right
pin | ROUNDS=2 WEAK_STORES NO_DAEMON_FENCE  | assertion violated content_is_right

levels |                  | ok
levels | REACH_FAR_CHILD  | assertion violated no_far_child
levels | ABOVE_CHILD      | assertion violated chains_are_whole
levels | PAST_CHILD       | assertion violated chains_are_whole
levels | STORE_NEARER     | assertion violated chains_are_whole
levels | BEGIN_NEARER     | ok
levels | NO_SECOND_LOOK   | assertion violated chains_are_whole
levels | OLD_BLOCK        | assertion violated move_is_true
levels | SOURCE_GOES      | assertion violated move_is_true
levels | RECLAIM_PARENT   | assertion violated chains_are_whole

move |                      | ok
move | REACH_BOTH           | assertion violated not_both
move | NO_DAEMON_FENCE      | assertion violated nobody_reads
move | NO_READER_FENCE      | assertion violated nobody_reads
move | DROP_UNSEEN          | assertion violated nobody_reads
move | DROP_KEEPS_GENERATION | assertion violated nobody_reads
move | SHOW_BEFORE_COPY     | assertion violated bytes_are_right
move | COMMIT_OLD           | assertion violated bytes_are_right
move | COMMIT_NEARER        | assertion violated levels_fall
move | COMMIT_OVER          | assertion violated nobody_reads
move | TARGET_LEAVES        | assertion violated target_is_held
move | PUBLISH_UNSEEN       | assertion violated nobody_reads
move | RESERVATION_NO_CHILD | assertion violated levels_fall

fill |                      | ok
fill | REACH_MIXED          | assertion violated not_mixed
fill | LEVEL_AT_FILL        | assertion violated copy_stays
fill | NO_LOOK_AT_FILL      | assertion violated copy_is_there
fill | PIN_ANY_LEVEL        | assertion violated copy_is_there
fill | ONE_PIN              | assertion violated copy_stays
fill | NO_CONFIRM           | assertion violated (copy_is_there|copy_stays)
fill | NO_READER_FENCE      | assertion violated (copy_is_there|copy_stays)
fill | NO_DAEMON_FENCE      | assertion violated (copy_is_there|copy_stays)
fill | ABOVE_CHILD          | assertion violated copy_stays
fill | REMOVE_UNSEEN        | assertion violated copy_stays
fill | STALE_ABOVE_CHILD    | assertion violated copy_stays
fill | STALE_IS_NO_CHILD    | assertion violated copy_stays

wake |                        | ok
wake | REACH_SLEEP            | assertion violated never_blocked
wake | NO_SLEEPER_FENCE       | invalid end state
wake | NO_WAKER_FENCE         | invalid end state
wake | FLAG_AFTER_LOOK        | invalid end state
wake | NO_SECOND_LOOK         | invalid end state
wake | TO_CLIENT              | ok
wake | TO_CLIENT REACH_SLEEP  | assertion violated never_blocked
wake | TO_CLIENT NO_SLEEPER_FENCE | invalid end state
wake | TO_CLIENT NO_WAKER_FENCE   | invalid end state
wake | TO_CLIENT FLAG_AFTER_LOOK  | invalid end state
wake | TO_CLIENT NO_SECOND_LOOK   | invalid end state
wake | TO_CLIENT FUTEX_AFTER_LOOK | invalid end state
wake | TO_CLIENT NO_FUTEX_CHANGE  | invalid end state

ring |                 | ok
ring | REACH_WRAP      | assertion violated first_lap
ring | SEQUENCE_FIRST  | assertion violated message_is_whole
ring | PLAIN_SEQUENCE  | assertion violated message_is_whole
ring | TAKE_EARLY      | assertion violated message_is_whole
ring | CREDIT_EARLY    | assertion violated message_is_whole
ring | NO_CREDIT       | assertion violated message_is_whole
ring | BATCH_TOO_LARGE | invalid end state

bucket |                 | ok
bucket | REACH_NEW       | assertion violated never_read_new
bucket | NO_ODD          | assertion violated entry_is_whole
bucket | NO_WRITER_FENCE | assertion violated entry_is_whole
bucket | PLAIN_EVEN      | assertion violated entry_is_whole
bucket | NO_ACQUIRE      | assertion violated entry_is_whole
bucket | NO_READER_FENCE | assertion violated entry_is_whole
bucket | NO_SECOND_LOOK  | assertion violated entry_is_whole
bucket | ODD_IS_FINE     | assertion violated entry_is_whole

death |                    | ok
death | REACH_HIT          | assertion violated no_hit
death | NO_LIFE_CHECK      | assertion violated missed_after_death
death | LIFE_BEFORE_EPOCH  | assertion violated missed_after_death
death | NO_READER_FENCE    | assertion violated pinned_page_is_right
death | WAIT_FOR_EVEN      | invalid end state
death | PINS_FORGOTTEN     | assertion violated pinned_page_is_right
death | RECORD_LATE        | assertion violated published_page_is_right
death | LENT_IS_FREE       | assertion violated published_page_is_right
death | ONLY_PAGES NO_EPOCH_CHECK     | assertion violated pinned_page_is_right
death | ONLY_PAGES EPOCH_BEFORE_FENCE | assertion violated pinned_page_is_right
death | ONLY_PAGES EPOCH_AFTER_REUSE  | assertion violated pinned_page_is_right
death | ONLY_PAGES NO_EPOCH_FENCE     | ok
death | ONLY_PAGES NO_LIFE_CHECK      | ok
death | ONLY_PAGES NO_EPOCH_FENCE NO_LIFE_CHECK     | assertion violated pinned_page_is_right
death | ONLY_PAGES NO_EPOCH_FENCE LIFE_BEFORE_EPOCH | assertion violated pinned_page_is_right

restart |                       | ok
restart | REACH_BOTH            | assertion violated not_both
restart | REACH_REST            | assertion violated not_rests
restart | CLOSE_AT_REATTACH     | assertion violated nobody_reads
restart | NO_READER_FENCE       | assertion violated nobody_reads
restart | NO_LIFE_OR_EPOCH_CHECK | assertion violated nobody_reads
restart | ANSWER_BEFORE_BARRIER | assertion violated nobody_reads
restart | ANSWER_BEFORE_ROW     | assertion violated nobody_reads
restart | LEND_BEFORE_RECORD    | assertion violated lent_once
restart | SHOW_BEFORE_RECORD    | assertion violated nobody_reads
restart | STATE_FIRST           | ok
restart | NO_SEAL_CHECK         | assertion violated was_published
restart | NO_SEAL_CHECK NO_DAMAGE | ok
restart | NO_SEAL_CHECK NO_DAMAGE STATE_FIRST | assertion violated was_published
restart | SUM_BREAKS            | assertion violated block_is_found
restart | EPOCH_AFTER_LOOK      | ok
restart | EPOCH_AFTER_LOOK LIFE_BEFORE_EPOCH | assertion violated nobody_reads
restart | NO_EPOCH_FENCE LIFE_BEFORE_EPOCH | assertion violated nobody_reads
restart | PINS_FORGOTTEN        | assertion violated nobody_reads
restart | ONLY_REATTACHED       | assertion violated nobody_reads
restart | ENDED_WITH_PIN        | assertion violated nobody_reads
restart | CLOSE_BY_NUMBER       | assertion violated nobody_reads
restart | OTHER_SLOT            | assertion violated bytes_are_right
restart | LENT_IS_FREE          | assertion violated lent_once
restart | LENT_IS_PUBLISHED     | assertion violated was_published
restart | BROKEN_IS_FREE        | assertion violated nobody_reads
restart | REST_FOR_HOLDERS      | assertion violated lent_once
restart | REST_FOR_ONE          | assertion violated lent_once

reserve |                      | ok
reserve | REACH_ALL            | assertion violated never_all
reserve | RESERVATION_NO_CHILD | assertion violated (chain_is_whole|levels_fall)
reserve | CHILD_BEFORE_PARENT  | assertion violated chain_is_whole
reserve | ABORT_ONE            | assertion violated chain_is_whole
reserve | ABORT_PUBLISHED      | assertion violated chain_is_whole
reserve | FOREIGN_PARENT       | assertion violated writer_was_told
reserve | PARENT_UNCHECKED     | assertion violated chain_is_whole
reserve | NEARER_THAN_PARENT   | assertion violated levels_fall
reserve | SAME_KEY_TWICE       | assertion violated pages_are_counted
reserve | DEATH_KEEPS          | assertion violated dead_hold_nothing
reserve | COMMIT_BLINDLY       | assertion violated levels_fall
reserve | COMMIT_ANY_BLOCK     | assertion violated copy_is_right
reserve | DEMOTE_ROOT_FIRST    | assertion violated levels_fall
reserve | ANY_LENDING          | assertion violated name_is_right
reserve | ANY_DAEMON           | assertion violated name_is_right
EOF
}

#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# lint.sh - the rules of this code that a program can check, as TAP.
cd "$(dirname "$0")/.." || exit 1
n=0 bad=0

# report NAME OUTPUT: a rule holds when nothing was found against it.
report() {
	n=$((n + 1))
	if [ -z "$2" ]; then echo "ok $n - $1"; return; fi
	bad=1
	echo "not ok $n - $1"
	echo "$2" | head -n 20 >&2
}

# Without git, as in a tarball, all files but what was built; names begin as git's do.
all=$(git ls-files --cached --others --exclude-standard 2>/dev/null)
[ -n "$all" ] || all=$(find . -name 'build*' -prune -o -name __pycache__ -prune -o -name .git -prune -o \
	-type f -printf '%P\n' | LC_ALL=C sort)

# sources PATTERN...: a * stands for any characters, also for a /.
sources() {
	local file pattern
	while read -r file; do
		# shellcheck disable=SC2053
		for pattern; do
			[[ $file == $pattern ]] && echo "$file" && break
		done
	done <<<"$all"
}

# A rule that looks at nothing holds always.
report "there are sources of each kind" "$(
	for kind in {client,client/cli,daemon,daemon/core,daemon/shell,proto,kernels,tests}/'*.[ch]' \
			'*.cu' '*.cuh' '*.py' '*.sh' '*.[13578]' Makefile; do
		[ -n "$(sources "$kind")" ] || echo "there is no $kind"
	done)"

report "client and daemon do not include each other; proto and kernels nothing of ours" "$(
	grep -nE '#include "daemon/' $(sources 'client/*.[ch]')
	grep -nE '#include "(client|kernels)/' $(sources 'daemon/core/*.[ch]')
	grep -nE '#include "client/' $(sources 'daemon/*.[ch]' 'proto/*' 'kernels/*')
	grep -nE '#include "(daemon|client|kernels|tests)/' $(sources 'proto/*')
	grep -nE '#include "(daemon|client|proto|tests)/' $(sources 'kernels/*'))"

report "the core makes no system call and reads no clock" "$(
	grep -nE '#include <(fcntl|poll|time|unistd|liburing|pthread|signal|sys/)' \
		$(sources 'daemon/core/*.[ch]')
	grep -nE '#include "daemon/shell' $(sources 'daemon/core/*.[ch]'))"

report "the keeper knows nothing of the daemon" "$(
	grep -nE '#include "' $(sources 'daemon/keeper*.[ch]') |
		grep -vE '#include "(daemon/keeper(_[a-z]+)?|proto/ckv_text)\.h"')"

report "the core knows levels by number, not by what they are made of" "$(
	grep -niwE 'host|device|disk|remote' $(sources 'daemon/core/*.[ch]'))"

report "memory orders are named in proto/ only" "$(
	grep -nE 'memory_order_|atomic_(load|store|fetch|exchange|compare|thread_fence)|__atomic_|__sync_' \
		$(sources 'client/*.[ch]' 'daemon/*.[ch]' 'kernels/*.[ch]'))"

report "the daemon's system calls go through daemon/shell/sys.c" "$(
	grep -nE '(^|[^_a-z>.])(mmap|munmap|memfd_create|ftruncate|sendmsg|recvmsg|socket|bind|accept4?|pipe2|eventfd|malloc|calloc|pidfd_open)\(' \
		$(sources 'daemon/shell/*.c' daemon/main.c | grep -v '/sys[a-z_]*\.c'))"

report "the daemon asks the core for nothing from beginning to end, which has no bound" "$(
	grep -nE 'space_(reserve|reserve_scratch|publish|abort|drop|prefetch|view_alloc|touch_drain|chain_hold|tip_next|check)\(' \
		$(sources 'daemon/shell/*.c' | grep -v '/\(replay\|belady\)\.c$'))"

report "libckv's system calls go through client/sys.c" "$(
	grep -nE '(^|[^_a-z>.])(mmap|munmap|madvise|fstat|socket|connect|sendmsg|recvmsg|poll|close|read|write|epoll_[a-z0-9]+|eventfd|syscall|getpid|nanosleep|clock_gettime|malloc|calloc|realloc|free|strdup)\(' \
		$(sources 'client/*.c' | grep -v '^client/.*/' | grep -v '^client/sys\.c$'))"

report "functions are at most 70 lines" "$(
	ctags --version 2>/dev/null | grep -q Universal || echo "universal-ctags is not installed"
	sources '*.c' '*.h' '*.cu' '*.cuh' | xargs ctags -f - --fields=+ne --kinds-C=f \
		--langmap=C++:+.cu.cuh -u 2>/dev/null | awk -F'\t' '{
		n = e = ""
		for (i = 4; i <= NF; i++) {
			if ($i ~ /^line:/) n = substr($i, 6)
			if ($i ~ /^end:/) e = substr($i, 5)
		}
		if (n && e && e - n + 1 > 70) print $2 ":" n ": " $1 " has " e - n + 1
	}')"

report "files are at most 600 lines" "$(
	sources '*.c' '*.h' '*.cu' '*.cuh' '*.py' | xargs wc -l | awk '$2 != "total" && $1 > 600')"

report "every source file says its licence" "$(
	grep -vE '\.(md|json|png|gitignore)$|^\.gitignore$|^LICENSE$|^tests/(data|stamps|fuzz/corpus|quality/results|bench/results)/' <<<"$all" |
		xargs -d '\n' grep -L 'SPDX-License-Identifier: Apache-2.0')"

# Rows of the table: | word, word | meaning | `file` |
report "each word of CONTRIBUTING.md is in the file that defines it" "$(
	table=$(sed -n '/^## The words/,/^## Running/p' CONTRIBUTING.md)
	[ "$(grep -c '^| [a-z].*` |$' <<<"$table")" -ge 60 ] || echo "the table of words is gone"
	sed -n 's/^| \([^|]*\) | .* | `\(.*\)` |$/\2|\1/p' <<<"$table" |
		while IFS='|' read -r file words; do
			IFS=, read -ra each <<<"$words"
			for word in "${each[@]# }"; do
				grep -qiw -e "$word" -e "${word%s}" -e "${word}s" "$file" ||
					echo "$file does not have the word $word"
			done
		done 2>&1)"

# missing_tests TEXT: names between backquotes that no test has.
missing_tests() {
	grep -oE '`[a-z_]+`' <<<"$1" | tr -d '`' | while read -r test; do
		grep -qE "(START_TEST|LIE)\($test\)|^static void $test\(struct scribbler" -r tests ||
			echo "there is no test $test"
	done
}

report "each test of CONTRIBUTING.md's table of claims exists" "$(
	table=$(sed -n '/^## What shows/,/^## Commits/p' CONTRIBUTING.md | grep '^| [a-z]')
	[ "$(wc -l <<<"$table")" -ge 20 ] || echo "the table of claims is gone"
	missing_tests "${table//close()/}")"

# The last cell of a row names its tests.
report "each row of proto/death.md names tests, and they exist" "$(
	table=$(grep '^| [a-z`]' proto/death.md | grep -v '^| what |')
	[ "$(wc -l <<<"$table")" -ge 15 ] || echo "the table is gone"
	while read -r row; do
		tests=${row%|*} tests=${tests##*|}
		grep -q '`' <<<"$tests" || echo "no test in: $row"
		missing_tests "$tests"
	done <<<"$table")"

# Texts over several lines of the source are one.
report "each text that ckv-troubleshooting.7 quotes is printed by something" "$(
	texts=$(sources 'client/*.[ch]' 'daemon/*.[ch]' | xargs sed -z 's/"[[:space:]]*"//g' | tr -d '\0')
	sed -n 's/^\.\(It \)\{0,1\}Qq \(.*[^ ,.;]\)[ ,.;]*$/\2/p' client/ckv-troubleshooting.7 | sed 's/ *\.\.\. */\n/g' |
		while read -r part; do
			grep -qF -e "$part" <<<"$texts" || echo "nothing prints: $part"
		done)"

report "tests write to \$TMPDIR, in C through tests/lib/folder.h" "$(
	grep -nE '(^|[^-a-z])/tmp\b|mkdtemp\(|mkstemp\(|tmpnam\(|tmpfile\(' $(sources 'tests/*' |
		grep -vE '^tests/(data/|fuzz/corpus/|run$|lint\.sh$|lib/folder\.h$|e2e/newcomer$)'))"

report "nothing is left for later" "$(
	grep -nEI 'TODO|FIXME|\bXXX\b|HACK|not implemented|for now' \
		$(sources '*.c' '*.h' '*.cu' '*.cuh' '*.py' '*.sh' Makefile | grep -v tests/lint.sh))"

report "ckv.h compiles alone as C and as C++" "$(
	echo '#include "client/ckv.h"' | cc -x c -std=c11 -Wall -Wextra -Werror -I. -fsyntax-only - 2>&1
	echo '#include "client/ckv.h"' | c++ -x c++ -std=c++11 -Wall -Wextra -Werror -I. -fsyntax-only - 2>&1)"

if command -v mandoc >/dev/null; then
	report "man pages are well-formed" "$(
		for page in $(sources '*.[13578]'); do
			mandoc -T lint -W warning "$page" 2>&1
		done)"
else
	n=$((n + 1)); echo "ok $n - man pages # SKIP mandoc is not installed"
fi
echo "1..$n"
exit $bad

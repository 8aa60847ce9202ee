#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# limits.sh - a daemon that the machine, its control group or its limits cannot give
# what it needs says so with both numbers and ends, by itself and before it takes memory.
set -u
cd "$(dirname "$0")/../.." || exit 1
dir=$(mktemp -d "${TMPDIR:-/tmp}/ckv-limits.XXXXX")
ckvd=${CKVD:-build/ckvd} ckv=${CKV:-build/ckv} group=
finish() {
	[ -n "$group" ] && rmdir "$group"
	rm -rf "$dir"
}
trap finish EXIT
. tests/lib/tap.sh

# config POOL: DIR/conf.
config() {
	printf '[daemon]\nsocket = %s/sock\n[space s]\nmodel = m\nlayers = 2\nkv_heads = 2\nhead_dim = 64\npool = %s\n' \
		"$dir" "$1" >"$dir/conf"
}

# refused TEXT COMMAND...: it ends with $status, not by a signal, and says TEXT.
status=1
refused() {
	"${@:2}" >"$dir/said" 2>&1
	local rc=$?
	cat "$dir/said"
	[ $rc -eq $status ] && grep -q "$1" "$dir/said" && [ ! -e "$dir/sock" ]
}

limited() { bash -c "ulimit $1 && exec $ckvd --config $dir/conf ${2-}"; }

# In a control group of 64 MiB.
grouped() { bash -c "echo \$\$ >$group/cgroup.procs && exec $ckvd --config $dir/conf ${1-}"; }

# Where only that group is mounted, as in a container.
doctored() {
	unshare -m bash -c "mount --bind $group /sys/fs/cgroup/memory && exec $ckv doctor" >"$dir/said"
	grep '^warn  memory .*gives at most 64.0 MiB' "$dir/said" || ! cat "$dir/said"
}

# A group of our own below the one we are in, with a limit; version 1 here.
make_group() {
	local below
	below=$(sed -n 's/^[0-9]*:\([^:]*,\)\{0,1\}memory\(,[^:]*\)\{0,1\}://p' /proc/self/cgroup)
	for group in "/sys/fs/cgroup/memory$below/ckv-test-$$" \
		"/sys/fs/cgroup/memory/ckv-test-$$"; do
		mkdir "$group" 2>/dev/null || continue
		echo 64M 2>/dev/null >"$group/memory.limit_in_bytes" && return 0
		rmdir "$group"
	done
	group=
	return 1
}

config 8MiB
check "files that are too long for RLIMIT_FSIZE" \
	refused 'RLIMIT_FSIZE allows' limited '-f 512'
check "the same by --check" refused 'RLIMIT_FSIZE allows' limited '-f 512' --check
check "more descriptors than allowed" refused 'RLIMIT_NOFILE allows 24' limited '-n 24'
config 16TiB
check "more memory than any machine has" \
	refused 'needs 16.* of memory .*gives at most .* of it free' "$ckvd" --config "$dir/conf"
check "the same by --check" \
	refused 'needs 16.* of memory .*gives at most .* of it free' "$ckvd" --config "$dir/conf" --check
config 128MiB
if make_group; then
	check "more memory than the control group has" \
		refused "needs 1.* control group /.*ckv-test-$$ gives at most 64.0 MiB" grouped
	check "the same by --check" \
		refused "needs 1.* control group /.*ckv-test-$$ gives at most 64.0 MiB" grouped --check
	if unshare -m true 2>"$dir/out"; then
		check "doctor sees the limit of a container's group" doctored
	else
		skip "doctor sees the limit of a container's group" "no mount namespace"
	fi
	config 8MiB
	check "what fits in the group is accepted by --check" grouped --check
else
	skip "more memory than the control group has" "no memory controller of version 1 to use"
fi
# What stays wrong has a status of its own, after which the unit does not start it again.
config many
check "--check of a wrong configuration" refused 'pool = many: expected' "$ckvd" --config "$dir/conf" --check
status=78
check "a start with it" refused 'pool = many: expected' "$ckvd" --config "$dir/conf"
check "a start without one" refused 'No such file' "$ckvd" --config "$dir/none"
check "the unit knows that status" grep '^RestartPreventExitStatus=.*\<78\>' systemd/ckvd.service
echo "1..$n"
exit $bad

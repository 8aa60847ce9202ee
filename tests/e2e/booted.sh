#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# booted.sh - the unit under a real systemd, which systemd-nspawn boots from this machine's own
# /usr: started, killed, restarted with a new binary, stopped. As TAP.
#
# $CKV_BOOTED_POOL is the pool's size, 64MiB where it is not set: 8GiB and half a minute more
# show how long a large one takes. `booted.sh inside` is what the booted machine runs.
set -u
cd "$(dirname "$0")/../.." || exit 1
pool=${CKV_BOOTED_POOL:-64MiB}
. tests/lib/tap.sh

cannot() {
	echo "ok 1 - the unit under a booted systemd # SKIP $1"
	echo "1..1"
	exit 0
}

# ---- in the booted machine ---------------------------------------------

pid() { systemctl show -p MainPID --value ckvd; }
blocks() { echo $(($(numfmt --from=iec-i "${pool%B}") / 8192)); }
hits() { /opt/ckv/hits demo "$(blocks)" "$@"; }
fails() { ! "$@"; }
active() { systemctl is-active -q ckvd; }

# The same program as another file, of another time.
new_binary() {
	cp /opt/ckv/sbin/ckvd /opt/ckv/sbin/ckvd.new && mv /opt/ckv/sbin/ckvd.new /opt/ckv/sbin/ckvd
}
# kept WHAT PID: the daemon is another process than PID, and has all blocks.
other() { [ "$(pid)" != "$1" ] && active; }
runs_the_new_file() { [ "$(stat -Lc %i "/proc/$(pid)/exe")" = "$(stat -c %i /opt/ckv/sbin/ckvd)" ]; }
unit_is_well_formed() {
	systemd-analyze verify --man=no /etc/systemd/system/ckvd.service >"$dir/verify" 2>&1 || return
	! grep ckvd "$dir/verify"
}
# There is no awk: its name leads through /etc, which is empty here.
unit_is_closed() {
	local level
	level=$(systemd-analyze security --no-pager ckvd.service | tail -n 1 | grep -oE '[0-9]+\.[0-9]')
	echo "$level"
	[ -n "$level" ] && [ "${level/./}" -le 20 ]
}
told() { [ -s "$dir/out" ] && sed 's/^/# /' "$dir/out"; }
# What the daemon says of its start.
parts() { journalctl --sync; journalctl -u ckvd -o cat --no-pager | grep "^taken over" | tail -n 1 | sed 's/^/# /'; }

inside() {
	local before
	dir=$(mktemp -d)
	check "systemd-analyze verify finds nothing in the unit" unit_is_well_formed
	check "systemd-analyze security gives it 2.0 at most" unit_is_closed
	check "systemctl start" systemctl start ckvd
	check "blocks are stored" hits store
	before=$(pid)
	check "after kill -9 every block is found" hits kill -9 "$before"
	told
	parts
	check "by another process" other "$before"
	before=$(pid)
	check "a second client finds every block" hits
	check "a new binary" new_binary
	check "after systemctl restart every block is found" hits systemctl restart ckvd
	told
	parts
	check "by another process" other "$before"
	check "which is the new binary" runs_the_new_file
	check "systemctl stop" systemctl stop ckvd
	check "systemctl start" systemctl start ckvd
	check "and nothing is left" fails hits
	told
	check "it ends well" systemctl stop ckvd
	[ $bad = 0 ] || journalctl -u ckvd -o short-monotonic --no-pager >&2
	echo "1..$n"
}
[ "${1:-}" != inside ] || { inside; exit; }

# ---- on this machine ---------------------------------------------------

[ "$(id -u)" = 0 ] || cannot "only root can boot a machine"
command -v systemd-nspawn >/dev/null || cannot "systemd-nspawn is not installed (package systemd-container)"
[ -x /usr/lib/systemd/systemd ] || cannot "systemd is not installed"
if [ -z "${CKV_BOOTED:-}" ]; then
	# Mounts end with this process, however it ends.
	unshare -m true 2>/dev/null || cannot "no mount namespace"
	CKV_BOOTED=1 exec unshare -m --propagation private "$0"
fi
dir=$(mktemp -d "${TMPDIR:-/tmp}/ckv-booted.XXXXXX")
trap 'rm -rf "$dir"' EXIT
trap 'exit 1' INT TERM

limit=200
[ "$pool" = 64MiB ] || limit=900
nspawn() {
	timeout -k 10 "$limit" systemd-nspawn -D / --volatile=yes --quiet --register=no --keep-unit \
		--machine="ckv-booted-$$" "$@" </dev/null
}
nspawn true >"$dir/out" 2>&1 || cannot "no container: $(tail -n 1 "$dir/out")"

mkdir -p "$dir/ckv/sbin" "$dir/etc"
cp build/ckvd "$dir/ckv/sbin/"
cp build/tests/hits "$dir/ckv/"
for file in service sysusers tmpfiles; do
	sed 's|@PREFIX@|/opt/ckv|g' "systemd/ckvd.$file" >"$dir/etc/ckvd.$file"
done
# The memory that survives is the pool's; nothing is evicted before all is stored.
cat >"$dir/etc/ckvd.conf" <<END
[daemon]
socket = /run/ckv/ckvd.sock
[space demo]
model = demo
layers = 1
kv_heads = 2
head_dim = 64
block_tokens = 16
dtype = bf16
views = 0
pool = $pool
END
cat >"$dir/etc/booted.service" <<END
[Unit]
Wants=dbus.service
After=dbus.service
[Service]
Type=oneshot
TimeoutStartSec=15min
Environment=CKV_BOOTED_POOL=$pool SYSTEMD_COLORS=0 SYSTEMD_EMOJI=0
ExecStart=/bin/bash /opt/src/tests/e2e/booted.sh inside
ExecStopPost=systemctl poweroff --no-block
StandardOutput=file:/opt/ckv/tap
StandardError=file:/opt/ckv/said
END
: >"$dir/ckv/tap"
nspawn --boot --bind="$dir/ckv:/opt/ckv" --bind-ro="$PWD:/opt/src" \
	--bind-ro="$dir/etc/ckvd.service:/etc/systemd/system/ckvd.service" \
	--bind-ro="$dir/etc/ckvd.sysusers:/etc/sysusers.d/ckvd.conf" \
	--bind-ro="$dir/etc/ckvd.tmpfiles:/etc/tmpfiles.d/ckvd.conf" \
	--bind-ro="$dir/etc/ckvd.conf:/etc/ckv/ckvd.conf" \
	--bind-ro="$dir/etc/booted.service:/etc/systemd/system/booted.service" \
	--bind-ro=/dev/null:/etc/systemd/system/systemd-firstboot.service \
	systemd.unit=booted.service >"$dir/boot" 2>&1
rc=$?
cat "$dir/ckv/tap"
[ -e "$dir/ckv/said" ] && cat "$dir/ckv/said" >&2
grep -q '^1\.\.' "$dir/ckv/tap" && ! grep -q '^not ok' "$dir/ckv/tap" && exit 0
if ! grep -q '^1\.\.' "$dir/ckv/tap"; then
	echo "not ok - the machine boots and its test ends (nspawn: $rc)"
	tail -n 30 "$dir/boot" >&2
fi
exit 1

#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# deps.sh [--name] [demo|test|bench|quality|gpu] - install what a build needs on Debian 12, once.
#
# With --name it installs nothing: it says what is missing, and nothing where nothing is.
# Does nothing, and needs no rights, when everything is there. Otherwise it
# installs packages with apt-get, which needs root or sudo, and says so. What it does
# takes a minute on a fresh machine, so it says how far it is.
set -eu

build="build-essential pkg-config liburing-dev libhwloc-dev libssl-dev
	libxxhash-dev libsystemd-dev libinih-dev libjansson-dev"
tests="$build check git libseccomp-dev clang libclang-rt-14-dev spin
	universal-ctags mandoc python3 gcc-aarch64-linux-gnu libc6-dev-arm64-cross"
bench="$build redis-server libhiredis-dev liblmdb-dev"
quality="$build gnuplot-nox"
gpu="$build check"

install=yes
if [ "${1:-}" = --name ]; then install=no; shift; fi
case "${1:-demo}" in
demo)	want=$build ;;
test)	want=$tests ;;
bench)	want=$bench ;;
quality) want=$quality ;;
gpu)	want=$gpu ;;
*)	echo "usage: deps.sh [--name] demo|test|bench|quality|gpu" >&2; exit 2 ;;
esac

missing=""
for package in $want; do
	state=$(dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null || true)
	case "$state" in ii*) ;; *) missing="$missing $package" ;; esac
done
[ -n "$missing" ] || exit 0

if [ "$install" = no ]; then
	command -v apt-get >/dev/null || exit 0
	echo "ckv: packages are missing. As root, run:" >&2
	echo "  apt-get update && apt-get install -y$missing" >&2
	exit 0
fi
if ! command -v apt-get >/dev/null; then
	echo "ckv: these Debian packages are missing:$missing" >&2
	echo "ckv: install their like by hand, then run make with DEPS=no" >&2
	exit 1
fi
as_root=""
if [ "$(id -u)" != 0 ]; then
	if ! command -v sudo >/dev/null; then
		echo "ckv: installing needs root or sudo. As root, run:" >&2
		echo "  apt-get update && apt-get install -y$missing" >&2
		exit 1
	fi
	as_root=sudo
fi
echo "ckv: installing$missing"
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# How far apt is, by what it tells programs: on a terminal in place, else at each quarter.
progress() {
	awk -F: -v terminal="$([ -t 1 ] && echo 1)" '
	$1 !~ /^(dl|pm)status$/ || $3 !~ /^[0-9.]+$/ { next }
	{
		what = $1 == "dlstatus" ? "downloading" : "installing"
		quarter = int($3 / 25)
		if (terminal)
			printf "\rckv: %s, %3d %% ", what, $3
		else if (what quarter != shown)
			printf "ckv: %s, %d %%\n", what, quarter * 25
		shown = what quarter
		fflush()
	}
	END { if (terminal) print "" }'
}

failed() {
	grep -v '^[dp][lm]status:' "$log" | tail -n 20 >&2
	echo "ckv: apt-get failed, see above" >&2
	exit 1
}

# Another apt-get may be at work, a daily one say. One that installs is waited for if apt-get
# is told so; one that updates never is.
wait_s=${CKV_DEPS_WAIT:-120}

update() {
	local left=$wait_s
	while ! $as_root env LC_ALL=C apt-get update >"$log" 2>&1; do
		if [ "$left" -le 0 ] || ! grep -q '^E: Could not get lock' "$log"; then
			return 1
		fi
		[ "$left" != "$wait_s" ] || echo "ckv: waiting for another apt-get, at most $wait_s s"
		sleep 1
		left=$((left - 1))
	done
}

set -o pipefail
update || failed
$as_root env DEBIAN_FRONTEND=noninteractive \
	apt-get install -y --no-install-recommends -o APT::Status-Fd=1 \
	-o "DPkg::Lock::Timeout=$wait_s" $missing 2>&1 | tee "$log" | progress || failed

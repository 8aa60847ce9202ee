#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# deps.sh [demo|test|bench|quality] - install what a build needs on Debian 12, once.
#
# Does nothing, and needs no rights, when everything is there. Otherwise it
# installs packages with apt-get, which needs root or sudo, and says so.
set -eu

build="build-essential pkg-config liburing-dev libhwloc-dev libssl-dev
	libxxhash-dev libsystemd-dev libinih-dev libjansson-dev"
tests="$build check libseccomp-dev clang libclang-rt-14-dev spin
	universal-ctags mandoc python3 gcc-aarch64-linux-gnu libc6-dev-arm64-cross"
bench="$build redis-server libhiredis-dev liblmdb-dev"
quality="$build gnuplot-nox"

case "${1:-demo}" in
demo)	want=$build ;;
test)	want=$tests ;;
bench)	want=$bench ;;
quality) want=$quality ;;
*)	echo "usage: deps.sh demo|test|bench|quality" >&2; exit 2 ;;
esac

missing=""
for package in $want; do
	state=$(dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null || true)
	case "$state" in ii*) ;; *) missing="$missing $package" ;; esac
done
[ -n "$missing" ] || exit 0

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
if ! { $as_root apt-get update && $as_root env DEBIAN_FRONTEND=noninteractive \
	apt-get install -y --no-install-recommends $missing; } >"$log" 2>&1; then
	tail -n 20 "$log" >&2
	echo "ckv: apt-get failed, see above" >&2
	exit 1
fi

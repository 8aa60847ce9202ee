#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# readme.sh - what the README prints is true: its program compiles as printed
# against an installed ckv and runs, its configuration is accepted, and
# `make install` puts everything where it says.
set -u
cd "$(dirname "$0")/../.." || exit 1
dir=$(mktemp -d "${TMPDIR:-/tmp}/ckv-readme.XXXXX")
daemon=
trap '[ -n "$daemon" ] && kill "$daemon"; rm -rf "$dir"' EXIT
n=0 bad=0

check() {
	n=$((n + 1))
	if "${@:2}" >"$dir/out" 2>&1; then
		echo "ok $n - $1"
	else
		echo "not ok $n - $1"
		sed 's/^/  /' "$dir/out" >&2
		bad=1
	fi
}

# The first block of a language in the README.
block() { awk -v "lang=\`\`\`$1" '$0 == lang { on = 1; next } /^```/ { if (on) exit } on' README.md; }

installed() {
	make -s DEPS=no PREFIX="$dir/usr" DESTDIR= install
	for f in bin/ckv sbin/ckvd lib/libckv.so lib/libckv.a include/ckv.h include/ckv_views.h \
		lib/pkgconfig/libckv.pc share/man/man1/ckv.1 share/man/man3/libckv.3 \
		share/man/man5/ckvd.conf.5 share/man/man7/ckv-methods.7 share/man/man8/ckvd.8 \
		share/man/man7/ckv-troubleshooting.7 share/man/man7/ckv-security.7 \
		lib/systemd/system/ckvd.service lib/sysusers.d/ckvd.conf lib/tmpfiles.d/ckvd.conf \
		share/doc/ckv/ckvd.conf.example; do
		[ -s "$dir/usr/$f" ] || { echo "missing: $f"; return 1; }
	done
}

compiled() {
	block c >"$dir/example.c"
	cc -Wall -Wextra -Werror "$dir/example.c" -o "$dir/example" \
		$(PKG_CONFIG_PATH=$dir/usr/lib/pkgconfig pkg-config --cflags --libs libckv)
}

compiled_cxx() {
	echo 'int main() { ckv *c; return ckv_open("/nonexistent", nullptr, &c) == 0; }' |
		cat <(echo '#include <ckv.h>') - >"$dir/example.cc"
	c++ -Wall -Wextra -Werror "$dir/example.cc" -o "$dir/example_cxx" \
		$(PKG_CONFIG_PATH=$dir/usr/lib/pkgconfig pkg-config --cflags --libs libckv) &&
		LD_LIBRARY_PATH=$dir/usr/lib "$dir/example_cxx"
}

configured() {
	block ini | sed 's/^pool = .*/pool = 64MiB/' >"$dir/readme.conf"
	"$dir/usr/sbin/ckvd" --config "$dir/readme.conf" --check
}

started() {
	printf '[daemon]\nsocket = %s\n[space demo]\nmodel = m\nlayers = 2\nkv_heads = 2\nhead_dim = 64\npool = 16MiB\n' \
		"$dir/ckvd.sock" >"$dir/ckvd.conf"
	"$dir/usr/sbin/ckvd" --config "$dir/ckvd.conf" 2>"$dir/log" &
	daemon=$!
	for _ in $(seq 100); do [ -S "$dir/ckvd.sock" ] && return 0; sleep 0.1; done
	cat "$dir/log"
	return 1
}

ran() {
	CKV_SOCKET=$dir/ckvd.sock LD_LIBRARY_PATH=$dir/usr/lib "$dir/example" |
		tee /dev/stderr | grep -qx '0 of 4 blocks are cached'
}

check "make install puts every file in its place" installed
check "the program compiles as printed" compiled
check "the library links from C++" compiled_cxx
check "the configuration is accepted" configured
check "a daemon starts without root" started
check "the program runs" ran
exit $bad

#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# readme.sh - what the README prints is true: its program compiles as printed
# against an installed ckv and runs, its configuration and the example are accepted,
# and `make install` puts everything where it says. tests/e2e/fresh_root runs all of it.
set -u
cd "$(dirname "$0")/../.." || exit 1
dir=$(mktemp -d "${TMPDIR:-/tmp}/ckv-readme.XXXXX")
daemon=
trap '[ -n "$daemon" ] && kill "$daemon"; rm -rf "$dir"' EXIT
. tests/lib/tap.sh

# The first block of a language in the README.
block() { awk -v "lang=\`\`\`$1" '$0 == lang { on = 1; next } /^```/ { if (on) exit } on' README.md; }

installed() {
	make -s DEPS=no PREFIX="$dir/usr" DESTDIR= install
	for f in bin/ckv sbin/ckvd lib/libckv.so lib/libckv.a include/ckv.h \
		include/ckv_write.h include/ckv_views.h include/ckv_events.h \
		lib/pkgconfig/libckv.pc share/man/man1/ckv.1 share/man/man3/libckv.3 \
		share/man/man5/ckvd.conf.5 share/man/man7/ckv-methods.7 share/man/man8/ckvd.8 \
		share/man/man7/ckv-troubleshooting.7 share/man/man7/ckv-security.7 \
		lib/systemd/system/ckvd.service lib/sysusers.d/ckvd.conf lib/tmpfiles.d/ckvd.conf \
		share/doc/ckv/ckvd.conf.example libexec/ckv/ckv-engine share/ckv/tiny-recall/model.safetensors; do
		[ -s "$dir/usr/$f" ] || { echo "missing: $f"; return 1; }
	done
}

# Into a DESTDIR only copies, each text with the PREFIX in it; then all of it gone again.
packaged() {
	local d="$dir/a package"
	make -s DEPS=no PREFIX=/opt/ckv DESTDIR="$d" install
	! grep -rn '@PREFIX@\|@VERSION@\|/usr/local' "$d" --exclude='libckv*' --exclude=ckv --exclude=ckvd || return
	grep -q '^ExecStart=/opt/ckv/sbin/ckvd ' "$d/opt/ckv/lib/systemd/system/ckvd.service" &&
		grep -q /opt/ckv/share/doc/ckv/ckvd.conf.example "$d/opt/ckv/share/man/man5/ckvd.conf.5" &&
		[ "$(ls "$d")" = opt ] && make -s DEPS=no PREFIX=/opt/ckv DESTDIR="$d" uninstall &&
		! find "$d" ! -type d | grep .
}

# All manuals of the source.
manuals() {
	for page in client/*.[1-8] daemon/*.[1-8]; do
		[ -s "$dir/usr/share/man/man${page##*.}/${page##*/}" ] || { echo "missing: $page"; return 1; }
	done
}

compiled() {
	block c >"$dir/example.c"
	cc -Wall -Wextra -Werror "$dir/example.c" -o "$dir/example" \
		$(PKG_CONFIG_PATH=$dir/usr/lib/pkgconfig pkg-config --cflags --libs libckv)
}

# One file with everything in it.
compiled_static() {
	cc -static "$dir/example.c" -o "$dir/example_static" \
		$(PKG_CONFIG_PATH=$dir/usr/lib/pkgconfig pkg-config --static --cflags --libs libckv) &&
		! CKV_SOCKET=$dir/none.sock "$dir/example_static" 2>"$dir/why" &&
		grep -q "^$dir/none.sock: the socket does not exist" "$dir/why"
}

# Shared libraries, but for libckv itself.
compiled_archive() {
	cc -I"$dir/usr/include" "$dir/example.c" -o "$dir/example_archive" -L"$dir/usr/lib" \
		-l:libckv.a -lcrypto -lxxhash &&
		! CKV_SOCKET=$dir/none.sock "$dir/example_archive" 2>"$dir/why" &&
		grep -q "^$dir/none.sock: the socket does not exist" "$dir/why"
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

# The example, at another place and without the group that only an installation makes.
started() {
	sed "s|/run/ckv|$dir|; /^socket_group/d; /^allow_write/d; s/= 1GiB/= 64MiB/" \
		"$dir/usr/share/doc/ckv/ckvd.conf.example" >"$dir/ckvd.conf"
	"$dir/usr/sbin/ckvd" --config "$dir/ckvd.conf" --check || return
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

# The command that the README has for the example engine, as it was installed here.
engine_command() { awk '/^    .*libexec\/ckv\/ckv-engine --space/ { on = 1 } on { print } on && !/\\$/ { exit }' README.md |
	sed "s|/usr/local|$dir/usr|g"; }

# Twice: the second process finds what the first one stored.
tried() {
	engine_command >"$dir/try" && [ "$(wc -l <"$dir/try")" -gt 2 ] && export CKV_SOCKET=$dir/ckvd.sock || return
	sh "$dir/try" | tee "$dir/first" && sh "$dir/try" | tee "$dir/second" &&
		grep -qx "  82 12 ." "$dir/first" && grep -q "^  71 tokens: 0 found .* 71 computed, 64 stored;" "$dir/first" &&
		grep -qx "  82 12 ." "$dir/second" && grep -q "^  71 tokens: 64 found in the cache, 7 computed;" "$dir/second"
}

# Nothing of the source is needed.
shown() { (cd / && "$dir/usr/libexec/ckv/ckv-engine" --demo --quick); }

check "make install puts every file in its place" installed
check "and every manual" manuals
check "a package has the paths of its PREFIX, and uninstall takes all away" packaged
check "the program compiles as printed" compiled
check "statically, too, and says why it fails" compiled_static
check "and with libckv.a alone" compiled_archive
check "the library links from C++" compiled_cxx
check "the configuration is accepted" configured
check "a daemon starts with the example" started
check "the program runs" ran
check "the example engine answers, and the next one finds its text" tried
check "its demo plays from where it is installed" shown
exit $bad

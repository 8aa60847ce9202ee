#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# demo_engine.sh - the engine's logits are the expected ones: without a daemon,
# and through one, where cached must equal cold bit for bit. As TAP.
cd "$(dirname "$0")/../.." || exit 1
model=tests/data/tiny-recall
dir=$(mktemp -d "${TMPDIR:-/tmp}/ckv-e2e.XXXXXX")
. tests/lib/tap.sh

finish() {
	if [ -n "$daemon" ]; then
		kill "$daemon" 2>/dev/null
		wait "$daemon"
	fi
	rm -rf "$dir"
}
daemon=
trap finish EXIT

engine() { build/ckv-engine --model "$model" "$@"; }
refuses() { ! "$@" && grep -q -- "$expected" "$dir/out"; }

check "logits are right without a daemon" \
	engine --expect $model/expected.safetensors
expected="No such file"
check "an absent model is named" refuses build/ckv-engine --model /nonexistent --prompt a
expected="--model is missing"
check "a missing option is named" refuses build/ckv-engine --prompt a
head -c 100000 $model/model.safetensors >"$dir/model.safetensors"
cp $model/config.json $model/vocab.txt "$dir"
expected="truncated"
check "a truncated model is refused" refuses build/ckv-engine --model "$dir" --prompt a
lost() { "$@" 2>"$dir/err" >/dev/full; [ $? = 1 ] && grep -q "could not be written" "$dir/err"; }
check "help that is lost is no success" lost build/ckv-engine --help
check "an answer that is lost is no success" lost engine --prompt a

cat >"$dir/ckvd.conf" <<EOF
[daemon]
socket = $dir/ckvd.sock
log_level = warning

[space default]
model = tiny-recall
layers = 4
kv_heads = 2
head_dim = 64
block_tokens = 16
dtype = f32
pool = 64MiB

[space long]
model = tiny-recall
layers = 4
kv_heads = 2
head_dim = 64
block_tokens = 1
dtype = f32
pool = 16MiB
EOF
build/ckvd --config "$dir/ckvd.conf" 2>"$dir/log" &
daemon=$!
for _ in $(seq 100); do
	build/ckv status --socket "$dir/ckvd.sock" >/dev/null 2>&1 && break
	sleep 0.1
done

check "cold and cached through the daemon are right, and the same bits" \
	engine --expect $model/expected.safetensors --socket "$dir/ckvd.sock"
check "and again, all found and verified" \
	engine --expect $model/expected.safetensors --socket "$dir/ckvd.sock" --verify
# A word a block, more blocks than one request to the daemon may name.
words=$(printf 'a %.0s' $(seq 1100))
long() { engine --socket "$dir/ckvd.sock" --space long --block 1 --prompt "$words" --words 1; }
says() { "$@" && grep -qx -- "  $expected; first word after .*" "$dir/out" && ! grep -q not "$dir/out"; }
expected="1101 tokens: 0 found in the cache, 1101 computed, 1101 stored"
check "a prompt of 1 101 blocks is stored" says long
expected="1101 tokens: 1100 found in the cache, 1 computed"
check "and found, but for the last word, which is not an error" says long
expected='^ckv-engine: there is no space "elsewhere"; --space names one'
check "a space that is not there is named" \
	refuses engine --prompt a --socket "$dir/ckvd.sock" --space elsewhere
expected="block_tokens"
check "another page size is refused by name" \
	refuses engine --prompt a --block 32 --socket "$dir/ckvd.sock"
expected="0 found in the cache, 2 computed"
by_space() { CKV_SOCKET=$dir/ckvd.sock engine --prompt a --space default && grep -q "$expected" "$dir/out"; }
check "--space alone finds the daemon as any client does" by_space
expected="need --space or --socket"
check "--verify without a cache is refused" refuses engine --prompt a --verify
check "--join without a cache is refused" refuses engine --prompt a --join 5
expected="--join takes a number from 0 to 3600"
check "--join takes seconds" refuses engine --prompt a --space default --join soon
expected="going on without the cache"
check "without a daemon at the socket a text is answered all the same" \
	engine --prompt a --socket "$dir/nobody.sock"
echo "1..$n"
exit $bad

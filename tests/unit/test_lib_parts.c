/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_lib_parts.c - keys, checksums, the argument area, the exported names.
 */
#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>

#include "client/lib.h"
#include "tests/lib/check_main.h"

uint64_t ckv_page_checksum(const void *page, size_t page_bytes);

static uint32_t mine = 1;
static struct ckv ckv = { .mine = &mine, .why_serial = 1 };
static struct ckv_space space = {
	.ckv = &ckv, .lock = PTHREAD_MUTEX_INITIALIZER,
	.geometry = { .block_tokens = 16, .key_scheme = CKV_KEYS_SHA256 },
	.secret = "a secret of thirty-two bytes....",
};

/* The definition, in one go; `extra` as it is hashed. */
static void key_by_definition(const uint8_t *parent, const uint32_t *tokens,
			      uint32_t n, const void *extra, size_t extra_bytes,
			      uint8_t ret[32])
{
	static uint8_t text[8192];
	size_t at = 64;

	memset(text, 0, sizeof text);
	memcpy(text, "ckv2", 4);
	memcpy(text + 4, space.secret, 32);
	memcpy(text + at, parent, 32), at += 32;
	memcpy(text + at, &n, 4), at += 4;
	memcpy(text + at, tokens, 4 * n), at += 4 * n;
	memcpy(text + at, extra, extra_bytes), at += extra_bytes;
	EVP_Digest(text, at, ret, NULL, EVP_sha256(), NULL);
}

/* Keys are the SHA-256 of their definition, chained, one per full block of any size. */
START_TEST(keys_follow_their_definition)
{
	static const char tagged[] = "\1\0\0\0\6\0\0\0lora-7";
	const struct ckv_extra lora = { CKV_EXTRA_LORA, "lora-7", 6 };
	static uint32_t tokens[3 * 200 + 5];
	uint8_t keys[4 * 32], want[32], parent[32];

	for (uint32_t i = 0; i < 3 * 200 + 5; i++)
		tokens[i] = i * 2654435761u;
	for (uint32_t size = 1; size <= 200; size++)
		for (int how = 0; how < 4; how++) {
			size_t n_extras = how & 1;

			space.geometry.block_tokens = size;
			memset(parent, how & 2 ? 0 : 9, sizeof parent);
			memset(keys, 0xa5, sizeof keys);
			ck_assert_int_eq(ckv_keys(&space,
				how & 2 ? NULL : parent, tokens,
				size * 4 - 1, &lora, n_extras, keys), 3);
			for (uint32_t i = 0; i < 3; i++) {
				key_by_definition(parent, tokens + size * i, size,
						  tagged, n_extras * 14, want);
				ck_assert_mem_eq(keys + 32 * i, want, 32);
				memcpy(parent, want, 32);
			}
			ck_assert_uint_eq(keys[96], 0xa5);
		}
	space.geometry.block_tokens = 16;
	ck_assert_int_eq(ckv_keys(&space, NULL, tokens, 15, NULL, 0, keys), 0);
}
END_TEST

static void key_text(const uint8_t key[32], char ret[65])
{
	for (int i = 0; i < 32; i++)
		sprintf(ret + 2 * i, "%02x", key[i]);
}

/*
 * Keys computed by another program: the definition is a format, and a change of it is
 * a new version. Python, with p = struct.pack:
 *
 *   def key(parent, t, x=b''):
 *       return hashlib.sha256(b'ckv2' + secret + bytes(28) + parent +
 *           p('<I', len(t)) + p('<%dI' % len(t), *t) + x).digest()
 *   x = p('<II', 1, 7) + b'adapter' + p('<II', 2, 1) + b's' + p('<II', 3, 5) +
 *       b'first' + p('<II', 3, 6) + b'second' + p('<II', 4, 0)
 */
START_TEST(keys_are_what_they_always_were)
{
	static const struct ckv_extra extras[] = {
		{ CKV_EXTRA_IMAGE, "first", 5 }, { CKV_EXTRA_OTHER, NULL, 0 },
		{ CKV_EXTRA_IMAGE, "second", 6 }, { CKV_EXTRA_SALT, "s", 1 },
		{ CKV_EXTRA_LORA, "adapter", 7 },
	};
	static const char *const want[] = {
		"4b95c4772c4958db37f4b21fe821ca43ae8fca48a8dc78009d8344b15158d724",
		"1ff5c1a7221e14a603c2c1122029d3479beb442d3a719dfa4044a4422e593bc8",
		"07d7e245866234c2366594b2afcf907546d1bf1e70fb6800119462dd39c8501d",
		"3bcc5b53358bed667e18db7bcac78a3218356491a6496495aa3030388264c9b9",
	};
	uint32_t tokens[32];
	uint8_t keys[64];
	char text[65];

	for (uint32_t i = 0; i < 32; i++)
		tokens[i] = i * 1000003 + 17;
	ck_assert_int_eq(ckv_keys(&space, NULL, tokens, 32, NULL, 0, keys), 2);
	key_text(keys, text);
	ck_assert_str_eq(text, want[0]);
	key_text(keys + 32, text);
	ck_assert_str_eq(text, want[1]);
	ck_assert_int_eq(ckv_keys(&space, NULL, tokens, 32, extras, 5, keys), 2);
	key_text(keys, text);
	ck_assert_str_eq(text, want[2]);
	key_text(keys + 32, text);
	ck_assert_str_eq(text, want[3]);
}
END_TEST

/* The same bytes as another kind, cut elsewhere, or not there at all make other keys. */
START_TEST(extras_are_told_apart)
{
	static const struct { struct ckv_extra e[2]; size_t n; } sets[] = {
		{ { { 0 } }, 0 },
		{ { { CKV_EXTRA_LORA, "x", 1 } }, 1 },
		{ { { CKV_EXTRA_SALT, "x", 1 } }, 1 },
		{ { { CKV_EXTRA_IMAGE, "x", 1 } }, 1 },
		{ { { CKV_EXTRA_OTHER, "x", 1 } }, 1 },
		{ { { CKV_EXTRA_LORA, "", 0 } }, 1 },
		{ { { CKV_EXTRA_SALT, NULL, 0 } }, 1 },
		{ { { CKV_EXTRA_IMAGE, "xy", 2 } }, 1 },
		{ { { CKV_EXTRA_IMAGE, "x", 1 }, { CKV_EXTRA_IMAGE, "y", 1 } }, 2 },
		{ { { CKV_EXTRA_IMAGE, "y", 1 }, { CKV_EXTRA_IMAGE, "x", 1 } }, 2 },
		{ { { CKV_EXTRA_LORA, "x", 1 }, { CKV_EXTRA_SALT, "y", 1 } }, 2 },
		{ { { CKV_EXTRA_LORA, "y", 1 }, { CKV_EXTRA_SALT, "x", 1 } }, 2 },
	};
	enum { SETS = sizeof sets / sizeof sets[0] };
	static uint8_t keys[SETS][32], turned[32];
	const struct ckv_extra other_way[2] = { sets[10].e[1], sets[10].e[0] };
	uint32_t tokens[16] = { 1, 2, 3 };

	for (int i = 0; i < SETS; i++) {
		ck_assert_int_eq(ckv_keys(&space, NULL, tokens, 16, sets[i].e,
					  sets[i].n, keys[i]), 1);
		for (int j = 0; j < i; j++)
			ck_assert_mem_ne(keys[i], keys[j], 32);
	}
	ck_assert_int_eq(ckv_keys(&space, NULL, tokens, 16, other_way, 2, turned),
			 1);
	ck_assert_mem_eq(turned, keys[10], 32);
}
END_TEST

/* What cannot be meant is refused, and says why. */
START_TEST(extras_are_judged)
{
	const struct ckv_extra twice[] = { { CKV_EXTRA_SALT, "a", 1 },
					   { CKV_EXTRA_SALT, "b", 1 } };
	const struct ckv_extra none = { 0, "a", 1 }, five = { 5, "a", 1 };
	const struct ckv_extra nothing = { CKV_EXTRA_SALT, NULL, 1 };
	const struct ckv_extra endless = { CKV_EXTRA_SALT, "a", 1ull << 32 };
	uint32_t tokens[16] = { 0 };
	uint8_t key[32] = { 0xa5 };

	ck_assert_int_eq(ckv_keys(&space, NULL, tokens, 16, twice, 2, key),
			 -EINVAL);
	ck_assert_ptr_nonnull(strstr(ckv_why(&ckv), "twice"));
	ck_assert_int_eq(ckv_keys(&space, NULL, tokens, 16, &none, 1, key),
			 -EINVAL);
	ck_assert_ptr_nonnull(strstr(ckv_why(&ckv), "no kind 0"));
	ck_assert_int_eq(ckv_keys(&space, NULL, tokens, 16, &five, 1, key),
			 -EINVAL);
	ck_assert_int_eq(ckv_keys(&space, NULL, tokens, 16, &nothing, 1, key),
			 -EINVAL);
	ck_assert_int_eq(ckv_keys(&space, NULL, tokens, 16, &endless, 1, key),
			 -EINVAL);
	ck_assert_int_eq(ckv_keys(&space, NULL, tokens, 16, NULL, 1, key),
			 -EINVAL);
	ck_assert_uint_eq(key[0], 0xa5);
}
END_TEST

/* A space with the engine's own keys makes none. */
START_TEST(engine_keys_are_not_derived)
{
	uint32_t tokens[16] = { 0 };
	uint8_t key[32];

	space.geometry.key_scheme = CKV_KEYS_ENGINE;
	ck_assert_int_eq(ckv_keys(&space, NULL, tokens, 16, NULL, 0, key),
			 -EINVAL);
	mine = 0;
	ck_assert_int_eq(ckv_keys(&space, NULL, tokens, 16, NULL, 0, key),
			 -ECHILD);
}
END_TEST

/* Copying sums what was copied, at any size and alignment, as the daemon would. */
START_TEST(copy_and_checksum_agree)
{
	static const size_t sizes[] = { 0, 1, 63, 64, 4095, 4096, 4097, 8192,
					65536, 65540, 512 * 4096, 513 * 4096,
					1024 * 4096 + 7 };
	size_t most = 1100 * 4096;
	char *from = malloc(most), *to = malloc(most);

	for (size_t i = 0; i < most; i++)
		from[i] = (char)(i * i >> 7 ^ i);
	for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
		for (size_t shift = 0; shift < 40; shift += 13) {
			size_t n = sizes[s];
			uint64_t sum;

			memset(to, 1, n + shift + 64);
			sum = ckv_copy(to + shift, from + 3, n);
			ck_assert_mem_eq(to + shift, from + 3, n);
			ck_assert_int_eq(to[shift + n], 1);
			ck_assert_uint_eq(sum, ckv_checksum(to + shift, n));
			ck_assert_uint_eq(sum, ckv_page_checksum(from + 3, n));
		}
	free(from);
	free(to);
}
END_TEST

/* A flipped bit anywhere changes the sum. */
START_TEST(checksum_sees_every_piece)
{
	char *page = calloc(8, 4096);
	uint64_t sum = ckv_checksum(page, 8 * 4096);

	for (size_t i = 0; i < 8 * 4096; i += 513) {
		page[i] ^= 4;
		ck_assert_uint_ne(ckv_checksum(page, 8 * 4096), sum);
		page[i] ^= 4;
	}
	free(page);
}
END_TEST

/* Stretches never overlap, whatever the order they come back in; then all is one gap. */
START_TEST(argument_area_is_never_shared)
{
	enum { BYTES = 64 * 1024, MOST = 16 };
	static uint8_t owner[BYTES];
	static const uint8_t nobody[BYTES];
	struct { uint32_t start, bytes; } out[MOST] = { { 0, 0 } };
	struct lib_args args;
	uint32_t full = 0;

	srand((unsigned)_i);
	ck_assert_int_eq(lib_args_init(&args, BYTES, MOST), 0);
	for (int step = 0; step < 2000; step++) {
		int k = rand() % MOST;

		if (out[k].bytes != 0) {
			memset(owner + out[k].start, 0, out[k].bytes);
			lib_args_give(&args, out[k].start, out[k].bytes);
			out[k].bytes = 0;
			continue;
		}
		out[k].bytes = 1 + (uint32_t)rand() % 9000;
		if (lib_args_take(&args, out[k].bytes, &out[k].start) < 0) {
			out[k].bytes = 0;
			full++;
			continue;
		}
		ck_assert_uint_eq(out[k].start % 8, 0);
		ck_assert_uint_le(out[k].start + out[k].bytes, BYTES);
		ck_assert_mem_eq(owner + out[k].start, nobody, out[k].bytes);
		memset(owner + out[k].start, 1, out[k].bytes);
	}
	ck_assert_uint_gt(full, 0);
	for (int k = 0; k < MOST; k++)
		lib_args_give(&args, out[k].start, out[k].bytes);
	ck_assert_uint_eq(args.n_gaps, 1);
	ck_assert_uint_eq(args.gaps[0].bytes, BYTES);
	lib_args_free(&args);
}
END_TEST

/* Every error has a sentence; the text of one connection is not another's. */
START_TEST(errors_have_words)
{
	struct ckv one = { .why_serial = 1 }, two = { .why_serial = 2 };

	for (int e = 1; e < 134; e++)
		ck_assert_uint_gt(strlen(ckv_strerror(-e)), 3);
	ck_assert_str_eq(ckv_strerror(-99999), "unknown error");
	ck_assert_str_eq(ckv_why(&one), "");
	ck_assert_int_eq(lib_why(&one, -EINVAL, "%d apples", 5), -EINVAL);
	ck_assert_str_eq(ckv_why(&one), "5 apples");
	ck_assert_str_eq(ckv_why(&two), "");
}
END_TEST

CHECK_MAIN("lib_parts",
	CASE("parts"),
	LOOP(argument_area_is_never_shared, 5),
	TEST(keys_follow_their_definition),
	TEST(keys_are_what_they_always_were),
	TEST(extras_are_told_apart),
	TEST(extras_are_judged),
	TEST(engine_keys_are_not_derived),
	TEST(copy_and_checksum_agree),
	TEST(checksum_sees_every_piece),
	TEST(errors_have_words))

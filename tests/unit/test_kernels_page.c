/* SPDX-License-Identifier: Apache-2.0 */
/* test_kernels_page.c - page checksums and gathering rows out of pages. */
#include "kernels/ckv_kernels.h"
#include "tests/lib/check_main.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

static unsigned char page[3 * CKV_PIECE_BYTES * 256];

static void fill(void)
{
	for (size_t i = 0; i < sizeof page; i++)
		page[i] = (unsigned char)(i * 2654435761u >> 13);
}

/* The rule written out with plain XXH3, pieces taken last to first. */
static uint64_t by_definition(const void *bytes, size_t n)
{
	size_t n_pieces = (n + 4095) / 4096;
	uint64_t *digest = calloc(n_pieces + 1, sizeof *digest), sum;

	for (size_t i = n_pieces; i-- > 0;) {
		size_t len = n - i * 4096 < 4096 ? n - i * 4096 : 4096;

		digest[i] = XXH3_64bits_withSeed(
			(const char *)bytes + i * 4096, len, i);
	}
	sum = XXH3_64bits(digest, n_pieces * sizeof *digest);
	free(digest);
	return sum;
}

static const size_t sizes[] = {
	0, 1, 4095, 4096, 4097, 8192, 100000, 2 << 20, (2 << 20) + 4096,
	sizeof page,
};

/* The checksum is what its definition says, at every size. */
START_TEST(checksum_is_its_definition)
{
	fill();
	ck_assert_uint_eq(ckv_page_checksum(page, sizes[_i]),
			  by_definition(page, sizes[_i]));
}
END_TEST

/* A changed bit, or two exchanged pieces, change the checksum. */
START_TEST(checksum_sees_changes)
{
	static unsigned char piece[CKV_PIECE_BYTES];
	uint64_t before;

	fill();
	before = ckv_page_checksum(page, 2 << 20);
	page[1234567] ^= 1;
	ck_assert_uint_ne(ckv_page_checksum(page, 2 << 20), before);
	page[1234567] ^= 1;
	ck_assert_uint_eq(ckv_page_checksum(page, 2 << 20), before);
	memcpy(piece, page, sizeof piece);
	memcpy(page, page + sizeof piece, sizeof piece);
	memcpy(page + sizeof piece, piece, sizeof piece);
	ck_assert_uint_ne(ckv_page_checksum(page, 2 << 20), before);
}
END_TEST

static const void *blocks[5];

/* [2 heads, 70 tokens, 64] in blocks of 16 tokens, 32 bytes into each. */
static struct ckv_rows rows_in_page(void)
{
	struct ckv_rows rows = {
		.block = blocks, .offset_bytes = 32,
		.head_stride_bytes = 16 * 128, .block_tokens = 16,
		.n_heads = 2, .n_tokens = 70, .dim = 64,
		.elem = CKV_ELEM_BF16 };

	fill();
	for (uint32_t b = 0; b < 5; b++)
		blocks[b] = page + (4 - b) * 2 * 4096;
	return rows;
}

/* Survivors are copied whole and unchanged, in the order asked for. */
START_TEST(gather_copies_rows)
{
	static const uint32_t want[] = { 0, 15, 16, 17, 40, 69, 3 };
	struct ckv_rows rows = rows_in_page();
	unsigned char out[7 * 128];

	for (uint32_t h = 0; h < 2; h++) {
		ck_assert_int_eq(ckv_gather(&rows, h, want, 7, out), 0);
		for (uint32_t i = 0; i < 7; i++)
			ck_assert_mem_eq(out + i * 128,
					 page + (4 - want[i] / 16) * 2 * 4096 +
						 32 + h * 2048 +
						 want[i] % 16 * 128,
					 128);
	}
}
END_TEST

/* A position or head outside the rows is refused before anything is copied. */
START_TEST(gather_refuses_what_is_outside)
{
	static const uint32_t bad[] = { 1, 70 };
	struct ckv_rows rows = rows_in_page();
	unsigned char out[256], before[256];

	memset(out, 0xa5, sizeof out);
	memcpy(before, out, sizeof out);
	ck_assert_int_eq(ckv_gather(&rows, 0, bad, 2, out), -EINVAL);
	ck_assert_int_eq(ckv_gather(&rows, 2, bad, 1, out), -EINVAL);
	ck_assert_mem_eq(out, before, sizeof out);
	ck_assert_int_eq(ckv_gather(&rows, 0, NULL, 0, out), 0);
}
END_TEST

static uint32_t any_of(uint32_t n)
{
	static uint64_t seed = 0x9e3779b97f4a7c15u;

	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (uint32_t)(seed >> 20) % n;
}

/* Ascending with gaps, in whole runs, or in any order with repetitions. */
static void choose(uint32_t *pos, uint32_t n, uint32_t n_tokens, uint32_t way)
{
	for (uint32_t i = 0; i < n; i++) {
		if (way == 0)
			pos[i] = (uint32_t)((uint64_t)i * n_tokens / n);
		else if (way == 1)
			pos[i] = (i / 40 * 43 + i % 40) % n_tokens;
		else
			pos[i] = any_of(n_tokens);
	}
}

/* Whatever is asked for, of any size and to any address, is row after row. */
START_TEST(gather_is_row_after_row)
{
	enum { MAX_TOKENS = 3000, OUT_BYTES = 600000 };
	static unsigned char out[OUT_BYTES + 64];
	static uint32_t pos[MAX_TOKENS];

	fill();
	for (int k = 0; k < 200; k++) {
		uint32_t block_tokens = 1 + any_of(33);
		uint32_t dim = any_of(3) ? 8 * (1 + any_of(32)) : 1 + any_of(99);
		struct ckv_rows rows = {
			.block_tokens = block_tokens, .n_heads = 2, .dim = dim,
			.head_stride_bytes = (size_t)block_tokens * dim * 2,
			.n_tokens = 1 + any_of(MAX_TOKENS), .elem = CKV_ELEM_F16 };
		size_t row_bytes = dim * 2u, at = any_of(3) * 2;
		uint32_t n = any_of(MAX_TOKENS);
		const void *block[MAX_TOKENS];
		unsigned char *to = out + at;

		if (n > OUT_BYTES / row_bytes - 1)
			n = (uint32_t)(OUT_BYTES / row_bytes - 1);
		for (uint32_t i = 0; i <= rows.n_tokens / block_tokens; i++)
			block[i] = page + any_of(sizeof page - 33 * 512 * 2) / 2 * 2;
		rows.block = block;
		choose(pos, n, rows.n_tokens, (uint32_t)k % 3);
		memset(out, 0xa5, sizeof out);
		ck_assert_int_eq(ckv_gather(&rows, 1, pos, n, to), 0);
		for (uint32_t i = 0; i < n; i++)
			if (memcmp(to + i * row_bytes,
				   ckv_rows_at(&rows, 1, pos[i]), row_bytes) != 0)
				ck_abort_msg("row %u of %u, token %u", i, n,
					     pos[i]);
		for (size_t i = 0; i < 16; i++)
			ck_assert_uint_eq(to[n * row_bytes + i], 0xa5);
		for (size_t i = 0; i < at; i++)
			ck_assert_uint_eq(out[i], 0xa5);
	}
}
END_TEST

CHECK_MAIN("kernels_page",
	CASE("all"),
	EACH(checksum_is_its_definition, sizes),
	TEST(checksum_sees_changes),
	TEST(gather_copies_rows),
	TEST(gather_refuses_what_is_outside),
	TEST(gather_is_row_after_row))

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_kernels_l2norm.c - l2norm in blocks: what all blocks keep is what is promised.
 */
#include "kernels/ckv_kernels.h"
#include "tests/lib/check_main.h"

#include <stdlib.h>

#define TOKENS_MAX 40u
#define DIM 2u

static float key[TOKENS_MAX * DIM];

/* What one block keeps, by the words of ckv_select.h: at least one token. */
static uint32_t block_keeps(const struct ckv_selection *s, uint32_t from,
			    uint32_t to, uint32_t n_tokens)
{
	uint32_t n;

	if (s->keep_den != 0)
		n = ckv_budget_kvpress(to - from,
				       (double)(s->keep_den - s->keep_num) /
				       s->keep_den);
	else
		n = ckv_budget_ratio(to, s->n_keep, n_tokens) -
		    ckv_budget_ratio(from, s->n_keep, n_tokens);
	return n == 0 ? 1 : n;
}

/* The promised number, the numbers of all blocks, and what is really chosen are one. */
static void check(const struct ckv_selection *s, uint32_t n_tokens)
{
	static uint32_t pos[TOKENS_MAX + 1];
	static char scratch[8192] __attribute__((aligned(64)));
	const void *block = key;
	struct ckv_layer in = {
		.n_layers = 1,
		.k = { &block, 0, sizeof key, n_tokens, 1, n_tokens, DIM,
		       CKV_ELEM_F32 },
	};
	uint32_t n = ckv_selection_budget(s, 0, 1, n_tokens), sum = 0;
	struct ckv_kept kept;
	struct ckv_fault fault;

	for (uint32_t from = 0; from < n_tokens; from += s->block)
		sum += block_keeps(s, from, n_tokens - from > s->block ?
				   from + s->block : n_tokens, n_tokens);
	ck_assert_uint_eq(n, sum);
	ck_assert_uint_le(ckv_selection_scratch_bytes(s, &in), sizeof scratch);
	for (uint32_t i = 0; i <= TOKENS_MAX; i++)
		pos[i] = 77;
	ck_assert_int_eq(ckv_select(s, &in, scratch, pos, &kept, &fault), 0);
	ck_assert_uint_eq(kept.n, n);
	for (uint32_t i = 1; i < n; i++)
		ck_assert_uint_lt(pos[i - 1], pos[i]);
	ck_assert_uint_lt(pos[n - 1], n_tokens);
	ck_assert_uint_eq(pos[n], 77);
}

START_TEST(blocks_keep_what_is_promised)
{
	uint32_t n_tokens = (uint32_t)_i + 1;
	struct ckv_selection s = { .kind = CKV_L2NORM, .mode = CKV_OF_KVPRESS };

	for (uint32_t i = 0; i < TOKENS_MAX * DIM; i++)
		key[i] = (float)(i * 31 % 97) / 50 - 1;
	for (s.block = 1; s.block <= n_tokens + 1; s.block++) {
		s.keep_den = 0;
		for (s.n_keep = 1; s.n_keep <= n_tokens; s.n_keep++)
			check(&s, n_tokens);
		for (s.keep_den = 7, s.keep_num = 1; s.keep_num <= 7; s.keep_num++)
			check(&s, n_tokens);
	}
}
END_TEST

CHECK_MAIN("kernels_l2norm",
	CASE("all"),
	LOOP(blocks_keep_what_is_promised, TOKENS_MAX))

/* SPDX-License-Identifier: Apache-2.0 */
/* chain.c - see chain.h. */
#include "tests/lib/chain.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

char why[CKV_METHOD_WHY_BYTES];
const struct ckv_key chain = { { 1 } }, digest = { { 2 } };

struct ckv_geometry geometry = {
	.model = "m", .n_layers = LAYERS, .n_kv_heads = HEADS, .dim_k = DIM_K,
	.dim_v = DIM_V, .block_tokens = BLOCK, .n_ranks = 1,
	.layout = CKV_LAYOUT_HEAD_MAJOR, .key_scheme = CKV_KEYS_SHA256,
};
static unsigned char page[BLOCKS][LAYERS * HEADS * BLOCK * (DIM_K + DIM_V) * 4];
static const void *pages[BLOCKS];
/* The same numbers as ordinary arrays. */
unsigned char flat[2][LAYERS][HEADS * TOKENS * DIM_K * 4];
float queries[LAYERS * 4 * WINDOW * DIM_K];
float lse[LAYERS * 4 * WINDOW];
float sums[LAYERS * HEADS * TOKENS];
struct inputs inputs;

uint32_t width(void)
{
	return ckv_dtype_bytes(geometry.dtype);
}

void put(void *at, float x)
{
	uint32_t bits;

	memcpy(&bits, &x, sizeof bits);
	if (geometry.dtype == CKV_DTYPE_BF16)
		memcpy(at, (char *)&bits + 2, 2);
	else
		memcpy(at, &x, sizeof x);
}

void *element(uint32_t layer, bool value, uint32_t head, uint32_t token,
		     uint32_t dim)
{
	uint32_t row = value ? DIM_V : DIM_K;
	uint32_t at = layer * HEADS * BLOCK * (DIM_K + DIM_V) +
		      (value ? HEADS * BLOCK * DIM_K : 0) + head * BLOCK * row +
		      token % BLOCK * row + dim;

	return &page[token / BLOCK][at * width()];
}

void *flat_row(uint32_t layer, bool value, uint32_t head, uint32_t token)
{
	uint32_t row = value ? DIM_V : DIM_K;

	return &flat[value][layer][(head * TOKENS + token) * row * width()];
}

/* Numbers that are all different enough, in pages and as arrays. */
void fill(uint32_t dtype)
{
	uint32_t seed = 7;

	geometry.dtype = dtype;
	for (uint32_t i = 0; i < BLOCKS; i++)
		pages[i] = page[i];
	for (uint32_t t = 0; t < TOKENS; t++)
		for (uint32_t lh = 0; lh < 2 * LAYERS * HEADS; lh++) {
			uint32_t l = lh / 2 / HEADS, h = lh / 2 % HEADS;
			bool value = lh % 2;
			uint32_t dim = value ? DIM_V : DIM_K;

			for (uint32_t d = 0; d < dim; d++) {
				seed = seed * 1664525u + 1013904223u;
				put(element(l, value, h, t, d),
				    (float)(seed >> 8) / (1 << 22) - 2);
			}
			memcpy(flat_row(l, value, h, t),
			       element(l, value, h, t, 0), dim * width());
		}
	for (uint32_t j = 0; j < sizeof queries / sizeof queries[0]; j++)
		queries[j] = (float)(j * 13 % 89) / 40 - 1;
	for (uint32_t j = 0; j < sizeof lse / sizeof lse[0]; j++)
		lse[j] = 30;
	for (uint32_t j = 0; j < sizeof sums / sizeof sums[0]; j++)
		sums[j] = (float)(j * 7919 % 1013);
}

struct compress request(const struct ckv_method *m, uint32_t n_tokens)
{
	struct compress c = {
		.geometry = &geometry, .method = m, .page = pages,
		.n_tokens = n_tokens, .inputs = &inputs,
	};
	unsigned needs;

	ck_assert_msg(compress_check(&c, 4, why) == 0, "%s", why);
	needs = ckv_selection_needs(&c.settled.select);
	inputs = (struct inputs){ .memory = NULL };
	if (needs & CKV_NEED_QUERIES) {
		inputs.n_query_heads = 4;
		inputs.n_window = ckv_selection_window(&c.settled.select);
		inputs.query_dtype = CKV_DTYPE_F32;
		inputs.part[INPUT_QUERIES].data = queries;
		inputs.part[INPUT_QUERIES].bytes = sizeof queries;
	}
	if (needs & CKV_NEED_SUMS) {
		inputs.n_sum_heads = HEADS;
		inputs.n_sum_tokens = n_tokens;
		inputs.part[INPUT_SUMS].data = sums;
		inputs.part[INPUT_SUMS].bytes = sizeof sums;
	}
	return c;
}

char *view_of(struct compress *c, int *ret_error)
{
	char *view;
	int r = compress_select(c, why);

	if (r < 0) {
		*ret_error = r;
		return NULL;
	}
	view = aligned_alloc(64, c->head.n_bytes);
	memset(view, 0xa5, c->head.n_bytes);
	r = compress_write(c, &chain, &digest, view, why);
	if (r == 0)
		return view;
	free(view);
	*ret_error = r;
	return NULL;
}

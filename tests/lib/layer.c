/* SPDX-License-Identifier: Apache-2.0 */
/* layer.c - one small layer, made by hand. */
#include "tests/lib/layer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct one_layer one;

static void zero_rows(struct made_rows *r, uint32_t n_heads, uint32_t n_tokens,
		      uint32_t dim)
{
	rows_make(r, &(struct rows_shape){ n_heads, n_tokens, dim, 16,
					   CKV_ELEM_F32 });
	for (uint32_t h = 0; h < n_heads; h++)
		for (uint32_t t = 0; t < n_tokens; t++)
			memset(rows_write_at(r, h, t), 0, dim * sizeof(float));
}

void layer_make(uint32_t n_kv, uint32_t group, uint32_t n_tokens, uint32_t dim,
		uint32_t window)
{
	memset(&one, 0, sizeof one);
	zero_rows(&one.k, n_kv, n_tokens, dim);
	zero_rows(&one.q, n_kv * group, window, dim);
	one.in = (struct ckv_layer){
		.n_layers = 32, .k = one.k.rows, .q = one.q.rows,
		.sums = one.sums, .n_sum_heads = n_kv };
}

void layer_drop(void)
{
	rows_free(&one.k);
	rows_free(&one.q);
	free(one.pos);
	one.pos = NULL;
}

void layer_key(uint32_t head, uint32_t token, float x)
{
	rows_put(&one.k, head, token, 0, x);
}

void layer_query(uint32_t head, uint32_t row, float x)
{
	rows_put(&one.q, head, row, 0, x);
}

int layer_select(const struct ckv_selection *s)
{
	/* Refused ones have no size; they must not touch what they get. */
	size_t bytes = ckv_selection_scratch_bytes(s, &one.in);
	size_t max = ckv_selection_max_kept(s, &one.in);
	void *scratch = aligned_alloc(CKV_SCRATCH_ALIGN,
				      bytes ? bytes : CKV_SCRATCH_ALIGN);
	int r;

	free(one.pos);
	one.pos = malloc((max + 1) * sizeof *one.pos);
	if (scratch == NULL || one.pos == NULL)
		abort();
	memset(&one.fault, 0xa5, sizeof one.fault);
	memset(&one.kept, 0xa5, sizeof one.kept);
	r = ckv_select(s, &one.in, scratch, one.pos, &one.kept, &one.fault);
	free(scratch);
	return r;
}

int layer_set_is(uint32_t i, const uint32_t *want, uint32_t n)
{
	const uint32_t *got = one.pos + (size_t)i * one.kept.n;

	if (i >= one.kept.n_sets || one.kept.n != n) {
		fprintf(stderr, "%u sets of %u, not of %u\n", one.kept.n_sets,
			one.kept.n, n);
		return 0;
	}
	for (uint32_t k = 0; k < n; k++)
		if (got[k] != want[k]) {
			fprintf(stderr, "position %u of set %u is %u, not %u\n",
				k, i, got[k], want[k]);
			return 0;
		}
	return 1;
}

int layer_set_is_run(uint32_t i, uint32_t from, uint32_t to)
{
	uint32_t *want = malloc((to - from + 1) * sizeof *want);
	int is;

	if (want == NULL)
		abort();
	for (uint32_t t = from; t < to; t++)
		want[t - from] = t;
	is = layer_set_is(i, want, to - from);
	free(want);
	return is;
}

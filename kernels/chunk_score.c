/* SPDX-License-Identifier: Apache-2.0 */
/*
 * chunk_score.c - from the window's attention to one score per chunk.
 *
 * Sums are formed in double and rounded once. So chunks whose tokens all have the same
 * score get equal means, whatever their length, and the order of the heads makes no
 * difference.
 */
#include "kernels/chunkkv.h"
#include "kernels/method.h"

#include <errno.h>

/* KVPRESS: SnapKV's scores of all kv heads, window padded, summed: [T]. */
static int sum_kvpress(const struct ckv_chunkkv *m,
		       const struct ckv_shape *shape, const float *score,
		       float *tmp, float *token)
{
	struct ckv_snapkv inner = chunkkv_inner(m);
	uint32_t n = shape->n_tokens - m->window;
	float *head_score = tmp + 2 * (size_t)shape->n_tokens;
	float pad;
	int r;

	r = ckv_snapkv_score(&inner, shape, 0, shape->n_kv_heads, score, tmp,
			     head_score);
	if (r < 0)
		return r;
	pad = ckv_window_pad(head_score, (size_t)shape->n_kv_heads * n);
	for (uint32_t j = n; j < shape->n_tokens; j++)
		token[j] = (float)((double)pad * shape->n_kv_heads);
	return ckv_reduce(CKV_REDUCE_SUM, head_score, shape->n_kv_heads, n, n,
			  token);
}

static void score_chunks(const float *token, uint32_t n, uint32_t chunk,
			 int mean, float *chunk_score)
{
	for (uint32_t from = 0; from < n; from += chunk) {
		uint32_t len = n - from < chunk ? n - from : chunk;
		double sum = 0.0;

		for (uint32_t t = from; t < from + len; t++)
			sum += (double)token[t];
		*chunk_score++ = (float)(mean ? sum / len : sum);
	}
}

int ckv_chunkkv_score(const struct ckv_chunkkv *m, const struct ckv_shape *shape,
		      const float *score, void *scratch, float *chunk_score)
{
	float *tmp = scratch, *token;
	uint32_t n;
	int r;

	r = chunkkv_check(m);
	if (r == 0)
		r = shape_check(shape);
	if (r == 0)
		r = scratch_check(scratch);
	if (r < 0)
		return r;
	if (shape->n_tokens <= m->window)
		return -EINVAL;
	token = tmp + (size_t)(shape->n_kv_heads + 2) * shape->n_tokens;
	n = chunkkv_n_chunked(m, shape->n_tokens);
	if (m->mode == CKV_CHUNKKV_KVPRESS)
		r = sum_kvpress(m, shape, score, tmp, token);
	else
		r = ckv_reduce(CKV_REDUCE_SUM, score, shape->n_q_heads, n, n,
			       token);
	if (r < 0)
		return r;
	score_chunks(token, n, m->chunk, m->mode == CKV_CHUNKKV_KVPRESS,
		     chunk_score);
	return 0;
}

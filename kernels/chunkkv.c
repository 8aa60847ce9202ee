/* SPDX-License-Identifier: Apache-2.0 */
/*
 * chunkkv.c - ChunkKV (arXiv 2502.00299): keep whole runs of tokens, the same
 * ones for all heads of a layer.
 *
 * Two readings, described at struct ckv_chunkkv. They share the stages token
 * score -> chunk score -> choice -> positions; the first two steps
 * are in chunk_score.c.
 */
#include "kernels/chunkkv.h"
#include "kernels/method.h"

#include <errno.h>

int chunkkv_check(const struct ckv_chunkkv *m)
{
	if (m == NULL || m->chunk == 0 || m->window == 0 || m->n_reuse == 0 ||
	    m->window > CKV_KERNEL_MAX_WINDOW)
		return -EINVAL;
	switch (m->mode) {
	case CKV_CHUNKKV_KVPRESS:
		return m->kernel % 2 == 0 ? -EINVAL : removed_check(m->removed);
	case CKV_CHUNKKV_PAPER:
		return 0;
	}
	return -EINVAL;
}

struct ckv_snapkv chunkkv_inner(const struct ckv_chunkkv *m)
{
	return (struct ckv_snapkv){
		.mode = CKV_SNAPKV_KVPRESS,
		.pool = CKV_POOL_AVG,
		.reduce = CKV_REDUCE_MEAN,
		.window = m->window,
		.kernel = m->kernel,
		.removed = m->removed,
	};
}

int chunkkv_falls_back(const struct ckv_chunkkv *m, uint32_t n_tokens)
{
	return m->mode == CKV_CHUNKKV_KVPRESS && m->removed > 0.0 &&
	       n_tokens > m->window && n_tokens < m->chunk;
}

int chunkkv_keeps_newest(const struct ckv_chunkkv *m, uint32_t n_tokens,
			 uint32_t *ret_n)
{
	if (m->mode == CKV_CHUNKKV_KVPRESS) {
		*ret_n = ckv_budget_kvpress(n_tokens, m->removed);
		return m->removed == 0.0 || n_tokens <= m->window;
	}
	*ret_n = m->n_keep < n_tokens ? m->n_keep : n_tokens;
	return m->n_keep <= m->window || n_tokens <= m->window;
}

size_t ckv_chunkkv_max_kept(const struct ckv_chunkkv *m,
			    const struct ckv_shape *shape)
{
	if (chunkkv_check(m) < 0 || shape_check(shape) < 0)
		return 0;
	return chunkkv_falls_back(m, shape->n_tokens)
		? (size_t)shape->n_tokens * shape->n_kv_heads
		: shape->n_tokens;
}

int ckv_chunkkv_needs_score(const struct ckv_chunkkv *m,
			    const struct ckv_shape *shape)
{
	uint32_t n;

	if (chunkkv_check(m) < 0 || shape_check(shape) < 0)
		return 0;
	if (chunkkv_falls_back(m, shape->n_tokens)) {
		struct ckv_snapkv inner = chunkkv_inner(m);

		return ckv_snapkv_needs_score(&inner, shape);
	}
	return !chunkkv_keeps_newest(m, shape->n_tokens, &n);
}

uint32_t ckv_chunkkv_source_layer(const struct ckv_chunkkv *m, uint32_t layer)
{
	return m->n_reuse > 1 ? layer - layer % m->n_reuse : layer;
}

uint32_t ckv_chunkkv_n_chunks(const struct ckv_chunkkv *m, uint32_t n_tokens)
{
	uint32_t n = chunkkv_n_chunked(m, n_tokens);

	return n / m->chunk + (n % m->chunk > 0);
}

uint32_t chunkkv_n_chunked(const struct ckv_chunkkv *m, uint32_t n_tokens)
{
	if (m->mode == CKV_CHUNKKV_KVPRESS)
		return n_tokens;
	return n_tokens > m->window ? n_tokens - m->window : 0;
}

/* Tokens of one chunk, at most max_tokens, to pos. Returns how many. */
static uint32_t expand(uint32_t index, uint32_t chunk, uint32_t n_chunked,
		       uint32_t max_tokens, uint32_t *pos)
{
	uint32_t from = index * chunk;
	uint32_t len = n_chunked - from < chunk ? n_chunked - from : chunk;

	if (len > max_tokens)
		len = max_tokens;
	for (uint32_t t = 0; t < len; t++)
		pos[t] = from + t;
	return len;
}

uint32_t chunkkv_n_scored(const struct ckv_chunkkv *m, uint32_t n_tokens)
{
	uint32_t n = n_tokens - m->window;

	return n / m->chunk + (n % m->chunk > 0);
}

/*
 * Chunks from `n_other` on lie wholly in the window, where every token has the same
 * score. So they count as equal, whatever their means are after rounding, and the
 * lowest go first.
 */
static int keep_kvpress(const struct ckv_chunkkv *m, uint32_t n_tokens,
			const float *chunk_score, uint32_t *chosen,
			uint32_t *pos, uint32_t *ret_n)
{
	uint32_t n_chunks = ckv_chunkkv_n_chunks(m, n_tokens);
	uint32_t n_other = chunkkv_n_scored(m, n_tokens);
	uint32_t keep = ckv_budget_kvpress(n_chunks, m->removed), n_pos = 0;
	uint32_t n_window = n_chunks - n_other;
	int r;

	if (keep == 0)
		keep = 1;
	if (n_window > keep)
		n_window = keep;
	r = ckv_select_top(chunk_score, n_other, keep - n_window, 0, chosen,
			   NULL);
	if (r < 0)
		return r;
	for (uint32_t i = 0; i < n_window; i++)
		chosen[keep - n_window + i] = n_other + i;
	for (uint32_t i = 0; i < keep; i++)
		n_pos += expand(chosen[i], m->chunk, n_tokens, m->chunk,
				pos + n_pos);
	*ret_n = n_pos;
	return 0;
}

/*
 * How many of the ranked chunks give all their tokens before max_tokens are
 * reached. *ret_left: what is left for the next one.
 */
static uint32_t count_whole(const uint32_t *order, uint32_t n, uint32_t chunk,
			    uint32_t n_chunked, uint32_t max_tokens,
			    uint32_t *ret_left)
{
	uint32_t i;

	for (i = 0; i < n; i++) {
		uint32_t len = n_chunked - order[i] * chunk;

		if (len > chunk)
			len = chunk;
		if (len > max_tokens)
			break;
		max_tokens -= len;
	}
	*ret_left = max_tokens;
	return i;
}

/*
 * Chunks in order of rank give all their tokens until one gives only a part; the
 * positions are then written in ascending order.
 */
static int keep_paper(const struct ckv_chunkkv *m, uint32_t n_tokens,
		      const float *chunk_score, uint32_t *chosen, uint32_t *pos,
		      uint32_t *ret_n)
{
	uint32_t n_chunked = n_tokens - m->window;
	uint32_t n_chunks = ckv_chunkkv_n_chunks(m, n_tokens);
	uint32_t keep = m->n_keep / m->chunk, n_pos = 0, n_whole, cut, left;
	int r;

	if (keep > n_chunks)
		keep = n_chunks;
	r = ckv_rank(chunk_score, n_chunks, chosen);
	if (r < 0)
		return r;
	n_whole = count_whole(chosen, keep, m->chunk, n_chunked,
			      m->n_keep - m->window, &left);
	cut = n_whole < keep ? chosen[n_whole] : n_chunks;
	r = ckv_select_top(chunk_score, n_chunks, n_whole, 0, chosen, NULL);
	if (r < 0)
		return r;
	for (uint32_t i = 0; i < n_whole; i++) {
		if (cut < chosen[i]) {
			n_pos += expand(cut, m->chunk, n_chunked, left,
					pos + n_pos);
			cut = n_chunks;
		}
		n_pos += expand(chosen[i], m->chunk, n_chunked, m->chunk,
				pos + n_pos);
	}
	if (cut < n_chunks)
		n_pos += expand(cut, m->chunk, n_chunked, left, pos + n_pos);
	keep_newest(n_tokens, m->window, pos + n_pos);
	*ret_n = n_pos + m->window;
	return 0;
}

int ckv_chunkkv_keep(const struct ckv_chunkkv *m, uint32_t n_tokens,
		     const float *chunk_score, uint32_t *scratch, uint32_t *pos,
		     uint32_t *ret_n)
{
	uint32_t n;

	if (chunkkv_check(m) < 0 || n_tokens == 0 ||
	    n_tokens > CKV_KERNEL_MAX_TOKENS || pos == NULL)
		return -EINVAL;
	if (chunkkv_keeps_newest(m, n_tokens, &n)) {
		keep_newest(n_tokens, n, pos);
		*ret_n = n;
		return 0;
	}
	if (chunk_score == NULL || scratch == NULL)
		return -EINVAL;
	return m->mode == CKV_CHUNKKV_KVPRESS
		? keep_kvpress(m, n_tokens, chunk_score, scratch, pos, ret_n)
		: keep_paper(m, n_tokens, chunk_score, scratch, pos, ret_n);
}

static uint32_t count_nan(const float *score, uint32_t n)
{
	uint32_t n_nan = 0;

	for (uint32_t i = 0; i < n; i++)
		n_nan += score[i] != score[i];
	return n_nan;
}

int ckv_chunkkv_pick(const struct ckv_chunkkv *m, const struct ckv_shape *shape,
		     const float *score, void *scratch, uint32_t *pos,
		     struct ckv_kept *ret_kept)
{
	struct ckv_kept kept = { .n_sets = 1 };
	float *tmp = scratch, *chunk_score = NULL;
	uint32_t *order = NULL;
	int r;

	r = chunkkv_check(m);
	if (r == 0)
		r = shape_check(shape);
	if (r == 0)
		r = scratch_check(scratch);
	if (r < 0)
		return r;
	if (chunkkv_falls_back(m, shape->n_tokens)) {
		struct ckv_snapkv inner = chunkkv_inner(m);

		return ckv_snapkv_pick(&inner, shape, score, scratch, pos,
				       ret_kept);
	}
	if (ckv_chunkkv_needs_score(m, shape)) {
		/* Past the rows that scoring uses. */
		chunk_score = tmp + (size_t)(shape->n_kv_heads + 3) *
				    shape->n_tokens;
		order = scratch;
		r = ckv_chunkkv_score(m, shape, score, scratch, chunk_score);
		if (r < 0)
			return r;
		kept.n_nan = count_nan(chunk_score, ckv_chunkkv_n_chunks(
					       m, shape->n_tokens));
	}
	r = ckv_chunkkv_keep(m, shape->n_tokens, chunk_score, order, pos,
			     &kept.n);
	if (r == 0)
		*ret_kept = kept;
	return r;
}

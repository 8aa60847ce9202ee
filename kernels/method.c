/* SPDX-License-Identifier: Apache-2.0 */
/* method.c - checks and small steps that every method needs. */
#include "kernels/method.h"

#include <errno.h>

int shape_check(const struct ckv_shape *shape)
{
	if (shape == NULL || shape->n_kv_heads == 0 || shape->n_q_heads == 0 ||
	    shape->n_q_heads > CKV_KERNEL_MAX_HEADS ||
	    shape->n_q_heads % shape->n_kv_heads != 0)
		return -EINVAL;
	if (shape->n_tokens == 0 || shape->n_tokens > CKV_KERNEL_MAX_TOKENS)
		return -EINVAL;
	return 0;
}

int rows_check(const struct ckv_rows *rows)
{
	size_t elem_bytes = ckv_elem_bytes(rows->elem);

	if (rows->block == NULL || elem_bytes == 0 || rows->block_tokens == 0)
		return -EINVAL;
	if (rows->n_heads == 0 || rows->n_heads > CKV_KERNEL_MAX_HEADS ||
	    rows->n_tokens == 0 || rows->n_tokens > CKV_KERNEL_MAX_TOKENS ||
	    rows->dim == 0 || rows->dim > CKV_KERNEL_MAX_DIM)
		return -EINVAL;
	if (rows->offset_bytes % elem_bytes != 0 ||
	    rows->head_stride_bytes % elem_bytes != 0)
		return -EINVAL;
	return 0;
}

int removed_check(double removed)
{
	return removed >= 0.0 && removed < 1.0 ? 0 : -EINVAL;
}

int scratch_check(const void *scratch)
{
	if (scratch == NULL || (uintptr_t)scratch % CKV_SCRATCH_ALIGN != 0)
		return -EINVAL;
	return 0;
}

void keep_newest(uint32_t n_tokens, uint32_t n, uint32_t *pos)
{
	for (uint32_t i = 0; i < n; i++)
		pos[i] = n_tokens - n + i;
}

/* Scores per kv head, three rows of tokens, chunk numbers. */
size_t ckv_pick_scratch_bytes(const struct ckv_shape *shape)
{
	if (shape_check(shape) < 0)
		return 0;
	return ((size_t)shape->n_kv_heads + 4) * shape->n_tokens * sizeof(float);
}

float ckv_window_pad(const float *head_score, size_t n_scores)
{
	float max = head_score[0];

	for (size_t i = 1; i < n_scores; i++)
		if (head_score[i] > max || max != max)
			max = head_score[i];
	return max + 1.0f;
}

static struct ckv_shape window_shape(const struct ckv_window *in)
{
	return (struct ckv_shape){
		in->k.n_heads, in->q.n_heads, in->k.n_tokens };
}

/* Window scores [Hq, T], then whichever of the two steps wants more. */
static size_t score_bytes(const struct ckv_window *in)
{
	size_t bytes = (size_t)in->q.n_heads * in->k.n_tokens * sizeof(float);

	return (bytes + CKV_SCRATCH_ALIGN - 1) / CKV_SCRATCH_ALIGN *
	       CKV_SCRATCH_ALIGN;
}

/* Offsets as in ckv_snapkv_pick() and ckv_chunkkv_pick(). */
const float *snapkv_chosen_by(const struct ckv_window *in, const void *scratch)
{
	const char *rest = (const char *)scratch + score_bytes(in);

	return (const float *)(const void *)rest + 2 * (size_t)in->k.n_tokens;
}

const float *chunkkv_chosen_by(const struct ckv_window *in, const void *scratch)
{
	const char *rest = (const char *)scratch + score_bytes(in);

	return (const float *)(const void *)rest +
	       (in->k.n_heads + (size_t)3) * in->k.n_tokens;
}

size_t ckv_select_scratch_bytes(const struct ckv_window *in)
{
	struct ckv_shape shape = window_shape(in);
	size_t window = ckv_window_score_scratch_bytes(in);
	size_t pick = ckv_pick_scratch_bytes(&shape);

	return score_bytes(in) + (window > pick ? window : pick);
}

int ckv_snapkv_select(const struct ckv_snapkv *m, const struct ckv_window *in,
		      void *scratch, uint32_t *pos, struct ckv_kept *ret_kept,
		      struct ckv_fault *ret_fault)
{
	struct ckv_shape shape;
	float *score = scratch;
	char *rest;
	int r;

	if (m == NULL || in == NULL || scratch_check(scratch) < 0)
		return -EINVAL;
	shape = window_shape(in);
	rest = (char *)scratch + score_bytes(in);
	if (ckv_snapkv_needs_score(m, &shape)) {
		if (m->window != in->q.n_tokens)
			return -EINVAL;
		r = ckv_window_score(in, 0, in->k.n_heads, rest, score,
				     ret_fault);
		if (r < 0)
			return r;
	}
	return ckv_snapkv_pick(m, &shape, score, rest, pos, ret_kept);
}

int ckv_chunkkv_select(const struct ckv_chunkkv *m, const struct ckv_window *in,
		       void *scratch, uint32_t *pos, struct ckv_kept *ret_kept,
		       struct ckv_fault *ret_fault)
{
	struct ckv_shape shape;
	float *score = scratch;
	char *rest;
	int r;

	if (m == NULL || in == NULL || scratch_check(scratch) < 0)
		return -EINVAL;
	shape = window_shape(in);
	rest = (char *)scratch + score_bytes(in);
	if (ckv_chunkkv_needs_score(m, &shape)) {
		if (m->window != in->q.n_tokens)
			return -EINVAL;
		r = ckv_window_score(in, 0, in->k.n_heads, rest, score,
				     ret_fault);
		if (r < 0)
			return r;
	}
	return ckv_chunkkv_pick(m, &shape, score, rest, pos, ret_kept);
}

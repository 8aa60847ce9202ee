/* SPDX-License-Identifier: Apache-2.0 */
/* cuda_norms.c - launchers of norms.cu and keydiff.cu. */
#include "kernels/cuda_launch.h"
#include "kernels/cuda_task.h"

#include <errno.h>

/* How many lanes share a row of n accesses, as a power of two; at most a warp. */
static uint32_t lane_bits_for(uint32_t n)
{
	uint32_t bits = KEYS_LANE_BITS;

	while (bits < 5 && 1u << bits < n)
		bits++;
	return bits;
}

/* Numbers in one access of rows of k's kind. */
static uint32_t access_numbers(const struct ckv_cuda_rows *k)
{
	uint32_t unit = cuda_rows_unit(k);

	return unit == 16 ? unit / (uint32_t)ckv_elem_bytes(k->rows.elem) : 1;
}

int ckv_cuda_norms(const struct ckv_cuda_rows *k, float *norm, uint64_t *status,
		   void *stream)
{
	uint32_t lane_bits, n_tiles, of_access;
	void *const args[] = { (void *)(uintptr_t)k, &lane_bits, &n_tiles, &norm, &status };
	uint64_t n_blocks;

	if (cuda_rows_check(k) < 0 || norm == NULL || status == NULL)
		return -EINVAL;
	of_access = access_numbers(k);
	lane_bits = lane_bits_for(k->rows.dim / of_access);
	n_tiles = (uint32_t)cuda_pieces(k->rows.n_tokens,
					((uint32_t)NORMS_THREADS >> lane_bits) * NORMS_AT_ONCE);
	n_blocks = (uint64_t)k->n_layers * k->rows.n_heads * n_tiles;
	if (n_blocks > INT32_MAX)
		return -EINVAL;
	return cuda_launch(KERNEL_norms_f32x4 + cuda_numbers(k->rows.elem,
							     cuda_rows_unit(k) == 16),
			   (struct cuda_shape){ (uint32_t)n_blocks, NORMS_THREADS, 0 },
			   stream, args);
}

/* ----------------------------------------------------------------- keydiff */

static size_t sums_bytes(const struct ckv_cuda_rows *k)
{
	size_t n = (size_t)k->n_layers * k->rows.n_heads * k->rows.dim;

	return n * cuda_pieces(k->rows.n_tokens, KEYDIFF_TILE) * sizeof(double);
}

size_t ckv_cuda_keydiff_work_bytes(const struct ckv_cuda_rows *k)
{
	if (cuda_rows_check(k) < 0)
		return 0;
	return sums_bytes(k) + (size_t)k->n_layers * k->rows.n_heads *
			       k->rows.dim * sizeof(float);
}

static int keydiff_launch(const struct keydiff_task *t, uint32_t n_tiles, float *score,
			  uint64_t *status, void *stream)
{
	uint32_t n_heads = t->k.n_layers * t->k.rows.n_heads, dim = t->k.rows.dim;
	uint32_t kind = cuda_numbers(t->k.rows.elem, cuda_rows_unit(&t->k) == 16);
	struct cuda_shape tiles = {
		n_heads * t->n_tiles, KEYDIFF_THREADS,
		(KEYDIFF_TILE + keydiff_grid_of(t->n_access).n_slots * dim) * sizeof(float) };
	struct cuda_shape anchor = { n_heads, KEYDIFF_THREADS,
				     (dim + KEYDIFF_THREADS / 32) * sizeof(double) };
	struct cuda_shape scores = { n_heads * n_tiles, KEYDIFF_THREADS, 0 };
	void *task = (void *)(uintptr_t)t;
	void *const of_tiles[] = { task, &status }, *const of_anchor[] = { task };
	void *const of_scores[] = { task, &n_tiles, &score };
	int r;

	r = cuda_launch(KERNEL_keydiff_tiles_f32x4 + kind, tiles, stream, of_tiles);
	if (r == 0)
		r = cuda_launch(KERNEL_keydiff_anchor, anchor, stream, of_anchor);
	if (r == 0)
		r = cuda_launch(KERNEL_keydiff_score_f32x4 + kind, scores, stream, of_scores);
	return r;
}

int ckv_cuda_keydiff(const struct ckv_cuda_rows *k, void *work, float *score,
		     uint64_t *status, void *stream)
{
	struct keydiff_task t;
	uint32_t n_tiles, most;

	if (cuda_rows_check(k) < 0 || cuda_work_check(work) < 0 ||
	    score == NULL || status == NULL)
		return -EINVAL;
	t.k = *k;
	t.row_bytes = cuda_row_bytes(k);
	t.n_access = k->rows.dim / access_numbers(k);
	t.lane_bits = lane_bits_for(t.n_access);
	t.n_tiles = (uint32_t)cuda_pieces(k->rows.n_tokens, KEYDIFF_TILE);
	t.tile_sum = work;
	t.unit = (float *)((char *)work + sums_bytes(k));
	n_tiles = (uint32_t)cuda_pieces(k->rows.n_tokens,
					((uint32_t)KEYDIFF_THREADS >> t.lane_bits) * KEYDIFF_AT_ONCE);
	most = n_tiles > t.n_tiles ? n_tiles : t.n_tiles;
	if ((uint64_t)k->n_layers * k->rows.n_heads * most > INT32_MAX)
		return -EINVAL;
	return keydiff_launch(&t, n_tiles, score, status, stream);
}

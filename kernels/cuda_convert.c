/* SPDX-License-Identifier: Apache-2.0 */
/* cuda_convert.c - launchers of convert.cu: encodings of each number for itself, fp8. */
#include "kernels/cuda_encode.h"

#include <errno.h>

/* Do all rows, and all places where a vector's codes go, allow whole vectors? */
static bool wide_ok(const struct encode_task *t, uint32_t code_bytes)
{
	uint32_t n = 16 / (uint32_t)ckv_elem_bytes(t->rows.rows.elem);

	return cuda_rows_unit(&t->rows) == 16 &&
	       cuda_out_unit(&t->out.code, 16) >= n * code_bytes;
}

/* Blocks for all areas; 0: too many, or nothing to do. */
static uint32_t walk_of(const struct encode_task *t, bool wide, uint32_t rows_at_once,
			struct encode_walk *w)
{
	uint32_t bytes = wide ? 16 : (uint32_t)ckv_elem_bytes(t->rows.rows.elem);
	uint64_t units, n;

	w->row_units = t->row_bytes / bytes;
	units = (uint64_t)t->max_n * w->row_units;
	n = rows_at_once > 0 ? cuda_pieces(t->max_n, rows_at_once)
			     : cuda_pieces(units, ENCODE_THREADS * ENCODE_AT_ONCE);
	w->n_tiles = (uint32_t)n;
	n *= t->rows.n_layers * t->rows.rows.n_heads;
	return units <= UINT32_MAX - ENCODE_THREADS * ENCODE_AT_ONCE && n <= INT32_MAX
		? (uint32_t)n : 0;
}

/* The first of the kernels that encode so, and what a code takes. */
static uint32_t kernel_of(const struct encode_task *t, uint32_t *ret_code_bytes)
{
	*ret_code_bytes = 2;
	switch (t->e.kind) {
	case CKV_ENCODE_FP8:
		*ret_code_bytes = 1;
		return KERNEL_encode_fp8_f32x4;
	case CKV_ENCODE_BF16:
		return KERNEL_encode_bf16_f32x4;
	case CKV_ENCODE_F16:
		return KERNEL_encode_f16_f32x4;
	default:
		*ret_code_bytes = (uint32_t)ckv_elem_bytes(t->rows.rows.elem);
		return KERNEL_encode_plain_f32x4;
	}
}

int cuda_encode_pointwise(const struct encode_task *t, void *stream)
{
	uint32_t n_areas = t->rows.n_layers * t->rows.rows.n_heads, code_bytes;
	uint32_t kernel = kernel_of(t, &code_bytes), *amax = t->amax;
	bool wide = wide_ok(t, code_bytes);
	uint32_t kind = cuda_numbers(t->rows.rows.elem, wide);
	struct encode_walk w;
	uint32_t n_blocks = walk_of(t, wide, 0, &w);
	struct cuda_shape shape = { n_blocks, ENCODE_THREADS, 0 }, clear = shape;
	void *const args[] = { (void *)(uintptr_t)t, &w }, *const of_clear[] = { &amax, &n_areas };
	int r = 0;

	if (n_blocks == 0)
		return -EINVAL;
	if (t->e.kind == CKV_ENCODE_FP8 && t->e.scale != CKV_FP8_ONE) {
		clear.n_blocks = (uint32_t)cuda_pieces(n_areas, ENCODE_THREADS);
		r = cuda_launch(KERNEL_clear, clear, stream, of_clear);
		if (r == 0)
			r = cuda_launch(KERNEL_amax_f32x4 + kind, shape, stream, args);
	}
	return r < 0 ? r : cuda_launch(kernel + kind, shape, stream, args);
}

/*
 * A block of threads has the rows of one scale, or of several, if their vectors fit in its
 * registers and no warp has parts of two.
 */
int cuda_encode_fp8_blocks(const struct encode_task *t, void *stream)
{
	const uint32_t most = ENCODE_THREADS * FP8_AT_ONCE;
	bool wide = wide_ok(t, 1);
	uint32_t bytes = wide ? 16 : (uint32_t)ckv_elem_bytes(t->rows.rows.elem);
	uint32_t units = t->e.block * (t->row_bytes / bytes);
	struct encode_walk w = { .n_scales = 1 };
	struct cuda_shape shape = { 0, ENCODE_THREADS, 0 };
	void *const args[] = { (void *)(uintptr_t)t, &w };

	if (units % 32 == 0 && units < most)
		w.n_scales = most / units;
	shape.n_blocks = walk_of(t, wide, w.n_scales * t->e.block, &w);
	shape.shared_bytes = w.n_scales * sizeof(struct fp8_room);
	if (shape.n_blocks == 0)
		return -EINVAL;
	return cuda_launch(KERNEL_encode_fp8_block_f32x4 +
			   cuda_numbers(t->rows.rows.elem, wide), shape, stream, args);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cuda_encode.c - gather and encode one side of an object: arguments, choice of kernel.
 */
#include "kernels/cuda_encode.h"

#include <errno.h>

size_t ckv_cuda_encode_work_bytes(const struct ckv_encode *e,
				  const struct ckv_cuda_rows *rows)
{
	if (ckv_encode_check(e) < 0 || cuda_rows_check(rows) < 0)
		return 0;
	if (e->kind != CKV_ENCODE_FP8 ||
	    (e->scale != CKV_FP8_TENSOR && e->scale != CKV_FP8_HEAD))
		return 0;
	return (size_t)rows->n_layers * rows->rows.n_heads * sizeof(uint32_t);
}

/* 0, or -EINVAL: codes or scales have no place, or not one that they can be put in. */
static int places_check(const struct encode_task *t, enum ckv_side side)
{
	enum ckv_elem elem = t->rows.rows.elem;
	size_t scale_bytes = ckv_scale_bytes(&t->e, elem, side, t->max_n, t->rows.rows.dim);

	if (t->out.code.base == NULL || cuda_out_unit(&t->out.code, 4) < 4)
		return -EINVAL;
	if (scale_bytes > 0 &&
	    (t->out.scale.base == NULL || cuda_out_unit(&t->out.scale, 4) < 4))
		return -EINVAL;
	return 0;
}

static int encode_launch(const struct encode_task *t, enum ckv_side side, void *stream)
{
	if (t->e.kind == CKV_ENCODE_FP8 && t->e.scale == CKV_FP8_BLOCK)
		return cuda_encode_fp8_blocks(t, stream);
	if (t->e.kind != CKV_ENCODE_KIVI)
		return cuda_encode_pointwise(t, stream);
	return side == CKV_SIDE_KEY ? cuda_encode_kivi_keys(t, stream)
				    : cuda_encode_kivi_values(t, stream);
}

int ckv_cuda_encode(const struct ckv_encode *e, enum ckv_side side,
		    const struct ckv_cuda_rows *rows, const struct ckv_cuda_kept *kept,
		    void *work, const struct ckv_cuda_coded *out, uint64_t *status,
		    void *stream)
{
	struct encode_task t = { 0 };
	uint32_t n;

	if (ckv_encode_check(e) < 0 || cuda_rows_check(rows) < 0 || out == NULL ||
	    status == NULL || (side != CKV_SIDE_KEY && side != CKV_SIDE_VALUE) ||
	    (kept != NULL && cuda_kept_check(kept, rows) < 0))
		return -EINVAL;
	if (ckv_cuda_encode_work_bytes(e, rows) > 0 && cuda_work_check(work) < 0)
		return -EINVAL;
	n = kept == NULL ? rows->rows.n_tokens : kept->max_n;
	t.rows = *rows;
	t.out = *out;
	t.e = *e;
	t.input = side == CKV_SIDE_KEY ? CKV_INPUT_KEY : CKV_INPUT_VALUE;
	t.row_bytes = cuda_row_bytes(rows);
	t.max_n = n - (n < e->n_full ? n : e->n_full);
	if (kept != NULL)
		t.kept = *kept;
	t.amax = work;
	t.status = status;
	if (t.max_n == 0)
		return 0;	/* an empty grid is a launch error */
	if (places_check(&t, side) < 0)
		return -EINVAL;
	return encode_launch(&t, side, stream);
}

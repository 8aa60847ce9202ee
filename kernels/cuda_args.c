/* SPDX-License-Identifier: Apache-2.0 */
/* cuda_args.c - see cuda_args.h; and what a status word says. */
#include "kernels/cuda_args.h"

#include <errno.h>

static int rows_fit(const struct ckv_rows *r)
{
	return r->block != NULL && ckv_elem_bytes(r->elem) != 0 &&
	       r->block_tokens != 0 && r->n_heads != 0 &&
	       r->n_heads <= CKV_KERNEL_MAX_HEADS && r->n_tokens != 0 &&
	       r->n_tokens <= CKV_KERNEL_MAX_TOKENS && r->dim != 0 &&
	       r->dim <= CKV_KERNEL_MAX_DIM;
}

int cuda_rows_check(const struct ckv_cuda_rows *r)
{
	size_t elem_bytes;

	if (r == NULL || !rows_fit(&r->rows) || r->n_layers == 0 ||
	    r->layer_step == 0 || r->n_layers > CKV_CUDA_MAX_LAYERS ||
	    r->layer_step > CKV_CUDA_MAX_LAYERS ||
	    (r->n_layers - 1) * r->layer_step >= CKV_CUDA_MAX_LAYERS)
		return -EINVAL;
	elem_bytes = ckv_elem_bytes(r->rows.elem);
	if (r->rows.offset_bytes % elem_bytes != 0 ||
	    r->rows.head_stride_bytes % elem_bytes != 0 ||
	    r->layer_stride_bytes % elem_bytes != 0)
		return -EINVAL;
	return 0;
}

int cuda_rows_match(const struct ckv_cuda_rows *a, const struct ckv_cuda_rows *b)
{
	return a->n_layers == b->n_layers && a->layer_step == b->layer_step &&
	       a->rows.n_heads == b->rows.n_heads &&
	       a->rows.n_tokens == b->rows.n_tokens &&
	       a->rows.elem == b->rows.elem ? 0 : -EINVAL;
}

uint32_t cuda_row_bytes(const struct ckv_cuda_rows *r)
{
	return r->rows.dim * (uint32_t)ckv_elem_bytes(r->rows.elem);
}

/* The largest power of two up to 16 that divides every bit set in `all`. */
static uint32_t unit_of(size_t all)
{
	uint32_t unit = 16;

	while (all % unit != 0)
		unit /= 2;
	return unit;
}

uint32_t cuda_rows_unit(const struct ckv_cuda_rows *r)
{
	return unit_of(r->rows.offset_bytes | r->rows.head_stride_bytes |
		       r->layer_stride_bytes | cuda_row_bytes(r));
}

uint32_t cuda_out_unit(const struct ckv_cuda_out *out, uint32_t unit)
{
	return unit_of((size_t)(uintptr_t)out->base | out->layer_stride_bytes |
		       out->head_stride_bytes | unit);
}

int cuda_work_check(const void *work)
{
	return work != NULL && (uintptr_t)work % CKV_CUDA_ALIGN == 0 ? 0 : -EINVAL;
}

void *cuda_carve(void *work, size_t *used, size_t bytes)
{
	void *piece = work == NULL ? NULL : (char *)work + *used;

	*used += (bytes + CKV_CUDA_ALIGN - 1) / CKV_CUDA_ALIGN * CKV_CUDA_ALIGN;
	return piece;
}

int cuda_kept_check(const struct ckv_cuda_kept *kept,
		    const struct ckv_cuda_rows *rows)
{
	if (kept == NULL || kept->reuse == 0 || kept->max_n > rows->rows.n_tokens ||
	    (kept->max_n > 0 && kept->pos == NULL))
		return -EINVAL;
	return kept->n_sets == 1 || kept->n_sets == rows->rows.n_heads ? 0 : -EINVAL;
}

int ckv_cuda_status(uint64_t word, uint32_t *ret_layer,
		    struct ckv_fault *ret_fault)
{
	static const int error[] = { -EDOM, -ERANGE, -EINVAL, -EINVAL };

	if (word == CKV_CUDA_OK)
		return 0;
	if (ret_layer != NULL)
		*ret_layer = word >> 49 & 0xfff;
	if (ret_fault != NULL)
		*ret_fault = (struct ckv_fault){
			.input = (enum ckv_input)(word >> 46 & 7),
			.head = word >> 36 & 0x3ff,
			.token = word >> 10 & 0x3ffffff,
			.dim = word & 0x3ff,
		};
	return error[word >> 61 & 3];
}

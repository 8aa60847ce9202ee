/* SPDX-License-Identifier: Apache-2.0 */
/* encode.c - encodings: their parameters, their areas, the choice of code. */
#include "kernels/encode.h"

#include <errno.h>

int ckv_encode_check(const struct ckv_encode *e)
{
	if (e == NULL)
		return -EINVAL;
	switch (e->kind) {
	case CKV_ENCODE_PLAIN:
	case CKV_ENCODE_BF16:
	case CKV_ENCODE_F16:
		return 0;
	case CKV_ENCODE_FP8:
		if (e->scale == CKV_FP8_BLOCK)
			return e->block > 0 ? 0 : -EINVAL;
		return e->scale == CKV_FP8_ONE || e->scale == CKV_FP8_TENSOR ||
		       e->scale == CKV_FP8_HEAD ? 0 : -EINVAL;
	case CKV_ENCODE_KIVI:
		if (e->bits != 8 && e->bits != 4 && e->bits != 2)
			return -EINVAL;
		return e->group > 0 && e->group % (32 / e->bits) == 0
			? 0 : -EINVAL;
	}
	return -EINVAL;
}

static size_t div_up(size_t n, size_t by)
{
	return n / by + (n % by != 0);
}

enum ckv_elem encode_stored(const struct ckv_encode *e, enum ckv_elem elem)
{
	if (e->kind == CKV_ENCODE_BF16)
		return CKV_ELEM_BF16;
	return e->kind == CKV_ENCODE_F16 ? CKV_ELEM_F16 : elem;
}

static int shape_ok(const struct ckv_encode *e, enum ckv_elem elem,
		    enum ckv_side side, size_t n, uint32_t dim)
{
	return ckv_encode_check(e) == 0 && ckv_elem_bytes(elem) != 0 &&
	       (side == CKV_SIDE_KEY || side == CKV_SIDE_VALUE) &&
	       n <= CKV_KERNEL_MAX_TOKENS && dim > 0 &&
	       dim <= CKV_KERNEL_MAX_DIM;
}

size_t ckv_code_bytes(const struct ckv_encode *e, enum ckv_elem elem,
		      enum ckv_side side, size_t n, uint32_t dim)
{
	if (!shape_ok(e, elem, side, n, dim))
		return 0;
	if (e->kind == CKV_ENCODE_FP8)
		return n * dim;
	if (e->kind != CKV_ENCODE_KIVI)
		return n * dim * ckv_elem_bytes(encode_stored(e, elem));
	if (side == CKV_SIDE_KEY)
		return div_up(n, 32 / e->bits) * dim * sizeof(uint32_t);
	return n * div_up(dim, 32 / e->bits) * sizeof(uint32_t);
}

/* Groups of kivi: as many scales, and as many mins. */
static size_t n_groups(const struct ckv_encode *e, enum ckv_side side, size_t n,
		       uint32_t dim)
{
	return side == CKV_SIDE_KEY ? div_up(n, e->group) * dim
				    : n * div_up(dim, e->group);
}

size_t ckv_scale_bytes(const struct ckv_encode *e, enum ckv_elem elem,
		       enum ckv_side side, size_t n, uint32_t dim)
{
	if (!shape_ok(e, elem, side, n, dim) || n == 0)
		return 0;
	if (e->kind == CKV_ENCODE_KIVI)
		return 2 * n_groups(e, side, n, dim) * ckv_elem_bytes(elem);
	if (e->kind != CKV_ENCODE_FP8 || e->scale == CKV_FP8_ONE)
		return 0;
	return (e->scale == CKV_FP8_BLOCK ? div_up(n, e->block) : 1) *
	       sizeof(float);
}

int encode_area_check(const struct encode_area *a)
{
	if (!shape_ok(a->e, a->elem, a->side, a->n_all, a->dim) ||
	    a->first > a->n_all || a->n > a->n_all - a->first)
		return -EINVAL;
	if ((uintptr_t)a->code % 4 != 0 || (uintptr_t)a->scale % 4 != 0)
		return -EINVAL;
	if (a->n > 0 && a->code == NULL)
		return -EINVAL;
	if (a->n > 0 && a->scale == NULL &&
	    ckv_scale_bytes(a->e, a->elem, a->side, a->n_all, a->dim) > 0)
		return -EINVAL;
	return 0;
}

size_t encode_rows_together(const struct ckv_encode *e, enum ckv_side side)
{
	if (e->kind == CKV_ENCODE_KIVI && side == CKV_SIDE_KEY)
		return e->group;
	if (e->kind == CKV_ENCODE_FP8 && e->scale == CKV_FP8_BLOCK)
		return e->block;
	return 0;
}

struct kivi_place encode_kivi_place(const struct encode_area *a, size_t row)
{
	const struct ckv_encode *e = a->e;
	size_t bytes = ckv_elem_bytes(a->elem);
	size_t word = ckv_code_bytes(e, a->elem, a->side, row, a->dim) /
		      sizeof(uint32_t);
	size_t group = n_groups(e, a->side, row, a->dim);
	size_t all = n_groups(e, a->side, a->n_all, a->dim);

	return (struct kivi_place){
		.code = (uint32_t *)a->code + word,
		.scale = (char *)a->scale + group * bytes,
		.min = (char *)a->scale + (all + group) * bytes,
	};
}

/* -------------------------------------------------------- the public calls */

const struct encode_code *encode_code_plain(void)
{
	static const struct encode_code plain = {
		.amax = plain_amax,
		.convert = plain_convert,
		.fp8_encode = plain_fp8_encode,
		.fp8_decode = plain_fp8_decode,
		.kivi_encode_keys = plain_kivi_encode_keys,
		.kivi_encode_values = plain_kivi_encode_values,
		.kivi_decode_keys = plain_kivi_decode_keys,
		.kivi_decode_values = plain_kivi_decode_values,
	};

	return &plain;
}

static const struct encode_code *best_code(void)
{
	const struct encode_code *code = encode_code_avx2();

	return code == NULL ? encode_code_base() : code;
}

int ckv_amax(enum ckv_elem elem, const void *rows, size_t n, uint32_t dim,
	     float *ret_amax, struct ckv_fault *ret_fault)
{
	return encode_amax(best_code(), elem, rows, n, dim, ret_amax,
			   ret_fault);
}

int ckv_encode_rows(const struct ckv_encode *e, enum ckv_elem elem,
		    enum ckv_side side, const void *rows, size_t first,
		    size_t n, size_t n_all, uint32_t dim, float amax,
		    void *code, void *scale, struct ckv_fault *ret_fault)
{
	const struct encode_area area = {
		.e = e, .elem = elem, .side = side, .first = first, .n = n,
		.n_all = n_all, .dim = dim, .code = code, .scale = scale,
	};

	return encode_rows(best_code(), &area, rows, amax, ret_fault);
}

int ckv_decode_rows(const struct ckv_encode *e, enum ckv_elem elem,
		    enum ckv_side side, const void *code, const void *scale,
		    size_t first, size_t n, size_t n_all, uint32_t dim,
		    enum ckv_elem out_elem, void *out)
{
	const struct encode_area area = {
		.e = e, .elem = elem, .side = side, .first = first, .n = n,
		.n_all = n_all, .dim = dim,
		.code = (void *)(uintptr_t)code,
		.scale = (void *)(uintptr_t)scale,
	};

	return decode_rows(best_code(), &area, out_elem, out);
}

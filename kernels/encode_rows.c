/* SPDX-License-Identifier: Apache-2.0 */
/*
 * encode_rows.c - the walk over the rows that are encoded.
 *
 * Rows are taken in pieces that share a scale: a group of keys, a block of fp8, or all
 * rows of any other encoding. A step only says whether it met a number that cannot be
 * encoded. If so, the rows of that piece are read again to find which number it was.
 */
#include "kernels/elem.h"
#include "kernels/encode.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#define FP8_TOP		448.0f	/* the code that amax becomes */

struct piece {
	const struct encode_code *code;
	const struct encode_area *a;
	const void *rows;
	size_t row, n;		/* the first, among all rows; how many */
	float amax;
};

static size_t n_numbers(const struct piece *p)
{
	return p->n * p->a->dim;
}

/* ------------------------------------------------ 0, or -1 for impossible */

static int encode_converted(const struct piece *p)
{
	const struct encode_area *a = p->a;
	enum ckv_elem stored = encode_stored(a->e, a->elem);
	char *to = (char *)a->code +
		   p->row * a->dim * ckv_elem_bytes(stored);
	uint32_t max = p->code->convert(a->elem, p->rows, n_numbers(p), stored,
					to);

	/* Rows of f16 must come back as f16 too. */
	return isfinite(elem_round(elem_from_bits(max), a->elem)) ? 0 : -1;
}

static float fp8_scale(const struct piece *p, uint32_t *max)
{
	const struct ckv_encode *e = p->a->e;
	float *scale = p->a->scale;

	if (e->scale == CKV_FP8_ONE)
		return 1.0f;
	if (e->scale != CKV_FP8_BLOCK)
		return scale[0] = p->amax / FP8_TOP;
	*max = p->code->amax(p->a->elem, p->rows, n_numbers(p));
	return scale[p->row / e->block] = elem_from_bits(*max) / FP8_TOP;
}

static int encode_fp8(const struct piece *p)
{
	uint8_t *to = (uint8_t *)p->a->code + p->row * p->a->dim;
	uint32_t max = 0;
	float scale = fp8_scale(p, &max);

	if (max >= ELEM_INFINITE)
		return -1;
	if (scale == 0.0f) {
		memset(to, 0, n_numbers(p));
		max = p->code->amax(p->a->elem, p->rows, n_numbers(p));
	} else {
		max = p->code->fp8_encode(p->a->elem, p->rows, n_numbers(p),
					  scale, to);
	}
	return max >= ELEM_INFINITE ? -1 : 0;
}

static struct kivi_form form_of(const struct encode_area *a)
{
	return (struct kivi_form){ .elem = a->elem, .bits = a->e->bits,
				   .group = a->e->group, .dim = a->dim };
}

static int encode_kivi(const struct piece *p)
{
	const struct kivi_form f = form_of(p->a);
	struct kivi_place to = encode_kivi_place(p->a, p->row);

	if (p->a->side == CKV_SIDE_KEY)
		return p->code->kivi_encode_keys(&f, p->rows, p->n, to.code,
						 to.scale, to.min);
	return p->code->kivi_encode_values(&f, p->rows, p->n, to.code,
					   to.scale, to.min);
}

static int encode_piece(const struct piece *p)
{
	const struct encode_area *a = p->a;
	size_t row_bytes = a->dim * ckv_elem_bytes(a->elem);

	switch (a->e->kind) {
	case CKV_ENCODE_PLAIN:
		memcpy((char *)a->code + p->row * row_bytes, p->rows,
		       p->n * row_bytes);
		return 0;
	case CKV_ENCODE_BF16:
	case CKV_ENCODE_F16:
		return encode_converted(p);
	case CKV_ENCODE_FP8:
		return encode_fp8(p);
	case CKV_ENCODE_KIVI:
		return encode_kivi(p);
	}
	return 0;
}

/* ------------------------------------------------------ where it happened */

/* Row and column of the i-th number from p->rows on. */
static void set_fault(const struct piece *p, size_t i, struct ckv_fault *fault)
{
	if (fault == NULL)
		return;
	fault->token = (uint32_t)(p->row + i / p->a->dim);
	fault->dim = (uint32_t)(i % p->a->dim);
}

/* The first number that is not finite; n_numbers() if all are. */
static size_t find_special(const struct piece *p)
{
	size_t i = 0;

	while (i < n_numbers(p) && isfinite(elem_at(p->rows, i, p->a->elem)))
		i++;
	return i;
}

/* The first number that is finite and would be stored as an infinity. */
static size_t find_overflow(const struct piece *p)
{
	enum ckv_elem elem = p->a->elem, stored = encode_stored(p->a->e, elem);
	size_t i = 0;

	while (i < n_numbers(p) &&
	       isfinite(elem_round(elem_round(elem_at(p->rows, i, elem), stored),
				   elem)))
		i++;
	return i;
}

/* The first number of the first group whose range or largest x' the type cannot hold. */
static size_t find_wide_group(const struct piece *p)
{
	const struct kivi_form f = form_of(p->a);
	size_t bytes = ckv_elem_bytes(f.elem), i = 0;
	int keys = p->a->side == CKV_SIDE_KEY;

	while (i < (keys ? f.dim : n_numbers(p))) {
		const struct kivi_run g = {
			&f, (const char *)p->rows + i * bytes,
			keys ? f.dim : 1,
			keys ? p->n : kivi_group_at(&f, (uint32_t)(i % f.dim)) };

		if (!plain_kivi_fits(&g))
			break;
		i += keys ? 1 : g.n;
	}
	return i;
}

static int refuse(const struct piece *p, struct ckv_fault *ret_fault)
{
	size_t i = find_special(p);

	if (ret_fault != NULL)
		ret_fault->input = p->a->side == CKV_SIDE_KEY
			? CKV_INPUT_KEY : CKV_INPUT_VALUE;
	if (i < n_numbers(p)) {
		set_fault(p, i, ret_fault);
		return -EDOM;
	}
	i = p->a->e->kind == CKV_ENCODE_KIVI ? find_wide_group(p)
					     : find_overflow(p);
	set_fault(p, i, ret_fault);
	return -ERANGE;
}

/* --------------------------------------------------------------- the walk */

int encode_amax(const struct encode_code *code, enum ckv_elem elem,
		const void *rows, size_t n, uint32_t dim, float *ret_amax,
		struct ckv_fault *ret_fault)
{
	const struct encode_area area = { .elem = elem, .dim = dim };
	const struct piece p = { .code = code, .a = &area, .rows = rows,
				 .n = n };
	uint32_t max;

	if (ckv_elem_bytes(elem) == 0 || ret_amax == NULL || dim == 0 ||
	    dim > CKV_KERNEL_MAX_DIM || n > CKV_KERNEL_MAX_TOKENS ||
	    (rows == NULL && n > 0))
		return -EINVAL;
	max = code->amax(elem, rows, n_numbers(&p));
	if (max >= ELEM_INFINITE) {
		set_fault(&p, find_special(&p), ret_fault);
		return -EDOM;
	}
	*ret_amax = elem_from_bits(max);
	return 0;
}

int encode_rows(const struct encode_code *code, const struct encode_area *a,
		const void *rows, float amax, struct ckv_fault *ret_fault)
{
	struct piece p = { .code = code, .a = a, .amax = amax };
	size_t together, row_bytes;

	if (encode_area_check(a) < 0 || (rows == NULL && a->n > 0))
		return -EINVAL;
	together = encode_rows_together(a->e, a->side);
	if (together > 0 && (a->first % together != 0 ||
			     (a->n % together != 0 &&
			      a->first + a->n != a->n_all)))
		return -EINVAL;
	if (a->e->kind == CKV_ENCODE_FP8 && a->e->scale != CKV_FP8_ONE &&
	    a->e->scale != CKV_FP8_BLOCK && !(amax >= 0.0f && isfinite(amax)))
		return -EINVAL;
	row_bytes = a->dim * ckv_elem_bytes(a->elem);
	for (size_t i = 0; i < a->n; i += p.n) {
		p.row = a->first + i;
		p.rows = (const char *)rows + i * row_bytes;
		p.n = together > 0 && together < a->n - i ? together : a->n - i;
		if (encode_piece(&p) < 0)
			return refuse(&p, ret_fault);
	}
	return 0;
}

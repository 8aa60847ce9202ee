/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kivi.c - groups of numbers as whole numbers of 8, 4 or 2 bits between their
 * smallest and largest (KIVI, arXiv 2402.02750): the definition.
 *
 * A group of keys is one channel over consecutive rows, a group of values is
 * consecutive channels of one row. In memory both are numbers a stride apart, and their
 * words of codes are the same stride apart. Every step is computed in float and rounded
 * to the rows' type, as PyTorch does with tensors of that type. x is divided by the scale,
 * not multiplied by its reciprocal, which would round otherwise.
 */
#include "kernels/elem.h"
#include "kernels/encode.h"

#include <math.h>

static float number(const struct kivi_run *g, size_t i)
{
	return elem_at(g->x, i * g->stride, g->form->elem);
}

static int all_finite(const struct kivi_run *g)
{
	for (size_t i = 0; i < g->n; i++)
		if (!isfinite(number(g, i)))
			return 0;
	return 1;
}

static void set_ends(const struct kivi_run *g, float *min, float *max)
{
	*min = *max = number(g, 0);
	for (size_t i = 1; i < g->n; i++) {
		float x = number(g, i);

		/* -0 is below 0, whichever comes first. */
		if (x < *min || (x == *min && signbit(x)))
			*min = x;
		if (x > *max)
			*max = x;
	}
}

static float top_code(const struct kivi_form *f)
{
	return (float)((1u << f->bits) - 1u);
}

/* x' of one code. Of bf16 rows it stays a float: the caller rounds it when it stores it. */
static float decode(enum ckv_elem elem, float code, float scale, float min)
{
	if (elem == CKV_ELEM_F16)
		return elem_round(elem_round(code * scale, elem) + min, elem);
	return code * scale + min;
}

/* 0, or -1 for a group that cannot be encoded. */
static int set_scale(const struct kivi_run *g, float *scale, float *min)
{
	enum ckv_elem elem = g->form->elem;
	float top = top_code(g->form), max;

	if (!all_finite(g))
		return -1;
	set_ends(g, min, &max);
	*scale = elem_round(elem_round(max - *min, elem) / top, elem);
	return isfinite(elem_round(decode(elem, top, *scale, *min), elem))
		? 0 : -1;
}

int plain_kivi_fits(const struct kivi_run *g)
{
	float scale, min;

	return set_scale(g, &scale, &min) == 0;
}

static uint32_t code_of(const struct kivi_form *f, float x, float scale,
			float min)
{
	float q;

	if (scale == 0.0f)
		return 0;
	q = elem_round(elem_round(x - min, f->elem) / scale, f->elem);
	return (uint32_t)rintf(q > top_code(f) ? top_code(f) : q);
}

int plain_kivi_encode(const struct kivi_run *g, uint32_t *code, void *scale,
		      void *min)
{
	const struct kivi_form *f = g->form;
	uint32_t per_word = 32u / f->bits;
	float s, m;

	if (set_scale(g, &s, &m) < 0)
		return -1;
	for (size_t i = 0; i < g->n; i += per_word) {
		uint32_t word = 0;

		for (uint32_t k = 0; k < per_word && i + k < g->n; k++)
			word |= code_of(f, number(g, i + k), s, m)
				<< k * f->bits;
		code[i / per_word * g->stride] = word;
	}
	elem_put(scale, 0, f->elem, s);
	elem_put(min, 0, f->elem, m);
	return 0;
}

void plain_kivi_decode(const struct kivi_code *c, enum ckv_elem out_elem,
		       void *out)
{
	const struct kivi_form *f = c->form;
	uint32_t per_word = 32u / f->bits, top = (1u << f->bits) - 1u;
	float scale = elem_at(c->scale, 0, f->elem);
	float min = elem_at(c->min, 0, f->elem);

	for (size_t i = 0; i < c->n; i++) {
		size_t at = c->first + i;
		uint32_t word = c->word[at / per_word * c->stride];
		uint32_t code = word >> at % per_word * f->bits & top;

		elem_put(out, i * c->stride, out_elem,
			 decode(f->elem, (float)code, scale, min));
	}
}

/* ------------------------------------------------- keys and values of them */

int plain_kivi_encode_keys(const struct kivi_form *f, const void *rows,
			   size_t n, uint32_t *code, void *scale, void *min)
{
	size_t bytes = ckv_elem_bytes(f->elem);

	for (uint32_t d = 0; d < f->dim; d++) {
		const struct kivi_run g = {
			f, (const char *)rows + d * bytes, f->dim, n };

		if (plain_kivi_encode(&g, code + d, (char *)scale + d * bytes,
				      (char *)min + d * bytes) < 0)
			return -1;
	}
	return 0;
}

int plain_kivi_encode_values(const struct kivi_form *f, const void *rows,
			     size_t n, uint32_t *code, void *scale, void *min)
{
	size_t bytes = ckv_elem_bytes(f->elem), i_group = 0;
	uint32_t per_word = 32u / f->bits;

	for (size_t row = 0; row < n; row++, code += kivi_row_words(f)) {
		for (uint32_t d = 0; d < f->dim; d += f->group, i_group++) {
			const struct kivi_run g = {
				f, (const char *)rows + (row * f->dim + d) * bytes,
				1, kivi_group_at(f, d) };

			if (plain_kivi_encode(&g, code + d / per_word,
					      (char *)scale + i_group * bytes,
					      (char *)min + i_group * bytes) < 0)
				return -1;
		}
	}
	return 0;
}

void plain_kivi_decode_keys(const struct kivi_form *f, const uint32_t *code,
			    const void *scale, const void *min, size_t first,
			    size_t n, enum ckv_elem out_elem, void *out)
{
	size_t bytes = ckv_elem_bytes(f->elem);

	for (uint32_t d = 0; d < f->dim; d++) {
		const struct kivi_code c = {
			.form = f, .word = code + d, .stride = f->dim,
			.scale = (const char *)scale + d * bytes,
			.min = (const char *)min + d * bytes,
			.first = first, .n = n };

		plain_kivi_decode(&c, out_elem,
				  (char *)out + d * ckv_elem_bytes(out_elem));
	}
}

void plain_kivi_decode_values(const struct kivi_form *f, const uint32_t *code,
			      const void *scale, const void *min, size_t n,
			      enum ckv_elem out_elem, void *out)
{
	size_t bytes = ckv_elem_bytes(f->elem), i_group = 0;
	size_t out_bytes = ckv_elem_bytes(out_elem);

	for (size_t row = 0; row < n; row++, code += kivi_row_words(f)) {
		for (uint32_t d = 0; d < f->dim; d += f->group, i_group++) {
			const struct kivi_code c = {
				.form = f, .word = code + d / (32u / f->bits),
				.stride = 1,
				.scale = (const char *)scale + i_group * bytes,
				.min = (const char *)min + i_group * bytes,
				.n = kivi_group_at(f, d) };

			plain_kivi_decode(&c, out_elem,
					  (char *)out + (row * f->dim + d) *
								out_bytes);
		}
	}
}

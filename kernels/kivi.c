/*
 * kivi.c - groups of numbers as whole numbers of 8, 4 or 2 bits between their
 * smallest and largest (KIVI, arXiv 2402.02750): the definition.
 *
 * A group of keys is one channel over consecutive rows, a group of values is
 * consecutive channels of one row: numbers at a stride, and words of codes at the
 * same stride. Every step is computed in float and rounded to the rows' type, as
 * a machine with that type would; the division is a division.
 */
#include "kernels/elem.h"
#include "kernels/encode.h"

#include <math.h>

struct group {			/* where one group is */
	const struct kivi_form *f;
	size_t stride, n;
	const char *x;
	uint32_t *code;
	void *scale, *min;	/* [0] of each */
};

static void set_ends(const struct group *g, float *min, float *max)
{
	*min = *max = elem_at(g->x, 0, g->f->elem);
	for (size_t i = 1; i < g->n; i++) {
		float x = elem_at(g->x, i * g->stride, g->f->elem);

		/* -0 is below 0, whichever comes first. */
		if (x < *min || (x == *min && signbit(x)))
			*min = x;
		if (x > *max)
			*max = x;
	}
}

static int all_finite(const struct group *g)
{
	for (size_t i = 0; i < g->n; i++)
		if (!isfinite(elem_at(g->x, i * g->stride, g->f->elem)))
			return 0;
	return 1;
}

static float top_code(const struct kivi_form *f)
{
	return (float)((1u << f->bits) - 1u);
}

/* x' of one code. bf16 rows are computed in float, and rounded by who stores. */
static float decode(enum ckv_elem elem, float code, float scale, float min)
{
	if (elem == CKV_ELEM_F16)
		return elem_round(elem_round(code * scale, elem) + min, elem);
	return code * scale + min;
}

static void put_codes(const struct group *g, float scale, float min)
{
	const struct kivi_form *f = g->f;
	uint32_t per_word = 32u / f->bits;

	for (size_t i = 0; i < g->n; i += per_word) {
		uint32_t word = 0;

		for (uint32_t k = 0; k < per_word && i + k < g->n; k++) {
			float x = elem_at(g->x, (i + k) * g->stride, f->elem);
			float q;

			if (scale == 0.0f)
				break;
			q = elem_round(elem_round(x - min, f->elem) / scale,
				       f->elem);
			q = q > top_code(f) ? top_code(f) : q;
			word |= (uint32_t)rintf(q) << k * f->bits;
		}
		g->code[i / per_word * g->stride] = word;
	}
}

/* 0, or -1 for a group that cannot be encoded. */
static int set_scale(const struct group *g, float *scale, float *min)
{
	enum ckv_elem elem = g->f->elem;
	float max, largest;

	if (!all_finite(g))
		return -1;
	set_ends(g, min, &max);
	*scale = elem_round(elem_round(max - *min, elem) / top_code(g->f), elem);
	largest = elem_round(decode(elem, top_code(g->f), *scale, *min), elem);
	return isfinite(largest) ? 0 : -1;
}

static int encode_group(const struct group *g)
{
	float scale, min;

	if (set_scale(g, &scale, &min) < 0)
		return -1;
	put_codes(g, scale, min);
	elem_put(g->scale, 0, g->f->elem, scale);
	elem_put(g->min, 0, g->f->elem, min);
	return 0;
}

int plain_kivi_fits(const struct kivi_form *f, const void *x, size_t stride,
		    size_t n)
{
	const struct group g = { .f = f, .stride = stride, .n = n, .x = x };
	float scale, min;

	return set_scale(&g, &scale, &min) == 0;
}

int plain_kivi_encode_keys(const struct kivi_form *f, const void *rows,
			   size_t n, uint32_t *code, void *scale, void *min)
{
	size_t bytes = ckv_elem_bytes(f->elem);

	for (uint32_t d = 0; d < f->dim; d++) {
		struct group g = {
			.f = f, .stride = f->dim, .n = n,
			.x = (const char *)rows + d * bytes, .code = code + d,
			.scale = (char *)scale + d * bytes,
			.min = (char *)min + d * bytes,
		};

		if (encode_group(&g) < 0)
			return -1;
	}
	return 0;
}

int plain_kivi_encode_values(const struct kivi_form *f, const void *rows,
			     size_t n, uint32_t *code, void *scale, void *min)
{
	size_t bytes = ckv_elem_bytes(f->elem), i_group = 0;
	uint32_t per_word = 32u / f->bits;
	size_t row_words = (f->dim + per_word - 1) / per_word;

	for (size_t row = 0; row < n; row++) {
		for (uint32_t d = 0; d < f->dim; d += f->group, i_group++) {
			uint32_t left = f->dim - d;
			struct group g = {
				.f = f, .stride = 1,
				.n = left < f->group ? left : f->group,
				.x = (const char *)rows +
				     (row * f->dim + d) * bytes,
				.code = code + row * row_words + d / per_word,
				.scale = (char *)scale + i_group * bytes,
				.min = (char *)min + i_group * bytes,
			};

			if (encode_group(&g) < 0)
				return -1;
		}
	}
	return 0;
}

static float code_at(const struct kivi_form *f, uint32_t word, size_t i)
{
	uint32_t shift = (uint32_t)(i % (32u / f->bits)) * f->bits;

	return (float)(word >> shift & ((1u << f->bits) - 1u));
}

void plain_kivi_decode_keys(const struct kivi_form *f, const uint32_t *code,
			    const void *scale, const void *min, size_t first,
			    size_t n, enum ckv_elem out_elem, void *out)
{
	uint32_t per_word = 32u / f->bits;

	for (size_t i = 0; i < n; i++) {
		const uint32_t *word = code + (first + i) / per_word * f->dim;

		for (uint32_t d = 0; d < f->dim; d++)
			elem_put(out, i * f->dim + d, out_elem,
				 decode(f->elem, code_at(f, word[d], first + i),
					elem_at(scale, d, f->elem),
					elem_at(min, d, f->elem)));
	}
}

void plain_kivi_decode_values(const struct kivi_form *f, const uint32_t *code,
			      const void *scale, const void *min, size_t n,
			      enum ckv_elem out_elem, void *out)
{
	uint32_t per_word = 32u / f->bits;
	size_t row_words = (f->dim + per_word - 1) / per_word;
	size_t row_groups = (f->dim + f->group - 1) / f->group;

	for (size_t i = 0; i < n; i++, code += row_words) {
		for (uint32_t d = 0; d < f->dim; d++) {
			size_t group = i * row_groups + d / f->group;

			elem_put(out, i * f->dim + d, out_elem,
				 decode(f->elem,
					code_at(f, code[d / per_word], d),
					elem_at(scale, group, f->elem),
					elem_at(min, group, f->elem)));
		}
	}
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vec.h - the arithmetic of the engine: products, scores, softmax, sums.
 *
 * Every result is defined one element at a time, by a fixed order of additions
 * that depends on nothing but the element's own inputs: not on how many tokens
 * are computed together, nor on how rows are cut into pages. So a token's
 * logits are the same bits however its prompt was batched and wherever its
 * keys and values came from, which is what lets cached and uncached runs be
 * compared with memcmp.
 *
 * There are two sets, for AVX2 with FMA and for any CPU; they differ in the
 * last bits, and a process uses one of them throughout.
 */
#ifndef ENGINE_VEC_H
#define ENGINE_VEC_H

#include <stddef.h>
#include <stdint.h>

#define VEC_PANEL	16u	/* outputs that are computed side by side */
#define VEC_PAD		8u	/* a row of scores has room for this many more */

/* How keys and values are stored. */
enum vec_dtype { VEC_F32, VEC_BF16 };

struct vec_ops {
	const char *name;

	/*
	 * y[t][o] = sum of x[t][i] * w[i][o], i ascending, for the VEC_PANEL
	 * outputs of one panel: w is [n_in][VEC_PANEL]. Strides in floats.
	 */
	void (*panel)(float *y, size_t y_stride, const float *x,
		      size_t x_stride, const float *w, size_t n_in,
		      size_t n_tokens);

	/* s[j] = q . k[j]; rows of k follow each other, dim values each. */
	void (*scores[2])(float *s, const float *q, const void *k, size_t n,
			  size_t dim);

	/*
	 * s[j] = exp(s[j] - max s) for j < n; returns their sum. s has VEC_PAD
	 * more places, which are overwritten.
	 */
	float (*softmax)(float *s, size_t n);

	/* out[d] += p[j] * v[j][d], j ascending. */
	void (*mix[2])(float *out, const float *p, const void *v, size_t n,
		       size_t dim);
};

/* The best set for this CPU and this head size; the portable one. */
const struct vec_ops *vec_best(size_t dim);
extern const struct vec_ops vec_portable;
const struct vec_ops *vec_avx2(void);	/* NULL where the CPU lacks it */

static inline float vec_from_bf16(uint16_t bits)
{
	union { uint32_t u; float f; } v = { .u = (uint32_t)bits << 16 };

	return v.f;
}

/* Exact: what is subnormal as a half is normal as a float. */
static inline float vec_from_f16(uint16_t bits)
{
	union { uint32_t u; float f; } v = { .u = (bits & 0x7fffu) << 13 };

	if (v.u >= 0x7c00u << 13)
		v.u |= 0x7f800000u;	/* infinity, NaN */
	else
		v.f *= 0x1p112f;
	v.u |= (uint32_t)(bits & 0x8000u) << 16;
	return v.f;
}

/* Round to nearest, ties to even; NaN stays NaN. */
static inline uint16_t vec_to_bf16(float f)
{
	union { float f; uint32_t u; } v = { .f = f };

	if ((v.u & 0x7fffffffu) > 0x7f800000u)
		return (uint16_t)(v.u >> 16 | 0x40u);
	return (uint16_t)((v.u + 0x7fffu + (v.u >> 16 & 1u)) >> 16);
}

#endif

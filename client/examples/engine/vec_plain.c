/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vec_plain.c - the arithmetic for any CPU, in the plainest loops.
 *
 * Lanes are spelled out (eight partial sums, folded in one order) so that the
 * compiler may use whatever vectors there are without changing a result.
 */
#include "client/examples/engine/vec.h"

#include <math.h>

#define LANES	8u

static void panel(float *y, size_t y_stride, const float *x, size_t x_stride,
		  const float *w, size_t n_in, size_t n_tokens)
{
	for (size_t t = 0; t < n_tokens; t++) {
		float acc[VEC_PANEL] = { 0 };

		for (size_t i = 0; i < n_in; i++)
			for (size_t o = 0; o < VEC_PANEL; o++)
				acc[o] += x[t * x_stride + i] *
					  w[i * VEC_PANEL + o];
		for (size_t o = 0; o < VEC_PANEL; o++)
			y[t * y_stride + o] = acc[o];
	}
}

static inline float load(const void *row, size_t i, enum vec_dtype dtype)
{
	if (dtype == VEC_BF16)
		return vec_from_bf16(((const uint16_t *)row)[i]);
	return ((const float *)row)[i];
}

static inline float fold(const float lane[LANES])
{
	return ((lane[0] + lane[1]) + (lane[2] + lane[3])) +
	       ((lane[4] + lane[5]) + (lane[6] + lane[7]));
}

static inline void scores(float *s, const float *q, const void *k, size_t n,
			  size_t dim, enum vec_dtype dtype)
{
	for (size_t j = 0; j < n; j++) {
		float lane[LANES] = { 0 };

		for (size_t d = 0; d < dim; d++)
			lane[d % LANES] += q[d] * load(k, j * dim + d, dtype);
		s[j] = fold(lane);
	}
}

static inline void mix(float *out, const float *p, const void *v, size_t n,
		       size_t dim, enum vec_dtype dtype)
{
	for (size_t j = 0; j < n; j++)
		for (size_t d = 0; d < dim; d++)
			out[d] += p[j] * load(v, j * dim + d, dtype);
}

static void scores_f32(float *s, const float *q, const void *k, size_t n,
		       size_t dim)
{
	scores(s, q, k, n, dim, VEC_F32);
}

static void scores_bf16(float *s, const float *q, const void *k, size_t n,
			size_t dim)
{
	scores(s, q, k, n, dim, VEC_BF16);
}

static void mix_f32(float *out, const float *p, const void *v, size_t n,
		    size_t dim)
{
	mix(out, p, v, n, dim, VEC_F32);
}

static void mix_bf16(float *out, const float *p, const void *v, size_t n,
		     size_t dim)
{
	mix(out, p, v, n, dim, VEC_BF16);
}

static float softmax(float *s, size_t n)
{
	float lane[LANES] = { 0 };
	float max = -INFINITY;

	for (size_t j = 0; j < n; j++)
		max = s[j] > max ? s[j] : max;
	for (size_t j = 0; j < n; j++) {
		s[j] = expf(s[j] - max);
		lane[j % LANES] += s[j];
	}
	return fold(lane);
}

const struct vec_ops vec_portable = {
	.name = "portable",
	.panel = panel,
	.scores = { [VEC_F32] = scores_f32, [VEC_BF16] = scores_bf16 },
	.softmax = softmax,
	.mix = { [VEC_F32] = mix_f32, [VEC_BF16] = mix_bf16 },
};

const struct vec_ops *vec_best(size_t dim)
{
	const struct vec_ops *avx2 = vec_avx2();

	return avx2 != NULL && dim % LANES == 0 ? avx2 : &vec_portable;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vec_avx2.c - the arithmetic with AVX2 and FMA, chosen at run time.
 *
 * panel: up to six tokens by sixteen outputs stay in registers while the inputs
 * pass by; each of those sums is one chain of fused multiply-adds over the
 * inputs in order, whether six tokens are computed together or one.
 * scores: four rows at a time share the loads of q; a row's sum is eight lanes
 * folded in one order, whichever of the four places it had.
 */
#include "client/examples/engine/vec.h"

#include <math.h>

#if defined(__x86_64__) && !defined(CKV_PORTABLE)
#include <immintrin.h>

#define AVX2	__attribute__((target("avx2,fma")))
#define INLINE	AVX2 static inline __attribute__((always_inline))
#define TOKENS	6u
#define LANES	8u

INLINE void panel_tile(float *y, size_t y_stride, const float *x,
		       size_t x_stride, const float *w, size_t n_in,
		       const unsigned n)
{
	__m256 lo[TOKENS], hi[TOKENS];

#pragma GCC unroll 6
	for (unsigned t = 0; t < n; t++)
		lo[t] = hi[t] = _mm256_setzero_ps();
	for (size_t i = 0; i < n_in; i++) {
		__m256 w_lo = _mm256_loadu_ps(w + i * VEC_PANEL);
		__m256 w_hi = _mm256_loadu_ps(w + i * VEC_PANEL + LANES);

#pragma GCC unroll 6
		for (unsigned t = 0; t < n; t++) {
			__m256 a = _mm256_broadcast_ss(x + t * x_stride + i);

			lo[t] = _mm256_fmadd_ps(a, w_lo, lo[t]);
			hi[t] = _mm256_fmadd_ps(a, w_hi, hi[t]);
		}
	}
#pragma GCC unroll 6
	for (unsigned t = 0; t < n; t++) {
		_mm256_storeu_ps(y + t * y_stride, lo[t]);
		_mm256_storeu_ps(y + t * y_stride + LANES, hi[t]);
	}
}

AVX2 static void panel(float *y, size_t y_stride, const float *x,
		       size_t x_stride, const float *w, size_t n_in,
		       size_t n_tokens)
{
	size_t t = 0;

	for (; t + TOKENS <= n_tokens; t += TOKENS)
		panel_tile(y + t * y_stride, y_stride, x + t * x_stride,
			   x_stride, w, n_in, TOKENS);
	for (; t < n_tokens; t++)
		panel_tile(y + t * y_stride, y_stride, x + t * x_stride,
			   x_stride, w, n_in, 1);
}

INLINE __m256 load8(const void *row, size_t i, const enum vec_dtype dtype)
{
	const uint16_t *half = row;
	__m128i bits;

	if (dtype == VEC_F32)
		return _mm256_loadu_ps((const float *)row + i);
	bits = _mm_loadu_si128((const __m128i *)(const void *)(half + i));
	return _mm256_castsi256_ps(_mm256_slli_epi32(
			_mm256_cvtepu16_epi32(bits), 16));
}

/* The sums of four vectors, each folded as (0+1)+(2+3) of both halves. */
INLINE __m128 fold4(__m256 a, __m256 b, __m256 c, __m256 d)
{
	__m256 s = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));

	return _mm_add_ps(_mm256_castps256_ps128(s),
			  _mm256_extractf128_ps(s, 1));
}

INLINE __m128 four_scores(const float *q, const void *k, const size_t row[4],
			  size_t dim, const enum vec_dtype dtype)
{
	__m256 acc[4];

#pragma GCC unroll 4
	for (unsigned r = 0; r < 4; r++)
		acc[r] = _mm256_setzero_ps();
	for (size_t d = 0; d < dim; d += LANES) {
		__m256 a = _mm256_loadu_ps(q + d);

#pragma GCC unroll 4
		for (unsigned r = 0; r < 4; r++)
			acc[r] = _mm256_fmadd_ps(a,
					load8(k, row[r] * dim + d, dtype),
					acc[r]);
	}
	return fold4(acc[0], acc[1], acc[2], acc[3]);
}

INLINE void scores(float *s, const float *q, const void *k, size_t n,
		   size_t dim, const enum vec_dtype dtype)
{
	float last[4];
	size_t j = 0;

	for (; j + 4 <= n; j += 4) {
		const size_t row[4] = { j, j + 1, j + 2, j + 3 };

		_mm_storeu_ps(s + j, four_scores(q, k, row, dim, dtype));
	}
	if (j < n) {
		const size_t row[4] = { j, j + 1 < n ? j + 1 : j,
					j + 2 < n ? j + 2 : j, j };

		_mm_storeu_ps(last, four_scores(q, k, row, dim, dtype));
		for (size_t i = 0; j + i < n; i++)
			s[j + i] = last[i];
	}
}

INLINE void mix(float *out, const float *p, const void *v, size_t n,
		size_t dim, const enum vec_dtype dtype)
{
	size_t d = 0;

	for (; d + 8 * LANES <= dim; d += 8 * LANES) {
		__m256 acc[8];

#pragma GCC unroll 8
		for (unsigned i = 0; i < 8; i++)
			acc[i] = _mm256_loadu_ps(out + d + i * LANES);
		for (size_t j = 0; j < n; j++) {
			__m256 a = _mm256_broadcast_ss(p + j);

#pragma GCC unroll 8
			for (unsigned i = 0; i < 8; i++)
				acc[i] = _mm256_fmadd_ps(a, load8(v,
						j * dim + d + i * LANES,
						dtype), acc[i]);
		}
#pragma GCC unroll 8
		for (unsigned i = 0; i < 8; i++)
			_mm256_storeu_ps(out + d + i * LANES, acc[i]);
	}
	for (; d < dim; d += LANES) {
		__m256 acc = _mm256_loadu_ps(out + d);

		for (size_t j = 0; j < n; j++)
			acc = _mm256_fmadd_ps(_mm256_broadcast_ss(p + j),
					      load8(v, j * dim + d, dtype), acc);
		_mm256_storeu_ps(out + d, acc);
	}
}

AVX2 static void scores_f32(float *s, const float *q, const void *k, size_t n,
			    size_t dim)
{
	scores(s, q, k, n, dim, VEC_F32);
}

AVX2 static void scores_bf16(float *s, const float *q, const void *k, size_t n,
			     size_t dim)
{
	scores(s, q, k, n, dim, VEC_BF16);
}

AVX2 static void mix_f32(float *out, const float *p, const void *v, size_t n,
			 size_t dim)
{
	mix(out, p, v, n, dim, VEC_F32);
}

AVX2 static void mix_bf16(float *out, const float *p, const void *v, size_t n,
			  size_t dim)
{
	mix(out, p, v, n, dim, VEC_BF16);
}

/*
 * exp(x) for x <= 0: x = n ln 2 + r with |r| <= ln 2 / 2, a polynomial for
 * exp(r) (relative error below 2e-7), n into the exponent. Below -87, where
 * the result would be denormal, it is 0.
 */
INLINE __m256 exp8(__m256 x)
{
	static const float c[] = { 1.3888889e-3f, 8.3333333e-3f, 4.1666668e-2f,
				   1.6666667e-1f, 0.5f, 1.0f, 1.0f };
	__m256 keep = _mm256_cmp_ps(x, _mm256_set1_ps(-87.0f), _CMP_GE_OQ);
	__m256 n = _mm256_round_ps(_mm256_mul_ps(x,
					_mm256_set1_ps(1.44269504f)),
				   _MM_FROUND_TO_NEAREST_INT |
				   _MM_FROUND_NO_EXC);
	__m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0.693145752f), x);
	__m256 y = _mm256_set1_ps(1.9841270e-4f);
	__m256i scale;

	r = _mm256_fnmadd_ps(n, _mm256_set1_ps(1.42860677e-6f), r);
#pragma GCC unroll 7
	for (unsigned i = 0; i < 7; i++)
		y = _mm256_fmadd_ps(y, r, _mm256_set1_ps(c[i]));
	scale = _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n),
						   _mm256_set1_epi32(127)), 23);
	return _mm256_and_ps(keep, _mm256_mul_ps(y,
						 _mm256_castsi256_ps(scale)));
}

AVX2 static float softmax(float *s, size_t n)
{
	__m256 max = _mm256_set1_ps(-INFINITY);
	__m256 sum = _mm256_setzero_ps();

	for (size_t j = 0; j < VEC_PAD; j++)
		s[n + j] = -INFINITY;
	for (size_t j = 0; j < n; j += LANES)
		max = _mm256_max_ps(max, _mm256_loadu_ps(s + j));
	max = _mm256_max_ps(max, _mm256_permute2f128_ps(max, max, 1));
	max = _mm256_max_ps(max, _mm256_permute_ps(max, 0x4e));
	max = _mm256_max_ps(max, _mm256_permute_ps(max, 0xb1));
	for (size_t j = 0; j < n; j += LANES) {
		__m256 p = exp8(_mm256_sub_ps(_mm256_loadu_ps(s + j), max));

		_mm256_storeu_ps(s + j, p);
		sum = _mm256_add_ps(sum, p);
	}
	return _mm_cvtss_f32(fold4(sum, sum, sum, sum));
}

static const struct vec_ops avx2 = {
	.name = "avx2",
	.panel = panel,
	.scores = { [VEC_F32] = scores_f32, [VEC_BF16] = scores_bf16 },
	.softmax = softmax,
	.mix = { [VEC_F32] = mix_f32, [VEC_BF16] = mix_bf16 },
};

const struct vec_ops *vec_avx2(void)
{
	return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ?
	       &avx2 : NULL;
}

#else

const struct vec_ops *vec_avx2(void)
{
	return NULL;
}

#endif

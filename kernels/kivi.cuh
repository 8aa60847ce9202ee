/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kivi.cuh - inside the KIVI kernels: scale, code and number of one group.
 *
 * The steps are those of kivi.c, each rounded once to the rows' kind. A float near 2^23
 * has no room for a fraction, so adding 2^23 leaves the nearest whole number, halves to
 * even, in the low bits: that is the code.
 */
#ifndef CKV_KERNELS_KIVI_CUH
#define CKV_KERNELS_KIVI_CUH

#include "kernels/encode.cuh"

#define KIVI_WHOLE	0x4b000000u	/* 2^23 */

struct kivi_scale {
	float min, scale;	/* scale 0: every code is 0 */
	struct divisor by;	/* scale */
};

/* x' of a code, before it is rounded to what it is stored as. */
template <enum ckv_elem E>
__device__ static inline float kivi_number(float code, float scale, float min)
{
	float x = __fmul_rn(code, scale);

	if (E == CKV_ELEM_F16)
		return round_to<E>(__fadd_rn(round_to<E>(x), min));
	return __fadd_rn(x, min);
}

/* Scale of a group between two finite numbers; false if the kind cannot hold it. */
template <enum ckv_elem E, int BITS>
__device__ static inline bool kivi_scale_of(float min, float max, struct kivi_scale *s)
{
	const float top = (float)((1u << BITS) - 1u);
	float range = round_to<E>(__fsub_rn(max, min));

	s->min = min;
	s->scale = round_to<E>(divide_by_number(range, top));
	s->by = divisor_of(s->scale);
	return is_finite(round_to<E>(kivi_number<E>(top, s->scale, min)));
}

/* Bits of a float whose low byte is x's code. */
template <enum ckv_elem E, int BITS>
__device__ static inline uint32_t kivi_code(float x, const struct kivi_scale &s)
{
	const float top = (float)((1u << BITS) - 1u);
	/*
	 * The quotient of two bf16 numbers is rounded to bf16 next, and is never near the
	 * middle between two of these: one correction is enough.
	 */
	const int corrections = E == CKV_ELEM_BF16 ? 1 : 2;
	float d = round_to<E>(__fsub_rn(x, s.min));
	float q = round_to<E>(divide<corrections>(d, s.by));

	q = s.by.by == 0.0f ? 0.0f : fminf(q, top);
	return __float_as_uint(__fadd_rn(q, __uint_as_float(KIVI_WHOLE)));
}

/* ---- smallest and largest of pairs of 16-bit floats, as integers in their order ---- */

/* Each half so that signed integers compare as the floats do, -0 below 0. */
__device__ static inline uint32_t ordered(uint32_t both)
{
	uint32_t sign = both >> 15 & 0x00010001u;

	return both ^ ((sign << 15) - sign);
}

__device__ static inline uint32_t min_s16x2(uint32_t a, uint32_t b)
{
#ifdef __CUDACC__
	return __vmins2(a, b);
#else
	int16_t low = min((int16_t)a, (int16_t)b);
	int16_t high = min((int16_t)(a >> 16), (int16_t)(b >> 16));

	return (uint16_t)low | (uint32_t)(uint16_t)high << 16;
#endif
}

/*
 * Smallest and largest in one word, the largest inverted, so that one min_s16x2() joins
 * two such words.
 */
__device__ static inline uint32_t extremes_of(uint32_t ordered_half)
{
	return (ordered_half & 0xffffu) | ~ordered_half << 16;
}

/* The two floats of joined extremes; not finite if any number was not. */
template <enum ckv_elem E>
__device__ static inline void extremes_get(uint32_t extremes, float *min, float *max)
{
	*min = half_low<E>(ordered(extremes & 0xffffu));
	*max = half_low<E>(ordered(~extremes >> 16));
}

#endif

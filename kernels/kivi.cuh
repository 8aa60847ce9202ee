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

	/* Of 16-bit kinds no quotient is so near the middle between two that a product
	   in float could be on the other side. */
	s->min = min;
	s->scale = E == CKV_ELEM_F32 ? divide_by_number(range, top)
				     : round_to<E>(__fmul_rn(range, 1.0f / top));
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

/* ------------------------------------------------------------------ places */

struct kivi_place {		/* of an area's scales and mins */
	char *scale, *min;
};

/* Those of the group that `groups` others lie before, of `all` groups. */
template <enum ckv_elem E>
__device__ static inline struct kivi_place kivi_place_at(const struct encode_run &r,
							 size_t groups, size_t all)
{
	const size_t bytes = E == CKV_ELEM_F32 ? 4 : 2;
	struct kivi_place p = { r.scale + groups * bytes, r.scale + (all + groups) * bytes };

	return p;
}

/* ------------------------------------------------- two 16-bit numbers at once */

/*
 * a * b + c of each half, rounded once. Without the instruction: a product of two such
 * numbers is exact in float, and here one of them is a power of two, so that a sum
 * rounded to float and then to the kind is the one rounded once.
 */
template <enum ckv_elem E>
__device__ static inline uint32_t fma_halves(uint32_t a, uint32_t b, uint32_t c)
{
#ifdef __CUDACC__
	uint32_t d;

	if (E == CKV_ELEM_BF16)
		asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
	else
		asm("fma.rn.f16x2 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
	return d;
#else
	return pack_halves<E>(
		fmaf(half_low<E>(a), half_low<E>(b), half_low<E>(c)),
		fmaf(half_high<E>(a), half_high<E>(b), half_high<E>(c)));
#endif
}

#ifndef __CUDACC__
/* Each half so that signed integers compare as the floats do, -0 below 0. */
static inline uint32_t ordered(uint32_t both)
{
	uint32_t sign = both >> 15 & 0x00010001u;

	return both ^ ((sign << 15) - sign);
}

static inline uint32_t min_half(uint32_t infinity, uint32_t a, uint32_t b)
{
	uint32_t nan = infinity | 1;

	if ((a & 0x7fffu) > infinity || (b & 0x7fffu) > infinity)
		return nan;
	return ordered(min((int16_t)ordered(a), (int16_t)ordered(b)) & 0xffffu) & 0xffffu;
}
#endif

/* The smaller of each half, -0 below 0; NaN if one is NaN. */
template <enum ckv_elem E>
__device__ static inline uint32_t min_halves(uint32_t a, uint32_t b)
{
#ifdef __CUDACC__
	uint32_t d;

	if (E == CKV_ELEM_BF16)
		asm("min.NaN.bf16x2 %0, %1, %2;" : "=r"(d) : "r"(a), "r"(b));
	else
		asm("min.NaN.f16x2 %0, %1, %2;" : "=r"(d) : "r"(a), "r"(b));
	return d;
#else
	const uint32_t infinity = E == CKV_ELEM_BF16 ? 0x7f80u : 0x7c00u;

	return min_half(infinity, a & 0xffffu, b & 0xffffu) |
	       min_half(infinity, a >> 16, b >> 16) << 16;
#endif
}

#define HALVES_SIGNS	0x80008000u

/* Smallest and largest of each half over n words. */
template <enum ckv_elem E, uint32_t N>
__device__ static inline void extremes_of(const uint32_t *word, uint32_t step,
					  uint32_t *least, uint32_t *most)
{
	uint32_t low = word[0], high = word[0] ^ HALVES_SIGNS;

#pragma unroll
	for (uint32_t i = 1; i < N; i++) {
		low = min_halves<E>(low, word[i * step]);
		high = min_halves<E>(high, word[i * step] ^ HALVES_SIGNS);
	}
	*least = low;
	*most = high;
}

/*
 * What is known of a group is one word, its smallest number and its largest with the
 * sign turned: the smaller halves of two such words are those of both.
 */
template <enum ckv_elem E>
__device__ static inline void extremes_get(uint32_t extremes, float *min, float *max)
{
	*min = half_low<E>(extremes);
	*max = -half_high<E>(extremes);
}

/* A word with which another word stays as it is. */
template <enum ckv_elem E> __device__ static inline uint32_t extremes_none(void)
{
	return E == CKV_ELEM_BF16 ? 0x7f807f80u : 0x7c007c00u;
}

/* ------------------------------------------------------ two numbers to two codes */

/*
 * How the two numbers of a word become codes: (x - min) * factor, as the kind rounds it,
 * is multiplied by `inverse`. The factor is a power of two that keeps `inverse` from
 * being too large or 0, and `base` is -min * factor. Of scale 0 all are 0, and so is every
 * code.
 *
 * A quotient of two bf16 numbers is rounded to bf16 next. A multiple of 1/2 of its last
 * place is never nearer to it than 2^-17 of itself, so the product, which is wrong by
 * 2^-23, is rounded alike. For f16 that distance is 2^-23, and the quotient gets one
 * correction, for which `factor` is the scale: f16 has no scale that needs a factor.
 */
struct kivi_pair {
	uint32_t factor, base;		/* a half for each of the two */
	float low, high;		/* inverse */
};

/* Those halves of one group, and its inverse. */
template <enum ckv_elem E>
__device__ static inline void kivi_steps(const struct kivi_scale &s, uint32_t *factor,
					 uint32_t *base, float *inverse)
{
	float by = E == CKV_ELEM_BF16 ? s.by.factor : s.scale, f;

	by = s.scale == 0.0f ? 0.0f : by;
	f = E == CKV_ELEM_BF16 ? by : 1.0f;
	*factor = pack_halves<E>(by, 0.0f);
	*base = pack_halves<E>(-s.min * f, 0.0f);
	*inverse = s.scale == 0.0f ? 0.0f : s.by.inverse;
}

/*
 * The codes of both numbers, in 16 bits each, with kivi_bias() added. A number to which
 * the kind's own "2^23" is added has its code in the low bits; bf16 has 7 of them, which
 * is too few for codes of 8 bits.
 */
template <enum ckv_elem E, int BITS>
__device__ static inline uint32_t kivi_codes(uint32_t both, const struct kivi_pair &p)
{
	const uint32_t one = E == CKV_ELEM_BF16 ? 0x3f803f80u : 0x3c003c00u;
	const uint32_t whole = E == CKV_ELEM_BF16 ? 0x43004300u : 0x64006400u;
	const float top = (float)((1u << BITS) - 1u);
	uint32_t d = fma_halves<E>(both, E == CKV_ELEM_BF16 ? p.factor : one, p.base), q;
	float low = half_low<E>(d), high = half_high<E>(d);
	float x = __fmul_rn(low, p.low), y = __fmul_rn(high, p.high);

	if (E == CKV_ELEM_F16) {
		x = fmaf(fmaf(-x, half_low<E>(p.factor), low), p.low, x);
		y = fmaf(fmaf(-y, half_high<E>(p.factor), high), p.high, y);
	}
	q = min_halves<E>(pack_halves<E>(x, y), pack_halves<E>(top, top));
	if (E == CKV_ELEM_F16 || BITS < 8)
		return fma_halves<E>(q, one, whole);
	x = __fadd_rn(half_low<E>(q), __uint_as_float(KIVI_WHOLE));
	y = __fadd_rn(half_high<E>(q), __uint_as_float(KIVI_WHOLE));
	return (__float_as_uint(x) & 0xffffu) | __float_as_uint(y) << 16;
}

template <enum ckv_elem E, int BITS> __device__ static constexpr uint32_t kivi_bias(void)
{
	return E == CKV_ELEM_F16 ? 0x64006400u : BITS < 8 ? 0x43004300u : 0u;
}

/* N words of codes, each moved SHIFT bits further than the one before, without bias. */
template <enum ckv_elem E, int BITS, uint32_t N, uint32_t SHIFT>
__device__ static inline uint32_t kivi_join(const uint32_t *codes)
{
	uint32_t sum = 0, bias = 0;

#pragma unroll
	for (uint32_t i = 0; i < N; i++) {
		sum += codes[i] << i * SHIFT;
		bias += kivi_bias<E, BITS>() << i * SHIFT;
	}
	return sum - bias;
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* encode_avx2.c - encodings with AVX2 and F16C, where the machine has them. */
#include "kernels/encode.h"

#if defined(__x86_64__) && !defined(CKV_PORTABLE)
#include <cpuid.h>
#include <immintrin.h>

#define LANES		8
#define TARGET		__attribute__((target("avx2,f16c")))
#define F16_HARDWARE	1

#include "kernels/encode_vector.h"

INLINE vu min_s32(vu a, vu b)
{
	return (vu)_mm256_min_epi32((__m256i)a, (__m256i)b);
}

INLINE vu max_s32(vu a, vu b)
{
	return (vu)_mm256_max_epi32((__m256i)a, (__m256i)b);
}

INLINE vu min_s16(vu a, vu b)
{
	return (vu)_mm256_min_epi16((__m256i)a, (__m256i)b);
}

INLINE vu max_s16(vu a, vu b)
{
	return (vu)_mm256_max_epi16((__m256i)a, (__m256i)b);
}

/* The one instruction that compares lanes takes unsigned numbers. */
INLINE int32_t least_s16(vs x)
{
	const __m128i sign = _mm_set1_epi16(INT16_MIN);
	__m128i half = _mm_min_epi16(_mm256_castsi256_si128((__m256i)x),
				     _mm256_extracti128_si256((__m256i)x, 1));

	half = _mm_minpos_epu16(_mm_xor_si128(half, sign));
	return (int16_t)_mm_extract_epi16(_mm_xor_si128(half, sign), 0);
}

INLINE int any_lane(vu mask)
{
	return !_mm256_testz_si256((__m256i)mask, (__m256i)mask);
}

INLINE vf min_f32(vf a, vf b)
{
	return (vf)_mm256_min_ps((__m256)a, (__m256)b);
}

INLINE vu whole(vf x)
{
	return (vu)_mm256_cvtps_epi32((__m256)x);
}

/* --------------------------------------------------------------------- f16 */

INLINE vf f16_low(vu x)
{
	return (vf)_mm256_cvtph_ps(_mm256_castsi256_si128((__m256i)x));
}

INLINE vf f16_high(vu x)
{
	return (vf)_mm256_cvtph_ps(_mm256_extracti128_si256((__m256i)x, 1));
}

INLINE vu f16_join(vf low, vf high)
{
	return (vu)_mm256_set_m128i(
		_mm256_cvtps_ph((__m256)high, _MM_FROUND_TO_NEAREST_INT),
		_mm256_cvtps_ph((__m256)low, _MM_FROUND_TO_NEAREST_INT));
}

INLINE vf f16_round(vf x)
{
	return (vf)_mm256_cvtph_ps(
		_mm256_cvtps_ph((__m256)x, _MM_FROUND_TO_NEAREST_INT));
}

/* ------------------------------------------------------- narrower and wider */

INLINE vh load_codes(vb x)
{
	return (vh)_mm256_cvtepu8_epi16((__m128i)x);
}

INLINE vb store_codes(vh x)
{
	__m256i packed = _mm256_packus_epi16((__m256i)x, (__m256i)x);

	return (vb)_mm256_castsi256_si128(
		_mm256_permute4x64_epi64(packed, 0x08));
}

INLINE vu load_32_16(const void *from)
{
	return (vu)_mm256_cvtepu16_epi32(_mm_loadu_si128(from));
}

INLINE void store_32_16(void *to, vu x)
{
	__m256i packed = _mm256_packus_epi32((__m256i)x, (__m256i)x);

	_mm_storeu_si128(to, _mm256_castsi256_si128(
		_mm256_permute4x64_epi64(packed, 0x08)));
}

INLINE vu load_32_8(const void *from)
{
	return (vu)_mm256_cvtepu8_epi32(_mm_loadu_si64(from));
}

INLINE void store_32_8(void *to, vu x)
{
	const __m256i lowest = _mm256_set1_epi32(0x0c080400);
	__m256i packed = _mm256_shuffle_epi8((__m256i)x, lowest);

	_mm_storeu_si64(to, _mm_unpacklo_epi32(
		_mm256_castsi256_si128(packed),
		_mm256_extracti128_si256(packed, 1)));
}

INLINE vl load_64_8(const void *from)
{
	return (vl)_mm256_cvtepu8_epi64(_mm_loadu_si32(from));
}

INLINE void store_64_8(void *to, vl x)
{
	const __m256i lowest = _mm256_set1_epi16(0x0800);
	__m256i packed = _mm256_shuffle_epi8((__m256i)x, lowest);

	_mm_storeu_si32(to, _mm_unpacklo_epi16(
		_mm256_castsi256_si128(packed),
		_mm256_extracti128_si256(packed, 1)));
}

#include "kernels/encode_body.h"

/*
 * clang 14's __builtin_cpu_supports() does not know F16C, so CPUID is executed here. That
 * is done once, before main(): under a hypervisor the instruction traps, which takes
 * microseconds each time.
 */
static int has_f16c;

static __attribute__((constructor)) void ask_for_f16c(void)
{
	unsigned a, b, c, d;

	has_f16c = __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C) != 0;
}

const struct encode_code *encode_code_avx2(void)
{
	return __builtin_cpu_supports("avx2") && has_f16c ? &code : NULL;
}
#else
const struct encode_code *encode_code_avx2(void)
{
	return NULL;
}
#endif

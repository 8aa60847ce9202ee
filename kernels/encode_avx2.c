/* encode_avx2.c - encodings with AVX2 and F16C, where the machine has them. */
#include "kernels/encode.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define LANES		8
#define TARGET		__attribute__((target("avx2,f16c")))
#define MIN_S32(a, b)	_mm256_min_epi32((__m256i)(a), (__m256i)(b))
#define MAX_S32(a, b)	_mm256_max_epi32((__m256i)(a), (__m256i)(b))
#define MIN_S16(a, b)	_mm256_min_epi16((__m256i)(a), (__m256i)(b))
#define MAX_S16(a, b)	_mm256_max_epi16((__m256i)(a), (__m256i)(b))
#define LEAST_S16(x)	least_s16((__m256i)(x))
#define MIN_F32(a, b)	((vf)_mm256_min_ps((__m256)(a), (__m256)(b)))
#define ROUND(x)	((vu)_mm256_cvtps_epi32((__m256)(x)))

#define F16_HARDWARE	1
#define F16_LOW(x)	((vf)_mm256_cvtph_ps(				\
				_mm256_castsi256_si128((__m256i)(x))))
#define F16_HIGH(x)	((vf)_mm256_cvtph_ps(				\
				_mm256_extracti128_si256((__m256i)(x), 1)))
#define F16_HALF(x)	_mm256_cvtps_ph((__m256)(x), _MM_FROUND_TO_NEAREST_INT)
#define F16_JOIN(x, y)	((vu)_mm256_set_m128i(F16_HALF(y), F16_HALF(x)))
#define F16_ROUND(x)	((vf)_mm256_cvtph_ps(F16_HALF(x)))

/* The one instruction that compares lanes takes unsigned numbers. */
static inline TARGET int32_t least_s16(__m256i x)
{
	const __m128i sign = _mm_set1_epi16(INT16_MIN);
	__m128i half = _mm_min_epi16(_mm256_castsi256_si128(x),
				     _mm256_extracti128_si256(x, 1));

	half = _mm_minpos_epu16(_mm_xor_si128(half, sign));
	return (int16_t)_mm_extract_epi16(_mm_xor_si128(half, sign), 0);
}

#include "kernels/encode_body.h"

const struct encode_code *encode_code_avx2(void)
{
	return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("f16c")
		? &code : NULL;
}
#else
const struct encode_code *encode_code_avx2(void)
{
	return NULL;
}
#endif

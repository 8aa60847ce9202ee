/* SPDX-License-Identifier: Apache-2.0 */
/* window_avx512.c - window scoring with AVX-512F, where the machine has it. */
#include "kernels/window.h"

#if defined(__x86_64__) && !defined(CKV_PORTABLE)
#include <immintrin.h>

#define LANES		16
#define PANEL_ROWS	8
#define PACK		8
#define TARGET		__attribute__((target("avx512f,avx2,fma")))
#define FMA(a, b, c)	((vf)_mm512_fmadd_ps((__m512)(a), (__m512)(b), (__m512)(c)))
#define MAX(a, b)	((vf)_mm512_max_ps((__m512)(a), (__m512)(b)))
#define ANY(mask)	_mm512_test_epi32_mask((__m512i)(mask), (__m512i)(mask))
#define UMAX(a, b)	((pu)_mm256_max_epu32((__m256i)(a), (__m256i)(b)))
#define WIDEN(p)	((pu)_mm256_cvtepu16_epi32(			\
				_mm_loadu_si128((const __m128i_u *)(p))))

#include "kernels/window_body.h"

const struct window_code *window_code_avx512(void)
{
	return __builtin_cpu_supports("avx512f") ? &code : NULL;
}
#else
const struct window_code *window_code_avx512(void)
{
	return NULL;
}
#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* window_avx2.c - window scoring with AVX2 and FMA, where the machine has it. */
#include "kernels/window.h"

#if defined(__x86_64__) && !defined(CKV_PORTABLE)
#include <immintrin.h>

#define LANES		8
#define PANEL_ROWS	4
#define PACK		8
#define TARGET		__attribute__((target("avx2,fma")))
#define FMA(a, b, c)	((vf)_mm256_fmadd_ps((__m256)(a), (__m256)(b), (__m256)(c)))
#define MAX(a, b)	((vf)_mm256_max_ps((__m256)(a), (__m256)(b)))
#define ANY(mask)	_mm256_movemask_ps((__m256)(mask))
#define UMAX(a, b)	((pu)_mm256_max_epu32((__m256i)(a), (__m256i)(b)))
#define WIDEN(p)	((pu)_mm256_cvtepu16_epi32(			\
				_mm_loadu_si128((const __m128i_u *)(p))))

#include "kernels/window_body.h"

const struct window_code *window_code_avx2(void)
{
	return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")
		? &code : NULL;
}
#else
const struct window_code *window_code_avx2(void)
{
	return NULL;
}
#endif

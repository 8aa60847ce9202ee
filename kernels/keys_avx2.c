/* SPDX-License-Identifier: Apache-2.0 */
/* keys_avx2.c - norms and key difference with AVX2 and FMA, where they are. */
#include "kernels/keys.h"

#if defined(__x86_64__) && !defined(CKV_PORTABLE)
#include <immintrin.h>

#define LANES		8
#define TARGET		__attribute__((target("avx2,fma")))
#define FMA(a, b, c)	((vf)_mm256_fmadd_ps((__m256)(a), (__m256)(b), (__m256)(c)))

#include "kernels/keys_body.h"

const struct keys_code *keys_code_avx2(void)
{
	return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")
		? &code : NULL;
}
#else
const struct keys_code *keys_code_avx2(void)
{
	return NULL;
}
#endif

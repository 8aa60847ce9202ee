/* SPDX-License-Identifier: Apache-2.0 */
/* keys_avx512.c - norms and key difference with AVX-512F, where it is. */
#include "kernels/keys.h"

#if defined(__x86_64__) && !defined(CKV_PORTABLE)
#include <immintrin.h>

#define LANES		16
#define TARGET		__attribute__((target("avx512f,avx2,fma")))
#define FMA(a, b, c)	((vf)_mm512_fmadd_ps((__m512)(a), (__m512)(b), (__m512)(c)))

#include "kernels/keys_body.h"

const struct keys_code *keys_code_avx512(void)
{
	return __builtin_cpu_supports("avx512f") ? &code : NULL;
}
#else
const struct keys_code *keys_code_avx512(void)
{
	return NULL;
}
#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fp8.cuh - e4m3fn codes of floats and back, two at a time.
 *
 * sm_89 and later convert in hardware; before it, and in the harness, the steps are
 * those of fp8.c.
 */
#ifndef CKV_KERNELS_FP8_CUH
#define CKV_KERNELS_FP8_CUH

#include "kernels/common.cuh"

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 890
#define FP8_IN_HARDWARE	1
#else
#define FP8_IN_HARDWARE	0
#endif

#if !FP8_IN_HARDWARE
__device__ static inline uint32_t fp8_code(float x)
{
	uint32_t bits = __float_as_uint(x), magnitude = bits & 0x7fffffffu;
	uint32_t sign = bits >> 24 & 0x80u;

	if (magnitude > 0x7f800000u)
		return sign | 0x7fu;
	magnitude = min(magnitude, 0x43e00000u);	/* 448 */
	if (magnitude < 0x3c800000u)			/* 2^-6: units of 2^-9 */
		return sign | (__float_as_uint(__uint_as_float(magnitude) + 16384.0f) -
			       0x46800000u);
	magnitude += 0x7ffffu + (magnitude >> 20 & 1u);
	return sign | ((magnitude >> 20) - (120u << 3));
}

__device__ static inline float fp8_number(uint32_t code)
{
	uint32_t magnitude = code & 0x7fu;
	float x = __uint_as_float(magnitude << 20) * 0x1p120f;

	if (magnitude == 0x7fu)
		x = __uint_as_float(0x7fc00000u);
	return code & 0x80u ? -x : x;
}
#endif

__device__ static inline uint32_t fp8_pair(float low, float high)
{
#if FP8_IN_HARDWARE
	uint16_t both;

	asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(both) : "f"(high), "f"(low));
	return both;
#else
	return fp8_code(low) | fp8_code(high) << 8;
#endif
}

__device__ static inline void fp8_unpair(uint32_t both, float *low, float *high)
{
#if FP8_IN_HARDWARE
	uint32_t halves;

	asm("cvt.rn.f16x2.e4m3x2 %0, %1;" : "=r"(halves) : "h"((uint16_t)both));
	*low = float_from_f16((uint16_t)(halves & 0xffffu));
	*high = float_from_f16((uint16_t)(halves >> 16));
#else
	*low = fp8_number(both & 0xffu);
	*high = fp8_number(both >> 8 & 0xffu);
#endif
}

#endif

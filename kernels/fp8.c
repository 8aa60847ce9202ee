/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fp8.c - fp8 e4m3fn: sign, 4 bits of exponent with bias 7, 3 of mantissa; no
 * infinity, one NaN for each sign: the definition.
 *
 * The code is the upper bits of the float, with the exponent counted from e4m3's bias
 * instead of a float's. A number below 2^-6, which has no such exponent, is a multiple of
 * 2^-9. Both are rounded to nearest, halves to even.
 */
#include "kernels/elem.h"
#include "kernels/encode.h"

#include <math.h>

#define FP8_LARGEST	0x43e00000u	/* 448 */
#define FP8_NORMAL	0x3c800000u	/* 2^-6 */
#define FP8_UNIT_SHIFT	16384.0f	/* whose last bit is worth 2^-9 */
#define FP8_REBIAS	((127u - 7u) << 3)

uint8_t ckv_fp8_from_float(float x)
{
	uint32_t bits = elem_bits(x), magnitude = bits & 0x7fffffffu;
	uint32_t sign = bits >> 24 & 0x80u;

	if (magnitude > ELEM_INFINITE)
		return (uint8_t)(sign | 0x7fu);
	if (magnitude > FP8_LARGEST)
		magnitude = FP8_LARGEST;
	if (magnitude < FP8_NORMAL) {
		float units = elem_from_bits(magnitude) + FP8_UNIT_SHIFT;

		return (uint8_t)(sign | (elem_bits(units) -
					 elem_bits(FP8_UNIT_SHIFT)));
	}
	magnitude += 0x7ffffu + (magnitude >> 20 & 1u);
	return (uint8_t)(sign | ((magnitude >> 20) - FP8_REBIAS));
}

float ckv_fp8_to_float(uint8_t code)
{
	uint32_t exponent = code >> 3 & 15u, mantissa = code & 7u;
	float x;

	if ((code & 0x7fu) == 0x7fu)
		x = NAN;
	else if (exponent == 0)
		x = (float)mantissa * 0x1p-9f;
	else
		x = elem_from_bits((uint32_t)(code & 0x7fu) << 20) * 0x1p120f;
	return code & 0x80u ? -x : x;
}

uint32_t plain_fp8_encode(enum ckv_elem elem, const void *x, size_t n,
			  float scale, uint8_t *code)
{
	for (size_t i = 0; i < n; i++)
		code[i] = ckv_fp8_from_float(elem_at(x, i, elem) / scale);
	return plain_amax(elem, x, n);
}

void plain_fp8_decode(const uint8_t *code, size_t n, float scale,
		      enum ckv_elem out_elem, void *out)
{
	for (size_t i = 0; i < n; i++)
		elem_put(out, i, out_elem, ckv_fp8_to_float(code[i]) * scale);
}

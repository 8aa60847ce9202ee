/*
 * elem.h - one stored number as a float, the plain way.
 *
 * Exact for all three kinds. The vectorised code has its own conversions and
 * is tested against these.
 */
#ifndef CKV_KERNELS_ELEM_H
#define CKV_KERNELS_ELEM_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "kernels/ckv_kernels.h"

static inline float elem_from_bits(uint32_t bits)
{
	float f;

	memcpy(&f, &bits, sizeof f);
	return f;
}

static inline float elem_from_bf16(uint16_t h)
{
	return elem_from_bits((uint32_t)h << 16);
}

static inline float elem_from_f16(uint16_t h)
{
	uint32_t sign = (uint32_t)(h & 0x8000u) << 16;
	uint32_t magnitude = h & 0x7fffu;
	float f;

	if (magnitude >= 0x7c00u)	/* infinity, NaN */
		return elem_from_bits(sign | 0x7f800000u |
				      (magnitude & 0x3ffu) << 13);
	/* As a binary32 it is 2^-112 too small, subnormals included. */
	f = elem_from_bits(magnitude << 13) * 0x1p112f;
	return sign ? -f : f;
}

static inline float elem_at(const void *row, size_t i, enum ckv_elem elem)
{
	switch (elem) {
	case CKV_ELEM_F32:
		return ((const float *)row)[i];
	case CKV_ELEM_F16:
		return elem_from_f16(((const uint16_t *)row)[i]);
	case CKV_ELEM_BF16:
		return elem_from_bf16(((const uint16_t *)row)[i]);
	}
	return 0.0f;
}

#endif

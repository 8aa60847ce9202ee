/* SPDX-License-Identifier: Apache-2.0 */
/*
 * elem.h - one stored number as a float and back, the plain way.
 *
 * Reading is exact for all three kinds; writing rounds to nearest, halves to
 * even, and beyond the largest number gives infinity. The vectorised code has
 * its own conversions and is tested against these.
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

static inline uint32_t elem_bits(float f)
{
	uint32_t bits;

	memcpy(&bits, &f, sizeof bits);
	return bits;
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

static inline uint16_t elem_to_bf16(float f)
{
	uint32_t bits = elem_bits(f);

	if ((bits & 0x7fffffffu) > 0x7f800000u)	/* NaN: rounding could end it */
		return (uint16_t)(bits >> 16 | 0x40u);
	return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

static inline uint16_t elem_to_f16(float f)
{
	uint32_t bits = elem_bits(f), magnitude = bits & 0x7fffffffu;
	uint32_t sign = bits >> 16 & 0x8000u;

	if (magnitude > 0x7f800000u)
		return (uint16_t)(sign | 0x7e00u | (magnitude >> 13 & 0x3ffu));
	if (magnitude >= 0x477ff000u)		/* 65520 */
		return (uint16_t)(sign | 0x7c00u);
	if (magnitude < 0x38800000u) {		/* 2^-14: units of 2^-24 */
		float units = elem_from_bits(magnitude) + 0.5f;

		return (uint16_t)(sign | (elem_bits(units) - 0x3f000000u));
	}
	magnitude += 0xfffu + (magnitude >> 13 & 1u);
	return (uint16_t)(sign | ((magnitude >> 13) - (112u << 10)));
}

/* `f` as a row of that kind can hold it. */
static inline float elem_round(float f, enum ckv_elem elem)
{
	switch (elem) {
	case CKV_ELEM_F32:
		return f;
	case CKV_ELEM_F16:
		return elem_from_f16(elem_to_f16(f));
	case CKV_ELEM_BF16:
		return elem_from_bf16(elem_to_bf16(f));
	}
	return 0.0f;
}

static inline void elem_put(void *row, size_t i, enum ckv_elem elem, float f)
{
	switch (elem) {
	case CKV_ELEM_F32:
		((float *)row)[i] = f;
		return;
	case CKV_ELEM_F16:
		((uint16_t *)row)[i] = elem_to_f16(f);
		return;
	case CKV_ELEM_BF16:
		((uint16_t *)row)[i] = elem_to_bf16(f);
		return;
	}
}

/* Bits of a magnitude that no finite number has. */
#define ELEM_INFINITE	0x7f800000u

#endif

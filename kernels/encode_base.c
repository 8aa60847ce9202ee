/* SPDX-License-Identifier: Apache-2.0 */
/* encode_base.c - encodings with four lanes, on any processor. */
#include "kernels/encode.h"

#define LANES		4
#define TARGET
#define F16_HARDWARE	0

#include "kernels/encode_vector.h"

INLINE vu pick(vu mask, vu a, vu b)
{
	return (a & mask) | (b & ~mask);
}

INLINE vu min_s32(vu a, vu b)
{
	return pick((vu)((vi)a < (vi)b), a, b);
}

INLINE vu max_s32(vu a, vu b)
{
	return pick((vu)((vi)a > (vi)b), a, b);
}

INLINE vu min_s16(vu a, vu b)
{
	return pick((vu)((vs)a < (vs)b), a, b);
}

INLINE vu max_s16(vu a, vu b)
{
	return pick((vu)((vs)a > (vs)b), a, b);
}

INLINE int32_t least_s16(vs x)
{
	int32_t least = x[0];

	for (int i = 1; i < PAIR; i++)
		least = x[i] < least ? x[i] : least;
	return least;
}

INLINE int any_lane(vu mask)
{
	return (mask[0] | mask[1] | mask[2] | mask[3]) != 0;
}

INLINE vf min_f32(vf a, vf b)
{
	return (vf)pick((vu)(a < b), (vu)a, (vu)b);
}

/* The last bits of the sum with 2^23. */
INLINE vu whole(vf x)
{
	return (vu)(x + 0x1p23f) & 0x3fffff;
}

/* ------------------------------------------------------ f16 by arithmetic */

INLINE vf f16_widen(vu bits)
{
	vu magnitude = bits & 0x7fff;
	vu special = (vu)(magnitude >= 0x7c00) & 0x7f800000;

	magnitude = (vu)((vf)(magnitude << 13) * 0x1p112f);
	return (vf)(magnitude | special | (bits & 0x8000) << 16);
}

/* Rounded to nearest, halves to even: 16 bits in each lane. */
INLINE vu f16_bits(vf x)
{
	vu magnitude = (vu)x & 0x7fffffff, sign = (vu)x >> 16 & 0x8000;
	vu small = (vu)((vf)magnitude + 0.5f) - 0x3f000000;
	vu normal = ((magnitude + 0xfff + (magnitude >> 13 & 1)) >> 13) -
		    (112u << 10);
	vu is_small = (vu)((vi)magnitude < 0x38800000);
	vu is_large = (vu)((vi)magnitude >= 0x477ff000);
	vu is_nan = (vu)((vi)magnitude > 0x7f800000);

	normal = (small & is_small) | (normal & ~is_small);
	normal = (0x7c00 & is_large) | (normal & ~is_large);
	return sign | normal | (0x200 & is_nan);
}
INLINE vf f16_low(vu x)
{
	return f16_widen(x & 0xffff);
}

INLINE vf f16_high(vu x)
{
	return f16_widen(x >> 16);
}

INLINE vu f16_join(vf low, vf high)
{
	return f16_bits(low) | f16_bits(high) << 16;
}

INLINE vf f16_round(vf x)
{
	return f16_widen(f16_bits(x));
}

/* ------------------------------------------------------- narrower and wider */

INLINE vh load_codes(vb x)
{
	return __builtin_convertvector(x, vh);
}

INLINE vb store_codes(vh x)
{
	return __builtin_convertvector(x, vb);
}

INLINE vu load_32_16(const void *from)
{
	uint16_t x[LANES];

	memcpy(x, from, sizeof x);
	return (vu){ x[0], x[1], x[2], x[3] };
}

INLINE void store_32_16(void *to, vu x)
{
	const uint16_t narrow[LANES] = { (uint16_t)x[0], (uint16_t)x[1],
					 (uint16_t)x[2], (uint16_t)x[3] };

	memcpy(to, narrow, sizeof narrow);
}

INLINE vu load_32_8(const void *from)
{
	const uint8_t *x = from;

	return (vu){ x[0], x[1], x[2], x[3] };
}

INLINE void store_32_8(void *to, vu x)
{
	uint8_t *narrow = to;

	for (int i = 0; i < LANES; i++)
		narrow[i] = (uint8_t)x[i];
}

INLINE vl load_64_8(const void *from)
{
	const uint8_t *x = from;

	return (vl){ x[0], x[1] };
}

INLINE void store_64_8(void *to, vl x)
{
	uint8_t *narrow = to;

	narrow[0] = (uint8_t)x[0];
	narrow[1] = (uint8_t)x[1];
}

#include "kernels/encode_body.h"

const struct encode_code *encode_code_base(void)
{
	return &code;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * window_lanes.h - vectors for window_body.h: exp, and keys to columns.
 *
 * Included by window_body.h only, once per instruction set, after the macros
 * that it describes are defined.
 */
#include "kernels/elem.h"

#include <math.h>
#include <string.h>

#define TILE_TOKENS	(3 * LANES)
#define INLINE		static inline __attribute__((always_inline)) TARGET

typedef float vf __attribute__((vector_size(LANES * 4)));
typedef float vf_loose __attribute__((vector_size(LANES * 4), aligned(4),
				      may_alias));
typedef int32_t vi __attribute__((vector_size(LANES * 4)));
typedef uint32_t vu __attribute__((vector_size(LANES * 4)));
typedef double vd __attribute__((vector_size(LANES * 8)));
typedef float pf __attribute__((vector_size(PACK * 4)));
typedef float pf_loose __attribute__((vector_size(PACK * 4), aligned(4),
				      may_alias));
typedef uint32_t pu __attribute__((vector_size(PACK * 4)));
typedef uint16_t ph_loose __attribute__((vector_size(PACK * 2), aligned(2),
					 may_alias));

INLINE vf splat(float x)
{
	return x - (vf){ 0 };
}

INLINE vf load(const float *from)
{
	return *(const vf_loose *)from;
}

INLINE void store(float *to, vf x)
{
	*(vf_loose *)to = x;
}

INLINE float largest_lane(vf x)
{
	float max = x[0];

	for (int i = 1; i < LANES; i++)
		max = x[i] > max ? x[i] : max;
	return max;
}

/*
 * exp(x) for x <= 80; relative error below 4e-7 (1 + |x| / 8); 0 below -80.
 *
 * x = n ln 2 + r with |r| <= ln 2 / 2, n found by adding 1.5 * 2^23, which
 * leaves n in the low bits; e^r by the polynomial of degree 5 with the
 * smallest relative error, 1.5e-7 with a first term of 1; n added to the
 * exponent field. Three vectors are worked on at once, step by step: with one
 * alone, each step would wait for the result of the one before.
 */
#define EXP_DEGREE	5
static const float exp_term[EXP_DEGREE + 1] = {
	0x1.0fe5b8p-7f, 0x1.575f08p-5f, 0x1.555a18p-3f, 0x1.fffd1ap-2f,
	0x1.fffff6p-1f, 1.0f,
};

#define EACH_LANES(do)	do(0) do(1) do(2)
#define EXP_SPLIT(i)						\
	live##i = x##i >= splat(-80.0f);			\
	shifted##i = FMA(x##i, splat(0x1.715476p0f), magic);	\
	r##i = shifted##i - magic;				\
	r##i = FMA(r##i, splat(-0x1.62e430p-1f), x##i);		\
	p##i = splat(exp_term[0]);
#define EXP_TERM(i)	p##i = FMA(p##i, r##i, term);
#define EXP_JOIN(i)	\
	x##i = (vf)(((vu)p##i + ((vu)shifted##i << 23)) & (vu)live##i);

INLINE void exp_three(vf *a, vf *b, vf *c)
{
	const vf magic = splat(0x1.8p23f);
	vf x0 = *a, x1 = *b, x2 = *c;
	vf shifted0, shifted1, shifted2, r0, r1, r2, p0, p1, p2;
	vi live0, live1, live2;

	EACH_LANES(EXP_SPLIT)
#pragma GCC unroll 8
	for (int i = 1; i <= EXP_DEGREE; i++) {
		vf term = splat(exp_term[i]);

		EACH_LANES(EXP_TERM)
	}
	EACH_LANES(EXP_JOIN)
	*a = x0;
	*b = x1;
	*c = x2;
}

INLINE vf exp_lanes(vf x)
{
	vf y = x, z = x;

	exp_three(&x, &y, &z);
	return x;
}

/* PACK numbers of a row as floats. */
INLINE pf load_numbers(const void *row, size_t i, enum ckv_elem elem)
{
	pu bits, magnitude, special;

	if (elem == CKV_ELEM_F32)
		return *(const pf_loose *)((const float *)row + i);
	bits = WIDEN((const uint16_t *)row + i);
	if (elem == CKV_ELEM_BF16)
		return (pf)(bits << 16);
	magnitude = bits & 0x7fff;
	special = (pu)(magnitude >= 0x7c00) & 0x7f800000;
	magnitude = (pu)((pf)(magnitude << 13) * 0x1p112f);
	return (pf)(magnitude | special | (bits & 0x8000) << 16);
}

#define PAIR(a, b, ...)	__builtin_shufflevector(a, b, __VA_ARGS__)

/* Rows become columns. */
INLINE void transpose(pf r[PACK])
{
#if PACK == 4
	pf a = PAIR(r[0], r[1], 0, 4, 1, 5), b = PAIR(r[0], r[1], 2, 6, 3, 7);
	pf c = PAIR(r[2], r[3], 0, 4, 1, 5), d = PAIR(r[2], r[3], 2, 6, 3, 7);

	r[0] = PAIR(a, c, 0, 1, 4, 5);
	r[1] = PAIR(a, c, 2, 3, 6, 7);
	r[2] = PAIR(b, d, 0, 1, 4, 5);
	r[3] = PAIR(b, d, 2, 3, 6, 7);
#else
	pf s[8];

#pragma GCC unroll 2
	for (int i = 0; i < 8; i += 4) {
		pf a = PAIR(r[i], r[i + 1], 0, 8, 1, 9, 4, 12, 5, 13);
		pf b = PAIR(r[i], r[i + 1], 2, 10, 3, 11, 6, 14, 7, 15);
		pf c = PAIR(r[i + 2], r[i + 3], 0, 8, 1, 9, 4, 12, 5, 13);
		pf d = PAIR(r[i + 2], r[i + 3], 2, 10, 3, 11, 6, 14, 7, 15);

		s[i] = PAIR(a, c, 0, 1, 8, 9, 4, 5, 12, 13);
		s[i + 1] = PAIR(a, c, 2, 3, 10, 11, 6, 7, 14, 15);
		s[i + 2] = PAIR(b, d, 0, 1, 8, 9, 4, 5, 12, 13);
		s[i + 3] = PAIR(b, d, 2, 3, 10, 11, 6, 7, 14, 15);
	}
#pragma GCC unroll 4
	for (int i = 0; i < 4; i++) {
		r[i] = PAIR(s[i], s[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
		r[i + 4] = PAIR(s[i], s[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
	}
#endif
}

/*
 * PACK rows into k[dim][TILE_TOKENS]. Returns the largest magnitude as bits,
 * which order like the numbers and put infinity and NaN above them.
 */
INLINE uint32_t pack_rows(const void *const row[PACK], uint32_t dim,
			  enum ckv_elem elem, float *k)
{
	pu max = { 0 };
	uint32_t top = 0, d = 0;

	for (; d + PACK <= dim; d += PACK) {
		pf r[PACK];

#pragma GCC unroll 8
		for (int i = 0; i < PACK; i++) {
			r[i] = load_numbers(row[i], d, elem);
			max = UMAX(max, (pu)r[i] & 0x7fffffff);
		}
		transpose(r);
#pragma GCC unroll 8
		for (int i = 0; i < PACK; i++)
			*(pf_loose *)(k + (d + (uint32_t)i) * TILE_TOKENS) = r[i];
	}
	for (int i = 0; i < PACK; i++)
		top = max[i] > top ? max[i] : top;
	for (; d < dim; d++) {
		for (int i = 0; i < PACK; i++) {
			float x = elem_at(row[i], d, elem);
			uint32_t bits;

			k[d * TILE_TOKENS + (uint32_t)i] = x;
			memcpy(&bits, &x, sizeof bits);
			bits &= 0x7fffffff;
			top = bits > top ? bits : top;
		}
	}
	return top;
}

static TARGET uint32_t pack_any(const void *const row[PACK], uint32_t dim,
				enum ckv_elem elem, float *k)
{
	switch (elem) {
	case CKV_ELEM_F32:
		return pack_rows(row, dim, CKV_ELEM_F32, k);
	case CKV_ELEM_F16:
		return pack_rows(row, dim, CKV_ELEM_F16, k);
	case CKV_ELEM_BF16:
		return pack_rows(row, dim, CKV_ELEM_BF16, k);
	}
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * encode_lanes.h - numbers of all three types as floats, rounded back, and the order
 * in which their lanes lie. Included by encode_body.h only.
 *
 * Numbers are taken PAIR at a time, as two vectors of floats. Numbers of 16 bits are
 * split so that nothing moves from lane to lane: one vector gets the lower halves of the
 * 32-bit words, which are the even numbers, the other the upper halves, the odd ones. As
 * long as scales and the like are in the same order, that costs nothing; codes are put
 * into the usual order before they are stored. Floats, and f16 where the processor
 * converts it, are in the usual order from the beginning.
 */
#include "kernels/elem.h"

struct raw {			/* PAIR numbers as stored; b: only of floats */
	vu a, b;
};

struct pair {			/* the same as floats */
	vf a, b;
};

struct words {			/* a number for each */
	vu a, b;
};

INLINE int is_split(enum ckv_elem elem)
{
	return elem == CKV_ELEM_BF16 || (elem == CKV_ELEM_F16 && !F16_HARDWARE);
}

/* --------------------------------------------------------- load and store */

INLINE size_t bytes_of(enum ckv_elem elem)
{
	return elem == CKV_ELEM_F32 ? 4 : 2;
}

INLINE struct raw raw_load(const void *row, size_t i, enum ckv_elem elem)
{
	const char *from = (const char *)row + i * bytes_of(elem);
	struct raw x = { *(const vu_loose *)from, { 0 } };

	if (elem == CKV_ELEM_F32)
		x.b = *(const vu_loose *)(from + LANE_BYTES);
	return x;
}

INLINE void raw_store(void *row, size_t i, enum ckv_elem elem, struct raw x)
{
	char *to = (char *)row + i * bytes_of(elem);

	*(vu_loose *)to = x.a;
	if (elem == CKV_ELEM_F32)
		*(vu_loose *)(to + LANE_BYTES) = x.b;
}

INLINE struct pair raw_pair(struct raw x, enum ckv_elem elem)
{
	switch (elem) {
	case CKV_ELEM_F32:
		return (struct pair){ (vf)x.a, (vf)x.b };
	case CKV_ELEM_F16:
		return (struct pair){ f16_low(x.a), f16_high(x.a) };
	case CKV_ELEM_BF16:
		break;
	}
	return (struct pair){ (vf)(x.a << 16), (vf)(x.a & 0xffff0000) };
}

INLINE struct pair load_pair(const void *row, size_t i, enum ckv_elem elem)
{
	return raw_pair(raw_load(row, i, elem), elem);
}

/* To nearest, halves to even; the lower half of each word means nothing after. */
INLINE vu bf16_upper(vf x)
{
	return (vu)x + 0x7fff + ((vu)x >> 16 & 1);
}

/* Rounded to the type and stored; a and b are in that type's order of lanes. */
INLINE struct raw pair_raw(struct pair x, enum ckv_elem elem)
{
	switch (elem) {
	case CKV_ELEM_F32:
		return (struct raw){ (vu)x.a, (vu)x.b };
	case CKV_ELEM_F16:
		return (struct raw){ f16_join(x.a, x.b), { 0 } };
	case CKV_ELEM_BF16:
		break;
	}
	return (struct raw){ bf16_upper(x.a) >> 16 |
			     (bf16_upper(x.b) & 0xffff0000), { 0 } };
}

INLINE void store_pair(void *row, size_t i, enum ckv_elem elem, struct pair x)
{
	raw_store(row, i, elem, pair_raw(x, elem));
}

INLINE vf round_lanes(vf x, enum ckv_elem elem)
{
	switch (elem) {
	case CKV_ELEM_F32:
		return x;
	case CKV_ELEM_F16:
		return f16_round(x);
	case CKV_ELEM_BF16:
		break;
	}
	return (vf)(bf16_upper(x) & 0xffff0000);
}

/* ------------------------------------------------------------------ order */

#if LANES == 4
#define LOW_OF		0, 4, 1, 5
#define HIGH_OF		2, 6, 3, 7
#define EVEN_OF		0, 2, 4, 6
#define ODD_OF		1, 3, 5, 7
#define EVEN_FIRST	0, 2, 4, 6, 1, 3, 5, 7
#elif LANES == 8
#define LOW_OF		0, 8, 1, 9, 2, 10, 3, 11
#define HIGH_OF		4, 12, 5, 13, 6, 14, 7, 15
#define EVEN_OF		0, 2, 4, 6, 8, 10, 12, 14
#define ODD_OF		1, 3, 5, 7, 9, 11, 13, 15
#define EVEN_FIRST	0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15
#endif

/* From even and odd numbers to the usual order, and back. */
INLINE struct words row_of(struct words x)
{
	return (struct words){ __builtin_shufflevector(x.a, x.b, LOW_OF),
			       __builtin_shufflevector(x.a, x.b, HIGH_OF) };
}

INLINE struct words split_of(struct words x)
{
	return (struct words){ __builtin_shufflevector(x.a, x.b, EVEN_OF),
			       __builtin_shufflevector(x.a, x.b, ODD_OF) };
}

/* From one type's order of lanes to another's. */
INLINE struct words words_in(struct words x, enum ckv_elem from,
			     enum ckv_elem to)
{
	if (is_split(from) == is_split(to))
		return x;
	return is_split(to) ? split_of(x) : row_of(x);
}

INLINE struct pair pair_in(struct pair x, enum ckv_elem from, enum ckv_elem to)
{
	struct words w = { (vu)x.a, (vu)x.b };

	w = words_in(w, from, to);
	return (struct pair){ (vf)w.a, (vf)w.b };
}

/* ---------------------------------------------------------- across lanes */

/*
 * Stored numbers as integers that sort like them: -0 is below 0, and NaN is above
 * +infinity or, with the sign bit, below -infinity. The same step turns them back.
 */
INLINE struct raw raw_key(struct raw x, enum ckv_elem elem)
{
	if (elem != CKV_ELEM_F32)
		return (struct raw){
			(vu)((vs)x.a ^ ((vs)x.a >> 15 & 0x7fff)), { 0 } };
	return (struct raw){ (vu)((vi)x.a ^ ((vi)x.a >> 31 & 0x7fffffff)),
			     (vu)((vi)x.b ^ ((vi)x.b >> 31 & 0x7fffffff)) };
}

INLINE struct raw raw_min(struct raw x, struct raw y, enum ckv_elem elem)
{
	if (elem != CKV_ELEM_F32)
		return (struct raw){ min_s16(x.a, y.a), { 0 } };
	return (struct raw){ min_s32(x.a, y.a), min_s32(x.b, y.b) };
}

INLINE struct raw raw_max(struct raw x, struct raw y, enum ckv_elem elem)
{
	if (elem != CKV_ELEM_F32)
		return (struct raw){ max_s16(x.a, y.a), { 0 } };
	return (struct raw){ max_s32(x.a, y.a), max_s32(x.b, y.b) };
}

/* Magnitudes: without their signs. */
INLINE struct raw raw_abs(struct raw x, enum ckv_elem elem)
{
	if (elem != CKV_ELEM_F32)
		return (struct raw){ x.a & 0x7fff7fff, { 0 } };
	return (struct raw){ x.a & 0x7fffffff, x.b & 0x7fffffff };
}

/* The largest of magnitudes, as bits of a float. */
INLINE uint32_t raw_largest(struct raw x, enum ckv_elem elem)
{
	uint32_t max = 0;

	if (elem == CKV_ELEM_F32)
		x.a = max_s32(x.a, x.b);
	for (int i = 0; i < LANES; i++) {
		uint32_t low = x.a[i] & 0xffff, high = x.a[i] >> 16;

		if (elem == CKV_ELEM_F32)
			low = x.a[i];
		else if (high > low)
			low = high;
		max = low > max ? low : max;
	}
	if (elem == CKV_ELEM_F32)
		return max;
	return elem_bits(elem == CKV_ELEM_BF16
			 ? elem_from_bf16((uint16_t)max)
			 : elem_from_f16((uint16_t)max));
}

/* The least of all of these integers; the most; one of them in all lanes. */
INLINE int32_t raw_least(struct raw key, enum ckv_elem elem)
{
	int32_t least;

	if (elem != CKV_ELEM_F32)
		return least_s16((vs)key.a);
	key.a = min_s32(key.a, key.b);
	least = (int32_t)key.a[0];
	for (int i = 1; i < LANES; i++)
		least = (int32_t)key.a[i] < least ? (int32_t)key.a[i] : least;
	return least;
}

INLINE int32_t raw_most(struct raw key, enum ckv_elem elem)
{
	key.a = ~key.a;
	key.b = ~key.b;
	return ~raw_least(key, elem);
}

INLINE struct raw raw_spread(int32_t key, enum ckv_elem elem)
{
	if (elem != CKV_ELEM_F32)
		return (struct raw){ (vu)((vs){ 0 } + (int16_t)key), { 0 } };
	return (struct raw){ (vu)((vi){ 0 } + key), (vu)((vi){ 0 } + key) };
}

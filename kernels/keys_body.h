/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keys_body.h - norms and key difference of one head, once per instruction set.
 *
 * Whoever includes this has defined
 *
 *   LANES        floats in a vector
 *   TARGET       attribute that switches the instruction set on
 *   FMA(a,b,c)   a * b + c on vectors
 *
 * and gets `static const struct keys_code code`.
 *
 * Numbers of 16 bits are loaded two to a word and split into the even and the
 * odd ones: a sum over a row is the same in any order, so nothing needs to be
 * moved between lanes. The anchor, which they are multiplied with, lies in the
 * same order. Each row is summed by itself in one fixed order, so the result
 * has the same bits whatever the page size and however the work is cut. Rows
 * are taken eight at a time, and the lanes of their eight sums are added up
 * together. While a row is read, the row 4 KiB after it is asked for, line by
 * line: the processor's own prefetcher stops at the end of a page, and asking
 * for all lines at once would make it wait.
 *
 * A number that is not finite makes its row's sum infinite or NaN; where it
 * was is found afterwards.
 */
#include "kernels/elem.h"
#include "kernels/keys.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#define GROUP		8u
#define STEP		(2u * LANES)
#define AHEAD_BYTES	4096u
#define INLINE		static inline __attribute__((always_inline)) TARGET

typedef float vf __attribute__((vector_size(LANES * 4)));
typedef float vf_loose __attribute__((vector_size(LANES * 4), aligned(4),
				      may_alias));
typedef uint32_t vu __attribute__((vector_size(LANES * 4)));
typedef uint32_t vu_loose __attribute__((vector_size(LANES * 4), aligned(2),
					 may_alias));
typedef double vd __attribute__((vector_size(LANES * 8)));
typedef float v4 __attribute__((vector_size(16)));

static const float zero_row[CKV_KERNEL_MAX_DIM];

/* ------------------------------------------------------------- one row */

INLINE vf half_to_float(vu bits)
{
	vu magnitude = bits & 0x7fff;
	vu special = (vu)(magnitude >= 0x7c00) & 0x7f800000;

	magnitude = (vu)((vf)(magnitude << 13) * 0x1p112f);
	return (vf)(magnitude | special | (bits & 0x8000) << 16);
}

/* STEP numbers from `d` on; of 16-bit ones the even in *a, the odd in *b. */
INLINE void load_pair(const void *row, size_t d, enum ckv_elem elem, vf *a, vf *b)
{
	vu words;

	if (elem == CKV_ELEM_F32) {
		*a = *(const vf_loose *)((const float *)row + d);
		*b = *(const vf_loose *)((const float *)row + d + LANES);
		return;
	}
	words = *(const vu_loose *)((const uint16_t *)row + d);
	if (elem == CKV_ELEM_BF16) {
		*a = (vf)(words << 16);
		*b = (vf)(words & 0xffff0000u);
		return;
	}
	*a = half_to_float(words & 0xffff);
	*b = half_to_float(words >> 16);
}

/* The last dim - d < STEP numbers, zeros after them. */
INLINE void load_tail(const void *row, size_t d, uint32_t dim,
		      enum ckv_elem elem, vf *a, vf *b)
{
	size_t elem_bytes = elem == CKV_ELEM_F32 ? 4 : 2;
	char rest[STEP * 4] __attribute__((aligned(64))) = { 0 };

	memcpy(rest, (const char *)row + d * elem_bytes, (dim - d) * elem_bytes);
	load_pair(rest, 0, elem, a, b);
}

/* Where number `d` of a row is in an array ordered like the loads. */
INLINE uint32_t slot_of(uint32_t d, enum ckv_elem elem)
{
	uint32_t at = d % STEP;

	if (elem == CKV_ELEM_F32)
		return d;
	return d - at + at / 2 + at % 2 * LANES;
}

/* Sum of squares in lanes; asks for the row `ahead` on the way. */
INLINE vf square_row(const void *row, const void *ahead, uint32_t dim,
		     enum ckv_elem elem)
{
	const size_t step_bytes = 2 * STEP * (elem == CKV_ELEM_F32 ? 4 : 2);
	vf s0 = { 0 }, s1 = { 0 }, s2 = { 0 }, s3 = { 0 }, a, b;
	const char *ask = ahead;
	uint32_t d = 0;

	for (; d + 2 * STEP <= dim; d += 2 * STEP) {
#pragma GCC unroll 4
		for (size_t at = 0; at < step_bytes; at += 64)
			__builtin_prefetch(ask + at);
		ask += step_bytes;
		load_pair(row, d, elem, &a, &b);
		s0 = FMA(a, a, s0);
		s1 = FMA(b, b, s1);
		load_pair(row, d + STEP, elem, &a, &b);
		s2 = FMA(a, a, s2);
		s3 = FMA(b, b, s3);
	}
	if (d + STEP <= dim) {
		load_pair(row, d, elem, &a, &b);
		s0 = FMA(a, a, s0);
		s1 = FMA(b, b, s1);
		d += STEP;
	}
	if (d < dim) {
		load_tail(row, d, dim, elem, &a, &b);
		s2 = FMA(a, a, s2);
		s3 = FMA(b, b, s3);
	}
	return (s0 + s1) + (s2 + s3);
}

/* The product with `anchor`, which has zeros up to a multiple of STEP. */
INLINE vf dot_row(const void *row, const float *anchor, uint32_t dim,
		  enum ckv_elem elem)
{
	vf s0 = { 0 }, s1 = { 0 }, a, b;
	uint32_t d = 0;

	for (; d < dim; d += STEP) {
		if (d + STEP <= dim)
			load_pair(row, d, elem, &a, &b);
		else
			load_tail(row, d, dim, elem, &a, &b);
		s0 = FMA(a, *(const vf_loose *)(anchor + d), s0);
		s1 = FMA(b, *(const vf_loose *)(anchor + d + LANES), s1);
	}
	return s0 + s1;
}

/* ---------------------------------------------------------- eight rows */

#define PART(x, ...)	__builtin_shufflevector(x, x, __VA_ARGS__)
#define PAIR(a, b, ...)	__builtin_shufflevector(a, b, __VA_ARGS__)

INLINE v4 fold(vf x)
{
#if LANES == 4
	return x;
#elif LANES == 8
	return PART(x, 0, 1, 2, 3) + PART(x, 4, 5, 6, 7);
#else
	return (PART(x, 0, 1, 2, 3) + PART(x, 4, 5, 6, 7)) +
	       (PART(x, 8, 9, 10, 11) + PART(x, 12, 13, 14, 15));
#endif
}

/* The sums of the lanes of four vectors. */
INLINE v4 sum_lanes(const v4 x[4])
{
	v4 a = PAIR(x[0], x[1], 0, 4, 1, 5), b = PAIR(x[0], x[1], 2, 6, 3, 7);
	v4 c = PAIR(x[2], x[3], 0, 4, 1, 5), d = PAIR(x[2], x[3], 2, 6, 3, 7);

	a += b;			/* rows 0 1 0 1 */
	c += d;			/* rows 2 3 2 3 */
	return PAIR(a, c, 0, 1, 4, 5) + PAIR(a, c, 2, 3, 6, 7);
}

INLINE void squares_of(const void *const row[GROUP],
		       const void *const ahead[GROUP], uint32_t dim,
		       enum ckv_elem elem, float sum[GROUP])
{
	v4 part[GROUP];

#pragma GCC unroll 8
	for (uint32_t i = 0; i < GROUP; i++)
		part[i] = fold(square_row(row[i], ahead[i], dim, elem));
	*(v4 *)sum = sum_lanes(part);
	*(v4 *)(sum + 4) = sum_lanes(part + 4);
}

INLINE void dots_of(const void *const row[GROUP], const float *anchor,
		    uint32_t dim, enum ckv_elem elem, float sum[GROUP])
{
	v4 part[GROUP];

#pragma GCC unroll 8
	for (uint32_t i = 0; i < GROUP; i++)
		part[i] = fold(dot_row(row[i], anchor, dim, elem));
	*(v4 *)sum = sum_lanes(part);
	*(v4 *)(sum + 4) = sum_lanes(part + 4);
}

/* sum[STEP at `d`] += each of eight rows times its factor. */
INLINE void add_rows(const void *const row[GROUP], const float factor[GROUP],
		     uint32_t dim, enum ckv_elem elem, double *sum)
{
	for (uint32_t d = 0; d < dim; d += STEP) {
		vf x = { 0 }, y = { 0 }, a, b;

#pragma GCC unroll 8
		for (uint32_t i = 0; i < GROUP; i++) {
			if (d + STEP <= dim)
				load_pair(row[i], d, elem, &a, &b);
			else
				load_tail(row[i], d, dim, elem, &a, &b);
			/* Not fused: opposite keys cancel to nothing. */
			a *= factor[i];
			b *= factor[i];
			x += a;
			y += b;
		}
		*(vd *)(sum + d) += __builtin_convertvector(x, vd);
		*(vd *)(sum + d + LANES) += __builtin_convertvector(y, vd);
	}
}

/* One head's rows, in order or chosen. */
struct walk {
	const struct ckv_rows *k;
	const uint32_t *pos;	/* NULL: 0, 1, 2 ... */
	uint32_t head, n;
	size_t row_bytes;
};

/* Rows first .. first + 7 of the walk; zeros past its end. */
INLINE void rows_from(const struct walk *w, uint32_t first,
		      const void *row[GROUP])
{
	uint32_t in_block = first % w->k->block_tokens;

	if (w->pos == NULL && first + GROUP <= w->n &&
	    in_block + GROUP <= w->k->block_tokens) {
		const char *base = ckv_rows_at(w->k, w->head, first);

		for (uint32_t i = 0; i < GROUP; i++)
			row[i] = base + i * w->row_bytes;
		return;
	}
	for (uint32_t i = 0; i < GROUP; i++) {
		uint32_t at = first + i;

		row[i] = at >= w->n ? zero_row
			: ckv_rows_at(w->k, w->head,
				      w->pos == NULL ? at : w->pos[at]);
	}
}

/* Rows first .. first + 7 of the walk, and those AHEAD_BYTES after them. */
INLINE void rows_and_ahead(const struct walk *w, uint32_t first,
			   const void *row[GROUP], const void *ahead[GROUP])
{
	uint32_t next = AHEAD_BYTES / (uint32_t)w->row_bytes;

	rows_from(w, first, row);
	rows_from(w, first + (next + GROUP - 1) / GROUP * GROUP, ahead);
}

static int all_finite(const float sum[GROUP])
{
	int finite = 1;

	for (uint32_t i = 0; i < GROUP; i++)
		finite &= sum[i] <= 3.402823466e38f;
	return finite;
}

/* One of the rows from `first` on is not finite or too large: which one? */
static int find_bad(const struct walk *w, uint32_t first,
		    struct ckv_fault *fault)
{
	for (uint32_t i = first; i < w->n; i++) {
		double squares;
		int r = keys_squares(w->k, w->head,
				     w->pos == NULL ? i : w->pos[i], &squares,
				     fault);

		if (r < 0)
			return r;
	}
	return -ERANGE;		/* float rounded up to infinity */
}

/* --------------------------------------------------------------- norms */

INLINE int norms_of(const struct walk *w, enum ckv_elem elem, float *norm,
		    struct ckv_fault *fault)
{
	for (uint32_t t = 0; t < w->n; t += GROUP) {
		float sum[GROUP] __attribute__((aligned(16)));
		uint32_t n = w->n - t < GROUP ? w->n - t : GROUP;
		const void *row[GROUP], *ahead[GROUP];

		rows_and_ahead(w, t, row, ahead);
		squares_of(row, ahead, w->k->dim, elem, sum);
		if (!all_finite(sum))
			return find_bad(w, t, fault);
		for (uint32_t i = 0; i < n; i++)
			norm[t + i] = sqrtf(sum[i]);
	}
	return 0;
}

static TARGET int norms(const struct ckv_rows *k, uint32_t head, float *norm,
			struct ckv_fault *fault)
{
	struct walk w = { .k = k, .head = head, .n = k->n_tokens,
			  .row_bytes = k->dim * ckv_elem_bytes(k->elem) };

	switch (k->elem) {
	case CKV_ELEM_F32:
		return norms_of(&w, CKV_ELEM_F32, norm, fault);
	case CKV_ELEM_F16:
		return norms_of(&w, CKV_ELEM_F16, norm, fault);
	case CKV_ELEM_BF16:
		return norms_of(&w, CKV_ELEM_BF16, norm, fault);
	}
	return -EINVAL;
}

/* ------------------------------------------------------ key difference */

/* One row of a walk in double: its length, and its product with `with`. */
static double length_of(const void *row, uint32_t dim, enum ckv_elem elem)
{
	double squares = 0.0;

	for (uint32_t d = 0; d < dim; d++)
		squares += (double)elem_at(row, d, elem) *
			   (double)elem_at(row, d, elem);
	return sqrt(squares);
}

/*
 * For a row too small for float, in double: add it to the sum at length 1, or score it
 * against the anchor.
 */
static TARGET void add_tiny(const void *row, uint32_t dim, enum ckv_elem elem,
			    double *sum)
{
	double length = length_of(row, dim, elem);

	for (uint32_t d = 0; d < dim && length > 0.0; d++)
		sum[slot_of(d, elem)] += (double)elem_at(row, d, elem) / length;
}

static TARGET float score_tiny(const void *row, uint32_t dim,
			       enum ckv_elem elem, const float *anchor)
{
	double length = length_of(row, dim, elem), dot = 0.0;

	if (length == 0.0)
		return 0.0f;
	for (uint32_t d = 0; d < dim; d++)
		dot += (double)elem_at(row, d, elem) / length *
		       (double)anchor[slot_of(d, elem)];
	return (float)-dot;
}

/* The sum of all keys at length 1. */
INLINE int sum_units(const struct walk *w, enum ckv_elem elem, double *sum,
		     struct ckv_fault *fault)
{
	for (uint32_t t = 0; t < w->n; t += GROUP) {
		float square[GROUP] __attribute__((aligned(16)));
		float factor[GROUP];
		const void *row[GROUP], *ahead[GROUP];

		rows_and_ahead(w, t, row, ahead);
		squares_of(row, ahead, w->k->dim, elem, square);
		if (!all_finite(square))
			return find_bad(w, t, fault);
		for (uint32_t i = 0; i < GROUP; i++) {
			factor[i] = 0.0f;
			if (square[i] >= KEYS_TINY_SQUARES)
				factor[i] = 1.0f / sqrtf(square[i]);
			else
				add_tiny(row[i], w->k->dim, elem, sum);
		}
		add_rows(row, factor, w->k->dim, elem, sum);
	}
	return 0;
}

/* Scores against the anchor at length 1. */
INLINE void score_units(const struct walk *w, enum ckv_elem elem,
			const float *anchor, float *score)
{
	for (uint32_t t = 0; t < w->n; t += GROUP) {
		float square[GROUP] __attribute__((aligned(16)));
		float dot[GROUP] __attribute__((aligned(16)));
		uint32_t n = w->n - t < GROUP ? w->n - t : GROUP;
		const void *row[GROUP], *ahead[GROUP];

		rows_and_ahead(w, t, row, ahead);
		squares_of(row, ahead, w->k->dim, elem, square);
		dots_of(row, anchor, w->k->dim, elem, dot);
		for (uint32_t i = 0; i < n; i++)
			score[t + i] = square[i] >= KEYS_TINY_SQUARES
				? -dot[i] / sqrtf(square[i])
				: score_tiny(row[i], w->k->dim, elem, anchor);
	}
}

INLINE int keydiff_of(const struct walk *w, enum ckv_elem elem, float *score,
		      struct ckv_fault *fault)
{
	double sum[CKV_KERNEL_MAX_DIM] __attribute__((aligned(128)));
	float anchor[CKV_KERNEL_MAX_DIM] __attribute__((aligned(64)));
	uint32_t n_slots = (w->k->dim + STEP - 1) / STEP * STEP;
	double length = 0.0;
	int r;

	memset(sum, 0, n_slots * sizeof *sum);
	r = sum_units(w, elem, sum, fault);
	if (r < 0)
		return r;
	for (uint32_t d = 0; d < w->k->dim; d++)
		length += sum[slot_of(d, elem)] * sum[slot_of(d, elem)];
	length = sqrt(length);
	if (length == 0.0) {
		memset(score, 0, w->n * sizeof *score);
		return 0;
	}
	for (uint32_t s = 0; s < n_slots; s++)
		anchor[s] = (float)(sum[s] / length);
	score_units(w, elem, anchor, score);
	return 0;
}

static TARGET int keydiff(const struct ckv_rows *k, uint32_t head,
			  const uint32_t *pos, uint32_t n, float *score,
			  struct ckv_fault *fault)
{
	struct walk w = { .k = k, .pos = pos, .head = head, .n = n,
			  .row_bytes = k->dim * ckv_elem_bytes(k->elem) };

	switch (k->elem) {
	case CKV_ELEM_F32:
		return keydiff_of(&w, CKV_ELEM_F32, score, fault);
	case CKV_ELEM_F16:
		return keydiff_of(&w, CKV_ELEM_F16, score, fault);
	case CKV_ELEM_BF16:
		return keydiff_of(&w, CKV_ELEM_BF16, score, fault);
	}
	return -EINVAL;
}

static const struct keys_code code = {
	.norms = norms,
	.keydiff = keydiff,
};

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * encode.cuh - inside the encoding kernels: which row goes where, and rounding.
 *
 * Areas are numbered layer by layer, head by head. Rows come straight from their pages,
 * through the positions of the survivors; a position outside the rows is reported and
 * the last row read in its place, so loads need no condition and overlap.
 */
#ifndef CKV_KERNELS_ENCODE_CUH
#define CKV_KERNELS_ENCODE_CUH

#include "kernels/common.cuh"

#ifndef __CUDACC__
#include "kernels/elem.h"
#endif

struct encode_run {			/* one (layer, head) */
	uint32_t index, layer, head;	/* among n_layers; the object's own number */
	uint32_t n;			/* rows to encode */
	const uint32_t *pos;		/* NULL: 0, 1, ... */
	char *code, *scale;
};

__device__ static inline char *out_at(const struct ckv_cuda_out &out, uint32_t index,
				      uint32_t head)
{
	return (char *)out.base + index * out.layer_stride_bytes +
	       head * out.head_stride_bytes;
}

__device__ static inline struct encode_run encode_run_at(const struct encode_task &t,
							 uint32_t i)
{
	struct encode_run r;
	uint32_t set, n;

	r.head = i % t.rows.rows.n_heads;
	r.index = i / t.rows.rows.n_heads;
	r.layer = r.index * t.rows.layer_step;
	r.code = out_at(t.out.code, r.index, r.head);
	r.scale = out_at(t.out.scale, r.index, r.head);
	if (t.kept.pos == nullptr) {
		r.pos = nullptr;
		n = t.rows.rows.n_tokens;
	} else {
		set = r.index / t.kept.reuse;
		n = t.kept.n == nullptr ? t.kept.max_n : min(t.kept.n[set], t.kept.max_n);
		r.pos = t.kept.pos + ((size_t)set * t.kept.n_sets +
				      (t.kept.n_sets > 1 ? r.head : 0)) * t.kept.max_n;
	}
	r.n = n - min(n, t.e.n_full);
	return r;
}

__device__ static inline uint32_t encode_token(const struct encode_run &r, uint32_t i)
{
	return r.pos == nullptr ? i : __ldg(r.pos + i);
}

__device__ static inline const char *encode_row(const struct encode_task &t,
						const struct encode_run &r,
						uint32_t token)
{
	return row_at(t.rows, r.layer, r.head, min(token, t.rows.rows.n_tokens - 1),
		      t.row_bytes);
}

__device__ static inline void encode_fault(const struct encode_task &t,
					   const struct encode_run &r,
					   enum cuda_fault kind, uint32_t token,
					   uint32_t dim)
{
	fault_report(t.status, cuda_fault_word(kind, r.layer, t.input, r.head,
					       min(token, CKV_KERNEL_MAX_TOKENS - 1), dim));
}

__device__ static inline void encode_judge_token(const struct encode_task &t,
						 const struct encode_run &r,
						 uint32_t token)
{
	if (token >= t.rows.rows.n_tokens)
		encode_fault(t, r, CUDA_FAULT_POSITION, token, 0);
}

/* ---------------------------------------------------------------- rounding */

/* Two floats as f16 or bf16, nearest even, the first in the low half. */
template <enum ckv_elem E>
__device__ static inline uint32_t pack_halves(float low, float high)
{
#ifdef __CUDACC__
	uint32_t both;

	if (E == CKV_ELEM_BF16)
		asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
	else
		asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
	return both;
#else
	return E == CKV_ELEM_BF16
		? elem_to_bf16(low) | (uint32_t)elem_to_bf16(high) << 16
		: elem_to_f16(low) | (uint32_t)elem_to_f16(high) << 16;
#endif
}

template <enum ckv_elem E> __device__ static inline float half_low(uint32_t both)
{
	return E == CKV_ELEM_BF16 ? __uint_as_float(both << 16)
				  : float_from_f16((uint16_t)(both & 0xffffu));
}

template <enum ckv_elem E> __device__ static inline float half_high(uint32_t both)
{
	return E == CKV_ELEM_BF16 ? __uint_as_float(both & 0xffff0000u)
				  : float_from_f16((uint16_t)(both >> 16));
}

/* x as a row of that kind can hold it. */
template <enum ckv_elem E> __device__ static inline float round_to(float x)
{
	return E == CKV_ELEM_F32 ? x : half_low<E>(pack_halves<E>(x, 0.0f));
}

/* N numbers of kind E at `to`: N is 1, 4 or a multiple of 8. */
template <enum ckv_elem E, int N>
__device__ static inline void put_numbers(void *to, const float *x)
{
	if constexpr (N == 1 && E == CKV_ELEM_F32) {
		*(float *)to = x[0];
	} else if constexpr (N == 1) {
		*(uint16_t *)to = (uint16_t)pack_halves<E>(x[0], 0.0f);
	} else if constexpr (E == CKV_ELEM_F32) {
#pragma unroll
		for (int i = 0; i < N; i += 4)
			((float4 *)to)[i / 4] = make_float4(x[i], x[i + 1], x[i + 2],
							    x[i + 3]);
	} else if constexpr (N == 4) {
		*(uint2 *)to = make_uint2(pack_halves<E>(x[0], x[1]),
					  pack_halves<E>(x[2], x[3]));
	} else {
#pragma unroll
		for (int i = 0; i < N; i += 8)
			((uint4 *)to)[i / 8] =
				make_uint4(pack_halves<E>(x[i], x[i + 1]),
					   pack_halves<E>(x[i + 2], x[i + 3]),
					   pack_halves<E>(x[i + 4], x[i + 5]),
					   pack_halves<E>(x[i + 6], x[i + 7]));
	}
}

/* Are all N finite? NaN and infinity times 0 are NaN, so one multiply-add each tells. */
template <int N> __device__ static inline bool all_finite(const float *x)
{
	float zero = 0.0f;

#pragma unroll
	for (int i = 0; i < N; i++)
		zero = fmaf(x[i], 0.0f, zero);
	return zero == 0.0f;
}

/* ---------------------------------------------------------------- division */

/*
 * x / by as a division gives it, without one, which would be a function call for each
 * number. The reciprocal of `by` is computed once. x times it is nearly the quotient;
 * each correction computes the exact remainder with one fmaf() and adds its share, and
 * after the second the result is correctly rounded (Markstein). Where `by` is so small or
 * so large that the remainder would not be exact, x and `by` are first multiplied by a
 * power of two. That leaves the quotients that matter here, from 2^-10 to 2^9, as they
 * are.
 */
struct divisor {
	float by, inverse, factor;	/* by: multiplied already; 0 stays 0 */
};

#define DIVISOR_SMALL	0x1p-90f
#define DIVISOR_LARGE	0x1p90f

__device__ static inline float divisor_factor(float by)
{
	if (by < DIVISOR_SMALL)
		return 0x1p100f;
	return by > DIVISOR_LARGE ? 0x1p-100f : 1.0f;
}

/* 1 / x rounded to nearest, for an x that is no extreme. */
__device__ static inline float reciprocal(float x)
{
#ifdef __CUDACC__
	float r;

	asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(x));
	return fmaf(r, fmaf(-x, r, 1.0f), r);
#else
	return 1.0f / x;
#endif
}

__device__ static inline struct divisor divisor_of(float by)
{
	struct divisor d;

	d.factor = divisor_factor(by);
	d.by = __fmul_rn(by, d.factor);
	d.inverse = reciprocal(d.by);
	return d;
}

template <int CORRECTIONS>
__device__ static inline float divide(float x, const struct divisor &d)
{
	float q;

	x = __fmul_rn(x, d.factor);
	q = __fmul_rn(x, d.inverse);
#pragma unroll
	for (int i = 0; i < CORRECTIONS; i++)
		q = fmaf(fmaf(-q, d.by, x), d.inverse, q);
	return q;
}

/*
 * x / n for an n that is an odd number times a power of two, rounded once: such a
 * quotient is never halfway between two floats, nor so near that the product in
 * double could be on the other side.
 */
__device__ static inline float divide_by_number(float x, double n)
{
	return (float)((double)x * (1.0 / n));
}

#endif

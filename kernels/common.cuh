/* SPDX-License-Identifier: Apache-2.0 */
/*
 * common.cuh - what the .cu files share: entries, loads, sums, keys, faults.
 *
 * The same source is compiled by nvcc for GPUs and by the C++ compiler for the
 * harness in the tests, which brings its own words for CUDA's (simt.cuh) by
 * -include. Where a kernel needs an instruction that only a GPU has, it has a plain
 * twin under #ifndef __CUDACC__.
 *
 * nvcc is given -fmad=false: a multiply-add is fused where the source says fmaf()
 * and nowhere else, so both compilers round alike.
 */
#ifndef CKV_KERNELS_COMMON_CUH
#define CKV_KERNELS_COMMON_CUH

#include "kernels/cuda_task.h"

#include <math.h>
#include <stdint.h>

#ifdef __CUDACC__
#include <cuda_fp16.h>
#elif !defined(CKV_SIMT)
#error "compile .cu files with nvcc, or with -include simt.cuh"
#endif

#define WARP		32u
#define ALL_LANES	0xffffffffu

/* ----------------------------------------------------------------- kernels */

/*
 * CKV_ENTRY(name, (threads[, blocks]), (parameters...), body) is the kernel ckvk_<name>,
 * with threads of a block and blocks of a multiprocessor as __launch_bounds__() takes
 * them. Every kernel has a row in cuda_kernels.h. A template is a function of the
 * device, and each of its kinds an entry that calls it.
 */
#ifdef __CUDACC__
#define CKV_ENTRY(name, bounds, parameters, ...)				\
	extern "C" __global__ void __launch_bounds__ bounds			\
	ckvk_##name parameters { __VA_ARGS__; }

/* The one dynamic shared area of a block, as an array of `type`. */
#define CKV_SHARED(type, name)							\
	extern __shared__ __align__(16) unsigned char ckv_shared_area[];	\
	type *const name = (type *)ckv_shared_area
#else
#define CKV_ENTRY(name, bounds, parameters, ...)				\
	SIMT_ENTRY(name, parameters, __VA_ARGS__)
#define CKV_SHARED(type, name)	type *const name = (type *)simt_shared()
#endif

template <typename T>
__device__ static constexpr T ceil_div(T n, T by)
{
	return (T)(n / by + (n % by != 0));
}

/* ----------------------------------------------------------------- numbers */

#ifdef __CUDACC__
__device__ static inline float float_from_f16(uint16_t h)
{
	return __half2float(__ushort_as_half(h));
}
#else
/* Twin of the hardware's conversion, which is exact. */
static inline float float_from_f16(uint16_t h)
{
	uint32_t sign = (uint32_t)(h & 0x8000u) << 16;
	uint32_t magnitude = h & 0x7fffu;
	uint32_t bits = magnitude >= 0x7c00u
		? 0x7f800000u | (magnitude & 0x3ffu) << 13
		: __float_as_uint(__uint_as_float(magnitude << 13) * 0x1p112f);

	return __uint_as_float(sign | bits);
}
#endif

__device__ static inline float float_from_bf16(uint16_t h)
{
	return __uint_as_float((uint32_t)h << 16);
}

__device__ static inline int is_finite(float x)
{
	return (__float_as_uint(x) & 0x7f800000u) != 0x7f800000u;
}

/* What one access of BYTES reads: N numbers of one kind, as floats. */
template <enum ckv_elem E, unsigned BYTES> struct numbers;

template <> struct numbers<CKV_ELEM_F32, 16> {
	typedef uint4 raw;
	enum { N = 4, BYTES = 16, ELEM = CKV_ELEM_F32 };
	__device__ static void unpack(raw r, float *x)
	{
		x[0] = __uint_as_float(r.x);
		x[1] = __uint_as_float(r.y);
		x[2] = __uint_as_float(r.z);
		x[3] = __uint_as_float(r.w);
	}
};

template <> struct numbers<CKV_ELEM_F32, 4> {
	typedef unsigned raw;
	enum { N = 1, BYTES = 4, ELEM = CKV_ELEM_F32 };
	__device__ static void unpack(raw r, float *x)
	{
		x[0] = __uint_as_float(r);
	}
};

template <> struct numbers<CKV_ELEM_BF16, 16> {
	typedef uint4 raw;
	enum { N = 8, BYTES = 16, ELEM = CKV_ELEM_BF16 };
	__device__ static void pair(unsigned r, float *x)
	{
		x[0] = __uint_as_float(r << 16);
		x[1] = __uint_as_float(r & 0xffff0000u);
	}
	__device__ static void unpack(raw r, float *x)
	{
		pair(r.x, x);
		pair(r.y, x + 2);
		pair(r.z, x + 4);
		pair(r.w, x + 6);
	}
};

template <> struct numbers<CKV_ELEM_BF16, 2> {
	typedef unsigned short raw;
	enum { N = 1, BYTES = 2, ELEM = CKV_ELEM_BF16 };
	__device__ static void unpack(raw r, float *x)
	{
		x[0] = float_from_bf16(r);
	}
};

template <> struct numbers<CKV_ELEM_F16, 16> {
	typedef uint4 raw;
	enum { N = 8, BYTES = 16, ELEM = CKV_ELEM_F16 };
	__device__ static void pair(unsigned r, float *x)
	{
		x[0] = float_from_f16((uint16_t)(r & 0xffffu));
		x[1] = float_from_f16((uint16_t)(r >> 16));
	}
	__device__ static void unpack(raw r, float *x)
	{
		pair(r.x, x);
		pair(r.y, x + 2);
		pair(r.z, x + 4);
		pair(r.w, x + 6);
	}
};

template <> struct numbers<CKV_ELEM_F16, 2> {
	typedef unsigned short raw;
	enum { N = 1, BYTES = 2, ELEM = CKV_ELEM_F16 };
	__device__ static void unpack(raw r, float *x)
	{
		x[0] = float_from_f16(r);
	}
};

/* What cuda_kernels.h calls them. */
typedef numbers<CKV_ELEM_F32, 16> f32x4;
typedef numbers<CKV_ELEM_F32, 4> f32x1;
typedef numbers<CKV_ELEM_BF16, 16> bf16x8;
typedef numbers<CKV_ELEM_BF16, 2> bf16x1;
typedef numbers<CKV_ELEM_F16, 16> f16x8;
typedef numbers<CKV_ELEM_F16, 2> f16x1;

#define CKV_EACH_NUMBERS(entry)							\
	entry(f32x4) entry(f32x1) entry(bf16x8) entry(bf16x1) entry(f16x8) entry(f16x1)

/* -------------------------------------------------------------------- rows */

/* Row of (layer, head, token); `layer` is the object's own number. */
__device__ static inline const char *row_at(const struct ckv_cuda_rows &r,
					    uint32_t layer, uint32_t head,
					    uint32_t token, uint32_t row_bytes)
{
	uint32_t in_block = token % r.rows.block_tokens;
	const char *base = (const char *)__ldg(
		(const unsigned long long *)r.rows.block +
		token / r.rows.block_tokens);

	return base + r.rows.offset_bytes + layer * r.layer_stride_bytes +
	       head * r.rows.head_stride_bytes + (size_t)in_block * row_bytes;
}

template <typename V>
__device__ static inline typename V::raw load_numbers(const char *row, uint32_t i)
{
	return __ldg((const typename V::raw *)row + i);
}

/* -------------------------------------------------------------------- sums */

/* Sum over pieces of `width` lanes; every lane gets it, the order is fixed. */
template <typename T>
__device__ static inline T lanes_sum(T x, unsigned width)
{
	for (unsigned step = width / 2; step > 0; step /= 2)
		x += __shfl_xor_sync(ALL_LANES, x, step);
	return x;
}

__device__ static inline unsigned lanes_before(void)
{
	return (1u << (threadIdx.x % WARP)) - 1;
}

/*
 * Sum of x over threads before this one; *ret_all is that of all. Every thread of the
 * block calls; `room` is WARP words that nobody else uses until the next barrier
 * after the call.
 */
__device__ static inline uint32_t block_sum_before(uint32_t x, uint32_t *room,
						   uint32_t *ret_all)
{
	uint32_t lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
	uint32_t n_warps = blockDim.x / WARP, sum = x, of_warp;

	for (uint32_t step = 1; step < WARP; step *= 2) {
		uint32_t below = __shfl_up_sync(ALL_LANES, sum, step);

		sum += lane >= step ? below : 0;
	}
	if (lane == WARP - 1)
		room[warp] = sum;
	__syncthreads();
	of_warp = lane < n_warps ? room[lane] : 0;
	for (uint32_t step = 1; step < WARP; step *= 2) {
		uint32_t below = __shfl_up_sync(ALL_LANES, of_warp, step);

		of_warp += lane >= step ? below : 0;
	}
	*ret_all = __shfl_sync(ALL_LANES, of_warp, WARP - 1);
	of_warp = __shfl_sync(ALL_LANES, of_warp, warp > 0 ? warp - 1 : 0);
	return sum - x + (warp > 0 ? of_warp : 0);
}

/* -------------------------------------------------------------------- keys */

/*
 * A score as an integer that sorts the same way: larger is better, -0 is +0, every
 * NaN is 0. No score has the key KEY_ALWAYS or KEY_UNSCORED: these are above infinity's.
 */
#define KEY_ALWAYS	UINT32_MAX
#define KEY_UNSCORED	(UINT32_MAX - 1)

__device__ static inline uint32_t score_key(float score)
{
	uint32_t bits = __float_as_uint(score);

	if ((bits & 0x7fffffffu) > 0x7f800000u)
		return 0;
	if (bits == 0x80000000u)
		bits = 0;
	return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

/* The score of a key; of 0, a NaN. */
__device__ static inline float score_of_key(uint32_t key)
{
	if (key == 0)
		return __uint_as_float(0x7fc00000u);
	return __uint_as_float(key & 0x80000000u ? key & 0x7fffffffu : ~key);
}

/* ------------------------------------------------------------------ faults */

/* Report a fault: the least one stays, whoever comes first. */
__device__ static inline void fault_report(uint64_t *status, uint64_t word)
{
	atomicMin((unsigned long long *)status, (unsigned long long)word);
}

/* Report a key whose sum of squares is no number: which of its numbers is none. */
template <typename V>
__device__ static inline void report_key(const char *row, uint32_t n_access,
				  uint64_t *status, uint32_t layer,
				  uint32_t head, uint32_t token)
{
	for (uint32_t i = 0; i < n_access; i++) {
		float x[V::N];

		V::unpack(load_numbers<V>(row, i), x);
		for (uint32_t j = 0; j < V::N; j++) {
			if (is_finite(x[j]))
				continue;
			fault_report(status, cuda_fault_word(
				CUDA_FAULT_DOM, layer, CKV_INPUT_KEY, head,
				token, i * V::N + j));
			return;
		}
	}
	fault_report(status, cuda_fault_word(CUDA_FAULT_RANGE, layer,
					     CKV_INPUT_KEY, head, token, 0));
}

#endif

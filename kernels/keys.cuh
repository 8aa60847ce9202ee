/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keys.cuh - keys by a few lanes each: what norms.cu and keydiff.cu share.
 *
 * Lanes that are neighbours share a row, 2^bits of them, at least KEYS_LANES and at most a
 * warp; a lane has the row's accesses lane, lane + lanes, ...
 */
#ifndef CKV_KERNELS_KEYS_CUH
#define CKV_KERNELS_KEYS_CUH

#include "kernels/common.cuh"

struct key_lanes {
	uint32_t bits, n;	/* n = 2^bits */
	uint32_t lane;		/* of the row */
	uint32_t row, n_rows;	/* of the block at once; which this thread has */
};

__device__ static inline struct key_lanes key_lanes_of(uint32_t bits, uint32_t threads)
{
	struct key_lanes l = { bits, 1u << bits, threadIdx.x & ((1u << bits) - 1),
			       threadIdx.x >> bits, threads >> bits };

	return l;
}

/* Numbers of one access of each of N rows, whose loads do not wait for each other. */
template <typename V, uint32_t N>
__device__ static inline void load_rows(const char *const *row, uint32_t i,
					typename V::raw *raw)
{
#pragma unroll
	for (uint32_t u = 0; u < N; u++)
		raw[u] = load_numbers<V>(row[u], i);
}

template <typename V>
__device__ static inline float add_squares(typename V::raw raw, float sum)
{
	float x[V::N];

	V::unpack(raw, x);
#pragma unroll
	for (uint32_t j = 0; j < V::N; j++)
		sum = fmaf(x[j], x[j], sum);
	return sum;
}

/*
 * Sums of N rows over the lanes that share them, with which each lane ends up with one: it
 * is that of row shared_row(). Half of what a lane has goes to a partner in each step and
 * half of the partner's comes, so that N - 1 words cross instead of N for each step; from
 * then on the lanes with the same row add up. Each sum has the order of lanes_sum().
 */
template <uint32_t N>
__device__ static inline float share_sums(float *sum, const struct key_lanes &l)
{
	uint32_t step = l.n / 2;

#pragma unroll
	for (uint32_t n = N / 2; n > 0; n /= 2, step /= 2) {
		bool upper = l.lane & step;

#pragma unroll
		for (uint32_t u = 0; u < n; u++) {
			float mine = upper ? sum[u + n] : sum[u];
			float other = upper ? sum[u] : sum[u + n];

			sum[u] = mine + __shfl_xor_sync(ALL_LANES, other, step);
		}
	}
#pragma unroll
	for (uint32_t n = N; n < WARP; n *= 2, step /= 2)
		if (n < l.n)
			sum[0] += __shfl_xor_sync(ALL_LANES, sum[0], step);
	return sum[0];
}

/* Which of N rows' sums this lane has, and whether it is the first that does. */
template <uint32_t N>
__device__ static inline uint32_t shared_row(const struct key_lanes &l)
{
	return l.lane * N >> l.bits;
}

/* The first lane with the sum of row u, among those of the rows. */
template <uint32_t N>
__device__ static inline uint32_t lane_with_row(const struct key_lanes &l, uint32_t u)
{
	return (u << l.bits) / N;
}

template <uint32_t N>
__device__ static inline bool is_first_with_row(const struct key_lanes &l)
{
	return (l.lane * N & (l.n - 1)) == 0;
}

#endif

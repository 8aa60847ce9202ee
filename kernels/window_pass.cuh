/* SPDX-License-Identifier: Apache-2.0 */
/*
 * window_pass.cuh - window scoring: what a tile of keys adds to scores, or to sums.
 *
 * Everything is added in one fixed order. For scores, a lane adds up its queries row by
 * row, then the eight lanes of a token are added. For sums over tokens, each lane has its
 * own for a whole segment; then those of its lanes and warps are added one after another.
 */
#ifndef CKV_KERNELS_WINDOW_PASS_CUH
#define CKV_KERNELS_WINDOW_PASS_CUH

#include "kernels/window_stage.cuh"

/* ------------------------------------------------------------ pass of scores */

/* Report the lse of each row that has a logit above it, which no true one has. */
template <class M>
static __device__ void report_lse(const struct window_task &t,
				  const struct window_unit &u, uint32_t chunk,
				  const struct stage &s, const M &keys, uint32_t head,
				  uint32_t first, struct lane_place at)
{
	for (uint32_t i = 0; i < t.head_rows; i += 16) {
		uint32_t row = head * t.head_rows + i, query = chunk * WINDOW_ROWS + i;
		float dots[M::TILES][4];

		dot_rows(t, s, keys, row, query, first, at, dots);
#pragma unroll
		for (uint32_t k = 0; k < 4 * M::TILES; k++) {
			uint32_t r = at.g + 8 * (k % 4 / 2);
			float x = fmaf(dots[k / 4][k % 4], t.scale, -s.ref[row + r]);

			if (x > WINDOW_LSE_SLACK * LOG2_E)
				report(t, CUDA_FAULT_DOM, u, CKV_INPUT_LSE,
				       u.first_head + head, query + r, 0);
		}
	}
}

/*
 * Add up over the eight lanes with one q. Of the 2 * TILES sums of a lane each step
 * gives half away, so that at the end lane g has that of token 8 * (g / 2) + 2 * q +
 * g % 2; with two tiles, lanes g and g + 1 both have that of g / 2.
 */
template <int N>
static __device__ __forceinline__ float join_sums(float *sum, struct lane_place at)
{
	uint32_t bit = 4;

#pragma unroll
	for (int n = N / 2; n > 0; n /= 2, bit /= 2) {
		bool upper = at.g & bit;

#pragma unroll
		for (int i = 0; i < n; i++) {
			float give = upper ? sum[i] : sum[i + n];
			float keep = upper ? sum[i + n] : sum[i];

			sum[i] = keep + __shfl_xor_sync(ALL_LANES, give, 4 * bit);
		}
	}
	for (; bit > 0; bit /= 2)
		sum[0] += __shfl_xor_sync(ALL_LANES, sum[0], 4 * bit);
	return sum[0];
}

template <class M>
static __device__ __forceinline__ void put_scores(
	const struct window_task &t, const struct window_unit &u, uint32_t chunk,
	uint32_t head, uint32_t first, struct lane_place at, float *sum)
{
	const uint32_t lanes = 4 / M::TILES;		/* that have the same sum */
	size_t row = (size_t)u.index * t.in.q.rows.n_heads + u.first_head + head;
	uint32_t i = at.g / lanes, token = first + 8 * (i / 2) + 2 * at.q + i % 2;
	float *to = t.score + row * t.n_scored + token;
	float mine = join_sums<2 * M::TILES>(sum, at);

	if (at.g % lanes == 0 && token < t.n_scored)
		*to = chunk == 0 ? mine : *to + mine;
}

template <class M, enum pass PASS>
static __device__ __forceinline__ void score_tile(
	const struct window_task &t, const struct window_unit &u, uint32_t chunk,
	const struct stage &s, const M &keys, bool sound, uint32_t first,
	struct lane_place at)
{
	for (uint32_t head = 0; head < u.n_heads; head++) {
		float sum[2 * M::TILES] = { 0 }, most = -INFINITY;

		for (uint32_t i = 0; i < t.head_rows; i += 16) {
			uint32_t row = head * t.head_rows + i;
			float low = s.ref[row + at.g], high = s.ref[row + at.g + 8];
			float dots[M::TILES][4];

			dot_rows(t, s, keys, row, chunk * WINDOW_ROWS + i, first, at, dots);
#pragma unroll
			for (int k = 0; k < 2 * M::TILES; k++) {
				const float *dot = dots[k / 2] + k % 2;
				float x = fmaf(dot[0], t.scale, -low);
				float y = fmaf(dot[2], t.scale, -high);

				most = fmaxf(most, fmaxf(x, y));
				sum[k] += exp2_fast(x) + exp2_fast(y);
			}
		}
		if (PASS == PASS_LSE && sound &&
		    __any_sync(ALL_LANES, most > WINDOW_LSE_SLACK * LOG2_E))
			report_lse(t, u, chunk, s, keys, head, first, at);
		put_scores<M>(t, u, chunk, head, first, at, sum);
	}
}

/* -------------------------------------------------------------- pass of sums */

/* This lane's maximum and sum of the two queries it has in sixteen rows. */
static __device__ __forceinline__ float4 *sums_at(const struct window_task &t,
						  const struct stage &s, uint32_t warp,
						  uint32_t row, uint32_t lane)
{
	uint32_t n = t.unit_heads * t.head_rows / 16;

	return s.sums + (warp * n + row / 16) * 32 + lane;
}

/* Add a query's products dots[..][0..1] to its sum of 2^(logit - max). */
template <int TILES>
static __device__ __forceinline__ void add_logits(const float (*dots)[4], int h,
						  float scale, float *max, float *sum)
{
	float most = -INFINITY, from;

#pragma unroll
	for (int n = 0; n < TILES; n++)
		most = fmaxf(most, fmaxf(dots[n][2 * h], dots[n][2 * h + 1]));
	most = fmaxf(*max, most * scale);
	from = most == -INFINITY ? 0.0f : most;		/* nothing seen yet */
	*sum *= exp2_fast(*max - from);
#pragma unroll
	for (int n = 0; n < TILES; n++)
		*sum += exp2_fast(fmaf(dots[n][2 * h], scale, -from)) +
			exp2_fast(fmaf(dots[n][2 * h + 1], scale, -from));
	*max = most;
}

template <class M>
static __device__ __forceinline__ void sum_tile(
	const struct window_task &t, const struct window_unit &u, uint32_t chunk,
	const struct stage &s, const M &keys, uint32_t first, struct lane_place at)
{
	for (uint32_t row = 0; row < u.n_heads * t.head_rows; row += 16) {
		uint32_t query = chunk * WINDOW_ROWS + row % t.head_rows;
		float4 *mine = sums_at(t, s, threadIdx.x / 32, row, at.lane);
		float4 sums = *mine;
		float dots[M::TILES][4];

		dot_rows(t, s, keys, row, query, first, at, dots);
		add_logits<M::TILES>(dots, 0, t.scale, &sums.x, &sums.y);
		add_logits<M::TILES>(dots, 1, t.scale, &sums.z, &sums.w);
		*mine = sums;
	}
}

static __device__ void clear_sums(const struct window_task &t, const struct stage &s)
{
	uint32_t n = WINDOW_WARPS * (t.unit_heads * t.head_rows / 16) * 32;

	for (uint32_t i = threadIdx.x; i < n; i += blockDim.x)
		s.sums[i] = make_float4(-INFINITY, 0.0f, -INFINITY, 0.0f);
	__syncthreads();
}

/* What all lanes and warps found about each row, joined in one order. */
static __device__ void put_sums(const struct window_task &t, const struct window_unit &u,
				uint32_t chunk, const struct stage &s)
{
	__syncthreads();
	for (uint32_t i = threadIdx.x; i < u.n_heads * t.head_rows; i += blockDim.x) {
		struct window_row r = window_row_at(t, u, chunk, i);
		float max = -INFINITY, sum = 0.0f;

		for (uint32_t k = 0; k < WINDOW_WARPS * 4; k++) {
			float4 f = *sums_at(t, s, k / 4, i, i % 8 * 4 + k % 4);
			float x = i % 16 < 8 ? f.x : f.z, y = i % 16 < 8 ? f.y : f.w;
			float most = fmaxf(max, x);

			if (x == -INFINITY)
				continue;
			sum = sum * exp2_fast(max - most) + y * exp2_fast(x - most);
			max = most;
		}
		if (r.there)
			*window_partial_at(t, u.index, r, u.segment) =
				make_float2(max, sum);
	}
	__syncthreads();
}

#endif

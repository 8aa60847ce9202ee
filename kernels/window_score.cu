/* SPDX-License-Identifier: Apache-2.0 */
/*
 * window_score.cu - attention of the window on all keys, all layers in one launch.
 *
 * With the engine's log-sum-exp keys are read once; without, a first launch finds
 * every row's maximum and sum over each segment of tokens, and a second one puts them
 * together and scores. The second walks backwards, so that it begins with what the
 * first left in L2. Nothing of size heads x window x tokens exists: a warp turns the
 * dot products of its 32 tokens into probabilities in registers and adds them up.
 *
 * What it costs, per kv head and token of D = 128 bf16 numbers and R = w * G rows:
 *
 *   memory    256 bytes of key, 4 * G of score
 *   products  2 * R * D FLOP: at R = 128, 128 FLOP for a byte of key; 70 % of an
 *             H200's 4.8 TB/s is then 430 TFLOP/s, of some 600 that mma.sync can do
 *   exp       R of them: half of one for a byte, 1.7 T/s, of 3.7 T/s that an H200 can do
 *   shared    R * 256 bytes of queries for each 32 tokens: 4 for a byte of key; at the
 *             same 70 %, 58 of the 128 bytes a clock that an SM can read
 *
 * so with up to 128 rows reading the keys takes longest. A warp has 8 KiB of keys in
 * registers and asks L2 for its next 8 KiB before it begins to compute. An SM must have
 * 25 to 36 KiB on the way from memory (latency times bandwidth) to read at full speed,
 * and two or three blocks of four warps have more. Two passes double everything but the
 * bytes that are still in L2. Numbers in float (or D > 256, or D no multiple of 8) are
 * multiplied one at a time, from memory: that is correct, and far from these figures.
 *
 * Hopper's wgmma and TMA are not used, by this estimate, which no GPU has confirmed. At full
 * bandwidth 128 rows need 614 TFLOP/s: all that mma.sync can do, 62 % of what wgmma can. So
 * reading might go from some 65 % of the bandwidth to 80 %; with 64 rows or fewer mma.sync
 * has twice the room, and there is nothing to gain. For 32 768 tokens of 8 heads in 80
 * layers, 5.4 GB of keys, that is 1.7 ms or 1.4, once, after a prefill that takes seconds.
 * It would be for sm_90 alone (sm_100 has other instructions in their place), beside the
 * path that sm_80 needs anyway, and keys would go through shared memory, which this one
 * leaves to the queries.
 */
#include "kernels/window_pass.cuh"

/* ------------------------------------------------------------------- kernel */

template <class M, enum pass PASS>
static __device__ void do_unit(const struct window_task &t, const struct window_unit &u,
			       uint32_t chunk, const struct stage &s, float limit,
			       struct ahead *next)
{
	const uint32_t tile = 8 * M::TILES, step = WINDOW_WARPS * tile;
	const uint32_t n_tiles = WINDOW_SEGMENT / step;
	const struct lane_place at = { threadIdx.x % 32, threadIdx.x % 32 / 4,
				       threadIdx.x % 4 };
	uint32_t begin = u.segment * WINDOW_SEGMENT + threadIdx.x / 32 * tile;
	uint32_t n_tokens = PASS == PASS_SCORES ? t.n_scored : t.in.k.rows.n_tokens;

	if (PASS == PASS_SUMS)
		clear_sums(t, s);
	for (uint32_t i = 0; i < n_tiles; i++) {
		bool up = PASS == PASS_SUMS;
		uint32_t first = begin + (up ? i : n_tiles - 1 - i) * step;
		bool sound;
		M keys;

		if (first >= n_tokens)
			continue;
		sound = load_tile<M, PASS>(t, u, first, up ? step : 0u - step, limit, at,
					   next, &keys);
		if (PASS == PASS_SUMS)
			sum_tile(t, u, chunk, s, keys, first, at);
		else
			score_tile<M, PASS>(t, u, chunk, s, keys, sound, first, at);
	}
	if (PASS == PASS_SUMS)
		put_sums(t, u, chunk, s);
}

template <class M, enum pass PASS>
__device__ static __forceinline__ void window_kernel(const struct window_task t)
{
	CKV_SHARED(char, shared);
	const struct stage s = stage_in<M>(t, shared);
	uint32_t from = (uint32_t)((uint64_t)t.n_units * blockIdx.x / gridDim.x);
	uint32_t to = (uint32_t)((uint64_t)t.n_units * (blockIdx.x + 1) / gridDim.x);
	uint32_t rows_of = UINT32_MAX;	/* whose rows the stage has */
	struct ahead next = { NULL, UINT32_MAX, UINT32_MAX, UINT32_MAX };
	float limit = 0.0f;

	for (uint32_t i = from; i < to; i++) {
		uint32_t index = PASS == PASS_SUMS ? i : to - 1 - (i - from);
		struct window_unit u = window_unit_at(t, index);

		for (uint32_t chunk = 0; chunk < t.n_chunks; chunk++) {
			uint32_t rows = index / t.n_segments * t.n_chunks + chunk;

			if (rows != rows_of)
				limit = enter_rows<M, PASS>(t, u, chunk, s);
			rows_of = rows;
			do_unit<M, PASS>(t, u, chunk, s, limit, &next);
		}
	}
}

/* ------------------------------------------------------------------ kernels */

#define WINDOW(name, row_bytes, ...)						\
	static_assert((__VA_ARGS__::ROW_BYTES) == (row_bytes), "as the launcher counts");	\
	WINDOW_PASS(name##_sums, PASS_SUMS, __VA_ARGS__)			\
	WINDOW_PASS(name##_scores, PASS_SCORES, __VA_ARGS__)			\
	WINDOW_PASS(name##_lse, PASS_LSE, __VA_ARGS__)
#define WINDOW_PASS(name, PASS, ...)						\
	CKV_ENTRY(window_##name, (WINDOW_THREADS, 3),				\
		  (const struct window_task t),		\
		  window_kernel<__VA_ARGS__, PASS>(t))
WINDOW(plain, WINDOW_PLAIN_BYTES, plain_math)
WINDOW(bf16_64, WINDOW_ROW_BYTES(64), mma_math<true, 2, 4>)
WINDOW(bf16_128, WINDOW_ROW_BYTES(128), mma_math<true, 4, 4>)
WINDOW(bf16_256, WINDOW_ROW_BYTES(256), mma_math<true, 8, 2>)
WINDOW(f16_64, WINDOW_ROW_BYTES(64), mma_math<false, 2, 4>)
WINDOW(f16_128, WINDOW_ROW_BYTES(128), mma_math<false, 4, 4>)
WINDOW(f16_256, WINDOW_ROW_BYTES(256), mma_math<false, 8, 2>)

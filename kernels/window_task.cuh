/* SPDX-License-Identifier: Apache-2.0 */
/*
 * window_task.cuh - how window scoring is cut, and which rows meet which keys.
 *
 * The query rows of one kv head are cut in groups of whole query heads, at most
 * WINDOW_ROWS rows, which a block holds at a time. A head's w rows are padded to
 * head_rows, a multiple of 16; a head with more than WINDOW_ROWS of them is gone through
 * in n_chunks steps. Tokens are cut in segments of WINDOW_SEGMENT. A unit of work is
 * (layer, kv head, group of rows, segment); units that differ in the segment only have
 * consecutive numbers. A block takes consecutive units, so it seldom has to load other
 * rows. Which block gets which units depends on the grid, but the result of a unit does
 * not.
 */
#ifndef CKV_KERNELS_WINDOW_TASK_CUH
#define CKV_KERNELS_WINDOW_TASK_CUH

#include "kernels/common.cuh"

#define WINDOW_WARPS	4u
#define WINDOW_ROWS	128u
#define WINDOW_SEGMENT	512u

struct window_task {
	struct ckv_cuda_window in;
	float *score;		/* [n_layers][Hq][T-w] */
	float2 *partial;	/* [n_layers][Hq][n_segments][w]: maximum, sum */
	uint64_t *status;
	uint32_t group, window, n_scored;	/* G, w, T-w */
	uint32_t head_rows, unit_heads, n_groups, n_chunks, n_segments, n_units;
	uint32_t k_bytes, q_bytes;		/* of a row */
	float scale;		/* of a product, to a logit in base 2 */
};

#ifdef __CUDACC__
/* Multiprocessors of the device at hand. */
static uint32_t device_multiprocessors(void)
{
	int device = 0, n = 0;

	if (cudaGetDevice(&device) != cudaSuccess ||
	    cudaDeviceGetAttribute(&n, cudaDevAttrMultiProcessorCount, device) !=
	    cudaSuccess || n < 1)
		return 1;
	return (uint32_t)n;
}
#else
static uint32_t device_multiprocessors(void)
{
	return simt_multiprocessors;
}
#endif

struct window_unit {
	uint32_t index, layer;	/* among n_layers; the object's own number */
	uint32_t head;		/* kv head */
	uint32_t first_head;	/* query head, the first of the group of rows */
	uint32_t n_heads;
	uint32_t segment;
};

static __device__ __forceinline__ struct window_unit window_unit_at(
	const struct window_task &t, uint32_t i)
{
	struct window_unit u;
	uint32_t first;

	u.segment = i % t.n_segments;
	i /= t.n_segments;
	first = i % t.n_groups * t.unit_heads;
	i /= t.n_groups;
	u.head = i % t.in.k.rows.n_heads;
	u.index = i / t.in.k.rows.n_heads;
	u.layer = u.index * t.in.k.layer_step;
	u.first_head = u.head * t.group + first;
	u.n_heads = min(t.unit_heads, t.group - first);
	return u;
}

/* A row of the stage: which query head and which query it is. */
struct window_row {
	uint32_t head, query;
	bool there;		/* else padding */
};

static __device__ __forceinline__ struct window_row window_row_at(
	const struct window_task &t, const struct window_unit &u, uint32_t chunk,
	uint32_t row)
{
	struct window_row r;

	r.head = u.first_head + row / t.head_rows;
	r.query = chunk * WINDOW_ROWS + row % t.head_rows;
	r.there = row < u.n_heads * t.head_rows && r.query < t.window;
	return r;
}

static __device__ __forceinline__ float2 *window_partial_at(
	const struct window_task &t, uint32_t index, struct window_row r,
	uint32_t segment)
{
	size_t head = (size_t)index * t.in.q.rows.n_heads + r.head;

	return t.partial + (head * t.n_segments + segment) * t.window + r.query;
}

#endif

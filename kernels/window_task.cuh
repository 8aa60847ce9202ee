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

	return (float2 *)t.partial + (head * t.n_segments + segment) * t.window + r.query;
}

#endif

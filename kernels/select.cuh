/* SPDX-License-Identifier: Apache-2.0 */
/*
 * select.cuh - the k best of a row by one block: radix select over keys.
 *
 * Three counting passes over 11, 11 and 10 bits of the keys find the k-th best; a last
 * pass in index order gives each chosen one its place, so ties go to the
 * lower index and nothing is sorted. A row of up to THREADS * ITEMS tokens is read
 * once and stays in registers; a longer one is read again in every pass.
 *
 * A warp has runs of 32 * ITEMS consecutive tokens and reads them 32 at a time, so that
 * loads are whole lines, whatever the row's alignment, and ballots give ranks in order
 * of index. A warp's loads are all under way before the first is looked at. If many scores
 * are equal, lanes add to the same bin: a GPU adds 1 for all of them at once where the sum
 * is not asked for.
 */
#ifndef CKV_KERNELS_SELECT_CUH
#define CKV_KERNELS_SELECT_CUH

#include "common.cuh"

/* Who belongs to the best: keys above `key`, and of those equal to it some. */
struct select_cut {
	uint32_t key;
	uint32_t n_equal;	/* how many of the equal ones */
	uint32_t n_all_equal;	/* how many there are */
};

/* A chosen token's place: better ones and equal ones at lower indexes. */
struct select_rank {
	uint32_t index, key, n_better, n_equal;
};

/*
 * The tokens [0, n) of a row. Source::load(index) reads what Source::key(index, loaded)
 * makes a key of. Every thread of the block calls every function together.
 */
template <unsigned THREADS, bool RESIDENT, class Source>
struct select_row {
	const Source &source;
	struct select_room *room;
	uint32_t n;
	uint32_t keys[SELECT_ITEMS];	/* of the tile at hand */

	static const uint32_t TILE = THREADS * SELECT_ITEMS;

	__device__ select_row(const Source &source_, struct select_room *room_,
			      uint32_t n_)
		: source(source_), room(room_), n(n_)
	{
		for (uint32_t i = threadIdx.x; i < SELECT_BINS; i += THREADS)
			room->bin[i] = 0;
		if (RESIDENT)
			load(0);
		__syncthreads();
	}

	/* Is there a tile at `tile`, which follows those there are? A resident row is one. */
	__device__ bool is_tile(uint32_t tile) const
	{
		return RESIDENT ? tile == 0 : tile < n;
	}

	__device__ uint32_t index_of(uint32_t tile, uint32_t j) const
	{
		return tile + threadIdx.x / WARP * WARP * SELECT_ITEMS +
		       j * WARP + threadIdx.x % WARP;
	}

	/* Past the end the last key is read again, so that no load is conditional. */
	__device__ void load(uint32_t tile)
	{
		float score[SELECT_ITEMS];

#pragma unroll
		for (uint32_t j = 0; j < SELECT_ITEMS; j++)
			score[j] = source.load(min(index_of(tile, j), n - 1));
#pragma unroll
		for (uint32_t j = 0; j < SELECT_ITEMS; j++)
			keys[j] = source.key(min(index_of(tile, j), n - 1), score[j]);
	}

	/* Count one key a lane; lanes without one have valid = false. */
	__device__ void count(uint32_t bin, bool valid)
	{
		if (valid)
			atomicAdd(&room->bin[bin], 1u);
	}

	/*
	 * Find the bin that holds the left-th best key, and set all bins to 0. found[]:
	 * that bin, which of its keys it is, how many keys are in it.
	 */
	__device__ void find(uint32_t left)
	{
		const uint32_t per_thread = SELECT_BINS / THREADS;
		uint32_t top = SELECT_BINS - threadIdx.x * per_thread;
		uint32_t of_bin[per_thread], sum = 0, all, before;

#pragma unroll
		for (uint32_t p = 0; p < per_thread; p++) {
			of_bin[p] = room->bin[top - 1 - p];
			room->bin[top - 1 - p] = 0;
			sum += of_bin[p];
		}
		before = block_sum_before(sum, room->warp, &all);
#pragma unroll
		for (uint32_t p = 0; p < per_thread; p++) {
			if (before < left && left <= before + of_bin[p]) {
				room->found[0] = top - 1 - p;
				room->found[1] = left - before;
				room->found[2] = of_bin[p];
			}
			before += of_bin[p];
		}
		__syncthreads();
	}

	/* Where the best k of the row end, 1 <= k <= n. */
	__device__ struct select_cut cut(uint32_t k)
	{
		struct select_cut c = { 0, k, n };
		uint32_t mask = 0, shift = 21, bins = 2047;

#pragma unroll 1
		for (int pass = 0; pass < 3; pass++) {
			for (uint32_t tile = 0; is_tile(tile); tile += TILE) {
				if (!RESIDENT)
					load(tile);
#pragma unroll
				for (uint32_t j = 0; j < SELECT_ITEMS; j++)
					count(keys[j] >> shift & bins,
					      index_of(tile, j) < n &&
					      (keys[j] & mask) == c.key);
			}
			__syncthreads();
			find(c.n_equal);
			c.key |= room->found[0] << shift;
			c.n_equal = room->found[1];
			c.n_all_equal = room->found[2];
			mask |= bins << shift;
			bins = pass == 1 ? 1023 : 2047;
			shift = pass == 0 ? 10 : 0;
		}
		return c;
	}

	/*
	 * emit(rank) for every token of the row, with its place among the others. Ends
	 * with a barrier.
	 */
	template <class Emit>
	__device__ void rank(const struct select_cut &c, Emit emit)
	{
		uint32_t n_better = 0, n_equal = 0;	/* in tiles before */

		for (uint32_t tile = 0; is_tile(tile); tile += TILE) {
			uint32_t mine = 0, before, all;

			if (!RESIDENT)
				load(tile);
#pragma unroll
			for (uint32_t j = 0; j < SELECT_ITEMS; j++)
				if (index_of(tile, j) < n)
					mine += keys[j] > c.key ? 1u :
						keys[j] == c.key ? 1u << 16 : 0;
			/* Both counts of a tile fit in 16 bits. */
			before = block_sum_before(mine, room->warp, &all);
			before = __shfl_sync(ALL_LANES, before, 0);
			rank_tile(c, tile, n_better + (before & 0xffff),
				  n_equal + (before >> 16), emit);
			n_better += all & 0xffff;
			n_equal += all >> 16;
			__syncthreads();
		}
	}

	template <class Emit>
	__device__ void rank_tile(const struct select_cut &c, uint32_t tile,
				  uint32_t n_better, uint32_t n_equal, Emit emit)
	{
#pragma unroll
		for (uint32_t j = 0; j < SELECT_ITEMS; j++) {
			uint32_t i = index_of(tile, j), key = keys[j];
			uint32_t better = __ballot_sync(ALL_LANES,
							i < n && key > c.key);
			uint32_t equal = __ballot_sync(ALL_LANES,
						       i < n && key == c.key);

			if (i < n)
				emit(select_rank{ i, key,
					n_better + __popc(better & lanes_before()),
					n_equal + __popc(equal & lanes_before()) });
			n_better += __popc(better);
			n_equal += __popc(equal);
		}
	}
};

/* The kinds of a kernel, by rows: few, many, too many for the registers. */
#define SELECT_EACH(entry)							\
	entry(2048, SELECT_FEW, true)						\
	entry(8192, SELECT_MANY, true)						\
	entry(long, SELECT_MANY, false)

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pick_blocks.cu - L2 norm in blocks: which tokens stay within each block.
 *
 * Tokens that stay keep their norm and others become NaN, which ranks last: so the top-k
 * of the row that follows takes the former and no other. In small blocks a thread ranks
 * its token by looking at all of the block; a larger block of tokens has a thread block
 * for itself, which selects as select.cu does.
 */
#include "select.cuh"

enum { THREADS = PICK_THREADS };

/* How many of block [from, to) stay; l2norm_block_share(). */
__device__ static uint32_t share_of(const struct blocks_task &t, uint32_t from,
				    uint32_t to)
{
	uint32_t n;

	if (t.all == 0)
		return to - from == t.block ? t.whole : t.rest;
	n = (uint32_t)((uint64_t)to * t.all / t.n_tokens) -
	    (uint32_t)((uint64_t)from * t.all / t.n_tokens);
	return n == 0 ? 1 : n;
}

__device__ static __forceinline__ void
pairs_kernel(const struct blocks_task &t, const float *__restrict__ norm,
	     float *__restrict__ score)
{
	uint32_t token = blockIdx.x % t.n_tiles * THREADS + threadIdx.x;
	const float *row = norm + (size_t)(blockIdx.x / t.n_tiles) * t.n_tokens;
	uint32_t from = token / t.block * t.block, n_before = 0;
	uint32_t to = t.n_tokens - from > t.block ? from + t.block : t.n_tokens;
	float x;

	if (token >= t.n_tokens)
		return;
	x = __ldg(row + token);
	for (uint32_t i = from; i < to; i++) {
		float y = __ldg(row + i);

		n_before += y < x || (y == x && i < token);
	}
	score[(size_t)(blockIdx.x / t.n_tiles) * t.n_tokens + token] =
		n_before < share_of(t, from, to) ? x : NAN;
}

struct norm_source {
	const float *norm;	/* of this block */

	__device__ float load(uint32_t i) const
	{
		return __ldg(norm + i);
	}

	__device__ uint32_t key(uint32_t, float x) const
	{
		return score_key(-x);
	}
};

__device__ static __forceinline__ void
blocks_kernel(const struct blocks_task &t, const float *__restrict__ norm,
	      float *__restrict__ score)
{
	CKV_SHARED(struct select_room, room);
	size_t row = (size_t)(blockIdx.x / t.n_blocks) * t.n_tokens;
	uint32_t from = blockIdx.x % t.n_blocks * t.block;
	uint32_t to = t.n_tokens - from > t.block ? from + t.block : t.n_tokens;
	struct norm_source source = { norm + row + from };
	float *out = score + row + from;
	select_row<SELECT_FEW, false, struct norm_source> tokens(source, room, to - from);
	struct select_cut c = tokens.cut(share_of(t, from, to));

	tokens.rank(c, [=](const struct select_rank &r) {
		bool stays = r.key > c.key || (r.key == c.key && r.n_equal < c.n_equal);

		out[r.index] = stays ? source.norm[r.index] : NAN;
	});
}

CKV_ENTRY(pick_pairs, (THREADS),
	  (const __grid_constant__ struct blocks_task t, const float *__restrict__ norm,
	   float *__restrict__ score),
	  pairs_kernel(t, norm, score))
CKV_ENTRY(pick_blocks, (SELECT_FEW),
	  (const __grid_constant__ struct blocks_task t, const float *__restrict__ norm,
	   float *__restrict__ score),
	  blocks_kernel(t, norm, score))

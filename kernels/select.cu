/* SPDX-License-Identifier: Apache-2.0 */
/*
 * select.cu - the best tokens of each row: one block a row, one launch for all rows.
 *
 * The selection is in select.cuh. Here are the two classes that go before all scores,
 * each with a key of its own above them, and the order within a class that does not all
 * fit.
 */
#include "select.cuh"

struct top_source {
	const float *score;		/* of this row */
	const struct ckv_cuda_top *top;

	__device__ bool is_kept(uint32_t i) const
	{
		const struct ckv_always &a = top->always;

		bool kept = (i < a.n_sink) | (top->n - i <= a.n_recent);

		for (uint32_t r = 0; r < a.n_ranges; r++)
			kept |= (i >= a.range[r].from) & (i < a.range[r].to);
		return kept;
	}

	/* With n_scored 0 there may be no scores at all. */
	__device__ float load(uint32_t i) const
	{
		return top->n_scored > 0 ? __ldg(score + min(i, top->n_scored - 1)) : 0.0f;
	}

	__device__ uint32_t key(uint32_t i, float x) const
	{
		uint32_t key = score_key(top->smallest ? -x : x);

		if (i >= top->n_scored)
			key = KEY_UNSCORED;
		return is_kept(i) ? KEY_ALWAYS : key;
	}
};

__device__ static uint32_t count_nan(const float *score, uint32_t n,
				     struct select_room *room)
{
	uint32_t n_nan = 0, all;

	for (uint32_t i = threadIdx.x; i < n; i += blockDim.x)
		n_nan += score[i] != score[i];
	block_sum_before(n_nan, room->warp, &all);
	return all;
}

/* Where a row's positions go is worked out for each: no register holds it meanwhile. */
template <unsigned THREADS, bool RESIDENT>
__device__ static __forceinline__ void
select_kernel(const struct ckv_cuda_top &top, uint32_t *pos, uint32_t *n_nan,
	      uint32_t *n_lost)
{
	CKV_SHARED(struct select_room, room);
	uint32_t row = blockIdx.x, k, skip = 0;
	struct top_source source = { top.score + row * top.row_stride, &top };
	select_row<THREADS, RESIDENT, struct top_source> tokens(source, room,
								top.n);
	struct select_cut c;

	k = top.row_k == nullptr ? top.k : min(top.row_k[row], top.k);
	c = tokens.cut(k > 0 ? k : 1);
	if (k == 0)
		c.n_equal = 0;
	if (c.key == KEY_ALWAYS || (c.key == KEY_UNSCORED && !top.lowest_first))
		skip = c.n_all_equal - c.n_equal;
	tokens.rank(c, [=](const struct select_rank &r) {
		uint32_t n_equal = r.n_equal < skip ? 0 : r.n_equal - skip;
		bool taken = r.key > c.key ||
			     (r.key == c.key && r.n_equal >= skip &&
			      n_equal < c.n_equal);

		if (taken)
			pos[(size_t)blockIdx.x * top.k + r.n_better +
			    min(n_equal, c.n_equal)] = r.index;
	});
	if (n_lost != nullptr && threadIdx.x == 0)
		n_lost[row] = c.key == KEY_ALWAYS ? c.n_all_equal - k : 0;
	if (n_nan != nullptr) {
		uint32_t all = count_nan(source.score, top.n_scored, room);

		if (threadIdx.x == 0)
			n_nan[row] = all;
	}
}

#define SELECT(rows, THREADS, RESIDENT)						\
	CKV_ENTRY(select_##rows, (THREADS, THREADS == 1024 ? 2 : 4),		\
		  (const __grid_constant__ struct ckv_cuda_top top, uint32_t *pos,	\
		   uint32_t *n_nan, uint32_t *n_lost),				\
		  select_kernel<THREADS, RESIDENT>(top, pos, n_nan, n_lost))
SELECT_EACH(SELECT)

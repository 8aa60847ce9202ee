/* SPDX-License-Identifier: Apache-2.0 */
/*
 * chunk_keep.cu - from chunk scores to the tokens of each layer: one block a layer.
 *
 * select.cuh gives the chosen chunks in order of index. So the tokens of the i-th of them
 * begin at i times the length of a chunk, unless a shorter chunk comes before. Only two
 * can be shorter. One is the last chunk of the context, which nothing comes after. The
 * other, in PAPER mode, is the worst chosen one, which may lose its tail: of the chunks
 * with the lowest chosen score it is the last, so every chunk can tell whether it comes
 * before it. The thread of the last chosen chunk knows how many tokens there are.
 */
#include "select.cuh"

struct keep_source {
	const float *score;
	uint32_t n_scored;

	/* With n_scored 0 there may be no scores at all. */
	__device__ float load(uint32_t i) const
	{
		return n_scored > 0 ? __ldg(score + min(i, n_scored - 1)) : 0.0f;
	}

	__device__ uint32_t key(uint32_t i, float x) const
	{
		uint32_t key = score_key(x);

		return i < n_scored ? key : KEY_ALWAYS;
	}

	__device__ uint32_t key(uint32_t i) const { return key(i, load(i)); }
};

/* How PAPER's ranking ends: n_whole whole chunks, then `left` tokens of the next. */
struct paper_cut {
	uint32_t n_whole, left;
	bool has_next;
};

/*
 * Chunks give their tokens in rank order until `budget` is used. All are equally long
 * but the last by index, of `tail` tokens, which has rank `tail_rank`.
 */
__device__ static struct paper_cut cut_paper(const struct keep_task &t,
					     uint32_t tail, uint32_t tail_rank)
{
	uint32_t whole = t.budget / t.chunk, left = t.budget % t.chunk;

	if (tail_rank <= whole && left >= tail) {
		whole++;		/* the tail, and as many full ones */
		left -= tail;
	} else if (tail_rank < whole) {
		left += t.chunk - tail;
	}
	if (whole >= t.keep)
		return { t.keep, 0, false };
	return { whole, left, true };
}

/* Chunks that rank before the last one: equal ones have lower indexes. */
template <unsigned THREADS>
__device__ static uint32_t rank_of_last(const struct keep_source &source,
					uint32_t n, struct select_room *room)
{
	uint32_t last = source.key(n - 1), before = 0, all;

	for (uint32_t i = threadIdx.x; i + 1 < n; i += THREADS)
		before += source.key(i) >= last;
	block_sum_before(before, room->warp, &all);
	return all;
}

template <unsigned THREADS, bool RESIDENT>
__device__ static __forceinline__ void
keep_kernel(struct keep_task t, const float *__restrict__ chunk_score,
	    uint32_t *__restrict__ pos, uint32_t *__restrict__ n_kept)
{
	CKV_SHARED(struct select_room, room);
	struct keep_source source = {
		chunk_score + (size_t)blockIdx.x * t.n_chunks, t.n_scored };
	uint32_t *to = pos + (size_t)blockIdx.x * t.max_n;
	uint32_t tail = t.n_chunked - (t.n_chunks - 1) * t.chunk;
	struct paper_cut p = { t.keep, 0, false };
	struct select_cut c;

	if (t.paper)
		p = cut_paper(t, tail, rank_of_last<THREADS>(source, t.n_chunks,
							     room));
	select_row<THREADS, RESIDENT, struct keep_source> chunks(source, room,
								 t.n_chunks);
	c = chunks.cut(p.n_whole + p.has_next);
	chunks.rank(c, [=](const struct select_rank &r) {
		uint32_t rank = r.n_better + min(r.n_equal, c.n_equal);
		bool taken = r.key > c.key ||
			     (r.key == c.key && r.n_equal < c.n_equal);
		bool is_next = p.has_next && r.key == c.key &&
			       r.n_equal == c.n_equal - 1;
		bool after_next = p.has_next && r.n_equal >= c.n_equal;
		uint32_t at = rank * t.chunk -
			      (after_next ? t.chunk - p.left : 0);
		uint32_t len = r.index + 1 < t.n_chunks ? t.chunk : tail;

		if (!taken)
			len = 0;
		else if (is_next)
			len = p.left;
		for (uint32_t i = 0; i < len; i++)
			to[at + i] = r.index * t.chunk + i;
		if (r.index + 1 == t.n_chunks)
			room->found[3] = at + len;
	});
	for (uint32_t i = threadIdx.x; i < t.window; i += THREADS)
		to[room->found[3] + i] = t.n_chunked + i;
	if (threadIdx.x == 0)
		n_kept[blockIdx.x] = room->found[3] + t.window;
}

/* Without scores: the newest n tokens in every layer. */
__device__ static __forceinline__ void
newest_kernel(uint32_t n_tokens, uint32_t n, uint32_t max_n, uint32_t *pos, uint32_t *n_kept)
{
	for (uint32_t i = threadIdx.x; i < n; i += blockDim.x)
		pos[(size_t)blockIdx.x * max_n + i] = n_tokens - n + i;
	if (threadIdx.x == 0)
		n_kept[blockIdx.x] = n;
}

#define KEEP(rows, THREADS, RESIDENT)						\
	CKV_ENTRY(keep_##rows, (THREADS, 1),					\
		  (struct keep_task t,			\
		   const float *__restrict__ chunk_score, uint32_t *__restrict__ pos,	\
		   uint32_t *__restrict__ n_kept),				\
		  keep_kernel<THREADS, RESIDENT>(t, chunk_score, pos, n_kept))
SELECT_EACH(KEEP)

CKV_ENTRY(newest, (SELECT_FEW),
	  (uint32_t n_tokens, uint32_t n, uint32_t max_n, uint32_t *pos, uint32_t *n_kept),
	  newest_kernel(n_tokens, n, max_n, pos, n_kept))

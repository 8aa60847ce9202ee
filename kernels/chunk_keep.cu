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
#include "chunkkv.h"
#include "select.cuh"

struct keep_task {
	uint32_t chunk, n_chunks, n_chunked, window;
	uint32_t n_scored;	/* chunks past it lie in the window: they go first */
	uint32_t keep;		/* chunks to keep, >= 1 */
	uint32_t budget;	/* PAPER: tokens beside the window */
	bool paper;
	uint32_t max_n;		/* from one layer's positions to the next */
};

struct keep_source {
	const float *score;
	uint32_t n_scored;

	__device__ uint32_t key(uint32_t i) const
	{
		return i < n_scored ? score_key(__ldg(score + i)) : KEY_ALWAYS;
	}
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
__global__ void __launch_bounds__(THREADS, 1)
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
__global__ void newest_kernel(uint32_t n_tokens, uint32_t n, uint32_t max_n,
			      uint32_t *pos, uint32_t *n_kept)
{
	for (uint32_t i = threadIdx.x; i < n; i += blockDim.x)
		pos[(size_t)blockIdx.x * max_n + i] = n_tokens - n + i;
	if (threadIdx.x == 0)
		n_kept[blockIdx.x] = n;
}

static struct keep_task task_of(const struct ckv_chunkkv *m, uint32_t n_tokens,
				uint32_t max_n)
{
	struct keep_task t;
	uint32_t n_scored = n_tokens - m->window;

	t.paper = m->mode == CKV_CHUNKKV_PAPER;
	t.max_n = max_n;
	t.n_chunked = t.paper ? n_scored : n_tokens;
	t.chunk = min(m->chunk, t.n_chunked);
	t.n_chunks = ceil_div(t.n_chunked, t.chunk);
	t.n_scored = ceil_div(n_scored, t.chunk);
	t.window = t.paper ? m->window : 0;
	t.budget = t.paper ? m->n_keep - m->window : 0;
	t.keep = t.paper ? m->n_keep / m->chunk
			 : ckv_budget_kvpress(t.n_chunks, m->removed);
	if (t.keep > t.n_chunks)
		t.keep = t.n_chunks;
	if (t.keep == 0 && !t.paper)
		t.keep = 1;
	return t;
}

uint32_t ckv_cuda_chunkkv_max_n(const struct ckv_chunkkv *m, uint32_t n_tokens)
{
	struct keep_task t;
	uint32_t n;

	if (chunkkv_check(m) < 0 || n_tokens == 0 ||
	    n_tokens > CKV_KERNEL_MAX_TOKENS)
		return 0;
	if (chunkkv_keeps_newest(m, n_tokens, &n))
		return n;
	if (m->mode == CKV_CHUNKKV_PAPER)
		return min(m->n_keep, n_tokens);
	t = task_of(m, n_tokens, 0);
	return (uint32_t)min((uint64_t)t.keep * t.chunk, (uint64_t)n_tokens);
}

/* Are the newest *ret_n tokens all that is kept? */
static bool keeps_no_chunk(const struct ckv_chunkkv *m, uint32_t n_tokens,
			   uint32_t *ret_n)
{
	if (chunkkv_keeps_newest(m, n_tokens, ret_n))
		return true;
	*ret_n = m->window;
	return m->mode == CKV_CHUNKKV_PAPER && m->n_keep < m->chunk;
}

int ckv_cuda_chunkkv_keep(const struct ckv_chunkkv *m, uint32_t n_tokens,
			  uint32_t n_layers, const float *chunk_score,
			  const struct ckv_cuda_kept *kept, void *stream)
{
	struct keep_task t;
	uint32_t n = 0;

	if (chunkkv_check(m) < 0 || n_tokens == 0 ||
	    n_tokens > CKV_KERNEL_MAX_TOKENS || n_layers == 0 || kept == NULL ||
	    kept->n_sets != 1 || kept->n == NULL ||
	    kept->max_n < ckv_cuda_chunkkv_max_n(m, n_tokens) ||
	    (kept->max_n > 0 && kept->pos == NULL))
		return -EINVAL;
	if (keeps_no_chunk(m, n_tokens, &n)) {
		CKV_LAUNCH(newest_kernel, n_layers, 256, 0, stream, n_tokens, n,
			   kept->max_n, kept->pos, kept->n);
		return launch_result();
	}
	if (chunk_score == NULL)
		return -EINVAL;
	t = task_of(m, n_tokens, kept->max_n);
	SELECT_FOR(t.n_chunks, THREADS, RESIDENT,
		CKV_LAUNCH((keep_kernel<THREADS, RESIDENT>), n_layers, THREADS,
			   sizeof(struct select_room), stream, t, chunk_score,
			   kept->pos, kept->n););
	return launch_result();
}

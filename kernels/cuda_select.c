/* SPDX-License-Identifier: Apache-2.0 */
/* cuda_select.c - launchers of select.cu, chunk_score.cu and chunk_keep.cu. */
#include "kernels/chunkkv.h"
#include "kernels/cuda_launch.h"
#include "kernels/cuda_task.h"

#include <errno.h>

/* For n_rows rows of n: which kind of the family that begins with *kernel, and its shape. */
static struct cuda_shape select_kind(uint32_t n_rows, uint32_t n, uint32_t *kernel)
{
	struct cuda_shape shape = { n_rows, SELECT_MANY, sizeof(struct select_room) };

	if (n <= SELECT_FEW * SELECT_ITEMS)
		shape.n_threads = SELECT_FEW;
	else
		*kernel += n <= SELECT_MANY * SELECT_ITEMS ? 1 : 2;
	return shape;
}

static int top_check(const struct ckv_cuda_top *top)
{
	if (top == NULL || top->n == 0 || top->n > CKV_KERNEL_MAX_TOKENS ||
	    top->n_scored > top->n || top->k > top->n ||
	    top->n_rows > INT32_MAX || top->always.n_ranges > CKV_ALWAYS_RANGES)
		return -EINVAL;
	if (top->n_scored > 0 && (top->score == NULL ||
				  top->row_stride < top->n_scored))
		return -EINVAL;
	return 0;
}

int ckv_cuda_select_top(const struct ckv_cuda_top *top, uint32_t *pos,
			uint32_t *n_nan, uint32_t *n_lost, void *stream)
{
	void *const args[] = { (void *)(uintptr_t)top, &pos, &n_nan, &n_lost };
	uint32_t kernel = KERNEL_select_2048;
	struct cuda_shape shape;

	if (top_check(top) < 0 || (pos == NULL && top->k > 0))
		return -EINVAL;
	if (top->n_rows == 0)
		return 0;	/* an empty grid is a launch error */
	shape = select_kind(top->n_rows, top->n, &kernel);
	return cuda_launch(kernel, shape, stream, args);
}

/* ------------------------------------------------------------------ chunks */

int ckv_cuda_chunk_scores(const struct ckv_chunkkv *m,
			  const struct ckv_shape *shape, uint32_t n_layers,
			  const float *in, const uint32_t *max,
			  float *chunk_score, void *stream)
{
	struct chunk_task t;
	void *const args[] = { &t, &in, &max, &chunk_score };
	struct cuda_shape grid;
	bool kvpress;

	if (m == NULL || shape == NULL || m->chunk == 0 || m->window == 0 ||
	    shape->n_kv_heads == 0 || shape->n_q_heads == 0 ||
	    shape->n_tokens <= m->window ||
	    shape->n_tokens > CKV_KERNEL_MAX_TOKENS || n_layers == 0 ||
	    in == NULL || chunk_score == NULL)
		return -EINVAL;
	kvpress = m->mode == CKV_CHUNKKV_KVPRESS;
	if (kvpress != (max != NULL))
		return -EINVAL;
	t.chunk = m->chunk < shape->n_tokens ? m->chunk : shape->n_tokens;
	t.n_chunks = ckv_chunkkv_n_chunks(m, shape->n_tokens);
	t.n_scored = shape->n_tokens - m->window;
	t.n_chunked = kvpress ? shape->n_tokens : t.n_scored;
	t.n_heads = kvpress ? shape->n_kv_heads : shape->n_q_heads;
	t.per_block = t.chunk < CHUNK_TILE ? CHUNK_TILE / t.chunk : 1;
	if (t.per_block > CHUNK_THREADS)
		t.per_block = CHUNK_THREADS;
	t.n_blocks = (uint32_t)cuda_pieces(t.n_chunks, t.per_block);
	t.mean = kvpress;
	if ((uint64_t)n_layers * t.n_blocks > INT32_MAX)
		return -EINVAL;
	grid = (struct cuda_shape){ n_layers * t.n_blocks, CHUNK_THREADS,
				    CHUNK_TILE * sizeof(float) };
	return cuda_launch(KERNEL_chunk_scores, grid, stream, args);
}

static struct keep_task task_of(const struct ckv_chunkkv *m, uint32_t n_tokens,
				uint32_t max_n)
{
	struct keep_task t;
	uint32_t n_scored = n_tokens - m->window;

	t.paper = m->mode == CKV_CHUNKKV_PAPER;
	t.max_n = max_n;
	t.n_chunked = t.paper ? n_scored : n_tokens;
	t.chunk = m->chunk < t.n_chunked ? m->chunk : t.n_chunked;
	t.n_chunks = (uint32_t)cuda_pieces(t.n_chunked, t.chunk);
	t.n_scored = (uint32_t)cuda_pieces(n_scored, t.chunk);
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
	uint64_t most;
	uint32_t n;

	if (chunkkv_check(m) < 0 || n_tokens == 0 ||
	    n_tokens > CKV_KERNEL_MAX_TOKENS)
		return 0;
	if (chunkkv_keeps_newest(m, n_tokens, &n))
		return n;
	if (m->mode == CKV_CHUNKKV_PAPER)
		return m->n_keep < n_tokens ? m->n_keep : n_tokens;
	t = task_of(m, n_tokens, 0);
	most = (uint64_t)t.keep * t.chunk;
	return most < n_tokens ? (uint32_t)most : n_tokens;
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
	uint32_t n = 0, max_n, *pos, *n_kept, kernel = KERNEL_keep_2048;
	struct cuda_shape shape = { n_layers, SELECT_FEW, 0 };
	struct keep_task t;
	void *const of_newest[] = { &n_tokens, &n, &max_n, &pos, &n_kept };
	void *const of_keep[] = { &t, &chunk_score, &pos, &n_kept };

	if (chunkkv_check(m) < 0 || n_tokens == 0 ||
	    n_tokens > CKV_KERNEL_MAX_TOKENS || n_layers == 0 || kept == NULL ||
	    kept->n_sets != 1 || kept->n == NULL ||
	    kept->max_n < ckv_cuda_chunkkv_max_n(m, n_tokens) ||
	    (kept->max_n > 0 && kept->pos == NULL))
		return -EINVAL;
	max_n = kept->max_n;
	pos = kept->pos;
	n_kept = kept->n;
	if (keeps_no_chunk(m, n_tokens, &n))
		return cuda_launch(KERNEL_newest, shape, stream, of_newest);
	if (chunk_score == NULL)
		return -EINVAL;
	t = task_of(m, n_tokens, max_n);
	shape = select_kind(n_layers, t.n_chunks, &kernel);
	return cuda_launch(kernel, shape, stream, of_keep);
}

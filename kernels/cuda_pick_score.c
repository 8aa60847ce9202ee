/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cuda_pick_score.c - the scores of each method for a run of layers; launchers of pick.cu,
 * pick_blocks.cu and keydiff_held.cu.
 *
 * Each function is the device's side of one choose() of the host: the same steps, on
 * arrays of all layers of the run.
 */
#include "kernels/cuda_launch.h"
#include "kernels/cuda_pick.h"
#include "kernels/select_any.h"

#include <errno.h>

/* One thread a token of each of n_rows rows, in tiles. */
static int launch_tiles(uint32_t kernel, uint64_t n_rows, uint32_t n_tiles, void *stream,
			void *const *args)
{
	if (n_rows * n_tiles > INT32_MAX)
		return -EINVAL;
	return cuda_launch(kernel, (struct cuda_shape){ (uint32_t)(n_rows * n_tiles),
							PICK_THREADS, 0 }, stream, args);
}

/* Where the run's rows of an array [n_layers][n_rows][n] begin. */
static float *run_at(const struct pick_run *run, float *all, size_t n_rows, size_t n)
{
	return all + run->from * n_rows * n;
}

/* ------------------------------------------------- what the window attends to */

static size_t lay_out_window(struct pick *p, void *work, size_t used)
{
	const struct pick_run all = { 0, p->n_layers, NULL };
	struct ckv_cuda_window w = pick_window(p, &all);
	size_t n = (size_t)p->n_layers * p->shape.n_q_heads *
		   (p->shape.n_tokens - p->window);

	p->chunks.score = cuda_carve(work, &used, n * sizeof(float));
	p->scratch = cuda_carve(work, &used, ckv_cuda_window_score_work_bytes(&w));
	return used;
}

/* The run's attention [run->n][Hq][T-w] to *ret. */
static int score_window(const struct pick *p, const struct pick_run *run, float **ret,
			void *stream)
{
	struct ckv_cuda_window w = pick_window(p, run);

	*ret = run_at(run, p->chunks.score, p->shape.n_q_heads,
		      p->shape.n_tokens - p->window);
	return ckv_cuda_window_score(&w, p->scratch, *ret, run->status, stream);
}

static int score_snapkv(const struct pick *p, const struct pick_run *run, void *stream)
{
	float *attention;
	int r = score_window(p, run, &attention, stream);

	if (r == 0)
		r = ckv_cuda_snapkv_score(&p->snapkv, &p->shape, run->n, attention, NULL,
					  run_at(run, p->score, p->kept.n_sets,
						 p->row_stride), stream);
	return r;
}

static int score_tova(const struct pick *p, const struct pick_run *run, void *stream)
{
	float *attention;
	int r = score_window(p, run, &attention, stream);

	if (r == 0)
		r = ckv_cuda_reduce(CKV_REDUCE_MEAN, attention, run->n,
				    p->shape.n_q_heads, p->n_scored,
				    run_at(run, p->score, 1, p->row_stride), stream);
	return r;
}

/* ------------------------------------------------------------------ chunks */

static size_t lay_out_chunks(struct pick *p, void *work, size_t used)
{
	const struct pick_run all = { 0, p->n_layers, NULL };
	struct ckv_cuda_window w = pick_window(p, &all);

	used = pick_chunks_lay_out(&p->chunkkv, &p->shape, p->n_layers, work, used,
				   &p->chunks);
	p->scratch = cuda_carve(work, &used, ckv_cuda_window_score_work_bytes(&w));
	return used;
}

/* Positions and counts at once; then, for the merge, each token has its chunk's score. */
static int score_chunks(const struct pick *p, const struct pick_run *run, void *stream)
{
	uint32_t n = p->n_scored, chunk = p->chunkkv.chunk;
	uint32_t n_chunks = ckv_chunkkv_n_chunks(&p->chunkkv, p->shape.n_tokens);
	uint32_t n_tiles = (uint32_t)cuda_pieces(n, PICK_THREADS);
	const float *chunk_score = p->chunks.chunk_score;
	float *attention, *out = p->score;
	void *const args[] = { &chunk_score, &n_chunks, &chunk, &n, &n_tiles, &out };
	int r = score_window(p, run, &attention, stream);

	if (r == 0)
		r = pick_chunks_keep(&p->chunkkv, &p->shape, run->n, &p->chunks, &p->kept,
				     stream);
	if (r == 0 && p->merges)
		r = launch_tiles(KERNEL_pick_spread, run->n, n_tiles, stream, args);
	return r;
}

/* --------------------------------------------------------------------- sums */

static int score_h2o(const struct pick *p, const struct pick_run *run, void *stream)
{
	struct sums_task t = {
		.sums = p->in->sums, .reduce = p->s->reduce,
		.n_heads = p->shape.n_kv_heads,
		.group = p->in->n_sum_heads / p->shape.n_kv_heads,
		.n_tokens = p->shape.n_tokens,
		.n_tiles = (uint32_t)cuda_pieces(p->shape.n_tokens, PICK_THREADS) };
	float *out = p->score;
	uint64_t *status = run->status;
	void *const args[] = { &t, &out, &status };

	return launch_tiles(KERNEL_pick_sums, (uint64_t)run->n * t.n_heads, t.n_tiles,
			    stream, args);
}

/* --------------------------------------------------------------------- keys */

static size_t lay_out_norms(struct pick *p, void *work, size_t used)
{
	size_t n = (size_t)p->n_layers * p->shape.n_kv_heads * p->shape.n_tokens;

	if (p->s->block > 0)
		p->norm = cuda_carve(work, &used, n * sizeof(float));
	return used;
}

/* The shares of l2norm's blocks, as the host computes them. */
static struct blocks_task blocks_of(const struct pick *p)
{
	uint32_t n_tokens = p->shape.n_tokens;
	uint32_t block = p->s->block < n_tokens ? p->s->block : n_tokens;
	uint32_t rest = n_tokens % block;
	struct blocks_task t = {
		.block = block, .n_tokens = n_tokens,
		.n_blocks = (uint32_t)cuda_pieces(n_tokens, block),
		.n_tiles = (uint32_t)cuda_pieces(n_tokens, PICK_THREADS),
		.whole = l2norm_block_share(p->s, 0, block, n_tokens) };

	if (p->s->keep_den == 0)
		t.all = budget_floor(p->s, n_tokens);
	else if (rest > 0)
		t.rest = l2norm_block_share(p->s, n_tokens - rest, n_tokens, n_tokens);
	return t;
}

/* Norms of tokens that their block does not keep become NaN. */
static int mask_blocks(const struct pick *p, const struct pick_run *run,
		       const float *norm, float *score, void *stream)
{
	struct blocks_task t = blocks_of(p);
	uint64_t n_rows = (uint64_t)run->n * p->shape.n_kv_heads;
	void *const args[] = { &t, &norm, &score };

	if (t.block <= PICK_PAIRS)
		return launch_tiles(KERNEL_pick_pairs, n_rows, t.n_tiles, stream, args);
	if (n_rows * t.n_blocks > INT32_MAX)
		return -EINVAL;
	return cuda_launch(KERNEL_pick_blocks,
			   (struct cuda_shape){ (uint32_t)n_rows * t.n_blocks, SELECT_FEW,
						sizeof(struct select_room) },
			   stream, args);
}

static int score_norms(const struct pick *p, const struct pick_run *run, void *stream)
{
	struct ckv_cuda_rows k = pick_rows(p, &p->in->k, run);
	float *score = run_at(run, p->score, p->shape.n_kv_heads, p->shape.n_tokens);
	float *norm = p->norm == NULL ? score
		: run_at(run, p->norm, p->shape.n_kv_heads, p->shape.n_tokens);
	int r = ckv_cuda_norms(&k, norm, run->status, stream);

	return r == 0 && p->norm != NULL ? mask_blocks(p, run, norm, score, stream) : r;
}

/* What KeyDiff in blocks holds at a time: what it keeps, and a block. */
static uint32_t held_room(const struct pick *p)
{
	uint32_t more = p->shape.n_tokens - p->n;

	return p->n + (p->s->block < more ? p->s->block : more);
}

static size_t lay_out_keydiff(struct pick *p, void *work, size_t used)
{
	const struct pick_run all = { 0, p->n_layers, NULL };
	struct ckv_cuda_rows k = pick_rows(p, &p->in->k, &all);
	size_t bytes = ckv_cuda_keydiff_work_bytes(&k);

	if (p->s->block > 0)
		bytes = (size_t)p->n_layers * p->shape.n_kv_heads * 4 * held_room(p) *
			sizeof(uint32_t);
	p->scratch = cuda_carve(work, &used, bytes);
	return used;
}

static int score_held(const struct pick *p, const struct ckv_cuda_rows *k,
		      uint64_t *status, void *stream)
{
	uint32_t n_rows = k->n_layers * k->rows.n_heads, unit = cuda_rows_unit(k);
	uint32_t elem_bytes = (uint32_t)ckv_elem_bytes(k->rows.elem);
	struct held_task t = {
		.k = *k, .row_bytes = cuda_row_bytes(k), .lanes = 1, .n = p->n,
		.block = p->s->block, .room = held_room(p), .token = p->scratch,
		.value = (float *)p->scratch + (size_t)n_rows * 2 * held_room(p) };
	struct keydiff_grid g;
	float *score = p->score;
	void *const args[] = { &t, &score, &status };

	t.n_access = unit == 16 ? t.row_bytes / 16 : t.row_bytes / elem_bytes;
	while (t.lanes < 32 && t.lanes < t.n_access)
		t.lanes *= 2;
	g = keydiff_grid_of(t.n_access);
	return cuda_launch(KERNEL_keydiff_held_f32x4 + cuda_numbers(k->rows.elem, unit == 16),
			   (struct cuda_shape){ n_rows, KEYDIFF_THREADS,
				held_shared_bytes(k->rows.dim, g.n_slots) },
			   stream, args);
}

static int score_keydiff(const struct pick *p, const struct pick_run *run, void *stream)
{
	struct ckv_cuda_rows k = pick_rows(p, &p->in->k, run);

	return p->s->block > 0 ? score_held(p, &k, run->status, stream)
		: ckv_cuda_keydiff(&k, p->scratch, p->score, run->status, stream);
}

/* ---------------------------------------------------------- positions alone */

static int score_streaming(const struct pick *p, const struct pick_run *run, void *stream)
{
	uint32_t n_sink = p->s->n_sink, n = p->shape.n_tokens;
	uint32_t n_tiles = (uint32_t)cuda_pieces(n, PICK_THREADS);
	float *out = p->score;
	void *const args[] = { &n_sink, &n, &n_tiles, &out };

	return launch_tiles(KERNEL_pick_streaming, run->n, n_tiles, stream, args);
}

static int score_random(const struct pick *p, const struct pick_run *run, void *stream)
{
	uint64_t seed = p->s->seed;
	uint32_t first = p->in->first_layer, n = p->shape.n_tokens;
	uint32_t n_tiles = (uint32_t)cuda_pieces(n, PICK_THREADS);
	float *out = p->score;
	void *const args[] = { &seed, &first, &n, &n_tiles, &out };

	return launch_tiles(KERNEL_pick_random, run->n, n_tiles, stream, args);
}

/* ------------------------------------------------------------------ the table */

static const struct pick_method
	chunks = { true, lay_out_chunks, score_chunks },
	snapkv = { false, lay_out_window, score_snapkv },
	norms = { false, lay_out_norms, score_norms },
	keydiff = { false, lay_out_keydiff, score_keydiff },
	tova = { true, lay_out_window, score_tova },
	h2o = { false, NULL, score_h2o },
	streaming = { true, NULL, score_streaming },
	drawn = { true, NULL, score_random };

/* PyramidKV is SnapKV with a budget for each layer. */
const struct pick_method *const pick_methods[CKV_N_SELECTORS] = {
	[CKV_CHUNKKV] = &chunks,
	[CKV_SNAPKV] = &snapkv,
	[CKV_PYRAMIDKV] = &snapkv,
	[CKV_L2NORM] = &norms,
	[CKV_KEYDIFF] = &keydiff,
	[CKV_TOVA] = &tova,
	[CKV_H2O] = &h2o,
	[CKV_STREAMINGLLM] = &streaming,
	[CKV_RANDOM] = &drawn,
};

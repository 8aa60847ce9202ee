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
__global__ void __launch_bounds__(WINDOW_WARPS * 32, 3)
window_kernel(const struct window_task t)
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

/* ------------------------------------------------------------------ launchers */

static int window_cuda_check(const struct ckv_cuda_window *in)
{
	const struct ckv_cuda_rows *k, *q;

	if (in == NULL)
		return -EINVAL;
	k = &in->k;
	q = &in->q;
	if (cuda_rows_check(k) < 0 || cuda_rows_check(q) < 0 ||
	    k->n_layers != q->n_layers || k->layer_step != q->layer_step)
		return -EINVAL;
	if (k->rows.dim != q->rows.dim || q->rows.n_heads % k->rows.n_heads != 0 ||
	    q->rows.n_heads / k->rows.n_heads * q->rows.n_tokens > CKV_KERNEL_MAX_ROWS ||
	    q->rows.n_tokens > CKV_KERNEL_MAX_WINDOW ||
	    k->rows.n_tokens <= q->rows.n_tokens)
		return -EINVAL;
	return 0;
}

/* Cut the work. 0, or -EINVAL: more units than a number holds. */
static int window_cut(const struct ckv_cuda_window *in, struct window_task *t)
{
	uint64_t n_units;

	t->in = *in;
	t->group = in->q.rows.n_heads / in->k.rows.n_heads;
	t->window = in->q.rows.n_tokens;
	t->n_scored = in->k.rows.n_tokens - t->window;
	t->head_rows = t->window < WINDOW_ROWS ? (t->window + 15) / 16 * 16 : WINDOW_ROWS;
	t->unit_heads = WINDOW_ROWS / t->head_rows;
	if (t->unit_heads > t->group)
		t->unit_heads = t->group;
	t->n_groups = ceil_div(t->group, t->unit_heads);
	t->n_chunks = ceil_div(t->window, WINDOW_ROWS);
	t->n_segments = ceil_div(in->k.rows.n_tokens, WINDOW_SEGMENT);
	t->k_bytes = cuda_row_bytes(&in->k);
	t->q_bytes = cuda_row_bytes(&in->q);
	t->scale = (float)(1.0 / sqrt((double)in->k.rows.dim)) * LOG2_E;
	n_units = (uint64_t)t->n_segments * t->n_groups * in->k.rows.n_heads *
		  in->k.n_layers;
	t->n_units = (uint32_t)n_units;
	return n_units <= INT32_MAX ? 0 : -EINVAL;
}

size_t ckv_cuda_window_score_work_bytes(const struct ckv_cuda_window *in)
{
	struct window_task t;

	if (window_cuda_check(in) < 0 || window_cut(in, &t) < 0 || in->lse != NULL)
		return 0;
	return (size_t)in->k.n_layers * in->q.rows.n_heads * t.n_segments * t.window *
	       sizeof(float2);
}

template <class M>
static void launch(const struct window_task &t, void *stream)
{
	uint32_t most = 3 * device_multiprocessors();
	uint32_t grid = t.n_units < most ? t.n_units : most;

	if (t.in.lse != NULL) {
		CKV_LAUNCH((window_kernel<M, PASS_LSE>), grid, WINDOW_WARPS * 32,
			   stage_bytes<M>(t, PASS_LSE), stream, t);
		return;
	}
	CKV_LAUNCH((window_kernel<M, PASS_SUMS>), grid, WINDOW_WARPS * 32,
		   stage_bytes<M>(t, PASS_SUMS), stream, t);
	CKV_LAUNCH((window_kernel<M, PASS_SCORES>), grid, WINDOW_WARPS * 32,
		   stage_bytes<M>(t, PASS_SCORES), stream, t);
}

template <bool BF16>
static void launch_mma(const struct window_task &t, void *stream)
{
	uint32_t dim = t.in.k.rows.dim;

	if (dim <= 64)
		launch<mma_math<BF16, 2, 4> >(t, stream);
	else if (dim <= 128)
		launch<mma_math<BF16, 4, 4> >(t, stream);
	else
		launch<mma_math<BF16, 8, 2> >(t, stream);
}

int ckv_cuda_window_score(const struct ckv_cuda_window *in, void *work, float *score,
			  uint64_t *status, void *stream)
{
	struct window_task t;
	enum ckv_elem elem;
	int r;

	r = window_cuda_check(in);
	if (r == 0)
		r = window_cut(in, &t);
	if (r < 0)
		return r;
	if (score == NULL || status == NULL ||
	    (in->lse == NULL && cuda_work_check(work) < 0))
		return -EINVAL;
	t.score = score;
	t.partial = (float2 *)work;
	t.status = status;
	elem = in->k.rows.elem;
	if (elem != in->q.rows.elem || elem == CKV_ELEM_F32 || in->k.rows.dim > 256 ||
	    cuda_rows_unit(&in->k) != 16 || cuda_rows_unit(&in->q) != 16)
		launch<plain_math>(t, stream);
	else if (elem == CKV_ELEM_BF16)
		launch_mma<true>(t, stream);
	else
		launch_mma<false>(t, stream);
	return launch_result();
}

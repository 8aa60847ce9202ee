/* SPDX-License-Identifier: Apache-2.0 */
/* cuda_window.c - launcher of window_score.cu; window_task.cuh says how work is cut. */
#include "kernels/cuda_launch.h"
#include "kernels/cuda_task.h"

#include <errno.h>
#include <math.h>

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
	t->n_groups = (uint32_t)cuda_pieces(t->group, t->unit_heads);
	t->n_chunks = (uint32_t)cuda_pieces(t->window, WINDOW_ROWS);
	t->n_segments = (uint32_t)cuda_pieces(in->k.rows.n_tokens, WINDOW_SEGMENT);
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
	       2 * sizeof(float);
}

/* Shared memory of a block: of each row the query and two floats, then the sums. */
static size_t stage_bytes(const struct window_task *t, uint32_t row_bytes, enum pass pass)
{
	size_t rows = (size_t)t->unit_heads * t->head_rows;

	return rows * (row_bytes + 2 * sizeof(float)) +
	       (pass == PASS_SUMS ? WINDOW_WARPS * rows / 16 * 32 * 4 * sizeof(float) : 0);
}

/* One pass; as many blocks as run at once, which share the units. */
static int launch_pass(struct window_task *t, uint32_t kernel, uint32_t row_bytes,
		       enum pass pass, void *stream)
{
	struct cuda_shape shape = { 0, WINDOW_THREADS, stage_bytes(t, row_bytes, pass) };
	void *const args[] = { t };
	uint32_t most = cuda_blocks_at_once(kernel + pass, shape.n_threads, shape.shared_bytes);

	shape.n_blocks = t->n_units < most ? t->n_units : most;
	return cuda_launch(kernel + pass, shape, stream, args);
}

/* The first kernel for these rows, and what a query takes in the stage. */
static uint32_t kernel_of(const struct ckv_cuda_window *in, uint32_t *ret_row_bytes)
{
	uint32_t dim = in->k.rows.dim, kernel = KERNEL_window_bf16_64_sums, bits = 0;
	enum ckv_elem elem = in->k.rows.elem;

	*ret_row_bytes = WINDOW_PLAIN_BYTES;
	if (elem != in->q.rows.elem || elem == CKV_ELEM_F32 || dim > 256 ||
	    cuda_rows_unit(&in->k) != 16 || cuda_rows_unit(&in->q) != 16)
		return KERNEL_window_plain_sums;
	if (elem == CKV_ELEM_F16)
		kernel = KERNEL_window_f16_64_sums;
	while (dim > 64u << bits)
		bits++;
	*ret_row_bytes = WINDOW_ROW_BYTES(64u << bits);
	return kernel + 3 * bits;
}

int ckv_cuda_window_score(const struct ckv_cuda_window *in, void *work, float *score,
			  uint64_t *status, void *stream)
{
	struct window_task t;
	uint32_t kernel, row_bytes;
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
	t.partial = work;
	t.status = status;
	kernel = kernel_of(in, &row_bytes);
	if (in->lse != NULL)
		return launch_pass(&t, kernel, row_bytes, PASS_LSE, stream);
	r = launch_pass(&t, kernel, row_bytes, PASS_SUMS, stream);
	if (r == 0)
		r = launch_pass(&t, kernel, row_bytes, PASS_SCORES, stream);
	return r;
}

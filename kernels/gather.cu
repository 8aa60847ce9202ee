/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gather.cu - survivors of K and V out of their pages, one launch for an object.
 *
 * The bytes of a (layer, head, side) are one run of vectors, as wide as every row and
 * stride allows. A block moves AT_ONCE * THREADS of them: first all positions are
 * asked for, then all page addresses, then all vectors, so each step waits once
 * for AT_ONCE independent loads. The grid grows with the rows. Moves twice the
 * survivors' bytes, and 4 bytes a position.
 */
#include "common.cuh"

enum { THREADS = 256, AT_ONCE = 8 };

struct gather_side {
	struct ckv_cuda_rows rows;
	struct ckv_cuda_out out;
	uint32_t row_bytes, row_units;
};

struct gather_task {
	struct gather_side side[2];
	struct ckv_cuda_kept kept;
	uint32_t n_sides, n_newest, n_tiles;
};

__device__ static void report_position(const struct gather_task &t,
				       const struct gather_side &s,
				       uint32_t layer, uint32_t head,
				       uint32_t token, uint64_t *status)
{
	enum ckv_input input = &s == &t.side[0] ? CKV_INPUT_KEY
						: CKV_INPUT_VALUE;

	fault_report(status, cuda_fault_word(
		CUDA_FAULT_POSITION, layer, input, head,
		min(token, CKV_KERNEL_MAX_TOKENS - 1), 0));
}

/*
 * Loads are never conditional, because a conditional one would wait for the one before
 * it. A thread past the end reads the last survivor again, and a position outside the
 * rows reads the last row.
 */
template <typename Unit>
__global__ void __launch_bounds__(THREADS)
gather_kernel(const __grid_constant__ struct gather_task t, uint64_t *status)
{
	uint32_t index = blockIdx.x / t.n_tiles;
	const struct gather_side &s = t.side[index % t.n_sides];
	uint32_t n_heads = s.rows.rows.n_heads;
	uint32_t head = index / t.n_sides % n_heads;
	uint32_t i = index / t.n_sides / n_heads, set = i / t.kept.reuse;
	uint32_t n = t.kept.n == nullptr ? t.kept.max_n
					 : min(t.kept.n[set], t.kept.max_n);
	uint32_t n_rows = min(n, t.n_newest), last = s.rows.rows.n_tokens - 1;
	uint32_t at = blockIdx.x % t.n_tiles * (THREADS * AT_ONCE) + threadIdx.x;
	uint32_t layer = i * s.rows.layer_step, token[AT_ONCE];
	const uint32_t *pos = t.kept.pos + n - n_rows + ((size_t)set *
		t.kept.n_sets + (t.kept.n_sets > 1 ? head : 0)) * t.kept.max_n;
	Unit *to = (Unit *)((char *)s.out.base + i * s.out.layer_stride_bytes +
			    head * s.out.head_stride_bytes);
	Unit x[AT_ONCE];

	if (at / s.row_units >= n_rows)
		return;
#pragma unroll
	for (uint32_t u = 0; u < AT_ONCE; u++)
		token[u] = __ldg(pos + min((at + u * THREADS) / s.row_units,
					   n_rows - 1));
#pragma unroll
	for (uint32_t u = 0; u < AT_ONCE; u++)
		x[u] = __ldg((const Unit *)row_at(s.rows, layer, head,
						  min(token[u], last),
						  s.row_bytes) +
			     (at + u * THREADS) % s.row_units);
#pragma unroll
	for (uint32_t u = 0; u < AT_ONCE; u++) {
		if ((at + u * THREADS) / s.row_units >= n_rows)
			break;
		if (token[u] <= last)
			to[at + u * THREADS] = x[u];
		else
			report_position(t, s, layer, head, token[u], status);
	}
}

static uint32_t side_of(const struct ckv_cuda_rows *rows,
			const struct ckv_cuda_out *out, uint32_t unit,
			struct gather_side *side)
{
	side->rows = *rows;
	side->out = *out;
	side->row_bytes = cuda_row_bytes(rows);
	unit = min(unit, cuda_rows_unit(rows));
	return cuda_out_unit(out, unit);
}

static int gather_check(const struct ckv_cuda_rows *rows,
			const struct ckv_cuda_kept *kept,
			const struct ckv_cuda_out *out)
{
	int r = cuda_rows_check(rows);

	if (r == 0)
		r = cuda_kept_check(kept, rows);
	if (r == 0 && (out == NULL || (out->base == NULL && kept->max_n > 0)))
		r = -EINVAL;
	if (r == 0 && cuda_out_unit(out, 16) < ckv_elem_bytes(rows->rows.elem))
		r = -EINVAL;
	return r;
}

static int gather_launch(struct gather_task *t, uint32_t unit, uint64_t *status,
			 void *stream)
{
	uint64_t n_blocks, units = 0;

	for (uint32_t s = 0; s < t->n_sides; s++) {
		t->side[s].row_units = t->side[s].row_bytes / unit;
		if (t->side[s].row_units > units)
			units = t->side[s].row_units;
	}
	units *= min(t->kept.max_n, t->n_newest);
	t->n_tiles = (uint32_t)ceil_div(units, (uint64_t)THREADS * AT_ONCE);
	n_blocks = (uint64_t)t->n_tiles * t->side[0].rows.n_layers *
		   t->side[0].rows.rows.n_heads * t->n_sides;
	if (n_blocks > INT32_MAX || units > UINT32_MAX - THREADS * AT_ONCE)
		return -EINVAL;
	if (n_blocks == 0)
		return 0;	/* an empty grid is a launch error */
	if (unit == 16)
		CKV_LAUNCH((gather_kernel<uint4>), (uint32_t)n_blocks, THREADS, 0,
			   stream, *t, status);
	else if (unit == 8)
		CKV_LAUNCH((gather_kernel<uint2>), (uint32_t)n_blocks, THREADS, 0,
			   stream, *t, status);
	else if (unit == 4)
		CKV_LAUNCH((gather_kernel<uint32_t>), (uint32_t)n_blocks, THREADS,
			   0, stream, *t, status);
	else
		CKV_LAUNCH((gather_kernel<uint16_t>), (uint32_t)n_blocks, THREADS,
			   0, stream, *t, status);
	return launch_result();
}

int ckv_cuda_gather(const struct ckv_cuda_rows *k, const struct ckv_cuda_rows *v,
		    const struct ckv_cuda_kept *kept, uint32_t n_newest,
		    const struct ckv_cuda_out *out_k,
		    const struct ckv_cuda_out *out_v, uint64_t *status,
		    void *stream)
{
	struct gather_task t;
	uint32_t unit = 16;
	int r;

	if (k == NULL || kept == NULL || status == NULL)
		return -EINVAL;
	r = gather_check(k, kept, out_k);
	if (r == 0 && v != NULL)
		r = gather_check(v, kept, out_v);
	if (r == 0 && v != NULL)
		r = cuda_rows_match(k, v);
	if (r < 0)
		return r;
	t.kept = *kept;
	t.n_newest = n_newest;
	t.n_sides = 1;
	unit = side_of(k, out_k, unit, &t.side[0]);
	t.side[1] = t.side[0];
	if (v != NULL) {
		t.n_sides = 2;
		unit = side_of(v, out_v, unit, &t.side[1]);
	}
	return gather_launch(&t, unit, status, stream);
}

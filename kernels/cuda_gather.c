/* SPDX-License-Identifier: Apache-2.0 */
/* cuda_gather.c - launcher of gather.cu. */
#include "kernels/cuda_launch.h"
#include "kernels/cuda_task.h"

#include <errno.h>

static uint32_t side_of(const struct ckv_cuda_rows *rows,
			const struct ckv_cuda_out *out, uint32_t unit,
			struct gather_side *side)
{
	uint32_t of_rows = cuda_rows_unit(rows);

	side->rows = *rows;
	side->out = *out;
	side->row_bytes = cuda_row_bytes(rows);
	return cuda_out_unit(out, of_rows < unit ? of_rows : unit);
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
	const uint32_t of_block = GATHER_THREADS * GATHER_AT_ONCE;
	void *const args[] = { t, &status };
	uint64_t n_blocks, units = 0;
	uint32_t kernel;

	for (uint32_t s = 0; s < t->n_sides; s++) {
		t->side[s].row_units = t->side[s].row_bytes / unit;
		if (t->side[s].row_units > units)
			units = t->side[s].row_units;
	}
	units *= t->kept.max_n < t->n_newest ? t->kept.max_n : t->n_newest;
	t->n_tiles = (uint32_t)cuda_pieces(units, of_block);
	n_blocks = (uint64_t)t->n_tiles * t->side[0].rows.n_layers *
		   t->side[0].rows.rows.n_heads * t->n_sides;
	if (n_blocks > INT32_MAX || units > UINT32_MAX - of_block)
		return -EINVAL;
	if (n_blocks == 0)
		return 0;	/* an empty grid is a launch error */
	kernel = unit == 16 ? KERNEL_gather_16 : unit == 8 ? KERNEL_gather_8
	       : unit == 4 ? KERNEL_gather_4 : KERNEL_gather_2;
	return cuda_launch(kernel,
			   (struct cuda_shape){ (uint32_t)n_blocks, GATHER_THREADS, 0 },
			   stream, args);
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

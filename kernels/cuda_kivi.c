/* SPDX-License-Identifier: Apache-2.0 */
/* cuda_kivi.c - launchers of kivi.cu: which of its three kernels suits the rows. */
#include "kernels/cuda_encode.h"

#include <errno.h>

/* Blocks of all areas; 0: more than a grid has. */
static uint32_t blocks_of(const struct encode_task *t, uint64_t tiles)
{
	uint64_t n = tiles * t->rows.n_layers * t->rows.rows.n_heads;

	return n <= INT32_MAX ? (uint32_t)n : 0;
}

static bool halves(const struct encode_task *t, uint32_t code_unit)
{
	return t->rows.rows.elem != CKV_ELEM_F32 && cuda_rows_unit(&t->rows) == 16 &&
	       cuda_out_unit(&t->out.code, 16) >= code_unit;
}

/* What to add to the first kernel of the 16-bit kinds. */
static uint32_t half_kind(const struct encode_task *t)
{
	return 3 * (cuda_elem(t->rows.rows.elem) - 1) + cuda_bits(t->e.bits);
}

static int launch_lone(const struct encode_task *t, bool keys, void *stream)
{
	uint64_t groups = keys
		? cuda_pieces(t->max_n, t->e.group) * t->rows.rows.dim
		: t->max_n * cuda_pieces(t->rows.rows.dim, t->e.group);
	uint32_t n_tiles = (uint32_t)cuda_pieces(groups, KIVI_LONE_THREADS);
	struct cuda_shape shape = { blocks_of(t, n_tiles), KIVI_LONE_THREADS, 0 };
	void *const args[] = { (void *)(uintptr_t)t, &n_tiles, &keys };

	if (shape.n_blocks == 0 || groups > UINT32_MAX - KIVI_LONE_THREADS)
		return -EINVAL;
	return cuda_launch(KERNEL_kivi_lone_f32_8 + 3 * cuda_elem(t->rows.rows.elem) +
			   cuda_bits(t->e.bits), shape, stream, args);
}

int cuda_encode_kivi_keys(const struct encode_task *t, void *stream)
{
	uint32_t run = t->e.bits == 2 ? 16 : 8, dim = t->rows.rows.dim;
	struct kivi_block b = { 0, dim * run / 64, t->e.group / run, 1 };
	uint32_t of_group = b.columns * b.runs;
	void *const args[] = { (void *)(uintptr_t)t, &b };
	struct cuda_shape shape;

	if (!halves(t, 16) || t->e.group % run != 0 || of_group > KIVI_KEYS_THREADS)
		return launch_lone(t, true, stream);
	if (of_group < 256)
		b.n_groups = 256 / of_group;
	b.n_tiles = (uint32_t)cuda_pieces(cuda_pieces(t->max_n, t->e.group), b.n_groups);
	shape.n_blocks = blocks_of(t, b.n_tiles);
	shape.n_threads = b.n_groups * of_group;
	/* Of each channel of a group 8 bytes of scale, and a word of extremes a run. */
	shape.shared_bytes = (size_t)b.n_groups * dim * (8 + b.runs * sizeof(uint32_t));
	if (shape.n_blocks == 0)
		return -EINVAL;
	return cuda_launch(KERNEL_kivi_keys_bf16_8 + half_kind(t), shape, stream, args);
}

int cuda_encode_kivi_values(const struct encode_task *t, void *stream)
{
	uint32_t dim = t->rows.rows.dim;
	uint32_t group_lanes = t->e.group / KIVI_VALUE_NUMBERS, row_lanes;
	struct kivi_walk w = { 0 };
	struct cuda_shape shape = { 0, KIVI_VALUES_THREADS, 0 };
	void *const args[] = { (void *)(uintptr_t)t, &w };
	uint64_t units;

	row_lanes = (uint32_t)cuda_pieces(dim, t->e.group) * group_lanes;
	units = (uint64_t)t->max_n * row_lanes;
	if (!halves(t, 2 * t->e.bits) || t->e.group % KIVI_VALUE_NUMBERS != 0 ||
	    dim % KIVI_VALUE_NUMBERS != 0 || group_lanes > 32 ||
	    (group_lanes & (group_lanes - 1)) != 0 || units > INT32_MAX)
		return launch_lone(t, false, stream);
	while (1u << w.group_bits < group_lanes)
		w.group_bits++;
	w.row_lanes = cuda_length_of(row_lanes);
	w.n_tiles = (uint32_t)cuda_pieces(units, KIVI_VALUES_THREADS * KIVI_VALUES_AT_ONCE);
	shape.n_blocks = blocks_of(t, w.n_tiles);
	if (shape.n_blocks == 0)
		return -EINVAL;
	return cuda_launch(KERNEL_kivi_values_bf16_8 + half_kind(t), shape, stream, args);
}

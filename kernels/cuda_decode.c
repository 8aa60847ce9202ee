/* SPDX-License-Identifier: Apache-2.0 */
/* cuda_decode.c - launchers of decode.cu. */
#include "kernels/cuda_launch.h"
#include "kernels/cuda_task.h"

#include <errno.h>

/* Blocks of all areas for `units` of which a block has some; 0: too many. */
static uint32_t decode_grid(struct decode_task *t, uint64_t units, uint32_t of_block)
{
	uint64_t n = cuda_pieces(units, of_block);

	t->n_tiles = (uint32_t)n;
	n *= (uint64_t)t->object.n_layers * t->object.n_heads;
	return n <= INT32_MAX && units <= INT32_MAX ? (uint32_t)n : 0;
}

static bool decode_aligned(const struct decode_task *t, uint32_t bytes)
{
	return cuda_out_unit(&t->in.code, bytes) == bytes &&
	       cuda_out_unit(&t->out, 16) == 16;
}

static int decode_launch(uint32_t kernel, struct decode_task *t, uint32_t n_blocks,
			 void *stream)
{
	struct cuda_shape shape = { n_blocks, DECODE_THREADS, 0 };
	void *const args[] = { t };

	return n_blocks == 0 ? -EINVAL : cuda_launch(kernel, shape, stream, args);
}

/* Each number for itself, from codes that are read code_bytes at a time where they can be. */
static int launch_pointwise(uint32_t kernel, struct decode_task *t, uint32_t code_bytes,
			    void *stream)
{
	bool wide = decode_aligned(t, code_bytes) && t->object.dim % 8 == 0;

	t->row_units = wide ? t->object.dim / 8 : t->object.dim;
	return decode_launch(kernel + !wide, t,
			     decode_grid(t, (uint64_t)t->object.n * t->row_units,
					 DECODE_THREADS * DECODE_AT_ONCE), stream);
}

/* Numbers of kind `from`. */
static int decode_kind(struct decode_task *t, enum ckv_elem from, enum ckv_elem out,
		       void *stream)
{
	uint32_t kernel = KERNEL_decode_f32_f32_x8;

	if (from == CKV_ELEM_BF16)
		kernel = KERNEL_decode_bf16_f32_x8 + 2 * cuda_elem(out);
	else if (from == CKV_ELEM_F16)
		kernel = KERNEL_decode_f16_f32_x8 + 2 * cuda_elem(out);
	return launch_pointwise(kernel, t, 16, stream);
}

/* Which of a family's two kinds for bf16 rows, or two for f16 ones. */
static uint32_t half_kind(enum ckv_elem elem, enum ckv_elem out)
{
	return 2 * (cuda_elem(elem) - 1) + (out != CKV_ELEM_F32);
}

static int decode_lone(struct decode_task *t, bool keys, enum ckv_elem out, void *stream)
{
	struct cuda_shape shape = {
		decode_grid(t, (uint64_t)t->object.n * t->object.dim, DECODE_THREADS),
		DECODE_THREADS, 0 };
	void *const args[] = { t, &keys };
	uint32_t kernel = KERNEL_decode_lone_f32_f32;

	if (t->object.elem != CKV_ELEM_F32)
		kernel = KERNEL_decode_lone_bf16_f32 + half_kind(t->object.elem, out);
	return shape.n_blocks == 0 ? -EINVAL : cuda_launch(kernel, shape, stream, args);
}

static int decode_kivi(struct decode_task *t, bool keys, enum ckv_elem out, void *stream)
{
	uint32_t dim = t->object.dim, kind;
	bool whole = keys ? dim % 8 == 0 && cuda_out_unit(&t->in.scale, 16) == 16
			  : dim % 16 == 0 && t->e.group % 16 == 0;

	if (t->object.elem == CKV_ELEM_F32 || !whole || !decode_aligned(t, 16))
		return decode_lone(t, keys, out, stream);
	kind = 3 * half_kind(t->object.elem, out) + cuda_bits(t->e.bits);
	t->row_units = dim / 8;
	if (keys)
		return decode_launch(KERNEL_decode_keys_bf16_f32_8 + kind, t,
				     decode_grid(t, cuda_pieces(t->object.n, 32u / t->e.bits) *
						 t->row_units, DECODE_THREADS), stream);
	if ((uint64_t)t->object.n * t->row_units > UINT32_MAX)
		return -EINVAL;
	t->n_rows = DECODE_THREADS / t->row_units;
	t->row_groups = (uint32_t)cuda_pieces(dim, t->e.group);
	return decode_launch(KERNEL_decode_values_bf16_f32_8 + kind, t,
			     decode_grid(t, t->object.n, t->n_rows * DECODE_VALUE_ROWS),
			     stream);
}

static int decode_check(const struct ckv_encode *e, enum ckv_side side,
			const struct ckv_cuda_object *o, const struct ckv_cuda_coded *in,
			enum ckv_elem out_elem, const struct ckv_cuda_out *out)
{
	if (ckv_encode_check(e) < 0 || o == NULL || in == NULL || out == NULL ||
	    (side != CKV_SIDE_KEY && side != CKV_SIDE_VALUE) || o->n_layers == 0 ||
	    o->n_layers > CKV_CUDA_MAX_LAYERS || o->n_heads == 0 ||
	    o->n_heads > CKV_KERNEL_MAX_HEADS || o->dim == 0 ||
	    o->dim > CKV_KERNEL_MAX_DIM || o->n > CKV_KERNEL_MAX_TOKENS ||
	    ckv_elem_bytes(o->elem) == 0 ||
	    (out_elem != CKV_ELEM_F32 && out_elem != o->elem))
		return -EINVAL;
	if (o->n > 0 && (in->code.base == NULL || cuda_out_unit(&in->code, 4) < 4 ||
			 out->base == NULL ||
			 cuda_out_unit(out, 4) < ckv_elem_bytes(out_elem)))
		return -EINVAL;
	if (ckv_scale_bytes(e, o->elem, side, o->n, o->dim) > 0 &&
	    (in->scale.base == NULL || cuda_out_unit(&in->scale, 4) < 4))
		return -EINVAL;
	return 0;
}

int ckv_cuda_decode(const struct ckv_encode *e, enum ckv_side side,
		    const struct ckv_cuda_object *object, const struct ckv_cuda_coded *in,
		    enum ckv_elem out_elem, const struct ckv_cuda_out *out, void *stream)
{
	struct decode_task t = { 0 };
	int r = decode_check(e, side, object, in, out_elem, out);

	if (r < 0 || object->n == 0)
		return r;
	t.object = *object;
	t.in = *in;
	t.out = *out;
	t.e = *e;
	switch (e->kind) {
	case CKV_ENCODE_PLAIN:
		return decode_kind(&t, object->elem, out_elem, stream);
	case CKV_ENCODE_BF16:
		return decode_kind(&t, CKV_ELEM_BF16, out_elem, stream);
	case CKV_ENCODE_F16:
		return decode_kind(&t, CKV_ELEM_F16, out_elem, stream);
	case CKV_ENCODE_FP8:
		return launch_pointwise(KERNEL_decode_fp8_f32_x8 + 2 * cuda_elem(out_elem), &t,
					8, stream);
	case CKV_ENCODE_KIVI:
		return decode_kivi(&t, side == CKV_SIDE_KEY, out_elem, stream);
	}
	return -EINVAL;
}

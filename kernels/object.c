/* SPDX-License-Identifier: Apache-2.0 */
/*
 * object.c - where everything lies in a view, and how many bytes it takes.
 *
 *   header, runs | layer 0 | layer 1 | ...       layer = sets of positions, kv heads
 *   kv head      = K codes, K scales, V codes, V scales, K full rows, V full rows
 *
 * Every region begins at a multiple of `align`. The heads of a layer keep equally
 * many rows, so that they differ by a stride only. Whoever writes a view, reads its
 * runs back or counts its bytes takes the places from here.
 */
#include "kernels/ckv_method.h"

static uint64_t round_up(uint64_t bytes, uint32_t align)
{
	return (bytes + align - 1) / align * align;
}

uint64_t ckv_object_begin(const struct ckv_object *o)
{
	return round_up(o->head_bytes + (uint64_t)o->n_layers * o->n_kv_heads *
					o->run_bytes, o->align);
}

void ckv_layer_lay_out(const struct ckv_object *o, const struct ckv_encode *e,
		       const struct ckv_layer_kept *kept, uint64_t at,
		       struct ckv_layer_layout *ret)
{
	uint32_t full = e->kind == CKV_ENCODE_PLAIN ? 0 : e->n_full;
	uint32_t n_full = full < kept->n ? full : kept->n;
	uint32_t n = kept->n - n_full;
	uint64_t row_k = o->dim_k * ckv_elem_bytes(o->elem);
	uint64_t row_v = o->dim_v * ckv_elem_bytes(o->elem);
	const uint64_t bytes[CKV_N_PARTS] = {
		ckv_code_bytes(e, o->elem, CKV_SIDE_KEY, n, o->dim_k),
		ckv_scale_bytes(e, o->elem, CKV_SIDE_KEY, n, o->dim_k),
		ckv_code_bytes(e, o->elem, CKV_SIDE_VALUE, n, o->dim_v),
		ckv_scale_bytes(e, o->elem, CKV_SIDE_VALUE, n, o->dim_v),
		n_full * row_k, n_full * row_v,
	};
	uint64_t in_head = 0;

	*ret = (struct ckv_layer_layout){
		.n_coded = n, .n_full = n_full, .positions = at,
		.set_stride = round_up((uint64_t)kept->n * sizeof(uint32_t),
				       o->align),
	};
	ret->heads = at + kept->n_sets * ret->set_stride;
	for (int p = 0; p < CKV_N_PARTS; p++) {
		ret->part[p].offset = in_head;
		ret->part[p].bytes = bytes[p];
		in_head += round_up(bytes[p], o->align);
	}
	ret->head_stride = in_head;
	ret->end = ret->heads + o->n_kv_heads * in_head;
}

void ckv_object_sizes(const struct ckv_object *o, const struct ckv_encode *e,
		      const struct ckv_layer_kept *layer,
		      struct ckv_sizes *ret_sizes)
{
	struct ckv_sizes s = {
		.heads = o->head_bytes + (uint64_t)o->n_layers * o->n_kv_heads *
					 o->run_bytes,
		.plain = (uint64_t)o->n_layers * o->n_kv_heads * o->n_tokens *
			 ((uint64_t)o->dim_k + o->dim_v) * ckv_elem_bytes(o->elem),
		.total = ckv_object_begin(o),
	};

	for (uint32_t l = 0; l < o->n_layers; l++) {
		struct ckv_layer_layout lay;

		ckv_layer_lay_out(o, e, &layer[l], s.total, &lay);
		s.positions += (uint64_t)layer[l].n_sets * layer[l].n *
			       sizeof(uint32_t);
		for (int p = 0; p < CKV_N_PARTS; p++) {
			uint64_t bytes = o->n_kv_heads * lay.part[p].bytes;

			if (p == CKV_PART_K_SCALE || p == CKV_PART_V_SCALE)
				s.scales += bytes;
			else
				s.codes += bytes;
		}
		s.total = lay.end;
	}
	s.padding = s.total - s.heads - s.positions - s.scales - s.codes;
	*ret_sizes = s;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * view.c - reading views.
 *
 * A view is pinned like a block. Its header and its table of runs lie in pages
 * that whoever may write to the space could change, so what is judged is a copy,
 * taken again each time a run is asked for or decoded; a wrong number leads to wrong
 * rows at worst, never outside the view.
 */
#include "client/lib.h"

#include "kernels/ckv_encode.h"
#include "proto/ckv_view.h"

#include <errno.h>
#include <stdlib.h>

enum { PIN_TRIES = 64 };

/* Pin the entry of a view and copy it. -ENOENT, -EAGAIN. */
static int view_pin(struct ckv_lane *lane, const struct ckv_key *key,
		    struct lib_pin *pin, struct ckv_block *ret_block)
{
	struct ckv_place place = ckv_index_place(&lane->index, key);
	uint32_t slot;
	int r = -ENOENT;

	for (int i = 0; i < PIN_TRIES; i++) {
		if (!ckv_index_find(&lane->index, &place, key, &slot,
				    ret_block) ||
		    (ret_block->flags & CKV_ENTRY_VIEW) == 0)
			return -ENOENT;
		r = lib_pin_take(lane, slot, ret_block->generation,
				 &pin->word[0]);
		if (r != -ESTALE)
			break;
		if (!lib_pin_settled(lane, slot))
			return -ENOENT;
	}
	if (r == 0)
		pin->serial = lane->maps->serial;
	return r == -ESTALE ? -ENOENT : r;
}

/* Are `bytes` bytes at `data` a view of this geometry? -EBADMSG, -ENOMEM. */
int lib_view_judge(const struct ckv_geometry *g, const void *data, uint64_t bytes,
		   struct ckv_view *ret_view)
{
	uint64_t table = ckv_view_table_bytes(g);
	struct ckv_view_head *copy;
	int ok;

	if (table > bytes)
		return -EBADMSG;
	copy = lib_sys_alloc(1, table);
	if (copy == NULL)
		return -ENOMEM;
	memcpy(copy, data, table);
	ok = ckv_view_ok(copy, bytes, g);
	if (ok)
		*ret_view = (struct ckv_view){
			.data = data, .bytes = bytes,
			.n_tokens = copy->n_tokens, .coding = copy->encoding,
			.bits = copy->bits, .group = copy->group,
			.scale = copy->scale, .block = copy->block,
			.n_full = copy->n_full, .pin = { .n_blocks = 1 },
		};
	lib_sys_free(copy);
	return ok ? 0 : -EBADMSG;
}

/* Where is the view? Its pages lie in one slab, one after the other. */
static int view_at(const struct ckv_lane *lane, const struct ckv_block *block,
		   struct ckv_view *ret_view)
{
	const struct ckv_pool_shape *pool = &lane->pool;

	if (block->host_page >= lane->n_pages_host || block->n_pages == 0 ||
	    block->n_pages > pool->slab_pages -
			     block->host_page % pool->slab_pages)
		return -EBADMSG;
	return lib_view_judge(&lane->maps->geometry, lane->read_base +
			      ckv_page_offset(pool, block->host_page),
			      block->n_pages * pool->page_bytes, ret_view);
}

int ckv_view_open(struct ckv_lane *lane, const uint8_t *key,
		  struct ckv_view *ret_view)
{
	LIB_INSIDE(lane);
	struct lib_pin pin = { .word = { CKV_NONE, CKV_NONE } };
	struct ckv_block block;
	struct ckv_view view;
	int r;

	if (lib_forked(lane->mine))
		return lib_plain(lane->ckv, -ECHILD);
	r = lib_lane_ready(lane);
	if (r < 0)
		return lib_plain(lane->ckv, r == -ESTALE ? -ENOENT : r);
	r = view_pin(lane, (const struct ckv_key *)key, &pin, &block);
	if (r < 0)
		return lib_plain(lane->ckv, r);
	r = view_at(lane, &block, &view);
	if (r < 0) {
		lib_pin_give(lane, pin.word[0]);
		return lib_plain(lane->ckv, r);
	}
	lane->n_pins_held++;
	memcpy(view.pin.private_, &pin, sizeof pin);
	*ret_view = view;
	return 0;
}

/* Copies of the head and of one run, judged together. */
static int run_at(const struct ckv_lane *lane, const struct ckv_view *view,
		  uint32_t layer, uint32_t kv_head, struct ckv_view_head *head,
		  struct ckv_view_run *run)
{
	const struct ckv_geometry *g = &lane->space->geometry;
	const char *data = view->data;

	if (lib_forked(lane->mine))
		return -ECHILD;
	if (layer >= g->n_layers || kv_head >= g->n_kv_heads)
		return -EINVAL;
	memcpy(head, data, sizeof *head);
	memcpy(run, data + CKV_VIEW_HEAD_BYTES +
		    ((uint64_t)layer * g->n_kv_heads + kv_head) * sizeof *run,
	       sizeof *run);
	return ckv_view_head_ok(head, view->bytes, g) &&
	       ckv_view_run_ok(head, run, view->bytes) ? 0 : -EBADMSG;
}

/* Whether the encoding is still the one that the caller was told. */
static int same_coding(const struct ckv_view *view, const struct ckv_view_head *h)
{
	return h->n_tokens == view->n_tokens && h->encoding == view->coding &&
	       h->bits == view->bits && h->group == view->group &&
	       h->scale == view->scale && h->block == view->block &&
	       h->n_full == view->n_full;
}

int ckv_view_run(const struct ckv_lane *lane, const struct ckv_view *view,
		 uint32_t layer, uint32_t kv_head, struct ckv_run *ret_run)
{
	LIB_INSIDE(lane);
	const char *data = view->data;
	struct ckv_view_head head;
	struct ckv_view_run run;
	int r = run_at(lane, view, layer, kv_head, &head, &run), plain;

	if (r == 0 && !same_coding(view, &head))
		r = -EBADMSG;
	if (r < 0)
		return lib_plain(lane->ckv, r);
	plain = head.encoding == CKV_ENCODING_PLAIN && run.n_full == 0;
	*ret_run = (struct ckv_run){
		.positions = (const void *)(data + run.positions),
		.k = plain ? data + run.code[CKV_VIEW_K] : NULL,
		.v = plain ? data + run.code[CKV_VIEW_V] : NULL,
		.n_kept = run.n_kept, .n_full = run.n_full,
		.k_code = data + run.code[CKV_VIEW_K],
		.k_scale = data + run.scale[CKV_VIEW_K],
		.k_full = data + run.full[CKV_VIEW_K],
		.v_code = data + run.code[CKV_VIEW_V],
		.v_scale = data + run.scale[CKV_VIEW_V],
		.v_full = data + run.full[CKV_VIEW_V],
	};
	return 0;
}

/* ---- decoding ---- */

/* How kernels name an element type; -1: not one that is decoded. */
static int elem_of(uint32_t type)
{
	return type == CKV_DTYPE_F32 ? CKV_ELEM_F32 :
	       type == CKV_DTYPE_F16 ? CKV_ELEM_F16 :
	       type == CKV_DTYPE_BF16 ? CKV_ELEM_BF16 : -1;
}

static int decode(const char *data, const struct ckv_view_head *head,
		  const struct ckv_view_run *run, int side, uint32_t first,
		  uint32_t n_rows, int out_elem, char *out)
{
	const struct ckv_encode e = {
		.kind = head->encoding, .bits = head->bits,
		.group = head->group, .scale = head->scale, .block = head->block,
	}, plain = { .kind = CKV_ENCODE_PLAIN };
	uint32_t dim = side == CKV_VIEW_V ? head->dim_v : head->dim_k;
	uint32_t n_coded = run->n_kept - run->n_full, n = 0;
	int elem = elem_of(head->dtype), r = 0;

	if (first < n_coded) {
		n = n_rows < n_coded - first ? n_rows : n_coded - first;
		r = ckv_decode_rows(&e, elem, side, data + run->code[side],
				    data + run->scale[side], first, n, n_coded,
				    dim, out_elem, out);
	}
	if (r < 0 || n == n_rows)
		return r;
	return ckv_decode_rows(&plain, elem, side, data + run->full[side], NULL,
			       first + n - n_coded, n_rows - n, run->n_full, dim,
			       out_elem,
			       out + (size_t)n * dim *
				     ckv_elem_bytes(out_elem));
}

int ckv_view_decode(const struct ckv_lane *lane, const struct ckv_view *view,
		    uint32_t layer, uint32_t kv_head, enum ckv_half half,
		    uint32_t first, uint32_t n_rows, enum ckv_type type,
		    void *out)
{
	LIB_INSIDE(lane);
	struct ckv_view_head head;
	struct ckv_view_run run;
	int r = run_at(lane, view, layer, kv_head, &head, &run);
	uint32_t dim;

	if (r < 0)
		return lib_plain(lane->ckv, r);
	if (elem_of(head.dtype) < 0 || elem_of(type) < 0 ||
	    (type != CKV_F32 && type != head.dtype) ||
	    (half != CKV_K && half != CKV_V) || first > run.n_kept ||
	    n_rows > run.n_kept - first)
		return lib_plain(lane->ckv, -EINVAL);
	dim = half == CKV_V ? head.dim_v : head.dim_k;
	if (n_rows == 0 || dim == 0)
		return 0;
	return decode(view->data, &head, &run, half == CKV_V ? CKV_VIEW_V :
		      CKV_VIEW_K, first, n_rows, elem_of(type), out);
}

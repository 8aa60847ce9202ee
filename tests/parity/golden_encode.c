/* SPDX-License-Identifier: Apache-2.0 */
/*
 * golden_encode.c - the cases of the methods that encode what is there.
 *
 * Codes, scales, mins and what they decode to must be the expected bytes. A case is
 * compared once, on rows of the type that its file has.
 */
#include "kernels/elem.h"
#include "tests/parity/golden.h"

#include <stdbool.h>
#include <string.h>

struct head {			/* rows of one head, and how they are encoded */
	struct ckv_encode e;
	enum ckv_elem elem;
	enum ckv_side side;
	const void *rows;
	uint32_t n, dim;
	float amax;
	void *code, *scale;	/* NULL until encode_head() */
	size_t code_bytes, scale_bytes;
};

static int elem_of(const struct st_tensor *t, enum ckv_elem *ret_elem)
{
	switch (t->dtype) {
	case ST_F32:
		*ret_elem = CKV_ELEM_F32;
		return 0;
	case ST_F16:
		*ret_elem = CKV_ELEM_F16;
		return 0;
	case ST_BF16:
		*ret_elem = CKV_ELEM_BF16;
		return 0;
	default:
		return -1;
	}
}

/* An input [Hkv,T,D] of one of the three types. */
static int input(struct golden *g, const char *name,
		 const struct st_tensor **ret_tensor, enum ckv_elem *ret_elem)
{
	const struct st_tensor *t = st_file_find(g->file, name);

	if (t == NULL || elem_of(t, ret_elem) < 0 || t->n_dims != 3 ||
	    t->n_elems == 0 || t->dim[0] > CKV_KERNEL_MAX_HEADS ||
	    t->dim[1] > CKV_KERNEL_MAX_TOKENS || t->dim[2] > CKV_KERNEL_MAX_DIM)
		return golden_fail(g, "%s is not [Hkv,T,D] of floats", name);
	*ret_tensor = t;
	return 0;
}

static int encode_head(struct golden *g, struct head *h)
{
	struct ckv_fault fault = { 0 };
	int r;

	h->code_bytes = ckv_code_bytes(&h->e, h->elem, h->side, h->n, h->dim);
	h->scale_bytes = ckv_scale_bytes(&h->e, h->elem, h->side, h->n, h->dim);
	h->code = golden_alloc(g, h->code_bytes);
	h->scale = golden_alloc(g, h->scale_bytes);
	r = ckv_encode_rows(&h->e, h->elem, h->side, h->rows, 0, h->n, h->n,
			    h->dim, h->amax, h->code, h->scale, &fault);
	if (r < 0)
		return golden_fail(g, "encode: %s at row %u, column %u",
				   strerror(-r), fault.token, fault.dim);
	return 0;
}

/* Part `i_part` of a tensor of equal parts is exactly these bytes. */
static int same_bytes(struct golden *g, const char *name, size_t i_part,
		      const void *got, size_t bytes)
{
	const struct st_tensor *want = golden_expected(g, name);
	const unsigned char *a = got, *b;

	if (want == NULL)
		return golden_fail(g, "no tensor c%u.%s", g->index, name);
	if (i_part * bytes > want->bytes || bytes > want->bytes - i_part * bytes)
		return golden_fail(g, "%s has %zu bytes, part %zu of %zu is "
				   "expected in it", want->name, want->bytes,
				   i_part, bytes);
	b = (const unsigned char *)want->data + i_part * bytes;
	for (size_t i = 0; i < bytes; i++)
		if (a[i] != b[i])
			return golden_fail(g, "%s: byte %zu is %#x, expected %#x",
					   want->name, i_part * bytes + i, a[i],
					   b[i]);
	return 0;
}

static int same_decoded(struct golden *g, const char *name, size_t i_head,
			const struct head *h)
{
	const struct st_tensor *want = golden_expected(g, name);
	enum ckv_elem out_elem;
	size_t bytes;
	void *out;
	int r;

	if (want == NULL || elem_of(want, &out_elem) < 0)
		return golden_fail(g, "no tensor c%u.%s of floats", g->index,
				   name);
	bytes = (size_t)h->n * h->dim * ckv_elem_bytes(out_elem);
	out = golden_alloc(g, bytes);
	r = ckv_decode_rows(&h->e, h->elem, h->side, h->code, h->scale, 0, h->n,
			    h->n, h->dim, out_elem, out);
	if (r < 0)
		return golden_fail(g, "decode: %s", strerror(-r));
	return same_bytes(g, name, i_head, out, bytes);
}

/* ------------------------------------------------------------------- fp8 */

/* Every number of the file's type, as one byte; of a NaN the sign does not matter. */
static int fp8_table(struct golden *g, const struct st_tensor *want)
{
	const char *type = golden_arg(g, "input_dtype");
	bool half = type != NULL && strcmp(type, "fp16") == 0;
	const uint8_t *byte = want->data;

	if (!half && (type == NULL || strcmp(type, "bf16") != 0))
		return golden_fail(g, "input_dtype is %s, expected bf16 or fp16",
				   type ? type : "missing");
	if (want->dtype != ST_U8 || want->n_elems != 1u << 16)
		return golden_fail(g, "%s is not U8 [65536]", want->name);
	for (uint32_t i = 0; i < want->n_elems; i++) {
		uint16_t bits = (uint16_t)i;
		uint8_t got = ckv_fp8_from_float(half ? elem_from_f16(bits) :
						 elem_from_bf16(bits));

		if (got != byte[i] &&
		    !((got & 0x7f) == 0x7f && (byte[i] & 0x7f) == 0x7f))
			return golden_fail(g, "%s %#06x is %#04x, expected %#04x",
					   type, i, got, byte[i]);
	}
	return 0;
}

static int fp8_granularity(struct golden *g, struct ckv_encode *e)
{
	const char *text = golden_arg(g, "granularity");

	e->kind = CKV_ENCODE_FP8;
	if (text != NULL && strcmp(text, "tensor") == 0)
		e->scale = CKV_FP8_TENSOR;
	else if (text != NULL && strcmp(text, "head") == 0)
		e->scale = CKV_FP8_HEAD;
	else if (text != NULL && strcmp(text, "head_block") == 0)
		e->scale = CKV_FP8_BLOCK;
	else
		return golden_fail(g, "granularity %s is unknown",
				   text == NULL ? "absent" : text);
	return golden_count(g, "block", &e->block);
}

static int fp8_scaled(struct golden *g)
{
	const struct st_tensor *k;
	struct head h = { .side = CKV_SIDE_KEY };
	size_t n_scaled;

	if (fp8_granularity(g, &h.e) < 0 ||
	    input(g, "keys", &k, &h.elem) < 0)
		return -1;
	h.n = (uint32_t)k->dim[1];
	h.dim = (uint32_t)k->dim[2];
	n_scaled = h.e.scale == CKV_FP8_TENSOR ? k->dim[0] * h.n : h.n;
	for (uint32_t i = 0; i < k->dim[0]; i++) {
		h.rows = (const char *)k->data + i * (k->bytes / k->dim[0]);
		if (ckv_amax(h.elem, h.e.scale == CKV_FP8_TENSOR ? k->data
								 : h.rows,
			     n_scaled, h.dim, &h.amax, NULL) < 0)
			return golden_fail(g, "amax of head %u", i);
		if (encode_head(g, &h) < 0 ||
		    same_bytes(g, "byte", i, h.code, h.code_bytes) < 0 ||
		    same_bytes(g, "scale", h.e.scale == CKV_FP8_TENSOR ? 0 : i,
			       h.scale, h.scale_bytes) < 0 ||
		    same_decoded(g, "dequant", i, &h) < 0)
			return -1;
	}
	return 0;
}

int golden_fp8(struct golden *g)
{
	const struct st_tensor *table = st_file_find(g->file, "saturating_byte");

	if (g->store != GOLDEN_AS_GIVEN)
		return 1;
	return table != NULL ? fp8_table(g, table) : fp8_scaled(g);
}

/* ------------------------------------------------------------------ kivi */

static int kivi_args(struct golden *g, struct ckv_encode *e)
{
	e->kind = CKV_ENCODE_KIVI;
	if (golden_count(g, "bits", &e->bits) < 0 ||
	    golden_count(g, "group_size", &e->group) < 0)
		return -1;
	if (ckv_encode_check(e) < 0)
		return golden_fail(g, "bits = %u, group_size = %u", e->bits,
				   e->group);
	return 0;
}

/* One side of head i: codes, scales, mins, and what comes back. */
static int kivi_head(struct golden *g, size_t i, struct head *h)
{
	static const char *const name[2][4] = {
		{ "k_code", "k_scale", "k_min", "k_dequant" },
		{ "v_code", "v_scale", "v_min", "v_dequant" },
	};
	const char *const *n = name[h->side == CKV_SIDE_VALUE];
	size_t half;

	if (encode_head(g, h) < 0)
		return -1;
	half = h->scale_bytes / 2;
	if (same_bytes(g, n[0], i, h->code, h->code_bytes) < 0 ||
	    same_bytes(g, n[1], i, h->scale, half) < 0 ||
	    same_bytes(g, n[2], i, (char *)h->scale + half, half) < 0)
		return -1;
	return same_decoded(g, n[3], i, h);
}

static int kivi_side(struct golden *g, const char *name, enum ckv_side side)
{
	const struct st_tensor *t;
	struct head h = { .side = side };

	if (kivi_args(g, &h.e) < 0 || input(g, name, &t, &h.elem) < 0)
		return -1;
	h.n = (uint32_t)t->dim[1];
	h.dim = (uint32_t)t->dim[2];
	for (size_t i = 0; i < t->dim[0]; i++) {
		h.rows = (const char *)t->data + i * (t->bytes / t->dim[0]);
		if (kivi_head(g, i, &h) < 0)
			return -1;
	}
	return 0;
}

int golden_kivi(struct golden *g)
{
	if (g->store != GOLDEN_AS_GIVEN)
		return 1;
	if (kivi_side(g, "keys", CKV_SIDE_KEY) < 0)
		return -1;
	return kivi_side(g, "values", CKV_SIDE_VALUE);
}

/* ------------------------------------------ qpruning: select, then encode */

static int rows_of(struct golden *g, const char *name, struct ckv_rows *ret)
{
	const struct st_tensor *t;
	const void **block;
	enum ckv_elem elem;

	if (input(g, name, &t, &elem) < 0)
		return -1;
	block = golden_alloc(g, sizeof *block);
	block[0] = t->data;
	*ret = (struct ckv_rows){
		.block = block,
		.head_stride_bytes = t->bytes / t->dim[0],
		.block_tokens = (uint32_t)t->dim[1],
		.n_heads = (uint32_t)t->dim[0],
		.n_tokens = (uint32_t)t->dim[1],
		.dim = (uint32_t)t->dim[2],
		.elem = elem,
	};
	return 0;
}

/* The survivors of every head of one side, encoded. */
static int encode_kept(struct golden *g, const char *name, enum ckv_side side,
		       const uint32_t *pos, const struct ckv_kept *kept)
{
	struct ckv_rows rows;
	struct head h = { .side = side };
	void *out;

	if (kivi_args(g, &h.e) < 0 || rows_of(g, name, &rows) < 0)
		return -1;
	h.elem = rows.elem;
	h.n = kept->n;
	h.dim = rows.dim;
	out = golden_alloc(g, (size_t)h.n * h.dim * ckv_elem_bytes(h.elem));
	h.rows = out;
	for (uint32_t i = 0; i < rows.n_heads; i++) {
		uint32_t set = kept->n_sets == 1 ? 0 : i;
		int r = ckv_gather(&rows, i, pos + (size_t)set * kept->n,
				   kept->n, out);

		if (r < 0)
			return golden_fail(g, "gather: %s", strerror(-r));
		if (kivi_head(g, i, &h) < 0)
			return -1;
	}
	return 0;
}

int golden_qpruning(struct golden *g)
{
	const struct st_tensor *want = golden_expected(g, "kept");
	struct ckv_snapkv m = { 0 };
	struct ckv_window in = { 0 };
	struct ckv_kept kept = { 0 };
	struct ckv_shape shape;
	uint32_t *pos;
	void *scratch;
	int r;

	if (g->store != GOLDEN_AS_GIVEN)
		return 1;
	if (golden_count(g, "window_size", &m.window) < 0 ||
	    golden_count(g, "kernel_size", &m.kernel) < 0 ||
	    golden_snapkv_official(g, &m) < 0 ||
	    rows_of(g, "keys", &in.k) < 0 || rows_of(g, "queries", &in.q) < 0)
		return -1;
	shape = (struct ckv_shape){ in.k.n_heads, in.q.n_heads,
				    in.k.n_tokens };
	scratch = golden_alloc(g, ckv_select_scratch_bytes(&in));
	pos = golden_alloc(g, ckv_snapkv_max_kept(&m, &shape) * sizeof *pos);
	r = ckv_snapkv_select(&m, &in, scratch, pos, &kept, NULL);
	if (r < 0)
		return golden_fail(g, "select: %s", strerror(-r));
	if (want == NULL || want->n_elems != (size_t)kept.n_sets * kept.n)
		return golden_fail(g, "kept %u sets of %u", kept.n_sets, kept.n);
	if (golden_same_positions(g, want, 0, pos, want->n_elems) < 0 ||
	    encode_kept(g, "keys", CKV_SIDE_KEY, pos, &kept) < 0)
		return -1;
	return encode_kept(g, "values", CKV_SIDE_VALUE, pos, &kept);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_simt_chunkkv.c - ChunkKV from keys to codes under the harness, against the CPU's.
 */
#include "object.h"
#include "tests/lib/check_main.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const struct {
	struct shape s;
	struct ckv_chunkkv m;
	struct ckv_encode e;
} cases[] = {
	{ { 3, 2, 2, 67, 64, 16, 9, CKV_ELEM_BF16 },
	  { CKV_CHUNKKV_KVPRESS, 10, 9, 5, 0, 2, 0.5 },
	  { .kind = CKV_ENCODE_KIVI, .bits = 4, .group = 32 } },
	{ { 2, 1, 1, 100, 80, 48, 8, CKV_ELEM_F16 },
	  { CKV_CHUNKKV_PAPER, 16, 8, 1, 41, 1, 0.0 },
	  { .kind = CKV_ENCODE_FP8, .scale = CKV_FP8_HEAD } },
	/* Shorter than a chunk: SnapKV's sets, one a head. */
	{ { 2, 3, 1, 15, 72, 16, 4, CKV_ELEM_F32 },
	  { CKV_CHUNKKV_KVPRESS, 20, 4, 3, 0, 1, 0.4 },
	  { .kind = CKV_ENCODE_PLAIN } },
	/* Not longer than the window: the newest, without scores. */
	{ { 2, 2, 1, 20, 64, 1, 20, CKV_ELEM_BF16 },
	  { CKV_CHUNKKV_KVPRESS, 5, 20, 1, 0, 1, 0.5 },
	  { .kind = CKV_ENCODE_PLAIN } },
	{ { 2, 2, 4, 129, 128, 16, 16, CKV_ELEM_BF16 },
	  { CKV_CHUNKKV_KVPRESS, 16, 16, 5, 0, 1, 0.75 },
	  { .kind = CKV_ENCODE_KIVI, .bits = 2, .group = 32, .n_full = 8 } },
	{ { 1, 1, 1, 33, 64, 16, 3, CKV_ELEM_F16 },
	  { CKV_CHUNKKV_PAPER, 8, 3, 1, 33, 1, 0.0 },
	  { .kind = CKV_ENCODE_KIVI, .bits = 8, .group = 32 } },
};

/* Everything that comes out, in one area of exact size. */
struct chunkkv {
	struct object o;
	struct ckv_cuda_chunkkv in;
	struct ckv_cuda_kept kept;
	struct ckv_cuda_coded out[2];
	struct ckv_cuda_out full[2];
	void *work, *area;
	size_t bytes;
	uint64_t status;
};

static int run_chunkkv(void *arg)
{
	struct chunkkv *c = arg;

	return ckv_cuda_chunkkv(&c->in, c->work, &c->kept, c->out, c->full,
				&c->status, NULL);
}

/* An area for each (layer, head) of `bytes`, at the end of what is used. */
static struct ckv_cuda_out place(struct chunkkv *c, size_t bytes)
{
	struct ckv_cuda_out out = { .base = c->area == NULL
		? NULL : (char *)c->area + c->bytes };

	bytes = (bytes + 15) / 16 * 16;
	out.head_stride_bytes = bytes;
	out.layer_stride_bytes = bytes * c->o.s.n_heads;
	c->bytes += out.layer_stride_bytes * c->o.s.n_layers;
	return bytes == 0 ? (struct ckv_cuda_out){ 0 } : out;
}

/* Twice: once to measure, once to place. */
static void lay_out(struct chunkkv *c)
{
	const struct shape *s = &c->o.s;
	const struct ckv_encode *e = &c->in.encode;
	uint32_t n = c->kept.max_n, n_kept = s->n_layers * c->kept.n_sets;

	c->bytes = (4 * (size_t)s->n_layers + 4 * (size_t)n_kept * n + 15) / 16 * 16;
	c->kept.n = c->area;
	c->kept.pos = c->kept.n == NULL ? NULL : c->kept.n + s->n_layers;
	for (int side = 0; side < 2; side++) {
		size_t code = ckv_code_bytes(e, s->elem, (enum ckv_side)side, n,
					     s->dim);
		size_t scale = ckv_scale_bytes(e, s->elem, (enum ckv_side)side, n,
					       s->dim);

		c->out[side].code = place(c, code);
		c->out[side].scale = place(c, scale);
		c->full[side] = place(c, e->n_full * s->dim *
					 ckv_elem_bytes(s->elem));
	}
}

static void chunkkv_make(int i, struct chunkkv *c)
{
	memset(c, 0, sizeof *c);
	object_make(&cases[i].s, (uint64_t)i + 40, &c->o);
	c->in = (struct ckv_cuda_chunkkv){ .method = cases[i].m,
		.encode = cases[i].e, .window = { .k = c->o.k, .q = c->o.q },
		.v = c->o.v };
	ck_assert_int_eq(ckv_cuda_chunkkv_shape(&c->in, &c->kept), 0);
	c->work = object_work(ckv_cuda_chunkkv_work_bytes(&c->in));
	lay_out(c);
	c->area = object_area(c->bytes);
	lay_out(c);
}

static void chunkkv_free(struct chunkkv *c)
{
	free(c->work);
	free(c->area);
	object_free(&c->o);
}

/* One side of one head: what the CPU makes of the same rows at the same positions. */
static void assert_codes(const struct chunkkv *c, int side, uint32_t layer,
			 uint32_t head, const uint32_t *pos, uint32_t n)
{
	const struct shape *s = &c->o.s;
	const struct ckv_encode *e = &c->in.encode;
	struct ckv_rows rows = object_layer(side ? &c->o.v : &c->o.k, layer);
	size_t row_bytes = s->dim * ckv_elem_bytes(s->elem);
	uint32_t n_full = e->n_full < n ? e->n_full : n, n_coded = n - n_full;
	size_t code_bytes = ckv_code_bytes(e, s->elem, (enum ckv_side)side, n_coded,
					   s->dim);
	size_t scale_bytes = ckv_scale_bytes(e, s->elem, (enum ckv_side)side,
					     n_coded, s->dim);
	size_t at = (size_t)layer * s->n_heads + head;
	char *row = object_area(n * row_bytes), *code = object_area(code_bytes);
	char *scale = object_area(scale_bytes);
	float amax = 0.0f;

	ck_assert_int_eq(ckv_gather(&rows, head, pos, n, row), 0);
	ck_assert_int_eq(ckv_amax(s->elem, row, n_coded, s->dim, &amax, NULL), 0);
	ck_assert_int_eq(ckv_encode_rows(e, s->elem, (enum ckv_side)side, row, 0,
					 n_coded, n_coded, s->dim, amax, code,
					 scale_bytes ? scale : NULL, NULL), 0);
	ck_assert_msg(memcmp((char *)c->out[side].code.base +
			     at * c->out[side].code.head_stride_bytes, code,
			     code_bytes) == 0, "%s: side %d, layer %u, head %u",
		      object_name(s), side, layer, head);
	ck_assert(scale_bytes == 0 ||
		  memcmp((char *)c->out[side].scale.base +
			 at * c->out[side].scale.head_stride_bytes, scale,
			 scale_bytes) == 0);
	ck_assert(n_full == 0 || memcmp((char *)c->full[side].base +
			at * c->full[side].head_stride_bytes,
			row + n_coded * row_bytes, n_full * row_bytes) == 0);
	free(row);
	free(code);
	free(scale);
}

/* Kept positions are the CPU's, and so are codes, scales and what stays plain. */
START_TEST(chunkkv_is_the_cpus)
{
	const struct shape *s = &cases[_i].s;
	struct chunkkv c;

	chunkkv_make(_i, &c);
	ck_assert_int_eq(object_run(run_chunkkv, &c, c.area, c.bytes), 0);
	ck_assert_uint_eq(c.status, CKV_CUDA_OK);
	for (uint32_t l = 0; l < s->n_layers; l++) {
		uint32_t source = ckv_chunkkv_source_layer(&c.in.method, l);
		uint32_t set = source / c.kept.reuse, max_n = c.kept.max_n;
		struct ckv_window in = { .k = object_layer(&c.o.k, source),
					 .q = object_layer(&c.o.q, source) };
		void *scratch = object_work(ckv_select_scratch_bytes(&in) +
					    64 * s->n_tokens * s->n_heads);
		uint32_t *pos = object_area(4 * s->n_tokens * s->n_heads);
		struct ckv_kept kept;

		ck_assert_int_eq(ckv_chunkkv_select(&c.in.method, &in, scratch, pos,
						    &kept, NULL), 0);
		ck_assert_uint_eq(kept.n_sets, c.kept.n_sets);
		ck_assert_uint_eq(kept.n, c.kept.n[set]);
		for (uint32_t h = 0; h < s->n_heads; h++) {
			uint32_t one = kept.n_sets > 1 ? h : 0;

			ck_assert_mem_eq(c.kept.pos + (size_t)max_n *
					 (set * kept.n_sets + one),
					 pos + one * kept.n, 4 * kept.n);
			assert_codes(&c, 0, l, h, pos + one * kept.n, kept.n);
			assert_codes(&c, 1, l, h, pos + one * kept.n, kept.n);
		}
		free(scratch);
		free(pos);
	}
	chunkkv_free(&c);
}
END_TEST

/* A NaN goes through to the end as a status with its place; nothing else breaks. */
START_TEST(broken_key_is_named_at_the_end)
{
	struct chunkkv c;
	struct ckv_fault fault;
	uint32_t layer;

	chunkkv_make(0, &c);
	object_put(&c.o.k, 2, 1, 30, 7, NAN);
	ck_assert_int_eq(object_run(run_chunkkv, &c, c.area, c.bytes), 0);
	ck_assert_int_eq(ckv_cuda_status(c.status, &layer, &fault), -EDOM);
	ck_assert_uint_eq(layer, 2);
	ck_assert_uint_eq(fault.input, CKV_INPUT_KEY);
	ck_assert_uint_eq(fault.head, 1);
	ck_assert_uint_eq(fault.token, 30);
	ck_assert_uint_eq(fault.dim, 7);
	chunkkv_free(&c);
}
END_TEST

/* All layers take a handful of launches, however many they are. */
START_TEST(layers_share_launches)
{
	struct chunkkv c;
	uint64_t before, n_launches;

	chunkkv_make(4, &c);
	before = simt_n_launches();
	ck_assert_int_eq(run_chunkkv(&c), 0);
	n_launches = simt_n_launches() - before;
	c.in.window.k.n_layers = c.in.window.q.n_layers = c.in.v.n_layers = 1;
	before = simt_n_launches();
	ck_assert_int_eq(run_chunkkv(&c), 0);
	ck_assert_uint_eq(simt_n_launches() - before, n_launches);
	ck_assert_uint_le(n_launches, 12);
	chunkkv_free(&c);
}
END_TEST

/* What does not fit together is refused before anything is launched. */
START_TEST(impossible_objects_are_refused)
{
	struct chunkkv c;
	uint64_t before;

	chunkkv_make(0, &c);
	before = simt_n_launches();
	c.kept.max_n--;
	ck_assert_int_eq(run_chunkkv(&c), -EINVAL);
	c.kept.max_n++;
	c.in.v.n_layers--;
	ck_assert_int_eq(run_chunkkv(&c), -EINVAL);
	c.in.v.n_layers++;
	c.in.window.q.rows.n_tokens--;
	ck_assert_int_eq(run_chunkkv(&c), -EINVAL);
	c.in.window.q.rows.n_tokens++;
	c.in.method.chunk = 0;
	ck_assert_int_eq(run_chunkkv(&c), -EINVAL);
	ck_assert_uint_eq(simt_n_launches(), before);
	chunkkv_free(&c);
}
END_TEST

CHECK_MAIN("simt chunkkv",
	CASE("chunkkv", .timeout = 200),
	EACH(chunkkv_is_the_cpus, cases),
	TEST(broken_key_is_named_at_the_end),
	TEST(layers_share_launches),
	TEST(impossible_objects_are_refused))

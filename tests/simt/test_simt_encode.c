/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_simt_encode.c - encodings under the harness: the bytes of ckv_encode_rows() and
 * of ckv_decode_rows().
 */
#include "object.h"
#include "tests/lib/check_main.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define GUARD		32u	/* bytes after an area that nobody writes */

static const struct ckv_encode encodings[] = {
	{ .kind = CKV_ENCODE_PLAIN, .n_full = 3 },
	{ .kind = CKV_ENCODE_BF16 },
	{ .kind = CKV_ENCODE_F16 },
	{ .kind = CKV_ENCODE_FP8, .scale = CKV_FP8_ONE },
	{ .kind = CKV_ENCODE_FP8, .scale = CKV_FP8_TENSOR },
	{ .kind = CKV_ENCODE_FP8, .scale = CKV_FP8_HEAD, .n_full = 2 },
	{ .kind = CKV_ENCODE_FP8, .scale = CKV_FP8_BLOCK, .block = 16 },
	{ .kind = CKV_ENCODE_FP8, .scale = CKV_FP8_BLOCK, .block = 7 },
	{ .kind = CKV_ENCODE_KIVI, .bits = 4, .group = 64 },
	{ .kind = CKV_ENCODE_KIVI, .bits = 4, .group = 16, .n_full = 5 },
	{ .kind = CKV_ENCODE_KIVI, .bits = 4, .group = 48 },
	{ .kind = CKV_ENCODE_KIVI, .bits = 2, .group = 32 },
	{ .kind = CKV_ENCODE_KIVI, .bits = 2, .group = 16 },
	{ .kind = CKV_ENCODE_KIVI, .bits = 8, .group = 32 },
	{ .kind = CKV_ENCODE_KIVI, .bits = 8, .group = 4 },
	{ .kind = CKV_ENCODE_KIVI, .bits = 4, .group = 1024 },
};

enum kept_kind { ALL_TOKENS, ONE_SET, SET_PER_HEAD, N_KEPT_KINDS };

struct fixture {
	struct object o;
	struct ckv_encode e;
	enum ckv_side side;
	const struct ckv_cuda_rows *rows;
	struct ckv_cuda_kept kept, *kept_or_all;
	struct ckv_cuda_coded out;
	size_t code_bytes, scale_bytes;	/* of everything */
	void *work;
	uint64_t status;
};

static size_t padded(size_t bytes, size_t align)
{
	return (bytes + GUARD + align - 1) / align * align;
}

/* Which of a layer's tokens survive: about 2 of 3, fewer in each later set. */
static void make_kept(struct fixture *f, enum kept_kind kind)
{
	uint32_t n_tokens = f->o.s.n_tokens, n_layers = f->o.s.n_layers;
	uint64_t seed = 5;
	struct ckv_cuda_kept k = { .n_sets = kind == SET_PER_HEAD ? f->o.s.n_heads : 1,
				   .reuse = kind == SET_PER_HEAD ? 1 : 2 };
	uint32_t n_sets = (n_layers + k.reuse - 1) / k.reuse;

	f->kept_or_all = kind == ALL_TOKENS ? NULL : &f->kept;
	k.max_n = n_tokens - n_tokens / 3;
	k.pos = object_area(n_sets * k.n_sets * k.max_n * sizeof *k.pos);
	k.n = object_area(n_sets * sizeof *k.n);
	for (uint32_t s = 0; s < n_sets; s++) {
		k.n[s] = k.max_n > s ? k.max_n - s : 0;
		for (uint32_t h = 0; h < k.n_sets; h++) {
			uint32_t *to = k.pos + (s * k.n_sets + h) * k.max_n, n = 0;

			for (uint32_t t = 0; t < n_tokens && n < k.max_n; t++)
				if (n_tokens - t <= k.max_n - n ||
				    object_random(&seed) % 3 > 0)
					to[n++] = t;
		}
	}
	f->kept = k;
}

/* Rows that make trouble: equal, zero of either sign, tiny, far apart. */
static void make_nasty(const struct ckv_cuda_rows *rows)
{
	const struct ckv_rows *r = &rows->rows;
	float tiny = r->elem == CKV_ELEM_F16 ? 0x1p-24f : 0x1p-126f;
	float huge = r->elem == CKV_ELEM_F16 ? 3e4f : 1e38f;

	for (uint32_t t = 0; t < r->n_tokens; t++)
		for (uint32_t d = 0; d < r->dim; d++) {
			if (d % 8 == 1)
				object_put(rows, 0, 0, t, d, 0.75f);
			if (d % 8 == 2)
				object_put(rows, 0, 0, t, d, t % 2 ? 0.0f : -0.0f);
			if (d % 8 == 3)
				object_put(rows, 0, 0, t, d, tiny * (float)(t % 5));
			if (d % 8 == 4 || t == 20)
				object_put(rows, 0, 0, t, d, (t + d) % 2 ? huge : -huge / 2);
			if (t % 16 > 12)
				object_put(rows, 0, r->n_heads - 1, t, d, 0.0f);
		}
}

static void fixture_make(const struct shape *s, const struct ckv_encode *e,
			 enum ckv_side side, enum kept_kind kind, size_t align,
			 struct fixture *f)
{
	size_t n_heads = s->n_heads, code, scale, work;

	*f = (struct fixture){ .e = *e, .side = side };
	object_make(s, 21, &f->o);
	f->rows = side == CKV_SIDE_KEY ? &f->o.k : &f->o.v;
	make_nasty(f->rows);
	make_kept(f, kind);
	code = padded(ckv_code_bytes(e, s->elem, side, s->n_tokens, s->dim), align);
	scale = padded(ckv_scale_bytes(e, s->elem, side, s->n_tokens, s->dim), align);
	f->code_bytes = s->n_layers * n_heads * code;
	f->scale_bytes = s->n_layers * n_heads * scale;
	f->out.code = (struct ckv_cuda_out){ object_area(f->code_bytes), n_heads * code,
					     code };
	f->out.scale = (struct ckv_cuda_out){ object_area(f->scale_bytes),
					      n_heads * scale, scale };
	work = ckv_cuda_encode_work_bytes(e, f->rows);
	f->work = aligned_alloc(CKV_CUDA_ALIGN, (work / CKV_CUDA_ALIGN + 1) * CKV_CUDA_ALIGN);
}

static void fixture_free(struct fixture *f)
{
	free(f->kept.pos);
	free(f->kept.n);
	free(f->out.code.base);
	free(f->out.scale.base);
	free(f->work);
	object_free(&f->o);
}

static int encode(void *arg)
{
	struct fixture *f = arg;

	ck_assert_int_eq(ckv_cuda_begin(&f->status, NULL), 0);
	memset(f->out.scale.base, 0x5a, f->scale_bytes);
	return ckv_cuda_encode(&f->e, f->side, f->rows, f->kept_or_all, f->work, &f->out,
			       &f->status, NULL);
}

/* Rows of an area, one after another, as the CPU's functions take them. */
static void *gathered(const struct fixture *f, uint32_t layer, uint32_t head, uint32_t *ret_n)
{
	const struct ckv_rows rows = object_layer(f->rows, layer);
	size_t row_bytes = rows.dim * ckv_elem_bytes(rows.elem);
	uint32_t set = layer / f->kept.reuse, n = rows.n_tokens;
	char *to = object_area(rows.n_tokens * row_bytes);

	if (f->kept_or_all == NULL) {
		for (uint32_t t = 0; t < n; t++)
			memcpy(to + t * row_bytes, ckv_rows_at(&rows, head, t), row_bytes);
	} else {
		uint32_t h = f->kept.n_sets > 1 ? head : 0;

		n = f->kept.n[set];
		ck_assert_int_eq(ckv_gather(&rows, head, f->kept.pos +
					    (set * f->kept.n_sets + h) * f->kept.max_n, n,
					    to), 0);
	}
	*ret_n = n - (n < f->e.n_full ? n : f->e.n_full);
	return to;
}

static float amax_of(const struct fixture *f, uint32_t layer, uint32_t head)
{
	float most = 0.0f, amax = 0.0f;

	for (uint32_t h = 0; h < f->o.s.n_heads; h++) {
		uint32_t n;
		void *rows;

		if (f->e.scale == CKV_FP8_HEAD && h != head)
			continue;
		rows = gathered(f, layer, h, &n);
		ck_assert_int_eq(ckv_amax(f->o.s.elem, rows, n, f->o.s.dim, &amax, NULL), 0);
		most = fmaxf(most, amax);
		free(rows);
	}
	return most;
}

static void *area_of(const struct ckv_cuda_out *out, uint32_t layer, uint32_t head)
{
	return (char *)out->base + layer * out->layer_stride_bytes +
	       head * out->head_stride_bytes;
}

/* One side's codes and scales of an area are the CPU's, and nothing else is written. */
static void check_area(const struct fixture *f, uint32_t layer, uint32_t head)
{
	const struct shape *s = &f->o.s;
	size_t code_stride = f->out.code.head_stride_bytes;
	size_t scale_stride = f->out.scale.head_stride_bytes;
	char *code = object_area(code_stride), *scale = object_area(scale_stride);
	uint32_t n;
	void *rows = gathered(f, layer, head, &n);

	ck_assert_int_eq(ckv_encode_rows(&f->e, s->elem, f->side, rows, 0, n, n, s->dim,
					 amax_of(f, layer, head), code, scale, NULL), 0);
	ck_assert_mem_eq(area_of(&f->out.code, layer, head), code, code_stride);
	ck_assert_mem_eq(area_of(&f->out.scale, layer, head), scale, scale_stride);
	free(rows);
	free(code);
	free(scale);
}

/* Decoding gives the CPU's bytes, as float and as the rows' own kind. */
static void check_decode(const struct fixture *f, enum ckv_elem out_elem, size_t align)
{
	const struct shape *s = &f->o.s;
	size_t row_bytes = s->dim * ckv_elem_bytes(out_elem);
	size_t area = padded(s->n_tokens * row_bytes, align);
	uint32_t n[8];
	struct ckv_cuda_object object = { s->n_layers, s->n_heads, s->dim, s->elem,
					  s->n_tokens, n };
	struct ckv_cuda_out out = { object_area(s->n_layers * s->n_heads * area),
				    s->n_heads * area, area };
	char *want = object_area(area);

	for (uint32_t l = 0; l < s->n_layers; l++)
		free(gathered(f, l, 0, &n[l]));
	ck_assert_int_eq(ckv_cuda_decode(&f->e, f->side, &object, &f->out, out_elem, &out,
					 NULL), 0);
	for (uint32_t i = 0; i < s->n_layers * s->n_heads; i++) {
		uint32_t l = i / s->n_heads, h = i % s->n_heads;

		memset(want, 0x5a, area);
		ck_assert_int_eq(ckv_decode_rows(&f->e, s->elem, f->side,
						 area_of(&f->out.code, l, h),
						 area_of(&f->out.scale, l, h), 0, n[l], n[l],
						 s->dim, out_elem, want), 0);
		ck_assert_mem_eq(area_of(&out, l, h), want, area);
	}
	free(want);
	free(out.base);
}

static void check(const struct shape *s, const struct ckv_encode *e, enum ckv_side side,
		  enum kept_kind kind, size_t align)
{
	struct fixture f;

	fixture_make(s, e, side, kind, align, &f);
	ck_assert_int_eq(object_run(encode, &f, f.out.code.base, f.code_bytes), 0);
	if (f.status == CKV_CUDA_OK) {
		for (uint32_t i = 0; i < s->n_layers * s->n_heads; i++)
			check_area(&f, i / s->n_heads, i % s->n_heads);
		check_decode(&f, s->elem, align);
		check_decode(&f, CKV_ELEM_F32, align);
	} else {
		/* bf16 at 1e38 overflows an f16: the CPU says the same of that area. */
		ck_assert_int_eq(ckv_cuda_status(f.status, NULL, NULL), -ERANGE);
		ck_assert_int_eq(e->kind, CKV_ENCODE_F16);
		ck_assert_int_ne(s->elem, CKV_ELEM_F16);
	}
	fixture_free(&f);
}

START_TEST(bytes_are_those_of_the_cpu)
{
	const struct shape *s = object_shape((uint32_t)_i);

	for (size_t i = 0; i < COUNT(encodings); i++)
		for (int side = 0; side < 2; side++)
			check(s, &encodings[i], (enum ckv_side)side,
			      (enum kept_kind)((i + (size_t)side + (size_t)_i) % N_KEPT_KINDS),
			      (i + (size_t)_i) % 4 == 0 ? 4 : 64);
}
END_TEST

/* Whole groups, several to a block, and positions of every kind. */
START_TEST(wide_rows_in_every_way)
{
	static const struct shape shapes[] = {
		{ 3, 2, 1, 150, 128, 16, 1, CKV_ELEM_BF16 },
		{ 1, 1, 1, 130, 64, 32, 1, CKV_ELEM_F16 },
	};

	for (size_t i = 0; i < COUNT(encodings); i++)
		for (int side = 0; side < 2; side++)
			for (int kind = 0; kind < N_KEPT_KINDS; kind++)
				check(&shapes[_i], &encodings[i], (enum ckv_side)side,
				      (enum kept_kind)kind, 16);
}
END_TEST

/* ------------------------------------------------------------------ faults */

static void expect_fault(struct fixture *f, int error, uint32_t layer,
			 struct ckv_fault want)
{
	struct ckv_fault got = { 0 };
	uint32_t got_layer = 99;

	for (uint64_t order = 0; order < 3; order++) {
		simt_schedule((enum simt_order)order, order);
		ck_assert_int_eq(encode(f), 0);
		ck_assert_int_eq(ckv_cuda_status(f->status, &got_layer, &got), error);
		ck_assert_uint_eq(got_layer, layer);
		ck_assert_int_eq(got.input, f->side == CKV_SIDE_KEY ? CKV_INPUT_KEY
								     : CKV_INPUT_VALUE);
		ck_assert_uint_eq(got.head, want.head);
		ck_assert_uint_eq(got.token, want.token);
		ck_assert_uint_eq(got.dim, want.dim);
	}
}

/* The first number that is not finite, and a position outside, are named. */
START_TEST(broken_numbers_and_positions_are_named)
{
	struct shape s = { 2, 2, 1, 70, 64, 16, 1, CKV_ELEM_BF16 };
	struct fixture f;

	s.dim = _i % 2 ? 64 : 36;	/* whole vectors, or not */
	for (size_t i = 1; i < COUNT(encodings); i++) {
		fixture_make(&s, &encodings[i], (enum ckv_side)(_i / 2), SET_PER_HEAD, 16,
			     &f);
		if (encodings[i].kind == CKV_ENCODE_F16)
			f.e.kind = CKV_ENCODE_BF16;
		f.kept.pos[3 * f.kept.max_n + 11] = 70;
		expect_fault(&f, -EINVAL, 1, (struct ckv_fault){ .head = 1, .token = 70 });
		f.kept.pos[0] = UINT32_MAX;
		expect_fault(&f, -EINVAL, 0,
			     (struct ckv_fault){ .token = CKV_KERNEL_MAX_TOKENS - 1 });
		object_put(f.rows, 1, 1, f.kept.pos[3 * f.kept.max_n + 10], 35, NAN);
		object_put(f.rows, 1, 1, f.kept.pos[3 * f.kept.max_n + 10], 34, -INFINITY);
		object_put(f.rows, 1, 1, f.kept.pos[3 * f.kept.max_n + 12], 1, INFINITY);
		expect_fault(&f, -EDOM, 1,
			     (struct ckv_fault){ .head = 1, .dim = 34, .token =
				f.kept.pos[3 * f.kept.max_n + 10] });
		fixture_free(&f);
	}
}
END_TEST

/* What a kind cannot hold is -ERANGE, with its place. */
START_TEST(what_does_not_fit_is_named)
{
	const struct shape s = { 1, 2, 1, 40, 64, 16, 1,
				 _i ? CKV_ELEM_BF16 : CKV_ELEM_F32 };
	const struct ckv_encode kivi = { .kind = CKV_ENCODE_KIVI, .bits = 4, .group = 16 };
	const struct ckv_encode half = { .kind = CKV_ENCODE_F16 };
	struct fixture f;

	for (int side = 0; side < 2; side++) {
		fixture_make(&s, &kivi, (enum ckv_side)side, ALL_TOKENS, 16, &f);
		object_put(f.rows, 0, 1, 17, 21, 3e38f);
		object_put(f.rows, 0, 1, side == 0 ? 18 : 17, side == 0 ? 21 : 22, -3e38f);
		expect_fault(&f, -ERANGE, 0,
			     (struct ckv_fault){ .head = 1, .token = side == 0 ? 16 : 17,
						 .dim = side == 0 ? 21 : 16 });
		fixture_free(&f);
	}
	fixture_make(&s, &half, CKV_SIDE_VALUE, ALL_TOKENS, 16, &f);
	expect_fault(&f, -ERANGE, 0, (struct ckv_fault){ .dim = 4 });
	fixture_free(&f);
}
END_TEST

START_TEST(impossible_arguments_are_refused)
{
	const struct shape s = { 1, 1, 1, 20, 64, 16, 1, CKV_ELEM_BF16 };
	struct fixture f;
	uint64_t before;

	fixture_make(&s, &encodings[8], CKV_SIDE_KEY, ONE_SET, 16, &f);
	before = simt_n_launches();
#define REFUSED(change) do {							\
		struct fixture g = f;						\
		uint64_t *status = &f.status;					\
		change;								\
		ck_assert_int_eq(ckv_cuda_encode(&g.e, g.side, g.rows, &g.kept, g.work,	\
						 &g.out, status, NULL), -EINVAL);	\
	} while (0)
	REFUSED(g.e.bits = 3);
	REFUSED(g.side = (enum ckv_side)7);
	REFUSED(g.rows = NULL);
	REFUSED(g.out.code.base = NULL);
	REFUSED(g.out.scale.base = NULL);
	REFUSED(g.out.scale.base = (char *)g.out.scale.base + 2);
	REFUSED(g.kept.n_sets = 2);
	REFUSED(g.kept.max_n = 21);
	REFUSED(status = NULL);
	REFUSED((g.e = encodings[4], g.work = NULL));
	ck_assert_uint_eq(simt_n_launches(), before);
	fixture_free(&f);
}
END_TEST

CHECK_MAIN("simt encode",
	CASE("encode", .timeout = 200),
	LOOP(bytes_are_those_of_the_cpu, object_shapes()),
	LOOP(wide_rows_in_every_way, 2),
	LOOP(broken_numbers_and_positions_are_named, 4),
	LOOP(what_does_not_fit_is_named, 2),
	TEST(impossible_arguments_are_refused))

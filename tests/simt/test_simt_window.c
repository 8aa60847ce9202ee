/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_simt_window.c - window scoring under the harness, against its definition.
 */
#include "object.h"
#include "tests/lib/check_main.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct run {
	struct ckv_cuda_window in;
	void *work;
	float *score;
	size_t n_scores;
	uint64_t status;
};

static int launch(void *arg)
{
	struct run *r = arg;

	ck_assert_int_eq(ckv_cuda_begin(&r->status, NULL), 0);
	return ckv_cuda_window_score(&r->in, r->work, r->score, &r->status, NULL);
}

/* A work area begins at a multiple of 256 and ends where it should. */
static void *make_work(size_t bytes)
{
	void *work = aligned_alloc(CKV_CUDA_ALIGN,
				   (bytes + CKV_CUDA_ALIGN) / CKV_CUDA_ALIGN * CKV_CUDA_ALIGN);

	if (work == NULL)
		abort();
	memset(work, 0x5a, bytes);
	return work;
}

static void run_make(const struct ckv_cuda_window *in, struct run *r)
{
	*r = (struct run){ .in = *in };
	r->n_scores = (size_t)in->q.n_layers * in->q.rows.n_heads *
		      (in->k.rows.n_tokens - in->q.rows.n_tokens);
	r->work = make_work(ckv_cuda_window_score_work_bytes(in));
	r->score = object_area(r->n_scores * sizeof(float));
}

static void run_free(struct run *r)
{
	free(r->work);
	free(r->score);
}

static struct ckv_window layer_of(const struct ckv_cuda_window *in, uint32_t i)
{
	size_t rows = in->q.rows.n_heads * in->q.rows.n_tokens;
	uint32_t layer = i * in->k.layer_step;

	return (struct ckv_window){
		.k = object_layer(&in->k, layer), .q = object_layer(&in->q, layer),
		.lse = in->lse == NULL ? NULL : in->lse + layer * rows };
}

static double product(const struct ckv_cuda_window *in, uint32_t layer, uint32_t head,
		      uint32_t query, uint32_t token, double *ret_size)
{
	uint32_t kv = head / (in->q.rows.n_heads / in->k.rows.n_heads);
	double sum = 0.0, size = 0.0;

	for (uint32_t d = 0; d < in->k.rows.dim; d++) {
		double x = (double)object_get(&in->q, layer, head, query, d) *
			   (double)object_get(&in->k, layer, kv, token, d);

		sum += x;
		size += fabs(x);
	}
	*ret_size = fmax(*ret_size, size / sqrt(in->k.rows.dim));
	return sum / sqrt(in->k.rows.dim);
}

/* Every row's log-sum-exp into lse, if there; returns the largest sum |q||k|. */
static double study(const struct ckv_cuda_window *in, float *lse)
{
	uint32_t w = in->q.rows.n_tokens, n = in->k.rows.n_tokens - w;
	uint32_t n_layers = (in->q.n_layers - 1) * in->q.layer_step + 1;
	double size = 0.0;

	for (uint32_t l = 0; l < n_layers; l++)
		for (uint32_t h = 0; h < in->q.rows.n_heads; h++)
			for (uint32_t i = 0; i < w; i++) {
				double sum = 0.0;

				for (uint32_t j = 0; j <= n + i; j++)
					sum += exp(product(in, l, h, i, j, &size));
				if (lse != NULL)
					lse[(l * in->q.rows.n_heads + h) * w + i] =
						(float)log(sum);
			}
	return size;
}

static void check_scores(const struct run *r, double size, const char *name)
{
	const struct ckv_cuda_window *in = &r->in;
	size_t per_layer = r->n_scores / in->q.n_layers;
	double *want = object_area(per_layer * sizeof *want);
	double bound = 0x1p-23 * (in->k.rows.dim + 4) * size + 4e-6;

	for (uint32_t l = 0; l < in->q.n_layers; l++) {
		const struct ckv_window one = layer_of(in, l);
		const float *got = r->score + l * per_layer;

		ck_assert_int_eq(ckv_window_score_ref(&one, 0, one.k.n_heads, want, NULL), 0);
		for (size_t i = 0; i < per_layer; i++)
			ck_assert_msg(fabs((double)got[i] - want[i]) <=
				      want[i] * bound + 1e-30,
				      "%s: layer %u: score %zu is %.9g, not %.9g", name, l,
				      i, (double)got[i], want[i]);
	}
	free(want);
}

/* Scores are within the bound, with the engine's log-sum-exp and without. */
static void check_shape(const struct shape *s, float stretch)
{
	struct ckv_cuda_window in = { 0 };
	struct object o;
	struct run r;
	double size;
	float *lse;

	object_make(s, 3, &o);
	in.k = o.k;
	in.q = o.q;
	for (uint32_t l = 0; l < s->n_layers; l++)	/* some rows are sharp */
		for (uint32_t d = 0; d < s->dim; d++)
			object_put(&in.q, l, 0, 0, d,
				   stretch * object_get(&in.q, l, 0, 0, d));
	lse = object_area(s->n_layers * s->n_heads * s->group * s->window * sizeof *lse);
	size = study(&in, lse);
	for (int with_lse = 0; with_lse < 2; with_lse++) {
		in.lse = with_lse ? lse : NULL;
		run_make(&in, &r);
		ck_assert_int_eq(object_run(launch, &r, r.score,
					    r.n_scores * sizeof *r.score), 0);
		ck_assert_uint_eq(r.status, CKV_CUDA_OK);
		check_scores(&r, size, object_name(s));
		run_free(&r);
	}
	free(lse);
	object_free(&o);
}

START_TEST(scores_are_within_their_bound)
{
	const struct shape *s = object_shape((uint32_t)_i);

	if (s->n_tokens > s->window)
		check_shape(s, 40.0f);
}
END_TEST

/* layers, heads, group, tokens, dim, block, window, elem */
static const struct shape nasty[] = {
	{ 1, 1, 1, 530, 64, 16, 1, CKV_ELEM_BF16 },	/* two segments */
	{ 1, 1, 3, 200, 8, 32, 130, CKV_ELEM_F16 },	/* more rows than a stage */
	{ 1, 1, 12, 70, 16, 16, 17, CKV_ELEM_BF16 },	/* more heads than a stage */
	{ 1, 2, 2, 100, 264, 16, 3, CKV_ELEM_BF16 },	/* longer than registers */
	{ 1, 1, 1, 65, 200, 64, 32, CKV_ELEM_F16 },
	{ 2, 1, 1, 40, 128, 8, 39, CKV_ELEM_BF16 },	/* one scored token */
};

START_TEST(nasty_shapes_are_within_their_bound)
{
	check_shape(&nasty[_i], 400.0f);
}
END_TEST

/* However many blocks share the work, the bits are the same. */
START_TEST(every_grid_gives_the_same_bits)
{
	const struct shape s = { 2, 2, 2, 1100, 32, 16, 5, CKV_ELEM_BF16 };
	struct object o;
	struct run r;
	float *first;

	object_make(&s, 11, &o);
	run_make(&(struct ckv_cuda_window){ .k = o.k, .q = o.q }, &r);
	first = object_area(r.n_scores * sizeof *first);
	for (uint32_t n = 1; n < 6; n += 2) {
		simt_multiprocessors = n;
		memset(r.score, 0xff, r.n_scores * sizeof *first);
		ck_assert_int_eq(launch(&r), 0);
		if (n == 1)
			memcpy(first, r.score, r.n_scores * sizeof *first);
		ck_assert_mem_eq(first, r.score, r.n_scores * sizeof *first);
	}
	check_scores(&r, study(&r.in, NULL), object_name(&s));
	free(first);
	run_free(&r);
	object_free(&o);
}
END_TEST

/* With layer_step 2 only every second layer is read, scored and reported. */
START_TEST(only_every_second_layer_is_scored)
{
	const struct shape s = { 4, 1, 2, 50, 64, 16, 4, CKV_ELEM_BF16 };
	struct ckv_cuda_window in = { 0 };
	float lse[4 * 2 * 4];
	struct object o;
	struct run r;

	object_make(&s, 5, &o);
	in.k = o.k;
	in.q = o.q;
	study(&in, lse);
	object_put(&o.k, 1, 0, 7, 7, NAN);
	object_put(&o.q, 3, 1, 2, 7, NAN);
	in.k.n_layers = in.q.n_layers = 2;
	in.k.layer_step = in.q.layer_step = 2;
	for (int with_lse = 0; with_lse < 2; with_lse++) {
		struct ckv_fault fault;
		uint32_t layer;

		in.lse = with_lse ? lse : NULL;
		run_make(&in, &r);
		ck_assert_int_eq(launch(&r), 0);
		ck_assert_uint_eq(r.status, CKV_CUDA_OK);
		check_scores(&r, 10.0, object_name(&s));
		object_put(&o.k, 2, 0, 49, 63, NAN);
		ck_assert_int_eq(launch(&r), 0);
		ck_assert_int_eq(ckv_cuda_status(r.status, &layer, &fault), -EDOM);
		ck_assert_uint_eq(layer, 2);
		ck_assert_uint_eq(fault.token, 49);
		object_put(&o.k, 2, 0, 49, 63, 0.5f);
		run_free(&r);
	}
	object_free(&o);
}
END_TEST

/* Keys and queries of different kinds are multiplied all the same. */
START_TEST(kinds_may_differ)
{
	struct shape s = { 1, 2, 2, 40, 24, 16, 3, CKV_ELEM_BF16 };
	struct ckv_cuda_window in = { 0 };
	struct object k, q;
	struct run r;

	object_make(&s, 1, &k);
	s.elem = CKV_ELEM_F32;
	object_make(&s, 2, &q);
	in.k = k.k;
	in.q = q.q;
	run_make(&in, &r);
	ck_assert_int_eq(launch(&r), 0);
	ck_assert_uint_eq(r.status, CKV_CUDA_OK);
	check_scores(&r, study(&in, NULL), "bf16 keys, f32 queries");
	run_free(&r);
	object_free(&k);
	object_free(&q);
}
END_TEST

/* ------------------------------------------------------------------ faults */

static const enum ckv_elem kinds[] = { CKV_ELEM_F32, CKV_ELEM_F16, CKV_ELEM_BF16 };

struct broken {
	struct object o;
	struct run r;
	float lse[2 * 4 * 5];
};

static void broken_make(enum ckv_elem elem, struct broken *b)
{
	const struct shape s = { 2, 2, 2, 90, 72, 16, 5, elem };
	struct ckv_cuda_window in = { 0 };

	object_make(&s, 9, &b->o);
	in.k = b->o.k;
	in.q = b->o.q;
	study(&in, b->lse);
	run_make(&in, &b->r);
}

static void broken_free(struct broken *b)
{
	run_free(&b->r);
	object_free(&b->o);
}

/* What is reported is `error` of this number, in every order, with lse and without. */
static void expect_fault(struct broken *b, int with_lse, int error, uint32_t layer,
			 struct ckv_fault want)
{
	struct ckv_fault got = { 0 };
	uint32_t got_layer = 99;

	b->r.in.lse = with_lse ? b->lse : NULL;
	for (uint64_t order = 0; order < 3; order++) {
		simt_schedule((enum simt_order)order, order);
		ck_assert_int_eq(launch(&b->r), 0);
		ck_assert_int_eq(ckv_cuda_status(b->r.status, &got_layer, &got), error);
		ck_assert_uint_eq(got_layer, layer);
		ck_assert_int_eq(got.input, want.input);
		ck_assert_uint_eq(got.head, want.head);
		ck_assert_uint_eq(got.token, want.token);
		ck_assert_uint_eq(got.dim, want.dim);
	}
}

/* A key that is not finite is named, also in the window, the first before others. */
START_TEST(a_broken_key_is_named)
{
	struct broken b;

	for (int with_lse = 0; with_lse < 2; with_lse++) {
		broken_make(kinds[_i], &b);
		object_put(&b.o.k, 1, 1, 89, 71, INFINITY);
		expect_fault(&b, with_lse, -EDOM, 1,
			     (struct ckv_fault){ CKV_INPUT_KEY, 1, 89, 71 });
		object_put(&b.o.k, 1, 0, 64, 3, NAN);
		object_put(&b.o.k, 1, 0, 64, 2, -INFINITY);
		expect_fault(&b, with_lse, -EDOM, 1,
			     (struct ckv_fault){ CKV_INPUT_KEY, 0, 64, 2 });
		object_put(&b.o.q, 0, 3, 4, 70, NAN);
		expect_fault(&b, with_lse, -EDOM, 0,
			     (struct ckv_fault){ CKV_INPUT_QUERY, 3, 4, 70 });
		broken_free(&b);
	}
}
END_TEST

/* Numbers whose product could overflow are refused, as the CPU refuses them. */
START_TEST(what_could_overflow_is_refused)
{
	struct broken b;

	for (int with_lse = 0; with_lse < 2; with_lse++) {
		struct ckv_window one;
		void *scratch;

		broken_make(_i ? CKV_ELEM_BF16 : CKV_ELEM_F32, &b);
		object_put(&b.o.k, 1, 0, 13, 30, 1e36f);
		expect_fault(&b, with_lse, -ERANGE, 1,
			     (struct ckv_fault){ CKV_INPUT_KEY, 0, 13, 30 });
		one = layer_of(&b.r.in, 1);
		scratch = make_work(ckv_window_score_scratch_bytes(&one));
		ck_assert_int_eq(ckv_window_score(&one, 0, 2, scratch, b.r.score, NULL),
				 -ERANGE);
		free(scratch);
		for (uint32_t d = 0; d < 9; d++)
			object_put(&b.o.q, 0, 1, 2, d, 2e38f);
		expect_fault(&b, with_lse, -ERANGE, 0,
			     (struct ckv_fault){ CKV_INPUT_QUERY, 1, 2, 0 });
		object_put(&b.o.k, 1, 1, 50, 9, NAN);	/* worse, and later */
		expect_fault(&b, with_lse, -EDOM, 1,
			     (struct ckv_fault){ CKV_INPUT_KEY, 1, 50, 9 });
		broken_free(&b);
	}
}
END_TEST

/* An lse that is no number, or that makes a probability above 1, is named. */
START_TEST(a_wrong_lse_is_named)
{
	struct broken b;
	float was;

	broken_make(kinds[_i], &b);
	b.lse[(1 * 4 + 2) * 5 + 4] -= 6.0f;
	expect_fault(&b, 1, -EDOM, 1, (struct ckv_fault){ CKV_INPUT_LSE, 2, 4, 0 });
	was = b.lse[(1 * 4 + 1) * 5 + 3];
	b.lse[(1 * 4 + 1) * 5 + 3] = NAN;
	expect_fault(&b, 1, -EDOM, 1, (struct ckv_fault){ CKV_INPUT_LSE, 1, 3, 0 });
	b.lse[(1 * 4 + 1) * 5 + 3] = INFINITY;
	expect_fault(&b, 1, -EDOM, 1, (struct ckv_fault){ CKV_INPUT_LSE, 1, 3, 0 });
	b.lse[(1 * 4 + 1) * 5 + 3] = was;
	b.lse[(1 * 4 + 2) * 5 + 4] += 6.0f;
	b.r.in.lse = b.lse;
	ck_assert_int_eq(launch(&b.r), 0);
	ck_assert_uint_eq(b.r.status, CKV_CUDA_OK);
	broken_free(&b);
}
END_TEST

/* Impossible arguments are refused before anything is launched. */
START_TEST(impossible_arguments_are_refused)
{
	const struct shape s = { 1, 2, 2, 20, 64, 16, 4, CKV_ELEM_BF16 };
	struct object o;
	struct run r;
	uint64_t before;

	object_make(&s, 1, &o);
	run_make(&(struct ckv_cuda_window){ .k = o.k, .q = o.q }, &r);
	ck_assert_int_eq(launch(&r), 0);
	before = simt_n_launches();
#define REFUSED(change) do {							\
		struct ckv_cuda_window in = r.in;				\
		void *work = r.work;						\
		float *score = r.score;						\
		uint64_t *status = &r.status;					\
		change;								\
		ck_assert_int_eq(ckv_cuda_window_score(&in, work, score, status,	\
						       NULL), -EINVAL);		\
	} while (0)
	REFUSED(in.k.rows.n_tokens = 4);
	REFUSED(in.q.rows.dim = 32);
	REFUSED(in.q.rows.n_heads = 3);
	REFUSED(in.q.n_layers = 2);
	REFUSED(in.q.rows.n_tokens = 0);
	REFUSED(in.k.rows.block_tokens = 0);
	REFUSED(work = NULL);
	REFUSED(work = (char *)work + 16);
	REFUSED(score = NULL);
	REFUSED(status = NULL);
	ck_assert_uint_eq(simt_n_launches(), before);
	run_free(&r);
	object_free(&o);
}
END_TEST

CHECK_MAIN("simt window",
	CASE("window", .timeout = 200),
	LOOP(scores_are_within_their_bound, object_shapes()),
	EACH(nasty_shapes_are_within_their_bound, nasty),
	TEST(every_grid_gives_the_same_bits),
	TEST(only_every_second_layer_is_scored),
	TEST(kinds_may_differ),
	LOOP(a_broken_key_is_named, 3),
	LOOP(what_could_overflow_is_refused, 2),
	LOOP(a_wrong_lse_is_named, 3),
	TEST(impossible_arguments_are_refused))

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_simt_score.c - the scoring kernels under the harness, against the CPU's.
 */
#include "object.h"
#include "tests/lib/check_main.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

struct norms {
	const struct ckv_cuda_rows *k;
	float *norm;
	uint64_t status;
};

static int run_norms(void *arg)
{
	struct norms *n = arg;

	ck_assert_int_eq(ckv_cuda_begin(&n->status, NULL), 0);
	return ckv_cuda_norms(n->k, n->norm, &n->status, NULL);
}

/* One layer of doubles, [Hkv][T]. */
static double *layer_area(const struct shape *s)
{
	return object_area((size_t)s->n_heads * s->n_tokens * sizeof(double));
}

/* Layer l of got [layers][Hkv][T] is within want * relative + absolute of want. */
static void assert_near(const struct shape *s, const float *got, uint32_t l,
			const double *want, double relative, double absolute)
{
	size_t n = (size_t)s->n_heads * s->n_tokens;

	for (size_t i = 0; i < n; i++)
		ck_assert_msg(fabs((double)got[l * n + i] - want[i]) <=
			      fabs(want[i]) * relative + absolute,
			      "%s: layer %u, number %zu is %g, not %g",
			      object_name(s), l, i, (double)got[l * n + i],
			      want[i]);
}

/* Norms are within D * 2^-24 of those in double, for every shape and layer. */
START_TEST(norms_are_within_their_bound)
{
	const struct shape *s = object_shape((uint32_t)_i);
	size_t n = (size_t)s->n_layers * s->n_heads * s->n_tokens;
	float *norm = object_area(n * sizeof *norm);
	double *want = layer_area(s);
	struct norms run = { .norm = norm };
	struct object o;

	object_make(s, 7, &o);
	run.k = &o.k;
	ck_assert_int_eq(object_run(run_norms, &run, norm, n * sizeof *norm), 0);
	ck_assert_uint_eq(run.status, CKV_CUDA_OK);
	for (uint32_t l = 0; l < s->n_layers; l++) {
		struct ckv_rows k = object_layer(&o.k, l);

		ck_assert_int_eq(ckv_norms_ref(&k, 0, s->n_heads, want, NULL), 0);
		assert_near(s, norm, l, want, s->dim * 0x1p-24, 0.0);
	}
	free(want);
	free(norm);
	object_free(&o);
}
END_TEST

/* The least of several broken numbers is named, a NaN before an overflow. */
START_TEST(norms_name_the_first_broken_number)
{
	const struct shape s = { 3, 2, 1, 40, 72, 16, 1, CKV_ELEM_BF16 };
	float *norm = object_area(3 * 2 * 40 * sizeof *norm);
	struct norms run = { .norm = norm };
	struct ckv_fault fault;
	struct object o;
	uint32_t layer;

	object_make(&s, 1, &o);
	run.k = &o.k;
	object_put(&o.k, 0, 1, 5, 3, 3e38f);
	ck_assert_int_eq(run_norms(&run), 0);
	ck_assert_int_eq(ckv_cuda_status(run.status, &layer, &fault), -ERANGE);
	ck_assert_uint_eq(layer, 0);
	ck_assert_uint_eq(fault.token, 5);
	object_put(&o.k, 2, 0, 9, 71, NAN);
	object_put(&o.k, 1, 1, 39, 70, -INFINITY);
	object_put(&o.k, 1, 1, 39, 71, NAN);
	ck_assert_int_eq(run_norms(&run), 0);
	ck_assert_int_eq(ckv_cuda_status(run.status, &layer, &fault), -EDOM);
	ck_assert_uint_eq(layer, 1);
	ck_assert_uint_eq(fault.input, CKV_INPUT_KEY);
	ck_assert_uint_eq(fault.head, 1);
	ck_assert_uint_eq(fault.token, 39);
	ck_assert_uint_eq(fault.dim, 70);
	free(norm);
	object_free(&o);
}
END_TEST

struct keydiff {
	const struct ckv_cuda_rows *k;
	void *work;
	float *score;
	uint64_t status;
};

static int run_keydiff(void *arg)
{
	struct keydiff *d = arg;

	ck_assert_int_eq(ckv_cuda_begin(&d->status, NULL), 0);
	return ckv_cuda_keydiff(d->k, d->work, d->score, &d->status, NULL);
}

/* Length of the mean direction of a head's keys. */
static double anchor_length(const struct ckv_cuda_rows *k, uint32_t layer,
			    uint32_t head)
{
	double sum[CKV_KERNEL_MAX_DIM] = { 0.0 }, length = 0.0;

	for (uint32_t t = 0; t < k->rows.n_tokens; t++) {
		double squares = 0.0;

		for (uint32_t d = 0; d < k->rows.dim; d++) {
			double x = (double)object_get(k, layer, head, t, d);

			squares += x * x;
		}
		for (uint32_t d = 0; d < k->rows.dim && squares > 0.0; d++)
			sum[d] += (double)object_get(k, layer, head, t, d) /
				  sqrt(squares);
	}
	for (uint32_t d = 0; d < k->rows.dim; d++)
		length += sum[d] * sum[d];
	return sqrt(length) / k->rows.n_tokens;
}

/* Key differences are within (D + 16) * 2^-22 / |anchor|; zero keys score 0. */
START_TEST(keydiff_is_within_its_bound)
{
	const struct shape *s = object_shape((uint32_t)_i);
	size_t n = (size_t)s->n_layers * s->n_heads * s->n_tokens;
	float *score = object_area(n * sizeof *score);
	double *want = layer_area(s), bound = 0.0;
	struct keydiff run = { .score = score };
	struct object o;

	object_make(s, 11, &o);
	for (uint32_t d = 0; d < s->dim; d++)
		object_put(&o.k, 0, 0, s->n_tokens - 1, d, 0.0f);
	run.k = &o.k;
	run.work = object_work(ckv_cuda_keydiff_work_bytes(&o.k));
	ck_assert_int_eq(object_run(run_keydiff, &run, score, n * sizeof *score),
			 0);
	ck_assert_uint_eq(run.status, CKV_CUDA_OK);
	ck_assert(score[s->n_tokens - 1] == 0.0f);
	for (uint32_t l = 0; l < s->n_layers; l++) {
		struct ckv_rows k = object_layer(&o.k, l);

		for (uint32_t h = 0; h < s->n_heads; h++) {
			double length = anchor_length(&o.k, l, h);

			if (length > 0.0)
				bound = fmax(bound, (s->dim + 16) * 0x1p-22 /
					     length);
		}
		ck_assert_int_eq(ckv_keydiff_ref(&k, 0, s->n_heads, want, NULL),
				 0);
		assert_near(s, score, l, want, 0.0, bound);
	}
	free(run.work);
	free(want);
	free(score);
	object_free(&o);
}
END_TEST

/* Layers may be visited at a step: each gets what it would get by itself. */
START_TEST(layers_may_be_skipped)
{
	const struct shape s = { 5, 2, 1, 20, 64, 16, 1, CKV_ELEM_F16 };
	float all[5 * 2 * 20], some[3 * 2 * 20];
	struct norms run = { .norm = all };
	struct object o;

	object_make(&s, 2, &o);
	run.k = &o.k;
	ck_assert_int_eq(run_norms(&run), 0);
	o.k.n_layers = 3;
	o.k.layer_step = 2;
	run.norm = some;
	ck_assert_int_eq(run_norms(&run), 0);
	for (uint32_t l = 0; l < 3; l++)
		ck_assert_mem_eq(some + l * 40, all + 2 * l * 40,
				 40 * sizeof *all);
	object_put(&o.k, 4, 0, 0, 0, NAN);
	ck_assert_int_eq(run_norms(&run), 0);
	ck_assert_uint_eq(run.status >> 49, 4);
	object_free(&o);
}
END_TEST

CHECK_MAIN("simt score",
	CASE("keys", .timeout = 120),
	LOOP(norms_are_within_their_bound, object_shapes()),
	TEST(norms_name_the_first_broken_number),
	TEST(layers_may_be_skipped),
	LOOP(keydiff_is_within_its_bound, object_shapes()))

/*
 * test_simt_score.c - the scoring kernels under the harness, against the CPU's.
 */
#include "object.h"

#include <check.h>
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

static double norm_of(const struct ckv_cuda_rows *k, uint32_t layer,
		      uint32_t head, uint32_t token)
{
	double sum = 0.0;

	for (uint32_t d = 0; d < k->rows.dim; d++) {
		double x = (double)object_get(k, layer, head, token, d);

		sum += x * x;
	}
	return sqrt(sum);
}

/* Norms are within D * 2^-24 of those in double, for every shape and layer. */
START_TEST(norms_are_within_their_bound)
{
	const struct shape *s = object_shape((uint32_t)_i);
	size_t n = (size_t)s->n_layers * s->n_heads * s->n_tokens;
	float *norm = object_area(n * sizeof *norm);
	struct norms run = { .norm = norm };
	struct object o;

	object_make(s, 7, &o);
	run.k = &o.k;
	ck_assert_int_eq(object_run(run_norms, &run, norm, n * sizeof *norm), 0);
	ck_assert_uint_eq(run.status, CKV_CUDA_OK);
	for (size_t i = 0; i < n; i++) {
		uint32_t row = (uint32_t)(i / s->n_tokens);
		double want = norm_of(&o.k, row / s->n_heads, row % s->n_heads,
				      (uint32_t)(i % s->n_tokens));

		ck_assert_msg(fabs((double)norm[i] - want) <=
			      want * s->dim * 0x1p-24,
			      "%s: norm %zu is %g, not %g", object_name(s), i,
			      (double)norm[i], want);
	}
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

static Suite *suite(void)
{
	Suite *s = suite_create("simt score");
	TCase *t = tcase_create("norms");
	int n = 0;

	while (object_shape((uint32_t)n) != NULL)
		n++;
	tcase_set_timeout(t, 120);
	tcase_add_loop_test(t, norms_are_within_their_bound, 0, n);
	tcase_add_test(t, norms_name_the_first_broken_number);
	suite_add_tcase(s, t);
	return s;
}

int main(void)
{
	SRunner *runner = srunner_create(suite());
	int n_failed;

	srunner_run_all(runner, CK_ENV);
	n_failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

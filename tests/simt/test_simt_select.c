/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_simt_select.c - the selection kernels under the harness, against the CPU's.
 */
#include "object.h"
#include "tests/lib/check_main.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 2, MAX_N = 20000 };

static float score[ROWS * MAX_N];

/* Rows of n numbers: all apart, few different, all equal, with NaN and zeros. */
enum kind { APART, FEW, EQUAL, NASTY, N_KINDS };

static void fill_scores(enum kind kind, uint32_t n, uint64_t seed)
{
	static const float nasty[] = { NAN, 0.0f, -0.0f, -NAN, INFINITY, -INFINITY,
				       1e-40f, -1e-40f, 3e38f, 1.0f };

	for (uint32_t i = 0; i < ROWS * n; i++) {
		uint32_t r = object_random(&seed);

		switch (kind) {
		case FEW:
			score[i] = (float)(r % 5) * 0.125f - 0.25f;
			break;
		case EQUAL:
			score[i] = 0.5f;
			break;
		case NASTY:
			score[i] = nasty[r % 10];
			break;
		default:
			score[i] = (float)(int32_t)r * 0x1p-31f;
			score[i] *= score[i] * score[i];
		}
	}
}

struct top {
	struct ckv_cuda_top top;
	uint32_t *pos, *n_nan, *n_lost;
};

static int run_top(void *arg)
{
	struct top *t = arg;

	return ckv_cuda_select_top(&t->top, t->pos, t->n_nan, t->n_lost, NULL);
}

/* pos[n_rows][k], n_nan[n_rows], n_lost[n_rows] in one area: all are compared. */
static void top_run(struct top *t, uint32_t **ret_area)
{
	uint32_t n = t->top.n_rows * t->top.k, n_all = n + 2 * t->top.n_rows;
	uint32_t *area = object_area(n_all * sizeof *area);

	t->pos = area;
	t->n_nan = area + n;
	t->n_lost = area + n + t->top.n_rows;
	ck_assert_int_eq(object_run(run_top, t, area, n_all * 4), 0);
	*ret_area = area;
}

static void assert_top(enum kind kind, uint32_t n, uint32_t k)
{
	struct top t = { .top = { .score = score, .row_stride = n, .n_rows = ROWS,
				  .n_scored = n, .n = n, .k = k } };
	static uint32_t want[MAX_N];
	uint32_t n_nan, *area;

	fill_scores(kind, n, n + k);
	top_run(&t, &area);
	for (uint32_t row = 0; row < ROWS; row++) {
		ck_assert_int_eq(ckv_select_top(score + row * n, n, k, 0, want,
						&n_nan), 0);
		ck_assert_msg(memcmp(want, t.pos + row * k, k * 4) == 0,
			      "kind %d, n %u, k %u, row %u", (int)kind, n, k, row);
		ck_assert_uint_eq(t.n_nan[row], n_nan);
		ck_assert_uint_eq(t.n_lost[row], 0);
	}
	free(area);
}

/* Every length and budget gives the CPU's positions, whatever the scores. */
START_TEST(selection_is_the_cpus)
{
	static const uint32_t lengths[] = { 1, 2, 15, 17, 32, 33, 257 };

	for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
		uint32_t n = lengths[i];

		assert_top((enum kind)_i, n, n / 3);
		assert_top((enum kind)_i, n, n - n / 16);
	}
	assert_top((enum kind)_i, 2048, _i % 2 ? 1 : 0);
}
END_TEST

/* Rows that do not fit in registers are read again, tile by tile. */
START_TEST(long_rows_are_selected_in_tiles)
{
	assert_top(APART, 8192, 2048);
	assert_top(NASTY, 8193, 5000);
	assert_top(FEW, 16500, 8191);
}
END_TEST

/* A row's own k counts, up to the common one; what is past it is left alone. */
START_TEST(rows_have_their_own_budgets)
{
	uint32_t row_k[] = { 0, 7, 99 }, want[20], *area;
	struct top t = { .top = { .score = score, .row_stride = 50,
				  .n_rows = 3, .n_scored = 50, .n = 50, .k = 20,
				  .row_k = row_k } };

	fill_scores(APART, 50, 3);
	top_run(&t, &area);
	ck_assert_uint_eq(t.pos[0], 0x5a5a5a5a);
	ckv_select_top(score + 50, 50, 7, 0, want, NULL);
	ck_assert_mem_eq(t.pos + 20, want, 7 * 4);
	ck_assert_uint_eq(t.pos[27], 0x5a5a5a5a);
	ckv_select_top(score + 100, 50, 20, 0, want, NULL);
	ck_assert_mem_eq(t.pos + 40, want, 20 * 4);
	free(area);
}
END_TEST

/* The smallest are the best where it says so: the same as the best of -score. */
START_TEST(smallest_scores_can_be_the_best)
{
	struct top t = { .top = { .score = score, .row_stride = 300,
				  .n_rows = ROWS, .n_scored = 300, .n = 300,
				  .k = 90, .smallest = 1 } };
	uint32_t want[90], *area;
	float minus[300];

	fill_scores(NASTY, 300, 1);
	top_run(&t, &area);
	for (uint32_t row = 0; row < ROWS; row++) {
		for (uint32_t i = 0; i < 300; i++)
			minus[i] = -score[row * 300 + i];
		ckv_select_top(minus, 300, 90, 0, want, NULL);
		ck_assert_mem_eq(t.pos + row * 90, want, sizeof want);
	}
	free(area);
}
END_TEST

enum class { ALWAYS, UNSCORED, SCORED };

/* Which class is token i of? The definition, one by one. */
static enum class class_of(const struct ckv_cuda_top *top, uint32_t i)
{
	if (i < top->always.n_sink || i + top->always.n_recent >= top->n)
		return ALWAYS;
	for (uint32_t r = 0; r < top->always.n_ranges; r++)
		if (i >= top->always.range[r].from && i < top->always.range[r].to)
			return ALWAYS;
	return i >= top->n_scored ? UNSCORED : SCORED;
}

/* Mark the first of one class, `left` at most, from one end of the row. */
static uint32_t take_class(const struct ckv_cuda_top *top, enum class class,
			   int lowest_first, uint32_t left, char *taken)
{
	for (uint32_t i = 0; i < top->n && left > 0; i++) {
		uint32_t at = lowest_first ? i : top->n - 1 - i;

		if (class_of(top, at) == class) {
			taken[at] = 1;
			left--;
		}
	}
	return left;
}

/* Positions of a row by marks: class by class, then the best others. Returns the lost. */
static uint32_t want_kept(const struct ckv_cuda_top *top, const float *row,
			  uint32_t *want)
{
	static float rest[MAX_N];
	uint32_t n_always = 0, left, n = 0, best[MAX_N];
	char taken[MAX_N] = { 0 };

	for (uint32_t i = 0; i < top->n; i++) {
		n_always += class_of(top, i) == ALWAYS;
		rest[i] = class_of(top, i) != SCORED ? -NAN : row[i];
	}
	left = take_class(top, ALWAYS, 0, top->k, taken);
	left = take_class(top, UNSCORED, top->lowest_first, left, taken);
	if (left > 0) {
		ckv_select_top(rest, top->n, left, 0, best, NULL);
		for (uint32_t i = 0; i < left; i++)
			taken[best[i]] = 1;
	}
	for (uint32_t i = 0; i < top->n; i++)
		if (taken[i])
			want[n++] = i;
	ck_assert_uint_eq(n, top->k);
	return n_always > top->k ? n_always - top->k : 0;
}

/* Always first, then without a score; too many: the newest, or the lowest unscored. */
START_TEST(kept_tokens_go_before_scores)
{
	static const uint32_t budgets[] = { 0, 1, 5, 10, 11, 12, 13, 14, 17, 18, 30, 64 };
	struct top t = { .top = { .score = score, .row_stride = 60,
				  .n_rows = ROWS, .n_scored = 54, .n = 64,
				  .lowest_first = _i % 2 } };
	uint32_t want[64], *area;

	t.top.always = (struct ckv_always){ .n_sink = 2, .n_recent = 3,
		.n_ranges = 2, .range = { { 10, 14 }, { 12, 16 } } };
	fill_scores(APART, 60, 9);
	for (size_t b = 0; b < sizeof budgets / sizeof *budgets; b++) {
		t.top.k = budgets[b];
		top_run(&t, &area);
		for (uint32_t row = 0; row < ROWS; row++) {
			uint32_t lost = want_kept(&t.top, score + row * 60, want);

			ck_assert_mem_eq(t.pos + row * t.top.k, want,
					 t.top.k * 4);
			ck_assert_uint_eq(t.n_lost[row], lost);
		}
		free(area);
	}
}
END_TEST

/* Impossible arguments are refused; no rows are nothing to do. */
START_TEST(impossible_selections_are_refused)
{
	struct ckv_cuda_top good = { .score = score, .row_stride = 10,
				     .n_rows = 1, .n_scored = 10, .n = 10, .k = 3 };
	struct ckv_cuda_top bad;
	uint32_t pos[3];

	bad = good, bad.k = 11;
	ck_assert_int_eq(ckv_cuda_select_top(&bad, pos, NULL, NULL, NULL), -EINVAL);
	bad = good, bad.n = 9;
	ck_assert_int_eq(ckv_cuda_select_top(&bad, pos, NULL, NULL, NULL), -EINVAL);
	bad = good, bad.score = NULL;
	ck_assert_int_eq(ckv_cuda_select_top(&bad, pos, NULL, NULL, NULL), -EINVAL);
	bad = good, bad.row_stride = 9;
	ck_assert_int_eq(ckv_cuda_select_top(&bad, pos, NULL, NULL, NULL), -EINVAL);
	bad = good, bad.always.n_ranges = 9;
	ck_assert_int_eq(ckv_cuda_select_top(&bad, pos, NULL, NULL, NULL), -EINVAL);
	bad = good, bad.n_rows = 0;
	ck_assert_int_eq(ckv_cuda_select_top(&bad, pos, NULL, NULL, NULL), 0);
}
END_TEST

CHECK_MAIN("simt select",
	CASE("top", .timeout = 200),
	LOOP(selection_is_the_cpus, N_KINDS),
	TEST(long_rows_are_selected_in_tiles),
	TEST(rows_have_their_own_budgets),
	TEST(smallest_scores_can_be_the_best),
	LOOP(kept_tokens_go_before_scores, 2),
	TEST(impossible_selections_are_refused))

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_simt_harness.c - the harness gives CUDA's results, and sees what is wrong.
 *
 * Each wrong kernel runs in a process of its own, which must end with a message that
 * names what happened and where.
 */
#include "harness.h"
#include "object.h"
#include "tests/lib/check_main.h"
#include "tests/lib/dies.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { N = 96, N_TEXT = 16384 };

static uint32_t in[1024], out[1025];

static void fill_in(uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		in[i] = i * 7 % 29;
}

static int run_reverse(void *barrier)
{
	return harness_reverse(in, N, *(int *)barrier, out);
}

/* With its barrier a kernel gives one result in every order. */
START_TEST(barrier_holds_threads)
{
	int barrier = 1;

	fill_in(N);
	ck_assert_int_eq(object_run(run_reverse, &barrier, out, N * 4), 0);
	for (uint32_t i = 0; i < N; i++)
		ck_assert_uint_eq(out[i], in[N - 1 - i]);
}
END_TEST

static int run_before(void *n)
{
	return harness_before(in, *(uint32_t *)n, out);
}

/* Sums before each thread, for one warp and for as many as there can be. */
START_TEST(sums_before_are_exact)
{
	static const uint32_t sizes[] = { 32, 64, 256, 992, 1024 };
	uint32_t n = sizes[_i], sum = 0;

	fill_in(n);
	ck_assert_int_eq(object_run(run_before, &n, out, (n + 1) * 4), 0);
	for (uint32_t i = 0; i < n; i++) {
		ck_assert_uint_eq(out[i], sum);
		sum += in[i];
	}
	ck_assert_uint_eq(out[n], sum);
}
END_TEST

static int run_lanes(void *unused)
{
	(void)unused;
	return harness_lanes(in, out);
}

/* Every warp operation gives what CUDA's guide says. */
START_TEST(warp_operations_are_cudas)
{
	uint32_t odd = 0, sum = 0, low = 0;

	for (uint32_t i = 0; i < 32; i++) {
		in[i] = i * 3 % 37;
		odd |= (in[i] & 1) << i;
		sum += in[i];
		low += i < 16 ? in[i] : 0;
	}
	ck_assert_int_eq(object_run(run_lanes, NULL, out, 32 * 16 * 4), 0);
	for (uint32_t i = 0; i < 32; i++) {
		const uint32_t *got = out + i * 16;
		uint32_t alike = 0;

		for (uint32_t j = 0; j < 32; j++)
			alike |= (uint32_t)(in[j] % 4 == in[i] % 4) << j;
		ck_assert_uint_eq(got[0], in[5]);
		ck_assert_uint_eq(got[1], in[i / 8 * 8 + 3]);
		ck_assert_uint_eq(got[2], in[i < 2 ? i : i - 2]);
		ck_assert_uint_eq(got[3], in[i % 16 + 3 < 16 ? i + 3 : i]);
		ck_assert_uint_eq(got[4], in[i ^ 9]);
		ck_assert_uint_eq(got[5], odd);
		ck_assert_uint_eq(got[6], 0);
		ck_assert_uint_eq(got[7], 1);
		ck_assert_uint_eq(got[8], alike);
		ck_assert_uint_eq(got[9], sum);
		ck_assert_uint_eq(got[10], 0);
		ck_assert_uint_eq(got[11], 36);
		ck_assert_uint_eq(got[12], (uint32_t)__builtin_popcount(odd));
		if (i < 16)
			ck_assert_uint_eq(got[13], low);
	}
}
END_TEST

/* A launch that no GPU takes is refused and runs nothing. */
START_TEST(impossible_launches_are_refused)
{
	uint64_t before = simt_n_launches();

	ck_assert_int_eq(harness_launch(0, 32, 0), -EIO);
	ck_assert_int_eq(harness_launch(1, 0, 0), -EIO);
	ck_assert_int_eq(harness_launch(1, 1056, 0), -EIO);
	ck_assert_int_eq(harness_launch(1, 32, 228 << 10), -EIO);
	ck_assert_uint_eq(simt_n_launches(), before);
}
END_TEST

static void body_wrong(int wrong)
{
	uint32_t n = wrong == WRONG_PARTIAL_WARP ? 40 : 32;
	uint32_t *area = object_area(n * 4);

	harness_wrong((enum wrong)wrong, n, area);
	free(area);
}

static void body_race(int barrier)
{
	object_run(run_reverse, &barrier, out, N * 4);
}

/* What is undefined on a GPU ends the process and is named. */
START_TEST(wrong_kernels_are_named)
{
	static const struct {
		enum wrong wrong;
		const char *says;
	} table[] = {
		{ WRONG_PAST_SHARED, "use-after-poison" },
		{ WRONG_BEFORE_SHARED, "use-after-poison" },
		{ WRONG_FAR_PAST_SHARED, "use-after-poison" },
		{ WRONG_TWO_BARRIERS, "__syncthreads: waits for thread 0, which is in" },
		{ WRONG_BARRIER_WITHOUT_ONE,
		  "__syncthreads: waits for thread 3, which has ended" },
		{ WRONG_SHUFFLE_FROM_OUTSIDE,
		  "__shfl_sync: reads lane 20, which mask 0000ffff leaves out" },
		{ WRONG_LANE_ENDED, "waits for thread 7, which has ended" },
		{ WRONG_NOT_IN_MASK, "lane 0 is not in its own mask fffffffe" },
		{ WRONG_TWO_MASKS, "mask ffff00ff, but lane 0 came with ffffffff" },
		{ WRONG_LANE_IN_BARRIER,
		  "waits for lane 0, which is in __syncthreads at" },
		{ WRONG_PARTIAL_WARP,
		  "names lane 8, which the block does not have" },
		{ WRONG_ALIGNMENT, "misaligned address" },
		{ WRONG_GLOBAL, "heap-buffer-overflow" },
	};
	static char text[N_TEXT];

	dies(body_wrong, (int)table[_i].wrong, text, sizeof text);
	ck_assert_msg(strstr(text, table[_i].says) != NULL, "%s", text);
	if (strncmp(text, "simt: ", 6) == 0)
		ck_assert_msg(strstr(text, "wrong_kernel: block (0,0,0) thread (")
			      != NULL, "%s", text);
}
END_TEST

/* A missing barrier is seen, as results that depend on the order. */
START_TEST(missing_barrier_is_seen)
{
	static char text[N_TEXT];

	fill_in(N);
	dies(body_race, 0, text, sizeof text);
	ck_assert_msg(strstr(text, "another order, other results") != NULL, "%s",
		      text);
}
END_TEST

CHECK_MAIN("simt harness",
	CASE("harness"),
	TEST(barrier_holds_threads),
	LOOP(sums_before_are_exact, 5),
	TEST(warp_operations_are_cudas),
	TEST(impossible_launches_are_refused),
	LOOP(wrong_kernels_are_named, WRONG_GLOBAL + 1),
	TEST(missing_barrier_is_seen))

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main.c - ckv-gpu-check: kernels against their references, and how fast they are.
 *
 *   ckv-gpu-check list              all that the two below take: tests/NAME, bench/NAME
 *   ckv-gpu-check devices           what the driver shows, one JSON object a line
 *   ckv-gpu-check probe             one launch on the first of them
 *   ckv-gpu-check tests NAME...     the harness' tests NAME on it
 *   ckv-gpu-check bench NAME FILE   time NAME; FILE becomes one line of JSON, in which
 *                                   bytes is what must be moved, empty_us a part of us that
 *                                   no kernel takes, and copy_gb_s the rate of a copy. Of
 *                                   an emulated device it has no figure: that it ran
 *
 * Exit status: 0, 1 for a failure (of a driver, too), 77 where there is nothing to run on:
 * no driver, no device, or none that this program has code for.
 */
#include "bench.h"
#include "device.h"
#include "figures.h"
#include "kernels/ckv_kernels.h"
#include "tests.h"	/* TESTS(do): do(name) for each; the Makefile's */

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NO_DEVICE	77

extern __typeof__(ckv_cuda_begin) gpu_begin;

/* Each is a program of tests/simt, its main() under another name. */
#define DECLARE(name)	int test_simt_##name##_main(void);
#define ROW(name)	{ #name, test_simt_##name##_main },
TESTS(DECLARE)

static const struct {
	const char *name;
	int (*run)(void);
} tests[] = { TESTS(ROW) };

static int list(void)
{
	for (size_t i = 0; i < sizeof tests / sizeof *tests; i++)
		printf("tests/%s\n", tests[i].name);
	for (size_t i = 0; bench_name(i) != NULL; i++)
		printf("bench/%s\n", bench_name(i));
	return EXIT_SUCCESS;
}

static int run_test(const char *name)
{
	for (size_t i = 0; i < sizeof tests / sizeof *tests; i++)
		if (strcmp(tests[i].name, name) == 0)
			return tests[i].run();
	fprintf(stderr, "ckv-gpu-check: no tests are called '%s'\n", name);
	return EXIT_FAILURE;
}

static int run_tests(int n, char **name)
{
	int r = 0;

	/* A child of fork() cannot use the parent's GPU. */
	setenv("CK_FORK", "no", 1);
	for (int i = 0; i < n; i++)
		r |= run_test(name[i]);
	return r;
}

/* Words of why nothing can run: is there nothing, or something that fails? */
static int say_why(int r, const char *why)
{
	printf("ckv-gpu-check: %s\n", why);
	return r == -ENODEV ? NO_DEVICE : EXIT_FAILURE;
}

static int list_devices(void)
{
	const char *why;
	int n = gpu_count(&why);

	if (n < 0)
		return say_why(n, why);
	for (int i = 0; i < n; i++) {
		struct gpu_words w;
		json_t *o;

		gpu_describe(i, &w);
		o = json_pack("{s:i, s:s, s:s, s:b, s:b, s:f, s:i, s:I, s:I}",
			      "index", i, "name", w.name, "uuid", w.uuid, "mig", w.mig,
			      "emulated", w.emulated,
			      "compute_capability", w.capability / 10.0,
			      "multiprocessors", w.multiprocessors,
			      "memory_bytes", (json_int_t)w.memory_bytes,
			      "l2_bytes", (json_int_t)w.l2_bytes);
		json_dumpf(o, stdout, JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(3));
		putchar('\n');
		json_decref(o);
	}
	return EXIT_SUCCESS;
}

/* Does anything run? The smallest launcher that there is. */
static int probe(void)
{
	uint64_t *status = gpu_alloc(sizeof *status);
	int r = gpu_begin(status, NULL);

	if (r == -ENODEV) {
		printf("ckv-gpu-check: this program has no code for the device\n");
		return NO_DEVICE;
	}
	if (r == 0)
		gpu_must(gpu.cuCtxSynchronize(), "one launch");
	gpu_free(status);
	puts(r == 0 ? "ckv-gpu-check: a launch was done" : "ckv-gpu-check: a launch was refused");
	return r == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int write_result(const char *file, const struct bench_result *r)
{
	json_t *o = figures_json(r);
	int failed = json_dump_file(o, file, JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(6));

	if (failed)
		fprintf(stderr, "ckv-gpu-check: cannot write %s\n", file);
	json_decref(o);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

static int bench(const char *name, const char *file)
{
	struct bench_result r;
	const char *why;

	if (bench_run(name, &r, &why) < 0) {
		fprintf(stderr, "ckv-gpu-check: %s: %s\n", name, why);
		return EXIT_FAILURE;
	}
	figures_print(&r, stdout);
	return write_result(file, &r);
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "", *why;
	int r;

	if (strcmp(what, "list") == 0)
		return list();
	if (strcmp(what, "devices") == 0)
		return list_devices();
	if (strcmp(what, "probe") != 0 && (strcmp(what, "tests") != 0 || argc < 3) &&
	    (strcmp(what, "bench") != 0 || argc != 4)) {
		fprintf(stderr, "usage: ckv-gpu-check list | devices | probe | tests NAME... | "
			"bench NAME FILE\n");
		return EXIT_FAILURE;
	}
	r = gpu_open(&why);
	if (r < 0)
		return say_why(r, why);
	if (strcmp(what, "tests") == 0)
		return run_tests(argc - 2, argv + 2);
	return strcmp(what, "probe") == 0 ? probe() : bench(argv[2], argv[3]);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main.c - ckv-gpu-check: kernels against their references, and the benchmark.
 *
 *   ckv-gpu-check list                      names of the tests
 *   ckv-gpu-check probe                     is there a GPU that this program runs on?
 *   ckv-gpu-check tests NAME...             the harness' tests NAME on the GPU
 *   ckv-gpu-check bench SECONDS FILE [KEY=VALUE...]
 *                                           time everything; write FILE, with the
 *                                           pairs in its "checks"
 *
 * Exit status: 0, 1 for a failure, 77 where there is nothing to run on.
 */
#include "bench.h"
#include "tests.h"	/* TESTS(do): do(name) for each; the Makefile's */

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define NO_DEVICE	77

/* Each is a program of tests/simt, its main() under another name. */
#define DECLARE(name)	int test_simt_##name##_main(void);
#define ROW(name)	{ #name, test_simt_##name##_main },
TESTS(DECLARE)

static const struct {
	const char *name;
	int (*run)(void);
} tests[] = { TESTS(ROW) };

static int list_tests(void)
{
	for (size_t i = 0; i < sizeof tests / sizeof *tests; i++)
		puts(tests[i].name);
	return EXIT_SUCCESS;
}

static int run_test(const char *name)
{
	for (size_t i = 0; i < sizeof tests / sizeof *tests; i++)
		if (strcmp(tests[i].name, name) == 0)
			return tests[i].run();
	fprintf(stderr, "ckv-gpu-check: no tests are called '%s'; there are:\n", name);
	list_tests();
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

static json_t *device_json(const struct bench_gpu *g)
{
	return json_pack("{s:s, s:f, s:i, s:I, s:I, s:s}",
			 "name", g->name, "compute_capability", g->capability / 10.0,
			 "multiprocessors", g->multiprocessors,
			 "memory_bytes", (json_int_t)g->memory_bytes,
			 "l2_bytes", (json_int_t)g->l2_bytes, "kind", "cuda");
}

static char *version(int v, char *text, size_t bytes)
{
	snprintf(text, bytes, "%d.%d", v / 1000, v % 1000 / 10);
	return text;
}

static json_t *result_json(const struct bench_result *r)
{
	json_t *o = json_pack("{s:s, s:I}", "name", r->name, "bytes", (json_int_t)r->bytes);

	if (r->failed != NULL) {
		json_object_set_new(o, "failed", json_string(r->failed));
		return o;
	}
	json_object_set_new(o, "us", json_real(r->us));
	json_object_set_new(o, "us_min", json_real(r->us_min));
	json_object_set_new(o, "us_max", json_real(r->us_max));
	json_object_set_new(o, "runs", json_integer(r->runs));
	json_object_set_new(o, "gb_s", json_real(r->gb_s));
	json_object_set_new(o, "share_of_copy", json_real(r->share));
	if (r->target_share > 0)
		json_object_set_new(o, "target_share", json_real(r->target_share));
	if (r->target_us > 0)
		json_object_set_new(o, "target_us", json_real(r->target_us));
	if (r->target_share > 0 || r->target_us > 0)
		json_object_set_new(o, "met", json_boolean(bench_met(r)));
	return o;
}

/* "key=text" and "key=12" as members of an object. */
static json_t *pairs_json(int n, char **pair)
{
	json_t *o = json_object();

	for (int i = 0; i < n; i++) {
		char *value = strchr(pair[i], '='), *end;
		long long number;

		if (value == NULL)
			continue;
		*value++ = '\0';
		number = strtoll(value, &end, 10);
		json_object_set_new(o, pair[i], end != value && *end == '\0'
				    ? json_integer(number) : json_string(value));
	}
	return o;
}

static int write_report(const char *file, const struct bench_gpu *g, const struct bench *b,
			json_t *checks)
{
	char driver[16], day[32];
	time_t now = time(NULL);
	json_t *kernels = json_array(), *report;
	int r;

	strftime(day, sizeof day, "%Y-%m-%dT%H:%M:%SZ", gmtime(&now));
	for (int i = 0; i < b->n; i++)
		json_array_append_new(kernels, result_json(&b->result[i]));
	report = json_pack("{s:s, s:o, s:s, s:{s:f, s:f, s:f}, s:o, s:o}",
			   "when", day, "device", device_json(g),
			   "driver_supports", version(g->driver, driver, sizeof driver),
			   "copy", "gb_s", b->copy_gb_s, "gb_s_min", b->copy_gb_s_min,
			   "gb_s_max", b->copy_gb_s_max, "kernels", kernels,
			   "checks", checks);
	r = json_dump_file(report, file, JSON_INDENT(2) | JSON_PRESERVE_ORDER |
			   JSON_REAL_PRECISION(6));
	if (r < 0)
		fprintf(stderr, "ckv-gpu-check: cannot write %s\n", file);
	json_decref(report);
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "", *why;
	struct bench_gpu gpu;
	struct bench b;

	if (strcmp(what, "list") == 0)
		return list_tests();
	if (strcmp(what, "probe") != 0 && strcmp(what, "tests") != 0 &&
	    (strcmp(what, "bench") != 0 || argc < 4)) {
		fprintf(stderr, "usage: ckv-gpu-check list | probe | tests NAME... | "
			"bench SECONDS FILE [KEY=VALUE...]\n");
		return EXIT_FAILURE;
	}
	if (bench_gpu_open(&gpu, &why) < 0) {
		printf("ckv-gpu-check: %s\n", why);
		return NO_DEVICE;
	}
	if (strcmp(what, "tests") == 0)
		return run_tests(argc - 2, argv + 2);
	printf("%s, compute capability %d.%d, %d multiprocessors, %zu MiB of L2\n", gpu.name,
	       gpu.capability / 10, gpu.capability % 10, gpu.multiprocessors,
	       gpu.l2_bytes >> 20);
	if (strcmp(what, "probe") == 0)
		return EXIT_SUCCESS;
	bench_run(&b, atof(argv[2]));
	return write_report(argv[3], &gpu, &b, pairs_json(argc - 4, argv + 4));
}

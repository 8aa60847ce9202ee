/* SPDX-License-Identifier: Apache-2.0 */
/*
 * util.c - clocks, samples, random numbers and CPUs for the benchmark.
 */
#include "tests/bench/bench.h"

#include <math.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static struct bench_row *find_row(struct bench *b, const char *key)
{
	for (int i = 0; i < b->n_rows; i++)
		if (strcmp(b->row[i].key, key) == 0)
			return &b->row[i];
	fprintf(stderr, "bench: no row %s\n", key);
	abort();
}

void bench_add(struct bench *b, const char *key, double value)
{
	struct bench_row *row = find_row(b, key);

	if (row->n_values < BENCH_REPEATS_MAX && !row->failed)
		row->value[row->n_values++] = value;
}

void bench_why(struct bench *b, const char *key, const char *format, ...)
{
	struct bench_row *row = find_row(b, key);
	va_list args;

	va_start(args, format);
	vsnprintf(row->why, sizeof row->why, format, args);
	va_end(args);
}

void bench_fail(struct bench *b, const char *key, const char *format, ...)
{
	struct bench_row *row = find_row(b, key);
	va_list args;

	va_start(args, format);
	vsnprintf(row->why, sizeof row->why, format, args);
	va_end(args);
	row->n_values = 0;
	row->failed = b->failed = true;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

double bench_median(const struct bench *b, const char *key)
{
	struct bench_row *row = find_row((struct bench *)(uintptr_t)b, key);
	double sorted[BENCH_REPEATS_MAX];
	int n = row->n_values;

	if (n == 0)
		return NAN;
	memcpy(sorted, row->value, sizeof sorted);
	qsort(sorted, (size_t)n, sizeof sorted[0], by_value);
	return n % 2 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
}

void sample_init(struct bench_sample *s, size_t size)
{
	*s = (struct bench_sample){ .size = size };
	s->ns = calloc(size, sizeof s->ns[0]);
	if (s->ns == NULL) {
		perror("bench: sample");
		exit(1);
	}
}

void sample_free(struct bench_sample *s)
{
	free(s->ns);
	s->ns = NULL;
}

void sample_add(struct bench_sample *s, double ns)
{
	if (s->n < s->size)
		s->ns[s->n++] = ns;
	s->sorted = false;
}

double sample_percentile(struct bench_sample *s, double percent)
{
	if (s->n == 0)
		return NAN;
	if (!s->sorted)
		qsort(s->ns, s->n, sizeof s->ns[0], by_value);
	s->sorted = true;
	return s->ns[(size_t)((double)(s->n - 1) * percent / 100)];
}

uint64_t random_next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

void random_fill(uint64_t *state, void *to, size_t bytes)
{
	uint64_t *word = to;

	for (size_t i = 0; i < bytes / 8; i++)
		word[i] = random_next(state);
}

uint64_t sum_words(const void *from, size_t bytes)
{
	const uint64_t *word = from;
	uint64_t s[4] = { 0 };

	for (size_t i = 0; i < bytes / 8; i += 4)
		for (size_t k = 0; k < 4; k++)
			s[k] += word[i + k];
	return s[0] + s[1] + s[2] + s[3];
}

int bench_cpus(void)
{
	return (int)sysconf(_SC_NPROCESSORS_ONLN);
}

void bench_bind(int pid, int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	for (int i = 0; i < bench_cpus(); i++)
		if (cpu < 0 || cpu % bench_cpus() == i)
			CPU_SET((size_t)i, &set);
	sched_setaffinity(pid, sizeof set, &set);
}

const uint8_t *chain_keys(uint32_t chain)
{
	static uint8_t *keys;
	uint64_t state = 0x9e3779b97f4a7c15u;

	if (keys == NULL) {
		keys = malloc((size_t)N_ENTRIES * 32);
		if (keys == NULL)
			abort();
		random_fill(&state, keys, (size_t)N_ENTRIES * 32);
	}
	return keys + (size_t)(chain % N_CHAINS) * CHAIN_BLOCKS * 32;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * report.c - the benchmark's rows for people and for machines.
 */
#include "tests/bench/report.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

static void cpu_model(char *name, size_t size)
{
	char line[100];
	FILE *f = fopen("/proc/cpuinfo", "r");

	snprintf(name, size, "unknown CPU");
	while (f != NULL && fgets(line, sizeof line, f) != NULL)
		if (strncmp(line, "model name", 10) == 0) {
			char *colon = strchr(line, ':');

			line[strcspn(line, "\n")] = 0;
			snprintf(name, size, "%s", colon ? colon + 2 : line);
			break;
		}
	if (f != NULL)
		fclose(f);
}

static void print_number(double value)
{
	double size = fabs(value);

	if (isnan(value))
		printf("%12s", "-");
	else if (size >= 1000)
		printf("%12.0f", value);
	else if (size >= 10)
		printf("%12.1f", value);
	else
		printf("%12.3f", value);
}

static void spread(const struct bench_row *row, double *ret_low, double *ret_high)
{
	*ret_low = *ret_high = NAN;
	for (int i = 0; i < row->n_values; i++) {
		*ret_low = fmin(*ret_low, row->value[i]);
		*ret_high = fmax(*ret_high, row->value[i]);
	}
}

static void print_row(const struct bench *b, const struct bench_row *row)
{
	double median = bench_median(b, row->key), low, high;
	bool met = row->sense == BENCH_AT_MOST ? median <= row->budget :
						 median >= row->budget;

	spread(row, &low, &high);
	printf("%-50s", row->what);
	print_number(median);
	print_number(low);
	print_number(high);
	printf("  %-8s", row->unit);
	if (row->sense != BENCH_INFO)
		printf(" %s %-8g %s", row->sense == BENCH_AT_MOST ? "<=" : ">=",
		       row->budget, isnan(median) ? row->failed ? "MISSED" : "" :
		       met ? "met" : "MISSED");
	if (row->why[0] != 0)
		printf("  (%s)", row->why);
	putchar('\n');
}

static void print_replay(const struct bench *b)
{
	static const char *const fractions[] = { "1/16", "1/8", "1/4", "1/2" };
	json_t *all, *ratios, *policy;
	const char *name;

	if (b->replay_json == NULL)
		return;
	all = json_loads(b->replay_json, 0, NULL);
	ratios = json_object_get(all, "replay");
	printf("\nblock hit ratio, Mooncake conversation trace\n%-12s", "pool");
	for (int i = 0; i < 4; i++)
		printf("%8s", fractions[i]);
	putchar('\n');
	json_object_foreach(ratios, name, policy) {
		printf("%-12s", name);
		for (int i = 0; i < 4; i++)
			printf("%8.4f", json_number_value(
				json_object_get(policy, fractions[i])));
		putchar('\n');
	}
	json_decref(all);
}

void report_table(const struct bench *b)
{
	struct utsname uts;
	char cpu[100];

	uname(&uts);
	cpu_model(cpu, sizeof cpu);
	printf("%s, %d CPUs, Linux %s, median of %d with lowest and highest\n\n",
	       cpu, bench_cpus(), uts.release, b->repeats);
	printf("%-50s%12s%12s%12s  %-8s budget\n", "what", "median", "lowest",
	       "highest", "unit");
	for (int i = 0; i < b->n_rows; i++)
		print_row(b, &b->row[i]);
	print_replay(b);
}

static void add_replay(const struct bench *b, json_t *all, json_t *why)
{
	json_t *replay = b->replay_json == NULL ? NULL :
		json_loads(b->replay_json, 0, NULL);
	json_t *ratios = json_object_get(replay, "replay");

	json_object_set(all, "replay", ratios);
	if (ratios == NULL) {
		json_object_set_new(all, "replay", json_null());
		json_object_set_new(why, "replay", json_string(
			"ckvd --replay failed or was not run"));
	}
	json_decref(replay);
}

int report_json(const struct bench *b, const char *path)
{
	json_t *all = json_object(), *why = json_object();
	struct utsname uts;
	char cpu[100];
	int r;

	uname(&uts);
	cpu_model(cpu, sizeof cpu);
	json_object_set_new(all, "cpu", json_string(cpu));
	json_object_set_new(all, "cpus", json_integer(bench_cpus()));
	json_object_set_new(all, "kernel", json_string(uts.release));
	json_object_set_new(all, "repeats", json_integer(b->repeats));
	for (int i = 0; i < b->n_rows; i++) {
		double median = bench_median(b, b->row[i].key);

		json_object_set_new(all, b->row[i].key, isnan(median) ?
				    json_null() : json_real(median));
		if (isnan(median))
			json_object_set_new(why, b->row[i].key, json_string(
				b->row[i].why[0] ? b->row[i].why : "not run"));
	}
	add_replay(b, all, why);
	json_object_set_new(all, "why", why);
	r = json_dump_file(all, path, JSON_INDENT(1));
	if (r < 0)
		fprintf(stderr, "bench: cannot write %s\n", path);
	json_decref(all);
	return r;
}

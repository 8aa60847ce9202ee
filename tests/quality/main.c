/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main.c - ckv-quality: what each method costs in answers; see `make quality`.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/quality/report.h"

static const char usage[] =
	"usage: ckv-quality [--quick] [--json FILE] [--out DIR] [--model DIR]\n"
	"                   [--threads N] [--seed N] [--floor FILE] [--machine TEXT]\n"
	"\n"
	"  --quick          fewer documents, two lengths: about a minute\n"
	"  --json FILE      every row\n"
	"  --out DIR        quality.md, parts of it and scripts that draw the pictures\n"
	"                   (build/quality)\n"
	"  --model DIR      the model (tests/data/tiny-recall)\n"
	"  --threads N      (2); the numbers do not depend on it\n"
	"  --seed N         of documents and structured contexts (1)\n"
	"  --floor FILE     write the daemon's table of accuracy there\n"
	"  --machine TEXT   what the tables say of where they were made\n";

struct arguments {
	struct run_options o;
	const char *json, *out, *model, *floor, *machine;
};

static int take_number(const char *text, uint64_t min, uint64_t max, uint64_t *ret)
{
	char *end;
	unsigned long long n;

	errno = 0;
	n = strtoull(text, &end, 10);
	if (errno != 0 || end == text || *end != '\0' || n < min || n > max) {
		fprintf(stderr, "ckv-quality: %s is not a number from %llu to %llu\n",
			text, (unsigned long long)min, (unsigned long long)max);
		return -EINVAL;
	}
	*ret = n;
	return 0;
}

static int take_arguments(int argc, char **argv, struct arguments *a)
{
	static const struct option options[] = {
		{ "quick", no_argument, NULL, 'q' },
		{ "json", required_argument, NULL, 'j' },
		{ "out", required_argument, NULL, 'o' },
		{ "model", required_argument, NULL, 'm' },
		{ "threads", required_argument, NULL, 't' },
		{ "seed", required_argument, NULL, 's' },
		{ "floor", required_argument, NULL, 'f' },
		{ "machine", required_argument, NULL, 'M' },
		{ NULL, 0, NULL, 0 },
	};
	uint64_t n = 0;
	int c, r = 0;

	while (r == 0 && (c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'q': a->o.quick = 1; break;
		case 'j': a->json = optarg; break;
		case 'o': a->out = optarg; break;
		case 'm': a->model = optarg; break;
		case 'f': a->floor = optarg; break;
		case 'M': a->machine = optarg; break;
		case 't':
			r = take_number(optarg, 1, 64, &n);
			a->o.n_threads = (uint32_t)n;
			break;
		case 's':
			r = take_number(optarg, 0, UINT64_MAX, &a->o.seed);
			break;
		default: r = -EINVAL;
		}
	}
	if (r == 0 && optind == argc)
		return 0;
	fputs(usage, stderr);
	return -EINVAL;
}

/* Have `put` write to a file; NULL: there is none to write. */
static int write_file(const struct run *run, const struct provenance *from,
		      const char *path, void (*put)(const struct run *,
						    const struct provenance *, FILE *))
{
	FILE *out = path != NULL ? fopen(path, "we") : NULL;

	if (path == NULL)
		return 0;
	if (out == NULL)
		return -errno;
	put(run, from, out);
	return fclose(out) == 0 ? 0 : -EIO;
}

static void put_floor(const struct run *run, const struct provenance *from, FILE *out)
{
	(void)from;
	report_floor(run, out);
}

static void put_main(const struct run *run, const struct provenance *from, FILE *out)
{
	(void)from;
	report_main(run, TURN_1, out);
}

static void put_findings(const struct run *run, const struct provenance *from,
			 FILE *out)
{
	(void)from;
	report_main(run, TURN_4, out);
	fprintf(out, "\n");
	report_findings(run, out);
}

static int write_all(const struct run *run, const struct arguments *a)
{
	struct provenance from = { a->machine, a->o.quick ? "make quality QUICK=1" :
							    "make quality" };
	char path[600];
	int r;

	snprintf(path, sizeof(path), "%s/quality.md", a->out);
	r = write_file(run, &from, path, report_markdown);
	snprintf(path, sizeof(path), "%s/main.md", a->out);
	if (r == 0)
		r = write_file(run, &from, path, put_main);
	snprintf(path, sizeof(path), "%s/findings.md", a->out);
	if (r == 0)
		r = write_file(run, &from, path, put_findings);
	if (r == 0)
		r = write_file(run, &from, a->floor, put_floor);
	if (r == 0)
		r = report_pictures(run, a->out);
	if (r == 0 && a->json != NULL)
		r = report_json(run, a->json);
	if (r < 0)
		fprintf(stderr, "ckv-quality: %s, %s or %s cannot be written: %s\n",
			a->out, a->json != NULL ? a->json : "no JSON",
			a->floor != NULL ? a->floor : "no table", strerror(-r));
	return r;
}

int main(int argc, char **argv)
{
	struct arguments a = {
		.o = { .n_threads = 2, .seed = 1 }, .out = "build/quality",
		.model = "tests/data/tiny-recall", .machine = "this machine",
	};
	static struct run run;
	struct model m;
	struct err e;
	int r;

	if (take_arguments(argc, argv, &a) < 0)
		return 2;
	r = model_load(a.model, &m, &e);
	if (r < 0) {
		fprintf(stderr, "ckv-quality: %s\n", e.text);
		return 1;
	}
	run_plan(&run, &a.o);
	r = run_all_trials(&run, &m, NULL, &e);
	if (r < 0)
		fprintf(stderr, "ckv-quality: %s\n", e.text);
	else
		r = write_all(&run, &a);
	run_free(&run);
	model_free(&m);
	return r < 0;
}

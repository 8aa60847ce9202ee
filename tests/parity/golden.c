/* SPDX-License-Identifier: Apache-2.0 */
/*
 * golden.c - compare the kernels with a folder of golden files.
 *
 * Prints a line per *.safetensors file of the folder and, last, how many
 * passed, failed and were skipped. A file passes when every case in it does,
 * with its inputs as given and, where that loses nothing, as bfloat16 in
 * pages. Skipped are files of methods that are not built. A file that is
 * damaged, or that the folder's index names and the folder lacks, has failed.
 *
 * Exit: 0 nothing failed, 1 something did, 2 no folder or no file in it.
 */
#include "tests/parity/golden.h"

#include <errno.h>
#include <dirent.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_CASES	1000u
#define FORMAT		"ckv-golden-1"

struct count {
	unsigned passed, failed, skipped;
};

static const struct {
	const char *name;
	int (*compare)(struct golden *g);
} built[] = {
	{ "chunkkv", golden_chunkkv },
	{ "fp8", golden_fp8 },
	{ "h2o", golden_h2o },
	{ "keydiff", golden_keydiff },
	{ "kivi", golden_kivi },
	{ "l2norm", golden_l2norm },
	{ "pyramidkv", golden_pyramidkv },
	{ "qpruning", golden_qpruning },
	{ "snapkv", golden_snapkv },
	{ "streamingllm", golden_streamingllm },
	{ "tova", golden_tova },
};

/* "...; scores rel 1e-4 abs 1e-6": no tolerance given means equal. */
static void read_rule(struct golden *g)
{
	const char *rule = st_file_meta(g->file, "rule");
	const char *rel = rule == NULL ? NULL : strstr(rule, "rel ");

	g->rel = g->abs = 0.0;
	if (rel != NULL)
		sscanf(rel, "rel %lf abs %lf", &g->rel, &g->abs);
}

static int compare_case(const struct st_file *file, unsigned index,
			int (*compare)(struct golden *g), char *why)
{
	static const char *const store_name[] = { "", ", in bf16 pages" };
	struct golden g = { .file = file, .index = index };

	read_rule(&g);
	for (int s = 0; s < GOLDEN_N_STORES; s++) {
		int r;

		g.store = (enum golden_store)s;
		r = compare(&g);
		golden_free(&g);
		if (r >= 0)
			continue;
		snprintf(why, GOLDEN_WHY_BYTES + 64, "case %u%s: %s", index,
			 store_name[s], g.why);
		return -1;
	}
	return 0;
}

/* 1 passed, 0 failed with the reason. */
static int compare_file(const struct st_file *file,
			int (*compare)(struct golden *g), char *why)
{
	const char *text = st_file_meta(file, "cases");
	unsigned long n_cases = text == NULL ? 0 : strtoul(text, NULL, 10);

	if (n_cases == 0 || n_cases > MAX_CASES) {
		snprintf(why, GOLDEN_WHY_BYTES, "cases = %s",
			 text == NULL ? "absent" : text);
		return 0;
	}
	for (unsigned i = 0; i < n_cases; i++)
		if (compare_case(file, i, compare, why) < 0)
			return 0;
	snprintf(why, GOLDEN_WHY_BYTES, "%lu case%s", n_cases,
		 n_cases == 1 ? "" : "s");
	return 1;
}

static void say(const char *verdict, const char *name, const char *text,
		unsigned *count)
{
	printf("%s  %-40s  %s\n", verdict, name, text);
	(*count)++;
}

static void judge(const char *name, const struct st_file *file,
		  struct count *count)
{
	char why[GOLDEN_WHY_BYTES + 64] = "";
	const char *format = st_file_meta(file, "format");
	const char *method = st_file_meta(file, "method");

	if (format == NULL || strcmp(format, FORMAT) != 0 || method == NULL) {
		say("FAIL", name, "metadata: not of format " FORMAT,
		    &count->failed);
		return;
	}
	for (size_t i = 0; i < sizeof built / sizeof *built; i++) {
		if (strcmp(method, built[i].name) != 0)
			continue;
		if (compare_file(file, built[i].compare, why))
			say("pass", name, why, &count->passed);
		else
			say("FAIL", name, why, &count->failed);
		return;
	}
	snprintf(why, sizeof why, "method %.100s is not built", method);
	say("skip", name, why, &count->skipped);
}

/* Each tensor in memory of its own: it is aligned, and a sanitizer sees its end. */
static void copy_tensors(struct st_file *file)
{
	for (size_t i = 0; i < file->n_tensors; i++) {
		struct st_tensor *t = &file->tensor[i];
		uint8_t *copy = malloc(t->bytes + (t->bytes == 0));

		if (copy == NULL) {
			fprintf(stderr, "golden: out of memory\n");
			exit(EXIT_FAILURE);
		}
		memcpy(copy, t->data, t->bytes);
		t->data = copy;
	}
}

static void one_file(const char *folder, const char *name, struct count *count)
{
	char path[4096], why[GOLDEN_WHY_BYTES];
	struct st_file file;

	snprintf(path, sizeof path, "%s/%s", folder, name);
	if (st_file_open(path, &file, why, sizeof why) < 0) {
		say("FAIL", name, why, &count->failed);
		return;
	}
	copy_tensors(&file);
	judge(name, &file, count);
	for (size_t i = 0; i < file.n_tensors; i++)
		free((void *)(uintptr_t)file.tensor[i].data);
	st_file_close(&file);
}

static int is_golden(const struct dirent *entry)
{
	const char *dot = strrchr(entry->d_name, '.');

	return dot != NULL && strcmp(dot, ".safetensors") == 0;
}

/* What index.json promises and the folder lacks; no index, no promise. */
static void check_index(const char *folder, struct dirent **entry, int n,
			struct count *count)
{
	char path[4096];
	json_error_t error;
	json_t *index, *row;
	size_t at;

	snprintf(path, sizeof path, "%s/index.json", folder);
	index = json_load_file(path, 0, &error);
	if (index == NULL && json_error_code(&error) != json_error_cannot_open_file)
		say("FAIL", "index.json", error.text, &count->failed);
	json_array_foreach(index, at, row) {
		const char *name = json_string_value(json_object_get(row, "file"));
		int i = 0;

		while (i < n && name != NULL &&
		       strcmp(entry[i]->d_name, name) != 0)
			i++;
		if (i == n || name == NULL)
			say("FAIL", name == NULL ? "index.json" : name,
			    name == NULL ? "an entry names no file"
					 : "in index.json, not in the folder",
			    &count->failed);
	}
	json_decref(index);
}

int main(int argc, char **argv)
{
	struct count count = { 0 };
	struct dirent **entry;
	int n;

	if (argc != 2) {
		fprintf(stderr, "usage: golden FOLDER   (make golden DIR=FOLDER)\n");
		return 2;
	}
	n = scandir(argv[1], &entry, is_golden, alphasort);
	if (n < 0) {
		fprintf(stderr, "golden: %s: %s\n", argv[1], strerror(errno));
		return 2;
	}
	for (int i = 0; i < n; i++)
		one_file(argv[1], entry[i]->d_name, &count);
	check_index(argv[1], entry, n, &count);
	for (int i = 0; i < n; i++)
		free(entry[i]);
	free(entry);
	printf("%u passed, %u failed, %u skipped\n", count.passed, count.failed,
	       count.skipped);
	if (n == 0) {
		fprintf(stderr, "golden: %s: no .safetensors file\n", argv[1]);
		return 2;
	}
	return count.failed == 0 ? 0 : 1;
}

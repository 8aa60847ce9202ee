/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_replay.c - traces, the best possible cache, and `ckvd --replay`.
 */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "daemon/shell/replay.h"
#include "daemon/shell/trace.h"
#include "tests/lib/check_main.h"

static char text[256];

static int read_text(const char *lines, struct trace *trace)
{
	FILE *file = fmemopen((void *)(uintptr_t)lines, strlen(lines), "r");
	int r = trace_read(file, trace, text, sizeof text);

	fclose(file);
	return r;
}

/* Blocks are numbered by what comes before them as well as by their id. */
START_TEST(equal_prefixes_are_equal_blocks)
{
	static const uint32_t refs[] = { 0, 1, 0, 1, 2, 3, 4 };
	struct trace t;

	ck_assert_int_eq(read_text("{\"hash_ids\": [5, 6]}\n\n"
				   "{\"x\": 1, \"hash_ids\": [5, 6, 7]}\n"
				   "{\"hash_ids\": [6, 7]}", &t), 0);
	ck_assert_uint_eq(t.n_requests, 3);
	ck_assert_uint_eq(t.n_refs, 7);
	ck_assert_uint_eq(t.n_blocks, 5);
	ck_assert_mem_eq(t.refs, refs, sizeof refs);
	ck_assert_uint_eq(t.ends[1], 5);
	ck_assert_uint_eq(t.parents[2], 1);
	ck_assert_uint_eq(t.parents[3], UINT32_MAX);
	trace_free(&t);
}
END_TEST

/* Many equal ids under different parents stay different blocks. */
START_TEST(equal_ids_are_different_blocks)
{
	enum { N = 2000, LINE = 40 };
	char *lines = calloc(N, LINE), *at = lines;
	struct trace t;

	for (int i = 0; i < N; i++)
		at += snprintf(at, LINE, "{\"hash_ids\": [%d, 7, 7]}\n", i);
	ck_assert_int_eq(read_text(lines, &t), 0);
	ck_assert_uint_eq(t.n_blocks, 3 * N);
	trace_free(&t);
	free(lines);
}
END_TEST

static const struct {
	const char *lines, *says;
} damaged[] = {
	{ "{\"hash_ids\": [1]}\n{\"hash_ids\": [1", "line 2: " },
	{ "{}\n", "it has no request with a block; 1 rows have no hash_ids" },
	{ "[1]\n", "line 1: a row must be an object" },
	{ "{\"hash_ids\": 3}\n", "line 1: \"hash_ids\" must be a list of whole "
				 "numbers or texts" },
	{ "{\"hash_ids\": [1.5]}\n", "line 1: \"hash_ids\" must" },
	{ "{\"hash_ids\": [1]}\n{\"hash_ids\": [null]}\n", "line 2: " },
	{ "{\"turns\": [3]}\n", "line 1: a row must be an object" },
	{ "{\"hash_ids\": []}\n", "it has no request with a block" },
	{ " \n", "it has no request with a block" },
};

/* A damaged trace is refused with the line and the reason; nothing is kept. */
START_TEST(damaged_lines_are_named)
{
	struct trace t, before;

	memset(&t, 0x5a, sizeof t);
	before = t;
	ck_assert_int_eq(read_text(damaged[_i].lines, &t), -EBADMSG);
	ck_assert_msg(strncmp(text, damaged[_i].says,
			      strlen(damaged[_i].says)) == 0, "%s", text);
	ck_assert_mem_eq(&t, &before, sizeof t);
}
END_TEST

static const struct {
	const char *lines;
	uint32_t n_requests, n_refs, n_blocks, n_without, n_continued;
	bool sorted;
} dialects[] = {
	/* Ids are names: texts, and numbers of any size and sign. */
	{ "{\"hash_ids\": [\"9f86d081884c7d65\", \"603\"]}\n"
	  "{\"hash_ids\": [\"9f86d081884c7d65\", \"603\"]}\n", 2, 4, 2, 0, 0, false },
	{ "{\"hash_ids\": [18446744073709551615, 2]}\n"
	  "{\"hash_ids\": [18446744073709551615,2]}\n", 2, 4, 2, 0, 0, false },
	{ "{\"hash_ids\": [-9223372036854775809, -1]}\n"
	  "{\"hash_ids\": [9223372036854775809, -1]}\n"
	  "{\"hash_ids\": [-9223372036854775809, -2]}\n", 3, 6, 5, 0, 0, false },
	{ "{\"a\": \"\\\"12345678901234567890\", \"t\": 0.12345678901234567890, "
	  "\"hash_ids\": [1, \"1\"]}\n", 1, 2, 2, 0, 0, false },
	/* Rows without ids. */
	{ "{\"hash_ids\": [1, 2]}\n{\"type\": \"image\"}\n"
	  "{\"hash_ids\": null}\n{\"hash_ids\": [1]}\n", 2, 3, 2, 2, 0, false },
	/* Turns of a session list what is new, or all of it. */
	{ "{\"session_id\": \"a\", \"hash_ids\": [0, 1, 2]}\n"
	  "{\"session_id\": \"b\", \"hash_ids\": [7]}\n"
	  "{\"session_id\": \"a\", \"hash_ids\": [3], \"delay\": 5}\n"
	  "{\"session_id\": \"a\", \"hash_ids\": [4], \"delay\": 5}\n",
	  4, 13, 6, 0, 2, false },
	{ "{\"session_id\": 1, \"hash_ids\": [0, 1]}\n"
	  "{\"session_id\": 1, \"hash_ids\": [0, 1, 2]}\n", 2, 5, 3, 0, 0, false },
	/* Rows inside rows. */
	{ "{\"id\": 1, \"requests\": [{\"hash_ids\": [1, 2]}, "
	  "{\"hash_ids\": [3]}, {\"turns\": [{\"hash_ids\": [1]}]}]}\n"
	  "{\"turns\": [{\"hash_ids\": [3]}]}\n", 4, 7, 4, 0, 1, false },
};

/* What other recorders write is read as what it means. */
START_TEST(dialects_are_understood)
{
	struct trace t;

	ck_assert_msg(read_text(dialects[_i].lines, &t) == 0, "%s", text);
	ck_assert_uint_eq(t.n_requests, dialects[_i].n_requests);
	ck_assert_uint_eq(t.n_refs, dialects[_i].n_refs);
	ck_assert_uint_eq(t.n_blocks, dialects[_i].n_blocks);
	ck_assert_uint_eq(t.n_without, dialects[_i].n_without);
	ck_assert_uint_eq(t.n_continued, dialects[_i].n_continued);
	ck_assert(t.sorted == dialects[_i].sorted);
	trace_free(&t);
}
END_TEST

/* Rows happen in the order of their times; equal times keep the file's order. */
START_TEST(rows_are_replayed_in_time)
{
	static const uint32_t refs[] = { 0, 1, 2, 0 };
	struct trace t;

	ck_assert_int_eq(read_text("{\"timestamp\": 30, \"hash_ids\": [1]}\n"
				   "{\"timestamp\": 10.5, \"hash_ids\": [1]}\n"
				   "{\"hash_ids\": [2]}\n"
				   "{\"timestamp\": 20, \"hash_ids\": [3]}\n",
				   &t), 0);
	ck_assert(t.sorted);
	ck_assert_uint_eq(t.n_refs, 4);
	ck_assert_mem_eq(t.refs, refs, sizeof refs);
	trace_free(&t);
}
END_TEST

/* A file that ends anywhere in a line is refused. */
START_TEST(cut_files_are_refused)
{
	static const char whole[] = "{\"session_id\": \"a\", \"hash_ids\": "
		"[12345678901234567890, \"x\\\\\"], \"timestamp\": 1.5}\n";
	char cut[sizeof whole];
	struct trace t;

	for (size_t n = 1; n + 2 < sizeof whole; n++) {
		memcpy(cut, whole, n);
		cut[n] = '\0';
		ck_assert_int_eq(read_text(cut, &t), -EBADMSG);
	}
	ck_assert_int_eq(read_text(whole, &t), 0);
	trace_free(&t);
}
END_TEST

/* MIN as it is defined, without any cleverness. */
static uint64_t plain_min(const struct trace *t, uint32_t n_cached)
{
	uint32_t cache[16], n = 0, next[17];
	uint64_t n_hits = 0;

	for (uint32_t i = 0; i < t->n_refs; i++) {
		uint32_t far = 0, k;

		for (k = 0; k < n && cache[k] != t->refs[i]; k++)
			;
		n_hits += k < n;
		if (k == n)
			cache[n++] = t->refs[i];
		if (n <= n_cached)
			continue;
		for (k = 0; k < n; k++) {
			for (next[k] = i + 1; next[k] < t->n_refs &&
			     t->refs[next[k]] != cache[k]; next[k]++)
				;
			if (next[k] > next[far])
				far = k;
		}
		cache[far] = cache[--n];
	}
	return n_hits;
}

/* The best possible cache is the one of the definition, on random uses. */
START_TEST(belady_is_the_optimum)
{
	uint32_t refs[200];
	struct trace t = { .refs = refs, .n_refs = 200, .n_blocks = 30 };
	uint64_t n_hits;

	srand((unsigned)_i);
	for (int i = 0; i < 200; i++)
		refs[i] = (uint32_t)(rand() % 30);
	for (uint32_t n = 1; n <= 15; n++) {
		ck_assert_int_eq(trace_belady(&t, n, &n_hits), 0);
		ck_assert_uint_eq(n_hits, plain_min(&t, n));
	}
}
END_TEST

/* Run the command with its output in `out`; the exit status. */
static int replay(char *out, size_t out_bytes, const char *const *args)
{
	char *argv[12] = { "--replay" };
	FILE *file = fdopen(memfd_create("out", MFD_CLOEXEC), "w+");
	int argc = 1, saved = dup(STDOUT_FILENO), r;
	size_t n;

	while (args[argc - 1] != NULL) {
		argv[argc] = (char *)(uintptr_t)args[argc - 1];
		argc++;
	}
	fflush(stdout);
	dup2(fileno(file), STDOUT_FILENO);
	r = replay_main(argc, argv);
	fflush(stdout);
	dup2(saved, STDOUT_FILENO);
	close(saved);
	rewind(file);
	n = fread(out, 1, out_bytes - 1, file);
	out[n] = '\0';
	fclose(file);
	return r;
}

/* A short trace, in a folder of its own. */
static const char *write_trace(void)
{
	static char path[FOLDER_BYTES + 8];
	char dir[FOLDER_BYTES];
	FILE *file;

	folder_make(dir);
	snprintf(path, sizeof path, "%s/trace", dir);
	file = fopen(path, "w");
	ck_assert_ptr_nonnull(file);
	for (int i = 0; i < 300; i++)
		fprintf(file, "{\"hash_ids\": [0, %d, %d, %d]}\n", i % 7 + 1,
			100 + i % 50, 1000 + i % 90);
	fclose(file);
	return path;
}

/* Hits grow with the cache, never pass the optimum, and reach the ceiling. */
START_TEST(ratios_are_ordered)
{
	static char out[8192];
	const char *args[] = { write_trace(), "--json", "--fraction", "1/8,1/2,1/1",
			       NULL };
	json_t *all, *rows, *row, *belady, *value;
	const char *name, *size;
	double endless, last;

	ck_assert_int_eq(replay(out, sizeof out, args), 0);
	all = json_loads(out, 0, NULL);
	ck_assert_ptr_nonnull(all);
	rows = json_object_get(all, "replay");
	belady = json_object_get(rows, "belady");
	endless = json_real_value(json_object_get(all, "endless"));
	ck_assert_uint_eq(json_object_size(rows), 3);
	json_object_foreach(rows, name, row) {
		last = 0;
		json_object_foreach(row, size, value) {
			double best = json_real_value(json_object_get(belady,
								      size));

			ck_assert_double_ge(json_real_value(value), last);
			last = json_real_value(value);
			ck_assert_double_le(last, best);
		}
		ck_assert_double_eq_tol(last, endless, 1e-9);
	}
	json_decref(all);
}
END_TEST

/* A table for people names the policy asked for and the number of blocks. */
START_TEST(table_names_what_was_asked)
{
	static char out[8192];
	const char *args[] = { write_trace(), "--policy", "lru", "--blocks", "17",
			       NULL };

	ck_assert_int_eq(replay(out, sizeof out, args), 0);
	ck_assert_ptr_nonnull(strstr(out, " lru "));
	ck_assert_ptr_nonnull(strstr(out, "belady"));
	ck_assert_ptr_nonnull(strstr(out, "\n17 "));
}
END_TEST

/* Wrong arguments are refused with status 2, a wrong trace with status 1. */
START_TEST(wrong_arguments_are_refused)
{
	static const char *const wrong[][5] = {
		{ "/dev/null", "--policy", "random" },
		{ "/dev/null", "--blocks", "0" },
		{ "/dev/null", "--blocks", "12x" },
		{ "/dev/null", "--blocks", "-3" },
		{ "/dev/null", "more" },
		{ "--policy", "lru" },
		{ "/dev/null" },
		{ "/nonexistent/trace" },
	};
	static const char *const as_json[][5] = {
		{ "--json" }, { "--json", "/nonexistent/trace" },
		{ "/dev/null", "--blocks", "64K", "--json" },
		{ "/dev/null", "--frob", "--json" },
	};
	json_t *all;
	static char out[8192];

	for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
		ck_assert_int_eq(replay(out, sizeof out, wrong[i]),
				 i < 6 ? 2 : 1);
	ck_assert_str_eq(out, "");
	/* Who wants JSON gets it also then. */
	for (size_t i = 0; i < sizeof as_json / sizeof as_json[0]; i++) {
		ck_assert_int_ne(replay(out, sizeof out, as_json[i]), 0);
		all = json_loads(out, 0, NULL);
		ck_assert_msg(json_is_string(json_object_get(json_object_get(all,
			"error"), "text")), "%s", out);
		json_decref(all);
	}
}
END_TEST

/* A list of fractions that is none is refused once the trace is known. */
START_TEST(wrong_fractions_are_refused)
{
	static const char *const wrong[] = { "", "1", "1/0", "3/2", "1/2,",
					     "1/2;1/4" };
	static char out[8192];
	const char *args[] = { write_trace(), "--fraction", NULL, NULL };

	for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
		args[2] = wrong[i];
		ck_assert_int_eq(replay(out, sizeof out, args), 2);
	}
}
END_TEST

CHECK_MAIN("replay",
	CASE("replay"),
	TEST(equal_prefixes_are_equal_blocks),
	TEST(equal_ids_are_different_blocks),
	EACH(damaged_lines_are_named, damaged),
	EACH(dialects_are_understood, dialects),
	TEST(rows_are_replayed_in_time),
	TEST(cut_files_are_refused),
	LOOP(belady_is_the_optimum, 20),
	TEST(ratios_are_ordered),
	TEST(table_names_what_was_asked),
	TEST(wrong_arguments_are_refused),
	TEST(wrong_fractions_are_refused))

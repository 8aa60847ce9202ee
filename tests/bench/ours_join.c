/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ours_join.c - what it saves that the second of two engines with one new prompt waits.
 *
 * Two processes of the example engine read a document of 1 790 tokens that nobody has
 * read, started together: once each computes it, once the second waits for what the first
 * writes. Compared is the time that both took of the processors, start and model included.
 * Where nobody waited, or nobody computed twice, there is no value and the benchmark fails.
 */
#include "tests/bench/bench.h"

#include "client/examples/engine/demo.h"

#include <stdio.h>

static const char *const key = "join_second_prompt_ratio";

static double number(const json_t *both, const char *name)
{
	return json_number_value(json_object_get(both, name));
}

/* NULL, or why these figures do not count. */
static const char *judge(const json_t *twice, const json_t *once)
{
	if (number(twice, "computed") < 1.5 * number(twice, "tokens"))
		return "no two engines computed at the same time";
	if (number(once, "joined") <= 0)
		return "no engine waited for the other";
	if (!json_is_true(json_object_get(twice, "same")) ||
	    !json_is_true(json_object_get(once, "same")))
		return "the engines' logits differ";
	return NULL;
}

void bench_join(struct bench *b)
{
	struct stage s = { 0 };
	json_t *twice = NULL, *once = NULL;
	const char *why;
	struct err e;
	int r;

	snprintf(s.bin, sizeof(s.bin), "%s", b->bin_dir);
	r = stage_open(&s, &e);
	if (r < 0) {
		bench_fail(b, key, "%s", e.text);
		return;
	}
	r = demo_run_two(&s, 1, "0", &twice, &e);
	if (r == 0)
		r = demo_run_two(&s, 2, "60", &once, &e);
	why = r < 0 ? e.text : judge(twice, once);
	if (why != NULL)
		bench_fail(b, key, "%s", why);
	else
		bench_add(b, key, number(twice, "cpu_s") / number(once, "cpu_s"));
	json_decref(twice);
	json_decref(once);
	if (stage_close(&s, &e) < 0)
		bench_fail(b, key, "%s", e.text);
}

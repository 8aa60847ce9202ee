/* SPDX-License-Identifier: Apache-2.0 */
/*
 * demo_report.c - the demo's findings as a page of text that explains itself.
 */
#include <stdio.h>
#include <string.h>

#include "client/examples/engine/demo.h"

#define BAR_CELLS	32

static long long number(const json_t *from, const char *key)
{
	return json_integer_value(json_object_get(from, key));
}

static const char *text(const json_t *from, const char *key)
{
	const char *s = json_string_value(json_object_get(from, key));

	return s != NULL ? s : "";
}

/* A bar of `part` in `whole`, a tenth of a cell at least. */
static void print_bar(double part, double whole)
{
	double cells = whole > 0 ? part / whole * BAR_CELLS : 0;
	int n = (int)(cells + 0.5);

	if (n == 0 && part > 0)
		fputs("▏", stdout);
	for (int i = 0; i < n; i++)
		fputs("█", stdout);
}

static void print_mib(long long bytes)
{
	printf("%7.2f MiB", (double)bytes / (1 << 20));
}

static void print_steps(const json_t *found)
{
	const json_t *steps = json_object_get(found, "steps");
	const json_t *step;
	double slowest = 0;
	size_t i;

	json_array_foreach(steps, i, step)
		if ((double)number(step, "first_word_ns") > slowest)
			slowest = (double)number(step, "first_word_ns");
	printf("%-10s %-32s %8s %6s %8s %11s %11s  %s\n", "", "", "prompted",
	       "found", "computed", "in cache", "own", "answer");
	json_array_foreach(steps, i, step) {
		printf("%-10s %-32s %8lld %6lld %8lld ", text(step, "who"),
		       text(step, "what"), number(step, "tokens"),
		       number(step, "found"), number(step, "computed"));
		print_mib(number(step, "shared_bytes"));
		putchar(' ');
		print_mib(number(step, "own_bytes"));
		printf("  %s%s\n", text(step, "answer"),
		       json_is_true(json_object_get(step, "right")) ?
		       "  right" : "  WRONG");
	}
	puts("\ntime to the first word");
	json_array_foreach(steps, i, step) {
		double ns = (double)number(step, "first_word_ns");

		printf("%-10s %8.1f ms  ", text(step, "who"), ns / 1e6);
		print_bar(ns, slowest);
		putchar('\n');
	}
}

static void print_bits(const json_t *found)
{
	const json_t *same = json_object_get(found, "identical");

	printf("\n%s: %lld of %lld answers of engines 1, 2 and 3 rest on the "
	       "same logits, bit for bit,\nas without a cache.\n",
	       number(same, "same") == number(same, "compared") ?
	       "Nothing was lost" : "SOMETHING WAS LOST", number(same, "same"),
	       number(same, "compared"));
}

static void print_claims(const char *when, const json_t *c)
{
	printf("%-10s %8lld %6lld %12lld %8lld %11lld %8lld\n", when,
	       number(c, "clients"), number(c, "pins"), number(c, "lent"),
	       number(c, "blocks"), number(c, "free"), number(c, "pages"));
}

static void print_death(const json_t *found)
{
	const json_t *death = json_object_get(found, "death");

	printf("\nEngine 1 is killed (SIGKILL) while it writes another document, "
	       "%lld of its pages\nborrowed and not published. What the daemon "
	       "says of itself:\n\n", number(death, "wrote_blocks"));
	printf("%-10s %8s %6s %12s %8s %11s %8s\n", "", "clients", "pins",
	       "pages lent", "blocks", "pages free", "of");
	print_claims("before", json_object_get(death, "before"));
	print_claims("after", json_object_get(death, "after"));
	puts(json_is_true(json_object_get(death, "leaked")) ?
	     "\nSOMETHING LEAKED." :
	     "\nIts claims are gone, nothing leaked (blocks + free = all), and "
	     "engine 3 found everything.");
}

/* "1/4" as people say it. */
static double percent(const char *share)
{
	unsigned p = 0, q = 1;

	return sscanf(share, "%u/%u", &p, &q) == 2 && q > 0 ?
	       100.0 * p / q : 0;
}

static void print_view(const json_t *v, long long questions, long long whole)
{
	printf("%3.0f %%  %7lld ", percent(text(v, "keep")), number(v, "kept"));
	print_mib(number(v, "bytes"));
	printf("%8lld/%-2lld %12lld/%-2lld %10lld/%-2lld   ",
	       number(v, "right_asked"), questions, number(v, "right_later"),
	       questions, number(v, "right_first_last"), questions);
	print_bar((double)number(v, "bytes"), (double)whole);
	putchar('\n');
}

static void print_lesson(const json_t *views)
{
	long long asked = 0, later = 0, ends = 0;
	const json_t *v;
	size_t i;

	json_array_foreach(views, i, v) {
		asked += number(v, "right_asked");
		later += number(v, "right_later");
		ends += number(v, "right_first_last");
	}
	puts("\n\"Question known\": the question's own tokens choose what is kept, "
	     "as papers report it;\nthat is one view for each question. \"Question "
	     "unknown\": one view, made from the\ndocument alone before anybody "
	     "asks, which is what a shared cache really faces.");
	printf("In all %lld answers are right with the question known, %lld "
	       "with it unknown, and %lld from\nthe first and last tokens "
	       "only.%s\n", asked, later, ends, later >= asked ? "" :
	       " That is why ckv keeps every token unless a view is asked for.");
}

static void print_views(const json_t *found)
{
	const json_t *views = json_object_get(found, "views"), *v;
	const json_t *step = json_array_get(json_object_get(found, "steps"), 1);
	long long n = number(found, "questions");
	long long whole = number(step, "shared_bytes");
	size_t i;

	puts("\nChunkKV views: a compressed form that other processes answer "
	     "from. Right answers\n");
	printf("%-6s %7s %11s %11s %15s %13s\n", "kept", "tokens", "bytes",
	       "question", "question", "first 4 +");
	printf("%-6s %7s %11s %11s %15s %13s\n", "", "", "", "known",
	       "unknown", "last tokens");
	printf("%-6s %7lld ", "all", number(step, "tokens"));
	print_mib(whole);
	printf("%8lld/%-2lld %12lld/%-2lld %13s   ",
	       number(found, "right_whole"), n, number(found, "right_whole"), n,
	       "");
	print_bar(1, 1);
	putchar('\n');
	json_array_foreach(views, i, v)
		print_view(v, n, whole);
	print_lesson(views);
}

void demo_report(const json_t *found)
{
	const json_t *machine = json_object_get(found, "machine");
	const json_t *step = json_array_get(json_object_get(found, "steps"), 0);

	printf("ckv: several engines, one cache\n\n"
	       "A document of %lld tokens with 16 facts and a question about "
	       "one of them; each engine is a\nprocess of its own, the cache "
	       "belongs to ckvd. %s, %lld processors, Linux %s.\n\n",
	       number(step, "tokens") - 8, text(machine, "cpu"),
	       number(machine, "processors"), text(machine, "kernel"));
	print_steps(found);
	print_bits(found);
	print_death(found);
	print_views(found);
	printf("\n%s in %.1f s.\n", json_is_true(json_object_get(found,
	       "well")) ? "All as it should be" : "NOT AS IT SHOULD BE",
	       json_real_value(json_object_get(found, "took_s")));
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * demo_report.c - the demo as a page of text, line by line as things happen.
 *
 * A line is begun before the work that it tells of and ended after it, and it
 * grows by a dot where that takes long, so whoever looks on always sees what is
 * going on, also through a pipe. No line is wider than 80 columns.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "client/examples/engine/demo.h"

#define BAR_CELLS	16
#define DOTS_MAX	24

static bool telling;
static char line[256];		/* what the line says so far */
static int dots;		/* and its dots */

void demo_tell(bool on)
{
	telling = on;
}

void demo_wait(void)
{
	if (!telling || line[0] == '\0' || dots == DOTS_MAX)
		return;
	fputs(dots == 0 ? " ." : ".", stdout);
	fflush(stdout);
	dots++;
}

/* More of the line. A line that has dots is begun again without them. */
__attribute__((format(printf, 1, 2)))
static void tell(const char *fmt, ...)
{
	size_t n = strlen(line);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line + n, sizeof(line) - n, fmt, ap);
	va_end(ap);
	if (!telling)
		return;
	if (dots > 0)
		printf("\n%s", line);
	else
		fputs(line + n, stdout);
	fflush(stdout);
	dots = 0;
}

static void end_line(void)
{
	if (telling)
		puts("");
	line[0] = '\0';
	dots = 0;
}

/* Whole lines. */
static void say(const char *text)
{
	if (telling)
		puts(text);
}

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
static void tell_bar(double part, double whole)
{
	double cells = whole > 0 ? part / whole * BAR_CELLS : 0;
	int n = (int)(cells + 0.5);

	n = n < BAR_CELLS ? n : BAR_CELLS;
	if (n == 0 && part > 0)
		tell("▏");
	for (int i = 0; i < n; i++)
		tell("█");
}

void demo_tell_begin(const json_t *machine, long long n_tokens)
{
	say("ckv: several engines, one cache\n");
	tell("A document of %lld tokens holds 16 facts; each question is about "
	     "one of them.", n_tokens);
	end_line();
	say("Each engine is a process of its own; the cache belongs to the "
	    "daemon, ckvd.");
	tell("%.44s, %lld processors, Linux %.20s", text(machine, "cpu"),
	     number(machine, "processors"), text(machine, "kernel"));
	end_line();
}

void demo_tell_who(const char *who, const char *what)
{
	say("");
	tell("%s: %s", who, what);
}

void demo_tell_step(const json_t *steps, const json_t *step)
{
	double slowest = (double)number(json_array_get(steps, 0),
					"first_word_ns");
	double ns = (double)number(step, "first_word_ns");

	end_line();
	tell("  %lld tokens: %lld found in the cache, %lld computed",
	     number(step, "tokens"), number(step, "found"),
	     number(step, "computed"));
	end_line();
	tell("  keys and values: %.2f MiB in the cache, %.2f MiB of its own",
	     (double)number(step, "shared_bytes") / (1 << 20),
	     (double)number(step, "own_bytes") / (1 << 20));
	end_line();
	tell("  the answer: %.20s %s; its first word after %.1f ms  ",
	     text(step, "answer"), json_is_true(json_object_get(step, "right")) ?
	     "(right)" : "(WRONG)", ns / 1e6);
	tell_bar(ns, slowest);
	end_line();
}

void demo_tell_compare(void)
{
	say("");
	tell("The same questions without a cache, to compare");
}

void demo_tell_bits(const json_t *same)
{
	end_line();
	tell("  %s: %lld of %lld answers of engines 1, 2, 3 and 4",
	     number(same, "same") == number(same, "compared") ?
	     "Nothing was lost" : "SOMETHING WAS LOST", number(same, "same"),
	     number(same, "compared"));
	end_line();
	say("  rest on the same numbers (logits), bit for bit.");
}

void demo_tell_joining(void)
{
	say("\nTwo engines get one new document at the same moment");
}

void demo_tell_two(const char *how)
{
	tell("  %s", how);
}

void demo_tell_used(const json_t *both, const json_t *most)
{
	double cpu_s = json_real_value(json_object_get(both, "cpu_s"));

	tell(" %lld tokens computed, %.2f s of CPU  ", number(both, "computed"),
	     cpu_s);
	tell_bar(cpu_s, json_real_value(json_object_get(most, "cpu_s")));
	end_line();
}

void demo_tell_joined(const json_t *both)
{
	say(json_is_true(json_object_get(both, "same")) ?
	    "  Both answer from the same numbers, bit for bit." :
	    "  THEIR NUMBERS DIFFER.");
}

void demo_tell_killing(void)
{
	say("");
	tell("Engine 1 is killed (SIGKILL) while it writes another document");
}

static void tell_claims(const char *when, const json_t *c)
{
	tell("  %-7s%8lld%6lld%12lld%8lld%12lld%7lld", when,
	     number(c, "clients"), number(c, "pins"), number(c, "lent"),
	     number(c, "blocks"), number(c, "free"), number(c, "pages"));
	end_line();
}

void demo_tell_death(const json_t *death)
{
	end_line();
	tell("  %lld pages were lent to it and not published. "
	     "The daemon says of itself:", number(death, "wrote_blocks"));
	end_line();
	tell("  %-7s%8s%6s%12s%8s%12s%7s", "", "clients", "pins", "pages lent",
	     "blocks", "pages free", "of");
	end_line();
	tell_claims("before", json_object_get(death, "before"));
	tell_claims("after", json_object_get(death, "after"));
	say(json_is_true(json_object_get(death, "leaked")) ?
	    "  SOMETHING LEAKED." : "  What it held is free again: blocks and "
	    "free pages are all there are.");
}

void demo_tell_restarting(void)
{
	say("");
	tell("The daemon is killed (SIGKILL); its keeper starts it again");
}

void demo_tell_restart(const json_t *restart)
{
	end_line();
	tell("  It held %lld blocks. After %.1f ms it serves again, and holds %lld.",
	     number(restart, "blocks_before"),
	     json_real_value(json_object_get(restart, "ms")),
	     number(restart, "blocks_after"));
	end_line();
	say(number(restart, "blocks_after") == number(restart, "blocks_before") ?
	    "  The memory was the keeper's meanwhile." : "  BLOCKS WERE LOST.");
}

void demo_tell_views(long long n_questions)
{
	say("\nViews: a compressed form that other processes answer from. A "
	    "view keeps some\ntokens, which ChunkKV chooses.");
	tell("  %lld questions are asked of all that is stored", n_questions);
}

void demo_tell_making(const char *what)
{
	end_line();
	tell("  views are made of the document%s", what);
}

void demo_tell_table(const json_t *found)
{
	const json_t *step = json_array_get(json_object_get(found, "steps"), 1);
	long long n = number(found, "questions");
	long long right = number(found, "right_whole");

	end_line();
	say("\n  right answers:");
	tell("  %-5s%7s%10s%10s%10s%13s", "kept", "tokens", "", "question",
	     "question", "first 4 and");
	end_line();
	tell("  %-5s%7s%10s%10s%10s%13s", "", "", "", "known", "unknown",
	     "last tokens");
	end_line();
	tell("  %-5s%7lld%6.2f MiB%7lld/%-2lld%7lld/%-2lld%14s", "all",
	     number(step, "tokens"), (double)number(step, "shared_bytes") /
	     (1 << 20), right, n, right, n, "");
	tell_bar(1, 1);
	end_line();
}

/* "1/4" as people say it. */
static double percent(const char *share)
{
	unsigned p = 0, q = 1;

	return sscanf(share, "%u/%u", &p, &q) == 2 && q > 0 ?
	       100.0 * p / q : 0;
}

void demo_tell_view(const char *keep, const json_t *made)
{
	tell("  %3.0f %%%7lld%6.2f MiB", percent(keep), number(made, "kept"),
	     (double)number(made, "bytes") / (1 << 20));
}

void demo_tell_right(long long right, long long n_questions)
{
	tell("%7lld/%-2lld", right, n_questions);
}

void demo_tell_view_end(const json_t *found, const json_t *made)
{
	const json_t *step = json_array_get(json_object_get(found, "steps"), 1);

	tell("    ");
	tell_bar((double)number(made, "bytes"),
		 (double)number(step, "shared_bytes"));
	end_line();
}

static void tell_lesson(const json_t *views)
{
	long long asked = 0, later = 0, ends = 0;
	const json_t *v;
	size_t i;

	json_array_foreach(views, i, v) {
		asked += number(v, "right_asked");
		later += number(v, "right_later");
		ends += number(v, "right_first_last");
	}
	say("\n  \"Question known\": its own tokens choose what is kept, as "
	    "papers report it.\n  That is a view for each question. \"Question "
	    "unknown\": one view, made of the\n  document before anybody asks, "
	    "which is what a shared cache really faces.");
	tell("  In all, %lld answers are right with the question known, %lld "
	     "with it unknown,", asked, later);
	end_line();
	tell("  and %lld from the first and last tokens alone.", ends);
	end_line();
	if (later < asked)
		say("  That is why ckv keeps every token unless a view is asked "
		    "for.");
}

void demo_tell_end(const json_t *found)
{
	tell_lesson(json_object_get(found, "views"));
	say("");
	tell("%s, in %.1f s.", json_is_true(json_object_get(found, "well")) ?
	     "All is as it should be" : "NOT ALL IS AS IT SHOULD BE",
	     json_real_value(json_object_get(found, "took_s")));
	end_line();
}

void demo_tell_failure(void)
{
	if (line[0] != '\0')
		end_line();
}

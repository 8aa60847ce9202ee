/* SPDX-License-Identifier: Apache-2.0 */
/*
 * demo.c - the story, step by step; every step is a process of its own.
 *
 * (1) engine 1 reads a document, answers a question and publishes its blocks;
 * (2) engine 2 gets the same document and another question; (3) engine 1 is
 * killed while it writes another document, and engine 3 still hits; (4) the daemon is
 * killed (demo_restart.c), and engine 4 still hits; (5) two engines get one new document
 * at once (demo_join.c); (6) views of the document at several sizes, made with the
 * question known and unknown.
 * What each step says is told as it happens and goes into one JSON value.
 */
#include "client/examples/engine/demo.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "client/examples/engine/stage.h"

#define QUESTIONS_MAX	16u
#define N_ENGINES	4u	/* that ask, each its own question */
#define PAUSE_BLOCKS	"60"
#define SHOWN_MS	5000	/* the daemon may take to show what is */

static const char help[] =
"usage: ckv-engine --demo [--json] [--quick] [--model DIR]\n"
"\n"
"Start ckvd on a private socket, without any special right, and show engines\n"
"sharing its cache: what a second one finds, what a killed one leaves behind,\n"
"what is left when the daemon is killed, what two with one new document compute,\n"
"and what compressed views keep of one.\n"
"\n"
"  --json       print what was found as JSON\n"
"  --quick      ask 4 questions of each view, not 16\n"
"  --model DIR  a folder like tests/data/tiny-recall\n";

/* The shares that views keep, as asked for and as shown. */
static const char *const shares[] = { "1/2", "1/4", "1/10" };

#define N_SHARES	(sizeof(shares) / sizeof(shares[0]))

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static json_t *first_answer(const json_t *said)
{
	return json_array_get(json_object_get(said, "answers"), 0);
}

/* Note one step: who, and what it said about its first answer. */
static void note_step(struct stage *s, json_t *found, const char *who,
		      const char *what, uint32_t question, const json_t *said)
{
	json_t *step = json_copy(first_answer(said));

	json_object_set_new(step, "who", json_string(who));
	json_object_set_new(step, "what", json_string(what));
	json_object_set_new(step, "right", json_boolean(
			    stage_is_right(s, question, step)));
	json_array_append_new(json_object_get(found, "steps"), step);
	demo_tell_step(json_object_get(found, "steps"), step);
}

/* The i-th question without a cache and, `cached`, with it. */
static int ask_once(struct stage *s, bool cached, uint32_t i, json_t *found,
		    const char *who, const char *what, struct err *e)
{
	json_t *said;
	struct args a;
	int r;

	demo_tell_who(who, what);
	stage_engine(s, cached, &a);
	args_add(&a, "--ask");
	args_add(&a, stage_question(s, i));
	r = proc_ask(who, &a, s->errors, &said, e);
	if (r < 0)
		return r;
	note_step(s, found, who, what, i, said);
	json_decref(said);
	return 0;
}

/* Engine 1 answers, and goes on with the other document until it pauses. */
static int start_first(struct stage *s, json_t *found, struct proc *first,
		       struct err *e)
{
	static const char what[] = "reads it, answers, publishes it";
	json_t *said;
	struct args a;
	int r;

	demo_tell_who("engine 1", what);
	stage_engine(s, true, &a);
	args_add(&a, "--ask");
	args_add(&a, stage_question(s, 0));
	args_add(&a, "--then");
	args_add(&a, stage_text(s->second));
	args_add(&a, "--pause");
	args_add(&a, PAUSE_BLOCKS);
	r = proc_start("engine 1", &a, s->errors, first, e);
	if (r < 0)
		return r;
	r = proc_read(first, &said, e);
	if (r < 0) {
		proc_end(first, SIGKILL);
		return r;
	}
	note_step(s, found, "engine 1", what, 0, said);
	json_decref(said);
	return 0;
}

/* The numbers of the daemon's status that tell what clients hold. */
static json_t *claims(const json_t *status)
{
	const json_t *space = json_array_get(json_object_get(
		json_object_get(status, "status"), "spaces"), 0);
	const json_t *stats = json_object_get(space, "stats");
	const json_t *clients = json_object_get(status, "clients");
	const json_t *client;
	json_int_t pins = 0;
	size_t i;

	json_array_foreach(clients, i, client)
		pins += json_integer_value(json_object_get(client, "pins"));
	return json_pack("{s:I, s:I, s:O, s:O, s:O, s:O}",
			 "clients", (json_int_t)json_array_size(clients),
			 "pins", pins,
			 "lent", json_object_get(stats, "pages_lent"),
			 "blocks", json_object_get(stats, "blocks"),
			 "free", json_object_get(stats, "pages_free"),
			 "pages", json_object_get(stats, "pages_total"));
}

static json_int_t number(const json_t *from, const char *key)
{
	return json_integer_value(json_object_get(from, key));
}

static int read_claims(struct stage *s, json_t **ret, struct err *e)
{
	json_t *status;
	int r = stage_status(s, &status, e);

	if (r < 0)
		return r;
	*ret = claims(status);
	json_decref(status);
	return *ret != NULL ? 0 : err_set(e, -EPROTO, "ckv status --json says "
					  "nothing about pages and blocks");
}

/* A client that holds something, as far as the daemon shows it. */
static bool holds(const json_t *now)
{
	return number(now, "clients") > 0 && number(now, "pins") > 0 &&
	       number(now, "lent") > 0;
}

/* Nobody is attached and nothing is lent. */
static bool gone(const json_t *now)
{
	return number(now, "clients") == 0 && number(now, "lent") == 0;
}

/* Look until it is so, or for as long as the daemon may take to show it. */
static int await(struct stage *s, bool (*so)(const json_t *now), json_t **ret,
		 struct err *e)
{
	struct timespec wait = { .tv_nsec = 20000000 };
	uint64_t from = now_ns();
	json_t *now = NULL;
	int r;

	for (;;) {
		r = read_claims(s, &now, e);
		if (r < 0)
			return r;
		if (so(now) || now_ns() - from > SHOWN_MS * 1000000ull)
			break;
		json_decref(now);
		nanosleep(&wait, NULL);
	}
	*ret = now;
	return 0;
}

/* Engine 1 is in the middle of the other document: kill it there. */
static int kill_first(struct stage *s, json_t *found, struct proc *first,
		      struct err *e)
{
	json_t *said = NULL, *before = NULL, *after = NULL;
	bool leaked;
	int r;

	demo_tell_killing();
	r = proc_read(first, &said, e);
	if (r == 0)
		r = await(s, holds, &before, e);
	proc_end(first, SIGKILL);
	if (r == 0)
		r = await(s, gone, &after, e);
	if (r == 0) {
		leaked = number(after, "clients") != 0 ||
			 number(after, "pins") != 0 ||
			 number(after, "lent") != 0 ||
			 number(after, "free") + number(after, "blocks") !=
			 number(after, "pages");
		json_object_set_new(found, "death", json_pack(
			"{s:O, s:O, s:O, s:b}", "wrote_blocks",
			json_object_get(said, "paused_lent"), "before", before,
			"after", after, "leaked", leaked));
		demo_tell_death(json_object_get(found, "death"));
	}
	json_decref(said);
	json_decref(before);
	json_decref(after);
	return r;
}

/* Do the cached runs end in the same bits as the ones without a cache? */
static void compare_bits(json_t *found, const json_t *alone)
{
	json_t *steps = json_object_get(found, "steps");
	json_int_t n = 0, same = 0;
	json_t *step, *other;
	size_t i, j;

	json_array_foreach(steps, i, step) {
		const char *text = json_string_value(json_object_get(step,
								"question"));

		json_array_foreach(alone, j, other) {
			if (strcmp(text, json_string_value(json_object_get(
					other, "question"))) != 0 ||
			    strcmp(json_string_value(json_object_get(step,
					"who")), "no cache") == 0)
				continue;
			n++;
			same += json_equal(json_object_get(step, "logits_sum"),
					   json_object_get(other,
							   "logits_sum"));
		}
	}
	json_object_set_new(found, "identical", json_pack("{s:I, s:I}",
			    "compared", n, "same", same));
	demo_tell_bits(json_object_get(found, "identical"));
}

/* Steps 1 to 4. */
static int share(struct stage *s, json_t *found, struct err *e)
{
	struct proc first = { .out = -1 };
	json_t *alone = NULL;
	struct args a;
	int r;

	r = ask_once(s, false, 1, found, "no cache",
		     "an engine by itself reads the document, answers", e);
	if (r == 0)
		r = start_first(s, found, &first, e);
	if (r == 0)
		r = ask_once(s, true, 1, found, "engine 2",
			     "the same text, another question", e);
	if (r == 0)
		r = kill_first(s, found, &first, e);
	proc_end(&first, SIGKILL);
	if (r == 0)
		r = ask_once(s, true, 2, found, "engine 3",
			     "the same text, after the death of engine 1", e);
	if (r == 0)
		r = demo_restart(s, found, e);
	if (r == 0)
		r = ask_once(s, true, 3, found, "engine 4",
			     "the same text, after the death of the daemon", e);
	if (r < 0)
		return r;
	demo_tell_compare();
	stage_engine(s, false, &a);
	for (uint32_t i = 0; i < N_ENGINES; i++) {
		args_add(&a, "--ask");
		args_add(&a, stage_question(s, i));
	}
	r = proc_ask("engine without a cache", &a, s->errors, &alone, e);
	if (r == 0)
		compare_bits(found, json_object_get(alone, "answers"));
	json_decref(alone);
	return r;
}

static void add_questions(const struct stage *s, struct args *a)
{
	for (uint32_t i = 0; i < s->n_questions; i++) {
		args_add(a, "--ask");
		args_add(a, stage_question(s, i));
	}
}

static json_int_t count_right(const struct stage *s, const json_t *said)
{
	const json_t *answers = json_object_get(said, "answers");
	json_int_t n = 0;

	for (uint32_t i = 0; i < s->n_questions; i++)
		n += stage_is_right(s, i, json_array_get(answers, i));
	return n;
}

/* Have views made: of the text alone, or of the text with each question. */
static int make_views(struct stage *s, bool asked, json_t *found,
		      struct err *e)
{
	json_t *said;
	struct args a;
	int r;

	demo_tell_making(asked ? " with each question" : " alone");
	stage_engine(s, true, &a);
	args_add(&a, "--make-views");
	for (size_t i = 0; i < N_SHARES; i++) {
		args_add(&a, "--keep");
		args_add(&a, shares[i]);
	}
	args_add(&a, "--window");
	args_add(&a, asked ? "8" : "32");
	if (asked)
		add_questions(s, &a);
	r = proc_ask("the engine that makes views", &a, s->errors, &said, e);
	if (r < 0)
		return r;
	if (!asked)
		json_object_set(found, "made", json_object_get(
				first_answer(said), "views"));
	json_decref(said);
	return 0;
}

/* All questions, in a process of its own: how many answers are right? */
static int ask_all(struct stage *s, const char *option, const char *value,
		   const char *share_kept, json_int_t *ret_right, struct err *e)
{
	json_t *said;
	struct args a;
	int r;

	stage_engine(s, true, &a);
	if (option != NULL) {
		args_add(&a, option);
		args_add(&a, value);
	}
	if (share_kept != NULL) {
		args_add(&a, "--keep");
		args_add(&a, share_kept);
		args_add(&a, "--window");
		args_add(&a, strcmp(value, "asked") == 0 ? "8" : "32");
	}
	add_questions(s, &a);
	r = proc_ask("the engine that reads views", &a, s->errors, &said, e);
	if (r < 0)
		return r;
	*ret_right = count_right(s, said);
	json_decref(said);
	return 0;
}

static int ask_and_tell(struct stage *s, const char *option, const char *value,
			const char *share_kept, json_int_t *ret_right,
			struct err *e)
{
	int r = ask_all(s, option, value, share_kept, ret_right, e);

	if (r == 0)
		demo_tell_right(*ret_right, s->n_questions);
	return r;
}

static int compare_share(struct stage *s, size_t i, json_t *found,
			 struct err *e)
{
	const json_t *made = json_array_get(json_object_get(found, "made"), i);
	json_int_t asked = 0, later = 0, ends = 0;
	char kept[24];
	int r;

	snprintf(kept, sizeof(kept), "%lld", (long long)number(made, "kept"));
	demo_tell_view(shares[i], made);
	r = ask_and_tell(s, "--view", "asked", shares[i], &asked, e);
	if (r == 0)
		r = ask_and_tell(s, "--view", "text", shares[i], &later, e);
	if (r == 0)
		r = ask_and_tell(s, "--first-last", kept, NULL, &ends, e);
	if (r < 0)
		return r;
	demo_tell_view_end(found, made);
	json_array_append_new(json_object_get(found, "views"), json_pack(
		"{s:s, s:O, s:O, s:O, s:I, s:I, s:I}", "keep", shares[i],
		"kept", json_object_get(made, "kept"),
		"tokens", json_object_get(made, "tokens"),
		"bytes", json_object_get(made, "bytes"),
		"right_asked", asked, "right_later", later,
		"right_first_last", ends));
	return 0;
}

/* Step 6. */
static int compress(struct stage *s, json_t *found, struct err *e)
{
	json_int_t all = 0;
	int r;

	json_object_set_new(found, "questions",
			    json_integer(s->n_questions));
	demo_tell_views(s->n_questions);
	r = ask_all(s, NULL, NULL, NULL, &all, e);
	json_object_set_new(found, "right_whole", json_integer(all));
	if (r == 0)
		r = make_views(s, false, found, e);
	if (r == 0)
		r = make_views(s, true, found, e);
	if (r == 0)
		demo_tell_table(found);
	for (size_t i = 0; r == 0 && i < N_SHARES; i++)
		r = compare_share(s, i, found, e);
	json_object_del(found, "made");
	return r;
}

static void name_machine(json_t *found)
{
	char line[256] = "", cpu[128] = "";
	struct utsname uts = { 0 };
	FILE *in = fopen("/proc/cpuinfo", "re");

	while (in != NULL && fgets(line, sizeof(line), in) != NULL)
		if (sscanf(line, "model name : %127[^\n]", cpu) == 1)
			break;
	if (in != NULL)
		fclose(in);
	uname(&uts);
	json_object_set_new(found, "machine", json_pack("{s:s, s:I, s:s}",
			    "cpu", cpu, "processors",
			    (json_int_t)sysconf(_SC_NPROCESSORS_ONLN),
			    "kernel", uts.release));
}

/* Everything that the story promises came true. */
static bool all_well(const json_t *found)
{
	const json_t *same = json_object_get(found, "identical");
	const json_t *step;
	size_t i;

	json_array_foreach(json_object_get(found, "steps"), i, step)
		if (i >= 2 && number(step, "found") == 0)
			return false;
	return demo_restart_well(found) && demo_join_well(found) &&
	       number(same, "compared") == N_ENGINES && number(same, "same") == N_ENGINES &&
	       !json_is_true(json_object_get(json_object_get(found, "death"),
					     "leaked"));
}

static long long count_words(const char *text)
{
	long long n = 0;

	for (text += strspn(text, " "); *text != '\0'; n++) {
		text += strcspn(text, " ");
		text += strspn(text, " ");
	}
	return n;
}

static int play(struct stage *s, json_t *found, struct err *e)
{
	struct err closing;
	int r, closed;

	r = stage_open(s, e);
	if (r < 0)
		return r;
	demo_tell_begin(json_object_get(found, "machine"),
			count_words(stage_text(s->story)));
	r = share(s, found, e);
	if (r == 0)
		r = demo_join(s, found, e);
	if (r == 0)
		r = compress(s, found, e);
	if (r < 0) {
		demo_tell_failure();
		stage_complain(s);
	}
	closed = stage_close(s, &closing);
	if (r == 0 && closed < 0)
		return err_set(e, closed, "%s", closing.text);
	return r;
}

static int take_options(int argc, char **argv, struct stage *s, bool *ret_json)
{
	s->n_questions = QUESTIONS_MAX;
	*ret_json = false;
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--json") == 0) {
			*ret_json = true;
		} else if (strcmp(argv[i], "--quick") == 0) {
			s->n_questions = 4;
		} else if (strcmp(argv[i], "--model") == 0 && i + 1 < argc &&
			   strlen(argv[i + 1]) < sizeof(s->model)) {
			strcpy(s->model, argv[++i]);
		} else {
			fputs(help, strcmp(argv[i], "--help") == 0 ? stdout :
			      stderr);
			return strcmp(argv[i], "--help") == 0 ? 1 : -EINVAL;
		}
	}
	return 0;
}

int demo_main(int argc, char **argv)
{
	uint64_t from = now_ns();
	struct stage s = { 0 };
	json_t *found;
	struct err e;
	bool json, well;
	int r = take_options(argc, argv, &s, &json);

	if (r != 0)
		return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
	found = json_pack("{s:[], s:[]}", "steps", "views");
	name_machine(found);
	demo_tell(!json);
	proc_on_wait = demo_wait;
	r = play(&s, found, &e);
	if (r < 0) {
		fprintf(stderr, "ckv-engine --demo: %s\n", e.text);
		json_decref(found);
		return EXIT_FAILURE;
	}
	json_object_set_new(found, "took_s", json_real(
			    (double)(now_ns() - from) / 1e9));
	well = all_well(found);
	json_object_set_new(found, "well", json_boolean(well));
	if (json)
		json_dumpf(found, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(6));
	else
		demo_tell_end(found);
	if (json)
		puts("");
	json_decref(found);
	return well ? EXIT_SUCCESS : EXIT_FAILURE;
}

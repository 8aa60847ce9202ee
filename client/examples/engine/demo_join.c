/* SPDX-License-Identifier: Apache-2.0 */
/*
 * demo_join.c - a step of the demo: two engines get one new document at the same moment.
 *
 * Once each computes it for itself, once the second waits for what the first writes. What
 * counts is the time that both take of the processors; the second is idle while it waits.
 */
#include "client/examples/engine/demo.h"

#include <signal.h>
#include <string.h>

#define BLOCK		16	/* see write_config() in stage.c */
#define PATIENCE	"60"	/* s; the first one is not stopped by anybody */

static json_int_t number(const json_t *from, const char *key)
{
	return json_integer_value(json_object_get(from, key));
}

/*
 * A document that is not in the cache: the second story without its first sentences. So
 * it begins with another word, and all its keys are others.
 */
static const char *new_document(const struct stage *s, int n_sentences)
{
	const char *text = stage_text(s->second);

	while (n_sentences-- > 0) {
		const char *end = strstr(text, " . ");

		text = end != NULL ? end + 3 : text;
	}
	return text;
}

static int start(struct stage *s, const char *text, const char *join,
		 struct proc *ret, struct err *e)
{
	const char *given[] = {
		s->engine, "--json", "--model", s->model, "--socket", s->socket,
		"--space", STAGE_SPACE, "--words", "1", "--join", join,
		"--prompt", text,
	};
	struct args a = { 0 };

	for (size_t i = 0; i < sizeof(given) / sizeof(given[0]); i++)
		args_add(&a, given[i]);
	return proc_start("an engine with a new document", &a, s->errors, ret, e);
}

/* What one engine says of its answer, and what it used. */
static int hear(struct proc *p, json_t **ret, double *cpu_s, struct err *e)
{
	json_t *said;
	double used_s;
	int r = proc_read(p, &said, e);

	if (r < 0)
		return r;
	*ret = json_incref(json_array_get(json_object_get(said, "answers"), 0));
	json_decref(said);
	r = proc_wait_used(p, &used_s, e);
	*cpu_s += used_s;
	return r;
}

int demo_run_two(struct stage *s, int number_of, const char *join, json_t **ret,
		 struct err *e)
{
	const char *text = new_document(s, number_of);
	struct proc p[2] = { { .out = -1 }, { .out = -1 } };
	json_t *a[2] = { NULL, NULL };
	double cpu_s = 0;
	int r = 0;

	for (int i = 0; r == 0 && i < 2; i++)
		r = start(s, text, join, &p[i], e);
	for (int i = 0; r == 0 && i < 2; i++)
		r = hear(&p[i], &a[i], &cpu_s, e);
	if (r == 0)
		*ret = json_pack("{s:I, s:I, s:I, s:f, s:b}",
			"tokens", number(a[0], "tokens"),
			"computed", number(a[0], "computed") +
				    number(a[1], "computed"),
			"joined", number(a[0], "joined") + number(a[1], "joined"),
			"cpu_s", cpu_s,
			"same", json_equal(json_object_get(a[0], "logits_sum"),
					   json_object_get(a[1], "logits_sum")));
	for (int i = 0; i < 2; i++) {
		proc_end(&p[i], SIGKILL);
		json_decref(a[i]);
	}
	return r;
}

int demo_join(struct stage *s, json_t *found, struct err *e)
{
	json_t *apart = NULL, *joined = NULL;
	int r;

	demo_tell_joining();
	demo_tell_two("each for itself: ");
	r = demo_run_two(s, 1, "0", &apart, e);
	if (r < 0)
		return r;
	demo_tell_used(apart, apart);
	demo_tell_two("the second waits:");
	r = demo_run_two(s, 2, PATIENCE, &joined, e);
	if (r == 0) {
		demo_tell_used(joined, apart);
		demo_tell_joined(joined);
		json_object_set_new(found, "join", json_pack("{s:O, s:O}", "apart",
				    apart, "waiting", joined));
	}
	json_decref(apart);
	json_decref(joined);
	return r;
}

/* Computed once, but for the rest of at most one block; and both answer from the same. */
bool demo_join_well(const json_t *found)
{
	const json_t *j = json_object_get(json_object_get(found, "join"), "waiting");

	return json_is_true(json_object_get(j, "same")) &&
	       number(j, "computed") <= number(j, "tokens") + BLOCK;
}

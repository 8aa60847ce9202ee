/* SPDX-License-Identifier: Apache-2.0 */
/* answers.c - see answers.h. */
#include "client/examples/engine/answers.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>

static json_t *views_json(const struct options *o, const struct answer *a)
{
	json_t *list = json_array();

	for (uint32_t i = 0; i < a->n_views; i++)
		json_array_append_new(list, json_pack(
			"{s:s, s:I, s:I, s:I, s:I}",
			o->keep_method[i] ? "method" : "keep", o->keep[i],
			"bytes", (json_int_t)a->view[i].bytes,
			"kept", (json_int_t)a->view[i].n_kept,
			"tokens", (json_int_t)a->view[i].n_tokens,
			"took_ns", (json_int_t)a->view[i].took_ns));
	return list;
}

/* Why the cache took or gave less than the whole text. */
static const char *reason(int refused)
{
	switch (refused) {
	case -EALREADY:
		return "another engine is storing the same text right now";
	case -ESTALE:
		return "the daemon went away, so all was computed without it";
	default:
		return ckv_strerror(refused);
	}
}

static json_t *answer_json(const struct options *o, const struct answer *a)
{
	char sum[17];

	snprintf(sum, sizeof(sum), "%016" PRIx64, a->logits_sum);
	return json_pack("{s:s?, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I,"
			 " s:s, s:s?, s:o}",
			 "question", a->question, "answer", a->words,
			 "tokens", (json_int_t)a->n_prompted,
			 "found", (json_int_t)a->n_found,
			 "joined", (json_int_t)a->n_joined,
			 "computed", (json_int_t)(a->n_prompted - a->n_found),
			 "stored", (json_int_t)a->n_stored,
			 "first_word_ns", (json_int_t)a->first_ns,
			 "shared_bytes", (json_int_t)a->shared_bytes,
			 "own_bytes", (json_int_t)a->own_bytes,
			 "logits_sum", sum,
			 "refused", a->refused != 0 ?
			 reason(a->refused) : NULL,
			 "views", views_json(o, a));
}

static void print_line(json_t *object)
{
	json_dumpf(object, stdout, JSON_COMPACT);
	puts("");
	fflush(stdout);
	json_decref(object);
}

static void print_views(const struct options *o, const struct answer *a)
{
	for (uint32_t i = 0; i < a->n_views; i++)
		printf("  view of %s: %u of %u tokens, %" PRIu64 " bytes\n",
		       o->keep[i], a->view[i].n_kept, a->view[i].n_tokens,
		       a->view[i].bytes);
}

static void print_answer(const struct options *o, const struct answer *a)
{
	uint32_t n_computed = a->n_prompted - a->n_found;

	if (a->question != NULL)
		printf("%s\n", a->question);
	printf("  %s\n  %u tokens: ", a->words, a->n_prompted);
	if (o->stand_in == STAND_FIRST_LAST)
		printf("%u of %u kept, ", o->n_first_last, a->n_found);
	else if (o->stand_in != STAND_NONE)
		printf("a view stands for %u, ", a->n_found);
	else if (a->cached)
		printf("%u found in the cache, ", a->n_found);
	else if (a->n_found > 0)
		printf("%u known from before, ", a->n_found);
	printf("%u computed", n_computed);
	if (a->n_stored > 0)
		printf(", %u stored", a->n_stored);
	printf("; first word after %.1f ms\n", (double)a->first_ns / 1e6);
	if (a->n_joined > 0)
		printf("  of those found, another engine computed %u meanwhile\n",
		       a->n_joined);
	print_views(o, a);
	if (a->refused != 0)
		printf("  not all of it is in the cache: %s\n",
		       reason(a->refused));
}

void answers_print(const struct options *o, const struct answer *answers,
		   uint32_t n_answers)
{
	json_t *list;

	if (!o->json) {
		for (uint32_t i = 0; i < n_answers; i++)
			print_answer(o, &answers[i]);
		fflush(stdout);
		return;
	}
	list = json_array();
	for (uint32_t i = 0; i < n_answers; i++)
		json_array_append_new(list, answer_json(o, &answers[i]));
	print_line(json_pack("{s:o}", "answers", list));
}

void answers_paused(const struct options *o, uint32_t n_lent)
{
	if (o->json) {
		print_line(json_pack("{s:I}", "paused_lent",
				     (json_int_t)n_lent));
		return;
	}
	printf("paused with %u pages borrowed and not published; kill me "
	       "(ctrl-C)\n", n_lent);
	fflush(stdout);
}

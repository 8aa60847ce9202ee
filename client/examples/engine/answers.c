/* SPDX-License-Identifier: Apache-2.0 */
/* answers.c - see answers.h. */
#include "client/examples/engine/answers.h"

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

static json_t *answer_json(const struct options *o, const struct answer *a)
{
	char sum[17];

	snprintf(sum, sizeof(sum), "%016" PRIx64, a->logits_sum);
	return json_pack("{s:s?, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:s, s:s?,"
			 " s:o}",
			 "question", a->question, "answer", a->words,
			 "tokens", (json_int_t)a->n_prompted,
			 "found", (json_int_t)a->n_found,
			 "computed", (json_int_t)(a->n_prompted - a->n_found),
			 "first_word_ns", (json_int_t)a->first_ns,
			 "shared_bytes", (json_int_t)a->shared_bytes,
			 "own_bytes", (json_int_t)a->own_bytes,
			 "logits_sum", sum,
			 "refused", a->refused != 0 ?
			 ckv_strerror(a->refused) : NULL,
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
		printf("   view of %s: %u of %u tokens, %" PRIu64 " bytes\n",
		       o->keep[i], a->view[i].n_kept, a->view[i].n_tokens,
		       a->view[i].bytes);
}

void answers_print(const struct options *o, const struct answer *answers,
		   uint32_t n_answers)
{
	json_t *list = json_array();

	for (uint32_t i = 0; i < n_answers; i++) {
		const struct answer *a = &answers[i];

		if (o->json) {
			json_array_append_new(list, answer_json(o, a));
			continue;
		}
		printf("%s%s%s   (%u tokens, %u found, %u computed, first word "
		       "after %.1f ms)\n", a->question != NULL ?
		       a->question : "", a->question != NULL ? "  " : "",
		       a->words, a->n_prompted, a->n_found,
		       a->n_prompted - a->n_found, (double)a->first_ns / 1e6);
		print_views(o, a);
		if (a->refused != 0)
			printf("   without the cache: %s\n",
			       ckv_strerror(a->refused));
	}
	if (o->json)
		print_line(json_pack("{s:O}", "answers", list));
	json_decref(list);
	fflush(stdout);
}

void answers_paused(const struct options *o, uint32_t n_lent)
{
	if (o->json) {
		print_line(json_pack("{s:I}", "paused_lent",
				     (json_int_t)n_lent));
		return;
	}
	printf("paused with %u pages borrowed\n", n_lent);
	fflush(stdout);
}

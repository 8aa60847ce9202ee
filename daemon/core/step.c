/* SPDX-License-Identifier: Apache-2.0 */
/*
 * step.c - space_step(): one bounded batch for all who wait for a look at the pins.
 *
 * DROPs choose first, then views, then blocks for writers; all are marked, the pins are
 * read once, and each kind takes what may leave. Nothing stays marked. A search that
 * is not over goes on in the next step, because who still waits wishes again.
 */
#include "daemon/core/state.h"

/* Measured: 0.4 ns a word that is empty, 1.3 ns one that is not. */
#define WORDS_PER_UNIT	64u
#define FULL_PER_UNIT	128u	/* more, for those that are not empty */

bool space_waits(const struct space *s)
{
	return s->drop_head != NULL || s->search[BLOCKS].wanted > 0 ||
	       s->search[VIEWS].wanted > 0;
}

/* Choose for one kind of search; it ends when there is nothing to choose from. */
static void search_step(struct space *s, uint32_t kind)
{
	struct search *search = &s->search[kind];

	if (search->wanted == 0)
		return;
	search->full = false;
	/* What was seen before others had their turns says nothing any more. */
	if (search->last_step + 1 != s->n_steps)
		search->passing = false;
	search->last_step = s->n_steps;
	if (!(kind == VIEWS ? views_choose(s) : evict_choose(s)))
		search_fruitless(search);
}

static void owe(struct space *s)
{
	const struct step_cost *c = &s->cost;

	s->pace->debt += (uint64_t)SPACE_PACE_SHARE *
			 (c->n_words / WORDS_PER_UNIT +
			  c->n_full / FULL_PER_UNIT + c->n_looks +
			  2 * c->n_restored);
}

void space_step(struct space *s)
{
	uint32_t n_drops, n_views;

	s->cost = (struct step_cost){ 0 };
	(void)space_touches_drain(s);
	drops_choose(s);
	n_drops = s->n_batch;
	search_step(s, VIEWS);
	n_views = s->n_batch;
	search_step(s, BLOCKS);
	if (s->n_batch > 0) {
		batch_judge(s);
		batch_park(s);
		tips_leave(s, n_views);
		evict_free(s, n_views);
		views_spend(s, n_drops, n_views);
		drops_settle(s);
		s->n_batch = 0;
	}
	s->search[VIEWS].wanted = s->search[BLOCKS].wanted = 0;
	s->n_steps++;
	owe(s);
}

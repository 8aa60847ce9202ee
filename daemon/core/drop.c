/* SPDX-License-Identifier: Apache-2.0 */
/*
 * drop.c - DROP: free the blocks and views that a client names.
 *
 * A key is answered at once if its block is not there, has children, or is known to
 * be pinned. Else the task waits for a step. A step judges the keys of all waiting
 * DROPs in the order in which they came, as many as fit into one batch. A chain whose
 * keys are named from its end is freed in one step, as far as it fits.
 */
#include "daemon/core/state.h"

/*
 * Look a key up: -ENOENT; -EBUSY, it has children or is known to be pinned; or 0 and
 * *ret_slot, which must be judged, or is in the batch already.
 */
static int look(struct space *s, const struct ckv_key *key, uint32_t *ret_slot)
{
	struct ckv_place place = ckv_index_place(&s->index, key);
	uint32_t slot;

	if (table_find(s, &place, key, &slot) != TABLE_PUBLISHED)
		return -ENOENT;
	if (!batch_has(s, slot)) {
		tip_drop(s, slot);
		if (node_children(s, slot) > 0 || pinned_still(s, slot))
			return -EBUSY;
	}
	*ret_slot = slot;
	return 0;
}

static void answer(struct space_task *t, uint32_t item, int status)
{
	((int32_t *)t->answers)[item] = status;
	t->n_done += status == 0;
}

static void enqueue(struct space *s, struct space_task *t)
{
	t->queued = true;
	t->after = NULL;
	if (s->drop_tail == NULL)
		s->drop_head = t;
	else
		s->drop_tail->after = t;
	s->drop_tail = t;
}

void drop_cancel(struct space *s, struct space_task *t)
{
	struct space_task **at = &s->drop_head, *last = NULL;

	if (!t->queued)
		return;
	for (; *at != t; at = &(*at)->after)
		last = *at;
	*at = t->after;
	if (s->drop_tail == t)
		s->drop_tail = last;
	t->queued = false;
}

int drop_run(struct space *s, struct space_task *t, int32_t *units)
{
	const struct ckv_key *keys = t->items;
	uint32_t slot;
	int r;

	*units -= (int32_t)t->owed;
	t->owed = 0;
	while (t->next < t->n) {
		if (*units <= 0)
			return SPACE_MORE;
		*units -= UNITS_FIND;
		r = look(s, &keys[t->next], &slot);
		if (r == 0) {
			enqueue(s, t);
			return task_wait(s, &t->wait);
		}
		answer(t, t->next++, r);
	}
	return t->n_done;
}

/* ---- called by space_step() ---- */

static void choose(struct space *s, struct space_task *t, uint32_t item,
		   uint32_t slot)
{
	bool again = batch_has(s, slot);

	s->chosen[s->n_chosen++] = (struct drop_choice){ t, item, slot, again };
	if (again)
		return;
	batch_add(s, slot, ALL_LEVELS, POLICY_BACK);
}

void drops_choose(struct space *s)
{
	struct space_task *t;
	uint32_t n = 0, slot;

	for (t = s->drop_head; t != NULL && n < DROPS_MAX; ) {
		const struct ckv_key *keys = t->items;
		int r;

		for (; t->next < t->n && n < DROPS_MAX; t->next++, n++) {
			r = look(s, &keys[t->next], &slot);
			t->owed += UNITS_FIND + UNITS_ABORT;
			if (r == 0)
				choose(s, t, t->next, slot);
			else
				answer(t, t->next, r);
		}
		s->drop_head = t->after;
		t->queued = false;
		t = s->drop_head;
	}
	if (s->drop_head == NULL)
		s->drop_tail = NULL;
	s->cost.n_looks += n;
}

void drops_settle(struct space *s)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < s->n_chosen; i++) {
		const struct drop_choice *c = &s->chosen[i];

		answer(c->task, c->item, !batch_has(s, c->slot) ? -EBUSY :
		       c->again ? -ENOENT : 0);
	}
	for (uint32_t i = 0; i < s->n_chosen; i++) {
		uint32_t slot = s->chosen[i].slot;

		if (s->chosen[i].again || !batch_has(s, slot))
			continue;
		batch_forget(s, slot);
		if (node_is_view(s, slot))
			view_free(s, slot);
		else
			block_free(s, slot);
		n++;
	}
	s->n_chosen = 0;
	ckv_count(&s->stats->dropped, n);
}

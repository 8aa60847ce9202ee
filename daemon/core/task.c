/* SPDX-License-Identifier: Apache-2.0 */
/*
 * task.c - run a request as a task: some items now, the rest in later turns.
 *
 * Between two turns other requests change the space. So whatever a task relies on
 * from one turn to the next is held, or looked up anew.
 */
#include "daemon/core/state.h"

int task_wait(const struct space *s, struct space_wait *wait)
{
	wait->waits = true;
	wait->step = s->n_steps;
	return SPACE_WAIT;
}

static int begin(struct space_task *t)
{
	t->begun = true;
	t->held_slot = t->parent_slot = t->last_page = CKV_NONE;
	return t->n == 0 || t->n > CKV_BATCH_MAX ? -EINVAL : 0;
}

int space_run(struct space *s, struct space_task *t, int32_t *units)
{
	static int (*const run[])(struct space *s, struct space_task *t,
				  int32_t *units) = {
		[SPACE_RESERVE] = reserve_run, [SPACE_SCRATCH] = scratch_run,
		[SPACE_PUBLISH] = publish_run, [SPACE_ABORT] = abort_run,
		[SPACE_PREFETCH] = prefetch_run, [SPACE_DROP] = drop_run,
	};

	if (!t->begun && begin(t) < 0)
		return -EINVAL;
	if (t->queued || (t->wait.waits && t->wait.step == s->n_steps))
		return SPACE_WAIT;
	t->wait.waits = false;
	return run[t->op](s, t, units);
}

void space_cancel(struct space *s, struct space_task *t)
{
	if (!t->begun)
		return;		/* it holds nothing, and its fields are not set yet */
	if (t->op == SPACE_PREFETCH)
		prefetch_cancel(s, t);
	reserve_cancel(s, t);
	drop_cancel(s, t);
}

/* ---- from beginning to end ---- */

static int run_all(struct space *s, struct space_task *t)
{
	int32_t units;
	int r;

	/* These callers have no turns, in which a debt would be paid off. */
	space_pace_pay(s->pace, UINT64_MAX);
	do {
		units = INT32_MAX;
		r = space_run(s, t, &units);
		if (r == SPACE_WAIT)
			space_step(s);
	} while (r == SPACE_WAIT || r == SPACE_MORE);
	return r;
}

int space_reserve(struct space *s, int lane, uint32_t level,
		  const struct ckv_key *parent, const struct ckv_key *keys, uint32_t n,
		  struct ckv_lent *ret_lent)
{
	struct space_task t = {
		.op = SPACE_RESERVE, .lane = lane, .level = level, .parent = *parent,
		.items = keys, .n = n, .answers = ret_lent,
	};

	return run_all(s, &t);
}

int space_reserve_scratch(struct space *s, int lane, uint32_t n,
			  struct ckv_lent *ret_lent)
{
	struct space_task t = {
		.op = SPACE_SCRATCH, .lane = lane, .n = n, .answers = ret_lent,
	};

	return run_all(s, &t);
}

int space_publish(struct space *s, int lane,
		  const struct ckv_publish_item *items, uint32_t n,
		  int32_t *ret_status)
{
	struct space_task t = {
		.op = SPACE_PUBLISH, .lane = lane, .items = items, .n = n,
		.answers = ret_status,
	};

	return run_all(s, &t);
}

int space_abort(struct space *s, int lane, const struct ckv_page_name *names,
		uint32_t n, int32_t *ret_status)
{
	struct space_task t = {
		.op = SPACE_ABORT, .lane = lane, .items = names, .n = n,
		.answers = ret_status,
	};

	return run_all(s, &t);
}

int space_drop(struct space *s, const struct ckv_key *keys, uint32_t n,
	       int32_t *ret_status)
{
	struct space_task t = {
		.op = SPACE_DROP, .items = keys, .n = n, .answers = ret_status,
	};

	return run_all(s, &t);
}

int space_prefetch(struct space *s, const struct ckv_key *keys, uint32_t n)
{
	struct space_task t = { .op = SPACE_PREFETCH, .items = keys, .n = n };
	int r = run_all(s, &t);

	return r == SPACE_LATER ? space_prefetch_stop(s, &t) : r;
}

int64_t space_view_alloc(struct space *s, uint32_t n_pages)
{
	struct space_wait wait = { .waits = false };
	int64_t r;

	while ((r = space_view_get(s, n_pages, &wait)) == SPACE_WAIT)
		space_step(s);
	return r;
}

static int list_all(struct space *s, struct space_walk *walk,
		    struct space_link *links, uint32_t n_links_max)
{
	int32_t units = INT32_MAX;
	int n = space_walk_on(s, walk, links, n_links_max, &units);

	if (n > 0)
		memmove(links, links + (n_links_max - (uint32_t)n),
			(uint32_t)n * sizeof links[0]);
	return n;
}

int space_chain_hold(struct space *s, const struct ckv_key *key,
		     struct space_link *ret_links, uint32_t n_links_max)
{
	struct space_walk walk;
	int r = space_walk_begin(s, key, &walk);
	uint32_t deepest;

	if (r < 0)
		return r;
	deepest = walk.slot;
	r = list_all(s, &walk, ret_links, n_links_max);
	if (r < 0)
		space_release(s, deepest);
	return r;
}

int space_tip_next(struct space *s, uint32_t *ret_tip, struct ckv_key *ret_key,
		   struct space_link *ret_links, uint32_t n_links_max)
{
	struct space_walk walk;
	int n;

	while (space_tip_begin(s, ret_tip, ret_key, &walk) > 0) {
		n = list_all(s, &walk, ret_links, n_links_max);
		if (n > 0)
			return n;
		space_tip_done(s, *ret_tip, n);
	}
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core_paused.c - see core_model.h.
 */
#include "tests/lib/core_model.h"

#include <errno.h>

static struct paused {		/* of a lane */
	bool on, waits;
	struct space_task task;
	uint32_t path[KEYS], n;
	struct ckv_key keys[LIST];
	struct ckv_lent lent[LIST];
	uint32_t held;		/* the key that it holds; 0: none */
	int status;		/* of the last item */
} paused[LANES];

struct space_pace pace;
uint64_t n_paused;

static void begin(struct paused *p, int l)
{
	*p = (struct paused){ .on = true };
	p->n = some_path(p->path);
	for (uint32_t i = 0; i < p->n; i++)
		p->keys[i] = core_key(p->path[i]);
	p->task = (struct space_task){
		.op = SPACE_RESERVE, .lane = lane[l], .n = p->n,
		.parent = core_key(parent_of[p->path[0]]), .level = lending_level(),
		.items = p->keys, .answers = p->lent,
	};
}

/* What the core holds for it counts like a job's hold. */
static void hold(struct paused *p)
{
	if (p->task.held_slot == CKV_NONE)
		return;
	p->held = p->task.next > 0 ? p->path[p->task.next - 1] :
		  parent_of[p->path[0]];
	MUST(model[p->held].slot == p->task.held_slot);
	model[p->held].n_holds[p->task.level]++;
}

static void release(struct paused *p)
{
	if (p->held != 0)
		model[p->held].n_holds[p->task.level]--;
	p->held = 0;
}

/* One step for all who wait; what leaves for them is free to leave. */
static void make_step(uint32_t level)
{
	uint64_t before = CORE_STAT(&core, evicted);

	mark_kept(0, 0);
	could_leave = one_may_leave(level);
	space_step(core.space);
	see_evictions(before);
	space_check(core.space);
}

/* `searched`: it has just waited for a step, and nothing else came between. */
static void go_on(struct paused *p, int l, bool searched)
{
	uint32_t next = p->task.next;
	int32_t units = (int32_t)(1 + below(6));
	int r;

	/* Its parent was held while it waited. */
	mark_kept(0, 0);
	release(p);
	r = space_run(core.space, &p->task, &units);
	for (; next < p->task.next; next++)
		p->status = judge_lent(p->path[next], l, p->task.level, p->status,
				       &p->lent[next], searched);
	p->on = r == SPACE_MORE || r == SPACE_WAIT;
	p->waits = r == SPACE_WAIT;
	MUST(p->on || r == p->task.n_done);
	if (p->on)
		hold(p);
	n_paused += p->on;
}

bool do_paused(int l)
{
	struct paused *p = &paused[l];

	if (!p->on && below(4) != 0)
		return false;
	if (!p->on)
		begin(p, l);
	if (below(16) != 0)
		space_pace_pay(&pace, UINT64_MAX);
	if (p->waits && below(2) && space_waits(core.space))
		make_step(p->task.level);
	go_on(p, l, false);
	if (p->waits && below(2)) {
		make_step(p->task.level);
		go_on(p, l, true);
	}
	return true;
}

void cancel_paused(int l)
{
	struct paused *p = &paused[l];

	if (!p->on)
		return;
	space_cancel(core.space, &p->task);
	release(p);
	p->on = false;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core_moves.c - see core_model.h.
 *
 * Each place has a number for its bytes: whose they are and of which version. A copy that
 * is being made spoils its target when it begins, and has the bytes of its source when it
 * ends. So a place that is given to two, or to another one too early, is seen.
 */
#include "tests/lib/core_model.h"

#include <errno.h>

enum { SPOILT = 0, TASKS = 4 };

static uint64_t bytes[SPACE_LEVELS_MAX][PAGES];
static struct mmove {
	bool on, over, ok, cancelled;	/* over: the core was told that it ended */
	uint32_t k;
	struct space_move move;
} moves[MOVES];
static struct mpin {		/* what a reader reads through the word */
	uint32_t slot, level, n;	/* pages: the block's and those of its ancestors */
	uint32_t place[KEYS];
	uint64_t bytes[KEYS];
} pinned[LANES][3];
static struct mtask {
	bool on, waits, ended;
	struct space_task task;
	uint32_t path[KEYS], n, held;
	struct ckv_key keys[LIST];
} tasks[TASKS];
static uint32_t level_told[KEYS + 1];	/* by events; n_levels: not there */
static uint64_t next_event;
static bool one_thing;		/* one move has ended, and nothing else has happened */
uint64_t n_moved[2], n_prefetched, n_over, n_gaps;

void moves_start(void)
{
	memset(bytes, 0, sizeof bytes);
	memset(moves, 0, sizeof moves);
	memset(pinned, 0, sizeof pinned);
	memset(tasks, 0, sizeof tasks);
	for (uint32_t k = 0; k <= KEYS; k++)
		level_told[k] = core.config.n_levels;
	next_event = n_moved[0] = n_moved[1] = n_prefetched = n_over = n_gaps = 0;
	space_events(core.space, true);
}

bool is_stale(uint32_t k, uint32_t l)
{
	return model[k].state == PUBLISHED && !(model[k].at >> l & 1) &&
	       core_place(&core, model[k].slot, l) != CKV_NONE &&
	       !(model[k].over && l == model[k].lent_at);
}

/*
 * The daemon was killed: nothing of this is known any more, and what it loaded rests, as does
 * what was replaced.
 */
uint32_t moves_forget(void)
{
	uint32_t n_resting = 0;

	for (uint32_t i = 0; i < MOVES; i++)
		n_resting += moves[i].on && core_is_read(&core, moves[i].move.to);
	for (uint32_t k = 1; k <= KEYS; k++) {
		model[k].move = 0;
		for (uint32_t l = 0; l < core.config.n_levels; l++) {
			if (core_is_read(&core, l))
				n_resting += is_stale(k, l);
			else
				model[k].at &= ~(1u << l);	/* only pages outlive it */
		}
		level_told[k] = model[k].at != 0 ? nearest(k) : core.config.n_levels;
	}
	memset(moves, 0, sizeof moves);
	memset(pinned, 0, sizeof pinned);
	memset(tasks, 0, sizeof tasks);
	next_event = n_gaps = 0;
	return n_resting;
}

/* ---- bytes ---- */

static uint64_t bytes_now(uint32_t k)
{
	return (uint64_t)model[k].version << 32 | k;
}

void bytes_of(uint32_t k, uint32_t level, uint32_t page)
{
	model[k].version++;
	bytes[level][page] = bytes_now(k);
	if (model[k].move != 0)
		moves[model[k].move - 1].cancelled = true;
}

void bytes_spoilt(uint32_t level, uint32_t place)
{
	bytes[level][place] = SPOILT;
}

uint32_t copies_of(uint32_t k)
{
	uint32_t at = 0;

	for (uint32_t l = 0; l < core.config.n_levels; l++)
		at |= (uint32_t)(core_copy(&core, model[k].slot, l) != CKV_NONE) << l;
	return at;
}

void see_places(void)
{
	for (uint32_t k = 1; k <= KEYS; k++)
		for (uint32_t l = 0; l < core.config.n_levels; l++)
			if (model[k].at >> l & 1)
				MUST(bytes[l][core_copy(&core, model[k].slot, l)] ==
				     bytes_now(k));
}

/* ---- readers ---- */

/* The pages that the pin protects: at the block's level, up to the first that is nearer. */
void pinned_is(int l, uint32_t w, uint32_t k)
{
	struct mpin *pin = &pinned[l][w];

	pin->n = 0;
	if (model[k].state != PUBLISHED || !core_is_read(&core, nearest(k)))
		return;
	pin->slot = model[k].slot;
	pin->level = nearest(k);
	for (; k != 0 && (model[k].at >> pin->level & 1); k = parent_of[k]) {
		uint32_t place = core_copy(&core, model[k].slot, pin->level);

		pin->place[pin->n] = place;
		pin->bytes[pin->n] = bytes[pin->level][place];
		MUST(pin->bytes[pin->n++] == bytes_now(k));
	}
}

/* Whatever became of the blocks: replaced, brought nearer. The word may be another's now. */
void see_pinned(void)
{
	for (int l = 0; l < LANES; l++)
		for (uint32_t w = 0; w < 3; w++) {
			const struct mpin *pin = &pinned[l][w];

			if (w >= ckv_hint_load32(&core.lane[l].pin_high) ||
			    ckv_pin_slot(&core.lane[l].pins[w]) != pin->slot)
				continue;
			for (uint32_t i = 0; i < pin->n; i++)
				MUST(bytes[pin->level][pin->place[i]] ==
				     pin->bytes[i]);
		}
}

/* ---- copies that leave ---- */

/* One that is lent, or that was replaced and may still be read, counts. */
static bool has_kid_at(uint32_t k, uint32_t l)
{
	for (uint32_t i = k + 1; i <= KEYS; i++)
		if (parent_of[i] == k && model[i].state != ABSENT &&
		    core_place(&core, model[i].slot, l) != CKV_NONE)
			return true;
	return false;
}

static bool is_read(uint32_t at)
{
	for (uint32_t l = 0; l < core.config.n_levels; l++)
		if ((at >> l & 1) && core_is_read(&core, l))
			return true;
	return false;
}

/* A stale copy that left made a new generation, too; it was not in the model any more. */
static void see_generation(uint32_t k, uint32_t gone)
{
	uint32_t now = core_generation(&core, model[k].slot);
	uint32_t before = model[k].generation;
	bool two = core.config.n_levels > 1 && core_is_read(&core, 1);

	MUST((now & 1) == 0 && now >= before);
	MUST(now > before || !is_read(gone));
	MUST(now == before || is_read(gone) || two);
	model[k].generation = now;
}

void see_copies(void)
{
	uint32_t gone[KEYS + 1] = { 0 };

	for (uint32_t k = 1; k <= KEYS; k++) {
		uint32_t now;

		if (model[k].state != PUBLISHED)
			continue;
		now = copies_of(k);
		gone[k] = model[k].at & ~now;
		MUST((now & ~model[k].at) == 0 && now != 0);
		MUST((gone[k] & model[k].keep) == 0);
		see_generation(k, gone[k]);
		model[k].at = now;
	}
	for (uint32_t k = 1; k <= KEYS; k++)
		for (uint32_t l = 0; l < core.config.n_levels; l++)
			MUST(!(gone[k] >> l & 1) || !has_kid_at(k, l));
	for (uint32_t k = 1; k <= KEYS; k++)
		if (parent_of[k] != 0 && model[k].state == PUBLISHED)
			MUST(nearest(parent_of[k]) <= nearest(k));
}

/* The last block of its chain at this level; is there a child farther away? */
static bool end_may_leave(uint32_t k, uint32_t level)
{
	if (nearest(k) < level)
		return true;
	for (uint32_t l = level + 1; l < core.config.n_levels; l++) {
		if (model[k].at >> l & 1)
			return true;
		if (has_kid_at(k, l))
			return false;
	}
	return true;
}

bool one_may_leave(uint32_t level)
{
	for (uint32_t k = 1; k <= KEYS; k++)
		if (((model[k].at & ~model[k].keep) >> level & 1) &&
		    !has_kid_at(k, level) &&
		    !(model[k].kept && model[k].at == 1u << level) &&
		    end_may_leave(k, level))
			return true;
	return false;
}

/* ---- moves ---- */

static bool parent_is_near(uint32_t k, uint32_t level)
{
	return parent_of[k] == 0 || nearest(parent_of[k]) <= level;
}

/* Must, or may, its copy count once it was made? */
static bool may_count(const struct mmove *m)
{
	return m->ok && !m->cancelled &&
	       !(m->move.to < m->move.from && model[m->k].over) &&
	       (m->move.to > m->move.from || parent_is_near(m->k, m->move.to));
}

static void begin_move(void)
{
	struct space_move move;
	struct mmove *m;
	uint32_t k;
	int r = space_move_next(core.space, &move);

	if (r == SPACE_MORE || r == 0)
		return;
	MUST(r == 1 && move.id < MOVES && !moves[move.id].on);
	for (k = 1; k <= KEYS; k++)
		if (model[k].state == PUBLISHED && model[k].slot == move.slot)
			break;
	MUST(k <= KEYS && model[k].move == 0 && !model[k].summing);
	MUST(model[k].generation == move.generation);
	MUST((model[k].at >> move.from & 1) && !(model[k].at >> move.to & 1));
	MUST(bytes[move.from][move.from_place] == bytes_now(k));
	MUST(move.to > move.from || !model[k].over);
	bytes_spoilt(move.to, move.to_place);
	m = &moves[move.id];
	*m = (struct mmove){ .on = true, .k = k, .move = move };
	model[k].move = move.id + 1;
}

/*
 * What became of the moves that were made: those that land, wait for their parents'. One
 * that might count now may have failed earlier, if several things happened.
 */
void see_moves(void)
{
	bool again = true, any = false;

	while (again) {
		again = false;
		for (uint32_t i = 0; i < MOVES; i++) {
			struct mmove *m = &moves[i];
			uint32_t bit = 1u << m->move.to, now;

			if (!m->on || !m->over)
				continue;
			now = copies_of(m->k) & ~model[m->k].at;
			if (core_move(&core, m->move.slot) == i + 1) {
				MUST(m->ok && !m->cancelled && !may_count(m));
				MUST(model[parent_of[m->k]].move != 0);
				continue;
			}
			/* Its parent's comes first; those that failed can wait. */
			if ((now & bit) && !may_count(m))
				continue;
			m->on = false;
			model[m->k].move = 0;
			MUST(!(now & bit) || may_count(m));
			MUST((now & bit) || !may_count(m) || !one_thing);
			if (now & bit) {
				model[m->k].at |= bit;	/* it came by this move */
				n_moved[m->move.to > m->move.from]++;
			}
			again = any = true;
		}
	}
	for (uint32_t k = 1; any && k <= KEYS; k++)
		see_one(k);
}

static void end_move(struct mmove *m)
{
	uint32_t from = m->move.from;

	/* Nobody else has written to the place that it reads. */
	if (!m->cancelled)
		MUST(bytes[from][m->move.from_place] == bytes_now(m->k));
	m->over = true;
	m->ok = below(8) != 0;
	bytes[m->move.to][m->move.to_place] =
		m->ok ? bytes[from][m->move.from_place] : SPOILT;
	space_move_done(core.space, m->move.id, m->ok ? 0 : -EIO, 5);
	one_thing = true;
	see_moves();
	one_thing = false;
}

void do_move(void)
{
	uint64_t before = CORE_STAT(&core, evicted);
	struct mmove *m = &moves[below(MOVES)];

	if (below(8) == 0 && space_waits(core.space)) {
		mark_kept(0, 0);
		space_step(core.space);
		see_evictions(before);
	}
	if (m->on && !m->over)
		end_move(m);
	else
		begin_move();
}

/* ---- prefetches ---- */

void keep_prefetched(void)
{
	for (int i = 0; i < TASKS; i++) {
		uint32_t k = tasks[i].held, level = tasks[i].task.held_level;

		/* If PUBLISH replaced the copy that is held, a nearer one stays for it. */
		if (k != 0)
			keep_chain(k, 1u << level);
		for (; k != 0; k = parent_of[k])
			model[k].kept = true;
	}
}

static void see_held(struct mtask *p)
{
	p->held = 0;
	if (!p->task.keep || p->task.held_slot == CKV_NONE)
		return;
	MUST(p->task.next > 0);
	p->held = p->path[p->task.next - 1];
	MUST(model[p->held].slot == p->task.held_slot);
	MUST(nearest(p->held) <= p->task.held_level);
	MUST(p->task.held_level <= p->task.level);
}

static void go_on(struct mtask *p)
{
	int32_t units = (int32_t)(1 + below(40));
	uint32_t next = p->task.next;
	int r = space_run(core.space, &p->task, &units);

	for (; next < p->task.next; next++)
		MUST(model[p->path[next]].state == PUBLISHED &&
		     nearest(p->path[next]) <= p->task.level);
	n_prefetched += r >= 0 && p->waits;
	p->waits = r == SPACE_LATER;
	p->ended = r >= 0;
	MUST(r < 0 || r == (int)p->task.next);
	MUST(r >= 0 || r == SPACE_LATER || r == SPACE_MORE);
	see_held(p);
	if (p->waits)
		space_await(core.space, &p->task);
}

static void begin_prefetch(struct mtask *p)
{
	*p = (struct mtask){ .on = true };
	p->n = some_path(p->path);
	for (uint32_t i = 0; i < p->n; i++)
		p->keys[i] = core_key(p->path[i]);
	p->task = (struct space_task){
		.op = SPACE_PREFETCH, .n = p->n, .items = p->keys,
		.keep = below(2), .level = below(core.config.n_levels),
	};
	go_on(p);
}

void do_prefetch(void)
{
	struct space_task *ready = space_ready(core.space);
	struct mtask *p = &tasks[below(TASKS)];

	for (int i = 0; ready != NULL && i < TASKS; i++)
		if (ready == &tasks[i].task) {
			go_on(&tasks[i]);
			return;
		}
	MUST(ready == NULL);
	if (!p->on) {
		begin_prefetch(p);
	} else if (p->ended || below(4) == 0) {
		space_cancel(core.space, &p->task);
		p->held = 0;
		p->on = false;
	} else if (!p->waits) {
		go_on(p);
	}
}

/* ---- events ---- */

static uint32_t index_of(uint8_t number)
{
	uint32_t l = 0;

	while (l < core.config.n_levels && core.config.level[l].number != number)
		l++;
	return l;
}

static void hear(const struct space_event *e)
{
	uint32_t k = 1;

	for (; k <= KEYS; k++) {
		struct ckv_key key = core_key(k);

		if (memcmp(&key, &e->key, sizeof key) == 0)
			break;
	}
	MUST(k <= KEYS);
	switch (e->kind) {
	case SPACE_STORED:
		MUST(e->from == CKV_LEVEL_NONE);
		break;
	case SPACE_MOVED:
		MUST(level_told[k] == index_of(e->from) && e->from != e->to);
		break;
	case SPACE_REMOVED:
		MUST(level_told[k] == index_of(e->from) && e->to == CKV_LEVEL_NONE);
		break;
	}
	level_told[k] = index_of(e->to);
}

/* What was told adds up to what is there, unless the queue was full. */
void see_events(void)
{
	struct space_event e;
	bool gap = CORE_STAT(&core, events_lost) > n_gaps;

	while (space_event_next(core.space, &e) > 0) {
		MUST(gap || e.number == next_event);
		next_event = e.number + 1;
		if (!gap)
			hear(&e);
	}
	for (uint32_t k = 1; k <= KEYS; k++) {
		uint32_t now = model[k].state == PUBLISHED ? nearest(k) :
			       core.config.n_levels;

		MUST(gap || level_told[k] == now);
		level_told[k] = now;
	}
	if (gap)
		next_event += CORE_STAT(&core, events_lost) - n_gaps;
	n_gaps = CORE_STAT(&core, events_lost);
}

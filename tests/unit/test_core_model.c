/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_core_model.c - random events on the core and on a model that is too simple to be
 * wrong; in some runs the daemon is replaced by another one again and again.
 *
 * Whom an eviction takes is the core's choice; the model checks that it was
 * allowed to go. Everything else must be as predicted, answer by answer.
 * CKV_SEED repeats a run, CKV_EVENTS changes its length.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "tests/lib/check_main.h"
#include "tests/lib/core_model.h"

enum { RUNS = 18 };

static uint32_t holds[HOLDS], n_sums;

static struct turn {		/* of the tip of this number; k 0: none */
	uint32_t k, page, generation;
	bool outdated;
} turns[CORE_TIPS];
static uint64_t n_made, n_turns;
static bool restarts;
static uint64_t n_restarts, n_kept_pages;
static struct ckv_space_stats past;	/* sums over the daemons of before */

/* ---- readers, honest and not ---- */

static void do_pin(int l)
{
	uint32_t w = below(3), k = 1 + below(KEYS);

	core_unpin(&core, l, w);
	if (below(3) == 0)
		return;
	MUST(core_pin(&core, l, w, k) == (model[k].state == PUBLISHED));
	pinned_is(l, w, k);
}

static void do_lie(int l)
{
	struct core_lane *m = &core.lane[l];

	switch (below(5)) {
	case 0:
		ckv_hint_store32(&m->pin_high, below(2) ? UINT32_MAX : 3);
		break;
	case 1:
		ckv_pin_set(&m->pins[3 + below(CORE_PINS - 3)],
			    below(2) ? below(120) : below(UINT32_MAX), below(9));
		break;
	case 2:
		for (int w = 3; w < CORE_PINS; w++)
			ckv_pin_drop(&m->pins[w]);
		break;
	case 3:
		ckv_hint_store32(&m->touch_tail, below(UINT32_MAX));
		break;
	default:
		ckv_hint_store32(&m->touches[below(CORE_TOUCHES)],
				 below(2) ? below(120) : below(UINT32_MAX));
	}
	space_touch_drain(core.space, lane[l]);
}

static void do_touch(int l)
{
	for (uint32_t i = below(2 * CORE_TOUCHES); i > 0; i--)
		core_touch(&core, l, 1 + below(KEYS));
	space_touch_drain(core.space, lane[l]);
}

static void do_close(int l)
{
	struct lent_page pages[2 * PAGES];

	cancel_paused(l);
	rest_pages(l, pages, pages_of(l, pages));
	for (uint32_t k = KEYS; k > 0; k--)
		if (is_lent(k) && model[k].lane == l) {
			lending_ends(model[k].lent_at, model[k].page, -ECANCELED);
			if (model[k].over)
				model[k].over = false;
			else
				leave(k);
		}
	for (uint32_t i = 0; i < n_scratch[l]; i++)
		lending_ends(work(), scratch[l][i], -ECANCELED);
	for (int h = 0; h < HOLDS; h++)
		for (uint32_t i = 0; i < n_scratch[l]; i++)
			if (scratch_holds[h] == scratch[l][i] + 1)
				n_orphans += scratch_orphan[h] = true;
	n_scratch[l] = 0;
	space_lane_close(core.space, lane[l]);
	lane[l] = core_lane_open(&core, l);
	MUST(lane[l] >= 0);
}

/* ---- jobs ---- */

/* Has the whole chain pages where the daemon works? */
static bool is_worked_on(uint32_t k)
{
	for (; k != 0; k = parent_of[k])
		if (!(model[k].at >> work() & 1))
			return false;
	return true;
}

static void do_hold(void)
{
	uint32_t h = below(HOLDS), k = 1 + below(KEYS), n = 0;
	struct space_link links[KEYS];
	struct ckv_key key = core_key(k);
	int r;

	if (holds[h] != 0) {
		space_release(core.space, model[holds[h]].slot);
		model[holds[h]].n_holds[work()]--;
		holds[h] = 0;
		return;
	}
	r = space_chain_hold(core.space, &key, links, KEYS);
	if (!is_worked_on(k)) {
		MUST(r == -ENOENT);
		return;
	}
	holds[h] = k;
	model[k].n_holds[work()]++;
	for (uint32_t i = k; i != 0; i = parent_of[i])
		MUST(links[(uint32_t)r - ++n].page == place_of(i, work()));
	MUST(r == (int)n);
}

static bool scratch_is_held(uint32_t page)
{
	for (int h = 0; h < HOLDS; h++)
		if (scratch_holds[h] == page + 1)
			return true;
	return false;
}

static void do_scratch_hold(int l)
{
	uint32_t h = below(HOLDS), page;
	struct ckv_page_name name;

	if (scratch_holds[h] != 0) {
		space_scratch_release(core.space, scratch_holds[h] - 1);
		n_orphans -= scratch_orphan[h];
		scratch_orphan[h] = false;
		scratch_holds[h] = 0;
	} else if (n_scratch[l] > 0) {
		page = scratch[l][below(n_scratch[l])];
		if (scratch_is_held(page))
			return;
		name = name_of(work(), page);
		MUST(space_scratch_hold(core.space, lane[l], &name) == 0);
		scratch_holds[h] = page + 1;
	}
}

static void do_sum(void)
{
	uint32_t page, k;

	if (n_sums < 3 && space_sum_next(core.space, &page) > 0) {
		for (k = 1; k <= KEYS; k++)
			if ((model[k].at >> work() & 1) && place_of(k, work()) == page)
				break;
		MUST(k <= KEYS && !model[k].summing);
		model[k].summing = true;
		model[k].sum_page = page;
		n_sums++;
	}
	k = 1 + below(KEYS);
	if (model[k].summing) {
		space_sum_done(core.space, model[k].sum_page, below(4) != 0, 5);
		model[k].summing = false;
		n_sums--;
	}
}

/* ---- chains that have their turn ---- */

static uint32_t key_number(const struct ckv_key *key)
{
	for (uint32_t k = 1; k <= KEYS; k++) {
		struct ckv_key other = core_key(k);

		if (memcmp(&other, key, sizeof other) == 0)
			return k;
	}
	MUST(!"a key of the model");
	return 0;
}

static void begin_turn(void)
{
	struct space_link links[KEYS];
	struct ckv_key key;
	uint32_t tip, k, n = 0;
	int r = space_tip_next(core.space, &tip, &key, links,
			       below(8) ? KEYS : 3);

	if (r == 0)
		return;
	k = key_number(&key);
	MUST(tip < CORE_TIPS && turns[tip].k == 0);
	MUST(model[k].state == PUBLISHED && !model[k].done);
	MUST(automatic != SPACE_AUTO_NONE);
	MUST((model[k].at >> work() & 1) && model[k].n_holds[work()] == 0);
	for (uint32_t i = 1; i <= KEYS; i++)
		MUST(parent_of[i] != k || !(is_at(i, work()) ||
		     (is_lent(i) && model[i].lent_at <= work())));
	for (uint32_t i = k; i != 0; i = parent_of[i])
		MUST(links[(uint32_t)r - ++n].page == place_of(i, work()));
	MUST(r == (int)n);
	turns[tip] = (struct turn){
		.k = k, .page = place_of(k, work()),
		.generation = model[k].generation,
	};
	n_turns++;
}

/* What is held is still the same block. */
static void see_turn(const struct turn *turn)
{
	const struct mkey *m = &model[turn->k];

	/* PUBLISH may replace it, but its page stays. */
	MUST(core_place(&core, m->slot, work()) == turn->page);
	/* A copy that left at another level that clients read makes a new generation. */
	MUST(m->generation == turn->generation ||
	     (core.config.n_levels > 1 && core_is_read(&core, 1)));
}

static void do_turn(void)
{
	static const int results[] = { 0, -EEXIST, -EINVAL, -ENOSPC };
	uint32_t tip = below(CORE_TIPS);
	int result = results[below(4)];
	struct turn *turn = &turns[tip];

	if (turn->k == 0) {
		begin_turn();
		return;
	}
	if (space_tip_held(core.space, tip)) {
		see_turn(turn);
		n_made += result == 0;
		model[turn->k].done |= !turn->outdated;
	}
	space_tip_done(core.space, tip, result);
	turn->k = 0;
}

static void do_auto(void)
{
	bool anew = below(2);

	automatic = (enum space_auto)below(4);
	space_set_auto(core.space, automatic, anew);
	for (uint32_t t = 0; anew && t < CORE_TIPS; t++)
		turns[t].outdated = true;
	for (uint32_t k = 1; anew && k <= KEYS; k++)
		model[k].done = false;
}

/* ---- another daemon ---- */

static void old_lane_forget(int l)
{
	old_lane[l] = (struct old_lane){ 0 };
	memset(&core.lane[LANES + l], 0, sizeof core.lane[LANES + l]);
}

static void old_lane_end(int l)
{
	if (!old_lane[l].there)
		return;
	space_lane_close(core.space, core.lane[LANES + l].number);
	rest_pages(LANES + l, old_lane[l].page, old_lane[l].n_pages);
	old_lane_forget(l);
}

/* The lane of client l becomes one of before, with what it has. */
static void lane_grows_old(int l)
{
	struct old_lane *old = &old_lane[l];

	*old = (struct old_lane){ .there = true };
	memcpy(&core.lane[LANES + l], &core.lane[l], sizeof core.lane[l]);
	old->n_pages = pages_of(l, old->page);
	n_kept_pages += old->n_pages;
}

/* Of each client's lane and its lane of before at most one lives on. */
static uint32_t who_lives(void)
{
	uint32_t alive = 0;

	for (int l = 0; l < LANES; l++) {
		struct lent_page pages[2 * PAGES];
		uint32_t n = pages_of(l, pages);
		bool grows_old = below(3) == 0;

		cancel_paused(l);
		if (!grows_old)
			rest_pages(l, pages, n);
		else if (old_lane[l].there)
			rest_pages(LANES + l, old_lane[l].page, old_lane[l].n_pages);
		if (grows_old) {
			lane_grows_old(l);
		} else if (below(2)) {
			rest_pages(LANES + l, old_lane[l].page, old_lane[l].n_pages);
			old_lane_forget(l);
		}
		alive |= (uint32_t)old_lane[l].there << (LANES + l);
		n_scratch[l] = 0;
	}
	return alive;
}

static void forget(void)
{
	lendings_forget();
	memset(holds, 0, sizeof holds);
	memset(scratch_holds, 0, sizeof scratch_holds);
	memset(scratch_orphan, 0, sizeof scratch_orphan);
	memset(turns, 0, sizeof turns);
	n_orphans = n_sums = 0;
	n_made = n_published = n_dropped = 0;
	for (uint32_t k = KEYS; k > 0; k--) {
		memset(model[k].n_holds, 0, sizeof model[k].n_holds);
		model[k].summing = model[k].over = false;
		if (model[k].state == LENT ||
		    (model[k].state == PUBLISHED && model[k].at == 0))
			leave(k);
	}
}

static void see_adopted(const struct space_adopted *adopted, uint32_t n_resting)
{
	uint32_t n_blocks = 0, n_views = 0, n_lent = 0;

	for (uint32_t k = 1; k <= KEYS; k++) {
		see_one(k);
		n_blocks += model[k].state == PUBLISHED;
	}
	for (int v = 0; v < VIEWS; v++) {
		n_views += views[v].there;
		MUST(core_has(&core, FIRST_VIEW + (uint32_t)v) == views[v].there);
	}
	for (int l = 0; l < LANES; l++)
		n_lent += old_lane[l].n_pages;
	MUST(adopted->n_blocks == n_blocks && adopted->n_views == n_views);
	MUST(adopted->n_lent == n_lent && adopted->n_resting == n_resting);
}

static void count_past(void)
{
	const struct ckv_space_stats *now = core.memory.stats;

	ckv_count(&past.evicted, ckv_hint_load64(&now->evicted));
	ckv_count(&past.auto_lost_room, ckv_hint_load64(&now->auto_lost_room));
	ckv_count(&past.auto_lost_busy, ckv_hint_load64(&now->auto_lost_busy));
	ckv_count(&past.evict_saved, ckv_hint_load64(&now->evict_saved));
	ckv_count(&past.evict_unsaved, ckv_hint_load64(&now->evict_unsaved));
	ckv_count(&past.moves_failed, ckv_hint_load64(&now->moves_failed));
}

static void set_limits(void)
{
	for (uint32_t l = 0; l < core.config.n_levels; l++)
		space_set_limits(core.space, l, n_lent_max,
				 core.config.level[l].n_places);
}

static void do_restart(void)
{
	uint32_t n_before = n_written(), alive = who_lives();
	struct space_adopted adopted;
	uint32_t n_resting = moves_forget() + n_written() - n_before +
			     (uint32_t)CORE_STAT(&core, pages_resting);

	forget();
	count_past();
	core.automatic = automatic;
	adopted = core_again(&core, alive);
	set_limits();
	space_events(core.space, true);
	see_adopted(&adopted, n_resting);
	for (int l = 0; l < LANES; l++)
		lane[l] = core_lane_open(&core, l);
	n_restarts++;
}

/* What a client of before still can do: give back its pins, one by one, or everything. */
static void do_old(int l)
{
	if (below(3) == 0)
		old_lane_end(l);
	else
		core_unpin(&core, LANES + l, below(3));
}

/* ---- the run ---- */

static void see_all(void)
{
	uint64_t n_blocks = 0, n_lent = n_orphans;

	space_check(core.space);
	see_places();
	see_events();
	for (uint32_t k = 1; k <= KEYS; k++) {
		see_one(k);
		n_blocks += model[k].state == PUBLISHED;
		n_lent += is_lent(k);
	}
	for (int l = 0; l < LANES; l++) {
		n_lent += n_scratch[l];
		MUST(space_client_lent(core.space, (uint32_t)l) ==
		     client_lent(l));
		MUST(space_client_lent(core.space, LANES + (uint32_t)l) ==
		     old_lane[l].n_pages);
		n_lent += old_lane[l].n_pages;
	}
	for (uint32_t t = 0; t < CORE_TIPS; t++)
		if (turns[t].k != 0 && space_tip_held(core.space, t))
			see_turn(&turns[t]);
	MUST(CORE_STAT(&core, auto_made) == n_made);
	MUST(CORE_STAT(&core, blocks) == n_blocks);
	MUST(CORE_STAT(&core, pages_lent) == n_lent);
	MUST(CORE_STAT(&core, published) == n_published);
	MUST(CORE_STAT(&core, dropped) == n_dropped);
}

static void one_event(void)
{
	int l = (int)below(LANES);
	uint32_t what = below(1000);

	if (restarts && below(1500) == 0)
		do_restart();
	if (restarts && below(400) == 0)
		do_old(l);
	if (below(100) == 0)
		do_quiet();
	if (below(core.config.n_levels > 1 ? 3 : 20) == 0) {
		if (below(3) == 0)
			do_prefetch();
		else
			do_move();
		return;
	}
	/* A lane does one request at a time. */
	if ((what < 590 || (what >= 855 && what < 890)) && do_paused(l))
		return;
	if (what < 250)
		do_reserve(l);
	else if (what < 550)
		do_publish(l);
	else if (what < 590)
		do_abort(l);
	else if (what < 610)
		do_drop();
	else if (what < 750)
		do_pin(l);
	else if (what < 760)
		do_lie(l);
	else if (what < 810)
		do_touch(l);
	else if (what < 815)
		do_close(l);
	else if (what < 840)
		do_hold();
	else if (what < 854)
		do_turn();
	else if (what < 855)
		do_auto();
	else if (what < 875)
		do_scratch(l);
	else if (what < 890)
		do_abort(l);
	else if (what < 905)
		do_scratch_hold(l);
	else if (what < 965)
		do_sum();
	else if (what < 990)
		do_view();
	else if (what < 998)
		do_view_pin(l);
	else {
		n_lent_max = 1 + below(PAGES);
		set_limits();
	}
}

static uint64_t number(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text ? strtoull(text, NULL, 0) : otherwise;
}

/* Of what is rare, there is a little in a short run, or by bad luck none. */
static void see_enough(uint64_t n_events)
{
	uint64_t rare = n_events < 40000 ? 0 : n_events / 5000;

	MUST(ckv_hint_load64(&past.evicted) > n_events / 200);
	MUST(n_paused > n_events / 200);
	rare = work() > 0 ? 0 : rare;	/* few chains are only there, or are moved there */
	MUST(n_turns > rare && ckv_hint_load64(&past.auto_lost_busy) >= rare);
	MUST(ckv_hint_load64(&past.auto_lost_room) >= rare);
	MUST(!restarts || (n_restarts >= rare && n_kept_pages >= rare));
	if (core.config.n_levels == 1)
		return;
	for (uint32_t l = 0; l < core.config.n_levels && core_is_read(&core, l); l++)
		MUST(n_lent_at[l] > rare);
	MUST(n_moved[0] >= rare && n_moved[1] > rare);
	MUST(n_over > n_events / 5000 && n_prefetched > n_events / 5000);
	MUST(ckv_hint_load64(&past.evict_saved) > n_events / 5000);
	MUST(ckv_hint_load64(&past.evict_unsaved) > rare);
	MUST(ckv_hint_load64(&past.moves_failed) > rare);
}

/*
 * Whatever happens in whatever order, the core answers as the model predicts and
 * never lets go of what is needed. Runs: {both policies} x {1, 2, 3 levels} with a roomy
 * index, with a tight one, and with restarts.
 */
START_TEST(core_is_as_the_model)
{
	struct space_config config = config_of(_i % (2 * KINDS));
	uint64_t n_events = number("CKV_EVENTS", 1000000) / RUNS;

	seed = number("CKV_SEED", (uint64_t)time(NULL) * 1000003);
	fprintf(stderr, "CKV_SEED=%llu run %d\n", (unsigned long long)seed, _i);
	rng = (seed + (uint64_t)_i) * 0x9e3779b97f4a7c15u | 1;
	plant_forest();
	restarts = _i >= 2 * KINDS;
	n_lent_max = PAGES;
	core_open(&core, &config);
	for (int l = 0; l < LANES; l++)
		lane[l] = core_lane_open(&core, l);
	moves_start();
	automatic = (enum space_auto)(1 + _i % 3);
	space_set_auto(core.space, automatic, false);
	for (event = 0; event < n_events; event++) {
		one_event();
		see_moves();
		see_pinned();
		if (event % CHECK_EVERY == 0)
			see_all();
	}
	count_past();
	see_enough(n_events);
	core_close(&core);
}
END_TEST

CHECK_MAIN("core_model",
	CASE("model", .timeout = 250),
	LOOP(core_is_as_the_model, RUNS))

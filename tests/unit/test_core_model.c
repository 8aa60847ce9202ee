/*
 * test_core_model.c - a million random events on the core and on a model that
 * is too simple to be wrong.
 *
 * The model knows for each key of a small random forest whether it is absent,
 * lent or published, and who pins, holds or sums it. Whom an eviction takes is
 * the core's choice; the model checks that it was allowed to go. Everything
 * else must be as predicted, answer by answer. CKV_SEED repeats a run,
 * CKV_EVENTS changes its length.
 */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "tests/lib/core.h"

enum {
	KEYS = 120, PAGES = 40, VIEW_PAGES = 20, VIEWS = 12, LANES = 4,
	LIST = 12, HOLDS = 4, SCRATCH = 6, FIRST_VIEW = 1000, CHECK_EVERY = 16,
};

enum state { ABSENT, LENT, PUBLISHED };

struct mkey {
	enum state state;
	int lane;
	uint32_t page, slot, generation;
	int n_kids, n_holds;
	bool summing, kept;
};

struct mview {
	bool there, kept;
	uint32_t slot, page, n_pages;
};

static struct core core;
static struct mkey model[KEYS + 1];
static struct mview views[VIEWS];
static uint32_t parent_of[KEYS + 1];
static int lane[LANES];
static uint32_t scratch[LANES][SCRATCH], n_scratch[LANES], n_orphans;
static uint32_t holds[HOLDS], scratch_holds[HOLDS], n_sums, n_lent_max;
static bool scratch_orphan[HOLDS];
static uint64_t rng, seed, event, n_published, n_dropped;

/* Check's own assertions write to a pipe each time: too slow for this. */
#define MUST(x) do {							\
	if (!(x))							\
		ck_abort_msg("%s (CKV_SEED=%llu, event %llu)", #x,	\
			     (unsigned long long)seed,			\
			     (unsigned long long)event);		\
} while (0)

static uint32_t below(uint32_t n)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return (uint32_t)((rng >> 32) % n);
}

static void plant_forest(void)
{
	for (uint32_t k = 1; k <= KEYS; k++)
		parent_of[k] = k < 8 || below(12) == 0 ? 0 :
			       k - 1 - below(6);
}

static uint32_t client_lent(int l)
{
	uint32_t n = n_scratch[l];

	for (uint32_t k = 1; k <= KEYS; k++)
		n += model[k].state == LENT && model[k].lane == l;
	return n;
}

/* ---- what may not leave ---- */

static void keep_chain(uint32_t k)
{
	for (; k != 0 && !model[k].kept; k = parent_of[k])
		model[k].kept = true;
}

static void keep_slot(uint32_t slot)
{
	for (uint32_t k = 1; k <= KEYS; k++)
		if (model[k].state == PUBLISHED && model[k].slot == slot)
			keep_chain(k);
	for (int v = 0; v < VIEWS; v++)
		if (views[v].there && views[v].slot == slot)
			views[v].kept = true;
}

/* Every pin word is honoured, a liar's too if it happens to name a slot. */
static void mark_kept(uint32_t also)
{
	for (uint32_t k = 1; k <= KEYS; k++)
		model[k].kept = false;
	for (int v = 0; v < VIEWS; v++)
		views[v].kept = false;
	for (uint32_t k = 1; k <= KEYS; k++)
		if (model[k].n_holds || model[k].summing ||
		    model[k].state == LENT)
			keep_chain(k);
	keep_chain(also);
	for (int l = 0; l < LANES; l++) {
		uint32_t high = ckv_hint_load32(&core.lane[l].pin_high);

		for (uint32_t w = 0; w < high && w < CORE_PINS; w++)
			if (ckv_pin_slot(&core.lane[l].pins[w]) != CKV_NONE)
				keep_slot(ckv_pin_slot(&core.lane[l].pins[w]));
	}
}

static void leave(uint32_t k)
{
	MUST(model[k].n_kids == 0);
	if (parent_of[k] != 0)
		model[parent_of[k]].n_kids--;
	model[k].state = ABSENT;
}

static void see_one(uint32_t k)
{
	struct ckv_block block;
	uint32_t slot;

	if (!core_find(&core, k, &slot, &block)) {
		MUST(model[k].state != PUBLISHED);
		return;
	}
	MUST(model[k].state == PUBLISHED);
	MUST(slot == model[k].slot && block.host_page == model[k].page);
	MUST(block.generation == model[k].generation);
}

/* After a call that may evict: what is gone was free to go. Deepest first. */
static void see_evictions(uint64_t n_before)
{
	uint64_t n = CORE_STAT(&core, evicted) - n_before;

	if (n == 0)
		return;
	for (uint32_t k = KEYS; k > 0; k--) {
		if (model[k].state == PUBLISHED && !core_has(&core, k)) {
			MUST(!model[k].kept);
			leave(k);
			n--;
		}
		see_one(k);
	}
	MUST(n == 0);
}

/* ---- reserve ---- */

static void lend(uint32_t k, int l, const struct ckv_lent *lent)
{
	MUST(model[k].state == ABSENT && lent->page < PAGES);
	for (uint32_t i = 1; i <= KEYS; i++)
		MUST(model[i].state == ABSENT || model[i].page != lent->page);
	model[k].state = LENT;
	model[k].lane = l;
	model[k].page = lent->page;
	model[k].slot = lent->slot;
	model[k].generation = lent->generation;
	if (parent_of[k] != 0)
		model[parent_of[k]].n_kids++;
}

/* No block could have left: all that are published are kept. */
static bool nothing_may_leave(void)
{
	for (uint32_t k = 1; k <= KEYS; k++)
		if (model[k].state == PUBLISHED && !model[k].kept)
			return false;
	return true;
}

static bool buckets_full(uint32_t k)
{
	struct ckv_key key = core_key(k);
	struct ckv_place place = ckv_index_place(&core.index, &key);

	for (int b = 0; b < 2; b++)
		if (ckv_hint_load32(&core.index.buckets[place.bucket[b]].used) !=
		    (1u << CKV_BUCKET_ENTRIES) - 1)
			return false;
	return true;
}

/* What the core must say about k; 0 may also be a lack of room. */
static int predict(uint32_t k, int l, uint32_t lent)
{
	uint32_t up = parent_of[k];

	if (model[k].state == PUBLISHED)
		return -EEXIST;
	if (model[k].state == LENT)
		return -EALREADY;
	if (up != 0 && (model[up].state == ABSENT ||
			(model[up].state == LENT && model[up].lane != l)))
		return -ENOENT;
	return lent >= n_lent_max ? -EDQUOT : 0;
}

static void judge_reserve(const uint32_t *path, uint32_t n, int l,
			  const struct ckv_lent *lent, int r)
{
	uint32_t held = client_lent(l);
	int status = 0, n_lent = 0;

	for (uint32_t i = 0; i < n; i++) {
		int want = status != 0 && status != -EEXIST ? -ECANCELED :
			   predict(path[i], l, held);

		status = lent[i].status;
		if (want == -EDQUOT && status == -EXFULL)
			want = status;
		if (want == 0 && status == -EXFULL)
			MUST(buckets_full(path[i]));
		else if (want == 0 && status == -ENOSPC)
			MUST(nothing_may_leave());
		else
			MUST(status == want);
		MUST((status == 0) == (lent[i].page != CKV_NONE));
		if (status == -EEXIST)
			MUST(lent[i].slot == model[path[i]].slot);
		if (status == 0) {
			lend(path[i], l, &lent[i]);
			held++;
			n_lent++;
		}
	}
	MUST(r == n_lent);
}

static void do_reserve(int l)
{
	uint32_t path[KEYS], n = 0, k = 1 + below(KEYS), first;
	uint64_t before = CORE_STAT(&core, evicted);
	struct ckv_key up, keys[LIST];
	struct ckv_lent lent[LIST];
	int r;

	for (; k != 0; k = parent_of[k])
		path[n++] = k;
	for (uint32_t i = 0; i < n / 2; i++) {
		uint32_t t = path[i];

		path[i] = path[n - 1 - i];
		path[n - 1 - i] = t;
	}
	first = below(n);
	n -= first;
	if (n > LIST)
		n = LIST;
	up = core_key(parent_of[path[first]]);
	for (uint32_t i = 0; i < n; i++)
		keys[i] = core_key(path[first + i]);
	mark_kept(parent_of[path[first]]);
	for (uint32_t i = 0; i < n; i++)
		keep_chain(path[first + i]);
	r = space_reserve(core.space, lane[l], &up, keys, n, lent);
	see_evictions(before);
	judge_reserve(&path[first], n, l, lent, r);
}

static void do_scratch(int l)
{
	uint64_t before = CORE_STAT(&core, evicted);
	struct ckv_lent lent;
	int r;

	if (n_scratch[l] == SCRATCH)
		return;
	mark_kept(0);
	r = space_reserve_scratch(core.space, lane[l], 1, &lent);
	see_evictions(before);
	if (client_lent(l) >= n_lent_max)
		MUST(r == 0 && lent.status == -EDQUOT);
	else if (lent.status == -ENOSPC)
		MUST(nothing_may_leave());
	else
		MUST(r == 1 && lent.status == 0);
	if (r == 1)
		scratch[l][n_scratch[l]++] = lent.page;
}

/* ---- publish, abort ---- */

/* Some keys lent to a lane, in any order; its scratch is not among them. */
static uint32_t some_lent(int l, uint32_t *keys)
{
	uint32_t n = 0, start = below(KEYS), step = 1 + 2 * below(KEYS / 2);

	for (uint32_t i = 0; i < KEYS && n < LIST; i++) {
		uint32_t k = 1 + (start + i * step) % KEYS;
		bool twice = false;

		for (uint32_t j = 0; j < n; j++)
			twice |= keys[j] == k;
		if (!twice && model[k].state == LENT && model[k].lane == l &&
		    below(4) != 0)
			keys[n++] = k;
	}
	return n;
}

static int by_number(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static void do_publish(int l)
{
	struct ckv_publish_item items[LIST];
	uint32_t keys[LIST], n = some_lent(l, keys);
	int32_t status[LIST];
	int r, n_good = 0;

	if (n == 0)
		return;
	if (below(2))
		qsort(keys, n, sizeof keys[0], by_number);
	for (uint32_t i = 0; i < n; i++)
		items[i] = (struct ckv_publish_item){
			.page = model[keys[i]].page,
			.n_tokens = (uint16_t)(below(20) == 0 ? 0 : 1 + below(CORE_TOKENS)),
			.flags = (uint16_t)(2 * below(2)),
		};
	r = space_publish(core.space, lane[l], items, n, status);
	for (uint32_t i = 0; i < n; i++) {
		uint32_t up = parent_of[keys[i]];
		int want = items[i].n_tokens == 0 ? -EINVAL :
			   up != 0 && model[up].state != PUBLISHED ? -ENOENT : 0;

		MUST(status[i] == want);
		if (want == 0)
			model[keys[i]].state = PUBLISHED;
		n_good += want == 0;
		see_one(keys[i]);
	}
	n_published += (uint64_t)n_good;
	MUST(r == n_good);
}

static void abort_model(uint32_t k)
{
	for (uint32_t i = k + 1; i <= KEYS; i++)
		if (parent_of[i] == k && model[i].state == LENT)
			abort_model(i);
	leave(k);
}

static void do_abort(int l)
{
	uint32_t keys[LIST], pages[LIST], n = some_lent(l, keys);
	int32_t status[LIST];

	if (n == 0)
		return;
	for (uint32_t i = 0; i < n; i++)
		pages[i] = model[keys[i]].page;
	MUST(space_abort(core.space, lane[l], pages, n, status) == (int)n);
	for (uint32_t i = 0; i < n; i++) {
		MUST(status[i] == 0);
		if (model[keys[i]].state == LENT)
			abort_model(keys[i]);
	}
}

static void do_scratch_abort(int l)
{
	uint32_t i;
	int32_t status;

	if (n_scratch[l] == 0)
		return;
	i = below(n_scratch[l]);
	MUST(space_abort(core.space, lane[l], &scratch[l][i], 1, &status) == 1);
	for (int h = 0; h < HOLDS; h++)
		if (scratch_holds[h] == scratch[l][i] + 1)
			n_orphans += scratch_orphan[h] = true;
	scratch[l][i] = scratch[l][--n_scratch[l]];
}

/* ---- drop ---- */

static void do_drop(void)
{
	uint32_t n = 1 + below(LIST), keys[LIST], chosen[KEYS + 1] = { 0 };
	struct ckv_key list[LIST];
	int32_t status[LIST], want[LIST];
	int n_good = 0;

	for (uint32_t i = 0; i < n; i++) {
		keys[i] = 1 + below(KEYS);
		list[i] = core_key(keys[i]);
	}
	for (uint32_t i = 0; i < n; i++) {
		struct mkey *m = &model[keys[i]];

		want[i] = m->state != PUBLISHED || chosen[keys[i]] ? -ENOENT :
			  m->n_kids || m->n_holds ? -EBUSY : 0;
		if (want[i] == 0) {
			chosen[keys[i]] = 1;
			if (parent_of[keys[i]])
				model[parent_of[keys[i]]].n_kids--;
		}
	}
	for (uint32_t k = 1; k <= KEYS; k++)
		if (chosen[k] && parent_of[k])
			model[parent_of[k]].n_kids++;
	mark_kept(0);
	MUST(space_drop(core.space, list, n, status) >= 0);
	for (uint32_t i = 0; i < n; i++) {
		if (want[i] == 0 && model[keys[i]].kept)
			want[i] = -EBUSY;
		MUST(status[i] == want[i]);
		if (want[i] == 0) {
			leave(keys[i]);
			n_good++;
		}
	}
	for (uint32_t i = 0; i < n; i++)	/* a key may be listed twice */
		see_one(keys[i]);
	n_dropped += (uint64_t)n_good;
}

/* ---- readers, honest and not ---- */

static void do_pin(int l)
{
	uint32_t w = below(3), k = 1 + below(KEYS);

	core_unpin(&core, l, w);
	if (below(3) == 0)
		return;
	MUST(core_pin(&core, l, w, k) == (model[k].state == PUBLISHED));
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
	for (uint32_t k = KEYS; k > 0; k--)
		if (model[k].state == LENT && model[k].lane == l)
			leave(k);
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

static void do_hold(void)
{
	uint32_t h = below(HOLDS), k = 1 + below(KEYS), n = 0;
	struct space_link links[KEYS];
	struct ckv_key key = core_key(k);
	int r;

	if (holds[h] != 0) {
		space_release(core.space, model[holds[h]].page);
		model[holds[h]].n_holds--;
		holds[h] = 0;
		return;
	}
	r = space_chain_hold(core.space, &key, links, KEYS);
	if (model[k].state != PUBLISHED) {
		MUST(r == -ENOENT);
		return;
	}
	holds[h] = k;
	model[k].n_holds++;
	for (uint32_t i = k; i != 0; i = parent_of[i])
		MUST(links[(uint32_t)r - ++n].page == model[i].page);
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

	if (scratch_holds[h] != 0) {
		space_release(core.space, scratch_holds[h] - 1);
		n_orphans -= scratch_orphan[h];
		scratch_orphan[h] = false;
		scratch_holds[h] = 0;
	} else if (n_scratch[l] > 0) {
		page = scratch[l][below(n_scratch[l])];
		if (scratch_is_held(page))
			return;
		MUST(space_scratch_hold(core.space, lane[l], &page, 1) == 0);
		scratch_holds[h] = page + 1;
	}
}

static void do_sum(void)
{
	uint32_t page, k;

	if (n_sums < 3 && space_sum_next(core.space, &page)) {
		for (k = 1; k <= KEYS; k++)
			if (model[k].state == PUBLISHED &&
			    model[k].page == page)
				break;
		MUST(k <= KEYS && !model[k].summing);
		model[k].summing = true;
		n_sums++;
	}
	k = 1 + below(KEYS);
	if (model[k].summing) {
		space_sum_done(core.space, model[k].page, below(4) != 0, 5);
		model[k].summing = false;
		n_sums--;
	}
}

/* ---- views ---- */

static void see_views(void)
{
	for (uint32_t v = 0; v < VIEWS; v++) {
		struct ckv_block block;
		uint32_t slot;
		bool found = core_find(&core, FIRST_VIEW + v, &slot, &block);

		MUST(views[v].there || !found);
		if (found) {
			MUST(slot == views[v].slot);
			MUST(block.host_page == views[v].page);
			MUST(block.n_pages == views[v].n_pages);
		}
		MUST(found || !views[v].kept || !views[v].there);
		views[v].there = found;
	}
}

static void do_view(void)
{
	uint32_t v = below(VIEWS), n_pages = 1 + below(8);
	struct space_view view = {
		.key = core_key(FIRST_VIEW + v),
		.name = core_key(FIRST_VIEW + 100 + v % 3),
	}, found;
	struct ckv_block block;
	int64_t first;
	int r;

	mark_kept(0);
	if (below(3) == 0) {
		r = space_view_find(core.space, &view.key, &found);
		MUST((r == 0) == views[v].there);
		return;
	}
	first = space_view_alloc(core.space, n_pages);
	see_views();
	if (first < 0)
		return;
	view.first_page = (uint32_t)first;
	r = below(4) == 0 ? -ECANCELED : space_view_publish(core.space, &view);
	if (r != 0) {
		MUST(r == -ECANCELED || r == -EXFULL ||
		     (r == -EEXIST && views[v].there));
		space_view_abort(core.space, view.first_page);
		return;
	}
	views[v] = (struct mview){
		.there = true, .page = view.first_page, .n_pages = n_pages,
	};
	MUST(core_find(&core, FIRST_VIEW + v, &views[v].slot, &block));
}

/* A pin on a view, in a word of its own. */
static void do_view_pin(int l)
{
	uint32_t v = below(VIEWS);

	core_unpin(&core, l, 2);
	if (below(2))
		MUST(core_pin(&core, l, 2, FIRST_VIEW + v) == views[v].there);
}

/* ---- the run ---- */

static void see_all(void)
{
	uint64_t n_blocks = 0, n_lent = n_orphans;

	space_check(core.space);
	for (uint32_t k = 1; k <= KEYS; k++) {
		see_one(k);
		n_blocks += model[k].state == PUBLISHED;
		n_lent += model[k].state == LENT;
	}
	for (int l = 0; l < LANES; l++) {
		n_lent += n_scratch[l];
		MUST(space_client_lent(core.space, (uint32_t)l) ==
		     client_lent(l));
	}
	MUST(CORE_STAT(&core, blocks) == n_blocks);
	MUST(CORE_STAT(&core, pages_lent) == n_lent);
	MUST(CORE_STAT(&core, published) == n_published);
	MUST(CORE_STAT(&core, dropped) == n_dropped);
}

static void one_event(void)
{
	int l = (int)below(LANES);
	uint32_t what = below(1000);

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
	else if (what < 855)
		do_hold();
	else if (what < 875)
		do_scratch(l);
	else if (what < 890)
		do_scratch_abort(l);
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
		space_set_limits(core.space, n_lent_max, PAGES);
	}
}

static uint64_t number(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text ? strtoull(text, NULL, 0) : otherwise;
}

/*
 * Whatever happens in whatever order, the core answers as the model predicts and
 * never lets go of what is needed. Runs: {both policies} x {roomy, tight index}.
 */
START_TEST(core_is_as_the_model)
{
	struct space_config config = core_config(PAGES, VIEW_PAGES);
	uint64_t n_events = number("CKV_EVENTS", 1000000) / 4;

	seed = number("CKV_SEED", (uint64_t)time(NULL) * 1000003);
	fprintf(stderr, "CKV_SEED=%llu run %d\n", (unsigned long long)seed, _i);
	rng = (seed + (uint64_t)_i) * 0x9e3779b97f4a7c15u | 1;
	plant_forest();
	config.policy = policy_at((uint32_t)_i % 2);
	config.n_buckets = _i < 2 ? config.n_buckets : 2;
	n_lent_max = PAGES;
	core_open(&core, &config);
	for (int l = 0; l < LANES; l++)
		lane[l] = core_lane_open(&core, l);
	for (event = 0; event < n_events; event++) {
		one_event();
		if (event % CHECK_EVERY == 0)
			see_all();
	}
	MUST(CORE_STAT(&core, evicted) > n_events / 100);
	core_close(&core);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("core_model");
	TCase *t = tcase_create("model");
	SRunner *sr = srunner_create(s);
	int failed;

	suite_add_tcase(s, t);
	tcase_set_timeout(t, 250);
	tcase_add_loop_test(t, core_is_as_the_model, 0, 4);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

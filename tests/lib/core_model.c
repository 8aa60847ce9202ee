/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core_model.c - see core_model.h.
 */
#include "tests/lib/core_model.h"

#include <errno.h>
#include <stdlib.h>

struct core core;
struct mkey model[KEYS + 1];
struct mview views[VIEWS];
uint32_t parent_of[KEYS + 1];
int lane[LANES];
uint32_t scratch[LANES][SCRATCH], n_scratch[LANES], n_orphans;
uint32_t scratch_holds[HOLDS], n_lent_max;
bool scratch_orphan[HOLDS];
enum space_auto automatic;
bool could_leave;
uint64_t rng, seed, event, n_published, n_dropped, n_lent_at[SPACE_LEVELS_MAX];
struct old_lane old_lane[LANES];

static struct lending {		/* the last one of a page */
	uint32_t number;
	int lane, over;		/* 0 while it lasts */
} lending[SPACE_LEVELS_MAX][PAGES];
static struct ckv_page_name names[NAMES];	/* lent at some time */
static uint32_t n_names;

uint32_t below(uint32_t n)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return (uint32_t)((rng >> 32) % n);
}

void plant_forest(void)
{
	for (uint32_t k = 1; k <= KEYS; k++)
		parent_of[k] = k < 8 || below(12) == 0 ? 0 :
			       k - 1 - below(6);
}

uint32_t lending_level(void)
{
	uint32_t level;

	do
		level = below(core.config.n_levels);
	while (!core_is_read(&core, level));
	return level;
}

uint32_t client_lent_at(int l, uint32_t level)
{
	uint32_t n = level == work() ? n_scratch[l] : 0;

	for (uint32_t k = 1; k <= KEYS; k++)
		n += is_lent(k) && model[k].lane == l && model[k].lent_at == level;
	return n;
}

uint32_t client_lent(int l)
{
	uint32_t n = 0;

	for (uint32_t level = 0; level < core.config.n_levels; level++)
		n += client_lent_at(l, level);
	return n;
}

/* ---- keys ---- */

void leave(uint32_t k)
{
	MUST(model[k].n_kids == 0);
	if (parent_of[k] != 0)
		model[parent_of[k]].n_kids--;
	model[k].state = ABSENT;
	model[k].at = 0;
	model[k].done = false;
}

void see_one(uint32_t k)
{
	struct ckv_block block;
	uint32_t slot;

	if (!core_find(&core, k, &slot, &block)) {
		MUST(model[k].state != PUBLISHED);
		return;
	}
	MUST(model[k].state == PUBLISHED && model[k].at == copies_of(k));
	MUST(slot == model[k].slot);
	MUST(block.level == core.config.level[nearest(k)].number);
	MUST(block.generation == model[k].generation);
	for (uint32_t l = 0; l < core.config.n_levels; l++)
		if (core_is_read(&core, l))
			MUST(*ckv_block_page(&block, core.config.level[l].number) ==
			     place_of(k, l));
}

/* After a call that may evict: what is gone was free to go. Deepest first. */
void see_evictions(uint64_t n_before)
{
	uint64_t n = CORE_STAT(&core, evicted) - n_before;

	for (uint32_t k = KEYS; n > 0 && k > 0; k--) {
		if (model[k].state != PUBLISHED || core_has(&core, k))
			continue;
		MUST(!model[k].kept);
		if (model[k].done && automatic != SPACE_AUTO_NONE)
			model[parent_of[k]].done = true;
		leave(k);
		n--;
	}
	MUST(n == 0);
	see_copies();
	for (uint32_t k = KEYS; k > 0; k--)
		see_one(k);
}

/* ---- lendings ---- */

void lendings_forget(void)
{
	memset(lending, 0, sizeof lending);
}

void lending_ends(uint32_t level, uint32_t page, int how)
{
	MUST(lending[level][page].over == 0);
	lending[level][page].over = how;
}

static uint32_t level_of_number(uint32_t number)
{
	uint32_t level = 0;

	while (core.config.level[level].number != number)
		level++;
	return level;
}

struct ckv_page_name name_of(uint32_t level, uint32_t page)
{
	return (struct ckv_page_name){ page, lending[level][page].number, core_epoch,
				       core.config.level[level].number, 0 };
}

static void lending_begins(int l, const struct ckv_lent *lent)
{
	uint32_t level = level_of_number(lent->level);
	struct lending *at = &lending[level][lent->page];

	MUST(lent->lending != 0 && lent->lending != at->number);
	*at = (struct lending){ lent->lending, lane[l], 0 };
	bytes_spoilt(level, lent->page);
	names[n_names++ % NAMES] = core_name(lent);
}

/* What this name is to this lane; 0: the page is lent to it. */
static int judge_name(int l, const struct ckv_page_name *name)
{
	const struct lending *at = &lending[level_of_number(name->level)][name->page];

	if (name->epoch != core_epoch || name->lending != at->number ||
	    at->lane != lane[l])
		return -ESTALE;
	return at->over;
}

/* The key that a page is lent for; 0: none, it is scratch. */
static uint32_t key_lent(const struct ckv_page_name *name)
{
	uint32_t level = level_of_number(name->level);

	for (uint32_t k = 1; k <= KEYS; k++)
		if (is_lent(k) && model[k].lent_at == level && model[k].page == name->page)
			return k;
	return 0;
}

/* ---- reserve ---- */

static void lend(uint32_t k, int l, uint32_t level, const struct ckv_lent *lent)
{
	MUST(lent->page < core.config.level[level].n_places);
	MUST(lent->level == core.config.level[level].number);
	MUST(!page_rests(level, lent->page));
	for (uint32_t i = 1; i <= KEYS; i++) {
		MUST(!is_lent(i) || model[i].lent_at != level ||
		     model[i].page != lent->page);
		MUST(!(model[i].at >> level & 1) || place_of(i, level) != lent->page);
	}
	for (int i = 0; i < LANES; i++)
		for (uint32_t n = 0; n < old_lane[i].n_pages; n++)
			MUST(old_lane[i].page[n].level != level ||
			     old_lane[i].page[n].page != lent->page);
	lending_begins(l, lent);
	model[k].lane = l;
	model[k].page = lent->page;
	model[k].lent_at = level;
	n_lent_at[level]++;
	if (model[k].state == PUBLISHED) {
		MUST(!model[k].over && nearest(k) > level);
		MUST(lent->slot == model[k].slot);
		MUST(lent->generation == model[k].generation);
		model[k].over = true;
		n_over++;
		return;
	}
	model[k].state = LENT;
	model[k].slot = lent->slot;
	model[k].generation = lent->generation;
	if (parent_of[k] != 0)
		model[parent_of[k]].n_kids++;
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

/*
 * Could a block have left k's full buckets for it? Blocks that are found pinned cost a
 * key its wishes, so with many of them one that is free to go may be missed.
 */
static bool bucket_may_leave(uint32_t k)
{
	struct ckv_key key = core_key(k);
	struct ckv_place place = ckv_index_place(&core.index, &key);
	uint32_t n_free = 0, n_pinned = 0;

	for (uint32_t i = 1; i <= KEYS; i++) {
		uint32_t bucket = model[i].slot / CKV_BUCKET_ENTRIES;

		if (model[i].state != PUBLISHED || model[i].n_kids > 0 ||
		    (bucket != place.bucket[0] && bucket != place.bucket[1]))
			continue;
		n_free += !model[i].kept && !model[i].over;
		n_pinned += model[i].kept;
	}
	return n_free > 0 && n_pinned < 8;
}

/* What the core must say about k; 0 may also be a lack of room. */
static int predict(uint32_t k, int l, uint32_t level)
{
	const struct mkey *m = &model[k], *up = &model[parent_of[k]];
	bool ours = is_lent(parent_of[k]) && up->lane == l;
	bool up_ok = parent_of[k] == 0 || is_at(parent_of[k], level) ||
		     (ours && up->lent_at <= level);

	if (m->state == PUBLISHED && !up_ok)
		return -EXDEV;
	if (is_at(k, level))
		return -EEXIST;
	if (is_lent(k))
		return -EALREADY;
	if (!up_ok)
		return up->state == PUBLISHED || ours ? -EXDEV : -ENOENT;
	return client_lent_at(l, level) >= n_lent_max ? -EDQUOT : 0;
}

/* The answer for key k: `before` is the status of the one before it in the list. */
int judge_lent(uint32_t k, int l, uint32_t level, int before,
	       const struct ckv_lent *lent, bool searched)
{
	int want = before != 0 && before != -EEXIST ? -ECANCELED : predict(k, l, level);
	int status = lent->status;

	if (want == -EDQUOT && status == -EXFULL)
		want = status;
	if ((want == -EDQUOT || want == 0) && status == -ENOSPC && is_stale(k, level))
		want = status;
	if (want == 0 && status == -EXFULL)
		MUST(buckets_full(k) && !(searched && bucket_may_leave(k)));
	else if (want == 0 && status == -ENOSPC)
		MUST(!searched || !space_pace_ready(&pace) || !could_leave ||
		     !one_may_leave(level));
	else
		MUST(status == want);
	MUST((status == 0) == (lent->page != CKV_NONE));
	if (status == -EEXIST)
		MUST(lent->slot == model[k].slot);
	if (status == 0)
		lend(k, l, level, lent);
	return status;
}

static void judge_reserve(const uint32_t *path, uint32_t n, int l, uint32_t level,
			  const struct ckv_lent *lent, int r)
{
	int status = 0, n_lent = 0;

	for (uint32_t i = 0; i < n; i++) {
		status = judge_lent(path[i], l, level, status, &lent[i], true);
		n_lent += status == 0;
	}
	MUST(r == n_lent);
}

/* A stretch of a random path from a root: its length. */
uint32_t some_path(uint32_t *path)
{
	uint32_t n = 0, k = 1 + below(KEYS), first;

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
	for (uint32_t i = 0; i < n; i++)
		path[i] = path[first + i];
	return n;
}

void do_reserve(int l)
{
	uint32_t path[KEYS], n = some_path(path), level = lending_level(), n_there = 0;
	uint64_t before = CORE_STAT(&core, evicted);
	struct ckv_key up = core_key(parent_of[path[0]]), keys[LIST];
	struct ckv_lent lent[LIST];
	int r;

	for (uint32_t i = 0; i < n; i++)
		keys[i] = core_key(path[i]);
	/* What is held while it waits: the parent of the first key that is lent a page. */
	while (n_there < n && is_at(path[n_there], level))
		n_there++;
	mark_kept(n_there > 0 ? path[n_there - 1] : parent_of[path[0]], level);
	could_leave = one_may_leave(level);
	r = space_reserve(core.space, lane[l], level, &up, keys, n, lent);
	see_evictions(before);
	judge_reserve(path, n, l, level, lent, r);
}

void do_scratch(int l)
{
	uint64_t before = CORE_STAT(&core, evicted);
	struct ckv_lent lent;
	int r;

	if (n_scratch[l] == SCRATCH)
		return;
	mark_kept(0, 0);
	could_leave = one_may_leave(work());
	r = space_reserve_scratch(core.space, lane[l], 1, &lent);
	see_evictions(before);
	if (client_lent_at(l, work()) >= n_lent_max)
		MUST(r == 0 && lent.status == -EDQUOT);
	else if (lent.status == -ENOSPC)
		MUST(!could_leave || !one_may_leave(work()));
	else
		MUST(r == 1 && lent.status == 0);
	if (r == 1) {
		scratch[l][n_scratch[l]++] = lent.page;
		lending_begins(l, &lent);
	}
}

/* ---- publish, abort ---- */

/* Some keys lent to a lane, in any order. */
static uint32_t some_lent(int l, uint32_t *keys)
{
	uint32_t n = 0, start = below(KEYS), step = 1 + 2 * below(KEYS / 2);

	for (uint32_t i = 0; i < KEYS && n < LIST; i++) {
		uint32_t k = 1 + (start + i * step) % KEYS;

		if (is_lent(k) && model[k].lane == l && below(4) != 0)
			keys[n++] = k;
	}
	return n;
}

static int by_number(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

/*
 * Names for a request of this lane: mostly of what is lent to it, some twice; a few of
 * what it or another lane was lent at another time, or by another daemon.
 */
static uint32_t some_names(int l, struct ckv_page_name *ret)
{
	uint32_t keys[LIST], n = some_lent(l, keys), at;

	if (below(2))
		qsort(keys, n, sizeof keys[0], by_number);
	for (uint32_t i = 0; i < n; i++)
		ret[i] = name_of(model[keys[i]].lent_at, model[keys[i]].page);
	for (uint32_t i = below(4); i > 0 && n_names > 0; i--) {
		at = n < LIST ? n++ : below(n);
		ret[at] = names[below(n_names < NAMES ? n_names : NAMES)];
		ret[at].epoch += below(8) == 0;
	}
	if (n_scratch[l] > 0 && below(3) == 0)
		ret[n < LIST ? n++ : below(n)] =
			name_of(work(), scratch[l][below(n_scratch[l])]);
	if (n > 0 && below(4) == 0)
		ret[below(n)] = ret[below(n)];
	return n;
}

static int publish_model(int l, const struct ckv_publish_item *item)
{
	int r = judge_name(l, &item->name);
	uint32_t k, up;

	if (r < 0)
		return r;
	k = key_lent(&item->name);
	up = parent_of[k];
	if (k == 0 || item->n_tokens == 0)
		return -EINVAL;
	if (up != 0 && !is_at(up, model[k].lent_at))
		return -ENOENT;
	model[k].state = PUBLISHED;
	model[k].over = false;
	model[k].at = 1u << model[k].lent_at;
	bytes_of(k, model[k].lent_at, item->name.page);
	lending_ends(model[k].lent_at, item->name.page, -EEXIST);
	return 0;
}

void do_publish(int l)
{
	struct ckv_publish_item items[LIST];
	struct ckv_page_name list[LIST];
	uint32_t n = some_names(l, list), keys[LIST];
	int32_t status[LIST];
	int r, n_good = 0;

	if (n == 0)
		return;
	for (uint32_t i = 0; i < n; i++)
		items[i] = (struct ckv_publish_item){
			.name = list[i],
			.n_tokens = (uint16_t)(below(20) == 0 ? 0 : 1 + below(CORE_TOKENS)),
			.flags = (uint16_t)(2 * below(2)),
		};
	r = space_publish(core.space, lane[l], items, n, status);
	for (uint32_t i = 0; i < n; i++) {
		int want;

		keys[i] = key_lent(&items[i].name);
		want = publish_model(l, &items[i]);
		MUST(status[i] == want);
		n_good += want == 0;
	}
	see_moves();	/* some may have waited for a parent */
	for (uint32_t i = 0; i < n; i++)
		if (keys[i] != 0)
			see_one(keys[i]);
	n_published += (uint64_t)n_good;
	MUST(r == n_good);
}

static void abort_key(uint32_t k)
{
	for (uint32_t i = k + 1; i <= KEYS; i++)
		if (parent_of[i] == k && is_lent(i) && hangs(i))
			abort_key(i);
	lending_ends(model[k].lent_at, model[k].page, -ECANCELED);
	if (model[k].over)
		model[k].over = false;
	else
		leave(k);
}

static void abort_scratch(int l, uint32_t page)
{
	uint32_t i = 0;

	while (scratch[l][i] != page)
		i++;
	for (int h = 0; h < HOLDS; h++)
		if (scratch_holds[h] == page + 1)
			n_orphans += scratch_orphan[h] = true;
	scratch[l][i] = scratch[l][--n_scratch[l]];
	lending_ends(work(), page, -ECANCELED);
}

static int abort_model(int l, const struct ckv_page_name *name)
{
	int r = judge_name(l, name);
	uint32_t k;

	if (r < 0)
		return r;
	k = key_lent(name);
	if (k != 0)
		abort_key(k);
	else
		abort_scratch(l, name->page);
	return 0;
}

void do_abort(int l)
{
	struct ckv_page_name list[LIST];
	uint32_t n = some_names(l, list);
	int32_t status[LIST];
	int r, n_good = 0;

	if (n == 0)
		return;
	r = space_abort(core.space, lane[l], list, n, status);
	for (uint32_t i = 0; i < n; i++) {
		int want = abort_model(l, &list[i]);

		MUST(status[i] == want);
		n_good += want == 0;
	}
	MUST(r == n_good);
}

/* ---- drop ---- */

static bool is_held(const struct mkey *m)
{
	return m->n_holds[0] + m->n_holds[1] + m->n_holds[2] > 0;
}

void do_drop(void)
{
	uint32_t n = 1 + below(LIST), keys[LIST], chosen[KEYS + 1] = { 0 };
	struct ckv_key list[LIST];
	int32_t status[LIST], want[LIST];
	uint64_t before;
	int n_good = 0;

	for (uint32_t i = 0; i < n; i++) {
		keys[i] = 1 + below(KEYS);
		list[i] = core_key(keys[i]);
	}
	for (uint32_t i = 0; i < n; i++) {
		struct mkey *m = &model[keys[i]];

		want[i] = m->state != PUBLISHED ? -ENOENT :
			  m->n_kids || is_held(m) || m->over || m->move ?
			  -EBUSY : 0;
		if (want[i] == 0 && !chosen[keys[i]]) {
			chosen[keys[i]] = 1;
			if (parent_of[keys[i]])
				model[parent_of[keys[i]]].n_kids--;
		}
	}
	for (uint32_t k = 1; k <= KEYS; k++)
		if (chosen[k] && parent_of[k])
			model[parent_of[k]].n_kids++;
	mark_kept(0, 0);
	before = CORE_STAT(&core, evicted);
	MUST(space_drop(core.space, list, n, status) >= 0);
	for (uint32_t i = 0; i < n; i++) {
		if (want[i] == 0 && model[keys[i]].kept)
			want[i] = -EBUSY;
		else if (want[i] == 0 && chosen[keys[i]] == 2)
			want[i] = -ENOENT;	/* listed twice, and gone */
		MUST(status[i] == want[i]);
		if (want[i] == 0) {
			chosen[keys[i]] = 2;
			leave(keys[i]);
			n_good++;
		}
	}
	see_evictions(before);	/* of writers that waited for the same step */
	for (uint32_t i = 0; i < n; i++)	/* a key may be listed twice */
		see_one(keys[i]);
	n_dropped += (uint64_t)n_good;
}

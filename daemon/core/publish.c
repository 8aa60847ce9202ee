/* SPDX-License-Identifier: Apache-2.0 */
/*
 * publish.c - PUBLISH and ABORT: lent pages become blocks, or free again.
 *
 * A client names a page together with the number of its lending. A name from an
 * earlier lending is refused, so a late request cannot hit what the page is used for
 * now.
 */
#include "daemon/core/state.h"

#define AHEAD 8u		/* items prefetched before they are used, twice */

/* ---- PUBLISH ---- */

int lent_judge(const struct space *s, int lane, const struct ckv_page_name *name,
	       uint32_t *ret_level)
{
	const struct page *page;
	uint32_t level = 0;

	if (name->zero != 0)
		return -EPROTO;
	if (name->epoch != s->config.epoch)
		return -ESTALE;
	while (level < s->config.n_levels && !is_page_of(&s->levels[level], name))
		level++;
	if (level == s->config.n_levels)
		return -EPROTO;
	*ret_level = level;
	page = &s->levels[level].pages[name->page];
	if (page->lending != name->lending || page->last_lane != lane)
		return -ESTALE;
	if (page->lane == lane)
		return 0;
	return page->published ? -EEXIST : -ECANCELED;
}

static void lane_leave(struct space *s, uint32_t l, uint32_t page)
{
	struct level *level = &s->levels[l];
	struct space_lane *lane = &s->lanes[level->pages[page].lane];

	queue_remove(&lane->lent, sheet_links(s), sheet_of(s, l, page));
	assert(level->client_lent[lane->client] > 0);
	assert(level->user_lent[lane->memory.user] > 0);
	level->client_lent[lane->client]--;
	level->user_lent[lane->memory.user]--;
	level->pages[page].lane = NO_LANE;
}

static int publish_judge(struct space *s, int lane, const struct ckv_publish_item *item,
			 uint32_t *ret_level)
{
	const struct ckv_record *record;
	int r = item->zero != 0 ? -EPROTO : lent_judge(s, lane, &item->name, ret_level);

	if (r < 0)
		return r;
	record = &s->levels[*ret_level].records[item->name.page];
	if (record->slot == CKV_NONE || item->n_tokens == 0 ||
	    item->n_tokens > s->config.geometry.block_tokens ||
	    (item->flags & ~CKV_ENTRY_SUMMED) != 0)
		return -EINVAL;
	if (record->parent_slot != CKV_NONE &&
	    !is_near(s, record->parent_slot, *ret_level)) {
		ckv_count(&s->stats->refused_parent, 1);
		return -ENOENT;
	}
	return 0;
}

void record_loading(struct space *s, uint32_t level, uint32_t page)
{
	struct ckv_record *record = &s->levels[level].records[page];

	*record = (struct ckv_record){
		.parent_slot = CKV_NONE, .slot = CKV_NONE,
		.state = CKV_RECORD_LOADING,
	};
	ckv_record_close(record, s->fingerprint, page);
}

void record_published(struct space *s, uint32_t slot, uint32_t level)
{
	struct ckv_record *record = record_of(s, slot, level);
	struct ckv_block block;

	block_load(s, slot, &block);
	record->key = block.key;
	record->checksum = block.checksum;
	record->parent_slot = block.parent_slot;
	record->slot = slot;
	record->generation = block.generation;
	record->n_tokens = block.n_tokens;
	record->flags = block.flags;
	record->state = CKV_RECORD_PUBLISHED;
	ckv_record_close(record, s->fingerprint, copy_of(s, slot, level)->place);
}

static void publish_one(struct space *s, const struct ckv_publish_item *item,
			uint32_t level, int32_t *units)
{
	uint32_t page = item->name.page;
	struct ckv_record *record = &s->levels[level].records[page];
	uint32_t slot = record->slot;
	struct node *node = node_of(s, slot);
	bool summed = item->flags & CKV_ENTRY_SUMMED;

	assert(node_lent(s, slot) && copy_of(s, slot, level)->place == page);
	lane_leave(s, level, page);
	page_of(s, level, page)->published = true;
	record->flags = (uint8_t)item->flags;
	record->n_tokens = item->n_tokens;
	record->checksum = summed ? item->checksum : 0;
	record->state = CKV_RECORD_PUBLISHED;
	ckv_record_close(record, s->fingerprint, page);
	if (node->state == NODE_LENT) {
		node->state = NODE_PUBLISHED;
		table_show(s, slot, record->flags, item->n_tokens,
			   record->checksum);
		ckv_count(&s->stats->blocks, 1);
	} else {
		block_replace(s, slot, level, item);
	}
	copy_new(s, slot, level);
	if (s->config.n_levels > 1) {
		node_put(s, slot, POLICY_KEPT);
		save_enqueue(s, slot, level);
		moves_landed(s);
	}
	event_note(s, SPACE_STORED, slot, ALL_LEVELS, level);
	tip_enqueue(s, slot);
	await_settle(s, slot, units);
	gauge_sub(&s->stats->pages_lent, 1);
	ckv_count(&s->stats->published, 1);
	if (!summed)
		sum_enqueue(s, slot, level);
}

/*
 * Prefetch the page that item `far` names, and the slot of item `near`, whose page was
 * prefetched before. The items are a client's, and not judged yet. Mostly they are of the
 * level of the item before.
 */
CKV_ASK publish_ahead(const struct space *s, uint32_t l,
		      const struct ckv_publish_item *items, uint32_t n, uint32_t far,
		      uint32_t near)
{
	const struct level *level = &s->levels[l];
	uint32_t slot;

	if (far < n && is_page_of(level, &items[far].name))
		page_prefetch(level, items[far].name.page);
	if (near >= n || !is_page_of(level, &items[near].name))
		return;
	slot = level->records[items[near].name.page].slot;
	if (slot < s->n_slots)
		table_prefetch(s, slot);
}

int publish_run(struct space *s, struct space_task *t, int32_t *units)
{
	const struct ckv_publish_item *items = t->items;
	int32_t *status = t->answers;
	uint32_t level = s->config.work_level, judged;

	for (uint32_t i = t->next; i < t->next + 2 * AHEAD; i++)
		publish_ahead(s, level, items, t->n, i, CKV_NONE);
	for (; t->next < t->n; t->next++) {
		const struct ckv_publish_item *item = &items[t->next];
		int r;

		if (*units <= 0)
			return SPACE_MORE;
		publish_ahead(s, level, items, t->n, t->next + 2 * AHEAD,
			      t->next + AHEAD);
		*units -= UNITS_PUBLISH;
		r = publish_judge(s, t->lane, item, &judged);
		if (r == -EPROTO)
			return r;
		status[t->next] = r;
		if (r < 0)
			continue;
		level = judged;
		publish_one(s, item, level, units);
		t->n_done++;
	}
	return t->n_done;
}

/* ---- ABORT ---- */

/* If a job still reads a scratch page, the page becomes free when the job releases it. */
void lent_abort(struct space *s, uint32_t sheet, bool ended, int32_t *units)
{
	uint32_t page, level = sheet_level(s, sheet, &page);
	struct ckv_record *record = &s->levels[level].records[page];
	uint32_t slot = record->slot;
	uint64_t serial = record->checksum;

	lane_leave(s, level, page);
	if (slot != CKV_NONE) {
		parent_lose_at(s, slot, level, POLICY_BACK);
		if (node_of(s, slot)->state == NODE_LENT) {
			node_free(s, slot);
		} else {
			copy_remove(s, slot, level);
			node_put(s, slot, POLICY_BACK);
		}
		await_settle(s, slot, units);
	}
	if (ended && s->levels[level].config.rests_after_death) {
		gauge_sub(&s->stats->pages_lent, 1);
		page_rest(s, level, page, serial);
		return;
	}
	if (page_of(s, level, page)->n_holds == 0)
		lent_free(s, level, page);
	else	/* lent to nobody, for a later daemon, which has no such job */
		ckv_record_blank(record, s->fingerprint, page, CKV_RECORD_LENT, 0);
}

/*
 * Pages that hang directly on a lent one; a scratch page has none, only holds. Of a block
 * that is there, farther away, only what is lent can count at nearer levels than its own.
 */
static uint32_t n_hanging(const struct space *s, uint32_t sheet)
{
	uint32_t slot = sheet_record(s, sheet)->slot, n = 0;

	if (slot == CKV_NONE)
		return 0;
	for (uint32_t l = 0; l < s->config.n_levels && !is_near(s, slot, l); l++)
		n += copy_of(s, slot, l)->n_children;
	return n;
}

/*
 * Take a lent page and all that hangs on it back. They follow it in the lane's queue:
 * go forward to the last one (n_awaited: how many are known that were not passed yet),
 * then take them back from there backwards, children before parents. Nothing else
 * changes this tree meanwhile, as only its lane may, which runs one request at a time.
 * False: the units are used up; call again.
 */
static bool abort_tree(struct space *s, struct space_task *t, uint32_t sheet,
		       int32_t *units)
{
	uint32_t last = t->last_page;

	if (last == CKV_NONE) {
		last = sheet;
		t->n_awaited = n_hanging(s, sheet);
	}
	while (t->n_awaited > 0 && *units > 0) {
		*units -= UNITS_LOOK;
		last = s->pages[last].link.next;
		t->n_awaited--;
		t->n_awaited += n_hanging(s, last);
	}
	while (t->n_awaited == 0 && *units > 0) {
		uint32_t prev = s->pages[last].link.prev;

		*units -= UNITS_ABORT;
		lent_abort(s, last, false, units);
		ckv_count(&s->stats->aborted, 1);
		t->last_page = CKV_NONE;
		if (last == sheet)
			return true;
		last = prev;
	}
	t->last_page = last;
	return false;
}

int abort_run(struct space *s, struct space_task *t, int32_t *units)
{
	const struct ckv_page_name *names = t->items;
	int32_t *status = t->answers;

	for (; t->next < t->n; t->next++) {
		const struct ckv_page_name *name = &names[t->next];
		uint32_t level;
		int r;

		if (*units <= 0)
			return SPACE_MORE;
		r = lent_judge(s, t->lane, name, &level);
		if (r == -EPROTO)
			return r;
		if (r == 0 && !abort_tree(s, t, sheet_of(s, level, name->page), units))
			return SPACE_MORE;
		*units -= UNITS_LOOK;
		status[t->next] = r;
		t->n_done += r == 0;
	}
	return t->n_done;
}

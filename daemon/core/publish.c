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

int lent_judge(const struct space *s, int lane, const struct ckv_page_name *name)
{
	const struct page *page;

	if (name->epoch != s->config.epoch)
		return -ESTALE;
	if (name->page >= lend_level(s)->config.n_places)
		return -EPROTO;
	page = page_of(s, name->page);
	if (page->lending != name->lending || page->last_lane != lane)
		return -ESTALE;
	if (page->lane == lane)
		return 0;
	return page->published ? -EEXIST : -ECANCELED;
}

static void lane_leave(struct space *s, uint32_t page)
{
	struct space_lane *lane = &s->lanes[page_of(s, page)->lane];

	queue_remove(&lane->lent, page_links(s), page);
	assert(s->client_lent[lane->client] > 0);
	assert(s->user_lent[lane->memory.user] > 0);
	s->client_lent[lane->client]--;
	s->user_lent[lane->memory.user]--;
	page_of(s, page)->lane = NO_LANE;
}

static int publish_judge(struct space *s, int lane,
			 const struct ckv_publish_item *item)
{
	const struct ckv_record *record;
	int r = item->zero != 0 ? -EPROTO : lent_judge(s, lane, &item->name);

	if (r < 0)
		return r;
	record = &s->records[item->name.page];
	if (record->slot == CKV_NONE || item->n_tokens == 0 ||
	    item->n_tokens > s->config.geometry.block_tokens ||
	    (item->flags & ~CKV_ENTRY_SUMMED) != 0)
		return -EINVAL;
	if (record->parent_slot != CKV_NONE &&
	    (node_of(s, record->parent_slot)->state != NODE_PUBLISHED ||
	     !copy_there(s, record->parent_slot, LEND_LEVEL))) {
		ckv_count(&s->stats->refused_parent, 1);
		return -ENOENT;
	}
	return 0;
}

void record_loading(struct space *s, uint32_t page)
{
	s->records[page] = (struct ckv_record){
		.parent_slot = CKV_NONE, .slot = CKV_NONE,
		.state = CKV_RECORD_LOADING,
	};
	ckv_record_close(&s->records[page], s->fingerprint, page);
}

void record_published(struct space *s, uint32_t slot)
{
	struct ckv_record *record = record_of(s, slot);
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
	ckv_record_close(record, s->fingerprint, page_in(s, slot));
}

static void publish_one(struct space *s, const struct ckv_publish_item *item,
			int32_t *units)
{
	uint32_t page = item->name.page;
	struct ckv_record *record = &s->records[page];
	uint32_t slot = record->slot;
	struct node *node = node_of(s, slot);
	bool summed = item->flags & CKV_ENTRY_SUMMED;

	assert(node_lent(s, slot) && page_in(s, slot) == page);
	lane_leave(s, page);
	page_of(s, page)->published = true;
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
		block_replace(s, slot, item);
	}
	copy_new(s, slot);
	if (s->config.n_levels > 1) {
		node_put(s, slot, POLICY_KEPT);
		save_enqueue(s, slot, LEND_LEVEL);
		moves_landed(s);
	}
	event_note(s, SPACE_STORED, slot, ALL_LEVELS, LEND_LEVEL);
	tip_enqueue(s, slot);
	await_settle(s, slot, units);
	gauge_sub(&s->stats->pages_lent, 1);
	ckv_count(&s->stats->published, 1);
	if (!summed)
		sum_enqueue(s, slot);
}

/*
 * Prefetch the page that item `far` names, and the slot of item `near`, whose page was
 * prefetched before. The items are a client's, and not judged yet.
 */
CKV_ASK publish_ahead(const struct space *s, const struct ckv_publish_item *items,
			  uint32_t n, uint32_t far, uint32_t near)
{
	uint32_t n_pages = lend_level(s)->config.n_places, slot;

	if (far < n && items[far].name.page < n_pages)
		page_prefetch(s, items[far].name.page);
	if (near >= n || items[near].name.page >= n_pages)
		return;
	slot = s->records[items[near].name.page].slot;
	if (slot < s->n_slots)
		table_prefetch(s, slot);
}

int publish_run(struct space *s, struct space_task *t, int32_t *units)
{
	const struct ckv_publish_item *items = t->items;
	int32_t *status = t->answers;

	for (uint32_t i = t->next; i < t->next + 2 * AHEAD; i++)
		publish_ahead(s, items, t->n, i, CKV_NONE);
	for (; t->next < t->n; t->next++) {
		const struct ckv_publish_item *item = &items[t->next];
		int r;

		if (*units <= 0)
			return SPACE_MORE;
		publish_ahead(s, items, t->n, t->next + 2 * AHEAD,
			      t->next + AHEAD);
		*units -= UNITS_PUBLISH;
		r = publish_judge(s, t->lane, item);
		if (r == -EPROTO)
			return r;
		status[t->next] = r;
		if (r < 0)
			continue;
		publish_one(s, item, units);
		t->n_done++;
	}
	return t->n_done;
}

/* ---- ABORT ---- */

/* If a job still reads a scratch page, the page becomes free when the job releases it. */
void lent_abort(struct space *s, uint32_t page, int32_t *units)
{
	uint32_t slot = s->records[page].slot;

	lane_leave(s, page);
	if (slot != CKV_NONE) {
		parent_lose_at(s, slot, LEND_LEVEL, POLICY_BACK);
		if (node_of(s, slot)->state == NODE_LENT) {
			node_free(s, slot);
		} else {
			copy_remove(s, slot, LEND_LEVEL);
			node_put(s, slot, POLICY_BACK);
		}
		await_settle(s, slot, units);
	}
	if (page_of(s, page)->n_holds == 0)
		lent_free(s, page);
	else	/* lent to nobody, for a later daemon, which has no such job */
		ckv_record_blank(&s->records[page], s->fingerprint, page,
				 CKV_RECORD_LENT, 0);
}

/*
 * Pages reserved directly under a lent page; a scratch page has none, only holds. A block
 * that is there, farther away, may have children there, which count at their own level.
 */
static uint32_t lent_children(const struct space *s, uint32_t page)
{
	uint32_t slot = s->records[page].slot;

	return slot == CKV_NONE ? 0 : copy_of(s, slot, LEND_LEVEL)->n_children;
}

/*
 * Take a lent page and all its descendants back. They follow it in the lane's queue:
 * go forward to the last one (n_awaited: how many are known that were not passed yet),
 * then take them back from there backwards, children before parents. Nothing else
 * changes this tree meanwhile, as only its lane may, which runs one request at a time.
 * False: the units are used up; call again.
 */
static bool abort_tree(struct space *s, struct space_task *t, uint32_t page,
		       int32_t *units)
{
	uint32_t last = t->last_page;

	if (last == CKV_NONE) {
		last = page;
		t->n_awaited = lent_children(s, page);
	}
	while (t->n_awaited > 0 && *units > 0) {
		*units -= UNITS_LOOK;
		last = page_of(s, last)->link.next;
		t->n_awaited--;
		t->n_awaited += lent_children(s, last);
	}
	while (t->n_awaited == 0 && *units > 0) {
		uint32_t prev = page_of(s, last)->link.prev;

		*units -= UNITS_ABORT;
		lent_abort(s, last, units);
		ckv_count(&s->stats->aborted, 1);
		t->last_page = CKV_NONE;
		if (last == page)
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
		int r;

		if (*units <= 0)
			return SPACE_MORE;
		r = lent_judge(s, t->lane, name);
		if (r == -EPROTO)
			return r;
		if (r == 0 && !abort_tree(s, t, name->page, units))
			return SPACE_MORE;
		*units -= UNITS_LOOK;
		status[t->next] = r;
		t->n_done += r == 0;
	}
	return t->n_done;
}

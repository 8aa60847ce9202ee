/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lend.c - RESERVE, PUBLISH and ABORT: lend pages to clients, and take them back.
 *
 * A lent page is in its lane's queue. If its parent is lent, too, the page comes right
 * behind the parent, so all descendants of a page follow it in the queue without a
 * gap. A lane may reserve under lent pages of its own only, so aborting one lane's
 * page never takes a page of another lane.
 *
 * A client names a page together with the number of its lending. A name from an
 * earlier lending is refused, so a late request cannot hit what the page is used for
 * now.
 */
#include "daemon/core/state.h"

#define AHEAD 8u		/* keys: prefetched so far ahead, see look_ahead() */

uint32_t page_pop(struct space *s)
{
	uint32_t page = s->free_head;

	assert(page != CKV_NONE && s->n_free > 0);
	assert(s->nodes[page].n_children == 0 && s->nodes[page].queue == 0);
	s->free_head = s->nodes[page].next;
	s->n_free--;
	ckv_hint_store64(&s->stats->pages_free, s->n_free);
	return page;
}

void page_push(struct space *s, uint32_t page)
{
	ckv_record_set_state(&s->records[page], CKV_RECORD_FREE);
	s->nodes[page].mark &= (uint8_t)~(NODE_DONE | NODE_LOST);
	s->nodes[page].next = s->free_head;
	s->free_head = page;
	s->n_free++;
	ckv_hint_store64(&s->stats->pages_free, s->n_free);
}

void lent_free(struct space *s, uint32_t page)
{
	assert(s->nodes[page].n_children == 0);
	gauge_sub(&s->stats->pages_lent, 1);
	page_push(s, page);
}

void block_free(struct space *s, uint32_t page)
{
	struct ckv_record *record = &s->records[page];

	assert(ckv_record_state(record) == CKV_RECORD_PUBLISHED);
	assert(s->nodes[page].n_children == 0 && s->nodes[page].queue == 0);
	if (!(record->flags & CKV_ENTRY_SUMMED))
		gauge_sub(&s->stats->unsummed, 1);
	gauge_sub(&s->stats->blocks, 1);
	table_give(s, record->slot);
	page_push(s, page);
}

/* ---- RESERVE ---- */

/* Fill the record of a page that is about to be lent. */
static void record_lent(struct space *s, uint32_t page, uint32_t slot,
			const struct ckv_block *block, uint32_t parent_page)
{
	struct ckv_record *record = &s->records[page];

	record->key = block->key;
	record->fingerprint = s->fingerprint;
	record->checksum = 0;
	record->parent_page = parent_page;
	record->slot = slot;
	record->generation = slot == CKV_NONE ? 0 : table_generation(s, slot);
	record->magic = CKV_RECORD_MAGIC;
	record->flags = 0;
	ckv_record_set_state(record, CKV_RECORD_LENT);
}

/* Begin a lending: put the page into its lane's queue. Returns the lending's number. */
static uint32_t lane_take(struct space *s, int number, uint32_t page,
			  uint32_t parent)
{
	struct space_lane *lane = lane_of(s, number);
	struct node *node = &s->nodes[page];
	bool under_lent = parent != CKV_NONE &&
			  s->nodes[parent].lane != NODE_NO_LANE;

	node->lane = node->last_lane = (uint16_t)number;
	node->mark &= (uint8_t)~NODE_PUBLISHED;
	if (++node->lending == 0)
		node->lending = 1;
	queue_put_after(&lane->lent, s->nodes, page,
			under_lent ? parent : lane->lent.tail);
	s->client_lent[lane->client]++;
	s->user_lent[lane->memory.user]++;
	ckv_count(&s->stats->pages_lent, 1);
	ckv_count(&s->stats->reserved, 1);
	return node->lending;
}

static uint32_t left(uint32_t lent, uint32_t most)
{
	return lent < most ? most - lent : 0;
}

/* How many pages more may be lent to the lane's client: its own and its user's limit. */
static uint32_t lent_left(const struct space *s, const struct space_lane *lane)
{
	uint32_t user = s->config.n_user_lent_max;
	uint32_t n = left(s->client_lent[lane->client], s->config.n_lent_max);

	if (user == 0)
		return n;
	user = left(s->user_lent[lane->memory.user], user);
	return n < user ? n : user;
}

/* May one page more be lent to the task's lane? 0; SPACE_WAIT; -EDQUOT, -ENOSPC. */
static int lend_page(struct space *s, struct space_task *t)
{
	uint32_t may = lent_left(s, lane_of(s, t->lane));
	uint32_t wanted = t->n - t->next;

	if (may == 0)
		return -EDQUOT;
	if (wanted > may)
		wanted = may;
	if (pages_to_lend(s) == 0)
		return room_wait(s, &t->wait, BLOCKS, wanted);
	t->wait.searches = false;
	return 0;
}

/* Find the block with this key, under which the lane may reserve. False: there is none. */
static bool find_parent(struct space *s, int lane, const struct ckv_key *key,
			uint32_t *ret_page)
{
	struct ckv_place place = ckv_index_place(&s->index, key);
	enum table_state state;
	uint32_t slot, page;

	state = table_find(s, &place, key, &slot);
	if (state == TABLE_ABSENT)
		return false;
	page = table_page(s, slot);
	if (space_is_view(s, page) ||
	    (state == TABLE_RESERVED && s->nodes[page].lane != lane))
		return false;
	*ret_page = page;
	return true;
}

/*
 * Hold the parent of the next key while the task pauses or waits for room, so that the
 * parent is not evicted meanwhile.
 */
static void parent_hold(struct space *s, struct space_task *t)
{
	if (t->held_page != CKV_NONE || t->parent_page == CKV_NONE ||
	    !t->parent_ok)
		return;
	node_gain(s, t->parent_page);
	t->held_page = t->parent_page;
}

static void parent_release(struct space *s, struct space_task *t)
{
	uint32_t page = t->held_page;

	t->held_page = CKV_NONE;
	if (page != CKV_NONE)
		node_lose(s, page, POLICY_BACK);
}

/* Lend a page for a key that is not in the index, and whose parent is. */
static int reserve_absent(struct space *s, struct space_task *t,
			  const struct ckv_key *key,
			  const struct ckv_place *place, struct ckv_lent *ret)
{
	uint32_t parent = t->parent_page;
	struct ckv_block block = {
		.key = *key,
		.device_page = CKV_NONE,
		.parent_slot = parent == CKV_NONE ? CKV_NONE :
			       s->records[parent].slot,
		.n_pages = 1,
	};
	int r;

	if (!table_room(s, place))
		return -EXFULL;
	r = lend_page(s, t);
	if (r < 0)
		return r;
	block.host_page = page_pop(s);
	ret->page = block.host_page;
	ret->slot = table_take(s, place, &block);
	ret->generation = table_generation(s, ret->slot);
	record_lent(s, ret->page, ret->slot, &block, parent);
	ret->lending = lane_take(s, t->lane, ret->page, parent);
	/* Count the child at its parent; a hold of the task becomes this count. */
	if (parent != CKV_NONE && t->held_page == CKV_NONE)
		node_gain(s, parent);
	t->held_page = CKV_NONE;
	t->parent_page = ret->page;
	return 0;
}

static int reserve_key(struct space *s, struct space_task *t,
		       const struct ckv_key *key, struct ckv_lent *ret)
{
	struct ckv_place place = ckv_index_place(&s->index, key);
	uint32_t slot, page;

	switch (table_find(s, &place, key, &slot)) {
	case TABLE_PUBLISHED:
		page = table_page(s, slot);
		/*
		 * Refuse a block whose parent is not the one that the client
		 * named: the keys after it would be stored under a block of
		 * another chain. A published block's parent is always in the
		 * index, so a parent that is not there cannot be its parent.
		 */
		if (!t->parent_ok ||
		    s->records[page].parent_page != t->parent_page)
			return -EXDEV;
		ret->slot = slot;
		ret->generation = table_generation(s, slot);
		parent_release(s, t);
		t->parent_page = page;
		t->parent_ok = !space_is_view(s, page);
		return -EEXIST;
	case TABLE_RESERVED:
		return -EALREADY;
	default:
		break;
	}
	if (!t->parent_ok)
		return -ENOENT;
	return reserve_absent(s, t, key, &place, ret);
}

static void count_refusal(struct space *s, int status)
{
	switch (status) {
	case -EEXIST:	ckv_count(&s->stats->refused_exists, 1); break;
	case -EALREADY:	ckv_count(&s->stats->refused_busy, 1); break;
	case -EXDEV:
	case -ENOENT:	ckv_count(&s->stats->refused_parent, 1); break;
	case -ENOSPC:	ckv_count(&s->stats->refused_space, 1); break;
	case -EXFULL:	ckv_count(&s->stats->refused_index, 1); break;
	case -EDQUOT:	ckv_count(&s->stats->refused_quota, 1); break;
	}
}

static const struct ckv_lent lent_none = {
	.page = CKV_NONE, .slot = CKV_NONE,
};

static bool key_zero(const struct ckv_key *key)
{
	static const struct ckv_key zero;

	return memcmp(key, &zero, sizeof zero) == 0;
}

/*
 * Prefetch the buckets of key number `far`, and the entry that key number `near` is
 * going to take, whose buckets were prefetched earlier.
 */
static void look_ahead(const struct space *s, const struct ckv_key *keys,
		       uint32_t n, uint32_t far, uint32_t near)
{
	struct ckv_place place;

	if (far < n) {
		place = ckv_index_place(&s->index, &keys[far]);
		ckv_index_prefetch(&s->index, &place);
	}
	if (near < n) {
		place = ckv_index_place(&s->index, &keys[near]);
		table_prefetch_room(s, &place);
	}
}

static int reserve_begin(struct space_task *t, int32_t *units)
{
	const struct ckv_key *keys = t->items;

	for (uint32_t i = 0; i < t->n; i++)
		if (key_zero(&keys[i]))
			return -EINVAL;
	*units -= UNITS_FIND + (int32_t)t->n / 16;
	t->parent_known = key_zero(&t->parent);
	t->parent_ok = true;
	t->begun_keys = true;
	return 0;
}

/* Look the parent up. A task that paused before its first key looks again if it must. */
static void reserve_find(struct space *s, struct space_task *t)
{
	t->parent_ok = find_parent(s, t->lane, &t->parent, &t->parent_page);
	t->parent_known = t->parent_ok;
}

/* Pause before an item that is not answered yet. */
static int reserve_pause(struct space *s, struct space_task *t, int why)
{
	parent_hold(s, t);
	return why;
}

/* End the task. Items after a key that failed (-EEXIST is no failure) are cancelled. */
static int reserve_end(struct space *s, struct space_task *t, int32_t *units)
{
	struct ckv_lent *lent = t->answers;

	parent_release(s, t);
	*units -= (int32_t)(t->n - t->next) / 16;
	for (; t->next < t->n; t->next++) {
		lent[t->next] = lent_none;
		lent[t->next].status = -ECANCELED;
	}
	return t->n_done;
}

int reserve_run(struct space *s, struct space_task *t, int32_t *units)
{
	const struct ckv_key *keys = t->items;
	struct ckv_lent *lent = t->answers;
	int r;

	if (!t->begun_keys && reserve_begin(t, units) < 0)
		return -EINVAL;
	if (!t->parent_known && t->next == 0)
		reserve_find(s, t);
	for (uint32_t i = t->next; i < t->next + 2 * AHEAD; i++)
		look_ahead(s, keys, t->n, i, CKV_NONE);
	while (t->next < t->n) {
		uint32_t i = t->next;

		if (*units <= 0)
			return reserve_pause(s, t, SPACE_MORE);
		look_ahead(s, keys, t->n, i + 2 * AHEAD, i + AHEAD);
		*units -= UNITS_LEND;
		lent[i] = lent_none;
		r = reserve_key(s, t, &keys[i], &lent[i]);
		if (r == SPACE_WAIT)
			return reserve_pause(s, t, r);
		t->next++;
		lent[i].status = r;
		count_refusal(s, r);
		t->n_done += r == 0;
		if (r != 0 && r != -EEXIST)
			break;
	}
	return reserve_end(s, t, units);
}

void reserve_cancel(struct space *s, struct space_task *t)
{
	if (t->begun)
		parent_release(s, t);
}

int scratch_run(struct space *s, struct space_task *t, int32_t *units)
{
	static const struct ckv_block block;
	struct ckv_lent *lent = t->answers;
	uint32_t page;
	int r;

	while (t->next < t->n) {
		if (*units <= 0)
			return SPACE_MORE;
		*units -= UNITS_LEND;
		r = lend_page(s, t);
		if (r == SPACE_WAIT)
			return r;
		lent[t->next] = lent_none;
		lent[t->next].status = r;
		count_refusal(s, r);
		if (r != 0) {
			t->next++;
			break;
		}
		lent[t->next].page = page = page_pop(s);
		record_lent(s, page, CKV_NONE, &block, CKV_NONE);
		lent[t->next].lending = lane_take(s, t->lane, page, CKV_NONE);
		t->next++;
		t->n_done++;
	}
	return reserve_end(s, t, units);
}

/* ---- PUBLISH ---- */

int lent_judge(const struct space *s, int lane, const struct ckv_page_name *name)
{
	const struct node *node;

	if (name->epoch != s->config.epoch)
		return -ESTALE;
	if (name->page >= s->config.pool.n_block_pages)
		return -EPROTO;
	node = &s->nodes[name->page];
	if (node->lending != name->lending || node->last_lane != lane)
		return -ESTALE;
	if (node->lane == lane)
		return 0;
	return node->mark & NODE_PUBLISHED ? -EEXIST : -ECANCELED;
}

static void lane_leave(struct space *s, uint32_t page)
{
	struct space_lane *lane = &s->lanes[s->nodes[page].lane];

	queue_remove(&lane->lent, s->nodes, page);
	assert(s->client_lent[lane->client] > 0);
	assert(s->user_lent[lane->memory.user] > 0);
	s->client_lent[lane->client]--;
	s->user_lent[lane->memory.user]--;
	s->nodes[page].lane = NODE_NO_LANE;
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
	if (record->parent_page != CKV_NONE &&
	    ckv_record_state(&s->records[record->parent_page]) !=
	    CKV_RECORD_PUBLISHED) {
		ckv_count(&s->stats->refused_parent, 1);
		return -ENOENT;
	}
	return 0;
}

static void publish_one(struct space *s, const struct ckv_publish_item *item)
{
	uint32_t page = item->name.page;
	struct ckv_record *record = &s->records[page];
	struct node *node = &s->nodes[page];
	bool summed = item->flags & CKV_ENTRY_SUMMED;

	lane_leave(s, page);
	node->mark |= NODE_PUBLISHED;
	record->flags = (uint8_t)item->flags;
	record->checksum = summed ? item->checksum : 0;
	ckv_record_set_state(record, CKV_RECORD_PUBLISHED);
	table_show(s, record->slot, record->flags, item->n_tokens,
		   record->checksum);
	node->heat = 0;
	node->stamp = 0;
	policy_put(s, page, POLICY_NEW);
	if (node->n_children > 0)
		policy_take(s, page);
	else
		tip_enqueue(s, page);
	gauge_sub(&s->stats->pages_lent, 1);
	ckv_count(&s->stats->blocks, 1);
	ckv_count(&s->stats->published, 1);
	if (!summed)
		sum_enqueue(s, page);
}

int publish_run(struct space *s, struct space_task *t, int32_t *units)
{
	const struct ckv_publish_item *items = t->items;
	int32_t *status = t->answers;

	for (; t->next < t->n; t->next++) {
		const struct ckv_publish_item *item = &items[t->next];
		int r;

		if (*units <= 0)
			return SPACE_MORE;
		*units -= UNITS_PUBLISH;
		r = publish_judge(s, t->lane, item);
		if (r == -EPROTO)
			return r;
		status[t->next] = r;
		if (r < 0)
			continue;
		publish_one(s, item);
		t->n_done++;
	}
	return t->n_done;
}

/* ---- ABORT ---- */

/* If a job still reads a scratch page, the page becomes free when the job releases it. */
void lent_abort(struct space *s, uint32_t page)
{
	struct ckv_record *record = &s->records[page];
	uint32_t slot = record->slot, parent;

	lane_leave(s, page);
	if (slot != CKV_NONE) {
		assert(s->nodes[page].n_children == 0);
		parent = record->parent_page;
		record->slot = CKV_NONE;
		table_give(s, slot);
		if (parent != CKV_NONE)
			node_lose(s, parent, POLICY_BACK);
	}
	if (s->nodes[page].n_children == 0)
		lent_free(s, page);
}

/* Pages reserved directly under a lent page; a scratch page has none, only holds. */
static uint32_t lent_children(const struct space *s, uint32_t page)
{
	return s->records[page].slot == CKV_NONE ? 0 : s->nodes[page].n_children;
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
		last = s->nodes[last].next;
		t->n_awaited--;
		t->n_awaited += s->nodes[last].n_children;
	}
	while (t->n_awaited == 0 && *units > 0) {
		uint32_t prev = s->nodes[last].prev;

		*units -= UNITS_ABORT;
		lent_abort(s, last);
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

/*
 * lend.c - RESERVE, PUBLISH, ABORT: pages on their way into the cache.
 *
 * A lent page is in its lane's queue, right behind the page it was reserved under
 * if that is lent too: what is reserved under a page, and under that, follows it
 * without a gap. Only a lane may reserve under its own reservation: nobody's abort
 * takes another lane's page.
 *
 * A client names a page together with how often it was lent. Its page, once taken
 * back or published, is never taken for what it is lent for next.
 */
#include "daemon/core/state.h"

#define AHEAD 8u		/* keys asked for before they are used, twice */

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

/* Write what is known of a page that is about to be lent. */
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

/* A lending begins; its number, which with the page names it. */
static uint32_t lane_take(struct space *s, int number, uint32_t page,
			  uint32_t parent)
{
	struct lane *lane = lane_of(s, number);
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

/* Pages that its client, and the user of that, may still have. */
static uint32_t lent_left(const struct space *s, const struct lane *lane)
{
	uint32_t user = s->config.n_user_lent_max;
	uint32_t n = left(s->client_lent[lane->client], s->config.n_lent_max);

	if (user == 0)
		return n;
	user = left(s->user_lent[lane->memory.user], user);
	return n < user ? n : user;
}

/* May this lane have one page more? Makes room for `wanted` if it must. */
static int lend_page(struct space *s, int lane, uint32_t wanted)
{
	uint32_t may = lent_left(s, lane_of(s, lane));

	if (may == 0)
		return -EDQUOT;
	if (wanted > may)
		wanted = may;
	if (pages_to_lend(s) == 0)
		make_room(s, wanted);
	return pages_to_lend(s) > 0 ? 0 : -ENOSPC;
}

struct chain {			/* a RESERVE as it goes down its keys */
	uint32_t parent_page;	/* of the next key; CKV_NONE at a root */
	bool	 parent_ok;
};

/* Can blocks be reserved under this key by this lane? */
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

/* Lend a page for a key that is not there; the parent is there. */
static int reserve_absent(struct space *s, int lane, struct chain *chain,
			  const struct ckv_key *key,
			  const struct ckv_place *place, uint32_t wanted,
			  struct ckv_lent *ret)
{
	uint32_t parent = chain->parent_page;
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
	/* From here the parent has a child, so making room leaves it alone. */
	if (parent != CKV_NONE)
		node_gain(s, parent);
	r = lend_page(s, lane, wanted);
	if (r < 0) {
		if (parent != CKV_NONE)
			node_lose(s, parent, POLICY_BACK);
		return r;
	}
	block.host_page = page_pop(s);
	ret->page = block.host_page;
	ret->slot = table_take(s, place, &block);
	ret->generation = table_generation(s, ret->slot);
	record_lent(s, ret->page, ret->slot, &block, parent);
	ret->lending = lane_take(s, lane, ret->page, parent);
	chain->parent_page = ret->page;
	return 0;
}

static int reserve_key(struct space *s, int lane, struct chain *chain,
		       const struct ckv_key *key, uint32_t wanted,
		       struct ckv_lent *ret)
{
	struct ckv_place place = ckv_index_place(&s->index, key);
	uint32_t slot;

	switch (table_find(s, &place, key, &slot)) {
	case TABLE_PUBLISHED:
		ret->slot = slot;
		ret->generation = table_generation(s, slot);
		chain->parent_page = table_page(s, slot);
		chain->parent_ok = !space_is_view(s, chain->parent_page);
		return -EEXIST;
	case TABLE_RESERVED:
		return -EALREADY;
	default:
		break;
	}
	if (!chain->parent_ok)
		return -ENOENT;
	return reserve_absent(s, lane, chain, key, &place, wanted, ret);
}

static void count_refusal(struct space *s, int status)
{
	switch (status) {
	case -EEXIST:	ckv_count(&s->stats->refused_exists, 1); break;
	case -EALREADY:	ckv_count(&s->stats->refused_busy, 1); break;
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
 * Ask for the buckets of key `far`, and for the entry that key `near`, whose
 * buckets were asked for before, is going to take.
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

int space_reserve(struct space *s, int lane, const struct ckv_key *parent,
		  const struct ckv_key *keys, uint32_t n,
		  struct ckv_lent *ret_lent)
{
	struct chain chain = { .parent_page = CKV_NONE, .parent_ok = true };
	int n_lent = 0, status = 0;

	if (n == 0 || n > CKV_BATCH_MAX)
		return -EINVAL;
	for (uint32_t i = 0; i < n; i++)
		if (key_zero(&keys[i]))
			return -EINVAL;
	if (!key_zero(parent))
		chain.parent_ok = find_parent(s, lane, parent,
					      &chain.parent_page);
	for (uint32_t i = 0; i < 2 * AHEAD; i++)
		look_ahead(s, keys, n, i, CKV_NONE);
	for (uint32_t i = 0; i < n; i++) {
		look_ahead(s, keys, n, i + 2 * AHEAD, i + AHEAD);
		ret_lent[i] = lent_none;
		if (status != 0 && status != -EEXIST) {
			ret_lent[i].status = -ECANCELED;
			continue;
		}
		status = reserve_key(s, lane, &chain, &keys[i], n - i,
				     &ret_lent[i]);
		ret_lent[i].status = status;
		count_refusal(s, status);
		n_lent += status == 0;
	}
	return n_lent;
}

int space_reserve_scratch(struct space *s, int lane, uint32_t n,
			  struct ckv_lent *ret_lent)
{
	static const struct ckv_block block;
	int n_lent = 0, status = 0;

	if (n == 0 || n > CKV_BATCH_MAX)
		return -EINVAL;
	for (uint32_t i = 0; i < n; i++) {
		ret_lent[i] = lent_none;
		if (status == 0) {
			status = lend_page(s, lane, n - i);
			ret_lent[i].status = status;
			count_refusal(s, status);
		} else {
			ret_lent[i].status = -ECANCELED;
		}
		if (status != 0)
			continue;
		ret_lent[i].page = page_pop(s);
		record_lent(s, ret_lent[i].page, CKV_NONE, &block, CKV_NONE);
		ret_lent[i].lending = lane_take(s, lane, ret_lent[i].page,
						CKV_NONE);
		n_lent++;
	}
	return n_lent;
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
	struct lane *lane = lane_of(s, s->nodes[page].lane);

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

int space_publish(struct space *s, int lane,
		  const struct ckv_publish_item *items, uint32_t n,
		  int32_t *ret_status)
{
	int n_published = 0;

	if (n == 0 || n > CKV_BATCH_MAX)
		return -EINVAL;
	for (uint32_t i = 0; i < n; i++) {
		ret_status[i] = publish_judge(s, lane, &items[i]);
		if (ret_status[i] == -EPROTO)
			return -EPROTO;
		if (ret_status[i] < 0)
			continue;
		publish_one(s, &items[i]);
		n_published++;
	}
	return n_published;
}

/* ---- ABORT ---- */

/*
 * Take a lent page back; nothing is reserved under it. A job may still read a
 * scratch page: then it is free when the job releases it.
 */
static void lent_abort(struct space *s, uint32_t page)
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

/* The last of the lane's queue that was reserved under `page`, or `page` itself. */
static uint32_t last_under(const struct space *s, uint32_t page)
{
	uint32_t n_awaited;

	if (s->records[page].slot == CKV_NONE)
		return page;
	/* A block that is lent has no children but those reserved under it. */
	for (n_awaited = s->nodes[page].n_children; n_awaited > 0; n_awaited--) {
		page = s->nodes[page].next;
		n_awaited += s->nodes[page].n_children;
	}
	return page;
}

/* Take a lent page back with all that was reserved under it, the deepest first. */
static void abort_tree(struct space *s, uint32_t page)
{
	uint32_t last = last_under(s, page), prev;

	while (last != page) {
		prev = s->nodes[last].prev;
		lent_abort(s, last);
		ckv_count(&s->stats->aborted, 1);
		last = prev;
	}
	lent_abort(s, page);
	ckv_count(&s->stats->aborted, 1);
}

int space_abort(struct space *s, int lane, const struct ckv_page_name *names,
		uint32_t n, int32_t *ret_status)
{
	int n_aborted = 0;

	if (n == 0 || n > CKV_BATCH_MAX)
		return -EINVAL;
	for (uint32_t i = 0; i < n; i++) {
		ret_status[i] = lent_judge(s, lane, &names[i]);
		if (ret_status[i] == -EPROTO)
			return -EPROTO;
		if (ret_status[i] < 0)
			continue;
		abort_tree(s, names[i].page);
		n_aborted++;
	}
	return n_aborted;
}

void lane_abort_all(struct space *s, struct lane *lane)
{
	ckv_count(&s->stats->aborted_by_death, lane->lent.n);
	while (lane->lent.tail != CKV_NONE)
		lent_abort(s, lane->lent.tail);
}

/*
 * evict.c - blocks leave: eviction and DROP.
 *
 * A batch of childless blocks is marked (generation odd), then every pin of
 * the space is read once, then what is pinned is given back together with its
 * ancestors in the batch, and the rest is freed (proto/ckv_pin.h). A block in
 * the batch counts no longer as a child, so its parent may be the next victim:
 * a chain leaves from its end, and a batch holds a block only with all of its
 * descendants.
 *
 * What was pinned goes back as just used, so the next batch looks elsewhere. A
 * pool full of pinned blocks costs ROUNDS scans, then the answer is no.
 */
#include "daemon/core/state.h"

#define AHEAD		8u	/* entries asked for before they are used */
#define ROUNDS		6	/* batches of one search for room, doubling */
#define SURPLUS_MAX	256u	/* pages freed beyond what is wanted */
#define SURPLUS_SHARE	128u	/* of the pool at most */

static void judged_set(struct space *s, uint32_t slot, bool on)
{
	if (on)
		s->judged[slot / 64] |= 1ull << slot % 64;
	else
		s->judged[slot / 64] &= ~(1ull << slot % 64);
}

static bool judged(const struct space *s, uint32_t slot)
{
	return slot < s->n_slots && (s->judged[slot / 64] >> slot % 64 & 1);
}

void batch_add(struct space *s, uint32_t page, enum policy_origin heir)
{
	uint32_t slot = s->records[page].slot;
	uint32_t parent = s->records[page].parent_page;

	assert(s->n_batch < BATCH_MAX);
	assert(s->nodes[page].n_children == 0 && s->nodes[page].queue == 0);
	s->nodes[page].mark |= NODE_BATCH;
	judged_set(s, slot, true);
	s->batch[s->n_batch++] = page;
	if (parent != CKV_NONE)
		node_lose(s, parent, heir);
}

void batch_forget(struct space *s, uint32_t page)
{
	s->nodes[page].mark &= (uint8_t)~NODE_BATCH;
	judged_set(s, s->records[page].slot, false);
}

uint32_t batch_restore(struct space *s, uint32_t page)
{
	uint32_t n = 0, slot;

	while (page != CKV_NONE && batch_has(s, page)) {
		slot = s->records[page].slot;
		batch_forget(s, page);
		ckv_evict_restore(ckv_index_entry(&s->index, slot));
		n++;
		page = s->records[page].parent_page;
		if (page != CKV_NONE)
			node_gain(s, page);
	}
	return n;
}

static uint32_t scan_lane(struct space *s, const struct lane *lane)
{
	uint32_t high = lane_pin_high(lane), n = 0, slot;

	for (uint32_t i = 0; i < high; i++) {
		slot = ckv_pin_slot(&lane->memory.pins[i]);
		if (slot != CKV_NONE && judged(s, slot))
			n += batch_restore(s, table_page(s, slot));
	}
	return n;
}

/* Make the batch's generations odd. Their lines are far away: ask early. */
static void batch_mark(struct space *s)
{
	uint32_t slot;

	for (uint32_t i = 0; i < s->n_batch + AHEAD; i++) {
		if (i < s->n_batch)
			table_prefetch(s, s->records[s->batch[i]].slot);
		if (i < AHEAD)
			continue;
		slot = s->records[s->batch[i - AHEAD]].slot;
		ckv_evict_mark(ckv_index_entry(&s->index, slot));
	}
}

uint32_t batch_judge(struct space *s)
{
	uint32_t n = 0;

	batch_mark(s);
	ckv_evict_fence();
	for (uint32_t i = 0; i < s->n_lanes_high; i++)
		if (s->lanes[i].open)
			n += scan_lane(s, &s->lanes[i]);
	for (uint32_t i = 0; i < s->n_batch; i++)
		if (s->nodes[s->batch[i]].mark & NODE_SUMMING)
			n += batch_restore(s, s->batch[i]);
	ckv_count(&s->stats->evict_batches, 1);
	ckv_count(&s->stats->evict_pinned, n);
	return n;
}

/* Who was given back and has no children may be a victim again, later. */
static void batch_return(struct space *s)
{
	for (uint32_t i = 0; i < s->n_batch; i++) {
		uint32_t page = s->batch[i];

		if (!batch_has(s, page) && s->nodes[page].n_children == 0)
			policy_put(s, page, POLICY_BACK);
	}
}

/* End the batch: free what is still in it. */
static uint32_t batch_free(struct space *s)
{
	uint32_t n = 0;

	batch_return(s);
	for (uint32_t i = 0; i < s->n_batch; i++) {
		uint32_t page = s->batch[i];

		if (!batch_has(s, page))
			continue;
		batch_forget(s, page);
		if (space_is_view(s, page))
			view_free(s, page);
		else
			block_free(s, page);
		n++;
	}
	s->n_batch = 0;
	return n;
}

/* ---- eviction ---- */

static int64_t room(const struct space *s)
{
	int64_t left = (int64_t)s->config.n_pages_max - space_n_used(s);

	return left < s->n_free ? left : s->n_free;
}

uint32_t pages_to_lend(const struct space *s)
{
	int64_t n = room(s);

	return n > 0 ? (uint32_t)n : 0;
}

static uint32_t surplus(const struct space *s)
{
	uint32_t n = s->config.pool.n_block_pages / SURPLUS_SHARE;

	return n < SURPLUS_MAX ? n : SURPLUS_MAX;
}

/* With what is in the batch already. */
static void evict(struct space *s, uint32_t wanted, bool may_defer)
{
	const struct policy_ops *ops = s->config.policy;
	int64_t target;
	uint32_t page, n;

	for (int round = 0; round < ROUNDS && room(s) < wanted; round++) {
		target = (wanted - room(s) + surplus(s)) << round;
		while (s->n_batch < BATCH_MAX && s->n_batch < target &&
		       (page = ops->victim(s->blocks)) != CKV_NONE)
			if (!may_defer || !tip_defer(s, page))
				batch_add(s, page, POLICY_HEIR);
		if (s->n_batch == 0)
			return;
		batch_judge(s);
		tips_leave(s);
		n = batch_free(s);
		ckv_count(&s->stats->evicted, n);
	}
}

void make_room(struct space *s, uint32_t wanted)
{
	static const struct {
		enum tip_state state;
		uint32_t n_max;
	} step[] = {
		{ TIP_WAITING, 1 }, { TIP_WAITING, UINT32_MAX },
		{ TIP_READING, 1 }, { TIP_READING, UINT32_MAX },
	};

	evict(s, wanted, true);
	/*
	 * Nobody goes without for the sake of a view: those not begun go first, and
	 * one may do.
	 */
	for (size_t i = 0; i < sizeof step / sizeof step[0]; i++)
		if (pages_to_lend(s) == 0 &&
		    tips_give_way(s, step[i].state, step[i].n_max) > 0)
			evict(s, wanted, false);
}

/* ---- DROP ---- */

/* Put a key's block into the batch if it has no children. */
static int drop_choose(struct space *s, const struct ckv_key *key,
		       uint32_t *ret_page)
{
	struct ckv_place place = ckv_index_place(&s->index, key);
	uint32_t slot, page;

	if (table_find(s, &place, key, &slot) != TABLE_PUBLISHED)
		return -ENOENT;
	page = table_page(s, slot);
	if (batch_has(s, page))
		return -ENOENT;
	tip_drop(s, page);
	if (s->nodes[page].n_children > 0)
		return -EBUSY;
	policy_take(s, page);
	batch_add(s, page, POLICY_BACK);
	*ret_page = page;
	return 0;
}

int space_drop(struct space *s, const struct ckv_key *keys, uint32_t n,
	       int32_t *ret_status)
{
	uint32_t page, n_chosen = 0, n_dropped;

	if (n == 0 || n > CKV_BATCH_MAX)
		return -EINVAL;
	for (uint32_t i = 0; i < n; i++)
		ret_status[i] = drop_choose(s, &keys[i], &page);
	if (s->n_batch == 0)
		return 0;
	batch_judge(s);
	/* The batch has the chosen keys' pages in the order of the keys. */
	for (uint32_t i = 0; i < n; i++)
		if (ret_status[i] == 0 && !batch_has(s, s->batch[n_chosen++]))
			ret_status[i] = -EBUSY;
	n_dropped = batch_free(s);
	ckv_count(&s->stats->dropped, n_dropped);
	return (int)n_dropped;
}

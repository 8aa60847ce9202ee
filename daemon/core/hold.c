/*
 * hold.c - pages that a worker reads while the space goes on.
 *
 * A hold counts as a child of the block it holds, so the block and all its
 * ancestors stay. A page whose checksum is being computed is not held but
 * treated as pinned: summing a block is no use of it.
 */
#include "daemon/core/state.h"

int chain_list(const struct space *s, uint32_t deepest,
	       struct space_link *ret_links, uint32_t n_links_max)
{
	struct ckv_block block;
	uint32_t page, n = 0;

	for (page = deepest; page != CKV_NONE; page = s->records[page].parent_page)
		if (++n > n_links_max)
			return -E2BIG;
	page = deepest;
	for (uint32_t i = n; i-- > 0; page = s->records[page].parent_page) {
		ckv_entry_load(ckv_index_entry(&s->index,
					       s->records[page].slot), &block);
		ret_links[i] = (struct space_link){
			.page = page,
			.n_tokens = block.n_tokens,
		};
	}
	return (int)n;
}

int space_chain_hold(struct space *s, const struct ckv_key *key,
		     struct space_link *ret_links, uint32_t n_links_max)
{
	struct ckv_place place = ckv_index_place(&s->index, key);
	uint32_t slot, deepest;
	int n;

	if (table_find(s, &place, key, &slot) != TABLE_PUBLISHED)
		return -ENOENT;
	deepest = table_page(s, slot);
	if (space_is_view(s, deepest))
		return -ENOENT;
	n = chain_list(s, deepest, ret_links, n_links_max);
	if (n > 0)
		node_gain(s, deepest);
	return n;
}

int space_scratch_hold(struct space *s, int lane,
		       const struct ckv_page_name *name)
{
	int r = lent_judge(s, lane, name);

	if (r < 0)
		return r == -EPROTO ? r : -ESTALE;
	if (s->records[name->page].slot != CKV_NONE)
		return -EINVAL;
	node_gain(s, name->page);
	return 0;
}

void space_release(struct space *s, uint32_t page)
{
	assert(page < s->n_pages);
	node_lose(s, page, POLICY_BACK);
}

/* ---- checksums ---- */

/*
 * The queue holds each page at most once. A page that was freed meanwhile
 * stays in it, and is skipped or used for its next block.
 */
void sum_enqueue(struct space *s, uint32_t page)
{
	uint32_t cap = s->config.pool.n_block_pages;

	ckv_count(&s->stats->unsummed, 1);
	if (s->nodes[page].mark & NODE_SUM_QUEUED)
		return;
	assert(s->n_sums < cap);
	s->nodes[page].mark |= NODE_SUM_QUEUED;
	s->sums[(s->sum_head + s->n_sums++) % cap] = page;
}

static uint32_t sum_dequeue(struct space *s)
{
	uint32_t page = s->sums[s->sum_head];

	s->sum_head = (s->sum_head + 1) % s->config.pool.n_block_pages;
	s->n_sums--;
	s->nodes[page].mark &= (uint8_t)~NODE_SUM_QUEUED;
	return page;
}

int space_sum_next(struct space *s, uint32_t *ret_page)
{
	while (s->n_sums > 0) {
		uint32_t page = sum_dequeue(s);
		const struct ckv_record *record = &s->records[page];

		if (ckv_record_state(record) != CKV_RECORD_PUBLISHED ||
		    (record->flags & CKV_ENTRY_SUMMED))
			continue;
		s->nodes[page].mark |= NODE_SUMMING;
		*ret_page = page;
		return 1;
	}
	return 0;
}

void space_sum_done(struct space *s, uint32_t page, bool sum_ok,
		    uint64_t checksum)
{
	struct ckv_record *record = &s->records[page];

	assert(s->nodes[page].mark & NODE_SUMMING);
	assert(ckv_record_state(record) == CKV_RECORD_PUBLISHED);
	s->nodes[page].mark &= (uint8_t)~NODE_SUMMING;
	s->search[BLOCKS].full = false;
	gauge_sub(&s->stats->unsummed, 1);
	if (!sum_ok) {
		sum_enqueue(s, page);
		return;
	}
	record->checksum = checksum;
	record->flags |= CKV_ENTRY_SUMMED;
	table_set_sum(s, record->slot, checksum);
	ckv_count(&s->stats->summed, 1);
}

int space_sum_get(const struct space *s, uint32_t page, uint64_t *ret_checksum)
{
	const struct ckv_record *record;

	assert(page < s->n_pages);
	record = &s->records[page];
	if (!(record->flags & CKV_ENTRY_SUMMED))
		return 0;
	*ret_checksum = record->checksum;
	return 1;
}

void space_sum_failed(struct space *s)
{
	ckv_count(&s->stats->checksum_failed, 1);
}

/* ---- PREFETCH ---- */

/* The host level is the nearest there is: what is published is there. */
int prefetch_run(struct space *s, struct space_task *t, int32_t *units)
{
	const struct ckv_key *keys = t->items;
	uint32_t slot;

	while (t->next < t->n) {
		const struct ckv_key *key = &keys[t->next];
		struct ckv_place place = ckv_index_place(&s->index, key);

		if (*units <= 0)
			return SPACE_MORE;
		*units -= UNITS_FIND;
		t->n_done += table_find(s, &place, key, &slot) ==
			     TABLE_PUBLISHED;
		t->next++;
	}
	return t->n_done;
}

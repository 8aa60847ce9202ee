/* SPDX-License-Identifier: Apache-2.0 */
/*
 * view.c - views: runs of pages in the last part of the pool, evicted by LRU.
 *
 * A run is a number of consecutive pages inside one slab; the first free one that is
 * long enough is found in a bitmap. A view fills one run and has one index entry,
 * without parent or children, so it is pinned and evicted like a childless block. The
 * first page of the run identifies the view. Views are few and large, so they are
 * evicted one at a time until the wanted run fits.
 */
#include "daemon/core/state.h"

#define LOOK_PASS	256u	/* parked views that a step looks at if the policy is empty */

static uint32_t row_of(const struct space *s, uint32_t first_page)
{
	assert(first_page >= work_pool(s)->first_view_page);
	return first_page - work_pool(s)->first_view_page;
}

bool view_page_used(const struct space *s, uint32_t i)
{
	return s->view_used[i / 64] >> i % 64 & 1;
}

void view_run_set(struct space *s, uint32_t row, uint32_t n, bool used)
{
	for (uint32_t i = row; i < row + n; i++) {
		assert(view_page_used(s, i) != used);
		s->view_used[i / 64] ^= 1ull << i % 64;
	}
	if (used)
		ckv_count(&s->stats->view_pages_used, n);
	else
		gauge_sub(&s->stats->view_pages_used, n);
}

/* The first free run of n pages in rows [from, end), or CKV_NONE. */
static uint32_t run_within(const struct space *s, uint32_t from, uint32_t end,
			   uint32_t n)
{
	uint32_t length = 0;

	for (uint32_t i = from; i < end; ) {
		uint64_t word = s->view_used[i / 64];

		if (i % 64 == 0 && end - i >= 64 && word == UINT64_MAX) {
			length = 0;
			i += 64;
			continue;
		}
		if (i % 64 == 0 && end - i >= 64 && word == 0 && length + 64 < n) {
			length += 64;
			i += 64;
			continue;
		}
		length = view_page_used(s, i++) ? 0 : length + 1;
		if (length == n)
			return i - n;
	}
	return CKV_NONE;
}

/* The first free run of n pages inside one slab: its first row, or CKV_NONE. */
static uint32_t run_find(const struct space *s, uint32_t n)
{
	const struct ckv_pool_shape *p = work_pool(s);
	uint32_t row;

	for (uint32_t from = 0; from < p->n_view_pages; from += p->slab_pages) {
		uint32_t left = p->n_view_pages - from;

		row = run_within(s, from, from + (left < p->slab_pages ? left :
						  p->slab_pages), n);
		if (row != CKV_NONE)
			return row;
	}
	return CKV_NONE;
}

/*
 * ---- names: find the newest view of a chain by a method ----
 *
 * A hash table over names. A bucket lists the newest view of each of its names; the
 * older ones hang on that view. So a lookup passes a name in one step, however many
 * views of that name there are.
 */

static uint32_t *name_head(const struct space *s, const struct ckv_key *name)
{
	uint64_t h;

	memcpy(&h, name, sizeof h);
	h = ckv_fold(h ^ s->config.seed[0], 0x9e3779b97f4a7c15u ^ s->config.seed[1]);
	return &s->names[h & (s->n_names - 1)];
}

static bool same_name(const struct space *s, uint32_t row, const struct ckv_key *name)
{
	return memcmp(&s->view_rows[row].name, name, sizeof *name) == 0;
}

/* The newest view of a name, or CKV_NONE; *ret_at is the link to it, or the last link. */
static uint32_t name_find(const struct space *s, const struct ckv_key *name,
			  uint32_t **ret_at)
{
	uint32_t *at = name_head(s, name);

	while (*at != CKV_NONE && !same_name(s, *at, name))
		at = &s->runs[*at].other;
	*ret_at = at;
	return *at;
}

void view_name(struct space *s, uint32_t row)
{
	uint32_t *at, newest = name_find(s, &s->view_rows[row].name, &at);

	s->runs[row].newer = CKV_NONE;
	s->runs[row].older = newest;
	s->runs[row].other = CKV_NONE;
	if (newest != CKV_NONE) {
		s->runs[newest].newer = row;
		s->runs[row].other = s->runs[newest].other;
	}
	*at = row;
}

static void name_remove(struct space *s, uint32_t row)
{
	const struct view_links *r = &s->runs[row];
	uint32_t *at;

	if (r->older != CKV_NONE)
		s->runs[r->older].newer = r->newer;
	if (r->newer != CKV_NONE) {
		s->runs[r->newer].older = r->older;
		return;
	}
	(void)name_find(s, &s->view_rows[row].name, &at);
	assert(*at == row);
	*at = r->older != CKV_NONE ? r->older : r->other;
	if (r->older != CKV_NONE)
		s->runs[r->older].other = r->other;
}

/* ---- room ---- */

bool views_choose(struct space *s)
{
	struct search *search = &s->views.search;
	uint32_t first = s->n_batch, n, slot;

	if (search_in_vain(search, VIEWS_MAX, work_pool(s)->n_view_pages))
		return false;
	(void)parked_look(s, &s->views, VIEWS_MAX);
	for (uint32_t i = 0; i < VIEWS_MAX &&
	     (slot = s->views.ops->victim(s->views.policy)) != CKV_NONE; i++) {
		if (pinned_still(s, slot))
			park(s, &s->views, slot);
		else
			batch_add(s, slot, ALL_LEVELS, POLICY_HEIR);
	}
	if (s->n_batch > first || candidates_any(&s->views)) {
		search->passing = false;
		return true;
	}
	if (!search->passing)
		search->n_unseen = s->views.parked.n;
	search->passing = true;
	n = search->n_unseen < LOOK_PASS ? search->n_unseen : LOOK_PASS;
	search->n_unseen -= n;
	if (parked_look(s, &s->views, n) > 0)
		search->passing = false;
	return !search->passing || search->n_unseen > 0;
}

/*
 * Free views of the batch that are not pinned, the coldest first, until the wanted run
 * fits. The others return to the cold end of the policy in their old order.
 */
void views_spend(struct space *s, uint32_t first, uint32_t end)
{
	uint32_t n_wanted = s->views.search.wanted, n_freed = 0, i;

	for (i = first; i < end && run_find(s, n_wanted) == CKV_NONE; i++) {
		if (!batch_has(s, s->batch[i]))
			continue;
		batch_forget(s, s->batch[i]);
		view_free(s, s->batch[i]);
		n_freed++;
	}
	while (end-- > i) {
		if (!batch_has(s, s->batch[end]))
			continue;
		batch_restore(s, s->batch[end]);
		node_put(s, s->batch[end], POLICY_HEIR);
	}
	if (n_freed > 0) {
		s->views.search.passing = false;
		s->views.search.n_vain = 0;
	}
	ckv_count(&s->stats->views_evicted, n_freed);
}

/* Nobody but a worker of this daemon writes it, so it is lent to no lane. */
static void record_run(struct space *s, uint32_t page)
{
	ckv_record_blank(&work_level(s)->records[page], s->fingerprint, page,
			 CKV_RECORD_LENT, 0);
}

int64_t space_view_get(struct space *s, uint32_t n_pages, struct space_wait *wait)
{
	const struct ckv_pool_shape *p = work_pool(s);
	uint32_t row;

	assert(n_pages > 0);
	if (n_pages > p->slab_pages || n_pages > p->n_view_pages)
		return -ENOSPC;
	if (wait->waits && wait->step == s->n_steps)
		return SPACE_WAIT;
	wait->waits = false;
	row = run_find(s, n_pages);
	if (row == CKV_NONE)
		return room_wait(s, wait, &s->views, n_pages);
	view_run_set(s, row, n_pages, true);
	s->runs[row].n_pages = n_pages;
	for (uint32_t i = 0; i < n_pages; i++)
		record_run(s, p->first_view_page + row + i);
	return p->first_view_page + row;
}

static void run_free(struct space *s, uint32_t first_page)
{
	uint32_t row = row_of(s, first_page);
	uint32_t n = s->runs[row].n_pages;

	assert(n > 0);
	for (uint32_t i = 0; i < n; i++)
		ckv_record_free(&work_level(s)->records[first_page + i]);
	view_run_set(s, row, n, false);
	s->runs[row].n_pages = 0;
}

void space_view_abort(struct space *s, uint32_t first_page)
{
	assert(work_level(s)->records[first_page].state == CKV_RECORD_LENT);
	run_free(s, first_page);
}

void view_free(struct space *s, uint32_t slot)
{
	uint32_t first_page = work_page(s, slot), row = row_of(s, first_page);

	assert(work_level(s)->records[first_page].state == CKV_RECORD_VIEW);
	assert(node_is_view(s, slot));
	name_remove(s, row);
	ckv_hint_store64(&s->view_rows[row].seal, 0);
	ckv_kill_fence();
	node_free(s, slot);
	gauge_sub(&s->stats->views, 1);
	run_free(s, first_page);
}

/* ---- publish and find ---- */

static void row_write(struct space *s, struct ckv_view_row *row,
		      const struct space_view *view, uint32_t n_pages)
{
	*row = (struct ckv_view_row){
		.key = view->key, .name = view->name,
		.n_bytes = view->n_bytes, .checksum = view->checksum,
		.n_kept_total = view->n_kept_total, .number = ++s->view_number,
		.sizes = view->sizes,
		.first_page = view->first_page, .n_pages = n_pages,
		.n_tokens = view->n_tokens, .n_kept_max = view->n_kept_max,
		.n_kept_min = view->n_kept_min,
		.n_always_lost = view->n_always_lost,
	};
	ckv_kill_fence();
	ckv_hint_store64(&row->seal, ckv_view_row_seal(row, s->fingerprint));
	ckv_kill_fence();
}

static struct space_view row_read(const struct ckv_view_row *row)
{
	return (struct space_view){
		.key = row->key, .name = row->name,
		.n_bytes = row->n_bytes, .checksum = row->checksum,
		.sizes = row->sizes, .n_kept_total = row->n_kept_total,
		.n_tokens = row->n_tokens, .n_kept_max = row->n_kept_max,
		.n_kept_min = row->n_kept_min,
		.n_always_lost = row->n_always_lost,
		.first_page = row->first_page, .n_pages = row->n_pages,
	};
}

/* The records of a run's pages, which are all alike, and the view's row. */
static void records_view(struct space *s, const struct space_view *view,
			 uint32_t n_pages, uint32_t slot, uint16_t n_tokens)
{
	for (uint32_t i = 0; i < n_pages; i++) {
		uint32_t page = view->first_page + i;
		struct ckv_record *record = &work_level(s)->records[page];

		record->key = view->key;
		record->checksum = view->checksum;
		record->parent_slot = CKV_NONE;
		record->slot = slot;
		record->generation = table_generation(s, slot);
		record->n_tokens = n_tokens;
		record->flags = CKV_ENTRY_VIEW | CKV_ENTRY_SUMMED;
		record->state = CKV_RECORD_VIEW;
		ckv_record_close(record, s->fingerprint, page);
	}
	row_write(s, &s->view_rows[row_of(s, view->first_page)], view, n_pages);
}

int space_view_publish(struct space *s, const struct space_view *view)
{
	struct ckv_place place = ckv_index_place(&s->index, &view->key);
	uint32_t row = row_of(s, view->first_page);
	uint16_t n_tokens = view->n_tokens < UINT16_MAX ?
			    (uint16_t)view->n_tokens : UINT16_MAX;
	struct ckv_block block = ckv_block_none();
	uint32_t n_pages = s->runs[row].n_pages, slot;
	struct node *node;

	assert(n_pages > 0);
	assert(work_level(s)->records[view->first_page].state == CKV_RECORD_LENT);
	if (table_find(s, &place, &view->key, &slot) != TABLE_ABSENT)
		return -EEXIST;
	slot = table_choose(s, &place);
	if (slot == CKV_NONE)
		return -EXFULL;
	block.key = view->key;
	block.n_pages = n_pages;
	*ckv_block_page(&block, work_level(s)->config.number) = view->first_page;
	table_take(s, slot, place.tag, &block);
	node_take(s, slot, CKV_NONE, s->config.work_level, view->first_page);
	node = node_of(s, slot);
	node->mark |= NODE_VIEW;
	records_view(s, view, n_pages, slot, n_tokens);
	table_show(s, slot, CKV_ENTRY_VIEW | CKV_ENTRY_SUMMED, n_tokens,
		   view->checksum);
	view_name(s, row);
	node->state = NODE_PUBLISHED;
	copy_new(s, slot, s->config.work_level);
	ckv_count(&s->stats->views, 1);
	ckv_count(&s->stats->views_made, 1);
	return 0;
}

int space_view_find(struct space *s, const struct ckv_key *key,
		    struct space_view *ret_view)
{
	struct ckv_place place = ckv_index_place(&s->index, key);
	uint32_t slot;

	if (table_find(s, &place, key, &slot) != TABLE_PUBLISHED ||
	    !node_is_view(s, slot))
		return -ENOENT;
	s->views.ops->touch(s->views.policy, slot);
	ckv_count(&s->stats->views_shared, 1);
	*ret_view = row_read(&s->view_rows[row_of(s, work_page(s, slot))]);
	return 0;
}

int space_view_newest(const struct space *s, const struct ckv_key *name,
		      struct space_view *ret_view)
{
	uint32_t *at, row = name_find(s, name, &at);

	if (row == CKV_NONE)
		return -ENOENT;
	*ret_view = row_read(&s->view_rows[row]);
	return 0;
}

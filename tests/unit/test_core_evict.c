/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_core_evict.c - who leaves a full pool, and what a pin, a hold, a touch
 * and a liar change about it; views.
 */
#include <errno.h>
#include <stdlib.h>

#include "tests/lib/check_main.h"
#include "tests/lib/core.h"

enum { PAGES = 8, VIEWS = 20 };

static struct core core;
static int a, b;

static void setup_policy(const struct policy_ops *policy)
{
	struct space_config config = core_config(PAGES, VIEWS);

	config.level[0].policy = policy;
	core_open(&core, &config);
	a = core_lane_open(&core, 0);
	b = core_lane_open(&core, 1);
}

static void setup(void)
{
	setup_policy(&policy_lru);
}

static void teardown(void)
{
	space_check(core.space);
	core_close(&core);
}

/* One chain of n keys from `first`. */
static void put_chain(uint32_t first, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		ck_assert_int_eq(core_put(&core, a, i ? first + i - 1 : 0,
					  first + i), 0);
}

/* A chain leaves from its end. */
START_TEST(leaves_go_first)
{
	put_chain(1, PAGES);
	for (uint32_t i = PAGES; i > 1; i--) {
		ck_assert_int_eq(core_put(&core, a, 0, 100 + i), 0);
		ck_assert(!core_has(&core, i));
		ck_assert(core_has(&core, i - 1));
	}
}
END_TEST

/* Least recently used means used: a touch saves a block and its chain. */
START_TEST(touched_chains_stay)
{
	put_chain(1, 4);
	put_chain(11, 4);
	core_touch(&core, 0, 4);
	ck_assert_uint_eq(space_touch_drain(core.space, a), 1);
	for (uint32_t i = 0; i < 4; i++)
		ck_assert_int_eq(core_put(&core, a, 0, 100 + i), 0);
	ck_assert(core_has(&core, 4));
	ck_assert(!core_has(&core, 11));
}
END_TEST

/* A block whose child left is as recent as that child was, not older. */
START_TEST(parents_inherit_recency)
{
	put_chain(1, 2);
	for (uint32_t i = 0; i < 6; i++)
		core_put(&core, a, 0, 10 + i);
	core_touch(&core, 0, 2);
	space_touch_drain(core.space, a);
	for (uint32_t i = 0; i < 5; i++)
		core_put(&core, a, 0, 20 + i);
	ck_assert(core_has(&core, 1));
	ck_assert(core_has(&core, 2));
	core_put(&core, a, 0, 30);	/* the last of the old ones */
	core_put(&core, a, 0, 31);	/* the child */
	ck_assert(core_has(&core, 1) && !core_has(&core, 2));
	core_put(&core, a, 0, 32);
	ck_assert(!core_has(&core, 1));
	ck_assert(core_has(&core, 20));
}
END_TEST

/* The pin of its deepest block keeps a whole chain, and only that. */
START_TEST(deepest_pin_keeps_the_chain)
{
	put_chain(1, PAGES);
	ck_assert(core_pin(&core, 1, 5, 6));
	ck_assert_int_eq(core_put(&core, a, 0, 50), 0);
	ck_assert_int_eq(core_put(&core, a, 0, 51), 0);
	ck_assert_int_eq(core_put(&core, a, 0, 52), 0);
	for (uint32_t i = 1; i <= 6; i++)
		ck_assert(core_has(&core, i));
	ck_assert(!core_has(&core, 7));
}
END_TEST

/* One batch that holds a pinned block gives back its ancestors with it. */
START_TEST(ancestors_are_given_back)
{
	struct ckv_lent lent[PAGES];
	struct ckv_block before, after;
	uint32_t slot;

	put_chain(1, PAGES);
	ck_assert(core_find(&core, 3, &slot, &before));
	ck_assert(core_pin(&core, 1, 0, 3));
	ck_assert_int_eq(core_reserve_list(&core, a, 0, 100, PAGES, lent), PAGES - 3);
	ck_assert_int_eq(lent[PAGES - 3].status, -ENOSPC);
	for (uint32_t i = 1; i <= 3; i++)
		ck_assert(core_has(&core, i));
	ck_assert(core_find(&core, 3, &slot, &after));
	ck_assert_uint_eq(before.generation, after.generation);
	ck_assert_uint_eq(CORE_STAT(&core, evicted), PAGES - 3);
	ck_assert_uint_ge(CORE_STAT(&core, evict_pinned), 3);
}
END_TEST

/* When all is pinned there is no space; the pins' death makes room. */
START_TEST(pinned_pool_is_full_until_death)
{
	for (uint32_t i = 0; i < PAGES; i++) {
		core_put(&core, a, 0, 1 + i);
		ck_assert(core_pin(&core, 1, i, 1 + i));
	}
	ck_assert_int_eq(core_put(&core, a, 0, 50), -ENOSPC);
	ck_assert_uint_eq(CORE_STAT(&core, refused_space), 1);
	ck_assert_int_eq(core_drop(&core, 1), -EBUSY);
	ck_assert_uint_eq(space_lane_pins(core.space, b, 0, UINT32_MAX), PAGES);
	space_lane_close(core.space, b);
	ck_assert_int_eq(core_put(&core, a, 0, 50), 0);
}
END_TEST

/* One block that is not pinned is found among many that are. */
START_TEST(unpinned_block_is_found)
{
	for (uint32_t i = 0; i < PAGES; i++)
		core_put(&core, a, 0, 1 + i);
	for (uint32_t i = 0; i + 1 < PAGES; i++)
		core_pin(&core, 1, i, 1 + i);
	ck_assert_int_eq(core_put(&core, a, 0, 50), 0);
	ck_assert(!core_has(&core, PAGES));
}
END_TEST

/* A reservation keeps its parent although nothing pins it. */
START_TEST(reservations_keep_their_parent)
{
	struct ckv_lent lent;

	core_put(&core, a, 0, 1);
	ck_assert_int_eq(core_reserve(&core, a, 1, 2, &lent), 0);
	for (uint32_t i = 0; i < 2 * PAGES; i++)
		ck_assert_int_eq(core_put(&core, b, 0, 10 + i), 0);
	ck_assert(core_has(&core, 1));
	ck_assert_int_eq(core_publish(&core, a, &lent), 0);
}
END_TEST

/* Whatever a client writes in its words, others' blocks and ours stay whole. */
START_TEST(lying_words_are_harmless)
{
	struct core_lane *liar = &core.lane[1];

	for (uint32_t i = 0; i < CORE_PINS; i++)
		ckv_pin_set(&liar->pins[i], i % 2 ? UINT32_MAX - 1 : 60 + i, 4);
	ckv_hint_store32(&liar->pin_high, UINT32_MAX);
	for (uint32_t i = 0; i < CORE_TOUCHES; i++)
		ckv_hint_store32(&liar->touches[i], i * 0x11111111u);
	ckv_hint_store32(&liar->touch_tail, UINT32_MAX);
	ck_assert_uint_eq(space_touch_drain(core.space, b), CORE_TOUCHES);
	ckv_hint_store32(&liar->touch_tail, 5);
	ck_assert_uint_eq(space_touch_drain(core.space, b), 6);
	for (uint32_t i = 0; i < 3 * PAGES; i++)
		ck_assert_int_eq(core_put(&core, a, 0, 1 + i), 0);
	ck_assert_uint_le(space_lane_pins(core.space, b, 0, UINT32_MAX), CORE_PINS);
	space_check(core.space);
}
END_TEST

/* A pin beyond pin_high is not read; pin_high beyond the table reads no more. */
START_TEST(pin_high_bounds_the_scan)
{
	core_put(&core, a, 0, 1);
	ck_assert(core_pin(&core, 1, 3, 1));
	ckv_hint_store32(&core.lane[1].pin_high, 3);
	ck_assert_int_eq(core_drop(&core, 1), 0);
	core_put(&core, a, 0, 1);
	ck_assert(core_pin(&core, 1, CORE_PINS - 1, 1));
	ckv_hint_store32(&core.lane[1].pin_high, UINT32_MAX);
	ck_assert_int_eq(core_drop(&core, 1), -EBUSY);
}
END_TEST

/* A held chain is listed root first and stays until it is released. */
START_TEST(held_chain_stays)
{
	struct space_link links[4];
	struct ckv_key key = core_key(3), none = core_key(9);
	struct ckv_block block;
	uint32_t slot;

	put_chain(1, 3);
	ck_assert_int_eq(space_chain_hold(core.space, &none, links, 4),
			 -ENOENT);
	ck_assert_int_eq(space_chain_hold(core.space, &key, links, 2), -E2BIG);
	ck_assert_int_eq(space_chain_hold(core.space, &key, links, 4), 3);
	for (uint32_t i = 0; i < 3; i++) {
		core_find(&core, 1 + i, &slot, &block);
		ck_assert_uint_eq(links[i].page, block.host_page);
		ck_assert_uint_eq(links[i].n_tokens, CORE_TOKENS);
	}
	ck_assert_int_eq(core_drop(&core, 3), -EBUSY);
	for (uint32_t i = 0; i < 2 * PAGES; i++)
		core_put(&core, a, 0, 10 + i);
	ck_assert(core_has(&core, 3));
	space_release(core.space, links[2].slot);
	ck_assert_int_eq(core_drop(&core, 3), 0);
}
END_TEST

/* A scratch page that a job reads outlives its lane, and is free after both. */
START_TEST(held_scratch_outlives_its_lane)
{
	struct ckv_lent lent[2], block;
	struct ckv_page_name name[2];

	ck_assert_int_eq(core_reserve(&core, a, 0, 1, &block), 0);
	name[0] = core_name(&block);
	ck_assert_int_eq(space_scratch_hold(core.space, a, &name[0]), -EINVAL);
	ck_assert_int_eq(space_reserve_scratch(core.space, a, 2, lent), 2);
	for (int i = 0; i < 2; i++) {
		name[i] = core_name(&lent[i]);
		ck_assert_int_eq(space_scratch_hold(core.space, a, &name[i]), 0);
		ck_assert_int_eq(space_scratch_hold(core.space, b, &name[i]),
				 -ESTALE);
	}
	space_lane_close(core.space, a);
	ck_assert_uint_eq(CORE_STAT(&core, pages_free), PAGES - 2);
	ck_assert_uint_eq(space_client_lent(core.space, 0), 0);
	space_scratch_release(core.space, lent[0].page);
	space_scratch_release(core.space, lent[1].page);
	ck_assert_uint_eq(CORE_STAT(&core, pages_free), PAGES);
	ck_assert_uint_eq(CORE_STAT(&core, pages_lent), 0);
}
END_TEST

static uint32_t put_unsummed(uint32_t i)
{
	struct ckv_publish_item item = { .n_tokens = 1 };
	struct ckv_lent lent;
	int32_t status;

	core_reserve(&core, a, 0, i, &lent);
	item.name = core_name(&lent);
	ck_assert_int_eq(space_publish(core.space, a, &item, 1, &status), 1);
	return lent.page;
}

/* One call looks at a bounded number of pages, however many have left unsummed. */
START_TEST(stale_sums_are_passed_in_pieces)
{
	enum { MANY = 1000 };
	struct space_config config = core_config(MANY, 0);
	uint32_t page, last, n_calls = 0;
	int r;

	core_close(&core);
	core_open(&core, &config);
	a = core_lane_open(&core, 0);
	for (uint32_t i = 1; i < MANY; i++)
		put_unsummed(i);
	last = put_unsummed(MANY);
	for (uint32_t i = 1; i < MANY; i++)
		ck_assert_int_eq(core_drop(&core, i), 0);
	while ((r = space_sum_next(core.space, &page)) == SPACE_MORE)
		n_calls++;
	ck_assert_int_eq(r, 1);
	ck_assert_uint_eq(page, last);
	ck_assert_uint_ge(n_calls, 3);
	space_sum_done(core.space, page, true, 77);
	ck_assert_int_eq(space_sum_next(core.space, &page), 0);
}
END_TEST

/* Blocks without a checksum are offered once, oldest first, and stay meanwhile. */
START_TEST(unsummed_blocks_are_offered)
{
	uint32_t first = put_unsummed(1), second = put_unsummed(2), page, slot;
	struct ckv_block block;
	uint64_t sum;

	ck_assert_uint_eq(CORE_STAT(&core, unsummed), 2);
	ck_assert_int_eq(space_sum_next(core.space, &page), 1);
	ck_assert_uint_eq(page, first);
	ck_assert_int_eq(core_drop(&core, 1), -EBUSY);
	space_sum_done(core.space, page, true, 77);
	ck_assert(core_find(&core, 1, &slot, &block));
	ck_assert_uint_eq(block.flags, CKV_ENTRY_SUMMED);
	ck_assert_uint_eq(block.checksum, 77);
	ck_assert_int_eq(space_sum_get(core.space, page, &sum), 1);
	ck_assert_uint_eq(sum, 77);
	ck_assert_int_eq(space_sum_next(core.space, &page), 1);
	ck_assert_uint_eq(page, second);
	ck_assert_int_eq(space_sum_get(core.space, page, &sum), 0);
	space_sum_done(core.space, page, false, 0);
	ck_assert_int_eq(core_drop(&core, 2), 0);
	ck_assert_int_eq(space_sum_next(core.space, &page), 0);
	ck_assert_uint_eq(CORE_STAT(&core, unsummed), 0);
	ck_assert_uint_eq(CORE_STAT(&core, summed), 1);
}
END_TEST

/* ---- views ---- */

static int view_put(uint32_t key, uint32_t name, uint32_t n_pages)
{
	struct space_view view = {
		.key = core_key(key),
		.name = core_key(name),
		.n_bytes = 4096 * n_pages,
		.n_tokens = 100000,
	};
	int64_t first = space_view_alloc(core.space, n_pages);
	int r;

	if (first < 0)
		return (int)first;
	view.first_page = (uint32_t)first;
	r = space_view_publish(core.space, &view);
	if (r < 0)
		space_view_abort(core.space, view.first_page);
	return r;
}

/* Empty is a space without a block, a lent page and a view; then it may mean something else. */
START_TEST(what_is_there_is_not_empty)
{
	struct ckv_lent lent;

	ck_assert(space_is_empty(core.space));
	ck_assert_int_eq(core_reserve(&core, a, 0, 1, &lent), 0);
	ck_assert(!space_is_empty(core.space));
	ck_assert_int_eq(core_publish(&core, a, &lent), 0);
	ck_assert(!space_is_empty(core.space));
	ck_assert_int_eq(core_drop(&core, 1), 0);
	ck_assert(space_is_empty(core.space));
	ck_assert_int_eq(view_put(1, 50, 3), 0);
	ck_assert(!space_is_empty(core.space));
	ck_assert_int_eq(core_drop(&core, 1), 0);
	ck_assert(space_is_empty(core.space));
	space_set_fingerprint(core.space, 0x5678);
	put_chain(1, 2);
	ck_assert_int_eq(view_put(9, 50, 3), 0);
	space_check(core.space);
}
END_TEST

/* A view is found by key and, the newest one, by name; an equal one is refused. */
START_TEST(views_are_found)
{
	struct space_view view;
	struct ckv_key key = core_key(1), name = core_key(50);
	struct ckv_block block;
	uint32_t slot;

	ck_assert_int_eq(view_put(1, 50, 3), 0);
	ck_assert_int_eq(view_put(2, 50, 2), 0);
	ck_assert_int_eq(view_put(1, 50, 2), -EEXIST);
	ck_assert_int_eq(space_view_find(core.space, &key, &view), 0);
	ck_assert_uint_eq(view.n_pages, 3);
	ck_assert_int_eq(space_view_newest(core.space, &name, &view), 0);
	ck_assert_uint_eq(view.n_pages, 2);
	ck_assert_int_eq(core_drop(&core, 2), 0);
	ck_assert_int_eq(space_view_newest(core.space, &name, &view), 0);
	ck_assert_uint_eq(view.n_pages, 3);
	ck_assert(core_find(&core, 1, &slot, &block));
	ck_assert_uint_eq(block.n_pages, 3);
	ck_assert_uint_eq(block.n_tokens, UINT16_MAX);
	ck_assert(block.flags & CKV_ENTRY_VIEW);
	ck_assert_int_eq(core_put(&core, a, 1, 30), -ENOENT);
	ck_assert_int_eq(space_view_find(core.space, &name, &view), -ENOENT);
}
END_TEST

/* A run of view pages never crosses a slab, and is as long as a slab at most. */
START_TEST(views_stay_in_a_slab)
{
	ck_assert_int_eq(view_put(1, 50, 9), -ENOSPC);
	ck_assert_int_eq(view_put(1, 50, 5), 0);
	ck_assert_int_eq(space_view_alloc(core.space, 5),
			 core.config.level[0].pool.first_view_page + 8);
	ck_assert_int_eq(view_put(2, 50, 3), 0);
	ck_assert_int_eq(view_put(3, 50, 4), 0);
	space_view_abort(core.space, core.config.level[0].pool.first_view_page + 8);
	ck_assert_int_eq(view_put(4, 50, 8), 0);
	ck_assert_uint_eq(CORE_STAT(&core, views_evicted), 0);
	ck_assert_uint_eq(CORE_STAT(&core, view_pages_used), VIEWS);
}
END_TEST

/* Views push out the least recently used views, no pinned ones and no blocks. */
START_TEST(views_push_out_old_views)
{
	struct space_view view;
	struct ckv_key key = core_key(1);

	core_put(&core, a, 0, 90);
	for (uint32_t i = 1; i <= 5; i++)
		ck_assert_int_eq(view_put(i, 50, 4), 0);
	ck_assert_int_eq(space_view_find(core.space, &key, &view), 0);
	ck_assert(core_pin(&core, 1, 0, 2));
	ck_assert_int_eq(view_put(6, 50, 4), 0);
	ck_assert(core_has(&core, 1) && core_has(&core, 2));
	ck_assert(!core_has(&core, 3));
	ck_assert(core_has(&core, 4));
	ck_assert_uint_eq(CORE_STAT(&core, views_evicted), 1);
	ck_assert(core_has(&core, 90));
	for (uint32_t i = 1; i <= 6; i++)
		core_pin(&core, 1, i, i);
	ck_assert_int_eq(view_put(7, 50, 4), -ENOSPC);
	ck_assert_uint_eq(CORE_STAT(&core, views), 5);
}
END_TEST

/* ---- policies ---- */

static bool used_again(uint32_t i)
{
	if (!core_has(&core, i))
		return false;
	core_touch(&core, 0, i);
	space_touch_drain(core.space, a);
	return true;
}

/* A scan of blocks used once pushes out blocks used again under LRU only. */
START_TEST(scan_resistance_differs)
{
	uint32_t n_left[2] = { 0 };

	for (uint32_t p = 0; p < 2; p++) {
		struct space_config config = core_config(64, 0);

		core_close(&core);
		config.level[0].policy = p == 0 ? &policy_lru : &policy_slru;
		core_open(&core, &config);
		a = core_lane_open(&core, 0);
		for (uint32_t i = 1; i <= 64; i++)
			core_put(&core, a, 0, i);
		for (uint32_t i = 1; i <= 4; i++)
			ck_assert(used_again(i));
		for (uint32_t i = 0; i < 200; i++)
			ck_assert_int_eq(core_put(&core, a, 0, 1000 + i), 0);
		for (uint32_t i = 1; i <= 4; i++)
			n_left[p] += core_has(&core, i);
		space_check(core.space);
	}
	ck_assert_uint_eq(n_left[0], 0);
	ck_assert_uint_eq(n_left[1], 4);
}
END_TEST

/*
 * A slot's new block is a new one: neither the use of the block before it nor a touch
 * before PUBLISH protects it.
 */
START_TEST(use_before_publish_does_not_count)
{
	struct space_config config = core_config(64, 0);
	struct ckv_lent lent;

	core_close(&core);
	config.level[0].policy = &policy_slru;
	core_open(&core, &config);
	a = core_lane_open(&core, 0);
	for (uint32_t i = 1; i <= 32; i++)
		ck_assert_int_eq(core_put(&core, a, 0, i), 0);
	ck_assert(used_again(1));
	ck_assert_int_eq(core_drop(&core, 1), 0);
	ck_assert_int_eq(core_reserve(&core, a, 0, 1, &lent), 0);
	space_touch(core.space, lent.slot);
	ck_assert_int_eq(core_publish(&core, a, &lent), 0);
	for (uint32_t i = 0; i < 64; i++)
		ck_assert_int_eq(core_put(&core, a, 0, 100 + i), 0);
	ck_assert(!core_has(&core, 1));
}
END_TEST

/* A block whose child was reserved before it was published was not used for that. */
START_TEST(early_child_is_no_use)
{
	struct space_config config = core_config(64, 0);
	struct ckv_lent lent[2];

	core_close(&core);
	config.level[0].policy = &policy_slru;
	core_open(&core, &config);
	a = core_lane_open(&core, 0);
	for (uint32_t i = 10; i < 42; i++)
		ck_assert_int_eq(core_put(&core, a, 0, i), 0);
	ck_assert_int_eq(core_reserve_list(&core, a, 0, 1, 2, lent), 2);
	ck_assert_int_eq(core_publish(&core, a, &lent[0]), 0);
	ck_assert_int_eq(core_abort(&core, a, &lent[1]), 0);
	for (uint32_t i = 0; i < 64; i++)
		ck_assert_int_eq(core_put(&core, a, 0, 100 + i), 0);
	ck_assert(!core_has(&core, 1));
}
END_TEST

/* Every policy is found by its name; the default is the first. */
START_TEST(policies_have_names)
{
	uint32_t n = 0;

	for (const struct policy_ops *p; (p = policy_at(n)) != NULL; n++)
		ck_assert_ptr_eq(policy_find(p->name), p);
	ck_assert_uint_eq(n, 2);
	ck_assert_ptr_eq(policy_find("lru"), &policy_lru);
	ck_assert_ptr_null(policy_find("fifo"));
}
END_TEST

CHECK_MAIN("core_evict",
	CASE("evict", .setup = setup, .teardown = teardown),
	TEST(leaves_go_first),
	TEST(touched_chains_stay),
	TEST(parents_inherit_recency),
	TEST(deepest_pin_keeps_the_chain),
	TEST(ancestors_are_given_back),
	TEST(pinned_pool_is_full_until_death),
	TEST(unpinned_block_is_found),
	TEST(reservations_keep_their_parent),
	TEST(lying_words_are_harmless),
	TEST(pin_high_bounds_the_scan),
	TEST(held_chain_stays),
	TEST(held_scratch_outlives_its_lane),
	TEST(unsummed_blocks_are_offered),
	TEST(stale_sums_are_passed_in_pieces),
	TEST(what_is_there_is_not_empty),
	TEST(views_are_found),
	TEST(views_stay_in_a_slab),
	TEST(views_push_out_old_views),
	TEST(scan_resistance_differs),
	TEST(use_before_publish_does_not_count),
	TEST(early_child_is_no_use),
	TEST(policies_have_names))

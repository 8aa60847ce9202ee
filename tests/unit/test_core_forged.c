/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_core_forged.c - records that are wrong: with a byte changed, and made on purpose
 * with a right seal. No block is found that was not stored, nobody gets a page that is
 * lent, and the space goes on.
 */
#include <errno.h>

#include "tests/lib/check_main.h"
#include "tests/lib/core.h"

#include "daemon/core/state.h"

enum { PAGES = 12, VIEW_PAGES = 15, FIRST_VIEW = 16, ALL_PAGES = 32, KEYS = 9,
       A = 1, B = 2, VIEW = 200 };

static struct core core;
static int a, b;

static struct found {		/* of a key, or of the view, as it was stored */
	bool there;
	uint32_t slot;
	struct ckv_block block;
} was[KEYS + 1];
static struct ckv_lent lent[2];	/* to lane a */
static char *saved;

static int put(uint32_t parent, uint32_t i, bool summed)
{
	struct ckv_publish_item item = {
		.n_tokens = CORE_TOKENS, .flags = summed ? CKV_ENTRY_SUMMED : 0,
		.checksum = 1000 + i,
	};
	struct ckv_lent l;
	int32_t status;

	if (core_reserve(&core, a, parent, i, &l) < 0)
		return -1;
	item.name = core_name(&l);
	return space_publish(core.space, a, &item, 1, &status);
}

/* Number KEYS is the view's. */
static uint32_t key_of(uint32_t i)
{
	return i == KEYS ? VIEW : i;
}

static void remember(void)
{
	for (uint32_t i = 1; i <= KEYS; i++)
		was[i].there = core_find(&core, key_of(i), &was[i].slot, &was[i].block);
	saved = malloc(ckv_records_bytes(&core.config.level[0].pool));
	ck_assert_ptr_nonnull(saved);
	memcpy(saved, core.memory.records[0], ckv_records_bytes(&core.config.level[0].pool));
}

/* Chains 1-2-3 and 4-5 and 6, a view of two pages, lent pages of both lanes, free ones. */
static void setup(void)
{
	struct space_config config = core_config(PAGES, VIEW_PAGES);
	struct space_view view = { .key = core_key(VIEW), .name = core_key(300),
				   .n_bytes = 5000, .n_tokens = 99, .checksum = 7 };

	config.n_buckets = 5;
	core_open(&core, &config);
	a = core_lane_open(&core, 0);
	b = core_lane_open(&core, 1);
	for (uint32_t i = 1; i <= 6; i++)
		ck_assert_int_eq(put(i == 4 || i == 6 ? 0 : i - 1, i, i % 3 != 2), 1);
	ck_assert_int_eq(core_reserve(&core, a, 3, 7, &lent[0]), 0);
	ck_assert_int_eq(space_reserve_scratch(core.space, a, 1, &lent[1]), 1);
	ck_assert_int_eq(core_put(&core, b, 0, 8), 0);
	ck_assert_int_eq(core_drop(&core, 8), 0);
	view.first_page = (uint32_t)space_view_alloc(core.space, 2);
	ck_assert_int_eq(space_view_publish(core.space, &view), 0);
	ck_assert_int_ge(space_view_alloc(core.space, 3), 0);
	remember();
}

static void teardown(void)
{
	free(saved);
	core_close(&core);
}

static void restore(void)
{
	memcpy(core.memory.records[0], saved, ckv_records_bytes(&core.config.level[0].pool));
}

/* ---- one byte changed ---- */

static uint32_t parent_of(uint32_t i)
{
	return i == 1 || i == 4 || i >= 6 ? 0 : i - 1;
}

/* Is i's record, or that of an ancestor, on this page; or is it the view's row? */
static bool is_of(uint32_t i, uint32_t page)
{
	if (i == KEYS)
		return page - FIRST_VIEW < 2 || page >= ALL_PAGES;
	for (; i != 0; i = parent_of(i))
		if (was[i].there && was[i].block.host_page == page)
			return true;
	return false;
}

/* What is found is what was; only what lies on the changed page is lost. */
static void see_blocks(uint32_t page)
{
	for (uint32_t i = 1; i <= KEYS; i++) {
		struct found now;

		now.there = core_find(&core, key_of(i), &now.slot, &now.block);
		if (!now.there) {
			ck_assert(!was[i].there || is_of(i, page));
			continue;
		}
		ck_assert(was[i].there && now.slot == was[i].slot);
		/* The checksum field of a block that has none says nothing. */
		if (!(now.block.flags & CKV_ENTRY_SUMMED))
			now.block.checksum = was[i].block.checksum;
		ck_assert(memcmp(&now.block, &was[i].block, sizeof now.block) == 0);
	}
}

/* Take all that can be had: what was lent to lane a is not among it. */
static void see_lent(void)
{
	struct ckv_lent new[PAGES];
	int n;

	a = core_lane_open(&core, 2);
	n = space_reserve_scratch(core.space, a, PAGES, new);
	for (int i = 0; i < n; i++)
		ck_assert(new[i].page != lent[0].page && new[i].page != lent[1].page);
	space_check(core.space);
}

static void change(size_t at, uint8_t value)
{
	uint8_t *byte = (uint8_t *)core.memory.records[0] + at;
	uint32_t page = (uint32_t)(at / sizeof(struct ckv_record));

	restore();
	if (*byte == value)
		return;
	*byte = value;
	(void)core_again(&core, A);
	space_check(core.space);
	see_blocks(page);
	see_lent();
}

/* Under sanitizers, where all takes five times as long, a fifth of the bytes and values. */
#ifdef __SANITIZE_ADDRESS__
enum { STRIDE = 5 };
#else
enum { STRIDE = 1 };
#endif

/* Every byte of all records and rows: each bit, and values that are often special. */
START_TEST(a_changed_byte_is_a_loss_at_most)
{
	size_t n = ckv_records_bytes(&core.config.level[0].pool);

	for (size_t at = (size_t)_i; at < n; at += 8 * STRIDE) {
		uint8_t byte = (uint8_t)saved[at];

		for (int bit = 0; bit < 8; bit++)
			change(at, byte ^ (uint8_t)(1 << bit));
		change(at, 0);
		change(at, 0xff);
	}
}
END_TEST

/* All values of each byte: a root, an unsummed block, a lent page, a view and its row. */
START_TEST(whatever_a_byte_becomes)
{
	static const uint32_t pages[] = { 0, 4, 6, FIRST_VIEW, ALL_PAGES + 2 };
	size_t first = pages[_i] * sizeof(struct ckv_record);

	for (size_t i = 0; i < sizeof(struct ckv_record); i++)
		for (int value = (int)i % STRIDE; value < 256; value += STRIDE)
			change(first + i, (uint8_t)value);
}
END_TEST

/* ---- with a right seal ---- */

static struct ckv_record *record(uint32_t i)
{
	return &core.memory.records[0][was[i].block.host_page];
}

static void seal(struct ckv_record *r)
{
	ckv_record_close(r, core.fingerprint, (uint32_t)(r - core.memory.records[0]));
}

static void absent(uint32_t i)
{
	ck_assert_msg(!core_has(&core, key_of(i)), "%u is found", i);
}

static struct space_adopted adopt(void)
{
	struct space_adopted adopted = core_again(&core, A);

	space_check(core.space);
	return adopted;
}

/* No key at all, in a slot where it could be if it were one. */
static void no_key(struct ckv_record *r)
{
	struct ckv_place place;

	memset(&r->key, 0, sizeof r->key);
	place = ckv_index_place(&core.index, &r->key);
	r->slot = place.bucket[0] * CKV_BUCKET_ENTRIES;
	while (node_of(core.space, r->slot)->state != NODE_FREE)
		r->slot++;
}

/* Numbers that no record of this space has, each alone. */
START_TEST(impossible_numbers_do_not_count)
{
	struct ckv_record *r = record(3);
	uint32_t n_slots = core.space->n_slots, n;

	for (int i = 0; i < 15; i++) {
		restore();
		switch (i) {
		case 0: r->slot = n_slots; break;
		case 1: r->slot = CKV_NONE; break;
		case 2:	/* a free slot of a bucket that is not the key's */
			for (n = 0; n < n_slots; n++) {
				struct ckv_place p = ckv_index_place(&core.index, &r->key);

				if (n / CKV_BUCKET_ENTRIES != p.bucket[0] &&
				    n / CKV_BUCKET_ENTRIES != p.bucket[1])
					break;
			}
			r->slot = n;
			break;
		case 3: r->generation++; break;
		case 4: r->generation = 0; break;
		case 5: r->generation = CKV_GENERATION_LAST; break;
		case 6: r->n_tokens = 0; break;
		case 7: r->n_tokens = CORE_TOKENS + 1; break;
		case 8: r->flags |= CKV_ENTRY_VIEW; break;
		case 9: r->flags |= 128; break;
		case 10: r->state = CKV_RECORD_LOADING; break;
		case 11: r->state = CKV_RECORD_VIEW; break;
		case 12: r->state = 99; break;
		case 13: r->parent_slot = n_slots; break;
		default: no_key(r); break;
		}
		seal(r);
		ck_assert_uint_gt(adopt().n_resting, 0);
		absent(3);
		ck_assert(core_has(&core, 2));
		see_lent();
	}
}
END_TEST

/* Two records of one slot, or of one key in two slots: neither is there, nor what follows. */
START_TEST(doubles_do_not_count)
{
	struct ckv_record *r = &core.memory.records[0][_i < 2 ? 11 : 0];
	uint32_t n;

	if (_i >= 2)	/* the page before the one that it doubles: the order does not matter */
		memcpy(&core.memory.records[0][11], r, sizeof *r);
	memcpy(r, record(_i < 2 ? 2 : 4), sizeof *r);
	if (_i % 2 == 1) {
		struct ckv_place place = ckv_index_place(&core.index, &r->key);

		for (n = place.bucket[0] * CKV_BUCKET_ENTRIES;; n++)
			if (node_of(core.space, n)->state == NODE_FREE)
				break;
		r->slot = n;
	}
	seal(r);
	if (_i >= 2)
		seal(&core.memory.records[0][11]);
	ck_assert_uint_eq(adopt().n_doubles, 2);
	absent(_i < 2 ? 2 : 4);
	absent(_i < 2 ? 3 : 5);
	ck_assert(core_has(&core, 1) && core_has(&core, 6));
	see_lent();
}
END_TEST

/* A block is its own parent, or its descendant's child: there is no root. */
START_TEST(rings_do_not_count)
{
	static const uint32_t from[] = { 1, 1, 1, 4 }, to[] = { 1, 2, 3, 5 };
	struct space_adopted adopted;

	record(from[_i])->parent_slot = record(to[_i])->slot;
	seal(record(from[_i]));
	adopted = adopt();
	ck_assert_uint_eq(adopted.n_blocks, _i < 3 ? 3 : 4);
	ck_assert_uint_eq(adopted.n_orphans + adopted.n_bad, _i < 3 ? 3 : 2);
	ck_assert(core_has(&core, 6) && !core_has(&core, from[_i]));
	see_lent();
}
END_TEST

/* The parent is a view, a lent page's slot, or nothing; or another chain, which is one. */
START_TEST(odd_parents_do_not_count)
{
	struct ckv_record *r = record(4);

	r->parent_slot = _i == 0 ? was[KEYS].slot : _i == 1 ? lent[0].slot :
			 _i == 2 ? core.space->n_slots - 1 : record(3)->slot;
	if (_i == 2 && node_of(core.space, r->parent_slot)->state != NODE_FREE)
		r->parent_slot--;
	seal(r);
	(void)adopt();
	ck_assert(core_has(&core, 4) == (_i == 3));
	ck_assert(core_has(&core, 5) == (_i == 3));
	ck_assert(core_has(&core, 3));
	ck_assert_int_eq(core_drop(&core, VIEW), 0);
	see_lent();
}
END_TEST

/* Records of another geometry, or moved to another page. */
START_TEST(seals_are_of_a_page_and_a_space)
{
	struct space_adopted adopted;

	if (_i == 0) {
		core.fingerprint++;
		adopted = core_again(&core, A);
		ck_assert_uint_eq(adopted.n_blocks + adopted.n_views + adopted.n_lent, 0);
		ck_assert_uint_eq(adopted.n_bad, 8 + 5);
	} else {
		memcpy(&core.memory.records[0][11], record(6), sizeof(struct ckv_record));
		ckv_record_free(record(6));
		adopted = core_again(&core, A);
		ck_assert_uint_eq(adopted.n_bad, 1);
		absent(6);
	}
	space_check(core.space);
}
END_TEST

static void seal_row(struct ckv_view_row *row)
{
	ckv_hint_store64(&row->seal, ckv_view_row_seal(row, core.fingerprint));
}

/* A row that says what cannot be, or other than its records. */
START_TEST(impossible_views_do_not_count)
{
	struct ckv_view_row *rows = ckv_view_rows(core.memory.records[0], &core.config.level[0].pool);
	struct ckv_record *first = &core.memory.records[0][FIRST_VIEW];
	struct space_adopted adopted;
	struct ckv_view_row *row = rows;

	switch (_i) {
	case 0: row->n_pages = 0; row->n_bytes = 0; break;
	case 1: row->n_pages = 3; break;
	case 2: row->n_pages = VIEW_PAGES + 1; break;
	case 3: row->n_pages = UINT32_MAX; break;
	case 4: row->first_page++; break;
	case 5: row->n_bytes = 2 * 4096 + 1; break;
	case 6: row->key.byte[3]++; break;
	case 7: row->checksum++; break;
	case 8: first[1].slot ^= 1; seal(&first[1]); break;
	case 9: first[1].generation += 2; seal(&first[1]); break;
	case 10: first[1].checksum++; seal(&first[1]); break;
	case 11: ckv_record_free(&first[1]); break;
	case 12: first->parent_slot = 0; seal(first); break;
	case 13: first[1].flags = CKV_ENTRY_SUMMED; seal(&first[1]); break;
	case 14: first[1].state = CKV_RECORD_PUBLISHED; seal(&first[1]); break;
	case 15: rows[1] = rows[0]; /* fall through */
	default: memset(&row->seal, 0, sizeof row->seal); break;
	}
	if (_i < 15)
		seal_row(row);
	adopted = adopt();
	ck_assert_uint_eq(adopted.n_views, 0);
	ck_assert_uint_eq(adopted.n_resting, _i == 11 ? 1 : 2);
	absent(KEYS);
	see_lent();
}
END_TEST

/* Pages behind the last view page, and in the next slab, are no part of a view. */
START_TEST(views_end_with_their_pages)
{
	uint32_t at = _i == 0 ? VIEW_PAGES - 2 : 7;
	struct ckv_view_row *rows = ckv_view_rows(core.memory.records[0], &core.config.level[0].pool);
	struct ckv_record *first = &core.memory.records[0][FIRST_VIEW];

	rows[at] = rows[0];
	rows[at].first_page += at;
	rows[at].n_pages = 3;
	seal_row(&rows[at]);
	for (uint32_t i = at; i < at + 3; i++) {
		first[i] = first[0];
		seal(&first[i]);
	}
	ckv_hint_store64(&rows[0].seal, 0);
	ck_assert_uint_eq(adopt().n_views, 0);
	absent(KEYS);
}
END_TEST

/* Two rows want the same pages, or the same slot, or that of a block. */
START_TEST(views_do_not_share)
{
	struct ckv_view_row *rows = ckv_view_rows(core.memory.records[0], &core.config.level[0].pool);
	struct ckv_record *first = &core.memory.records[0][FIRST_VIEW];
	struct space_adopted adopted;

	if (_i == 0) {
		rows[1] = rows[0];
		rows[1].first_page++;
		rows[1].n_pages = 1;
		rows[1].n_bytes = 1;
		seal_row(&rows[1]);
	} else if (_i == 1) {
		rows[5] = rows[0];
		rows[5].first_page += 5;
		for (int i = 0; i < 2; i++) {
			first[5 + i] = first[i];
			seal(&first[5 + i]);
		}
		seal_row(&rows[5]);
	} else {
		*record(6) = first[0];
		record(6)->state = CKV_RECORD_PUBLISHED;
		record(6)->flags = CKV_ENTRY_SUMMED;
		record(6)->n_tokens = 1;
		seal(record(6));
	}
	adopted = adopt();
	ck_assert_uint_eq(adopted.n_views, _i == 0 ? 1 : 0);
	ck_assert(core_has(&core, VIEW) == (_i == 0));
	ck_assert(core_has(&core, 1) && core_has(&core, 5));
	see_lent();
}
END_TEST

/* Noise, with right seals in a third of the records. */
START_TEST(noise)
{
	size_t n = ckv_records_bytes(&core.config.level[0].pool);
	uint64_t x = 88172645463325252u * ((uint64_t)_i + 1);

	for (int round = 0; round < 300; round++) {
		restore();
		for (uint32_t page = 0; page < ALL_PAGES; page++) {
			struct ckv_record *r = &core.memory.records[0][page];

			for (int i = 0; i < 4; i++) {
				x ^= x << 13;
				x ^= x >> 7;
				x ^= x << 17;
				((char *)r)[48 + x % 16] = (char)(x >> 32 & 7);
			}
			if (x >> 40 & 1)
				memcpy(r, saved + (x >> 20) % PAGES * sizeof *r, sizeof *r);
			if (x % 3 == 0 && r->state != CKV_RECORD_FREE)
				seal(r);
		}
		((char *)core.memory.records[0])[n - 1 - x % 600] ^= 1;
		(void)core_again(&core, A);
		a = core_lane_open(&core, 2);
		space_check(core.space);
		for (uint32_t i = 20; i < 60; i++)
			(void)put(i % 3 ? i - 1 : 0, i, true);
		space_check(core.space);
	}
}
END_TEST

CHECK_MAIN("core_forged",
	CASE("bytes", setup, teardown),
	LOOP(a_changed_byte_is_a_loss_at_most, 8),
	LOOP(whatever_a_byte_becomes, 5),
	CASE("forged", setup, teardown),
	TEST(impossible_numbers_do_not_count),
	LOOP(doubles_do_not_count, 4),
	LOOP(rings_do_not_count, 4),
	LOOP(odd_parents_do_not_count, 4),
	LOOP(seals_are_of_a_page_and_a_space, 2),
	LOOP(impossible_views_do_not_count, 17),
	LOOP(views_end_with_their_pages, 2),
	LOOP(views_do_not_share, 3),
	LOOP(noise, 4))

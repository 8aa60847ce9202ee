/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_proto_index.c - tags and places in the index, by their definitions.
 *
 * Built once more with -DCKV_PORTABLE, it judges the plain twin of the tag search.
 */
#include <stdlib.h>

#include "proto/ckv_index.h"
#include "tests/lib/check_main.h"

static uint64_t state = 88172645463325252u;

static uint64_t next(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

/* Every tag that is equal is found, and no other, whatever its neighbours are. */
START_TEST(tags_match_one_by_one)
{
	static const uint16_t hard[] = { 0, 1, 0x7fff, 0x8000, 0x8001, 0xffff };
	static struct ckv_bucket bucket;
	uint16_t tag[CKV_BUCKET_ENTRIES];

	for (int round = 0; round < 20000; round++) {
		uint16_t wanted = (uint16_t)(round % 2 ? hard[next() % 6] :
							       next());
		uint32_t want = 0;

		for (uint32_t i = 0; i < CKV_BUCKET_ENTRIES; i++) {
			tag[i] = (uint16_t)(next() % 4 == 0 ? wanted :
					    next() % 2 ? hard[next() % 6] :
					    wanted ^ 1u << next() % 16);
			want |= (uint32_t)(tag[i] == wanted) << i;
			ckv_bucket_set_tag(&bucket, i, tag[i]);
		}
		ck_assert_uint_eq(ckv_bucket_match(&bucket, wanted), want);
	}
}
END_TEST

static uint32_t some_used(void)
{
	uint32_t all = (1u << CKV_BUCKET_ENTRIES) - 1, few = (uint32_t)next();

	switch (next() % 4) {
	case 0:  return all & few;
	case 1:  return all & (few | (uint32_t)next());
	case 2:  return all & (few | (uint32_t)next() | (uint32_t)next());
	default: return next() % 2 ? all : all & ~(1u << next() % CKV_BUCKET_ENTRIES);
	}
}

/* A new key goes to a free entry; at home if that costs little, else to nobody's home. */
START_TEST(places_are_chosen_by_the_rules)
{
	uint32_t all = (1u << CKV_BUCKET_ENTRIES) - 1, i;

	for (int round = 0; round < 200000; round++) {
		struct ckv_place place = { .tag = (uint16_t)next() };
		uint32_t used[2] = { some_used(), some_used() };
		uint32_t first = ckv_place_home(&place);
		uint32_t home = 15u << first;
		int n[2] = { __builtin_popcount(used[0]),
			     __builtin_popcount(used[1]) };
		int least = n[1] < n[0], b = ckv_place_choose(&place, used, &i);

		ck_assert_uint_le(first, 20);
		ck_assert_uint_eq(first % 4, 0);
		if (used[0] == all && used[1] == all) {
			ck_assert_int_eq(b, -1);
			continue;
		}
		ck_assert(b >= 0 && i < CKV_BUCKET_ENTRIES && !(used[b] >> i & 1));
		if (~used[least] & home) {
			ck_assert(b == least && (home >> i & 1));
		} else if ((~used[!least] & home) && n[!least] <= n[least] + 2) {
			ck_assert(b == !least && (home >> i & 1));
		} else {
			ck_assert_int_eq(b, least);
			ck_assert(i >= 24 || used[b] >> 24 == 15);
		}
	}
}
END_TEST

enum { BUCKETS = 4000, LOAD = BUCKETS * 28 / 10 * 8 };

static struct { struct ckv_place place; uint8_t b, i; } block[LOAD];
static uint32_t used[BUCKETS];

static bool put(uint32_t k, uint32_t *n_home)
{
	struct ckv_index index = { .n_buckets = BUCKETS, .seed = { 3, 5, 7, 11 } };
	struct ckv_key key;
	uint32_t i, both[2];
	int b;

	for (int w = 0; w < 4; w++)
		memcpy(key.byte + 8 * w, &(uint64_t){ next() }, 8);
	block[k].place = ckv_index_place(&index, &key);
	both[0] = used[block[k].place.bucket[0]];
	both[1] = used[block[k].place.bucket[1]];
	b = ckv_place_choose(&block[k].place, both, &i);
	if (b < 0)
		return false;
	block[k].b = (uint8_t)b;
	block[k].i = (uint8_t)i;
	used[block[k].place.bucket[b]] |= 1u << i;
	*n_home += i / 4 == ckv_place_home(&block[k].place) / 4;
	return true;
}

/* At 80 % of its entries the index refuses nobody, and most blocks are at home. */
START_TEST(a_full_index_refuses_nobody)
{
	/* An assertion costs a system call; here are two million. */
	uint32_t n_home = 0, n_refused = 0;

	memset(used, 0, sizeof used);
	for (uint32_t k = 0; k < LOAD; k++)
		n_refused += !put(k, &n_home);
	ck_assert_uint_eq(n_refused, 0);
	ck_assert_uint_gt(n_home, LOAD / 100 * 85);
	n_home = 0;
	for (uint32_t round = 0; round < 20; round++)
		for (uint32_t j = 0; j < LOAD; j++) {
			uint32_t k = (uint32_t)next() % LOAD;

			used[block[k].place.bucket[block[k].b]] &=
				~(1u << block[k].i);
			n_refused += !put(k, &n_home);
		}
	ck_assert_uint_eq(n_refused, 0);
	ck_assert_uint_gt(n_home / 20, LOAD / 100 * 70);
}
END_TEST

CHECK_MAIN("proto_index",
	CASE("index"),
	TEST(tags_match_one_by_one),
	TEST(places_are_chosen_by_the_rules),
	TEST(a_full_index_refuses_nobody))

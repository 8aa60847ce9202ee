/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_lib_reader.c - what readers may rely on, against a real ckvd: their chain, their
 * checksums, an index that is there.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "client/lib.h"
#include "tests/lib/attach.h"
#include "tests/lib/check_main.h"
#include "tests/lib/daemon.h"

enum { TOKENS = 16, BLOCKS = 4 };

static struct test_daemon daemon_;
static struct ckv *ckv;
static struct ckv_space *space;
static struct ckv_lane *lane;
static struct ckv_space_info info;
static struct ckv_handle handles[BLOCKS];

static void start(const char *config)
{
	test_daemon_start(&daemon_, config, NULL);
	test_attach(&daemon_, &ckv, &space, &lane);
	ckv_space_get_info(space, &info);
}

static void teardown(void)
{
	ckv = ckv_close(ckv);
	test_daemon_remove(&daemon_);
}

static void make_keys(uint32_t seed, uint8_t keys[BLOCKS * 32])
{
	uint32_t tokens[TOKENS * BLOCKS];

	for (uint32_t i = 0; i < TOKENS * BLOCKS; i++)
		tokens[i] = seed + i;
	ck_assert_int_eq(ckv_keys(space, NULL, tokens, TOKENS * BLOCKS, NULL, 0,
				  keys), BLOCKS);
}

static void store(const uint8_t *parent, const uint8_t *keys, uint32_t n,
		  unsigned flags)
{
	struct ckv_page pages[BLOCKS];

	ck_assert_int_eq(ckv_reserve(lane, parent, keys, n, pages), n);
	for (uint32_t i = 0; i < n; i++)
		memset(pages[i].data, (int)i + 1, info.page_bytes);
	ck_assert_int_eq(ckv_publish(lane, pages, n, TOKENS, flags, NULL,
				     NULL, NULL),
			 n);
}

static long found(const uint8_t *keys, uint32_t n, unsigned flags)
{
	struct ckv_pin pin;
	long r = ckv_lookup(lane, keys, n, flags, handles, &pin);

	ckv_unpin(lane, &pin);
	return r;
}

/* A page that nobody has summed is found, but not by a reader who wants it checked. */
START_TEST(unsummed_is_not_verified)
{
	uint8_t keys[BLOCKS * 32];

	start("sum_idle = no\n");
	make_keys(1, keys);
	store(NULL, keys, 2, CKV_SUM);
	store(keys + 32, keys + 64, 2, 0);
	ck_assert_int_eq(found(keys, BLOCKS, 0), BLOCKS);
	ck_assert_int_eq(found(keys, BLOCKS, CKV_VERIFY), 2);
	ck_assert_int_eq(found(keys, BLOCKS, CKV_VERIFY), 2);
	ck_assert_uint_eq(ckv_hint_load64(&lane->c->count[
					  CKV_CLAIM_VERIFY_FAILED]), 0);
}
END_TEST

/* The daemon sums it when it has nothing else to do, and then it is. */
START_TEST(idle_daemon_makes_it_verified)
{
	const struct timespec moment = { .tv_nsec = 1000000 };
	uint8_t keys[BLOCKS * 32];
	int ms = 0;

	start("");
	make_keys(1, keys);
	store(NULL, keys, BLOCKS, 0);
	while (found(keys, BLOCKS, CKV_VERIFY) < BLOCKS && ms++ < 60000)
		nanosleep(&moment, NULL);
	ck_assert_int_eq(found(keys, BLOCKS, CKV_VERIFY), BLOCKS);
	ck_assert_uint_eq(ckv_hint_load64(&lane->c->count[
					  CKV_CLAIM_VERIFY_FAILED]), 0);
}
END_TEST

/* A block stored under A is none of B's, to readers and to writers; B's pin is B's. */
START_TEST(another_parents_block_is_refused)
{
	uint8_t a[BLOCKS * 32], b[BLOCKS * 32], mixed[64];
	struct ckv_page pages[2];
	struct ckv_pin pin;
	int32_t status;

	start("");
	make_keys(1, a);
	make_keys(1000, b);
	store(NULL, a, 2, CKV_SUM);
	store(NULL, b, 1, CKV_SUM);
	memcpy(mixed, b, 32);
	memcpy(mixed + 32, a + 32, 32);
	ck_assert_int_eq(found(mixed, 2, CKV_EXISTS), 1);
	ck_assert_int_eq(ckv_lookup(lane, mixed, 2, 0, handles, &pin), 1);
	ck_assert_int_eq(ckv_drop(lane, b, 1, &status), 0);
	ck_assert_int_eq(status, -EBUSY);
	ck_assert_int_eq(ckv_reserve(lane, NULL, mixed, 2, pages), 0);
	ck_assert_int_eq(pages[0].status, -EEXIST);
	ck_assert_int_eq(pages[1].status, -EXDEV);
	ck_assert_str_eq(ckv_strerror(-EXDEV), "stored already under another parent");
	ckv_unpin(lane, &pin);
	ck_assert_int_eq(ckv_drop(lane, b, 1, &status), 1);
}
END_TEST

/* The whole index is mapped at attach: no lookup waits for a page fault. */
START_TEST(index_is_mapped_whole)
{
	unsigned long size = 0, rss = 0;
	char line[512];
	bool here = false;
	FILE *f;

	start("");
	f = fopen("/proc/self/smaps", "r");
	ck_assert_ptr_nonnull(f);
	while (fgets(line, sizeof line, f) != NULL) {
		unsigned long from, to;

		if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
			here = from <= (unsigned long)space->maps->index_base &&
			       (unsigned long)space->maps->index_base < to;
		if (here)
			(void)(sscanf(line, "Size: %lu", &size) == 1 ||
			       sscanf(line, "Rss: %lu", &rss) == 1);
	}
	fclose(f);
	ck_assert_uint_gt(size, 0);
	ck_assert_uint_eq(rss, size);
}
END_TEST

CHECK_MAIN("lib_reader",
	CASE("reader", .teardown = teardown, .timeout = 100),
	TEST(unsummed_is_not_verified),
	TEST(idle_daemon_makes_it_verified),
	TEST(another_parents_block_is_refused),
	TEST(index_is_mapped_whole))

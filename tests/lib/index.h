/* SPDX-License-Identifier: Apache-2.0 */
/*
 * index.h - an index and a lane in this process's own memory, without a daemon.
 *
 * The test is the daemon: it writes entries with the proto functions and reads
 * what the library left in the lane's segment.
 */
#ifndef CKV_TEST_INDEX_H
#define CKV_TEST_INDEX_H

#include "client/lib.h"

struct test_index {
	struct ckv_index index;
	struct ckv ckv;
	struct ckv_space space;
	struct ckv_lane lane;
	struct lib_maps maps;
	struct lib_pool mapped;
	struct lib_link link;
	struct ckv_world world;
	uint32_t mine;
	uint32_t n_pages;
	char *pool;		/* n_pages pages of 4 KiB */
};

/* Room for n_entries at 80 % load, a lane of n_pins pin words. */
void test_index_open(struct test_index *t, uint32_t n_entries, uint32_t n_pins);
void test_index_close(struct test_index *t);

/* Put a block under the one in `parent` (CKV_NONE: a root); its slot. */
uint32_t test_index_put(struct test_index *t, const struct ckv_key *key,
			uint8_t level, uint32_t page, uint32_t parent);
void test_index_remove(struct test_index *t, uint32_t slot);

/* Key number i of chain `chain`, as mixed as a hash. */
struct ckv_key test_index_key(uint64_t chain, uint64_t i);

#endif

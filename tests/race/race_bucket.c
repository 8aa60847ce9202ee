/* SPDX-License-Identifier: Apache-2.0 */
/*
 * race_bucket.c - SEQ_END/SEQ_BEGIN: a bucket's lines are whole.
 *
 * The writer moves one key to and fro between two slots of a bucket. For each version it
 * writes a note, in plain memory, after the entry and before it closes the bucket. The
 * release of the entry's generation comes before the note, so only the bucket's sequence
 * makes the note safe to read: without it ThreadSanitizer reports a race.
 */
#include "proto/ckv_index.h"
#include "tests/race/race.h"

#include <unistd.h>

#define VERSIONS 100000u

static const char race_name[] = "a bucket that holds still was read whole";

static struct ckv_bucket bucket;
static struct ckv_index ix = { .buckets = &bucket, .n_buckets = 1 };
static const struct ckv_key key = { { 1, 2, 3 } };
static uint32_t note[VERSIONS + 1];	/* plain memory */

static void write_version(uint32_t v)
{
	struct ckv_block block = { .key = key, .generation = 2 * v,
				   .level = CKV_LEVEL_HOST, .host_page = v,
				   .device_page = ~v, .parent_slot = v + 1,
				   .n_pages = v + 2, .checksum = ~(uint64_t)v };

	ckv_bucket_open(&bucket);
	ckv_bucket_set_tag(&bucket, (v + 1) % 2, 0);
	ckv_bucket_set_tag(&bucket, v % 2, 7);
	ckv_entry_store(&bucket.entry[v % 2], &block);
	note[v] = v;
	ckv_bucket_close(&bucket);
}

static void *writer(void *arg)
{
	(void)arg;
	for (uint32_t v = 1; v <= VERSIONS; v++) {
		write_version(v);
		if (v % 64 == 0)
			sched_yield();
	}
	return NULL;
}

static void *reader(void *arg)
{
	struct ckv_block block;
	unsigned spins = 0;
	uint32_t slot, v = 0;

	(void)arg;
	while (v < VERSIONS) {
		race_pause(&spins);
		if (ckv_bucket_find(&ix, 0, 7, &key, &slot, &block) != 1)
			continue;
		race_check(block.host_page >= v);
		v = block.host_page;
		race_check(slot == v % 2);
		race_check(block.generation == 2 * v && block.device_page == ~v &&
			   block.parent_slot == v + 1 && block.n_pages == v + 2 &&
			   block.checksum == ~(uint64_t)v);
		race_check(note[v] == v);
	}
	return NULL;
}

int main(void)
{
	race_run(writer, reader, NULL);
	return race_passed(race_name);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ours_pool.c - 2 MiB blocks: memcpy, put with and without checksum, get.
 *
 * memcpy and put read the same sources and write destinations of the same
 * total size, all touched before.
 */
#include "tests/bench/daemon.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { BLOCK_BYTES = 2 << 20, POOL_BLOCKS = 512, SOURCE_BLOCKS = 32, LIVE = 256,
       BATCH = 8 };

static char *sources, *copies;
static double memcpy_ns;	/* of this repetition */

static void prepare_memory(void)
{
	uint64_t state = 12345;

	if (sources != NULL)
		return;
	sources = aligned_alloc(BLOCK_BYTES, (size_t)SOURCE_BLOCKS * BLOCK_BYTES);
	copies = aligned_alloc(BLOCK_BYTES, (size_t)POOL_BLOCKS * BLOCK_BYTES);
	if (sources == NULL || copies == NULL)
		abort();
	madvise(copies, (size_t)POOL_BLOCKS * BLOCK_BYTES, MADV_HUGEPAGE);
	random_fill(&state, sources, (size_t)SOURCE_BLOCKS * BLOCK_BYTES);
	memset(copies, 1, (size_t)POOL_BLOCKS * BLOCK_BYTES);
}

static const char *source(size_t i)
{
	return sources + i % SOURCE_BLOCKS * BLOCK_BYTES;
}

void bench_memcpy(struct bench *b)
{
	struct bench_sample s;

	prepare_memory();
	sample_init(&s, POOL_BLOCKS);
	for (size_t i = 0; i < s.size; i++) {
		uint64_t t = now_ns();

		memcpy(copies + i * BLOCK_BYTES, source(i), BLOCK_BYTES);
		sample_add(&s, (double)(now_ns() - t));
	}
	memcpy_ns = sample_percentile(&s, 50);
	bench_add(b, "memcpy_gbps", BLOCK_BYTES / memcpy_ns);
	sample_free(&s);
}

/*
 * One put of a chain of BATCH blocks: reserve, copy, publish, as an engine does
 * after a prefill. 0 or -errno; the time of all of it for one block.
 */
static int put(struct ckv_lane *lane, const uint8_t *keys, size_t first,
	       bool sum, double *ret_ns)
{
	struct ckv_page pages[BATCH];
	uint64_t t = now_ns(), sums[BATCH] = { 0 };
	long r;

	r = ckv_reserve(lane, NULL, keys, BATCH, pages);
	if (r != BATCH)
		return r < 0 ? (int)r : -ENOSPC;
	for (size_t i = 0; i < BATCH; i++) {
		if (sum)
			sums[i] = ckv_copy(pages[i].data, source(first + i),
					   BLOCK_BYTES);
		else
			memcpy(pages[i].data, source(first + i), BLOCK_BYTES);
	}
	r = ckv_publish(lane, pages, BATCH, 16, CKV_SUMMED, sums, NULL, NULL);
	*ret_ns = (double)(now_ns() - t) / BATCH;
	return r < 0 ? (int)r : 0;
}

static double put_round(struct ckv_lane *lane, uint64_t *state, bool sum)
{
	uint8_t keys[BATCH * 32];
	struct bench_sample s;
	double ns, p50;

	sample_init(&s, POOL_BLOCKS / BATCH);
	for (size_t i = 0; i < s.size; i++) {
		random_fill(state, keys, sizeof keys);
		if (put(lane, keys, i * BATCH, sum, &ns) < 0)
			abort();
		sample_add(&s, ns);
	}
	p50 = sample_percentile(&s, 50);
	sample_free(&s);
	return p50;
}

static void measure_put(struct bench *b, struct ckv_lane *lane)
{
	static uint64_t state = 777;
	double ns = put_round(lane, &state, true);

	bench_add(b, "host_put_ns_p50", ns);
	bench_add(b, "host_put_memcpy_ratio", memcpy_ns / ns);
	ns = put_round(lane, &state, false);
	bench_add(b, "host_put_nosum_memcpy_ratio", memcpy_ns / ns);
}

static void measure_get(struct bench *b, struct ckv_lane *lane)
{
	static uint8_t keys[LIVE * 32];
	struct bench_sample first, all;
	static uint64_t state = 4242;	/* new keys each time */
	volatile uint64_t sink = 0;
	double ns;

	random_fill(&state, keys, sizeof keys);
	for (size_t i = 0; i < LIVE; i += BATCH)
		if (put(lane, keys + i * 32, i, true, &ns) < 0)
			abort();
	sample_init(&first, 2000);
	sample_init(&all, 400);
	for (size_t i = 0; i < first.size; i++) {
		const uint8_t *key = keys + random_next(&state) % LIVE * 32;
		struct ckv_handle handle;
		struct ckv_pin pin;
		uint64_t t = now_ns();

		if (ckv_lookup(lane, key, 1, 0, &handle, &pin) != 1)
			abort();
		sink += *(const uint8_t *)handle.data;
		sample_add(&first, (double)(now_ns() - t));
		if (i < all.size) {
			t = now_ns();
			sink += sum_words(handle.data, BLOCK_BYTES);
			sample_add(&all, (double)(now_ns() - t) + first.ns[i]);
		}
		ckv_unpin(lane, &pin);
	}
	bench_add(b, "host_get_first_byte_ns_p50", sample_percentile(&first, 50));
	bench_add(b, "host_get_first_byte_ns_p99", sample_percentile(&first, 99));
	bench_add(b, "host_get_sum_ns_p50", sample_percentile(&all, 50));
	sample_free(&first);
	sample_free(&all);
}

static const char *prepare(struct bench *b, struct ckv_lane **ret_lane)
{
	static struct bench_daemon pool_daemon;
	static struct ckv *connection;
	static struct ckv_space *space;
	static struct ckv_lane *lane;
	static const char *why;
	uint64_t state = 99;

	if (lane == NULL && why == NULL &&
	    daemon_start(b, &pool_daemon, false,
			 (uint64_t)POOL_BLOCKS * BLOCK_BYTES, &why)) {
		if (daemon_attach(&pool_daemon, 1024, &connection, &space,
				  &lane) < 0)
			why = "cannot attach";
		else	/* one round faults the write mapping in */
			put_round(lane, &state, true);
	}
	*ret_lane = lane;
	return why;
}

void bench_pool(struct bench *b)
{
	struct ckv_lane *lane;
	const char *why;

	prepare_memory();
	why = prepare(b, &lane);
	if (why != NULL) {
		bench_why(b, "host_put_memcpy_ratio", "%s", why);
		bench_why(b, "host_get_first_byte_ns_p50", "%s", why);
		return;
	}
	if (memcpy_ns == 0)
		bench_memcpy(b);
	measure_put(b, lane);
	measure_get(b, lane);
}

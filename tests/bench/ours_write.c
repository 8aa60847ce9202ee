/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ours_write.c - requests: a round trip, and reserve + publish while the pool is
 * full, so that every block makes another one go.
 */
#include "tests/bench/daemon.h"

#include <stdlib.h>

enum { RING_POOL_MIB = 256, BATCH_BLOCKS = 64 };

static struct bench_daemon ring_daemon;
static struct ckv *connection;
static struct ckv_space *space;
static struct ckv_lane *lane;

static const char *prepare(struct bench *b)
{
	static bool tried;
	static const char *why;

	if (!tried && daemon_start(b, &ring_daemon, true,
				   (uint64_t)RING_POOL_MIB << 20, &why) &&
	    daemon_attach(&ring_daemon, 1024, &connection, &space, &lane) < 0)
		why = "cannot attach";
	tried = true;
	return why;
}

void bench_ring(struct bench *b)
{
	const char *why = prepare(b);
	struct bench_sample s;
	struct ckv_event event;

	if (why != NULL) {
		bench_why(b, "roundtrip_ns_p50", "%s", why);
		return;
	}
	sample_init(&s, b->quick ? 100000 : 400000);
	for (size_t i = 0; i < s.size; i++) {
		uint64_t t = now_ns();

		if (ckv_submit_nop(lane, i) < 0)
			abort();
		while (ckv_poll(lane, &event, 1) == 0)
			;
		sample_add(&s, (double)(now_ns() - t));
	}
	bench_add(b, "roundtrip_ns_p50", sample_percentile(&s, 50));
	bench_add(b, "roundtrip_ns_p99", sample_percentile(&s, 99));
	sample_free(&s);
}

/* Chains of 64 blocks, each with new keys; the pool has long been full. */
void bench_write(struct bench *b)
{
	const char *why = prepare(b);
	static uint64_t state = 69069;
	uint8_t keys[BATCH_BLOCKS * 32];
	size_t n_blocks = (size_t)RING_POOL_MIB << 8, n_batches;
	uint64_t t;

	if (why != NULL) {
		bench_why(b, "reserve_publish_blocks_per_s", "%s", why);
		return;
	}
	n_batches = n_blocks / BATCH_BLOCKS;
	for (size_t i = 0; i < n_batches; i++) {
		random_fill(&state, keys, sizeof keys);
		if (publish_chain(lane, keys, BATCH_BLOCKS) < 0)
			abort();
	}
	n_batches = b->quick ? 4000 : 16000;
	t = now_ns();
	for (size_t i = 0; i < n_batches; i++) {
		random_fill(&state, keys, sizeof keys);
		if (publish_chain(lane, keys, BATCH_BLOCKS) < 0)
			abort();
	}
	bench_add(b, "reserve_publish_blocks_per_s",
		  (double)(n_batches * BATCH_BLOCKS) * 1e9 /
		  (double)(now_ns() - t));
}

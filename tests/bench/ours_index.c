/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ours_index.c - an index of 1 M entries: filled, looked up, churned, looked up; keys of
 * blocks, and what the daemon's memory costs per block.
 *
 * 128 chains of 8 192 blocks. Each repetition starts a new daemon, since an index that has
 * been churned never becomes a filled one again: then as many blocks as there are
 * have been published twice more, each in the place of one that was evicted. Single
 * lookups take random present keys; boundaries take a random chain and a random true
 * length, the rest of the keys being unknown to the daemon.
 */
#include "proto/ckv_index.h"
#include "tests/bench/daemon.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHURNS = 2, PROMPT = 512, MANY = 8 };

static struct bench_daemon index_daemon;
static struct ckv *connection;
static struct ckv_space *space;
static struct ckv_lane *lane;

static bool fill(struct bench *b, const char **ret_why)
{
	uint64_t pool_bytes = (uint64_t)N_ENTRIES * 4096 + ((uint64_t)64 << 20);
	static char why[128];
	int r;

	if (!daemon_start(b, &index_daemon, true, pool_bytes, ret_why))
		return false;
	r = daemon_attach(&index_daemon, 1024, &connection, &space, &lane);
	for (uint32_t chain = 0; r == 0 && chain < N_CHAINS; chain++)
		r = publish_chain(lane, chain_keys(chain), CHAIN_BLOCKS);
	if (r == 0)
		return true;
	snprintf(why, sizeof why, "filling 1 M blocks: %s", ckv_strerror(r));
	*ret_why = why;
	return false;
}

/* Other chains push out those that are there; the last of them. */
static const uint8_t *churn(void)
{
	static uint8_t *keys;
	static uint64_t state = 1181783497276652981u;

	if (keys == NULL)
		keys = malloc((size_t)N_ENTRIES * 32);
	for (int i = 0; keys != NULL && i < CHURNS; i++) {
		random_fill(&state, keys, (size_t)N_ENTRIES * 32);
		for (uint32_t c = 0; c < N_CHAINS; c++)
			if (publish_chain(lane, keys +
					  (size_t)c * CHAIN_BLOCKS * 32,
					  CHAIN_BLOCKS) < 0)
				return NULL;
	}
	return keys;
}

/* Random keys of those at `keys`. Some may have left again in a churned index. */
static void sample_lookups(const uint8_t *keys, bool all_there,
			   struct bench_sample *s)
{
	uint64_t state = 88172645463325252u;

	for (size_t i = 0; i < s->size; i++) {
		struct ckv_handle handle;
		struct ckv_pin pin;
		uint8_t key[32];
		uint64_t t;
		long n;

		/* An engine has just made its key: it is in the cache. */
		memcpy(key, keys + random_next(&state) % N_ENTRIES * 32,
		       sizeof key);
		t = now_ns();
		n = ckv_lookup(lane, key, 1, 0, &handle, &pin);
		ckv_unpin(lane, &pin);
		if (n == 1)
			sample_add(s, (double)(now_ns() - t));
		else if (n < 0 || all_there)
			abort();
	}
}

static void measure_lookup(struct bench *b, double miss_ns)
{
	struct bench_sample s;
	double p50;

	sample_init(&s, b->quick ? 100000 : 400000);
	sample_lookups(chain_keys(0), true, &s);
	p50 = sample_percentile(&s, 50);
	bench_add(b, "lookup_pin_unpin_ns_p50", p50);
	bench_add(b, "lookup_less_miss_ns", p50 - miss_ns);
	bench_add(b, "lookup_pin_unpin_ns_p99", sample_percentile(&s, 99));
	sample_free(&s);
}

static void measure_churned(struct bench *b, double miss_ns)
{
	const uint8_t *keys = churn();
	struct bench_sample s;
	double p50;

	sample_init(&s, b->quick ? 100000 : 400000);
	if (keys != NULL)
		sample_lookups(keys, false, &s);
	if (s.n < s.size / 2) {
		bench_why(b, "lookup_churned_ns_p50", "churning failed");
		bench_why(b, "lookup_churned_less_miss_ns", "churning failed");
	} else {
		p50 = sample_percentile(&s, 50);
		bench_add(b, "lookup_churned_ns_p50", p50);
		bench_add(b, "lookup_churned_less_miss_ns", p50 - miss_ns);
	}
	sample_free(&s);
}

/* The requests of one scheduler step, one block each. */
static void measure_many(struct bench *b)
{
	static uint8_t keys[MANY][32];
	static struct ckv_handle handles[MANY];
	struct ckv_chain chains[MANY];
	struct bench_sample s;
	uint64_t state = 2463534242u;

	sample_init(&s, b->quick ? 20000 : 80000);
	for (size_t i = 0; i < s.size; i++) {
		uint64_t t;
		long n;

		for (int k = 0; k < MANY; k++) {
			memcpy(keys[k], chain_keys(0) +
			       random_next(&state) % N_ENTRIES * 32, 32);
			chains[k] = (struct ckv_chain){
				.keys = keys[k], .n_keys = 1,
				.ret_handles = &handles[k] };
		}
		t = now_ns();
		n = ckv_lookup_many(lane, chains, MANY, 0);
		for (int k = 0; k < MANY; k++)
			ckv_unpin(lane, &chains[k].pin);
		sample_add(&s, (double)(now_ns() - t) / MANY);
		if (n != MANY || chains[MANY - 1].result != 1)
			abort();
	}
	bench_add(b, "lookup_many8_ns", sample_percentile(&s, 50));
	sample_free(&s);
}

/* A prompt's blocks with all handles, from anywhere in a chain. */
static void measure_chain(struct bench *b)
{
	static uint8_t keys[PROMPT * 32];
	static struct ckv_handle handles[PROMPT];
	struct bench_sample s;
	uint64_t state = 123456789u;

	sample_init(&s, b->quick ? 500 : 2000);
	for (size_t i = 0; i < s.size; i++) {
		const uint8_t *chain = chain_keys((uint32_t)random_next(&state));
		struct ckv_pin pin;
		uint64_t t;
		long n;

		memcpy(keys, chain + random_next(&state) %
		       (CHAIN_BLOCKS - PROMPT) * 32, sizeof keys);
		t = now_ns();
		n = ckv_lookup(lane, keys, PROMPT, 0, handles, &pin);
		ckv_unpin(lane, &pin);
		sample_add(&s, (double)(now_ns() - t) / PROMPT);
		if (n != PROMPT)
			abort();
	}
	bench_add(b, "lookup_chain512_ns_per_block", sample_percentile(&s, 50));
	sample_free(&s);
}

static void measure_boundaries(struct bench *b)
{
	static uint8_t asked[CHAIN_BLOCKS * 32];
	struct bench_sample s;
	uint64_t state = 362436069;

	sample_init(&s, b->quick ? 1000 : 4000);
	for (size_t i = 0; i < s.size; i++) {
		size_t length = random_next(&state) % (CHAIN_BLOCKS + 1);
		struct ckv_pin pin;
		uint64_t t;
		long n;

		memcpy(asked, chain_keys((uint32_t)random_next(&state)), sizeof asked);
		random_fill(&state, asked + length * 32, sizeof asked - length * 32);
		t = now_ns();
		n = ckv_lookup(lane, asked, CHAIN_BLOCKS, CKV_EXISTS, NULL, &pin);
		sample_add(&s, (double)(now_ns() - t));
		if (n != (long)length)
			abort();
	}
	bench_add(b, "boundaries_8192_ns_p50", sample_percentile(&s, 50));
	bench_add(b, "boundaries_8192_ns_p99", sample_percentile(&s, 99));
	sample_free(&s);
}

/*
 * Every mapping of the daemon: the index and the records count with their whole
 * size, the pool not at all, everything else with its Pss.
 */
static void measure_memory(struct bench *b)
{
	char path[64], line[512];
	unsigned long long from, to, pss_kib, bytes = 0;
	bool pool = false, whole = false;
	FILE *f;

	snprintf(path, sizeof path, "/proc/%d/smaps", (int)index_daemon.pid);
	f = fopen(path, "r");
	if (f == NULL) {
		bench_why(b, "daemon_bytes_per_block", "cannot read %s", path);
		return;
	}
	while (fgets(line, sizeof line, f) != NULL) {
		if (sscanf(line, "%llx-%llx ", &from, &to) == 2) {
			pool = strstr(line, "ckv-slab") != NULL;
			whole = strstr(line, "ckv-index") != NULL ||
				strstr(line, "ckv-record") != NULL;
			if (whole)
				bytes += to - from;
		} else if (sscanf(line, "Pss: %llu", &pss_kib) == 1 &&
			   !pool && !whole) {
			bytes += pss_kib * 1024;
		}
	}
	fclose(f);
	bench_add(b, "daemon_bytes_per_block", (double)bytes / N_ENTRIES);
}

static void start_anew(struct bench *b, const char **ret_why)
{
	if (connection != NULL)
		connection = ckv_close(connection);
	lane = NULL;
	space = NULL;
	daemon_stop(&index_daemon);
	fill(b, ret_why);
}

void bench_index(struct bench *b)
{
	static const char *const rows[] = {
		"lookup_pin_unpin_ns_p50", "lookup_less_miss_ns",
		"lookup_churned_ns_p50", "lookup_churned_less_miss_ns",
		"lookup_many8_ns", "lookup_chain512_ns_per_block",
		"boundaries_8192_ns_p50", "daemon_bytes_per_block",
	};
	const char *why = NULL;
	double miss_ns = bench_dependent_miss(ckv_index_bytes(N_ENTRIES * 10 / 224));

	bench_add(b, "dependent_miss_ns", miss_ns);
	start_anew(b, &why);
	for (size_t i = 0; why != NULL && i < sizeof rows / sizeof rows[0]; i++)
		bench_why(b, rows[i], "%s", why);
	if (why != NULL)
		return;
	measure_lookup(b, miss_ns);
	measure_many(b);
	measure_chain(b);
	measure_boundaries(b);
	measure_memory(b);
	measure_churned(b, miss_ns);
}

void bench_keys(struct bench *b)
{
	static uint32_t tokens[16 * PROMPT];
	static uint8_t keys[PROMPT * 32];
	struct bench_sample s;
	uint64_t state = 521288629;

	if (lane == NULL) {
		bench_why(b, "key_ns_per_block", "no space is attached");
		return;
	}
	random_fill(&state, tokens, sizeof tokens);
	sample_init(&s, 500);
	for (size_t i = 0; i < s.size; i++) {
		uint64_t t = now_ns();
		long n = ckv_keys(space, NULL, tokens, 16 * PROMPT, NULL, 0, keys);

		sample_add(&s, (double)(now_ns() - t) / PROMPT);
		if (n != PROMPT)
			abort();
	}
	bench_add(b, "key_ns_per_block", sample_percentile(&s, 50));
	sample_free(&s);
}

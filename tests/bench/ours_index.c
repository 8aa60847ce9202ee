/*
 * ours_index.c - lookups in an index of 1 M entries, keys of blocks, and what
 * the daemon's memory costs per block.
 *
 * 128 chains of 8 192 blocks. Single lookups take random present keys;
 * boundaries take a random chain and a random true length, the rest of the
 * keys being unknown to the daemon.
 */
#include "tests/bench/daemon.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

static void measure_lookup(struct bench *b)
{
	struct bench_sample s;
	uint64_t state = 88172645463325252u;

	sample_init(&s, b->quick ? 100000 : 400000);
	for (size_t i = 0; i < s.size; i++) {
		struct ckv_handle handle;
		struct ckv_pin pin;
		uint8_t key[32];
		uint64_t t;
		long n;

		/* An engine has just made its key: it is in the cache. */
		memcpy(key, chain_keys(0) + random_next(&state) % N_ENTRIES * 32,
		       sizeof key);
		t = now_ns();
		n = ckv_lookup(lane, key, 1, 0, &handle, &pin);
		ckv_unpin(lane, &pin);
		sample_add(&s, (double)(now_ns() - t));
		if (n != 1)
			abort();
	}
	bench_add(b, "lookup_pin_unpin_ns_p50", sample_percentile(&s, 50));
	bench_add(b, "lookup_pin_unpin_ns_p99", sample_percentile(&s, 99));
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

void bench_index(struct bench *b)
{
	static bool tried;
	static const char *why;

	if (!tried)
		fill(b, &why);
	tried = true;
	if (why != NULL) {
		bench_why(b, "lookup_pin_unpin_ns_p50", "%s", why);
		bench_why(b, "boundaries_8192_ns_p50", "%s", why);
		bench_why(b, "daemon_bytes_per_block", "%s", why);
		return;
	}
	measure_lookup(b);
	measure_boundaries(b);
	measure_memory(b);
}

void bench_keys(struct bench *b)
{
	uint32_t tokens[16 * 64];
	uint8_t keys[64 * 32];
	struct bench_sample s;
	uint64_t state = 521288629;

	if (lane == NULL) {
		bench_why(b, "sha256_block_key_ns_p50", "no space is attached");
		return;
	}
	random_fill(&state, tokens, sizeof tokens);
	sample_init(&s, 2000);
	for (size_t i = 0; i < s.size; i++) {
		uint64_t t = now_ns();
		long n = ckv_keys(space, NULL, tokens, 16 * 64, NULL, 0, keys);

		sample_add(&s, (double)(now_ns() - t) / 64);
		if (n != 64)
			abort();
	}
	bench_add(b, "sha256_block_key_ns_p50", sample_percentile(&s, 50));
	sample_free(&s);
}

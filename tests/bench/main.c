/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main.c - ckv-bench: every row of the table, measured and shown beside its
 * budget and beside what a user would run instead.
 *
 * Each group of rows runs once per repetition, in turn, so that a slow moment of
 * the machine falls on all of them alike. Client and daemon are real processes.
 */
#include "tests/bench/bench.h"
#include "tests/bench/report.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct bench_row table[] = {
#define ROW(k, w, u, s, b) { .key = k, .what = w, .unit = u, .sense = s, .budget = b }
ROW("memcpy_gbps", "memcpy of 2 MiB into a touched pool", "GB/s", BENCH_INFO, 0),
ROW("dependent_miss_ns", "one load after the other, in memory like the index", "ns", BENCH_INFO, 0),
ROW("lookup_pin_unpin_ns_p50", "lookup + pin + unpin, 1 M entries, p50", "ns", BENCH_INFO, 0),
ROW("lookup_less_miss_ns", "  more than a dependent miss", "ns", BENCH_AT_MOST, 85),
ROW("lookup_pin_unpin_ns_p99", "  p99", "ns", BENCH_INFO, 0),
ROW("lookup_churned_ns_p50", "  when all blocks have been replaced twice, p50", "ns", BENCH_INFO, 0),
ROW("lookup_churned_less_miss_ns", "  more than a dependent miss", "ns", BENCH_AT_MOST, 130),
ROW("lookup_many8_ns", "8 chains of one block at once, each", "ns", BENCH_AT_MOST, 100),
ROW("lookup_chain512_ns_per_block", "a chain of 512 blocks with its handles, per block", "ns", BENCH_AT_MOST, 85),
ROW("key_ns_per_block", "  the keys of such a prompt, 16 tokens a block", "ns", BENCH_AT_MOST, 100),
ROW("index_refusals_per_million", "keys that find no place, index 80 % full, churned", "1/M", BENCH_AT_MOST, 0.1),
ROW("boundaries_8192_ns_p50", "boundaries of 8 192 blocks, 1 M entries, p50", "ns", BENCH_AT_MOST, 2200),
ROW("boundaries_8192_ns_p99", "  p99", "ns", BENCH_INFO, 0),
ROW("roundtrip_ns_p50", "request round trip, both awake, p50", "ns", BENCH_AT_MOST, 250),
ROW("roundtrip_ns_p99", "  p99", "ns", BENCH_INFO, 0),
ROW("unix_socket_roundtrip_ns_p50", "  the same over a UNIX socket", "ns", BENCH_INFO, 0),
ROW("reserve_publish_blocks_per_s", "reserve + publish, batches of 64, evicting", "blocks/s", BENCH_AT_LEAST, 1e6),
ROW("host_put_memcpy_ratio", "put 2 MiB with checksum / memcpy, batches of 8", "x", BENCH_AT_LEAST, 0.80),
ROW("host_put_nosum_memcpy_ratio", "  without checksum", "x", BENCH_AT_LEAST, 0.95),
ROW("host_get_first_byte_ns_p50", "get 2 MiB: first byte, no copy, p50", "ns", BENCH_AT_MOST, 1000),
ROW("host_get_first_byte_ns_p99", "  p99", "ns", BENCH_INFO, 0),
ROW("host_get_sum_ns_p50", "get 2 MiB and sum all bytes, p50", "ns", BENCH_INFO, 0),
ROW("host_put_ns_p50", "put 2 MiB: reserve, copy, sum, publish, p50", "ns", BENCH_INFO, 0),
ROW("client_kill_reclaim_ms_p50", "client killed, its block evicted for another, p50", "ms", BENCH_INFO, 0),
ROW("client_kill_reclaim_ms_p99", "  p99 (100 000 pins, 1 GiB touched)", "ms", BENCH_AT_MOST, 10),
ROW("client_kill_pidfd_ms_p50", "  of which the kernel, until the pidfd is ready", "ms", BENCH_INFO, 0),
ROW("idle_wakeups_per_s", "wake-ups of an idle daemon, 8 clients", "1/s", BENCH_AT_MOST, 1.05),
ROW("daemon_bytes_per_block", "daemon memory besides pools, 1 M blocks", "B/block", BENCH_AT_MOST, 256),
ROW("reader_kill_restart_miss_ms", "daemon killed: until a reader's clean miss", "ms", BENCH_INFO, 0),
ROW("restart_first_hit_ms", "daemon killed: first correct hit, 1 M blocks, 8 GiB", "ms", BENCH_AT_MOST, 1000),
ROW("restart_miss_ms", "  until a lookup misses", "ms", BENCH_INFO, 0),
ROW("restart_process_ms", "  until its keeper has made the next process", "ms", BENCH_INFO, 0),
ROW("restart_judge_map_ms", "    that judges and maps what was there, as it says", "ms", BENCH_INFO, 0),
ROW("restart_build_ms", "    and builds the index from its records", "ms", BENCH_INFO, 0),
ROW("restart_serve_ms", "  until that answers at its socket", "ms", BENCH_INFO, 0),
ROW("reattach_us_p50", "  a client that was idle: to its first hit, p50", "us", BENCH_AT_MOST, 5000),
ROW("reattach_us_max", "  the slowest", "us", BENCH_INFO, 0),
ROW("neighbour_nop_us_p99", "beside three hostile clients: NOP round trip, p99", "us", BENCH_AT_MOST, 1000),
ROW("neighbour_nop_alone_us_p99", "  without them", "us", BENCH_INFO, 0),
ROW("neighbour_nop_other_us_p99", "  they are in another space", "us", BENCH_INFO, 0),
ROW("neighbour_nop_same_us_p99", "  they are in the same space", "us", BENCH_INFO, 0),
ROW("neighbour_publish_ratio", "  reserve + publish, batches of 64, beside / without", "x", BENCH_AT_LEAST, 0.5),
ROW("neighbour_publish_other_ratio", "  they are in another space", "x", BENCH_INFO, 0),
ROW("neighbour_publish_same_ratio", "  they are in the same space", "x", BENCH_INFO, 0),
ROW("join_second_prompt_ratio", "two engines, one new prompt: CPU, twice / waited for", "x", BENCH_AT_LEAST, 1.5),
ROW("redis_exists_ns_p50", "Redis: exists", "ns", BENCH_INFO, 0),
ROW("redis_get_2mib_ns_p50", "Redis: get 2 MiB and sum all bytes", "ns", BENCH_INFO, 0),
ROW("redis_set_2mib_ns_p50", "Redis: set 2 MiB", "ns", BENCH_INFO, 0),
ROW("lmdb_lookup_ns_p50", "LMDB: existence, 1 M keys", "ns", BENCH_INFO, 0),
ROW("lmdb_prefix_ns_p50", "LMDB: longest prefix by bisection", "ns", BENCH_INFO, 0),
ROW("redis_exists_ratio", "Redis exists / ckv lookup + pin + unpin", "x", BENCH_INFO, 0),
ROW("redis_get_2mib_ratio", "Redis get / ckv get, all bytes summed", "x", BENCH_INFO, 0),
ROW("redis_set_2mib_ratio", "Redis set / ckv put with checksum", "x", BENCH_INFO, 0),
ROW("lmdb_lookup_ratio", "LMDB existence / ckv lookup + pin + unpin", "x", BENCH_AT_LEAST, 4),
ROW("lmdb_prefix_ratio", "LMDB bisection / ckv boundaries", "x", BENCH_AT_LEAST, 1),
ROW("core_read_gbps", "one core reading memory, pieces of 8 MiB", "GB/s", BENCH_INFO, 0),
ROW("norms_gbps", "  norms of bf16 keys in pages, bytes of K / time", "GB/s", BENCH_INFO, 0),
ROW("norms_read_ratio", "  norms / reading as much", "x", BENCH_AT_LEAST, 0.67),
ROW("core_copy_gbps", "one core copying 2 MiB at a time, read + written", "GB/s", BENCH_INFO, 0),
ROW("gather_memcpy_ratio", "  gather of 1/4 of rows of 256 B / copying as much", "x", BENCH_AT_LEAST, 0.67),
ROW("gather_chunks_memcpy_ratio", "  gather of 1/4 in whole pages / copying as much", "x", BENCH_AT_LEAST, 0.67),
ROW("fp8_memcpy_ratio", "  bf16 to fp8, read + written / memcpy's", "x", BENCH_INFO, 0),
ROW("fp8_decode_memcpy_ratio", "  fp8 to bf16, read + written / memcpy's", "x", BENCH_INFO, 0),
ROW("int4_memcpy_ratio", "  bf16 to int4, K and V, groups of 64 / memcpy's", "x", BENCH_INFO, 0),
ROW("int4_decode_memcpy_ratio", "  int4 to bf16, K and V / memcpy's", "x", BENCH_INFO, 0),
ROW("checksum_memcpy_ratio", "  page checksum, bytes read / memcpy's", "x", BENCH_INFO, 0),
ROW("chunkkv_ms", "ChunkKV, one layer of 8 192 tokens, one thread", "ms", BENCH_INFO, 0),
ROW("chunkkv_read_gbps", "  bytes of K / time", "GB/s", BENCH_INFO, 0),
ROW("chunkkv_kvpress_ratio", "  kvpress (the faster of bf16, fp32) / ckv, with gather", "x", BENCH_AT_LEAST, 5),
ROW("chunkkv_kvpress_fp32_ratio", "  kvpress in fp32 / ckv, with gather", "x", BENCH_INFO, 0),
#undef ROW
};

struct group {
	const char *name;
	void (*run)(struct bench *b);
	bool once;		/* does its own repetitions, or none are needed */
};

static const struct group groups[] = {
	{ "memcpy", bench_memcpy, false },
	{ "socket", bench_socket, false },
	{ "index", bench_index, false },
	{ "keys", bench_keys, false },
	{ "places", bench_places, false },
	{ "lmdb", bench_lmdb, false },
	{ "ring", bench_ring, false },
	{ "write", bench_write, false },
	{ "pool", bench_pool, false },
	{ "redis", bench_redis, false },
	{ "norms", bench_norms, false },
	{ "gather", bench_gather, false },
	{ "encode", bench_encode, false },
	{ "chunkkv", bench_chunkkv, false },
	{ "death", bench_death, false },
	{ "restart", bench_restart, true },
	{ "neighbour", bench_neighbour, false },
	{ "join", bench_join, false },
	{ "idle", bench_idle, true },
	{ "replay", bench_replay, true },
};

static void add_ratio(struct bench *b, const char *key, const char *theirs,
		      const char *ours)
{
	struct bench_row *row = NULL;
	double ratio[BENCH_REPEATS_MAX];
	int n = 0;

	for (int i = 0; i < b->n_rows; i++)
		if (strcmp(b->row[i].key, theirs) == 0)
			row = &b->row[i];
	for (int k = 0; k < b->n_rows; k++)
		for (int i = 0; strcmp(b->row[k].key, ours) == 0 &&
		     i < row->n_values && i < b->row[k].n_values; i++)
			ratio[n++] = row->value[i] / b->row[k].value[i];
	for (int i = 0; i < n; i++)
		bench_add(b, key, ratio[i]);
	if (n == 0)
		bench_why(b, key, "%s or %s was not measured", theirs, ours);
}

static void add_ratios(struct bench *b)
{
	add_ratio(b, "redis_exists_ratio", "redis_exists_ns_p50",
		  "lookup_pin_unpin_ns_p50");
	add_ratio(b, "redis_get_2mib_ratio", "redis_get_2mib_ns_p50",
		  "host_get_sum_ns_p50");
	add_ratio(b, "redis_set_2mib_ratio", "redis_set_2mib_ns_p50",
		  "host_put_ns_p50");
	add_ratio(b, "lmdb_lookup_ratio", "lmdb_lookup_ns_p50",
		  "lookup_pin_unpin_ns_p50");
	add_ratio(b, "lmdb_prefix_ratio", "lmdb_prefix_ns_p50",
		  "boundaries_8192_ns_p50");
}

static void progress(const struct bench *b, int repeat, const char *name)
{
	if (isatty(STDERR_FILENO))
		fprintf(stderr, "\r\033[K  measuring %d/%d: %s", repeat + 1,
			b->repeats, name);
}

static void run_groups(struct bench *b, const char *only)
{
	for (int repeat = 0; repeat < b->repeats; repeat++)
		for (size_t i = 0; i < sizeof groups / sizeof groups[0]; i++) {
			if (groups[i].once && repeat > 0)
				continue;
			if (only != NULL && strcmp(only, groups[i].name) != 0)
				continue;
			progress(b, repeat, groups[i].name);
			groups[i].run(b);
		}
	if (isatty(STDERR_FILENO))
		fprintf(stderr, "\r\033[K");
}

static void usage(void)
{
	puts("ckv-bench - measure ckv against its budgets and its peers\n"
	     "\n"
	     "  --quick         fewer and shorter repetitions, under a minute\n"
	     "  --json FILE     also write one flat JSON object\n"
	     "  --only GROUP    one group of rows: memcpy socket index keys places lmdb\n"
	     "                  ring write pool redis norms gather encode chunkkv death\n"
	     "                  restart neighbour join idle replay\n"
	     "  --bin DIR       where ckvd is (build)\n"
	     "  --trace FILE    for the replay (tests/data/traces/...)\n");
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "quick", no_argument, NULL, 'q' },
		{ "json", required_argument, NULL, 'j' },
		{ "only", required_argument, NULL, 'o' },
		{ "bin", required_argument, NULL, 'b' },
		{ "trace", required_argument, NULL, 't' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	static struct bench b = {
		.repeats = BENCH_REPEATS_MAX, .bin_dir = "build",
		.trace = "tests/data/traces/conversation_trace.jsonl",
	};
	const char *json = NULL, *only = NULL;
	int c, r = 0;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1)
		switch (c) {
		case 'q': b.quick = true; b.repeats = 2; break;
		case 'j': json = optarg; break;
		case 'o': only = optarg; break;
		case 'b': b.bin_dir = optarg; break;
		case 't': b.trace = optarg; break;
		case 'h': usage(); return 0;
		default: usage(); return 2;
		}
	memcpy(b.row, table, sizeof table);
	b.n_rows = (int)(sizeof table / sizeof table[0]);
	folder_make(b.work_dir);
	run_groups(&b, only);
	if (only == NULL)
		add_ratios(&b);
	report_table(&b);
	if (json != NULL)
		r = report_json(&b, json);
	folder_remove(b.work_dir);
	free(b.replay_json);
	return r < 0 || b.failed ? 1 : 0;
}

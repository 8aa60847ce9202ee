/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ours_restart.c - what it costs that the daemon is killed, under its keeper.
 *
 * 8 GiB of pages of 8 KiB are full of blocks, each with its key in its first bytes. One
 * client looks up all the time; its first hit is one where all keys asked for are found and
 * their pages hold them. Others are attached and do nothing until the next daemon serves;
 * then each has its own time until its first hit. After that all blocks are looked for: one
 * that is lost, or has other bytes, fails the row.
 */
#include "tests/bench/daemon.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { RESTARTS = BENCH_REPEATS_MAX, N_IDLE = 4, BATCH = 64, GIVE_UP_S = 60,
       PAUSED_MS = 2200 };	/* who lived as long as that is started again at once */

struct reader {
	struct ckv *ckv;
	struct ckv_space *space;
	struct ckv_lane *lane;
};

struct restart {
	double missed_ms, started_ms, served_ms, hit_ms;
};

static const char *const first_hit = "restart_first_hit_ms";

/* Blocks that hold their own keys; false after the first that cannot be stored. */
static bool publish_keys(struct ckv_lane *lane, const uint8_t *keys, size_t n_keys)
{
	static const uint64_t sums[BATCH];
	struct ckv_page pages[BATCH];

	for (size_t i = 0; i < n_keys; i += BATCH, keys += BATCH * 32) {
		if (ckv_reserve(lane, i > 0 ? keys - 32 : NULL, keys, BATCH, pages) != BATCH)
			return false;
		for (size_t k = 0; k < BATCH; k++)
			memcpy(pages[k].data, keys + k * 32, 32);
		if (ckv_publish(lane, pages, BATCH, 16, CKV_SUMMED, sums, NULL, NULL) != BATCH)
			return false;
	}
	return true;
}

/* How many of the first keys of a chain are found and have the right bytes; -1: wrong ones. */
static long look(const struct reader *r, uint32_t chain, size_t n_keys)
{
	static struct ckv_handle block[CHAIN_BLOCKS];
	const uint8_t *keys = chain_keys(chain);
	struct ckv_pin pin;
	long n = ckv_lookup(r->lane, keys, n_keys, 0, block, &pin);
	bool wrong = false;

	if (n < 0)
		return 0;
	for (long i = 0; i < n && !wrong; i++)
		wrong = memcmp(block[i].data, keys + i * 32, 32) != 0;
	/* A daemon that died since then can have nothing in its place. */
	wrong = wrong && ckv_pin_valid(r->lane, &pin) == 0;
	ckv_unpin(r->lane, &pin);
	return wrong ? -1 : n;
}

static bool all_are_there(const struct reader *r, uint32_t n_chains)
{
	for (uint32_t i = 0; i < n_chains; i++)
		if (look(r, i, CHAIN_BLOCKS) != CHAIN_BLOCKS)
			return false;
	return true;
}

/* The child of the keeper, 0 while there is none. */
static pid_t child_of(pid_t keeper)
{
	char path[64];
	int pid = 0;
	FILE *f;

	snprintf(path, sizeof path, "/proc/%d/task/%d/children", keeper, keeper);
	f = fopen(path, "r");
	if (f == NULL || fscanf(f, "%d", &pid) != 1)
		pid = 0;
	if (f != NULL)
		fclose(f);
	return pid;
}

/* Kill it and look up until that hits again. NULL, or what went wrong. */
static const char *kill_and_look(const struct bench_daemon *d, const struct reader *r,
				 uint32_t chain, struct restart *ret)
{
	pid_t before = daemon_pid(d), now;
	uint64_t from = now_ns();
	long n = 1;

	*ret = (struct restart){ 0 };
	kill(before, SIGKILL);
	while (ret->hit_ms == 0) {
		double ms = (double)(now_ns() - from) / 1e6;

		now = child_of(d->pid);
		if (ret->started_ms == 0 && now != 0 && now != before)
			ret->started_ms = ms;
		now = ret->started_ms == 0 || ret->served_ms > 0 ? 0 : daemon_pid(d);
		if (now != 0 && now != before)
			ret->served_ms = ms;
		n = look(r, chain, BATCH);
		ms = (double)(now_ns() - from) / 1e6;
		if (n < 0)
			return "a page had other bytes";
		if (n == 0 && ret->missed_ms == 0)
			ret->missed_ms = ms;
		if (n == BATCH && ret->missed_ms > 0)
			ret->hit_ms = ms;
		if (ms > GIVE_UP_S * 1000)
			return "no hit within a minute";
		usleep(100);
	}
	return NULL;
}

/* Microseconds until one that did nothing meanwhile hits; 0: it does not. */
static double reattach(const struct reader *r, uint32_t chain)
{
	uint64_t from = now_ns();

	while (look(r, chain, BATCH) != BATCH)
		if (now_ns() - from > GIVE_UP_S * 1000000000ull)
			return 0;
	return (double)(now_ns() - from) / 1e3;
}

/* What the daemon that was started last said of its start. */
static void add_its_parts(struct bench *b, const struct bench_daemon *d)
{
	int judged = 0, mapped = 0, built = 0;
	char line[512];
	FILE *log = fopen(d->log, "r");

	while (log != NULL && fgets(line, sizeof line, log) != NULL) {
		const char *at = strstr(line, "judged in ");

		if (at != NULL)
			sscanf(at, "judged in %d ms, mapped in %d, built in %d", &judged, &mapped,
			       &built);
	}
	if (log != NULL)
		fclose(log);
	bench_add(b, "restart_judge_map_ms", judged + mapped);
	bench_add(b, "restart_build_ms", built);
}

static bool attach_all(const struct bench_daemon *d, struct reader *r)
{
	for (int i = 0; i <= N_IDLE; i++)
		if (daemon_attach(d, 1024, &r[i].ckv, &r[i].space, &r[i].lane) < 0)
			return false;
	return true;
}

static const char *measure(struct bench *b, const struct bench_daemon *d, struct reader *r,
			   uint32_t n_chains)
{
	struct bench_sample again;
	struct restart restart;
	const char *why = NULL;

	sample_init(&again, RESTARTS * N_IDLE);
	for (int i = 0; why == NULL && i < (b->quick ? 3 : RESTARTS); i++) {
		usleep(PAUSED_MS * 1000);
		why = kill_and_look(d, &r[0], (uint32_t)i, &restart);
		for (int k = 1; why == NULL && k <= N_IDLE; k++)
			sample_add(&again, reattach(&r[k], (uint32_t)k));
		if (why == NULL && !all_are_there(&r[0], n_chains))
			why = "blocks were lost, or have other bytes";
		if (why != NULL)
			break;
		bench_add(b, first_hit, restart.hit_ms);
		bench_add(b, "restart_miss_ms", restart.missed_ms);
		bench_add(b, "restart_process_ms", restart.started_ms);
		bench_add(b, "restart_serve_ms", restart.served_ms);
		add_its_parts(b, d);
	}
	if (why == NULL) {
		bench_add(b, "reattach_us_p50", sample_percentile(&again, 50));
		bench_add(b, "reattach_us_max", sample_percentile(&again, 100));
	}
	sample_free(&again);
	return why;
}

void bench_restart(struct bench *b)
{
	uint32_t n_chains = b->quick ? N_CHAINS / 8 : N_CHAINS;
	struct bench_daemon d = { .kept = true };
	struct reader r[N_IDLE + 1] = { 0 };
	const char *why = NULL;
	char space[400];

	/* Two heads of the small pages: 8 KiB. */
	daemon_space(space, sizeof space, "bench", true,
		     (uint64_t)n_chains * CHAIN_BLOCKS * 8192);
	memcpy(strstr(space, "kv_heads = 1"), "kv_heads = 2", 12);
	if (daemon_start_with(b, &d, space, &why) && !attach_all(&d, r))
		why = "cannot attach";
	for (uint32_t i = 0; why == NULL && i < n_chains; i++)
		if (!publish_keys(r[0].lane, chain_keys(i), CHAIN_BLOCKS))
			why = "cannot fill the pool";
	if (why == NULL)
		why = measure(b, &d, r, n_chains);
	if (why != NULL)
		bench_fail(b, first_hit, "%s", why);
	if (b->quick && why == NULL) {
		bench_why(b, first_hit, "1 GiB and 131 072 blocks");
		bench_why(b, "reattach_us_p50", "1 GiB");
	}
	for (int i = 0; i <= N_IDLE; i++)
		ckv_close(r[i].ckv);
	daemon_stop(&d);
}

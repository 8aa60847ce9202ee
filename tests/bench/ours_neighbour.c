/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ours_neighbour.c - what an honest client still gets while three hostile ones take
 * everything that the daemon allows them.
 *
 * Measured in one run: NOP round trips, then reserve + publish in batches of 64 with
 * eviction, alone; the same with three attackers in another space, whose pool is
 * small, so that every RESERVE of theirs ends in a fruitless search; and with three
 * in the neighbour's own space. Each row is the worse of the two.
 *
 * An attacker that did not run, or did not get what it may have, spoils the row: it
 * has no value then, and the benchmark fails. Limits that count per user are used up
 * by three users, which takes root. The daemon has a processor to itself and the
 * neighbour another. Where there are no more, the attackers share the neighbour's, at
 * a lower priority: then these rows have the kernel's time slices in them, too.
 */
#include "tests/bench/attacker.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
	ATTACKERS = 3, ATTACKER_UID = 64001,
	POOL_MIB = 128, HOSTILE_POOL_MIB = 8,
	BATCH_BLOCKS = 64,
	NOP_PAUSE_US = 100,
	STALL_S = 20,		/* nothing is waited for longer */
};

struct neighbour {
	struct bench *b;
	struct bench_daemon daemon;
	struct ckv *ckv;
	struct ckv_space *space;
	struct ckv_lane *lane;
	struct attacker *attackers;
	uint64_t random;
};

struct figures {
	double nop_us_p50, nop_us_p99, blocks_per_s;
	char text[160];		/* what the attackers had */
};

/* ---- the neighbour ---- */

/* Wait for what was just submitted. Its result, or -ETIMEDOUT. */
static long answer(struct neighbour *n)
{
	struct ckv_event event;
	uint64_t until = now_ns() + (uint64_t)STALL_S * 1000000000u;
	int r;

	do
		r = ckv_poll(n->lane, &event, 1);
	while (r == 0 && now_ns() < until);
	return r == 1 ? event.result : r == 0 ? -ETIMEDOUT : r;
}

/* Round trips with pauses in between, for at most seconds_s or until one stalls. */
static bool measure_nop(struct neighbour *n, double seconds_s,
			struct figures *ret)
{
	uint64_t until = now_ns() + (uint64_t)(seconds_s * 1e9);
	struct bench_sample s;
	long r = 0;

	sample_init(&s, 20000);
	while (r == 0 && now_ns() < until && s.n < s.size) {
		uint64_t t = now_ns();

		if (ckv_submit_nop(n->lane, 1) < 0)
			break;
		r = answer(n);
		sample_add(&s, (double)(now_ns() - t));
		usleep(NOP_PAUSE_US);
	}
	ret->nop_us_p50 = sample_percentile(&s, 50) / 1e3;
	ret->nop_us_p99 = sample_percentile(&s, 99) / 1e3;
	sample_free(&s);
	return r == 0;
}

/* One chain of new keys. Blocks published, or -errno. */
static long publish_batch(struct neighbour *n)
{
	static const uint64_t sums[BATCH_BLOCKS];
	uint8_t keys[BATCH_BLOCKS * 32];
	struct ckv_page pages[BATCH_BLOCKS];
	size_t lent = 0;
	long r;

	random_fill(&n->random, keys, sizeof keys);
	r = ckv_submit_reserve(n->lane, NULL, keys, BATCH_BLOCKS, pages, 1);
	if (r == 0)
		r = answer(n);
	if (r <= 0)
		return r;
	while (lent < BATCH_BLOCKS && pages[lent].status == 0)
		lent++;
	if (lent == 0)
		return 0;
	r = ckv_submit_publish(n->lane, pages, lent, 16, sums, NULL, 1);
	return r == 0 ? answer(n) : r;
}

static bool measure_publish(struct neighbour *n, double seconds_s,
			    struct figures *ret)
{
	uint64_t from = now_ns(), now;
	uint64_t until = from + (uint64_t)(seconds_s * 1e9), n_blocks = 0;
	long r;

	do {
		r = publish_batch(n);
		n_blocks += r > 0 ? (uint64_t)r : 0;
		now = now_ns();
	} while (r >= 0 && now < until);
	ret->blocks_per_s = (double)n_blocks * 1e9 / (double)(now - from);
	return r >= 0;
}

static bool measure(struct neighbour *n, struct figures *ret)
{
	double seconds_s = n->b->quick ? 0.5 : 1.5;

	return measure_nop(n, seconds_s, ret) && measure_publish(n, seconds_s, ret);
}

/* ---- with and without attackers ---- */

static const char *come(struct neighbour *n)
{
	char spaces[700], *end = spaces;
	const char *why = NULL;

	daemon_space(end, 300, "bench", true, (uint64_t)POOL_MIB << 20);
	end += strlen(end);
	daemon_space(end, 300, "hostile", true, (uint64_t)HOSTILE_POOL_MIB << 20);
	if (chmod(n->b->work_dir, 0711) < 0 ||
	    !daemon_start_with(n->b, &n->daemon, spaces, &why))
		return why != NULL ? why : "cannot open the work directory";
	if (daemon_attach(&n->daemon, 1024, &n->ckv, &n->space, &n->lane) < 0)
		return "cannot attach";
	n->attackers = mmap(NULL, ATTACKERS * sizeof *n->attackers,
			    PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
			    -1, 0);
	if (n->attackers == MAP_FAILED)
		return "no memory";
	for (int i = 0; i < ATTACKERS; i++)
		n->attackers[i].uid = geteuid() == 0 ? ATTACKER_UID + (uid_t)i : 0;
	for (uint32_t i = 0; i < (POOL_MIB << 8) / BATCH_BLOCKS + 64; i++)
		if (publish_batch(n) != BATCH_BLOCKS)
			return "cannot fill the pool";
	bench_bind(n->daemon.pid, 0);
	bench_bind(0, 1);
	return NULL;
}

/* What a process has used of the processors. */
static uint64_t cpu_ns(pid_t pid)
{
	struct timespec used;
	clockid_t clock;

	if (clock_getcpuclockid(pid, &clock) != 0 ||
	    clock_gettime(clock, &used) < 0)
		return 0;
	return (uint64_t)used.tv_sec * 1000000000u + (uint64_t)used.tv_nsec;
}

static void tell_attackers(const struct neighbour *n, const uint64_t *from,
			   uint64_t wall_ns, struct figures *ret)
{
	uint64_t n_lanes = 0, n_pins = 0, n_answers = 0, used_ns = 0;

	for (int i = 0; i < ATTACKERS; i++) {
		used_ns += cpu_ns(n->attackers[i].pid);
		n_lanes += n->attackers[i].n_lanes;
		n_pins += n->attackers[i].n_pins;
		n_answers += n->attackers[i].n_answers - from[i];
	}
	snprintf(ret->text, sizeof ret->text, "p50 %.0f us; attackers: %d lanes, "
		 "%d pins, %d answers, %.0f %% of a CPU", ret->nop_us_p50,
		 (int)n_lanes, (int)n_pins, (int)n_answers,
		 100 * (double)used_ns / (double)wall_ns);
}

/* One attack, from its beginning to its end. NULL, or why it does not count. */
static const char *attacked(struct neighbour *n, const char *space,
			    struct figures *ret)
{
	static char why[200];
	const char *told = NULL;
	uint64_t from[ATTACKERS], begun_ns;
	bool ran, measured;

	if (!attackers_start(n->attackers, ATTACKERS, &n->daemon, space, &told)) {
		attackers_stop(n->attackers, ATTACKERS);
		return told;
	}
	for (int i = 0; i < ATTACKERS; i++)
		from[i] = n->attackers[i].n_answers;
	begun_ns = now_ns();
	measured = measure(n, ret);
	tell_attackers(n, from, now_ns() - begun_ns, ret);
	ran = attackers_ran(n->attackers, ATTACKERS, from, why, sizeof why);
	attackers_stop(n->attackers, ATTACKERS);
	if (!measured) {
		snprintf(why, sizeof why, "in space %s the neighbour got no answer "
			 "within %d s", space, STALL_S);
		return why;
	}
	return ran ? NULL : why;
}

static void show(struct bench *b, const struct figures *alone,
		 const struct figures *other, const struct figures *same)
{
	double worse = other->nop_us_p99 > same->nop_us_p99 ?
		       other->nop_us_p99 : same->nop_us_p99;
	double slower = other->blocks_per_s < same->blocks_per_s ?
			other->blocks_per_s : same->blocks_per_s;

	if (geteuid() != 0)
		bench_why(b, "neighbour_nop_us_p99", "not root: the attackers are "
			  "one user and share its limits");
	bench_add(b, "neighbour_nop_us_p99", worse);
	bench_add(b, "neighbour_publish_ratio", slower / alone->blocks_per_s);
	bench_add(b, "neighbour_nop_alone_us_p99", alone->nop_us_p99);
	bench_add(b, "neighbour_nop_other_us_p99", other->nop_us_p99);
	bench_why(b, "neighbour_nop_other_us_p99", "%s", other->text);
	bench_why(b, "neighbour_nop_same_us_p99", "%s", same->text);
	bench_add(b, "neighbour_nop_same_us_p99", same->nop_us_p99);
	bench_add(b, "neighbour_publish_other_ratio",
		  other->blocks_per_s / alone->blocks_per_s);
	bench_add(b, "neighbour_publish_same_ratio",
		  same->blocks_per_s / alone->blocks_per_s);
}

void bench_neighbour(struct bench *b)
{
	struct neighbour n = { .b = b, .random = 88172645463325252u };
	struct figures alone, other, same;
	static bool failed;
	const char *why;

	if (failed)
		return;
	why = come(&n);

	if (why == NULL && !measure(&n, &alone))
		why = "the neighbour alone got no answer";
	if (why == NULL)
		why = attacked(&n, "hostile", &other);
	if (why == NULL)
		why = attacked(&n, "bench", &same);
	if (why == NULL) {
		show(b, &alone, &other, &same);
	} else {
		bench_fail(b, "neighbour_nop_us_p99", "%s", why);
		bench_fail(b, "neighbour_publish_ratio", "%s", why);
		failed = true;
		/* It may be at work for minutes on what it was sent. */
		if (n.daemon.pid > 0)
			kill(n.daemon.pid, SIGKILL);
	}
	if (n.attackers != NULL && n.attackers != MAP_FAILED)
		munmap(n.attackers, ATTACKERS * sizeof *n.attackers);
	bench_bind(0, -1);
	ckv_close(n.ckv);
	daemon_stop(&n.daemon);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * watcher.c - a client in a storm that holds on to what it has, over many daemons.
 */
#include "tests/crash/watcher.h"
#include "tests/lib/wait.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LENT = 2, HOLD_MOMENTS = 1500 };	/* of wait_moment() at most */

struct watcher {
	struct storm *storm;
	struct watcher_counts *counts;
	struct ckv *ckv;
	struct ckv_space *space;
	struct ckv_space_info info;
	char name[32];
	uint64_t random;	/* of the first thread */
	int i;
};

struct hold {
	struct ckv_lane *lane;
	struct ckv_key key[STORM_DEPTH];
	struct ckv_handle handle[STORM_DEPTH];
	struct ckv_pin pin;
	long n;
	struct ckv_key lent_key[LENT];
	struct ckv_page page[LENT];
	long n_lent;
};

static void lane_open(struct watcher *w, struct ckv_lane **ret_lane)
{
	while (ckv_lane_open(w->space, NULL, ret_lane) != 0)
		wait_moment();
	ckv_count(&w->counts->opened, 1);
}

static bool all_right(struct watcher *w, const struct hold *hold, const char *when)
{
	char where[96];

	snprintf(where, sizeof where, "%s, %s", w->name, when);
	for (long i = 0; i < hold->n; i++)
		if (!storm_page_right(w->storm, where, &hold->key[i], hold->handle[i].data,
				      w->info.page_bytes))
			return false;
	return true;
}

/* Something to hold: a chain, and pages. False: no daemon, or nothing is there. */
static bool take(struct watcher *w, struct hold *hold)
{
	storm_keys(w->space, (uint32_t)(storm_draw(&w->random) % STORM_CHAINS), hold->key);
	hold->n = ckv_lookup(hold->lane, hold->key[0].byte, STORM_DEPTH, 0, hold->handle,
			     &hold->pin);
	if (hold->n <= 0)
		return false;
	for (uint64_t i = 0; i < LENT; i++)
		hold->lent_key[i] = raw_key(0x7000 + (uint64_t)w->i, storm_draw(&w->random));
	hold->n_lent = ckv_reserve(hold->lane, NULL, hold->lent_key[0].byte, LENT,
				   hold->page);
	return true;
}

/* Read and write what it has. Returns false when its daemon is gone. */
static bool use(struct watcher *w, struct hold *hold)
{
	bool same = ckv_pin_valid(hold->lane, &hold->pin) == 0;

	if (all_right(w, hold, same ? "held" : "held over its daemon's death") && !same)
		ckv_count(&w->counts->read, (uint64_t)hold->n);
	for (long i = 0; i < hold->n_lent; i++)
		if (hold->page[i].status == 0)
			memset(hold->page[i].data, (int)storm_draw(&w->random),
			       w->info.page_bytes);
	return same;
}

static void give_back(struct watcher *w, struct hold *hold, bool same)
{
	long r = 0;

	for (long i = 0; i < hold->n_lent; i++)
		if (hold->page[i].status == 0)
			storm_fill(&hold->lent_key[i], hold->page[i].data,
				   w->info.page_bytes);
	if (hold->n_lent == LENT)
		r = ckv_publish(hold->lane, hold->page, LENT, w->info.model.block_tokens,
				CKV_SUM, NULL, NULL, NULL);
	else if (hold->n_lent > 0)
		r = ckv_abort(hold->lane, hold->page, LENT, NULL);
	if (!same && r > 0)
		storm_tell(w->storm, "%s: %ld pages that a dead daemon lent are published",
			   w->name, r);
	ckv_count(&w->counts->stale, !same && r == -ESTALE);
	ckv_unpin(hold->lane, &hold->pin);
	ckv_count(&w->counts->held, !same);
}

static void *hold_on(void *argument)
{
	static struct hold hold;
	struct watcher *w = argument;

	lane_open(w, &hold.lane);
	for (;;) {
		uint64_t moments = storm_draw(&w->random) % HOLD_MOMENTS;
		bool same = true;

		if (!take(w, &hold)) {
			if (hold.n == 0)
				ckv_unpin(hold.lane, &hold.pin);
			wait_moment();
			continue;
		}
		for (uint64_t i = 0; i < moments || i == 0; i++) {
			same &= use(w, &hold);
			wait_moment();
		}
		give_back(w, &hold, same);
	}
	return NULL;
}

/* Attach again, and go on, while the other one still reads what was before. */
static void *look_up(void *argument)
{
	struct watcher *w = argument;
	uint64_t random = w->storm->seed + (uint64_t)w->i;
	static struct hold hold;

	lane_open(w, &hold.lane);
	for (;;) {
		storm_keys(w->space, (uint32_t)(storm_draw(&random) % STORM_CHAINS),
			   hold.key);
		hold.n = ckv_lookup(hold.lane, hold.key[0].byte, STORM_DEPTH, 0,
				    hold.handle, &hold.pin);
		(void)all_right(w, &hold, "looking up");
		if (hold.n >= 0)
			ckv_unpin(hold.lane, &hold.pin);
		usleep(500);
	}
	return NULL;
}

static void *open_lanes(void *argument)
{
	struct watcher *w = argument;

	for (;;) {
		struct ckv_lane *lane;

		lane_open(w, &lane);
		if (ckv_lane_close(lane) != NULL)
			storm_tell(w->storm, "%s: a lane is in use", w->name);
	}
	return NULL;
}

static _Noreturn void watch(struct watchers *watchers, int i)
{
	static struct watcher w;
	void *(*const work[])(void *) = { hold_on, look_up, open_lanes };
	pthread_t thread;

	w = (struct watcher){ .storm = watchers->storm, .counts = watchers->counts, .i = i,
			      .random = watchers->storm->seed * 31 + (uint64_t)i };
	snprintf(w.name, sizeof w.name, "watcher %d", i);
	while (ckv_open(w.storm->socket, "watcher", &w.ckv) != 0)
		wait_moment();
	while (ckv_attach(w.ckv, storm_space[i % STORM_SPACES], NULL, CKV_WRITE,
			  &w.space) != 0)
		wait_moment();
	ckv_space_get_info(w.space, &w.info);
	for (int t = 0; t < 3; t++)
		if (pthread_create(&thread, NULL, work[t], &w) != 0)
			_exit(RAW_BROKEN);
	for (;;)
		pause();
}

void watchers_start(struct watchers *watchers, struct storm *storm, int n)
{
	pid_t parent = getpid();

	watchers->storm = storm;
	watchers->n = n;
	watchers->counts = mmap(NULL, sizeof *watchers->counts, PROT_READ | PROT_WRITE,
				MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (watchers->counts == MAP_FAILED)
		abort();
	fflush(NULL);
	for (int i = 0; i < n; i++) {
		watchers->pid[i] = fork();
		if (watchers->pid[i] != 0)
			continue;
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(RAW_BROKEN);
		watch(watchers, i);
	}
}

void watchers_check(const struct watchers *watchers)
{
	int status;

	for (int i = 0; i < watchers->n; i++)
		if (waitpid(watchers->pid[i], &status, WNOHANG) > 0)
			storm_tell(watchers->storm, "watcher %d ended by itself, status %x",
				   i, (unsigned)status);
}

void watchers_kill(struct watchers *watchers)
{
	for (int i = 0; i < watchers->n; i++) {
		kill(watchers->pid[i], SIGKILL);
		waitpid(watchers->pid[i], NULL, 0);
	}
	watchers->n = 0;
}

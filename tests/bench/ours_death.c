/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ours_death.c - what a death costs: a client's, a daemon's; and an idle daemon.
 *
 * Client: the victim fills a pool of 1 GiB, touching every page, and pins
 * 100 000 chains so that nothing can be evicted. It is killed; another client's
 * reserve, which failed until then, is repeated until it gets a page. The
 * kernel's own share is the time until the victim's pidfd is ready.
 */
#include "tests/bench/daemon.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { KILL_POOL_MIB = 1024, N_PINS = 100000 };

struct watch {
	int	 pidfd;
	uint64_t dead_ns;
};

/* The victim: publish chains, pin each, say so, sleep until it is killed. */
static void be_victim(const struct bench_daemon *d, int out)
{
	static struct ckv_pin pins[N_PINS];
	struct ckv_handle handles[3];
	struct ckv_space_info info;
	struct ckv_space *space;
	struct ckv_lane *lane;
	struct ckv *ckv;
	uint64_t state = now_ns() | 1;	/* no two victims write the same keys */
	uint32_t left;

	if (daemon_attach(d, 131072, &ckv, &space, &lane) < 0)
		_exit(1);
	ckv_space_get_info(space, &info);
	left = info.n_block_pages;
	for (uint32_t i = 0; i < N_PINS; i++) {
		uint32_t n = left / (N_PINS - i) > 3 ? 3 : left / (N_PINS - i);
		uint8_t keys[3 * 32];
		uint64_t sums[3] = { 0 };
		struct ckv_page pages[3];

		random_fill(&state, keys, sizeof keys);
		if (ckv_reserve(lane, NULL, keys, n, pages) != (long)n)
			_exit(2);
		for (uint32_t k = 0; k < n; k++)
			memset(pages[k].data, 1, info.page_bytes);
		if (ckv_publish(lane, pages, n, 16, CKV_SUMMED, sums, NULL, NULL) < 0 ||
		    ckv_lookup(lane, keys, n, 0, handles, &pins[i]) != (long)n)
			_exit(3);
		left -= n;
	}
	if (write(out, "r", 1) != 1)
		_exit(4);
	for (;;)
		pause();
}

static pid_t start_victim(const struct bench_daemon *d)
{
	int fd[2];
	char ready;
	pid_t pid;

	if (pipe(fd) < 0)
		return -1;
	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		close(fd[0]);
		be_victim(d, fd[1]);
	}
	close(fd[1]);
	if (read(fd[0], &ready, 1) != 1) {
		waitpid(pid, NULL, 0);
		pid = -1;
	}
	close(fd[0]);
	return pid;
}

/* When the kernel says that the victim is gone. */
static void *watch_death(void *arg)
{
	struct watch *w = arg;
	struct pollfd dead = { .fd = w->pidfd, .events = POLLIN };

	while (poll(&dead, 1, -1) != 1)
		;
	w->dead_ns = now_ns();
	return NULL;
}

/*
 * Milliseconds from kill() to a page; the kernel's own share beside it. A
 * refused reserve is repeated after 100 us, as a client would.
 */
static bool kill_and_reserve(struct ckv_lane *lane, pid_t victim,
			     double *ret_ms, double *ret_pidfd_ms)
{
	static uint64_t state = 271828;
	struct watch watch = { (int)syscall(SYS_pidfd_open, victim, 0), 0 };
	struct ckv_page page;
	pthread_t watcher;
	uint8_t key[32];
	uint64_t t;
	bool refused;

	random_fill(&state, key, sizeof key);
	ckv_reserve(lane, NULL, key, 1, &page);
	refused = page.status == -ENOSPC;
	if (pthread_create(&watcher, NULL, watch_death, &watch) != 0)
		return false;
	t = now_ns();
	kill(victim, SIGKILL);
	do {
		usleep(100);
		ckv_reserve(lane, NULL, key, 1, &page);
	} while (page.status != 0 && now_ns() - t < 10000000000u);
	*ret_ms = (double)(now_ns() - t) / 1e6;
	pthread_join(watcher, NULL);
	*ret_pidfd_ms = (double)(watch.dead_ns - t) / 1e6;
	if (page.status == 0)
		ckv_abort(lane, &page, 1, NULL);
	close(watch.pidfd);
	waitpid(victim, NULL, 0);
	return refused && page.status == 0;
}

static void measure_reclaim(struct bench *b, const struct bench_daemon *d)
{
	struct bench_sample total, pidfd;
	struct ckv_space *space;
	struct ckv_lane *lane;
	struct ckv *ckv;

	if (daemon_attach(d, 1024, &ckv, &space, &lane) < 0) {
		bench_why(b, "client_kill_reclaim_ms_p50", "cannot attach");
		return;
	}
	sample_init(&total, b->quick ? 2 : 5);
	sample_init(&pidfd, total.size);
	for (size_t i = 0; i < total.size; i++) {
		pid_t victim = start_victim(d);
		double ms, pidfd_ms;

		if (victim < 0 || !kill_and_reserve(lane, victim, &ms, &pidfd_ms)) {
			bench_why(b, "client_kill_reclaim_ms_p50",
				  "the pool was not full of the victim's pins");
			break;
		}
		sample_add(&total, ms);
		sample_add(&pidfd, pidfd_ms);
	}
	if (total.n == total.size) {
		bench_add(b, "client_kill_reclaim_ms_p50", sample_percentile(&total, 50));
		bench_add(b, "client_kill_reclaim_ms_p99", sample_percentile(&total, 100));
		bench_add(b, "client_kill_pidfd_ms_p50", sample_percentile(&pidfd, 50));
	}
	sample_free(&total);
	sample_free(&pidfd);
	ckv_close(ckv);
}

/* From the daemon's death to a lookup that says 0 blocks. */
static void measure_miss(struct bench *b, struct bench_daemon *d)
{
	struct ckv_handle handle;
	struct ckv_space *space;
	struct ckv_lane *lane;
	struct ckv_pin pin;
	struct ckv *ckv;
	uint8_t key[32];
	uint64_t t, state = 161803;
	long n;

	if (daemon_attach(d, 1024, &ckv, &space, &lane) < 0)
		return;
	random_fill(&state, key, sizeof key);
	publish_chain(lane, key, 1);
	n = ckv_lookup(lane, key, 1, 0, &handle, &pin);
	ckv_unpin(lane, &pin);
	t = now_ns();
	kill(d->pid, SIGKILL);
	while (n == 1) {
		n = ckv_lookup(lane, key, 1, 0, &handle, &pin);
		if (n >= 0)
			ckv_unpin(lane, &pin);
	}
	bench_add(b, "reader_kill_restart_miss_ms", (double)(now_ns() - t) / 1e6);
	waitpid(d->pid, NULL, 0);
	d->pid = 0;
	ckv_close(ckv);
}

void bench_death(struct bench *b)
{
	struct bench_daemon d = { 0 };
	const char *why;

	if (!daemon_start(b, &d, true, (uint64_t)KILL_POOL_MIB << 20, &why)) {
		bench_why(b, "client_kill_reclaim_ms_p50", "%s", why);
		bench_why(b, "reader_kill_restart_miss_ms", "%s", why);
		return;
	}
	measure_reclaim(b, &d);
	measure_miss(b, &d);
	daemon_stop(&d);
}

/* Voluntary switches of every thread of the daemon over ten seconds. */
static long switches(pid_t pid)
{
	char command[160], line[64];
	long total = -1;
	FILE *f;

	snprintf(command, sizeof command,
		 "awk '/^voluntary_ctxt/ { n += $2 } END { print n }' "
		 "/proc/%d/task/*/status", (int)pid);
	f = popen(command, "r");
	if (f != NULL && fgets(line, sizeof line, f) != NULL)
		total = strtol(line, NULL, 10);
	if (f != NULL)
		pclose(f);
	return total;
}

void bench_idle(struct bench *b)
{
	struct bench_daemon d = { 0 };
	struct ckv *ckv[8] = { 0 };
	unsigned wait_s = b->quick ? 4 : 10;
	struct ckv_space *space;
	struct ckv_lane *lane;
	const char *why;
	long before;

	if (!daemon_start(b, &d, true, (uint64_t)64 << 20, &why)) {
		bench_why(b, "idle_wakeups_per_s", "%s", why);
		return;
	}
	for (int i = 0; i < 8; i++)
		if (daemon_attach(&d, 64, &ckv[i], &space, &lane) < 0)
			bench_why(b, "idle_wakeups_per_s", "cannot attach");
	sleep(1);
	before = switches(d.pid);
	sleep(wait_s);
	bench_add(b, "idle_wakeups_per_s",
		  (double)(switches(d.pid) - before) / wait_s);
	for (int i = 0; i < 8; i++)
		ckv_close(ckv[i]);
	daemon_stop(&d);
}

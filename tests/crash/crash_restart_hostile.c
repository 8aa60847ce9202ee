/* SPDX-License-Identifier: Apache-2.0 */
/*
 * crash_restart_hostile.c - hostile clients, and a daemon that is killed all the time.
 *
 * Scribblers (scribble.h) write anything into what they may write, also into the lanes that a
 * next daemon adopts. Honest clients (storm.h) and watchers (watcher.h) go on meanwhile. At
 * the end, with all of them dead, nothing is missing. CKV_SEED repeats the choices.
 */
#include "tests/crash/manager.h"
#include "tests/crash/scribble.h"
#include "tests/crash/storm_run.h"
#include "tests/crash/watcher.h"
#include "tests/lib/check_main.h"

#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SCRIBBLERS = 3, DEATHS = 24, DEATH_MS = 250, SERVED = 300 };

static struct manager manager;
static struct storm_run run;
static struct watchers watchers;
static pid_t scribbler[SCRIBBLERS];
static _Atomic uint64_t *n_done;

static void start(void)
{
	char spaces[600];

	storm_run_config(spaces, sizeof spaces);
	manager_create(&manager, NULL, spaces);
	manager_start(&manager, false);
	manager_wait(&manager);
	storm_run_begin(&run, &manager.daemon);
	n_done = mmap(NULL, sizeof *n_done, PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne((void *)n_done, MAP_FAILED);
	run.storm->n_clients = 2;
	watchers_start(&watchers, run.storm, 1);
	storm_run_start(&run);
	storm_check_goes_on(&run, 300);
}

static void stop(void)
{
	for (int i = 0; i < SCRIBBLERS; i++)
		if (scribbler[i] > 0)
			kill(scribbler[i], SIGKILL);
	watchers_kill(&watchers);
	storm_run_kill(&run);
	manager_destroy(&manager);
}

/* A life of any way; it ends when its daemon does, or before. */
static void live(int i)
{
	uint64_t seed = storm_draw(&run.random);
	const struct scribble *way = &scribbles[seed % (uint64_t)n_scribbles];
	pid_t parent = getpid();

	fflush(NULL);
	scribbler[i] = fork();
	if (scribbler[i] != 0)
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(RAW_BROKEN);
	/* It says on stderr what it could not do without a daemon. */
	if (freopen("/dev/null", "w", stderr) == NULL)
		_exit(RAW_BROKEN);
	scribble_live(way, manager.daemon.socket, storm_space[i % STORM_SPACES], seed,
		      n_done);
}

static void live_again(void)
{
	int status;

	for (int i = 0; i < SCRIBBLERS; i++) {
		if (scribbler[i] > 0 && waitpid(scribbler[i], &status, WNOHANG) == 0)
			continue;
		live(i);
	}
}

static void check(void)
{
	watchers_check(&watchers);
	storm_check(&run);
	ck_assert_msg(waitpid(manager.daemon.pid, NULL, WNOHANG) == 0,
		      "the daemon ended by itself, see %s", manager.daemon.log);
}

static void blow(void)
{
	for (int ms = 0; ms < DEATH_MS; ms += 5) {
		live_again();
		usleep(5000);
		check();
	}
}

static void check_served(void)
{
	struct storm_counts sum;
	uint64_t from;

	storm_sum(run.storm, &sum);
	from = sum.verified;
	for (int i = 0; i < 4 * RAW_WAIT_MS && sum.verified < from + SERVED; i++) {
		live_again();
		raw_nap();
		storm_sum(run.storm, &sum);
	}
	check();
	ck_assert_uint_ge(sum.verified, from + SERVED);
}

START_TEST(hostile_clients_hurt_nobody_over_restarts)
{
	char text[200];

	for (int i = 0; i < DEATHS; i++) {
		blow();
		/* Some do not live to see the next one, some are stopped for ever. */
		kill(scribbler[i % SCRIBBLERS], i % 2 ? SIGKILL : SIGSTOP);
		manager_kill(&manager);
		run.n_deaths++;
		manager_start(&manager, false);
		manager_wait(&manager);
		if (i % 4 == 3)
			kill(scribbler[i % SCRIBBLERS], SIGKILL);
	}
	check_served();
	fprintf(stderr, "hostile: %llu deaths of the daemon, %llu strange things done\n",
		(unsigned long long)run.n_deaths, (unsigned long long)ckv_hint_load64(n_done));
	ck_assert_uint_gt(ckv_hint_load64(n_done), 1000);
	for (int i = 0; i < SCRIBBLERS; i++) {
		kill(scribbler[i], SIGKILL);
		waitpid(scribbler[i], NULL, 0);
		scribbler[i] = 0;
	}
	watchers_kill(&watchers);
	storm_run_kill(&run);
	for (int s = 0; s < STORM_SPACES; s++)
		ck_assert_msg(storm_adds_up(manager.daemon.socket, storm_space[s], text,
					    sizeof text), "%s", text);
}
END_TEST

CHECK_MAIN("restart_hostile",
	CASE("hostile", .setup = start, .teardown = stop, .timeout = 100),
	TEST(hostile_clients_hurt_nobody_over_restarts))

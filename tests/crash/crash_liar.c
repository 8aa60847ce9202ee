/* SPDX-License-Identifier: Apache-2.0 */
/*
 * crash_liar.c - clients that lie in every field they can write.
 *
 * There is a daemon, a well-behaved client (the neighbour) that stores, finds and verifies
 * all the time, and for each test a process that lies. It must either lose its lane
 * (EPROTO) or achieve nothing. After each the neighbour must go on and find only right
 * contents, and no page, lane, row or descriptor may be missing.
 */
#include "tests/crash/crowd.h"
#include "tests/crash/lies.h"
#include "tests/lib/check_main.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static struct test_daemon daemon_;
static pid_t neighbour;
static struct shared {
	_Atomic uint64_t n_good, n_bad;	/* the neighbour's lookups */
	struct ckv_page_name foreign_page; /* lent to the neighbour, for ever */
	uint64_t n_fds;			/* of the daemon, neighbour attached */
} *shared;

static void be_a_neighbour(void)
{
	struct ckv_key held = raw_key(7, 7);
	struct raw_lane lane;
	struct ckv_lent lent;
	struct raw raw;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	raw_open(&raw, daemon_.socket);
	raw_attach(&raw, "tiny", CKV_ACCESS_WRITE);
	raw_lane_open(&raw, &lane);
	if (raw_reserve(&lane, NULL, &held, &lent) != 0)
		_exit(RAW_BROKEN);
	shared->foreign_page = raw_name(&raw, &lent);
	for (uint64_t i = 1; ; i++) {
		struct ckv_key key = raw_key(1, i);
		struct ckv_key old = raw_key(1, i > 20 ? i - 20 : 1);
		int r = raw_store(&lane, NULL, &key);

		if (r != 0 && r != -ENOSPC)
			ckv_count(&shared->n_bad, 1);
		if (raw_check(&lane, &key) < 0 || raw_check(&lane, &old) < 0)
			ckv_count(&shared->n_bad, 1);
		ckv_count(&shared->n_good, 1);
		raw_nap();
	}
}

static void start(void)
{
	shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	test_daemon_start(&daemon_, "hello_timeout = 300ms\n",
			  TEST_SPACE_TINY "slab = 2M\n"
			  "[space closed]\nmodel = m\nlayers = 1\nkv_heads = 1\n"
			  "head_dim = 64\npool = 4M\nallow_read = 65533\n"
			  "allow_write = 65533\n");
	neighbour = fork();
	if (neighbour == 0)
		be_a_neighbour();
	for (int i = 0; i < 5000 && shared->n_good < 50; i++)
		raw_nap();
	shared->n_fds = process_fds(daemon_.pid);
}

static void stop(void)
{
	kill(neighbour, SIGKILL);
	waitpid(neighbour, NULL, 0);
	test_daemon_remove(&daemon_);
}

static void tell(const struct lie *lie)
{
	struct raw raw;
	struct raw_lane lane;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	lies_socket = daemon_.socket;
	lies_foreign_page = shared->foreign_page;
	raw_open(&raw, daemon_.socket);
	raw_attach(&raw, "tiny", CKV_ACCESS_WRITE);
	raw_lane_open(&raw, &lane);
	lie->tell(&lane);
	_exit(RAW_BROKEN);
}

/* ---- what the others see ------------------------------------------------ */

/* The neighbour goes on, and has found nothing wrong. */
static void check_neighbour(const char *after)
{
	uint64_t n = ckv_hint_load64(&shared->n_good);

	for (int i = 0; i < 5000 && ckv_hint_load64(&shared->n_good) < n + 5; i++)
		raw_nap();
	ck_assert_msg(kill(daemon_.pid, 0) == 0 &&
		      waitpid(daemon_.pid, NULL, WNOHANG) <= 0,
		      "%s: the daemon is gone", after);
	ck_assert_msg(ckv_hint_load64(&shared->n_good) >= n + 5,
		      "%s: the neighbour is stuck", after);
	ck_assert_msg(ckv_hint_load64(&shared->n_bad) == 0,
		      "%s: the neighbour met %llu wrong answers", after,
		      (unsigned long long)ckv_hint_load64(&shared->n_bad));
}

/* After the liar's end: only the neighbour and its one page are left. */
static void check_nothing_lost(const char *after)
{
	struct raw raw;
	int i;

	raw_open(&raw, daemon_.socket);
	raw_attach(&raw, "tiny", CKV_ACCESS_READ);
	for (i = 0; i < 5000; i++) {
		if (RAW_GLOBAL(&raw, clients) == 2 && RAW_GLOBAL(&raw, lanes) == 1 &&
		    RAW_SPACE(&raw, pages_lent) <= 2 &&
		    RAW_SPACE(&raw, pages_free) + RAW_SPACE(&raw, pages_lent) +
		    RAW_SPACE(&raw, blocks) == RAW_SPACE(&raw, pages_total))
			break;
		raw_nap();
	}
	ck_assert_msg(i < 5000, "%s: clients %d (2), lanes %d (1), lent %d (1-2), "
		      "free %d + blocks %d of %d", after,
		      (int)RAW_GLOBAL(&raw, clients), (int)RAW_GLOBAL(&raw, lanes),
		      (int)RAW_SPACE(&raw, pages_lent),
		      (int)RAW_SPACE(&raw, pages_free), (int)RAW_SPACE(&raw, blocks),
		      (int)RAW_SPACE(&raw, pages_total));
	close(raw.fd);
}

static void check_descriptors(const char *after)
{
	uint64_t n = 0;

	for (int i = 0; i < 5000; i++) {
		n = process_fds(daemon_.pid);
		if (n <= shared->n_fds)
			return;
		raw_nap();
	}
	ck_abort_msg("%s: the daemon has %d descriptors, %d before", after, (int)n,
		     (int)shared->n_fds);
}

/* Whatever a client writes or sends: others notice nothing and nothing is lost. */
START_TEST(lies_hurt_nobody)
{
	const struct lie *lie = &lies[_i];
	int status = 0;
	pid_t liar;

	fflush(NULL);
	liar = fork();
	if (liar == 0)
		tell(lie);
	ck_assert_int_eq(waitpid(liar, &status, 0), liar);
	if (lie->signal != 0)
		ck_assert_msg(WIFSIGNALED(status) &&
			      WTERMSIG(status) == lie->signal,
			      "%s: status %x", lie->name, (unsigned)status);
	else
		ck_assert_msg(status == 0, "%s: status %x", lie->name,
			      (unsigned)status);
	check_neighbour(lie->name);
	check_nothing_lost(lie->name);
	check_descriptors(lie->name);
}
END_TEST

/* The reason why a lane was lost is in the log, with the process id. */
START_TEST(lies_are_logged)
{
	ck_assert(test_daemon_logged(&daemon_, "its lane is closed"));
}
END_TEST

CHECK_MAIN("liar",
	CASE("liar", .start = start, .stop = stop),
	LOOP(lies_hurt_nobody, n_lies),
	TEST(lies_are_logged))

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_shell_sleep.c - the reactor does not sleep while there is work that it gave itself.
 *
 * The tests look at the daemon through its counters, in shared memory: to ask it would
 * wake it.
 */
#include "client/ckv.h"
#include "proto/ckv_stats.h"
#include "tests/lib/check_main.h"
#include "tests/lib/wait.h"
#include "tests/lib/wire.h"

#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* 15360 pages of 4 KiB for blocks, and 1024 for views. */
#define SPACE								\
	"[space tiny]\nmodel = tiny\nlayers = 1\nkv_heads = 1\nhead_dim = 32\n"	\
	"block_tokens = 16\ndtype = f32\npool = 64M\nslab = 4M\nviews = 6\n"	\
	"lent_pages = 16384\nlent_pages_per_user = 16384\n"

enum { EACH = 1024, TIMES = 15, CHAINS = 40 };

static struct test_daemon daemon_;
static const struct ckv_global_stats *stats;
static const struct ckv_space_stats *space_stats;
static int watch_fd;

static const void *map(int fd)
{
	struct stat s;
	void *base;

	ck_assert_int_eq(fstat(fd, &s), 0);
	base = mmap(NULL, (size_t)s.st_size, PROT_READ, MAP_SHARED, fd, 0);
	ck_assert_ptr_ne(base, MAP_FAILED);
	return base;
}

static void begin(const char *params, const char *keys)
{
	union wire m = { .attach = { .space = "tiny", .access = CKV_ACCESS_STATS,
				     .any_geometry = CKV_WANT_ANY } };
	char space[1024];
	int fds[4];

	snprintf(space, sizeof space, SPACE "%s", keys);
	test_daemon_start(&daemon_, params, space);
	watch_fd = wire_dial(&daemon_);
	wire_hello(watch_fd, fds);
	stats = ckv_stats_global((void *)(uintptr_t)map(fds[1]));
	wire_head(&m, CKV_ATTACH, sizeof m.attach, 0);
	wire_send(watch_fd, &m, sizeof m.attach, NULL, 0);
	ck_assert_int_eq(wire_hear(watch_fd, &m, fds), CKV_ATTACHED);
	space_stats = map(fds[0]);
}

static void end(void)
{
	close(watch_fd);
	test_daemon_remove(&daemon_);
}

/* In a child: no assertions, which would be written into Check's file. */
static struct ckv_lane *open_lane(void)
{
	struct ckv *ckv = NULL;
	struct ckv_space *space;
	struct ckv_lane *lane;

	if (ckv_open(daemon_.socket, "sleep", &ckv) < 0 ||
	    ckv_attach(ckv, "tiny", NULL, CKV_WRITE, &space) < 0 ||
	    ckv_lane_open(space, NULL, &lane) < 0)
		_exit(1);
	return lane;
}

static void borrow_and_stop(void)
{
	static struct ckv_page pages[EACH];
	static uint8_t keys[EACH][32];
	struct ckv_lane *lane = open_lane();

	for (uint32_t i = 0; i < TIMES; i++) {
		for (uint32_t k = 0; k < EACH; k++)
			memcpy(keys[k], (uint32_t[]){ 7, i, k }, 12);
		if (ckv_reserve(lane, NULL, keys[0], EACH, pages) != EACH)
			_exit(2);
	}
	raise(SIGSTOP);
	_exit(3);
}

static void publish_and_stop(void)
{
	struct ckv_lane *lane = open_lane();

	for (uint32_t i = 0; i < CHAINS; i++) {
		uint8_t key[32] = { 7, (uint8_t)i };
		struct ckv_page page;

		if (ckv_reserve(lane, NULL, key, 1, &page) != 1)
			_exit(2);
		memset(page.data, 0, 4096);
		if (ckv_publish(lane, &page, 1, 16, CKV_SUM, NULL, NULL, NULL) != 1)
			_exit(3);
	}
	raise(SIGSTOP);
	_exit(4);
}

/* A process that does this and stops, so that it wakes nobody afterwards. */
static pid_t stopped_after(void (*act)(void))
{
	pid_t pid = fork();
	int status;

	if (pid == 0)
		act();
	ck_assert_int_eq(waitpid(pid, &status, WUNTRACED), pid);
	ck_assert_msg(WIFSTOPPED(status), "%d", WEXITSTATUS(status));
	return pid;
}

static void end_process(pid_t pid)
{
	int status;

	kill(pid, SIGKILL);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
}

/* Pages of a dead client are taken back in hundreds of turns, also with spin_min = 0. */
START_TEST(what_is_begun_is_done_before_the_sleep)
{
	pid_t pid;

	begin("spin_min = 0\nspin_max = 0\n", "");
	pid = stopped_after(borrow_and_stop);
	ck_assert_uint_eq(ckv_hint_load64(&space_stats->pages_lent), TIMES * EACH);
	end_process(pid);
	WAIT_UNTIL(ckv_hint_load64(&stats->lanes) == 0);
	ck_assert_uint_eq(ckv_hint_load64(&stats->lanes), 0);
	ck_assert_uint_eq(ckv_hint_load64(&space_stats->pages_lent), 0);
	end();
}
END_TEST

/* Each automatic view is begun when there is nothing else to do, and then made at once. */
START_TEST(a_view_that_is_begun_does_not_wait_for_the_tick)
{
	pid_t pid;

	begin("spin_min = 1ms\nspin_max = 1ms\nmax_auto_jobs = 1\n",
	      "compress = keydiff(keep=1/2)\n");
	pid = stopped_after(publish_and_stop);
	WAIT_UNTIL(ckv_hint_load64(&space_stats->auto_made) == CHAINS);
	ck_assert_uint_eq(ckv_hint_load64(&space_stats->auto_made), CHAINS);
	end_process(pid);
	end();
}
END_TEST

CHECK_MAIN("shell_sleep",
	CASE("sleep"),
	TEST(what_is_begun_is_done_before_the_sleep),
	TEST(a_view_that_is_begun_does_not_wait_for_the_tick))

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_shell_faults.c - start-up with each call to the kernel failing in turn.
 */
#include "daemon/shell/daemon.h"
#include "daemon/shell/log.h"
#include "daemon/shell/sys.h"
#include "tests/lib/check_main.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char dir[FOLDER_BYTES];
static char text[1024];

static void setup(void)
{
	int fd = open("/dev/null", O_WRONLY);

	folder_make(dir);
	log_setup(LOG_ERROR);
	dup2(fd, 2);	/* every failure is told; here there are hundreds */
	close(fd);
}

static void say(void *context, const char *what)
{
	(void)context;
	(void)what;
}

/* The whole of start and stop; the error of the start. */
static int start_and_stop(const char *loop)
{
	const struct config_complaint complaint = { say, NULL };
	struct config *config;
	struct daemon *d;
	int r;

	snprintf(text, sizeof text, "[daemon]\nsocket = %s/sock\nloop = %s\n"
		 "max_clients = 2\nmax_lanes = 2\nworkers = 1\n"
		 "touch_threads = 1\nhuge_pages = %s\n"
		 "[space a]\nmodel = m\nlayers = 1\nkv_heads = 1\nhead_dim = 64\n"
		 "pool = 1MiB\n"
		 "[space b]\nmodel = m\nlayers = 1\nkv_heads = 1\nhead_dim = 64\n"
		 "pool = 1MiB\n", dir, loop, strcmp(loop, "epoll") ? "yes" : "no");
	r = config_parse("test", text, &complaint, &config);
	if (r < 0)
		return r;
	r = daemon_start(config, "test", &d);
	if (r < 0)
		config_free(config);
	else
		daemon_destroy(d);
	return r;
}

static long calls_of(const char *loop)
{
	long before = sys_fault_calls();

	ck_assert_int_eq(start_and_stop(loop), 0);
	return sys_fault_calls() - before;
}

static long open_descriptors(void)
{
	long n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

/*
 * Some calls may fail without harm (advice, the limit of descriptors): then it
 * starts all the same. In every case nothing stays open or mapped.
 */
static void fail_each(const char *loop, int error)
{
	long n = calls_of(loop), failed = 0;
	long fds = open_descriptors();

	ck_assert_int_gt(n, 50);
	for (long i = 1; i <= n; i++) {
		int r;

		sys_fault_arm(i, error);
		r = start_and_stop(loop);
		sys_fault_arm(0, 0);
		ck_assert_msg(r <= 0, "call %ld: %d", i, r);
		failed += r < 0;
		ck_assert_msg(sys_descriptors() == 0, "call %ld left %ld "
			      "descriptors", i, sys_descriptors());
		ck_assert_msg(open_descriptors() == fds, "call %ld lost a "
			      "descriptor", i);
		ck_assert_msg(sys_mapped_bytes() == 0, "call %ld left %ld bytes "
			      "mapped", i, sys_mapped_bytes());
	}
	ck_assert_int_gt(failed, 40);
}

/* Each call of a start fails once with ENOMEM: an error, nothing left. */
START_TEST(start_survives_each_failure_with_io_uring)
{
	fail_each("auto", ENOMEM);
}
END_TEST

/* The same on epoll, out of descriptors. */
START_TEST(start_survives_each_failure_with_epoll)
{
	fail_each("epoll", EMFILE);
}
END_TEST

/* Where io_uring_setup is refused, auto takes another way. */
START_TEST(auto_falls_back_when_io_uring_is_refused)
{
	struct loop *loop;

	/* The allocation and the ring, twice. */
	sys_fault_arm(2, EPERM);
	ck_assert_int_eq(loop_create(LOOP_AUTO, 4, &loop), 0);
	sys_fault_arm(0, 0);
	ck_assert_str_eq(loop_name(loop), "io_uring plain");
	loop_destroy(loop);
	sys_fault_arm(2, EPERM);
	ck_assert_int_eq(loop_create(LOOP_URING, 4, &loop), -EPERM);
	sys_fault_arm(0, 0);
	ck_assert_int_eq(sys_descriptors(), 0);
}
END_TEST

CHECK_MAIN("shell_faults",
	CASE("start", .setup = setup),
	TEST(start_survives_each_failure_with_io_uring),
	TEST(start_survives_each_failure_with_epoll),
	TEST(auto_falls_back_when_io_uring_is_refused))

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mode.c - what a machine may lack.
 */
#include "tests/lib/mode.h"

#include <errno.h>
#include <linux/capability.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { SO_PEERPIDFD_ = 77, SO_PASSRIGHTS_ = 83 };

static int is_mode(const char *name)
{
	const char *mode = getenv("CKV_TEST_MODE");

	return mode != NULL && strcmp(mode, name) == 0;
}

const char *test_mode_params(void)
{
	return is_mode("no-huge") ? "huge_pages = no\n" : "";
}

static int refuse_io_uring(void)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
	int r;

	if (filter == NULL)
		return -ENOMEM;
	r = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM),
			     SCMP_SYS(io_uring_setup), 0);
	if (r == 0)
		r = seccomp_load(filter);
	seccomp_release(filter);
	return r;
}

/* What getsockopt() and setsockopt() answer for an option they do not know. */
static int forget_socket_options(void)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
	int r;

	if (filter == NULL)
		return -ENOMEM;
	r = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOPROTOOPT),
			     SCMP_SYS(getsockopt), 2,
			     SCMP_A1(SCMP_CMP_EQ, SOL_SOCKET),
			     SCMP_A2(SCMP_CMP_EQ, SO_PEERPIDFD_));
	if (r == 0)
		r = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOPROTOOPT),
				     SCMP_SYS(setsockopt), 2,
				     SCMP_A1(SCMP_CMP_EQ, SOL_SOCKET),
				     SCMP_A2(SCMP_CMP_EQ, SO_PASSRIGHTS_));
	if (r == 0)
		r = seccomp_load(filter);
	seccomp_release(filter);
	return r;
}

/* Root may lock what it likes, so that right goes first. */
static int limit_locking(void)
{
	const struct rlimit limit = { 8u << 20, 8u << 20 };

	if (prctl(PR_CAPBSET_DROP, CAP_IPC_LOCK) != 0 && geteuid() == 0)
		return -errno;
	return setrlimit(RLIMIT_MEMLOCK, &limit) == 0 ? 0 : -errno;
}

void test_mode_enter(void)
{
	const char *mode = getenv("CKV_TEST_MODE");
	int r = 0;

	if (is_mode("no-io_uring"))
		r = refuse_io_uring();
	else if (is_mode("no-peerpidfd"))
		r = forget_socket_options();
	else if (is_mode("memlock"))
		r = limit_locking();
	else if (mode != NULL && mode[0] != 0 && !is_mode("no-huge"))
		r = -EINVAL;
	if (r == 0)
		return;
	fprintf(stderr, "CKV_TEST_MODE = %s: %s\n", mode, strerror(-r));
	_exit(126);
}

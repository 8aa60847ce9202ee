/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_shell_quota.c - what one user may hold, over all its clients, and who a client is.
 */
#include "client/ckv.h"
#include "daemon/shell/users.h"
#include "tests/lib/attach.h"
#include "tests/lib/check_main.h"
#include "tests/lib/command.h"
#include "tests/lib/wire.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/fsuid.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define OTHER 12345u

static struct test_daemon daemon_;

static void start(const char *params, const char *spaces)
{
	char all[512];

	snprintf(all, sizeof all, "socket_mode = 0666\nlog_level = debug\n"
		 "hello_timeout = 600s\n%s", params);
	test_daemon_start(&daemon_, all, spaces);
}

static void teardown(void)
{
	if (daemon_.pid != 0)
		test_daemon_remove(&daemon_);
}

/* Connect as another user; paths are looked up as root. */
static int dial_as(uid_t uid)
{
	int fd;

	ck_assert_int_eq(seteuid(uid), 0);
	setfsuid(0);
	fd = wire_dial(&daemon_);
	ck_assert_int_eq(seteuid(0), 0);
	return fd;
}

static int client_as(uid_t uid)
{
	int fd = dial_as(uid);

	wire_hello(fd, NULL);
	return fd;
}

static void expect_refused(int fd, int error, const char *text)
{
	union wire m;

	ck_assert_int_eq(wire_hear(fd, &m, NULL), CKV_REFUSED);
	ck_assert_msg((int)m.refused.error == error, "%u: %s", m.refused.error,
		      m.refused.text);
	ck_assert_msg(strstr(m.refused.text, text) != NULL, "%s", m.refused.text);
}

static void attach(int fd)
{
	union wire m = { .attach = { .space = "tiny", .access = CKV_ACCESS_READ,
				     .any_geometry = 1 } };

	wire_head(&m, CKV_ATTACH, sizeof m.attach, 0);
	wire_send(fd, &m, sizeof m.attach, NULL, 0);
	ck_assert_int_eq(wire_hear(fd, &m, NULL), CKV_ATTACHED);
	ck_assert_int_eq(wire_hear(fd, &m, NULL), CKV_SLABS);
}

static void ask_lane(int fd, uint32_t n_pins)
{
	union wire m = { .lane_open = { .shape = { .n_pins = n_pins } } };

	wire_head(&m, CKV_LANE_OPEN, sizeof m.lane_open, 0);
	wire_send(fd, &m, sizeof m.lane_open, NULL, 0);
}

static uint64_t lane(int fd, uint32_t n_pins)
{
	union wire m;

	ask_lane(fd, n_pins);
	ck_assert_int_eq(wire_hear(fd, &m, NULL), CKV_LANE_OPENED);
	return m.lane_opened.serial;
}

static void close_lane(int fd, uint64_t serial)
{
	union wire m = { .lane_close = { .serial = serial } };

	wire_head(&m, CKV_LANE_CLOSE, sizeof m.lane_close, 0);
	wire_send(fd, &m, sizeof m.lane_close, NULL, 0);
	ck_assert_int_eq(wire_hear(fd, &m, NULL), CKV_DONE);
}

/* A user gets half of the connections; another connection is no way around it. */
START_TEST(one_user_leaves_room_for_others)
{
	int fd[3], over;

	start("max_clients = 5\n", NULL);
	for (int i = 0; i < 3; i++) {
		fd[i] = wire_dial(&daemon_);
		wire_hello(fd[i], NULL);
	}
	over = wire_dial(&daemon_);
	expect_refused(over, EUSERS, "3 processes of this user are connected; at "
		       "most 3 (max_clients_per_user)");
	close(over);
	if (CHECK_IS_ROOT()) {
		close(client_as(OTHER));
		close(client_as(OTHER + 1));
	}
	for (int i = 0; i < 3; i++)
		close(fd[i]);
}
END_TEST

/* 80 connections that say nothing keep nobody out, not even their own user. */
START_TEST(silence_keeps_nobody_out)
{
	int mute[80], fd[4], root = CHECK_IS_ROOT();

	start("max_clients = 8\n", NULL);
	for (int i = 0; i < 80; i++)
		mute[i] = root ? dial_as(OTHER) : wire_dial(&daemon_);
	for (int i = 0; i < 4; i++) {
		fd[i] = wire_dial(&daemon_);
		wire_hello(fd[i], NULL);
	}
	if (root)
		close(client_as(OTHER));
	for (int i = 0; i < 80; i++)
		close(mute[i]);
	for (int i = 0; i < 4; i++)
		close(fd[i]);
}
END_TEST

/* Lanes of one user, over all its clients. */
START_TEST(lanes_of_a_user_are_limited)
{
	int a, b, other;
	uint64_t id;

	start("max_lanes = 7\n", NULL);
	a = wire_dial(&daemon_);
	b = wire_dial(&daemon_);
	wire_hello(a, NULL);
	wire_hello(b, NULL);
	attach(a);
	attach(b);
	for (int i = 0; i < 2; i++)
		lane(a, 1);
	id = lane(b, 1);
	lane(b, 1);
	ask_lane(b, 1);
	expect_refused(b, EUSERS, "4 lanes of this user are open; at most 4 "
		       "(max_lanes_per_user)");
	if (CHECK_IS_ROOT()) {
		other = client_as(OTHER);
		attach(other);
		for (int i = 0; i < 3; i++)
			lane(other, 1);
		ask_lane(other, 1);
		expect_refused(other, EMFILE, "7 lanes of all clients are open; at "
			       "most 7 (max_lanes)");
		close(other);
	}
	close_lane(b, id);
	lane(a, 1);
	close(a);
	close(b);
}
END_TEST

/* Pins of a space: a quarter for a client, half for a user; what is closed comes back. */
START_TEST(pins_are_limited)
{
	int fd[3], other;
	uint64_t serial;

	start("", TEST_SPACE_TINY "max_pins = 4096\n");
	for (int i = 0; i < 3; i++) {
		fd[i] = wire_dial(&daemon_);
		wire_hello(fd[i], NULL);
		attach(fd[i]);
	}
	serial = lane(fd[0], 1000);
	lane(fd[0], 24);
	ask_lane(fd[0], 1);
	expect_refused(fd[0], EUSERS, "space tiny: 1024 pins of this client and 1 "
		       "more; at most 1024 (max_pins_per_client)");
	lane(fd[1], 1024);
	ask_lane(fd[2], 1);
	expect_refused(fd[2], EUSERS, "2048 pins of this user and 1 more; at most "
		       "2048 (max_pins_per_user)");
	if (CHECK_IS_ROOT()) {
		other = client_as(OTHER);
		attach(other);
		lane(other, 1024);
		close(other);
	}
	close_lane(fd[0], serial);
	lane(fd[2], 1000);
	for (int i = 0; i < 3; i++)
		close(fd[i]);
}
END_TEST

/* An engine with 64 lanes of the usual size is within every default. */
START_TEST(the_defaults_are_enough_for_an_engine)
{
	int fd;

	start("", NULL);
	fd = wire_dial(&daemon_);
	wire_hello(fd, NULL);
	attach(fd);
	for (int i = 0; i < 64; i++)
		lane(fd, 0);
	close(fd);
}
END_TEST

/* Until there is a place. */
static int client_at_last(void)
{
	for (int i = 0; i < 1000; i++) {
		union wire m = { .hello = { .layout_version = CKV_LAYOUT_VERSION,
					    .pid = (uint32_t)getpid() } };
		int fd = wire_dial(&daemon_);

		wire_head(&m, CKV_HELLO, sizeof m.hello, 0);
		(void)send(fd, &m, sizeof m.hello, MSG_NOSIGNAL);
		if (wire_hear(fd, &m, NULL) == CKV_WELCOME)
			return fd;
		close(fd);
		usleep(10000);
	}
	ck_abort_msg("no place");
}

/* Descriptors that were sent and not read hold their connection's place. */
START_TEST(unread_descriptors_are_counted)
{
	int fd, again;
	union wire m = { .attach = { .space = "tiny", .access = CKV_ACCESS_READ,
				     .any_geometry = 1 } };

	start("max_clients_per_user = 1\n", NULL);
	fd = client_at_last();
	wire_head(&m, CKV_ATTACH, sizeof m.attach, 0);
	wire_send(fd, &m, sizeof m.attach, NULL, 0);
	m.head.magic++;
	wire_send(fd, &m, sizeof m.attach, NULL, 0);
	ck_assert(test_daemon_logged(&daemon_, "is disconnected"));
	again = wire_dial(&daemon_);
	expect_refused(again, EUSERS, "max_clients_per_user");
	close(again);
	while (wire_hear(fd, &m, NULL) != 0)
		;
	close(client_at_last());
	close(fd);
}
END_TEST

/* Inputs of jobs: of a user, of all; one compression always fits; what ends comes back. */
START_TEST(inputs_that_wait_are_bounded)
{
	static struct config config;
	struct daemon d = { .config = &config };
	struct user a = { .uid = 1 }, b = { .uid = 2 }, c = { .uid = 3 };
	char text[200];

	config.daemon = (struct daemon_params){
		.max_query_bytes = 100, .max_input_bytes = 800,
		.max_input_bytes_per_user = CONFIG_NONE,
	};
	ck_assert_int_eq(user_may_queue(&d, &a, 400, text, sizeof text), 0);
	user_count_inputs(&d, &a, 400);
	ck_assert_int_eq(user_may_queue(&d, &a, 1, text, sizeof text), -EAGAIN);
	ck_assert_str_eq(text, "400 bytes of inputs of this user wait, and 1 more "
			 "would; at most 400 (max_input_bytes_per_user)");
	user_count_inputs(&d, &b, 390);
	ck_assert_int_eq(user_may_queue(&d, &c, 10, text, sizeof text), 0);
	ck_assert_int_eq(user_may_queue(&d, &c, 11, text, sizeof text), -EAGAIN);
	ck_assert_str_eq(text, "790 bytes of inputs of all users wait, and 11 more "
			 "would; at most 800 (max_input_bytes)");
	user_uncount_inputs(&d, &a, 400);
	ck_assert_int_eq(user_may_queue(&d, &a, 400, text, sizeof text), 0);
	user_uncount_inputs(&d, &b, 390);
	ck_assert_uint_eq(d.input_bytes, 0);
	config.daemon.max_input_bytes = 10;
	ck_assert_int_eq(user_may_queue(&d, &a, 100, text, sizeof text), 0);
	ck_assert_int_eq(user_may_queue(&d, &a, 101, text, sizeof text), -EAGAIN);
}
END_TEST

/* Compressions of one user, on however many lanes: what ends comes back. */
START_TEST(jobs_of_a_user_are_bounded)
{
	static uint8_t key[32][32];
	static struct ckv_page page[32];
	struct ckv_view_info info[16];
	struct ckv_event event[16];
	struct ckv_space *space;
	struct ckv_lane *lane[2];
	char method[32];
	struct ckv *client;
	int n = 0, n_made = 0;

	start("max_jobs_per_user = 1\n", NULL);
	test_attach(&daemon_, &client, &space, &lane[0]);
	ck_assert_int_eq(ckv_lane_open(space, NULL, &lane[1]), 0);
	for (int i = 0; i < 32; i++)
		memset(key[i], i + 1, 32);
	ck_assert_int_eq(ckv_reserve(lane[0], NULL, key[0], 32, page), 32);
	ck_assert_int_eq(ckv_publish(lane[0], page, 32, 16, CKV_SUM, NULL, NULL,
				     NULL), 32);
	/* All of them are there when it looks. */
	kill(daemon_.pid, SIGSTOP);
	for (int i = 0; i < 16; i++) {
		snprintf(method, sizeof method, "random(keep=0.%d)", 10 + i);
		ck_assert_int_eq(ckv_submit_compress(lane[i % 2], key[31], method,
						     NULL, &info[i], 0), 0);
	}
	kill(daemon_.pid, SIGCONT);
	while (n < 16) {
		int k = ckv_wait(lane[n / 8], 10000000000, event, 16);

		ck_assert_int_gt(k, 0);
		for (int i = 0; i < k; i++) {
			ck_assert(event[i].result == 0 ||
				  event[i].result == -EAGAIN);
			n_made += event[i].result == 0;
		}
		n += k;
	}
	ck_assert_int_ge(n_made, 1);
	ck_assert_int_lt(n_made, 16);
	ck_assert_ptr_nonnull(strstr(ckv_why(client), "max_jobs_per_user"));
	ck_assert_int_eq(ckv_compress(lane[0], key[31], "random(keep=0.5)", NULL,
				      info), 0);
	ckv_close(client);
}
END_TEST

/* ---- who it is ---- */

static int say_hello(int fd, uint32_t pid, int pidfd)
{
	union wire m = { .hello = { .layout_version = CKV_LAYOUT_VERSION,
				    .pid = pid } };

	wire_head(&m, CKV_HELLO, sizeof m.hello, pidfd >= 0);
	wire_send(fd, &m, sizeof m.hello, &pidfd, pidfd >= 0);
	return wire_hear(fd, &m, NULL);
}

static int pidfd_of(pid_t pid)
{
	return (int)syscall(SYS_pidfd_open, pid, 0);
}

/* What a client says of itself counts only where the kernel says nothing. */
START_TEST(a_claim_counts_without_the_kernels_word)
{
	const uint32_t pid = (uint32_t)getpid();
	const struct {
		uint32_t pid;
		int fd;
		bool ok;
	} row[] = {
		{ pid, pidfd_of(getpid()), true },
		{ pid + 1, pidfd_of(getpid()), false },
		{ pid, pidfd_of(getppid()), false },
		{ pid, eventfd(0, 0), false },
		{ pid, -1, false },
	};
	int fd, want;

	setenv("CKV_TEST_MODE", _i == 0 ? "" : "no-peerpidfd", 1);
	start("", NULL);
	fd = wire_dial(&daemon_);
	if (_i == 0 && say_hello(fd, pid, -1) != CKV_WELCOME)
		return;		/* this kernel is such a one */
	close(fd);
	for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
		fd = wire_dial(&daemon_);
		want = _i == 0 || row[i].ok ? CKV_WELCOME : CKV_REFUSED;
		ck_assert_msg(say_hello(fd, row[i].pid, row[i].fd) == want,
			      "row %zu", i);
		close(fd);
	}
}
END_TEST

/* Its death is seen in either case. */
START_TEST(a_death_is_seen)
{
	int ready[2];
	char c;
	pid_t pid;

	setenv("CKV_TEST_MODE", _i == 0 ? "" : "no-peerpidfd", 1);
	start("", NULL);
	ck_assert_int_eq(pipe(ready), 0);
	pid = fork();
	if (pid == 0) {
		int fd = wire_dial(&daemon_);

		wire_hello(fd, NULL);
		attach(fd);
		lane(fd, 1);
		if (write(ready[1], "x", 1) != 1)
			_exit(1);
		pause();
	}
	ck_assert_int_eq(read(ready[0], &c, 1), 1);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	ck_assert(test_daemon_logged(&daemon_, "is dead; 1 lane taken back"));
}
END_TEST

/* Run `there` as process 1 of a pid namespace of its own; its exit status. */
static int elsewhere(int (*there)(void))
{
	pid_t outer = fork(), inner;
	int status;

	if (outer == 0) {
		if (unshare(CLONE_NEWPID) != 0)
			_exit(99);
		inner = fork();
		if (inner == 0)
			_exit(getpid() == 1 ? there() : 98);
		waitpid(inner, &status, 0);
		_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 97);
	}
	waitpid(outer, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 96;
}

static int attach_there(void)
{
	int fd = wire_dial(&daemon_);

	if (say_hello(fd, 1, -1) != CKV_WELCOME)
		return 1;
	attach(fd);
	lane(fd, 1);
	return 0;
}

/* Numbers of another pid namespace are not the daemon's: ckv kick says so. */
static int kick_there(void)
{
	char args[256];

	snprintf(args, sizeof args, "kick %d --socket %s", 2, daemon_.socket);
	ckv(args);
	if (said.rc == 0 || strstr(said.err, "pid namespace") == NULL)
		return 1;
	snprintf(args, sizeof args, "clients --socket %s", daemon_.socket);
	ckv(args);
	return said.rc == 0 ? 0 : 2;
}

/* A client of another container attaches, and its death is seen. */
START_TEST(a_client_of_another_pid_namespace_attaches)
{
	int r;

	setenv("CKV_TEST_MODE", "", 1);
	start("", NULL);
	r = elsewhere(attach_there);
	if (r == 99)
		return;		/* may not make one */
	ck_assert_int_eq(r, 0);
	ck_assert(test_daemon_logged(&daemon_, "is dead; 1 lane taken back"));
	ck_assert_int_eq(elsewhere(kick_there), 0);
}
END_TEST

/* Who is in a namespace that the daemon does not see has no number there. */
START_TEST(a_client_that_the_daemon_cannot_number)
{
	char args[256], c;
	int ready[2], over[2], fd;
	struct test_daemon *shared = mmap(NULL, sizeof *shared,
					  PROT_READ | PROT_WRITE,
					  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t helper;

	setenv("CKV_TEST_MODE", "", 1);
	ck_assert_int_eq(pipe(ready), 0);
	ck_assert_int_eq(pipe(over), 0);
	helper = fork();
	if (helper == 0) {
		close(over[1]);
		if (unshare(CLONE_NEWPID) == 0) {
			test_daemon_start(&daemon_, NULL, NULL);
			*shared = daemon_;
			if (write(ready[1], "x", 1) != 1 ||
			    read(over[0], &c, 1) != 0)
				_exit(1);
			test_daemon_remove(&daemon_);
		}
		_exit(0);
	}
	close(ready[1]);
	close(over[0]);
	if (read(ready[0], &c, 1) == 1) {
		daemon_ = *shared;
		fd = wire_dial(&daemon_);
		if (say_hello(fd, (uint32_t)getpid(), -1) == CKV_WELCOME) {
			snprintf(args, sizeof args, "clients --socket %s",
				 daemon_.socket);
			ckv(args);
			ck_assert_int_eq(said.rc, 0);
			ck_assert_ptr_nonnull(strstr(said.out, "elsewhere"));
			snprintf(args, sizeof args, "kick %d --socket %s",
				 (int)getpid(), daemon_.socket);
			ckv(args);
			ck_assert_int_ne(said.rc, 0);
			ck_assert_ptr_nonnull(strstr(said.err, "pid namespace"));
		}
		close(fd);
	}
	close(over[1]);
	waitpid(helper, NULL, 0);
	daemon_.pid = 0;
}
END_TEST

CHECK_MAIN("shell_quota",
	CASE("quota", .teardown = teardown),
	TEST(one_user_leaves_room_for_others),
	TEST(silence_keeps_nobody_out),
	TEST(lanes_of_a_user_are_limited),
	TEST(pins_are_limited),
	TEST(the_defaults_are_enough_for_an_engine),
	TEST(unread_descriptors_are_counted),
	TEST(inputs_that_wait_are_bounded),
	TEST(jobs_of_a_user_are_bounded),
	LOOP(a_claim_counts_without_the_kernels_word, 2),
	LOOP(a_death_is_seen, 2),
	TEST(a_client_of_another_pid_namespace_attaches),
	TEST(a_client_that_the_daemon_cannot_number))

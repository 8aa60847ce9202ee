/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_shell_loop.c - the three ways to wait, each held to the same behaviour.
 */
#include "daemon/shell/loop.h"
#include "daemon/shell/sys.h"
#include "daemon/shell/workers.h"
#include "tests/lib/check_main.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define WAIT_NS	2000000000u
static const enum loop_kind kinds[] = { LOOP_URING, LOOP_URING_PLAIN, LOOP_EPOLL };
static struct loop *loop;

static void open_kind(int i)
{
	ck_assert_int_eq(loop_create(kinds[i], 16, &loop), 0);
}

static uint64_t next(uint64_t wait_ns)
{
	uint64_t token = 0;
	int n = loop_wait(loop, wait_ns, &token, 1);

	ck_assert_int_ge(n, 0);
	return n > 0 ? token : 0;
}

static void knock(int fd)
{
	uint64_t one = 1;

	ck_assert_int_eq(write(fd, &one, sizeof one), sizeof one);
}

/* Each write is reported, though nobody reads: as a lane's eventfd needs it. */
START_TEST(an_eventfd_that_nobody_reads_reports_each_write)
{
	int fd = eventfd(0, EFD_NONBLOCK);

	open_kind(_i);
	ck_assert_int_eq(loop_watch(loop, fd, 7), 0);
	ck_assert_uint_eq(next(0), 0);
	for (int i = 0; i < 5; i++) {
		knock(fd);
		ck_assert_uint_eq(next(WAIT_NS), 7);
		ck_assert_uint_eq(next(1000000), 0);
	}
	/* Whatever the other side does to its flags. */
	ck_assert_int_eq(fcntl(fd, F_SETFL, 0), 0);
	knock(fd);
	ck_assert_uint_eq(next(WAIT_NS), 7);
	ck_assert_uint_eq(next(1000000), 0);
	loop_unwatch(loop, fd, 7);
	close(fd);
	loop_destroy(loop);
}
END_TEST

/* A descriptor that is readable already is reported when it is added. */
START_TEST(what_is_readable_already_is_reported)
{
	int fd = eventfd(1, EFD_NONBLOCK);

	open_kind(_i);
	ck_assert_int_eq(loop_watch(loop, fd, 9), 0);
	ck_assert_uint_eq(next(WAIT_NS), 9);
	loop_unwatch(loop, fd, 9);
	knock(fd);
	ck_assert_uint_eq(next(10000000), 0);
	close(fd);
	loop_destroy(loop);
}
END_TEST

/* The end of a process and of a socket are reported. */
START_TEST(a_dead_process_and_a_closed_socket_are_reported)
{
	int pair[2], pidfd;
	pid_t pid;
	uint64_t seen = 0;

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	pid = fork();
	if (pid == 0) {
		pause();
		_exit(0);
	}
	pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	open_kind(_i);
	ck_assert_int_eq(loop_watch(loop, pidfd, 1), 0);
	ck_assert_int_eq(loop_watch(loop, pair[0], 2), 0);
	ck_assert_uint_eq(next(0), 0);
	kill(pid, SIGKILL);
	close(pair[1]);
	for (int i = 0; i < 4 && seen != 3; i++)
		seen |= next(WAIT_NS);
	ck_assert_uint_eq(seen, 3);
	waitpid(pid, NULL, 0);
	loop_unwatch(loop, pidfd, 1);
	loop_unwatch(loop, pair[0], 2);
	close(pidfd);
	close(pair[0]);
	loop_destroy(loop);
}
END_TEST

/* A watch that is about to report is ended all the same: its file is let go. */
START_TEST(an_ended_watch_lets_go_of_its_file)
{
	struct pollfd p = { .events = POLLIN };
	int pair[2];

	open_kind(_i);
	for (int i = 0; i < 50; i++) {
		ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
		ck_assert_int_eq(loop_watch(loop, pair[0], 3), 0);
		ck_assert_uint_eq(next(0), 0);
		ck_assert_int_eq(write(pair[1], "x", 1), 1);
		loop_unwatch(loop, pair[0], 3);
		close(pair[0]);
		(void)next(0);
		(void)next(1000000);
		p.fd = pair[1];
		ck_assert_int_eq(poll(&p, 1, 1000), 1);
		ck_assert_int_ne(p.revents & POLLHUP, 0);
		close(pair[1]);
	}
	loop_destroy(loop);
}
END_TEST

/* Many at once all arrive, more than fit one answer. */
START_TEST(many_reports_arrive_in_pieces)
{
	int fd[16];
	uint32_t seen = 0;

	open_kind(_i);
	for (int i = 0; i < 16; i++) {
		fd[i] = eventfd(0, EFD_NONBLOCK);
		ck_assert_int_eq(loop_watch(loop, fd[i], (uint64_t)i + 1), 0);
	}
	for (int i = 0; i < 16; i++)
		knock(fd[i]);
	for (int i = 0; i < 16; i++)
		seen |= 1u << (next(WAIT_NS) - 1);
	ck_assert_uint_eq(seen, 0xffff);
	for (int i = 0; i < 16; i++) {
		loop_unwatch(loop, fd[i], (uint64_t)i + 1);
		close(fd[i]);
	}
	loop_destroy(loop);
}
END_TEST

/* A place in the table of watches is used again. */
START_TEST(watches_come_and_go)
{
	open_kind(_i);
	for (uint64_t i = 1; i <= 200; i++) {
		int fd = eventfd(1, EFD_NONBLOCK);

		ck_assert_int_eq(loop_watch(loop, fd, i), 0);
		ck_assert_uint_eq(next(WAIT_NS), i);
		loop_unwatch(loop, fd, i);
		close(fd);
	}
	loop_destroy(loop);
	ck_assert_int_eq(sys_descriptors(), 0);
}
END_TEST

struct sum {
	struct work work;
	int n;
};

static void square(struct work *work)
{
	struct sum *sum = (struct sum *)work;

	sum->n *= sum->n;
}

/* Jobs given to threads all come back, each once, and the loop says so. */
START_TEST(workers_give_back_what_they_got)
{
	struct workers *workers;
	struct sum sum[50];
	struct work *work;
	int n = 0, total = 0;

	open_kind(_i);
	ck_assert_int_eq(workers_create(3, &workers), 0);
	ck_assert_int_eq(loop_watch(loop, workers_fd(workers), 5), 0);
	for (int i = 0; i < 50; i++) {
		sum[i] = (struct sum){ { .run = square, .low = i % 2 }, i };
		workers_give(workers, &sum[i].work);
	}
	while (n < 50) {
		ck_assert_uint_eq(next(WAIT_NS), 5);
		while ((work = workers_take(workers)) != NULL) {
			total += ((struct sum *)work)->n;
			n++;
		}
	}
	ck_assert_int_eq(total, 40425);
	loop_unwatch(loop, workers_fd(workers), 5);
	workers_destroy(workers);
	loop_destroy(loop);
	ck_assert_int_eq(sys_descriptors(), 0);
}
END_TEST

CHECK_MAIN("shell_loop",
	CASE("loop"),
	LOOP(an_eventfd_that_nobody_reads_reports_each_write, 3),
	LOOP(what_is_readable_already_is_reported, 3),
	LOOP(a_dead_process_and_a_closed_socket_are_reported, 3),
	LOOP(an_ended_watch_lets_go_of_its_file, 3),
	LOOP(many_reports_arrive_in_pieces, 3),
	LOOP(watches_come_and_go, 3),
	LOOP(workers_give_back_what_they_got, 3))

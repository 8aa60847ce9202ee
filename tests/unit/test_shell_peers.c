/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_shell_peers.c - descriptors whose last close() waits, in every way a client can
 * leave one with the daemon. The reactor serves others meanwhile.
 */
#include "client/ckv.h"
#include "daemon/shell/closer.h"
#include "daemon/shell/sys.h"
#include "tests/lib/check_main.h"
#include "tests/lib/command.h"
#include "tests/lib/wait.h"
#include "tests/lib/wire.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/* ---- a descriptor that lingers until it is let go ---- */

struct lingering {
	int fd, listener;
};

/* A TCP socket with an hour to wait and bytes that nobody reads. */
static struct lingering linger(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET,
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct linger hour = { 1, 3600 };
	struct lingering l = { .listener = socket(AF_INET, SOCK_STREAM, 0),
			       .fd = socket(AF_INET, SOCK_STREAM, 0) };
	static const char junk[65536];
	socklen_t bytes = sizeof a;
	int small = 4096;

	setsockopt(l.listener, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
	ck_assert_int_eq(bind(l.listener, (void *)&a, sizeof a), 0);
	ck_assert_int_eq(listen(l.listener, 1), 0);
	ck_assert_int_eq(getsockname(l.listener, (void *)&a, &bytes), 0);
	ck_assert_int_eq(connect(l.fd, (void *)&a, sizeof a), 0);
	ck_assert_int_eq(fcntl(l.fd, F_SETFL, O_NONBLOCK), 0);
	while (send(l.fd, junk, sizeof junk, MSG_NOSIGNAL) > 0)
		;
	ck_assert_int_eq(setsockopt(l.fd, SOL_SOCKET, SO_LINGER, &hour,
				    sizeof hour), 0);
	return l;
}

/* The other end resets the connection: whoever waits in close() goes on. */
static void let_go(const struct lingering *l)
{
	close(l->listener);
}

/* Threads of a process's closer that are in a system call that closes. */
static int n_closing(pid_t pid)
{
	char path[64], text[64];
	struct dirent *task;
	int n = 0;
	FILE *f;
	DIR *d;

	snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
	d = opendir(path);
	while ((task = readdir(d)) != NULL) {
		snprintf(path, sizeof path, "/proc/%d/task/%.12s/comm", (int)pid,
			 task->d_name);
		f = fopen(path, "r");
		text[0] = 0;
		if (f != NULL && fgets(text, sizeof text, f) == NULL)
			text[0] = 0;
		if (f != NULL)
			fclose(f);
		if (strcmp(text, "ckv-close\n") != 0)
			continue;
		snprintf(path, sizeof path, "/proc/%d/task/%.12s/syscall", (int)pid,
			 task->d_name);
		f = fopen(path, "r");
		if (f != NULL && fgets(text, sizeof text, f) != NULL)
			n += atol(text) == SYS_close || atol(text) == SYS_recvmsg;
		if (f != NULL)
			fclose(f);
	}
	closedir(d);
	return n;
}

static void wait_closing(int n)
{
	WAIT_UNTIL(n_closing(getpid()) == n);
	ck_assert_int_eq(n_closing(getpid()), n);
}

/* ---- the threads alone ---- */

static void wait_for(struct closer *c, uint32_t n)
{
	WAIT_UNTIL(closer_waiting(c) == n);
	ck_assert_uint_eq(closer_waiting(c), n);
}

/* One user's close() holds up that user's other descriptors, and nobody else's. */
START_TEST(nobody_waits_behind_another_user)
{
	struct lingering l = linger();
	struct closer *c;

	ck_assert_int_eq(closer_create(&c), 0);
	ck_assert_int_eq(closer_give(c, 1, l.fd, false), 0);
	ck_assert_int_eq(closer_give(c, 1, eventfd(0, 0), false), 0);
	for (uid_t uid = 2; uid < 40; uid++)
		ck_assert_int_eq(closer_give(c, uid, eventfd(0, 0), false), 0);
	wait_for(c, 2);
	let_go(&l);
	wait_for(c, 0);
	closer_destroy(c);
}
END_TEST

/* Several users do it at once: each has a thread. */
START_TEST(many_users_may_linger)
{
	struct lingering l[8];
	struct closer *c;

	ck_assert_int_eq(closer_create(&c), 0);
	for (uid_t uid = 0; uid < 8; uid++) {
		l[uid] = linger();
		ck_assert_int_eq(closer_give(c, uid, l[uid].fd, false), 0);
	}
	ck_assert_int_eq(closer_give(c, 99, eventfd(0, 0), false), 0);
	wait_for(c, 8);
	for (uid_t uid = 0; uid < 8; uid++)
		let_go(&l[uid]);
	wait_for(c, 0);
	closer_destroy(c);
}
END_TEST

/* The queue is full at its limits: half of it is what one user can fill. */
START_TEST(the_queue_is_bounded)
{
	struct lingering l = linger(), other;
	uint32_t n = 0, n_other = 0;
	struct closer *c;
	int fd;

	ck_assert_int_eq(closer_create(&c), 0);
	ck_assert_int_eq(closer_give(c, 1, l.fd, false), 0);
	wait_closing(1);
	/* -1 takes a place and is nothing to close. */
	while (closer_give(c, 1, -1, false) == 0)
		n++;
	ck_assert_uint_eq(n, CLOSER_USER_ITEMS);
	ck_assert(!closer_has_room(c, 1, 1));
	ck_assert(closer_has_room(c, 2, 253));
	other = linger();
	ck_assert_int_eq(closer_give(c, 2, other.fd, false), 0);
	wait_closing(2);
	while (closer_give(c, 2, -1, false) == 0)
		n_other++;
	ck_assert_uint_eq(n + n_other, CLOSER_ITEMS);
	/* What is refused stays the caller's. */
	fd = eventfd(0, 0);
	ck_assert_int_eq(closer_give(c, 3, fd, false), -EAGAIN);
	ck_assert_int_ge(fcntl(fd, F_GETFD), 0);
	let_go(&l);
	let_go(&other);
	wait_for(c, 0);
	ck_assert_int_eq(closer_give(c, 3, fd, false), 0);
	wait_for(c, 0);
	closer_destroy(c);
}
END_TEST

/* A close() that goes on is left behind when the daemon stops. */
START_TEST(stopping_does_not_wait_for_ever)
{
	struct lingering l = linger();
	struct closer *c;

	ck_assert_int_eq(closer_create(&c), 0);
	ck_assert_int_eq(closer_give(c, 1, l.fd, false), 0);
	closer_destroy(c);
	let_go(&l);
}
END_TEST

/* ---- a whole daemon ---- */

static struct test_daemon daemon_;

static void setup(void)
{
	test_daemon_start(&daemon_, "log_level = debug\nmax_clients = 3\n"
			  "max_clients_per_user = 3\nhello_timeout = 600s\n", NULL);
}

static void teardown(void)
{
	test_daemon_remove(&daemon_);
}

static bool closer_waits(void)
{
	return n_closing(daemon_.pid) > 0;
}

static void expect_closer_waits(bool want)
{
	WAIT_UNTIL(closer_waits() == want);
	ck_assert_int_eq(closer_waits(), want);
}

static void stop_daemon(void)
{
	char path[64], text[512], *state = NULL;
	FILE *f;

	kill(daemon_.pid, SIGSTOP);
	snprintf(path, sizeof path, "/proc/%d/stat", (int)daemon_.pid);
	for (int i = 0; i < 5000 && (!state || state[2] != 'T'); i++) {
		usleep(1000);
		f = fopen(path, "r");
		state = fgets(text, sizeof text, f) ? strrchr(text, ')') : NULL;
		fclose(f);
	}
}

enum way {
	WAY_HELLO,		/* instead of the pidfd: not needed, taken all the same */
	WAY_MANY,		/* 16 of them, one is announced */
	WAY_TYPE,		/* with a message that brings none */
	WAY_NONSENSE,		/* with bytes that are no message */
	WAY_NOTHING,		/* with no bytes at all */
	WAY_BEHIND,		/* unread, behind a message that is refused */
	WAY_GONE,		/* and the sender is gone */
	WAY_TURNED_AWAY,	/* where all places are taken */
	WAYS,
};

/* Does the daemon's kernel say who a peer is? */
static bool knows_pidfds(void)
{
	const char *mode = getenv("CKV_TEST_MODE");
	int pair[2], fd;

	if (mode != NULL && strcmp(mode, "no-peerpidfd") == 0)
		return false;
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	fd = sys_peer_pidfd(pair[0]);
	close(pair[0]);
	close(pair[1]);
	sys_close(fd);
	return fd >= 0;
}

static void send_in_a_way(int fd, enum way way, int lingering)
{
	union wire m = { .hello = { .layout_version = CKV_LAYOUT_VERSION,
				    .pid = (uint32_t)getpid() } }, bad;
	int fds[16], n_fds = way == WAY_MANY ? 16 : 1;
	size_t bytes = sizeof m.hello;

	wire_head(&m, way == WAY_TYPE ? CKV_DETACH : CKV_HELLO, bytes, 1);
	if (way == WAY_BEHIND) {
		bad = m;
		bad.head.magic++;
		wire_send(fd, &bad, bytes, NULL, 0);
	}
	if (way == WAY_NONSENSE)
		bytes = 3;
	if (way == WAY_NOTHING)
		bytes = 0;
	/* The last of them lingers: it is one too many. */
	for (int i = 0; i < n_fds; i++)
		fds[i] = i + 1 < n_fds ? fd : lingering;
	wire_send(fd, &m, bytes, fds, (uint32_t)n_fds);
}

START_TEST(the_reactor_does_not_wait_in_close)
{
	enum way way = (enum way)_i;
	int others[3], n = way == WAY_TURNED_AWAY ? 3 : 1, fd;
	struct lingering l = linger();
	union wire m;

	for (int i = 0; i < n; i++) {
		others[i] = wire_dial(&daemon_);
		wire_hello(others[i], NULL);
	}
	/* Its copy is the last one when the daemon gets there. */
	stop_daemon();
	fd = wire_dial(&daemon_);
	send_in_a_way(fd, way, l.fd);
	close(l.fd);
	if (way == WAY_GONE)
		close(fd);
	kill(daemon_.pid, SIGCONT);
	if (way == WAY_HELLO && knows_pidfds()) {
		ck_assert_int_eq(wire_hear(fd, &m, NULL), CKV_WELCOME);
	} else if (way != WAY_GONE) {
		ck_assert_int_eq(wire_hear(fd, &m, NULL), CKV_REFUSED);
		ck_assert_uint_eq(m.refused.error, way == WAY_TURNED_AWAY ?
				  EUSERS : EPROTO);
	}
	expect_closer_waits(true);
	/* The reactor answers. */
	for (int i = 0; i < 20; i++) {
		m = (union wire){ .attach = { .space = "none", .access = 2 } };
		wire_head(&m, CKV_ATTACH, sizeof m.attach, 0);
		wire_send(others[0], &m, sizeof m.attach, NULL, 0);
		ck_assert_int_eq(wire_hear(others[0], &m, NULL), CKV_REFUSED);
	}
	ck_assert(closer_waits());
	let_go(&l);
	expect_closer_waits(false);
	for (int i = 0; i < n; i++)
		close(others[i]);
	if (way != WAY_GONE)
		close(fd);
}
END_TEST

/* What was sent to it last reaches a client that had more to say. */
START_TEST(a_refusal_is_heard_after_unread_messages)
{
	union wire m;
	int fd;

	for (int i = 0; i < 50; i++) {
		stop_daemon();
		fd = wire_dial(&daemon_);
		send_in_a_way(fd, WAY_BEHIND, 0);
		send_in_a_way(fd, WAY_TYPE, 0);
		kill(daemon_.pid, SIGCONT);
		ck_assert_int_eq(wire_hear(fd, &m, NULL), CKV_REFUSED);
		ck_assert_uint_eq(m.refused.error, EPROTO);
		ck_assert_int_eq(wire_hear(fd, &m, NULL), 0);
		close(fd);
	}
}
END_TEST

/* Can a listener of this kernel, and of the daemon's, be told to let none in? */
static bool can_refuse(void)
{
	int pair[2], r;

	if (!knows_pidfds())
		return false;
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	r = sys_pass_rights(pair[0], false);
	close(pair[0]);
	close(pair[1]);
	return r == 0;
}

/*
 * One descriptor lingers, and more connections end than may wait for it: others are
 * let in all the same, and hear a refusal.
 */
START_TEST(who_lingers_keeps_nobody_out)
{
	int others = wire_dial(&daemon_), fd, n = 2 * CLOSER_USER_ITEMS;
	struct lingering l = linger();
	struct ckv *honest;
	char args[128];
	union wire m;

	if (!can_refuse())
		n = 200;
	wire_hello(others, NULL);
	/* Its copy is the last one when the daemon gets there. */
	stop_daemon();
	fd = wire_dial(&daemon_);
	send_in_a_way(fd, WAY_MANY, l.fd);
	close(l.fd);
	kill(daemon_.pid, SIGCONT);
	expect_closer_waits(true);
	close(fd);
	for (int i = 0; i < n; i++) {
		fd = wire_dial(&daemon_);
		wire_head(&m, CKV_HELLO, sizeof m.hello, 0);
		m.head.magic++;
		wire_send(fd, &m, sizeof m.hello, NULL, 0);
		ck_assert_int_eq(wire_hear(fd, &m, NULL), CKV_REFUSED);
		close(fd);
	}
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(ckv_open(daemon_.socket, "honest", &honest), 0);
		ckv_close(honest);
	}
	snprintf(args, sizeof args, "clients --socket %s", daemon_.socket);
	ckv(args);
	ck_assert_int_eq(said.rc, 0);
	ck_assert(closer_waits());
	let_go(&l);
	close(others);
}
END_TEST

/* There is no place for all that a message can bring: none may bring any. */
START_TEST(few_descriptors_are_enough)
{
	struct rlimit few = { 200, 200 };
	struct ckv *ckv = NULL;
	int r;

	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
	test_daemon_start(&daemon_, NULL, NULL);
	r = ckv_open(daemon_.socket, "honest", &ckv);
	ck_assert_int_eq(r, can_refuse() ? 0 : -EMFILE);
	if (r < 0)
		ck_assert_ptr_nonnull(strstr(ckv_why(NULL), "RLIMIT_NOFILE"));
	ckv_close(ckv);
	test_daemon_remove(&daemon_);
}
END_TEST

/* Once it is known, a client cannot send any, or is put out for it. */
START_TEST(a_known_client_sends_no_descriptors)
{
	union wire m = { .id = { .id = 0 } };
	int fd = wire_dial(&daemon_), r;
	char control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec iov = { &m, sizeof m.id };
	struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1,
			    .msg_control = control,
			    .msg_controllen = sizeof control };

	wire_hello(fd, NULL);
	wire_head(&m, CKV_DETACH, sizeof m.id, 1);
	CMSG_FIRSTHDR(&h)->cmsg_level = SOL_SOCKET;
	CMSG_FIRSTHDR(&h)->cmsg_type = SCM_RIGHTS;
	CMSG_FIRSTHDR(&h)->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(CMSG_FIRSTHDR(&h)), &fd, sizeof fd);
	r = (int)sendmsg(fd, &h, MSG_NOSIGNAL);
	if (r < 0) {
		ck_assert_int_eq(errno, EPERM);
		wire_head(&m, CKV_DETACH, sizeof m.id, 0);
		wire_send(fd, &m, sizeof m.id, NULL, 0);
	}
	ck_assert_int_eq(wire_hear(fd, &m, NULL), CKV_REFUSED);
	ck_assert_uint_eq(m.refused.error, r < 0 ? EINVAL : EPROTO);
	close(fd);
}
END_TEST

CHECK_MAIN("shell_peers",
	CASE("closer"),
	TEST(nobody_waits_behind_another_user),
	TEST(many_users_may_linger),
	TEST(the_queue_is_bounded),
	TEST(stopping_does_not_wait_for_ever),
	CASE("daemon", .setup = setup, .teardown = teardown),
	LOOP(the_reactor_does_not_wait_in_close, WAYS),
	TEST(a_refusal_is_heard_after_unread_messages),
	TEST(who_lingers_keeps_nobody_out),
	TEST(a_known_client_sends_no_descriptors),
	CASE("few"),
	TEST(few_descriptors_are_enough))

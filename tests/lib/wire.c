/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire.c - control messages by hand.
 */
#include "tests/lib/wire.h"

#include <check.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

void wire_daemon_start(struct test_daemon *daemon)
{
	test_daemon_start(daemon, "log_level = debug\nmax_clients = 4\n"
			  "max_clients_per_user = 4\nmax_lanes_per_user = 4\n"
			  "max_lanes = 4\nmax_client_lanes = 2\n"
			  "hello_timeout = 100ms\n", NULL);
}

int wire_dial(const struct test_daemon *daemon)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	strcpy(a.sun_path, daemon->socket);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
	return fd;
}

void wire_send(int fd, const void *bytes, size_t n_bytes, const int *fds,
		     uint32_t n_fds)
{
	union {
		char bytes[CMSG_SPACE(16 * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec iov = { (void *)bytes, n_bytes };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (n_fds > 0) {
		memset(&control, 0, sizeof control);
		m.msg_control = &control;
		m.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
		CMSG_FIRSTHDR(&m)->cmsg_level = SOL_SOCKET;
		CMSG_FIRSTHDR(&m)->cmsg_type = SCM_RIGHTS;
		CMSG_FIRSTHDR(&m)->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
		memcpy(CMSG_DATA(CMSG_FIRSTHDR(&m)), fds, n_fds * sizeof(int));
	}
	ck_assert_int_eq(sendmsg(fd, &m, MSG_NOSIGNAL), (ssize_t)n_bytes);
}

void wire_head(union wire *m, uint16_t type, size_t bytes, uint32_t n_fds)
{
	m->head = (struct ckv_control_head){
		.magic = CKV_CONTROL_MAGIC,
		.protocol_version = CKV_PROTOCOL_VERSION, .type = type,
		.n_fds = n_fds, .n_bytes = (uint32_t)bytes,
	};
}

int wire_hear(int fd, union wire *m, int *fds)
{
	union {
		char bytes[CMSG_SPACE(CKV_FDS_MAX * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec iov = { m, sizeof *m };
	struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1,
			    .msg_control = &control,
			    .msg_controllen = sizeof control };
	struct pollfd p = { .fd = fd, .events = POLLIN };
	struct cmsghdr *c;
	ssize_t n;

	ck_assert_int_eq(poll(&p, 1, 5000), 1);
	n = recvmsg(fd, &h, MSG_CMSG_CLOEXEC);
	if (n <= 0)
		return 0;
	ck_assert_uint_eq(m->head.n_bytes, (uint32_t)n);
	c = CMSG_FIRSTHDR(&h);
	for (uint32_t i = 0; i < m->head.n_fds; i++) {
		int got;

		ck_assert_ptr_nonnull(c);
		memcpy(&got, CMSG_DATA(c) + i * sizeof(int), sizeof got);
		if (fds && i < 4)
			fds[i] = got;
		else
			close(got);
	}
	return m->head.type;
}

uint64_t wire_hello(int fd, int *fds)
{
	int pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0);
	union wire m = { .hello = { .layout_version = CKV_LAYOUT_VERSION,
				       .pid = (uint32_t)getpid(),
				       .name = "test" } };

	wire_head(&m, CKV_HELLO, sizeof m.hello, 1);
	wire_send(fd, &m, sizeof m.hello, &pidfd, 1);
	close(pidfd);
	ck_assert_int_eq(wire_hear(fd, &m, fds), CKV_WELCOME);
	return m.welcome.epoch;
}

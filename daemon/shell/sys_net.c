/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sys_net.c - calls on sockets, epoll and io_uring.
 */
#include "daemon/shell/sys.h"
#include "daemon/shell/sys_fault.h"

#include <errno.h>
#include <linux/sockios.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/un.h>

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif
#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83
#endif

int sys_socket(void)
{
	return sys_fault() ? -errno : sys_count_descriptor(
		socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
}

static int address(const char *path, struct sockaddr_un *ret_address)
{
	memset(ret_address, 0, sizeof *ret_address);
	ret_address->sun_family = AF_UNIX;
	if (strlen(path) >= sizeof ret_address->sun_path)
		return -ENAMETOOLONG;
	strcpy(ret_address->sun_path, path);
	return 0;
}

int sys_bind(int fd, const char *path)
{
	struct sockaddr_un a;
	int r = address(path, &a);

	if (r < 0)
		return r;
	return sys_fault() || bind(fd, (struct sockaddr *)&a, sizeof a) != 0 ?
	       -errno : 0;
}

int sys_listen(int fd, int backlog)
{
	return sys_fault() || listen(fd, backlog) != 0 ? -errno : 0;
}

int sys_connect(int fd, const char *path)
{
	struct sockaddr_un a;
	int r = address(path, &a);

	if (r < 0)
		return r;
	return sys_fault() || connect(fd, (struct sockaddr *)&a, sizeof a) != 0 ?
	       -errno : 0;
}

int sys_accept(int fd)
{
	return sys_fault() ? -errno : sys_count_descriptor(
		accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK));
}

ssize_t sys_send(int fd, const struct msghdr *message)
{
	ssize_t n;

	if (sys_fault())
		return -errno;
	do
		n = sendmsg(fd, message, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

static void count_received(struct msghdr *message)
{
	struct cmsghdr *c;
	size_t n;

	for (c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		while (n-- > 0)
			sys_count_descriptor(0);
	}
}

ssize_t sys_receive(int fd, struct msghdr *message, bool peek)
{
	int flags = MSG_DONTWAIT | MSG_CMSG_CLOEXEC | (peek ? MSG_PEEK : 0);
	ssize_t n;

	if (sys_fault())
		return -errno;
	do
		n = recvmsg(fd, message, flags);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	count_received(message);
	return n;
}

int sys_socket_option(int fd, int name, void *value, socklen_t *bytes)
{
	return sys_fault() || getsockopt(fd, SOL_SOCKET, name, value, bytes) != 0
	       ? -errno : 0;
}

int sys_peer_pidfd(int fd)
{
	int pidfd = -1;
	socklen_t bytes = sizeof pidfd;

	if (sys_fault() ||
	    getsockopt(fd, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &bytes) != 0)
		return -errno;
	return sys_count_descriptor(pidfd);
}

int sys_pass_rights(int fd, bool may)
{
	int on = may;

	return sys_fault() || setsockopt(fd, SOL_SOCKET, SO_PASSRIGHTS, &on,
					 sizeof on) != 0 ? -errno : 0;
}

bool sys_passes_rights(int fd)
{
	socklen_t bytes = sizeof(int);
	int on = 1;

	return sys_socket_option(fd, SO_PASSRIGHTS, &on, &bytes) < 0 || on != 0;
}

/* This cannot fail on a connected socket, so no test makes it fail. */
int sys_shut_socket(int fd)
{
	return shutdown(fd, SHUT_RDWR) != 0 ? -errno : 0;
}

int sys_unread(int fd)
{
	int n = 0;

	return sys_fault() || ioctl(fd, SIOCOUTQ, &n) != 0 ? -errno : n;
}

int sys_epoll(void)
{
	return sys_fault() ? -errno :
	       sys_count_descriptor(epoll_create1(EPOLL_CLOEXEC));
}

int sys_epoll_add(int fd, int watched, uint32_t events, uint64_t token)
{
	struct epoll_event e = { .events = events, .data.u64 = token };

	return sys_fault() || epoll_ctl(fd, EPOLL_CTL_ADD, watched, &e) != 0 ?
	       -errno : 0;
}

int sys_epoll_remove(int fd, int watched)
{
	return epoll_ctl(fd, EPOLL_CTL_DEL, watched, NULL) != 0 ? -errno : 0;
}

int sys_epoll_wait(int fd, struct epoll_event *events, int max, int wait_ms)
{
	int n = epoll_wait(fd, events, max, wait_ms);

	return n < 0 ? -errno : n;
}

int sys_uring(unsigned int n_entries, struct io_uring *ring,
	      struct io_uring_params *params)
{
	int r;

	if (sys_fault())
		return -errno;
	r = io_uring_queue_init_params(n_entries, ring, params);
	if (r == 0)
		sys_count_descriptor(ring->ring_fd);
	return r;
}

void sys_uring_exit(struct io_uring *ring)
{
	io_uring_queue_exit(ring);
	sys_uncount_descriptor();
}

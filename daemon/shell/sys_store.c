/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sys_store.c - calls on memory that outlives the daemon, and on the service manager that
 * holds it.
 */
#include "daemon/shell/sys.h"
#include "daemon/shell/sys_fault.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#define NOTICE_BYTES 256	/* FDSTORE=1, a name, FDPOLL=0 */

int sys_dup(int fd)
{
	return sys_fault() ? -errno :
	       sys_count_descriptor(fcntl(fd, F_DUPFD_CLOEXEC, 3));
}

int sys_seals(int fd)
{
	int seals = sys_fault() ? -1 : fcntl(fd, F_GET_SEALS);

	return seals < 0 ? -errno : seals;
}

int sys_punch(int fd, uint64_t offset, uint64_t bytes)
{
	return sys_fault() ||
	       fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			 (off_t)offset, (off_t)bytes) != 0 ? -errno : 0;
}

bool sys_readable(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, 0) > 0;
}

/* An empty text is no path, as libsystemd sees it. */
bool sys_has_manager(void)
{
	const char *path = getenv("NOTIFY_SOCKET");

	return path != NULL && path[0] != 0;
}

bool sys_were_passed(void)
{
	return sd_listen_fds(0) > 0;
}

int sys_take_fds(char ***ret_names)
{
	char **names = NULL;
	int n = sys_fault() ? -errno : sd_listen_fds_with_names(1, &names);

	for (int i = 0; i < n; i++)
		sys_count_descriptor(SYS_FDS_START + i);
	*ret_names = names;
	return n;
}

void sys_free_names(char **names)
{
	for (char **name = names; name != NULL && *name != NULL; name++)
		free(*name);
	free(names);
}

/* Where the manager listens. Returns the bytes of the address; 0: nowhere. */
static socklen_t manager_address(struct sockaddr_un *ret_address)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	const char *path = getenv("NOTIFY_SOCKET");
	size_t n = path != NULL ? strlen(path) : 0;

	if (n < 2 || n >= sizeof address.sun_path || (path[0] != '/' && path[0] != '@'))
		return 0;
	memcpy(address.sun_path, path, n);
	if (path[0] == '@')
		address.sun_path[0] = 0;
	*ret_address = address;
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n);
}

/*
 * Send the manager a message, with a descriptor unless that is negative. Its queue takes few,
 * and sd_notify(3) would wait for ever for a manager that has stopped.
 */
static int tell(const char *text, int fd, uint64_t wait_ns)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = { .bytes = { 0 } };
	struct sockaddr_un address;
	struct timeval wait = {
		.tv_sec = (time_t)(wait_ns / 1000000000u),
		.tv_usec = (suseconds_t)(wait_ns % 1000000000u / 1000),
	};
	struct iovec iov = { (char *)text, strlen(text) };
	struct msghdr m = { .msg_name = &address, .msg_iov = &iov, .msg_iovlen = 1 };
	int s, r;

	m.msg_namelen = manager_address(&address);
	if (m.msg_namelen == 0)
		return -ENOTCONN;
	if (fd >= 0) {
		m.msg_control = control.bytes;
		m.msg_controllen = sizeof control.bytes;
		CMSG_FIRSTHDR(&m)->cmsg_level = SOL_SOCKET;
		CMSG_FIRSTHDR(&m)->cmsg_type = SCM_RIGHTS;
		CMSG_FIRSTHDR(&m)->cmsg_len = CMSG_LEN(sizeof fd);
		memcpy(CMSG_DATA(CMSG_FIRSTHDR(&m)), &fd, sizeof fd);
	}
	s = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (s < 0)
		return -errno;
	r = wait_ns > 0 && setsockopt(s, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait) != 0 ?
	    -1 : (int)sendmsg(s, &m, MSG_NOSIGNAL | (wait_ns > 0 ? 0 : MSG_DONTWAIT));
	r = r < 0 ? -errno : 0;
	close(s);
	return r;
}

int sys_notify(const char *text, uint64_t wait_ns)
{
	if (!sys_has_manager())
		return 0;
	return sys_fault() ? -errno : tell(text, -1, wait_ns);
}

int sys_store_put(const char *name, int fd, bool poll, uint64_t wait_ns)
{
	char text[NOTICE_BYTES];

	snprintf(text, sizeof text, "FDSTORE=1\nFDNAME=%s%s", name,
		 poll ? "" : "\nFDPOLL=0");
	return sys_fault() ? -errno : tell(text, fd, wait_ns);
}

int sys_store_remove(const char *name, uint64_t wait_ns)
{
	char text[NOTICE_BYTES];

	snprintf(text, sizeof text, "FDSTOREREMOVE=1\nFDNAME=%s", name);
	return sys_fault() ? -errno : tell(text, -1, wait_ns);
}

/* The manager answers by closing the end of a pipe. */
int sys_store_barrier(uint64_t wait_ns)
{
	struct pollfd p = { .events = 0 };
	int ends[2], r;

	if (sys_fault() || pipe2(ends, O_CLOEXEC) != 0)
		return -errno;
	r = tell("BARRIER=1", ends[1], wait_ns);
	close(ends[1]);
	p.fd = ends[0];
	while (r == 0) {
		int n = poll(&p, 1, (int)(wait_ns / 1000000));

		if (n > 0)
			break;
		if (n == 0)
			r = -ETIMEDOUT;
		else if (errno != EINTR)
			r = -errno;
	}
	close(ends[0]);
	return r;
}

uint64_t sys_store_most(void)
{
	const char *text = getenv("FDSTORE");
	unsigned long long most = text != NULL ? strtoull(text, NULL, 10) : 0;

	return most > 0 ? most : UINT64_MAX;
}

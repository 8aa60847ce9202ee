/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sys.c - calls to the kernel and the allocator; see sys.h.
 */
#include "client/sys.h"

#include <errno.h>
#include <linux/futex.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static _Thread_local long fault_in;	/* calls until one fails; 0: none */
static _Thread_local long fault_calls;
static _Thread_local int fault_error;

void lib_sys_fault_arm(long nth, int error)
{
	fault_in = nth;
	fault_error = error;
}

long lib_sys_fault_calls(void)
{
	return fault_calls;
}

/* Does this call fail by order of a test? Then errno says how. */
static int fault(void)
{
	fault_calls++;
	if (fault_in == 0 || --fault_in != 0)
		return 0;
	errno = fault_error;
	return 1;
}

void *lib_sys_alloc(size_t n, size_t bytes)
{
	return fault() ? NULL : calloc(n ? n : 1, bytes ? bytes : 1);
}

void lib_sys_free(void *pointer)
{
	free(pointer);
}

int lib_sys_map(void *place, size_t bytes, int protection, int flags, int fd,
		uint64_t offset, void **ret_base)
{
	void *base = fault() ? MAP_FAILED :
			       mmap(place, bytes, protection, flags, fd,
				    (off_t)offset);

	if (base == MAP_FAILED)
		return -errno;
	*ret_base = base;
	return 0;
}

/* Map what is shared at `mapped` a second time, at `place`. */
int lib_sys_map_again(void *place, void *mapped, size_t bytes)
{
	return fault() || mremap(mapped, 0, bytes, MREMAP_MAYMOVE | MREMAP_FIXED,
				 place) == MAP_FAILED ? -errno : 0;
}

int lib_sys_advise(void *base, size_t bytes, int advice)
{
	return fault() || madvise(base, bytes, advice) < 0 ? -errno : 0;
}

void lib_sys_unmap(const void *base, size_t bytes)
{
	if (base != NULL)
		munmap((void *)(uintptr_t)base, bytes);
}

size_t lib_sys_page_bytes(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

int lib_sys_size(int fd, size_t *ret_bytes)
{
	struct stat st;

	if (fault() || fstat(fd, &st) < 0)
		return -errno;
	*ret_bytes = st.st_size > 0 ? (size_t)st.st_size : 0;
	return 0;
}

int lib_sys_file_id(int fd, struct lib_file_id *ret_id)
{
	struct stat st;

	if (fault() || fstat(fd, &st) < 0)
		return -errno;
	*ret_id = (struct lib_file_id){ st.st_dev, st.st_ino };
	return 0;
}

void lib_sys_close(int fd)
{
	if (fd >= 0)
		close(fd);
}

int lib_sys_epoll(void)
{
	int fd = fault() ? -1 : epoll_create1(EPOLL_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

int lib_sys_epoll_add(int epoll, int fd)
{
	struct epoll_event event = { .events = EPOLLIN };

	return fault() || epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0 ?
	       -errno : 0;
}

/* Is the set readable when `fd` is, or only when its other end is closed? */
void lib_sys_epoll_change(int epoll, int fd, int readable)
{
	struct epoll_event event = { .events = readable ? EPOLLIN : 0 };

	epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &event);
}

/*
 * To be called before close(): a forked child may hold the same socket, and
 * then the closed one would stay in the set and be readable for ever.
 */
void lib_sys_epoll_remove(int epoll, int fd)
{
	epoll_ctl(epoll, EPOLL_CTL_DEL, fd, NULL);
}

int lib_sys_eventfd(void)
{
	int fd = fault() ? -1 : eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	return fd < 0 ? -errno : fd;
}

int lib_sys_eventfd_add(int fd)
{
	uint64_t one = 1;
	ssize_t n;

	if (fault())
		return -errno;
	do
		n = write(fd, &one, sizeof one);
	while (n < 0 && errno == EINTR);
	return n < 0 && errno != EAGAIN ? -errno : 0;
}

void lib_sys_eventfd_clear(int fd)
{
	uint64_t count;
	ssize_t n;

	do
		n = read(fd, &count, sizeof count);
	while (n < 0 && errno == EINTR);
}

int lib_sys_wait_readable(int fd, int wait_ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return fault() || poll(&p, 1, wait_ms) < 0 ? -errno : 0;
}

int lib_sys_socket(void)
{
	int fd = fault() ? -1 : socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC |
				       SOCK_NONBLOCK, 0);

	return fd < 0 ? -errno : fd;
}

int lib_sys_connect(int sock, const struct sockaddr_un *address)
{
	return fault() || connect(sock, (const struct sockaddr *)address,
				  sizeof *address) < 0 ? -errno : 0;
}

int lib_sys_is_socket(const char *path)
{
	struct stat st;

	return stat(path, &st) < 0 || S_ISSOCK(st.st_mode);
}

int lib_sys_send(int sock, const struct msghdr *message)
{
	ssize_t n;

	if (fault())
		return -errno;
	do
		n = sendmsg(sock, message, MSG_NOSIGNAL | MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}

ssize_t lib_sys_receive(int sock, struct msghdr *message)
{
	ssize_t n;

	if (fault())
		return -errno;
	do
		n = recvmsg(sock, message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

pid_t lib_sys_pid(void)
{
	return getpid();
}

int lib_sys_own_pidfd(void)
{
	long fd = fault() ? -1 : syscall(SYS_pidfd_open, getpid(), 0);

	return fd < 0 ? -errno : (int)fd;
}

int64_t lib_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

void lib_sys_sleep(int64_t ns)
{
	struct timespec t = { .tv_sec = ns / 1000000000,
			      .tv_nsec = ns % 1000000000 };

	nanosleep(&t, NULL);
}

/* Woken, interrupted or over: whoever waits looks again in any case. */
void lib_sys_futex_wait(const void *word, uint32_t value, int64_t most_ns)
{
	struct timespec most = { .tv_sec = most_ns / 1000000000,
				 .tv_nsec = most_ns % 1000000000 };

	syscall(SYS_futex, word, FUTEX_WAIT, value, &most, NULL, 0);
}

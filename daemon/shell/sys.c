/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sys.c - calls on memory, files and threads. sys_net.c has the rest.
 */
#include "daemon/shell/sys.h"
#include "daemon/shell/sys_fault.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <openssl/evp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static _Thread_local long fault_in;	/* after so many calls one fails; 0: none does */
static _Thread_local long fault_calls;
static _Thread_local int fault_error;

static pthread_mutex_t count_lock = PTHREAD_MUTEX_INITIALIZER;
static long n_descriptors;
static long n_mapped_bytes;
static long n_memfds;

void sys_fault_arm(long nth, int error)
{
	fault_in = nth;
	fault_error = error;
}

long sys_fault_calls(void)
{
	return fault_calls;
}

int sys_fault(void)
{
	fault_calls++;
	if (fault_in == 0 || --fault_in != 0)
		return 0;
	errno = fault_error;
	return 1;
}

static void count(long *counter, long n)
{
	pthread_mutex_lock(&count_lock);
	*counter += n;
	pthread_mutex_unlock(&count_lock);
}

int sys_count_descriptor(int fd)
{
	if (fd < 0)
		return -errno;
	count(&n_descriptors, 1);
	return fd;
}

void sys_uncount_descriptor(void)
{
	count(&n_descriptors, -1);
}

long sys_descriptors(void)
{
	return n_descriptors;
}

long sys_mapped_bytes(void)
{
	return n_mapped_bytes;
}

long sys_memfds(void)
{
	return n_memfds;
}

int sys_alloc(size_t n, size_t bytes, void *ret_pointer)
{
	void *p = sys_fault() ? NULL : calloc(n ? n : 1, bytes ? bytes : 1);

	if (p == NULL)
		return -ENOMEM;
	*(void **)ret_pointer = p;
	return 0;
}

void sys_free(void *pointer)
{
	free(pointer);
}

int sys_sha256(const struct iovec *piece, size_t n, uint8_t ret_hash[32])
{
	EVP_MD_CTX *context = sys_fault() ? NULL : EVP_MD_CTX_new();
	uint8_t hash[32];
	int ok = context != NULL &&
		 EVP_DigestInit_ex(context, EVP_sha256(), NULL);

	for (size_t i = 0; ok && i < n; i++)
		ok = EVP_DigestUpdate(context, piece[i].iov_base,
				      piece[i].iov_len);
	ok = ok && EVP_DigestFinal_ex(context, hash, NULL);
	EVP_MD_CTX_free(context);
	if (!ok)
		return -ENOMEM;
	memcpy(ret_hash, hash, sizeof hash);
	return 0;
}

int sys_memfd(const char *name)
{
	count(&n_memfds, 1);
	return sys_fault() ? -errno : sys_count_descriptor(
		memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
}

int sys_truncate(int fd, uint64_t bytes)
{
	return sys_fault() || ftruncate(fd, (off_t)bytes) != 0 ? -errno : 0;
}

int sys_seal(int fd, int seals)
{
	return sys_fault() || fcntl(fd, F_ADD_SEALS, seals) != 0 ? -errno : 0;
}

int sys_chmod(int fd, mode_t mode)
{
	return sys_fault() || fchmod(fd, mode) != 0 ? -errno : 0;
}

int sys_chmod_path(const char *path, mode_t mode)
{
	return sys_fault() || chmod(path, mode) != 0 ? -errno : 0;
}

int sys_chown(int fd, uid_t uid, gid_t gid)
{
	return sys_fault() || fchown(fd, uid, gid) != 0 ? -errno : 0;
}

int sys_chown_path(const char *path, uid_t uid, gid_t gid)
{
	return sys_fault() || chown(path, uid, gid) != 0 ? -errno : 0;
}

static int map(void *at, size_t bytes, int prot, int flags, int fd,
	       uint64_t offset, void **ret_base)
{
	void *base = sys_fault() ? MAP_FAILED :
		     mmap(at, bytes, prot, flags, fd, (off_t)offset);

	if (base == MAP_FAILED)
		return -errno;
	*ret_base = base;
	return 0;
}

/*
 * A 2 MiB-aligned address where there was room for `bytes` a moment ago, so that a file
 * can be mapped there with huge pages. Only a hint: if the kernel takes another
 * address, the mapping works too, with more TLB misses.
 */
static void *huge_hint(size_t bytes)
{
	const size_t huge = 2u << 20;
	char *room;

	if (bytes < huge)
		return NULL;
	room = mmap(NULL, bytes + huge, PROT_NONE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (room == MAP_FAILED)
		return NULL;
	munmap(room, bytes + huge);
	return room + (huge - (uintptr_t)room % huge) % huge;
}

int sys_map(int fd, size_t bytes, int prot, void *ret_base)
{
	int r = map(huge_hint(bytes), bytes, prot, MAP_SHARED, fd, 0, ret_base);

	if (r == 0)
		count(&n_mapped_bytes, (long)bytes);
	return r;
}

int sys_map_part(int fd, uint64_t offset, size_t bytes, int prot, void *ret_base)
{
	int r = map(NULL, bytes, prot, MAP_SHARED, fd, offset, ret_base);

	if (r == 0)
		count(&n_mapped_bytes, (long)bytes);
	return r;
}

int sys_map_at(int fd, void *at, size_t bytes, int prot)
{
	void *base;

	/* This replaces a part of a reserved range, whose bytes are counted already. */
	return map(at, bytes, prot, MAP_SHARED | MAP_FIXED, fd, 0, &base);
}

int sys_map_private(size_t bytes, int prot, void *ret_base)
{
	int r = map(NULL, bytes, prot,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0, ret_base);

	if (r == 0)
		count(&n_mapped_bytes, (long)bytes);
	return r;
}

void sys_unmap(void *base, size_t bytes)
{
	if (base == NULL)
		return;
	munmap(base, bytes);
	count(&n_mapped_bytes, -(long)bytes);
}

int sys_advise(void *base, size_t bytes, int advice)
{
	return sys_fault() || madvise(base, bytes, advice) != 0 ? -errno : 0;
}

int sys_open(const char *path, int flags, mode_t mode)
{
	return sys_fault() ? -errno :
	       sys_count_descriptor(open(path, flags | O_CLOEXEC, mode));
}

int sys_close(int fd)
{
	if (fd < 0)
		return 0;
	close(fd);
	count(&n_descriptors, -1);
	return 0;
}

ssize_t sys_read(int fd, void *data, size_t bytes)
{
	ssize_t n;

	if (sys_fault())
		return -errno;
	do
		n = read(fd, data, bytes);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

ssize_t sys_write(int fd, const void *data, size_t bytes)
{
	ssize_t n;

	if (sys_fault())
		return -errno;
	do
		n = write(fd, data, bytes);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

ssize_t sys_write_now(int fd, const void *data, size_t bytes)
{
	struct pollfd p = { .fd = fd, .events = POLLOUT };

	if (poll(&p, 1, 0) <= 0)
		return -EAGAIN;
	return sys_write(fd, data, bytes < PIPE_BUF ? bytes : PIPE_BUF);
}

ssize_t sys_pwrite(int fd, const void *data, size_t bytes, off_t offset)
{
	ssize_t n = sys_fault() ? -1 : pwrite(fd, data, bytes, offset);

	return n < 0 ? -errno : n;
}

ssize_t sys_pread(int fd, void *data, size_t bytes, off_t offset)
{
	ssize_t n = sys_fault() ? -1 : pread(fd, data, bytes, offset);

	return n < 0 ? -errno : n;
}

int sys_stat(const char *path, struct stat *ret_stat)
{
	return sys_fault() || stat(path, ret_stat) != 0 ? -errno : 0;
}

int sys_stat_fd(int fd, struct stat *ret_stat)
{
	return sys_fault() || fstat(fd, ret_stat) != 0 ? -errno : 0;
}

int sys_access(const char *path, int mode)
{
	return sys_fault() || access(path, mode) != 0 ? -errno : 0;
}

int sys_in_group(gid_t gid)
{
	if (sys_fault())
		return -errno;
	return geteuid() == 0 || group_member(gid) ? 0 : -EPERM;
}

ssize_t sys_readlink(const char *path, char *text, size_t bytes)
{
	ssize_t n = sys_fault() ? -1 : readlink(path, text, bytes);

	return n < 0 ? -errno : n;
}

int sys_unlink(const char *path)
{
	return sys_fault() || unlink(path) != 0 ? -errno : 0;
}

int sys_rename(const char *from, const char *to)
{
	return sys_fault() || rename(from, to) != 0 ? -errno : 0;
}

int sys_lock(int fd)
{
	return sys_fault() || flock(fd, LOCK_EX | LOCK_NB) != 0 ? -errno : 0;
}

int sys_eventfd(void)
{
	return sys_fault() ? -errno :
	       sys_count_descriptor(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
}

int sys_signalfd(const sigset_t *signals)
{
	return sys_fault() ? -errno : sys_count_descriptor(
		signalfd(-1, signals, SFD_NONBLOCK | SFD_CLOEXEC));
}

uint64_t sys_limit(int resource)
{
	struct rlimit limit;

	if (sys_fault() || getrlimit((__rlimit_resource_t)resource, &limit) != 0 ||
	    limit.rlim_cur == RLIM_INFINITY)
		return UINT64_MAX;
	return limit.rlim_cur;
}

int sys_raise_descriptors(void)
{
	struct rlimit limit;

	if (sys_fault() || getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return -errno;
	if (limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
			return -errno;
	}
	return limit.rlim_cur > 1 << 30 ? 1 << 30 : (int)limit.rlim_cur;
}

static uint64_t now_ns(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t sys_now_ns(void)
{
	return now_ns(CLOCK_MONOTONIC);
}

uint64_t sys_real_ns(void)
{
	return now_ns(CLOCK_REALTIME);
}

void sys_sleep_ns(uint64_t wait_ns)
{
	struct timespec t = { (time_t)(wait_ns / 1000000000u),
			      (long)(wait_ns % 1000000000u) };

	nanosleep(&t, NULL);
}

int sys_futex_wake(_Atomic uint32_t *word)
{
	long n = syscall(SYS_futex, word, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);

	return n < 0 ? -errno : (int)n;
}

int sys_random(void *data, size_t bytes)
{
	return sys_fault() || getrandom(data, bytes, 0) != (ssize_t)bytes ?
	       -errno : 0;
}

int sys_thread(pthread_t *ret_thread, void *(*run)(void *), void *argument)
{
	sigset_t all, before;
	int r;

	if (sys_fault())
		return -errno;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(ret_thread, NULL, run, argument);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return -r;
}

void sys_thread_name(const char *name)
{
	pthread_setname_np(pthread_self(), name);
}

pid_t sys_thread_id(void)
{
	return (pid_t)syscall(SYS_gettid);
}

uid_t sys_user_id(void)
{
	return geteuid();
}

uint32_t sys_processors(void)
{
	unsigned long mask[128];	/* room for 8192 processors */
	int n;

	if (sched_getaffinity(0, sizeof mask, (cpu_set_t *)mask) != 0)
		return 1;
	n = CPU_COUNT_S(sizeof mask, (cpu_set_t *)mask);
	return n < 1 ? 1 : (uint32_t)n;
}

/*
 * The kernel walks this list when the thread dies. Its one node is here, in private
 * memory; the futex word that it stands for is `futex_offset` bytes away from it.
 */
static _Thread_local struct robust_list robust_node;
static _Thread_local struct robust_list_head robust_head;

int sys_robust(_Atomic uint32_t *word)
{
	robust_head.list.next = word ? &robust_node : &robust_head.list;
	robust_node.next = &robust_head.list;
	robust_head.futex_offset = (char *)word - (char *)&robust_node;
	robust_head.list_op_pending = NULL;
	if (word == NULL)
		robust_head.futex_offset = 0;
	if (sys_fault())
		return -errno;
	return syscall(SYS_set_robust_list, &robust_head,
		       sizeof robust_head) != 0 ? -errno : 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sys.h - every call libckv makes to the kernel or the allocator.
 *
 * Each returns 0 or a value on success and -errno on failure, and each that can
 * fail can be made to: a test arms the n-th call of its thread. Reading the
 * clock is not among them, it never fails.
 */
#ifndef CKV_LIB_SYS_H
#define CKV_LIB_SYS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>

/*
 * Let the nth call of this thread from now on (1: the next) fail with
 * `error`, a positive errno. 0: none.
 */
void lib_sys_fault_arm(long nth, int error);

/* Calls this thread has made that could have been made to fail. */
long lib_sys_fault_calls(void);

/* Memory. lib_sys_alloc() gives zeroed memory, NULL when there is none. */
void *lib_sys_alloc(size_t n, size_t bytes);
void lib_sys_free(void *pointer);
int lib_sys_map(void *place, size_t bytes, int protection, int flags, int fd,
		uint64_t offset, void **ret_base);
int lib_sys_advise(void *base, size_t bytes, int advice);
int lib_sys_map_again(void *place, void *mapped, size_t bytes);
void lib_sys_unmap(const void *base, size_t bytes);	/* NULL is allowed */
size_t lib_sys_page_bytes(void);

/* Descriptors. */
int lib_sys_size(int fd, size_t *ret_bytes);
struct lib_file_id {
	uint64_t device, inode;
};
int lib_sys_file_id(int fd, struct lib_file_id *ret_id);
void lib_sys_close(int fd);		/* -1 is allowed */
int lib_sys_epoll(void);
int lib_sys_epoll_add(int epoll, int fd);
void lib_sys_epoll_change(int epoll, int fd, int readable);
void lib_sys_epoll_remove(int epoll, int fd);
int lib_sys_eventfd(void);
int lib_sys_eventfd_add(int fd);	/* 0 also when its counter is full */
void lib_sys_eventfd_clear(int fd);
int lib_sys_wait_readable(int fd, int wait_ms);	/* for descriptors that may be gone */

/* The control socket. */
int lib_sys_socket(void);
int lib_sys_connect(int sock, const struct sockaddr_un *address);
int lib_sys_is_socket(const char *path);
int lib_sys_send(int sock, const struct msghdr *message);
ssize_t lib_sys_receive(int sock, struct msghdr *message);
pid_t lib_sys_pid(void);
int lib_sys_own_pidfd(void);

/* Threads. */
int64_t lib_now_ns(void);
void lib_sys_sleep(int64_t ns);
void lib_sys_futex_wait(const void *word, uint32_t value, int64_t most_ns);

#endif

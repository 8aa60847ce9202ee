/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sys.h - every call that the daemon makes to the kernel or the allocator.
 *
 * Each returns 0 or a value on success and -errno on failure. Interrupted calls are
 * repeated where that does no harm. A test can make the n-th call of its thread fail.
 * Open descriptors and mapped bytes are counted, so that a test sees a leak.
 */
#ifndef CKV_SYS_H
#define CKV_SYS_H

#include <liburing.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>

/*
 * Make the nth call of this thread from now on (1: the next) fail with `error`, a
 * positive errno. nth = 0: no call.
 */
void sys_fault_arm(long nth, int error);

/* How many calls of this thread could have been made to fail so far. */
long sys_fault_calls(void);

/* Open descriptors and mapped bytes of the daemon, as these functions count them. */
long sys_descriptors(void);
long sys_mapped_bytes(void);
long sys_memfds(void);		/* memfds made since the start, also closed ones */

/* Memory. sys_alloc() gives zeroed memory; sys_map() maps `bytes` of fd. */
int sys_alloc(size_t n, size_t bytes, void *ret_pointer);
void sys_free(void *pointer);

/* SHA-256 of some pieces, one after the other. It allocates memory: -ENOMEM. */
int sys_sha256(const struct iovec *piece, size_t n, uint8_t ret_hash[32]);
int sys_memfd(const char *name);
int sys_truncate(int fd, uint64_t bytes);
int sys_seal(int fd, int seals);
int sys_chmod(int fd, mode_t mode);
int sys_chmod_path(const char *path, mode_t mode);
int sys_chown_path(const char *path, uid_t uid, gid_t gid);
int sys_map(int fd, size_t bytes, int prot, void *ret_base);
int sys_map_at(int fd, void *at, size_t bytes, int prot);
int sys_map_part(int fd, uint64_t offset, size_t bytes, int prot, void *ret_base);
int sys_map_private(size_t bytes, int prot, void *ret_base);
void sys_unmap(void *base, size_t bytes);
int sys_advise(void *base, size_t bytes, int advice);

/*
 * Memory that outlives the daemon, and the service manager that holds it: a program that
 * speaks systemd's protocol, on the socket that $NOTIFY_SOCKET names.
 */
#define SYS_FDS_START 3
int sys_dup(int fd);
int sys_seals(int fd);		/* F_SEAL_...; -EINVAL: it is no memfd */
int sys_punch(int fd, uint64_t offset, uint64_t bytes);	/* these bytes are zeros then */
bool sys_readable(int fd);	/* without waiting */
bool sys_has_manager(void);
bool sys_were_passed(void);	/* are there such descriptors? They stay untaken */
/*
 * The descriptors that the manager has passed to this process: their number n, and their
 * names, which sys_free_names() frees. They are SYS_FDS_START and the following. A
 * second call gives none.
 */
int sys_take_fds(char ***ret_names);
void sys_free_names(char **names);
/*
 * Have the manager hold a descriptor, forget the one of a name, say that it has done all
 * that was sent before. Each of them can wait so long. `poll`: it forgets a descriptor by itself
 * that hangs up.
 */
int sys_store_put(const char *name, int fd, bool poll, uint64_t wait_ns);
int sys_store_remove(const char *name, uint64_t wait_ns);
int sys_store_barrier(uint64_t wait_ns);
/* How many descriptors it holds at most, as far as it says so. */
uint64_t sys_store_most(void);
/*
 * Tell it a state, as sd_notify(3) does. -EAGAIN: for so long there was no room in its
 * queue; 0 does not wait. Without a manager: 0.
 */
int sys_notify(const char *text, uint64_t wait_ns);

/* Files and descriptors. */
int sys_open(const char *path, int flags, mode_t mode);
int sys_close(int fd);		/* negative: nothing to close */
ssize_t sys_read(int fd, void *data, size_t bytes);
ssize_t sys_write(int fd, const void *data, size_t bytes);
/* At most PIPE_BUF bytes; -EAGAIN: a pipe, socket or terminal has no room now. */
ssize_t sys_write_now(int fd, const void *data, size_t bytes);
ssize_t sys_pwrite(int fd, const void *data, size_t bytes, off_t offset);
ssize_t sys_pread(int fd, void *data, size_t bytes, off_t offset);
int sys_chown(int fd, uid_t uid, gid_t gid);
int sys_access(const char *path, int mode);
int sys_in_group(gid_t gid);	/* may this process give a file that group? 0 or -EPERM */
ssize_t sys_readlink(const char *path, char *text, size_t bytes); /* adds no 0 byte */
int sys_stat(const char *path, struct stat *ret_stat);
int sys_stat_fd(int fd, struct stat *ret_stat);
int sys_unlink(const char *path);
int sys_rename(const char *from, const char *to);
int sys_lock(int fd);		/* lock the whole file; -EWOULDBLOCK if another has it */
int sys_eventfd(void);
int sys_signalfd(const sigset_t *signals);
uint64_t sys_limit(int resource); /* the soft limit of RLIMIT_...; UINT64_MAX: none */
int sys_raise_descriptors(void); /* raise soft RLIMIT_NOFILE to the hard one; returns it */

/* Sockets. A descriptor that is received is counted as opened. */
int sys_socket(void);		/* SOCK_SEQPACKET, not blocking */
int sys_bind(int fd, const char *path);
int sys_listen(int fd, int backlog);
int sys_connect(int fd, const char *path);
int sys_accept(int fd);		/* the new socket does not block */
ssize_t sys_send(int fd, const struct msghdr *message);
/*
 * `peek`: leave the message in the socket. If `message` has no room for descriptors and
 * some came, MSG_CTRUNC is set.
 */
ssize_t sys_receive(int fd, struct msghdr *message, bool peek);
int sys_socket_option(int fd, int name, void *value, socklen_t *bytes);
int sys_peer_pidfd(int fd);	/* -ENOPROTOOPT before Linux 6.5 */
/* Let peers send descriptors, or let them get EPERM. -ENOPROTOOPT before Linux 6.16. */
int sys_pass_rights(int fd, bool may);
bool sys_passes_rights(int fd);	/* false: it is known that peers cannot send descriptors */
int sys_shut_socket(int fd);	/* shut it down in both directions */
int sys_unread(int fd);		/* bytes that were sent and the peer has not read */

/* Waiting and waking. */
uint64_t sys_now_ns(void);	/* CLOCK_MONOTONIC */
uint64_t sys_real_ns(void);	/* CLOCK_REALTIME */
void sys_sleep_ns(uint64_t wait_ns);
int sys_futex_wake(_Atomic uint32_t *word);
int sys_random(void *data, size_t bytes);
int sys_epoll(void);
int sys_epoll_add(int fd, int watched, uint32_t events, uint64_t token);
int sys_epoll_remove(int fd, int watched);
int sys_epoll_wait(int fd, struct epoll_event *events, int max, int wait_ms);
int sys_uring(unsigned int n_entries, struct io_uring *ring,
	      struct io_uring_params *params);
void sys_uring_exit(struct io_uring *ring);

/* Threads. A new thread has all signals blocked. */
int sys_thread(pthread_t *ret_thread, void *(*run)(void *), void *argument);
void sys_thread_name(const char *name);	/* name this thread; at most 15 letters */
pid_t sys_thread_id(void);
uid_t sys_user_id(void);	/* the effective uid */
uint32_t sys_processors(void);	/* how many this thread may use; at least 1 */

/*
 * Make `word` a robust futex of this thread: if the thread dies with its id in the
 * word, the kernel sets FUTEX_OWNER_DIED there. NULL: end that.
 */
int sys_robust(_Atomic uint32_t *word);

#endif

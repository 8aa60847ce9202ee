/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop.h - how the reactor waits for descriptors.
 *
 * A watch reports when its descriptor becomes readable (or hangs up): once
 * when it is added if it is readable already, then once per change. The one
 * who gets a report reads until -EAGAIN, or remembers to come back. A lane's
 * eventfd is not read at all: its file description is the client's too, which
 * could make a read block, or never block.
 *
 * Three implementations: io_uring with SINGLE_ISSUER and DEFER_TASKRUN, a
 * plain io_uring, epoll. One thread creates, uses and destroys a loop.
 */
#ifndef CKV_LOOP_H
#define CKV_LOOP_H

#include <stdbool.h>
#include <stdint.h>

enum loop_kind { LOOP_AUTO, LOOP_URING, LOOP_URING_PLAIN, LOOP_EPOLL };

struct loop;

/*
 * LOOP_AUTO takes the first that works. n_watches_max bounds the watches.
 * -ENOMEM, -EMFILE, -EPERM, -ENOSYS: the wanted kind is not to be had.
 */
int loop_create(enum loop_kind kind, uint32_t n_watches_max,
		struct loop **ret_loop);
void loop_destroy(struct loop *loop);		/* NULL is allowed */

/* "io_uring", "io_uring plain" or "epoll". */
const char *loop_name(const struct loop *loop);

/*
 * Report `token`, which is not 0 and of no other watch, nor of one not released yet, when fd is readable.
 * The caller removes the watch before it closes fd; reports of a token that
 * was removed may still arrive once.
 */
int loop_watch(struct loop *loop, int fd, uint64_t token);
void loop_unwatch(struct loop *loop, int fd, uint64_t token);

/*
 * Has the loop let go of the descriptor whose watch was removed? An io_uring holds
 * its file until a loop_wait() has taken the last report of it: closed before that, the
 * file ends in there.
 */
bool loop_released(const struct loop *loop, uint64_t token);

/*
 * Collect tokens, waiting at most wait_ns for the first (0: not at all). The
 * count; 0 also when a signal came. -errno when the loop is broken.
 */
int loop_wait(struct loop *loop, uint64_t wait_ns, uint64_t *ret_tokens,
	      int max);

/* Is it worth a loop_wait() without waiting? Makes no system call. */
bool loop_hint(const struct loop *loop);

/* ---- the implementations ---- */

struct loop_ops {
	void (*destroy)(struct loop *loop);
	int (*watch)(struct loop *loop, int fd, uint64_t token);
	void (*unwatch)(struct loop *loop, int fd, uint64_t token);
	int (*wait)(struct loop *loop, uint64_t wait_ns, uint64_t *ret_tokens,
		    int max);
	bool (*hint)(const struct loop *loop);
	bool (*released)(const struct loop *loop, uint64_t token);
};

struct loop {			/* the first member of an implementation's own */
	const struct loop_ops *ops;
	const char *name;
};

int loop_uring_create(bool plain, uint32_t n_watches_max,
		      struct loop **ret_loop);
int loop_epoll_create(struct loop **ret_loop);

#endif

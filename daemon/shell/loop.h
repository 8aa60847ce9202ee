/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop.h - how the reactor waits for descriptors.
 *
 * A watch reports when its descriptor becomes readable (or hangs up): once
 * when it is added if it is readable already, then once per change. After a
 * report the reactor reads until -EAGAIN, or remembers to read later. It never
 * reads a lane's eventfd: the client has the same file description, so it could
 * make a read block.
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
 * LOOP_AUTO takes the first kind that works. There can be n_watches_max watches.
 * -ENOMEM, -EMFILE, -EPERM, -ENOSYS: this machine does not give the wanted kind.
 */
int loop_create(enum loop_kind kind, uint32_t n_watches_max,
		struct loop **ret_loop);
void loop_destroy(struct loop *loop);		/* NULL is allowed */

/* "io_uring", "io_uring plain" or "epoll". */
const char *loop_name(const struct loop *loop);

/*
 * Report `token` when fd is readable. It is not 0, and is the token of no other watch,
 * nor of a removed one that is not released yet. The caller removes the watch before
 * it closes fd. One report may still arrive after that.
 */
int loop_watch(struct loop *loop, int fd, uint64_t token);
void loop_unwatch(struct loop *loop, int fd, uint64_t token);

/*
 * Does the loop no longer hold the file of a removed watch? An io_uring holds it until
 * loop_wait() has taken its last report. If the descriptor is closed before that, the
 * kernel closes the file itself inside the loop, where that may block the reactor.
 */
bool loop_released(const struct loop *loop, uint64_t token);

/*
 * Collect tokens, waiting at most wait_ns for the first (0: not at all). Returns the
 * count, 0 also after a signal. -errno: the loop has failed.
 */
int loop_wait(struct loop *loop, uint64_t wait_ns, uint64_t *ret_tokens,
	      int max);

/* Are there reports to collect, as far as is known without a system call? */
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

struct loop {			/* the first member of an implementation's struct */
	const struct loop_ops *ops;
	const char *name;
};

int loop_uring_create(bool plain, uint32_t n_watches_max,
		      struct loop **ret_loop);
int loop_epoll_create(struct loop **ret_loop);

#endif

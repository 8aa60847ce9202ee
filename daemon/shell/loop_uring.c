/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop_uring.c - the loop on io_uring: one multishot poll per watch.
 *
 * A multishot poll can end by itself; then its completion lacks F_MORE. It is armed
 * again at once, and reports again if the descriptor is still readable. The table of
 * watches has the descriptor of each token. A removed watch stays in the table until
 * the ring has reported the end of its poll.
 */
#include "daemon/shell/loop.h"
#include "daemon/shell/sys.h"

#include <errno.h>
#include <poll.h>

#ifndef IORING_SETUP_SINGLE_ISSUER
#define IORING_SETUP_SINGLE_ISSUER	(1u << 12)
#endif
#ifndef IORING_SETUP_DEFER_TASKRUN
#define IORING_SETUP_DEFER_TASKRUN	(1u << 13)
#endif

#define REMOVED_TOKEN	0u	/* of the completions of cancel() */
#define SUBMIT_ENTRIES	64u

struct watch {
	uint64_t token;		/* 0: this entry is free */
	int fd;
	bool armed;		/* the ring has a poll for it */
	bool removed;		/* waits for the end of its poll */
};

struct loop_uring {
	struct loop loop;
	struct io_uring ring;
	bool deferred;
	uint32_t n_watches_max;
	struct watch watch[];
};

static struct watch *find(const struct loop_uring *u, uint64_t token)
{
	for (uint32_t i = 0; i < u->n_watches_max; i++)
		if (u->watch[i].token == token)
			return (struct watch *)&u->watch[i];
	return NULL;
}

/* A free submission entry. If there is none, those that are filled are submitted first. */
static struct io_uring_sqe *entry(struct loop_uring *u)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);

	if (sqe == NULL && io_uring_submit(&u->ring) >= 0)
		sqe = io_uring_get_sqe(&u->ring);
	return sqe;
}

static int arm(struct loop_uring *u, struct watch *watch)
{
	struct io_uring_sqe *sqe = entry(u);

	if (sqe == NULL)
		return -EBUSY;
	io_uring_prep_poll_multishot(sqe, watch->fd, POLLIN | POLLRDHUP);
	sqe->user_data = watch->token;
	watch->armed = true;
	return 0;
}

static int uring_watch(struct loop *loop, int fd, uint64_t token)
{
	struct loop_uring *u = (struct loop_uring *)loop;
	struct watch *watch = find(u, 0);
	int r;

	if (watch == NULL)
		return -ENOSPC;
	*watch = (struct watch){ .token = token, .fd = fd };
	r = arm(u, watch);
	if (r == 0)
		r = io_uring_submit(&u->ring);
	if (r < 0) {
		watch->token = 0;
		return r;
	}
	return 0;
}

/*
 * End a poll. POLL_REMOVE does not do: it fails when the poll is just about to report,
 * and the multishot poll would then go on and hold its file open.
 */
static void cancel(struct loop_uring *u, uint64_t token)
{
	struct io_uring_sqe *sqe = entry(u);

	if (sqe == NULL)
		return;
	io_uring_prep_cancel64(sqe, token, 0);
	sqe->user_data = REMOVED_TOKEN;
	io_uring_submit(&u->ring);
}

static void uring_unwatch(struct loop *loop, int fd, uint64_t token)
{
	struct loop_uring *u = (struct loop_uring *)loop;
	struct watch *watch = find(u, token);

	(void)fd;
	if (watch == NULL || watch->removed)
		return;
	watch->removed = true;
	if (watch->armed)
		cancel(u, token);
	else
		watch->token = 0;
}

static bool uring_released(const struct loop *loop, uint64_t token)
{
	return find((const struct loop_uring *)loop, token) == NULL;
}

static int collect(struct loop_uring *u, uint64_t *ret_tokens, int max)
{
	struct io_uring_cqe *cqe;
	struct watch *watch;
	bool armed = false;
	int n = 0;

	while (n < max && io_uring_peek_cqe(&u->ring, &cqe) == 0) {
		uint64_t token = cqe->user_data;
		bool more = cqe->flags & IORING_CQE_F_MORE;

		io_uring_cqe_seen(&u->ring, cqe);
		if (token == REMOVED_TOKEN)
			continue;
		watch = find(u, token);
		if (watch == NULL) {
			if (more)	/* the watch is gone, so end the poll again */
				cancel(u, token);
			continue;
		}
		watch->armed = more;
		if (watch->removed) {
			if (more)
				cancel(u, token);
			else
				watch->token = 0;
			continue;
		}
		if (!more && arm(u, watch) == 0)
			armed = true;
		ret_tokens[n++] = token;
	}
	if (armed)
		io_uring_submit(&u->ring);
	return n;
}

static int uring_wait(struct loop *loop, uint64_t wait_ns,
		      uint64_t *ret_tokens, int max)
{
	struct loop_uring *u = (struct loop_uring *)loop;
	struct __kernel_timespec t = {
		.tv_sec = (int64_t)(wait_ns / 1000000000u),
		.tv_nsec = (int64_t)(wait_ns % 1000000000u),
	};
	struct io_uring_cqe *cqe;
	int r;

	if (wait_ns == 0)
		r = u->deferred ? io_uring_get_events(&u->ring) : 0;
	else
		r = io_uring_wait_cqes(&u->ring, &cqe, 1, &t, NULL);
	if (r < 0 && r != -ETIME && r != -EINTR && r != -EAGAIN)
		return r;
	return collect(u, ret_tokens, max);
}

static bool uring_hint(const struct loop *loop)
{
	const struct loop_uring *u = (const struct loop_uring *)loop;

	return io_uring_cq_ready(&u->ring) > 0 ||
	       (IO_URING_READ_ONCE(*u->ring.sq.kflags) & IORING_SQ_TASKRUN);
}

static void uring_destroy(struct loop *loop)
{
	struct loop_uring *u = (struct loop_uring *)loop;

	sys_uring_exit(&u->ring);
	sys_free(u);
}

int loop_uring_create(bool plain, uint32_t n_watches_max,
		      struct loop **ret_loop)
{
	static const struct loop_ops ops = {
		uring_destroy, uring_watch, uring_unwatch, uring_wait,
		uring_hint, uring_released,
	};
	struct io_uring_params params = {
		.flags = IORING_SETUP_CQSIZE,
		.cq_entries = 4 * SUBMIT_ENTRIES,
	};
	struct loop_uring *u;
	int r;

	if (!plain)
		params.flags |= IORING_SETUP_SINGLE_ISSUER |
				IORING_SETUP_DEFER_TASKRUN |
				IORING_SETUP_TASKRUN_FLAG;
	n_watches_max *= 2;	/* room for removed ones whose poll has not ended */
	r = sys_alloc(1, sizeof *u + n_watches_max * sizeof u->watch[0], &u);
	if (r < 0)
		return r;
	r = sys_uring(SUBMIT_ENTRIES, &u->ring, &params);
	if (r == 0 && (params.features & IORING_FEAT_EXT_ARG) == 0) {
		/* Without it a wait with a timeout takes a submission entry. */
		sys_uring_exit(&u->ring);
		r = -ENOSYS;
	}
	if (r < 0) {
		sys_free(u);
		return r;
	}
	u->loop.ops = &ops;
	u->loop.name = plain ? "io_uring plain" : "io_uring";
	u->deferred = !plain;
	u->n_watches_max = n_watches_max;
	*ret_loop = &u->loop;
	return 0;
}

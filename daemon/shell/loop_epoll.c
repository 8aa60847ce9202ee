/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop_epoll.c - the loop on epoll, for machines that do not permit io_uring.
 *
 * It is edge-triggered, so that each write to an eventfd is reported once, although
 * nobody reads the eventfd.
 */
#include "daemon/shell/loop.h"
#include "daemon/shell/sys.h"

#include <errno.h>

#define EVENTS_MAX 64

struct loop_epoll {
	struct loop loop;
	int fd;
};

static void epoll_destroy(struct loop *loop)
{
	struct loop_epoll *e = (struct loop_epoll *)loop;

	sys_close(e->fd);
	sys_free(e);
}

static int epoll_watch(struct loop *loop, int fd, uint64_t token)
{
	struct loop_epoll *e = (struct loop_epoll *)loop;

	return sys_epoll_add(e->fd, fd, EPOLLIN | EPOLLRDHUP | EPOLLET, token);
}

static void epoll_unwatch(struct loop *loop, int fd, uint64_t token)
{
	struct loop_epoll *e = (struct loop_epoll *)loop;

	(void)token;
	/* Closing would not remove it, as the client shares the file description. */
	sys_epoll_remove(e->fd, fd);
}

static int epoll_collect(struct loop *loop, uint64_t wait_ns,
			 uint64_t *ret_tokens, int max)
{
	struct loop_epoll *e = (struct loop_epoll *)loop;
	struct epoll_event events[EVENTS_MAX];
	uint64_t wait_ms = (wait_ns + 999999) / 1000000;
	int n;

	if (max > EVENTS_MAX)
		max = EVENTS_MAX;
	n = sys_epoll_wait(e->fd, events, max,
			   wait_ms > 60000 ? 60000 : (int)wait_ms);
	if (n == -EINTR)
		return 0;
	for (int i = 0; i < n; i++)
		ret_tokens[i] = events[i].data.u64;
	return n;
}

/* It takes a system call to know; the reactor makes one every POLL_NS. */
static bool epoll_hint(const struct loop *loop)
{
	(void)loop;
	return false;
}

/* True at once: an epoll holds no file. */
static bool epoll_released(const struct loop *loop, uint64_t token)
{
	(void)loop;
	(void)token;
	return true;
}

int loop_epoll_create(struct loop **ret_loop)
{
	static const struct loop_ops ops = {
		epoll_destroy, epoll_watch, epoll_unwatch, epoll_collect,
		epoll_hint, epoll_released,
	};
	struct loop_epoll *e;
	int r;

	r = sys_alloc(1, sizeof *e, &e);
	if (r < 0)
		return r;
	e->loop.ops = &ops;
	e->loop.name = "epoll";
	e->fd = sys_epoll();
	if (e->fd < 0) {
		r = e->fd;
		sys_free(e);
		return r;
	}
	*ret_loop = &e->loop;
	return 0;
}

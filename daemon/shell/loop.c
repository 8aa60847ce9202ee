/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop.c - choose an implementation of the loop, and forward calls to it.
 */
#include "daemon/shell/loop.h"
#include "daemon/shell/log.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

int loop_create(enum loop_kind kind, uint32_t n_watches_max,
		struct loop **ret_loop)
{
	int r = -ENOSYS;

	if (kind == LOOP_AUTO || kind == LOOP_URING)
		r = loop_uring_create(false, n_watches_max, ret_loop);
	if (kind == LOOP_AUTO && r < 0)
		log_line(LOG_WARNING, "io_uring with deferred work: %s; trying a "
			 "plain one", strerror(-r));
	if (kind == LOOP_URING_PLAIN || (kind == LOOP_AUTO && r < 0))
		r = loop_uring_create(true, n_watches_max, ret_loop);
	if (kind == LOOP_AUTO && r < 0)
		log_line(LOG_WARNING, "plain io_uring: %s; taking epoll",
			 strerror(-r));
	if (kind == LOOP_EPOLL || (kind == LOOP_AUTO && r < 0))
		r = loop_epoll_create(ret_loop);
	return r;
}

void loop_destroy(struct loop *loop)
{
	if (loop != NULL)
		loop->ops->destroy(loop);
}

const char *loop_name(const struct loop *loop)
{
	return loop->name;
}

int loop_watch(struct loop *loop, int fd, uint64_t token)
{
	return loop->ops->watch(loop, fd, token);
}

void loop_unwatch(struct loop *loop, int fd, uint64_t token)
{
	loop->ops->unwatch(loop, fd, token);
}

int loop_wait(struct loop *loop, uint64_t wait_ns, uint64_t *ret_tokens,
	      int max)
{
	return loop->ops->wait(loop, wait_ns, ret_tokens, max);
}

bool loop_released(const struct loop *loop, uint64_t token)
{
	return loop->ops->released(loop, token);
}

bool loop_hint(const struct loop *loop)
{
	return loop->ops->hint(loop);
}

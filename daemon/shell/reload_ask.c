/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reload_ask.c - `ckvd --reload`: ask the running daemon to reload, and report its
 * answer.
 *
 * A signal brings no answer: a service manager that only sends SIGHUP reports every
 * reload as a success.
 */
#include "daemon/shell/log.h"
#include "daemon/shell/reload.h"
#include "daemon/shell/sys.h"

#include <errno.h>
#include <string.h>

#define ANSWER_WAIT_MS	30000
#define CONNECT_WAIT_NS	10000000u
#define CONNECT_TRIES	500

/* Connect; try again while the queue of the socket is full of other connections. */
static int dial(const char *path)
{
	int fd = sys_socket(), r;

	if (fd < 0)
		return fd;
	for (int i = 0; (r = sys_connect(fd, path)) == -EAGAIN &&
	     i < CONNECT_TRIES; i++)
		sys_sleep_ns(CONNECT_WAIT_NS);
	if (r == 0)
		return fd;
	sys_close(fd);
	return r;
}

static int send_reload(int fd)
{
	struct ckv_control_head head = {
		.magic = CKV_CONTROL_MAGIC,
		.protocol_version = CKV_PROTOCOL_VERSION,
		.type = CKV_RELOAD, .n_bytes = sizeof head,
	};
	struct iovec iov = { &head, sizeof head };
	ssize_t n = sys_send(fd, &(struct msghdr){ .msg_iov = &iov, .msg_iovlen = 1 });

	return n < 0 ? (int)n : 0;
}

/* Receive the answer. -ETIMEDOUT; -ECONNRESET: the daemon closed the connection. */
static int wait_answer(int fd, void *answer, size_t bytes)
{
	struct epoll_event event;
	struct iovec iov = { answer, bytes };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t n;
	int waiting = sys_epoll(), r;

	if (waiting < 0)
		return waiting;
	r = sys_epoll_add(waiting, fd, EPOLLIN, 0);
	if (r == 0)
		r = sys_epoll_wait(waiting, &event, 1, ANSWER_WAIT_MS);
	sys_close(waiting);
	if (r <= 0)
		return r < 0 ? r : -ETIMEDOUT;
	n = sys_receive(fd, &m, false);
	return n == 0 ? -ECONNRESET : n < 0 ? (int)n : 0;
}

/* Log the answer. Returns how many keys changed, or the daemon's -errno. */
static int hear(const struct ckv_refused *answer, const char *path)
{
	const struct ckv_control_id *done = (const void *)answer;

	if (answer->head.magic == CKV_CONTROL_MAGIC &&
	    answer->head.type == CKV_DONE && answer->head.n_bytes == sizeof *done) {
		log_line(LOG_INFO, "reload: %u %s changed", done->id,
			 done->id == 1 ? "key" : "keys");
		return (int)done->id;
	}
	if (answer->head.magic == CKV_CONTROL_MAGIC &&
	    answer->head.type == CKV_REFUSED &&
	    answer->head.n_bytes == sizeof *answer && answer->error > 0 &&
	    answer->error < 4096) {
		log_line(LOG_ERROR, "reload: %.*s", (int)sizeof answer->text - 1,
			 answer->text);
		return -(int)answer->error;
	}
	log_line(LOG_ERROR, "%s: what answers there is no ckvd of this version", path);
	return -EPROTO;
}

int reload_ask(const char *path)
{
	union {
		struct ckv_refused refused;
		char all[CKV_CONTROL_BYTES_MAX];
	} answer = { .all = { 0 } };
	int fd = dial(path), r;

	if (fd == -ENOENT || fd == -ECONNREFUSED) {
		log_line(LOG_ERROR, "%s: no daemon serves this socket; start one, or, "
			 "if `socket` itself was changed, restart it", path);
		return fd;
	}
	if (fd < 0) {
		log_line(LOG_ERROR, "%s: %s", path, strerror(-fd));
		return fd;
	}
	r = send_reload(fd);
	if (r == 0)
		r = wait_answer(fd, &answer, sizeof answer);
	sys_close(fd);
	if (r < 0) {
		log_line(LOG_ERROR, "%s: the daemon did not answer: %s", path,
			 strerror(-r));
		return r;
	}
	return hear(&answer.refused, path);
}

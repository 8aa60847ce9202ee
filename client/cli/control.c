/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control.c - one message with its descriptors over the control socket.
 */
#include "client/cli/control.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int control_send(int fd, void *message, uint16_t type, uint32_t bytes,
		 const int *fds, uint32_t n_fds)
{
	union {
		struct cmsghdr head;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = { .bytes = { 0 } };
	struct iovec part = { message, bytes };
	struct msghdr m = { .msg_iov = &part, .msg_iovlen = 1 };
	struct ckv_control_head head = {
		.magic = CKV_CONTROL_MAGIC,
		.protocol_version = CKV_PROTOCOL_VERSION,
		.type = type,
		.n_fds = n_fds,
		.n_bytes = bytes,
	};

	if (n_fds > 1)
		return -EINVAL;
	memcpy(message, &head, sizeof head);
	if (n_fds) {
		m.msg_control = &control;
		m.msg_controllen = sizeof control.bytes;
		control.head.cmsg_level = SOL_SOCKET;
		control.head.cmsg_type = SCM_RIGHTS;
		control.head.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&control.head), fds, sizeof(int));
	}
	return sendmsg(fd, &m, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

void control_drop_fds(struct control_message *message)
{
	for (uint32_t i = 0; i < message->n_fds; i++)
		close(message->fds[i]);
	message->n_fds = 0;
}

static void collect_fds(struct msghdr *m, struct control_message *ret)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < n && ret->n_fds < CKV_FDS_MAX; i++)
			memcpy(&ret->fds[ret->n_fds++],
			       CMSG_DATA(c) + i * sizeof(int), sizeof(int));
	}
}

static int receive_one(int fd, struct control_message *ret)
{
	union {
		struct cmsghdr head;
		char bytes[CMSG_SPACE(CKV_FDS_MAX * sizeof(int))];
	} control;
	struct iovec part = { ret->bytes, sizeof ret->bytes };
	struct msghdr m = {
		.msg_iov = &part, .msg_iovlen = 1,
		.msg_control = &control, .msg_controllen = sizeof control,
	};
	ssize_t n;

	ret->n_fds = 0;
	memset(ret->bytes, 0, sizeof ret->bytes);
	do
		n = recvmsg(fd, &m, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EAGAIN ? -ETIMEDOUT : -errno;
	if (n == 0)
		return -ECONNRESET;
	collect_fds(&m, ret);
	if ((size_t)n < sizeof ret->head || (m.msg_flags & MSG_CTRUNC) ||
	    ret->head.magic != CKV_CONTROL_MAGIC ||
	    ret->head.n_bytes != (size_t)n || ret->head.n_fds != ret->n_fds) {
		control_drop_fds(ret);
		return -EPROTO;
	}
	return 0;
}

int control_receive(int fd, struct control_message *ret)
{
	int r;

	for (;;) {
		r = receive_one(fd, ret);
		if (r < 0)
			return r;
		if (ret->head.type != CKV_EVENT &&
		    ret->head.type != CKV_SLAB_WRITE)
			return 0;
		control_drop_fds(ret);
	}
}

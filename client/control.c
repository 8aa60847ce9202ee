/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control.c - packets on the control socket.
 *
 * A packet is judged as a packet here: magic, version, stated against real
 * length, stated against real number of descriptors. What it means is reply.c's.
 */
#include "client/lib.h"

#include <errno.h>

/* -EAGAIN: the daemon has not accepted those before us. Never blocks. */
int lib_control_connect(const char *path, int *ret_sock)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int sock, r;

	if (strlen(path) >= sizeof address.sun_path)
		return -ENAMETOOLONG;
	strcpy(address.sun_path, path);
	sock = lib_sys_socket();
	if (sock < 0)
		return sock;
	r = lib_sys_connect(sock, &address);
	if (r < 0) {
		lib_sys_close(sock);
		return r;
	}
	*ret_sock = sock;
	return 0;
}

/* Send one message, whose body is filled in, with `fd` unless that is -1. */
int lib_control_send(int sock, void *msg, size_t bytes, uint16_t type, int fd)
{
	struct ckv_control_head *head = msg;
	struct iovec iov = { .iov_base = msg, .iov_len = bytes };
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct cmsghdr *cmsg;

	head->magic = CKV_CONTROL_MAGIC;
	head->protocol_version = CKV_PROTOCOL_VERSION;
	head->type = type;
	head->n_fds = fd >= 0;
	head->n_bytes = (uint32_t)bytes;
	if (fd >= 0) {
		memset(&control, 0, sizeof control);
		mh.msg_control = &control;
		mh.msg_controllen = sizeof control.bytes;
		cmsg = CMSG_FIRSTHDR(&mh);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(sizeof fd);
		memcpy(CMSG_DATA(cmsg), &fd, sizeof fd);
	}
	return lib_sys_send(sock, &mh);
}

void lib_packet_close(struct lib_packet *packet)
{
	for (uint32_t i = 0; i < packet->n_fds; i++)
		lib_sys_close(packet->fds[i]);
	packet->n_fds = 0;
}

static void take_descriptors(struct msghdr *mh, struct lib_packet *packet)
{
	struct cmsghdr *cmsg;

	packet->n_fds = 0;
	for (cmsg = CMSG_FIRSTHDR(mh); cmsg != NULL; cmsg = CMSG_NXTHDR(mh, cmsg)) {
		size_t n = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (cmsg->cmsg_level != SOL_SOCKET ||
		    cmsg->cmsg_type != SCM_RIGHTS ||
		    n > CKV_FDS_MAX - packet->n_fds)
			continue;
		memcpy(packet->fds + packet->n_fds, CMSG_DATA(cmsg),
		       n * sizeof(int));
		packet->n_fds += (uint32_t)n;
	}
}

static int packet_error(const struct lib_packet *packet, size_t bytes, int flags)
{
	const struct ckv_control_head *head = &packet->head;

	if (bytes < sizeof *head || (flags & MSG_TRUNC) ||
	    head->magic != CKV_CONTROL_MAGIC || head->n_bytes != bytes)
		return -EPROTO;
	if (head->protocol_version != CKV_PROTOCOL_VERSION &&
	    head->type != CKV_REFUSED)
		return -EPROTONOSUPPORT;
	if (!packet->truncated && head->n_fds != packet->n_fds)
		return -EPROTO;
	return 0;
}

static ssize_t receive(int sock, struct lib_packet *packet, int *ret_flags)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int) * CKV_FDS_MAX)];
	} control;
	struct iovec iov = { .iov_base = packet->bytes,
			     .iov_len = sizeof packet->bytes };
	struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1,
			     .msg_control = &control,
			     .msg_controllen = sizeof control.bytes };
	ssize_t n = lib_sys_receive(sock, &mh);

	if (n < 0)
		return n;
	take_descriptors(&mh, packet);
	packet->truncated = (mh.msg_flags & MSG_CTRUNC) != 0;
	*ret_flags = mh.msg_flags;
	return n;
}

/*
 * Take one packet that has come. The caller closes what descriptors it leaves
 * in *ret_packet. Those that found no room here are lost (`truncated`); the stream
 * goes on behind them.
 *
 *   -EAGAIN           none came, or the kernel had no memory to give it now
 *   -ECONNRESET       the daemon closed the socket
 *   -EPROTO           not a packet of this protocol
 *   -EPROTONOSUPPORT  of another version of it
 */
int lib_control_receive(int sock, struct lib_packet *ret_packet)
{
	int flags = 0, r;
	ssize_t n;

	memset(ret_packet->bytes, 0, sizeof ret_packet->bytes);
	ret_packet->n_fds = 0;
	n = receive(sock, ret_packet, &flags);
	/* Said once, before what the daemon sent until it closed the socket. */
	if (n == -ECONNRESET)
		n = receive(sock, ret_packet, &flags);
	if (n == -ENOMEM || n == -ENOBUFS || n == -EMFILE || n == -ENFILE)
		return -EAGAIN;
	if (n < 0)
		return (int)n;
	if (n == 0)
		return -ECONNRESET;
	r = packet_error(ret_packet, (size_t)n, flags);
	if (r < 0)
		lib_packet_close(ret_packet);
	return r;
}

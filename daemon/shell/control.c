/*
 * control.c - messages in and out of a client's socket.
 *
 * A message is received whole or refused: too long, cut, with more
 * descriptors than it may bring, or with a head that contradicts what came.
 * Whatever descriptors arrived are closed. Nothing here waits: a client that
 * does not read what it asked for is disconnected.
 */
#include "daemon/shell/control.h"
#include "daemon/shell/log.h"
#include "daemon/shell/sys.h"
#include "proto/ckv_text.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define MESSAGES_PER_TURN 8

/* Room for one descriptor: the kernel closes what does not fit. */
union incoming {
	char bytes[CMSG_SPACE(sizeof(int))];
	struct cmsghdr align;
};

union outgoing {
	char bytes[CMSG_SPACE(CKV_FDS_MAX * sizeof(int))];
	struct cmsghdr align;
};

/*
 * Descriptors in flight count against the daemon's user, so a client that
 * reads nothing could use up everybody's. Once it has read all, it starts anew.
 */
static bool may_send_fds(struct daemon *d, struct client *client, uint32_t n_fds)
{
	uint32_t limit = 64 + 3 * d->n_lanes_max;

	for (uint32_t i = 0; i < d->n_hosts; i++)
		limit += 2 * d->host[i].pool.shape.n_slabs + 2;
	if (sys_unread(client->socket) == 0)
		client->n_fds_unread = 0;
	return client->n_fds_unread + n_fds <= limit;
}

int control_send(struct daemon *d, struct client *client, void *message,
		 size_t bytes, uint16_t type, const int *fds, uint32_t n_fds)
{
	struct ckv_control_head head = {
		.magic = CKV_CONTROL_MAGIC,
		.protocol_version = CKV_PROTOCOL_VERSION, .type = type,
		.n_fds = n_fds, .n_bytes = (uint32_t)bytes,
	};
	union outgoing control;
	struct iovec iov = { message, bytes };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t n;

	assert(n_fds <= CKV_FDS_MAX && bytes <= CKV_CONTROL_BYTES_MAX);
	if (client->socket < 0)
		return -ENOTCONN;
	memcpy(message, &head, sizeof head);
	if (n_fds > 0) {
		if (!may_send_fds(d, client, n_fds))
			return -EAGAIN;
		memset(&control, 0, sizeof control);
		m.msg_control = control.bytes;
		m.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
		CMSG_FIRSTHDR(&m)->cmsg_level = SOL_SOCKET;
		CMSG_FIRSTHDR(&m)->cmsg_type = SCM_RIGHTS;
		CMSG_FIRSTHDR(&m)->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
		memcpy(CMSG_DATA(CMSG_FIRSTHDR(&m)), fds, n_fds * sizeof(int));
	}
	n = sys_send(client->socket, &m);
	if (n < 0)
		return (int)n;
	client->n_fds_unread += n_fds;
	return 0;
}

int control_send_slab(struct daemon *d, struct client *client, uint32_t space,
		      uint32_t slab)
{
	uint64_t *word = &client->attached[space].slab_sent[slab / 64];
	struct ckv_slabs message = { .space_id = space, .first_slab = slab };
	int r;

	if (*word >> (slab % 64) & 1)
		return 0;
	r = control_send(d, client, &message, sizeof message, CKV_SLAB_WRITE,
			 &d->host[space].pool.fds[slab], 1);
	if (r < 0)
		return -EAGAIN;
	*word |= 1ull << (slab % 64);
	return 0;
}

int control_refuse(struct daemon *d, struct client *client, int error,
		   const char *format, ...)
{
	struct ckv_refused refused = { .error = (uint32_t)-error };
	char text[sizeof refused.text];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	/* It ends on somebody's screen. */
	ckv_text_line(refused.text, sizeof refused.text, text);
	log_limited(error == -EPROTO ? LOG_WARNING : LOG_INFO, d->now_ns,
		    "client %d refused: %s", (int)client->pid, refused.text);
	return control_send(d, client, &refused, sizeof refused, CKV_REFUSED,
			    NULL, 0);
}

/* A head and a body that belong together, from a peer of our version. */
static int check(const struct incoming_message *m, char text[232])
{
	static const struct {
		size_t bytes;
		uint32_t n_fds_max;
	} shape[] = {
		[CKV_HELLO] = { sizeof(struct ckv_hello), 1 },
		[CKV_ATTACH] = { sizeof(struct ckv_attach), 0 },
		[CKV_LANE_OPEN] = { sizeof(struct ckv_lane_open), 0 },
		[CKV_LANE_CLOSE] = { sizeof(struct ckv_control_id), 0 },
		[CKV_DETACH] = { sizeof(struct ckv_control_id), 0 },
		[CKV_SLAB_WANT] = { sizeof(struct ckv_slabs), 0 },
	};
	const struct ckv_control_head *head = &m->body.head;
	uint16_t type = head->type;

	if (m->bytes < sizeof *head || head->magic != CKV_CONTROL_MAGIC) {
		snprintf(text, 232, "this is not a message of ckv");
		return -EPROTO;
	}
	if (head->protocol_version != CKV_PROTOCOL_VERSION) {
		snprintf(text, 232, "the client speaks protocol version %u, "
			 "ckvd " CKV_VERSION " version %u",
			 head->protocol_version, CKV_PROTOCOL_VERSION);
		return -EPROTONOSUPPORT;
	}
	if (m->cut || head->n_bytes != m->bytes ||
	    head->n_fds != (m->fd >= 0)) {
		snprintf(text, 232, "the message was cut, or its head tells "
			 "other sizes than came");
		return -EPROTO;
	}
	if (type >= sizeof shape / sizeof shape[0] || shape[type].bytes == 0) {
		snprintf(text, 232, "a client does not send messages of type %u",
			 type);
		return -EPROTO;
	}
	if (m->bytes != shape[type].bytes || head->n_fds > shape[type].n_fds_max) {
		snprintf(text, 232, "a message of type %u has %zu bytes, not "
			 "%zu, or too many descriptors", type,
			 shape[type].bytes, m->bytes);
		return -EPROTO;
	}
	return 0;
}

static void take_descriptor(struct msghdr *m, struct incoming_message *message)
{
	struct cmsghdr *c;
	int fd;

	for (c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t at = CMSG_LEN(0); at + sizeof fd <= c->cmsg_len;
		     at += sizeof fd) {
			memcpy(&fd, (char *)c + at, sizeof fd);
			if (message->fd < 0) {
				message->fd = fd;
			} else {
				sys_close(fd);
				message->cut = true;
			}
		}
	}
}

/* 1 and a message; 0: the other side closed; -EAGAIN; -errno. */
static int receive(struct client *client, struct incoming_message *ret_message)
{
	struct incoming_message message = { .fd = -1 };
	union incoming control;
	struct iovec iov = { &message.body, sizeof message.body };
	struct msghdr m = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof control.bytes,
	};
	ssize_t n = sys_receive(client->socket, &m);

	if (n < 0)
		return (int)n;
	take_descriptor(&m, &message);
	message.bytes = (size_t)n;
	message.cut |= (m.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0;
	if (n == 0 && !message.cut && message.fd < 0)
		return 0;
	*ret_message = message;
	return 1;
}

/* 0: the connection goes on. */
static int handle(struct daemon *d, struct client *client,
		  struct incoming_message *message)
{
	char text[232];
	int r = check(message, text);

	if (r < 0) {
		(void)control_refuse(d, client, r, "%s", text);
		return r;
	}
	if ((client->state == CLIENT_CONNECTED) !=
	    (message->body.head.type == CKV_HELLO)) {
		(void)control_refuse(d, client, -EPROTO, "HELLO comes first, "
				     "and once");
		return -EPROTO;
	}
	switch (message->body.head.type) {
	case CKV_HELLO:
		return control_hello(d, client, &message->body.hello,
				     &message->fd);
	case CKV_ATTACH:
		return control_attach(d, client, &message->body.attach);
	case CKV_LANE_OPEN:
		return control_lane_open(d, client, &message->body.lane_open);
	case CKV_LANE_CLOSE:
		return control_lane_close(d, client, message->body.id.id);
	case CKV_SLAB_WANT:
		return control_slab_want(d, client, &message->body.slabs);
	default:
		return control_detach(d, client, message->body.id.id);
	}
}

void client_read(struct daemon *d, struct client *client)
{
	struct incoming_message message;
	bool was_known;
	int r;

	/* LANE_CLOSE and DETACH are over when the lanes have ended. */
	for (int i = 0; i < MESSAGES_PER_TURN && client->n_awaited == 0; i++) {
		r = receive(client, &message);
		if (r == -EAGAIN) {
			client->readable = false;
			return;
		}
		/* Said once; what was sent before the socket was closed follows. */
		if (r == -ECONNRESET)
			continue;
		if (r <= 0) {
			client_hang_up(d, client);
			return;
		}
		was_known = client->state != CLIENT_CONNECTED;
		r = handle(d, client, &message);
		sys_close(message.fd);
		/* It closed the socket and wants no answer, but meant what it sent. */
		if (r == -EPIPE)
			continue;
		if (r < 0) {
			if (!was_known)
				ckv_count(&d->stats->clients_refused, 1);
			log_limited(LOG_DEBUG, d->now_ns, "client %d is "
				    "disconnected: %s", (int)client->pid,
				    r == -EAGAIN ? "it does not read its socket"
				    : strerror(-r));
			client_hang_up(d, client);
			return;
		}
	}
}

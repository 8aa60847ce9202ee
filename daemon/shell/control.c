/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control.c - receive messages from clients' sockets, and send messages.
 *
 * A message is first peeked at and judged, then taken out of the socket. One that is
 * too long, cut, or whose head contradicts what came is refused. One that brings
 * descriptors which its kind does not have is not taken at all: a thread closes them
 * with the socket (leave.h). Sending never blocks: a client that does not read what it
 * asked for is disconnected.
 *
 * Clients take turns: at most MESSAGES_PER_TURN messages are read in one turn of the
 * reactor, and a message that takes much work counts as that many.
 */
#include "daemon/shell/control.h"
#include "daemon/shell/keep.h"
#include "daemon/shell/leave.h"
#include "daemon/shell/log.h"
#include "daemon/shell/reload.h"
#include "daemon/shell/sys.h"
#include "daemon/shell/users.h"
#include "proto/ckv_text.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define MESSAGES_PER_TURN 4u
#define LAST_MESSAGES	128	/* more than libckv has unanswered when it detaches */

/*
 * Room for all descriptors that can come with a message. The kernel would close those
 * that do not fit, in the reactor's thread, which that could block.
 */
union descriptors {
	char bytes[CMSG_SPACE(CKV_FDS_MAX * sizeof(int))];
	struct cmsghdr align;
};

/*
 * The kernel counts unread descriptors against the daemon's user. A client that reads
 * nothing, or many clients of one user, could use all of them up, so they are counted
 * per client and per user. When a client has read all, its count is 0 again.
 */
static void forget_read(struct client *client)
{
	if (client->n_fds_unread == 0 || sys_unread(client->socket) != 0)
		return;
	client->user->n_fds_unread -= client->n_fds_unread;
	client->n_fds_unread = 0;
}

static bool may_send_fds(struct daemon *d, struct client *client, uint32_t n_fds)
{
	uint32_t limit = 64 + 3 * d->n_lanes_max, most = d->n_fds_max / 2;

	for (uint32_t i = 0; i < d->n_spaces; i++)
		limit += 2 * d->served[i].pool.shape.n_slabs + 2;
	forget_read(client);
	if (client->user->n_fds_unread + n_fds > most)
		for (uint32_t i = 0; i < d->n_clients_max; i++)
			if (d->client[i].user == client->user)
				forget_read(&d->client[i]);
	return client->n_fds_unread + n_fds <= limit &&
	       client->user->n_fds_unread + n_fds <= most;
}

int control_send(struct daemon *d, struct client *client, void *message,
		 size_t bytes, uint16_t type, const int *fds, uint32_t n_fds)
{
	struct ckv_control_head head = {
		.magic = CKV_CONTROL_MAGIC,
		.protocol_version = CKV_PROTOCOL_VERSION, .type = type,
		.n_fds = n_fds, .n_bytes = (uint32_t)bytes,
	};
	union descriptors control;
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
	if (n_fds > 0) {
		client->n_fds_unread += n_fds;
		client->user->n_fds_unread += n_fds;
	}
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
			 &d->served[space].pool.fds[slab], 1);
	if (r < 0)
		return -EAGAIN;
	*word |= 1ull << (slab % 64);
	return 0;
}

int control_refuse(struct daemon *d, struct client *client, int error,
		   const char *format, ...)
{
	struct ckv_refused refused = { .error = (uint32_t)-error };
	char text[2 * sizeof refused.text];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	/* It is shown on a terminal: escape what does not print, and mark it if it is cut. */
	ckv_text_line(refused.text, sizeof refused.text, text);
	log_limited(error == -EPROTO ? LOG_WARNING : LOG_INFO, d->now_ns,
		    "client %d refused: %s", (int)client->pid, refused.text);
	return control_send(d, client, &refused, sizeof refused, CKV_REFUSED,
			    NULL, 0);
}

int control_refuse_room(struct daemon *d, struct client *client, int error,
			const char *what)
{
	return control_refuse(d, client, error == -EMFILE || error == -ENFILE ?
			      -EMFILE : -ENOMEM, "%s: %s", what, strerror(-error));
}

/* Do head and body fit together, and is the peer's protocol version ours? */
static int check(const struct incoming_message *m, char text[232])
{
	static const struct {
		size_t bytes;
		uint32_t n_fds_max;
	} shape[] = {
		[CKV_HELLO] = { sizeof(struct ckv_hello), 1 },
		[CKV_ATTACH] = { sizeof(struct ckv_attach), 0 },
		[CKV_LANE_OPEN] = { sizeof(struct ckv_lane_open), 0 },
		[CKV_LANE_CLOSE] = { sizeof(struct ckv_lane_close), 0 },
		[CKV_DETACH] = { sizeof(struct ckv_control_id), 0 },
		[CKV_SLAB_WANT] = { sizeof(struct ckv_slabs), 0 },
		[CKV_RELOAD] = { sizeof(struct ckv_control_head), 0 },
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
	    (head->n_fds > 0) != m->brings) {
		snprintf(text, 232, "the message was cut, or its head does not "
			 "match what came");
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

/* Peek at the next message. 1: there is one; 0: the peer has closed the socket. */
static int look(struct client *client, struct incoming_message *ret_message)
{
	struct incoming_message message = { .fd = -1 };
	struct iovec iov = { &message.body, sizeof message.body };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t n = sys_receive(client->socket, &m, true);

	if (n < 0)
		return (int)n;
	message.bytes = (size_t)n;
	message.cut = (m.msg_flags & MSG_TRUNC) != 0;
	message.brings = (m.msg_flags & MSG_CTRUNC) != 0;
	*ret_message = message;
	return n > 0 || message.brings;
}

/*
 * Keep the first descriptor and close the others. If there are others, the message is
 * `cut`: the head may say one descriptor, but only now it is known how many came.
 */
static void sort_descriptors(struct daemon *d, struct client *client,
			     struct msghdr *m, struct incoming_message *message)
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
				leave_descriptor(d, client->uid, fd);
				message->cut = true;
			}
		}
	}
}

/* Take the message that was peeked at out of the socket, with its descriptors. */
static int take(struct daemon *d, struct client *client,
		struct incoming_message *message)
{
	union descriptors control;
	struct msghdr m = { .msg_iovlen = 0 };
	ssize_t n;

	if (message->brings) {
		m.msg_control = control.bytes;
		m.msg_controllen = sizeof control.bytes;
	}
	n = sys_receive(client->socket, &m, false);
	if (n < 0)
		return (int)n;
	if (message->brings)
		sort_descriptors(d, client, &m, message);
	return 0;
}

bool control_left(struct client *client)
{
	struct incoming_message message;
	struct msghdr m = { .msg_iovlen = 0 };
	char text[232];
	int r;

	/* Bounded, because a forked child may have the socket and go on sending. */
	for (int i = 0; i < LAST_MESSAGES && client->socket >= 0; i++) {
		r = look(client, &message);
		if (r == -ECONNRESET)
			continue;	/* reported once; then unread messages follow */
		if (r <= 0 || message.brings || check(&message, text) < 0)
			return false;
		if (message.body.head.type == CKV_DETACH &&
		    message.body.id.id == CKV_NONE)
			return true;
		if (sys_receive(client->socket, &m, false) < 0)
			return false;
	}
	return false;
}

/* As how many messages of a turn a message of this type counts. */
static uint32_t work_of(const struct incoming_message *message)
{
	switch (message->body.head.type) {
	case CKV_ATTACH:
	case CKV_LANE_OPEN:
	case CKV_LANE_CLOSE:
	case CKV_DETACH:
	case CKV_RELOAD:
		return MESSAGES_PER_TURN;
	default:
		return 1;
	}
}

/* Judge a message before it is taken. 0; -errno, and `text` says what is wrong. */
static int judge(struct daemon *d, struct client *client,
		 const struct incoming_message *message, char text[232])
{
	int r = check(message, text);

	if (r < 0)
		return r;
	if (message->body.head.type != CKV_RELOAD &&
	    (client->state == CLIENT_CONNECTED) !=
	    (message->body.head.type == CKV_HELLO)) {
		snprintf(text, 232, "expected HELLO as the first message, and only once");
		return -EPROTO;
	}
	return message->brings ? leave_has_room(d, client->uid, text) : 0;
}

/* Judge, take and answer a message. 0: the connection goes on. */
static int handle(struct daemon *d, struct client *client,
		  struct incoming_message *message)
{
	char text[232];
	int r = judge(d, client, message, text);

	/* It stays in the socket until the store has room for what a lane needs. */
	if (r == 0 && message->body.head.type == CKV_LANE_OPEN &&
	    !keep_has_room(d, client))
		return 0;
	if (r == 0) {
		r = take(d, client, message);
		if (r < 0)
			return r;
		if (message->cut) {
			snprintf(text, sizeof text, "more descriptors came than "
				 "the head says");
			r = -EPROTO;
		}
	}
	if (r < 0) {
		(void)control_refuse(d, client, r, "%s", text);
		return r;
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
		return control_lane_close(d, client,
					  message->body.lane_close.serial);
	case CKV_SLAB_WANT:
		return control_slab_want(d, client, &message->body.slabs);
	case CKV_RELOAD:
		return control_reload(d, client);
	default:
		return control_detach(d, client, message->body.id.id);
	}
}

/* Disconnect a client that broke the protocol or does not read its socket. */
static void disconnect(struct daemon *d, struct client *client, bool was_known,
		       int error)
{
	if (!was_known)
		ckv_count(&d->stats->clients_refused, 1);
	log_limited(LOG_DEBUG, d->now_ns, "client %d is disconnected: %s",
		    (int)client->pid, error == -EAGAIN ?
		    "it does not read its socket" : strerror(-error));
	client_hang_up(d, client);
}

uint32_t client_read(struct daemon *d, struct client *client)
{
	struct incoming_message message;
	bool was_known = client->state != CLIENT_CONNECTED;
	int r;

	if (client->n_slabs_left > 0) {
		r = control_send_slabs(d, client);
		if (r == -EPIPE)
			client->n_slabs_left = 0;
		else if (r < 0)
			disconnect(d, client, was_known, r);
		return MESSAGES_PER_TURN;
	}
	r = look(client, &message);
	if (r == -EAGAIN) {
		client->readable = false;
		return 1;
	}
	/* Reported once; messages sent before the socket was closed follow. */
	if (r == -ECONNRESET)
		return 1;
	if (r <= 0) {
		client_hang_up(d, client);
		return 1;
	}
	r = handle(d, client, &message);
	leave_descriptor(d, client->uid, message.fd);
	/* A client that has closed the socket needs no answer; its messages still count. */
	if (r < 0 && r != -EPIPE)
		disconnect(d, client, was_known, r);
	return work_of(&message);
}

void control_serve(struct daemon *d)
{
	uint32_t work = 0, n = d->n_clients_max;

	for (uint32_t i = 0; i < n; i++) {
		uint32_t index = (d->next_client + i) % n;
		struct client *client = &d->client[index];

		/* A late report may have set `readable` when the socket is read no more. */
		if (!client->readable || (client->state != CLIENT_CONNECTED &&
					  client->state != CLIENT_ATTACHED))
			continue;
		/* Its LANE_OPEN is finished when the lane is stored; keep_collect() says so. */
		if (client->opening != CKV_NONE)
			continue;
		d->sockets_wait = true;
		/* Its LANE_CLOSE or DETACH is finished only when the lanes have ended. */
		if (client->n_awaited > 0)
			continue;
		if (work >= MESSAGES_PER_TURN) {
			d->next_client = index;
			break;
		}
		work += client_read(d, client);
	}
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * leave.c - close sockets, and descriptors that clients sent, without blocking the
 * reactor.
 *
 * A socket may have descriptors in its unread messages, so the closer's threads
 * (closer.h) close it, after the loop has let it go. Until then it waits in
 * d->leaving. That never overflows: when LEAVE_SPARE sockets wait, no connection is
 * accepted.
 *
 * But that keeps all users out, so one user must not be able to cause it. When many
 * descriptors wait, new connections are made bare: the kernel refuses descriptors that
 * are sent to them, so the reactor can close them itself. Linux before 6.16 cannot do
 * that; there a user whose close() blocks can fill the queue.
 */
#include "daemon/shell/leave.h"
#include "daemon/shell/log.h"
#include "daemon/shell/sys.h"
#include "proto/ckv_attach.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>

#define BARE_MESSAGES	16	/* read before a close; an honest client has sent fewer */

struct leaving {
	int fd;
	bool bare;
	uid_t uid;
	uint64_t token;			/* of its former watch; 0: it had none */
};

int leave_create(struct daemon *d)
{
	int r = sys_raise_descriptors();

	d->n_fds_max = r > 0 ? (uint32_t)r : 1024;
	r = sys_alloc(d->n_clients_max + 2 * LEAVE_SPARE, sizeof d->leaving[0],
		      &d->leaving);
	return r < 0 ? r : closer_create(&d->closer);
}

void leave_destroy(struct daemon *d)
{
	/* The loop is destroyed, so it holds no file. */
	for (uint32_t i = 0; i < d->n_leaving; i++)
		if (closer_give(d->closer, d->leaving[i].uid, d->leaving[i].fd,
				true) < 0)
			sys_close(d->leaving[i].fd);
	closer_destroy(d->closer);
	sys_free(d->leaving);
}

bool leave_is_bare(struct daemon *d, int fd)
{
	return d->rights_refused && !sys_passes_rights(fd);
}

void leave_socket(struct daemon *d, uid_t uid, int fd, bool bare, uint64_t token)
{
	assert(d->n_leaving < d->n_clients_max + 2 * LEAVE_SPARE);
	/* The peer still reads what was sent to it, then the end. It can send no more. */
	(void)sys_shut_socket(fd);
	d->leaving[d->n_leaving++] = (struct leaving){ fd, bare, uid, token };
}

void leave_descriptor(struct daemon *d, uid_t uid, int fd)
{
	int r;

	if (fd < 0)
		return;
	r = closer_give(d->closer, uid, fd, false);
	assert(r == 0);		/* leave_has_room() said so before the message was taken */
}

/* Can this process open n descriptors more? */
static bool table_has(const struct daemon *d, uint32_t n)
{
	return (uint64_t)sys_descriptors() + n < d->n_fds_max;
}

int leave_has_room(struct daemon *d, uid_t uid, char text[232])
{
	if (!closer_has_room(d->closer, uid, CKV_FDS_MAX))
		snprintf(text, 232, "no descriptor can be received now: too many that "
			 "came earlier are still being closed");
	else if (!table_has(d, CKV_FDS_MAX))
		snprintf(text, 232, "no descriptor can be received now: %ld of %u are "
			 "open (RLIMIT_NOFILE), and a message can bring %u",
			 sys_descriptors(), d->n_fds_max, CKV_FDS_MAX);
	else
		return 0;
	return -EMFILE;
}

/*
 * New connections are bare while many descriptors wait to be closed, or while this
 * process cannot open all that a message can bring. That works only on kernels that
 * also give a pidfd of the peer, so the client need not send its own: if the kernel
 * refuses a HELLO with a pidfd, libckv sends it again without.
 */
void leave_guard(struct daemon *d)
{
	uint32_t n = closer_waiting(d->closer);
	bool full = !table_has(d, 2 * CKV_FDS_MAX);

	if (d->rights_refused ? full || n > LEAVE_FEW : !full && n < LEAVE_MANY)
		return;
	d->rights_refused = !d->rights_refused;
	(void)sys_pass_rights(d->listen_fd, !d->rights_refused);
}

bool leave_may_accept(struct daemon *d)
{
	if (d->n_leaving < LEAVE_SPARE)
		return true;
	log_limited(LOG_ERROR, d->now_ns, "no connection is accepted until some of "
		    "the %u descriptors that clients sent are closed",
		    closer_waiting(d->closer));
	return false;
}

/* Read what the peer sent before closing, else it may lose what was sent to it last. */
static void close_bare(int fd)
{
	char data[CKV_CONTROL_BYTES_MAX];
	struct iovec iov = { data, sizeof data };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };

	for (int i = 0; i < BARE_MESSAGES && sys_receive(fd, &m, false) > 0; i++)
		;
	sys_close(fd);
}

void leave_collect(struct daemon *d)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < d->n_leaving; i++) {
		const struct leaving *l = &d->leaving[i];

		if (l->token != 0 && !loop_released(d->loop, l->token))
			d->leaving[n++] = *l;
		else if (l->bare)
			close_bare(l->fd);
		else if (closer_give(d->closer, l->uid, l->fd, true) < 0)
			d->leaving[n++] = *l;
	}
	d->n_leaving = n;
	leave_guard(d);
}

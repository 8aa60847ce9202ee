/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control.h - messages that clients send over the socket, and a function for each
 * kind of message.
 *
 * Such a function returns 0 if the connection goes on, also after it has sent a
 * refusal, and -errno if the connection must be closed.
 */
#ifndef CKV_CONTROL_H
#define CKV_CONTROL_H

#include "daemon/shell/daemon.h"

struct incoming_message {
	union {
		struct ckv_control_head head;
		struct ckv_hello hello;
		struct ckv_attach attach;
		struct ckv_lane_open lane_open;
		struct ckv_lane_close lane_close;
		struct ckv_control_id id;
		struct ckv_slabs slabs;
		char all[CKV_CONTROL_BYTES_MAX];
	} body;
	size_t bytes;
	bool cut;		/* a part of the message is missing */
	bool brings;		/* descriptors came with it; take() finds out how many */
	int fd;			/* after take(): the first of them; -1: none */
};

/* Send REFUSED with -error (a positive errno) and a text. 0, or -errno of sending. */
__attribute__((format(printf, 4, 5)))
int control_refuse(struct daemon *d, struct client *client, int error,
		   const char *format, ...);

/*
 * Refuse something that the daemon has no room for. The client gets EMFILE if
 * descriptors ran out, else ENOMEM; the text has the error itself.
 */
int control_refuse_room(struct daemon *d, struct client *client, int error,
			const char *what);

/* Send some of the n_slabs_left slabs of the space that the client attached last. */
int control_send_slabs(struct daemon *d, struct client *client);

/* If it keeps *fd, the client's pidfd, it sets *fd to -1. */
int control_hello(struct daemon *d, struct client *client,
		  const struct ckv_hello *hello, int *fd);
int control_attach(struct daemon *d, struct client *client,
		   const struct ckv_attach *attach);
int control_lane_open(struct daemon *d, struct client *client,
		      const struct ckv_lane_open *open);
/* Send LANE_OPENED: what the lane needs is stored. */
int control_lane_opened(struct daemon *d, struct client *client, struct lane *lane);
int control_lane_close(struct daemon *d, struct client *client,
		       uint64_t serial);
int control_slab_want(struct daemon *d, struct client *client,
		      const struct ckv_slabs *want);
int control_reload(struct daemon *d, struct client *client);
/* Send DONE: LANE_CLOSE or DETACH is finished. */
int control_done(struct daemon *d, struct client *client);
int control_detach(struct daemon *d, struct client *client, uint32_t space_id);

/*
 * The client's process has ended: is there an unread message in its socket by which it
 * detached from all spaces? Reads messages until it finds one.
 */
bool control_left(struct client *client);

#endif

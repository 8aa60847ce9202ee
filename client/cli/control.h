/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control.h - one message with its descriptors over the control socket.
 */
#ifndef CKV_CLI_CONTROL_H
#define CKV_CLI_CONTROL_H

#include "proto/ckv_attach.h"

struct control_message {
	union {
		struct ckv_control_head head;
		struct ckv_welcome  welcome;
		struct ckv_attached attached;
		struct ckv_slabs    slabs;
		struct ckv_refused  refused;
		char bytes[CKV_CONTROL_BYTES_MAX];
	};
	uint32_t n_fds;
	int	 fds[CKV_FDS_MAX];	/* the receiver owns them */
};

/* Send a message of `bytes` that starts with its head, filled here. 0 or -errno. */
int control_send(int fd, void *message, uint16_t type, uint32_t bytes,
		 const int *fds, uint32_t n_fds);

/*
 * Receive one reply, skipping what the daemon sends unasked.
 *
 *   -ECONNRESET  the daemon closed the connection
 *   -ETIMEDOUT   it did not answer in time (SO_RCVTIMEO)
 *   -EPROTO      this is no message
 */
int control_receive(int fd, struct control_message *ret);

void control_drop_fds(struct control_message *message);

#endif

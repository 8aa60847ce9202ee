/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control.h - a received message, and what answers each kind.
 *
 * An answer function returns 0 when the connection goes on (a refusal that was
 * sent included) and -errno when it must be closed.
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
		struct ckv_control_id id;
		struct ckv_slabs slabs;
		char all[CKV_CONTROL_BYTES_MAX];
	} body;
	size_t bytes;
	bool cut;		/* something was left out */
	bool brings;		/* descriptors, how many is seen when it is taken */
	int fd;			/* the first of them, then; -1: none */
};

/* Send REFUSED with a positive errno and a text; 0 or -errno of sending. */
__attribute__((format(printf, 4, 5)))
int control_refuse(struct daemon *d, struct client *client, int error,
		   const char *format, ...);

/*
 * Refuse what the daemon has no room for. Whatever it ran short of, the client is told
 * EMFILE or ENOMEM, and the text has the rest.
 */
int control_refuse_room(struct daemon *d, struct client *client, int error,
			const char *what);

/* Some more slabs of the space that was attached last; n_slabs_left says how many wait. */
int control_send_slabs(struct daemon *d, struct client *client);

/* Takes *fd over, and then sets it to -1, when it keeps it. */
int control_hello(struct daemon *d, struct client *client,
		  const struct ckv_hello *hello, int *fd);
int control_attach(struct daemon *d, struct client *client,
		   const struct ckv_attach *attach);
int control_lane_open(struct daemon *d, struct client *client,
		      const struct ckv_lane_open *open);
int control_lane_close(struct daemon *d, struct client *client,
		       uint32_t lane_id);
int control_slab_want(struct daemon *d, struct client *client,
		      const struct ckv_slabs *want);
int control_reload(struct daemon *d, struct client *client);
/* LANE_CLOSE or DETACH is over. */
int control_done(struct daemon *d, struct client *client);
int control_detach(struct daemon *d, struct client *client, uint32_t space_id);

/*
 * Of a client whose process has ended: does what nobody has read of it yet say that it
 * detached from everything? Takes what it reads.
 */
bool control_left(struct client *client);

#endif

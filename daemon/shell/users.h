/* SPDX-License-Identifier: Apache-2.0 */
/*
 * users.h - what all clients of one user hold together.
 *
 * A limit per client is none for somebody who connects again, so what can run
 * out is counted for the user as well: by default one user gets half of
 * everything. Root is counted like anybody. A user has a row from the first
 * connection until nothing is held in its name; its number names it to the cores.
 */
#ifndef CKV_USERS_H
#define CKV_USERS_H

#include "daemon/shell/daemon.h"

struct user {
	uid_t uid;
	uint32_t n_clients;	/* connections; also mute, detached and dying ones */
	uint32_t n_mute;	/* of these: nothing was said yet */
	uint32_t n_lanes;
	uint32_t n_fds_unread;	/* at most; sent, and perhaps not received */
	uint32_t n_jobs;	/* of its lanes, closed ones too, that wait or run */
	uint64_t input_bytes;	/* copied by them, or going to be */
	uint64_t *n_pins;	/* [n_spaces], pin words of its lanes */
};

int users_create(struct daemon *d);
void users_destroy(struct daemon *d);

/* Rows at most: one for each client and each job. */
uint32_t users_max(const struct daemon_params *p);

/* The row of this uid, a new one if need be. The caller counts what it holds at once. */
struct user *user_of(struct daemon *d, uid_t uid);
uint32_t user_number(const struct daemon *d, const struct user *user);

/* The limits of a user, with what follows from others filled in. */
uint32_t user_clients_max(const struct daemon_params *p);
uint32_t user_lanes_max(const struct daemon_params *p);
uint32_t user_jobs_max(const struct daemon_params *p);
uint64_t user_inputs_max(const struct daemon_params *p);
uint32_t user_lent_max(const struct config_space *space);
uint64_t user_pins_max(const struct config_space *space);
uint64_t client_pins_max(const struct config_space *space);

/*
 * May this client open one lane more, of so many pins? 0; or -EMFILE, -EUSERS:
 * `text` names the limit, what there is and what it is.
 */
int user_may_open_lane(const struct daemon *d, const struct client *client,
		       uint32_t space, uint32_t n_pins, char text[232]);
void user_count_lane(struct daemon *d, struct client *client, uint32_t space,
		     uint32_t n_pins);
void user_uncount_lane(struct daemon *d, struct client *client, uint32_t space,
		       uint32_t n_pins);

/* May a job of this user copy so many bytes? As above; -EAGAIN. */
int user_may_queue(const struct daemon *d, const struct user *user,
		   uint64_t bytes, char *text, size_t text_bytes);
/* A job that has some; and when they are no longer needed. */
void user_count_inputs(struct daemon *d, struct user *user, uint64_t bytes);
void user_uncount_inputs(struct daemon *d, struct user *user, uint64_t bytes);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * users.h - count what all clients of one user hold together, and limit it.
 *
 * A user could get around a limit per client by connecting again. So everything that
 * can run out is counted per user as well; by default one user gets at most half of
 * it. Root is counted like any user. A user has a row in the table from its first
 * connection until it has neither connections nor jobs; the row's index is the number
 * by which the cores know the user. A client of before has a row of its own behind the
 * others, so nothing that it holds counts against the limits of its user's new clients.
 */
#ifndef CKV_USERS_H
#define CKV_USERS_H

#include "daemon/shell/daemon.h"

struct user {
	uid_t uid;
	uint32_t n_clients;	/* entries of the client table in any state but FREE */
	uint32_t n_mute;	/* of these, mute ones: they have not sent HELLO yet */
	uint32_t n_lanes;
	uint32_t n_fds_unread;	/* descriptors sent to it, and perhaps not received */
	uint32_t n_jobs;	/* compressions that wait or run, also of closed lanes */
	uint32_t n_prefetches;	/* prefetches that wait, or hold what has come */
	uint64_t input_bytes;	/* inputs that those have copied or will copy */
	uint64_t *n_pins;	/* [n_spaces], pin words of its lanes */
};

int users_create(struct daemon *d);
void users_destroy(struct daemon *d);

/* Warn of spaces that are closed to everybody. */
void users_warn(const struct config *config);

/* How many rows there can be: one for each client and each job. */
uint32_t users_max(const struct daemon_params *p);

/*
 * The row of this uid, or a new one, which the caller must use at once, as it is free
 * until something is counted in it. NULL: all rows are in use.
 */
struct user *user_of(struct daemon *d, uid_t uid);
uint32_t user_number(const struct daemon *d, const struct user *user);

/* The limits of a user or client: as configured or, if unset, computed from others. */
uint32_t user_clients_max(const struct daemon_params *p);
uint32_t user_lanes_max(const struct daemon_params *p);
uint32_t user_jobs_max(const struct daemon_params *p);
uint32_t user_prefetches_max(const struct daemon_params *p);
uint64_t user_inputs_max(const struct daemon_params *p);
uint32_t user_lent_max(const struct config_space *space);
uint64_t user_pins_max(const struct config_space *space);
uint64_t client_pins_max(const struct config_space *space);

/*
 * May this client open one lane more, with n_pins pin words? 0; or -EMFILE, -EUSERS:
 * `text` names the limit, its value, and how much is in use.
 */
int user_may_open_lane(const struct daemon *d, const struct client *client,
		       uint32_t space, uint32_t n_pins, char text[232]);
void user_count_lane(struct daemon *d, struct client *client, uint32_t space,
		     uint32_t n_pins);
void user_uncount_lane(struct daemon *d, struct client *client, uint32_t space,
		       uint32_t n_pins);

/* May this client hold one block more, besides the pin words of its lanes? */
bool user_may_pin(const struct daemon *d, const struct client *client, uint32_t space);
/* So many more pins, or fewer. */
void user_count_pins(struct daemon *d, struct client *client, uint32_t space, int more);

/* May a job of this user copy so many bytes of inputs? 0; or -EAGAIN and such a text. */
int user_may_queue(const struct daemon *d, const struct user *user,
		   uint64_t bytes, char *text, size_t text_bytes);
/* A job is going to copy so many bytes of inputs; it needs them no longer. */
void user_count_inputs(struct daemon *d, struct user *user, uint64_t bytes);
void user_uncount_inputs(struct daemon *d, struct user *user, uint64_t bytes);

#endif

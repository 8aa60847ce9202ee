/* SPDX-License-Identifier: Apache-2.0 */
/*
 * clients.c - end connections; accept.c begins them. The states are in daemon.h.
 */
#include "daemon/shell/control.h"
#include "daemon/shell/keep.h"
#include "daemon/shell/leave.h"
#include "daemon/shell/log.h"
#include "daemon/shell/sys.h"
#include "daemon/shell/users.h"

#include <assert.h>
#include <errno.h>

static uint32_t index_of(const struct daemon *d, const struct client *client)
{
	return (uint32_t)(client - d->client);
}

struct client *client_by_token(struct daemon *d, uint64_t token)
{
	uint32_t index = (uint32_t)token;
	struct client *client = index < d->n_client_rows ? &d->client[index] :
				NULL;

	if (client == NULL || client->state == CLIENT_FREE ||
	    client->state == CLIENT_ENDING ||
	    (client->generation & 0xffffff) != (token >> 32 & 0xffffff))
		return NULL;
	return client;
}

/*
 * Close the client's socket. False: it stays open, because its peer end is open and has
 * not read all descriptors that were sent. The kernel counts those against the daemon's
 * user until they are read or that end is closed, so the connection stays counted, too.
 */
static bool close_socket(struct daemon *d, struct client *client)
{
	uint64_t token = watch_token(WATCH_SOCKET, client->generation,
				     index_of(d, client));

	if (client->socket < 0)
		return true;
	loop_unwatch(d->loop, client->socket, token);
	client->readable = false;
	client->n_slabs_left = 0;
	(void)sys_shut_socket(client->socket);
	if (client->n_fds_unread > 0 && sys_unread(client->socket) > 0)
		return false;
	leave_socket(d, client->uid, client->socket, client->bare, token);
	client->socket = -1;
	client->user->n_fds_unread -= client->n_fds_unread;
	client->n_fds_unread = 0;
	return true;
}

void client_free(struct daemon *d, struct client *client)
{
	bool closed = close_socket(d, client);

	if (!closed || client->n_lanes > 0) {
		client->state = CLIENT_ENDING;
		return;
	}
	arenas_destroy(d, client);
	client->state = CLIENT_FREE;
	client->user->n_clients--;
	client->user = NULL;
}

void client_count_known(struct daemon *d, struct client *client)
{
	if (client->state != CLIENT_CONNECTED)
		return;
	client->user->n_mute--;
	d->n_mute--;
}

void client_forget(struct daemon *d, struct client *client)
{
	uint32_t index = index_of(d, client);
	bool known = client->state != CLIENT_CONNECTED;

	assert(client->state != CLIENT_FREE);
	while (client->turn_lane != CKV_NONE)
		lane_end(d, &d->lane[client->turn_lane]);
	keep_forget_client(d, client);
	if (client->pidfd >= 0) {
		loop_unwatch(d->loop, client->pidfd,
			     watch_token(WATCH_DEATH, client->generation, index));
		sys_close(client->pidfd);
		client->pidfd = -1;
	}
	for (uint32_t i = 0; i < d->n_spaces; i++)
		client->attached[i].access = 0;
	client_count_known(d, client);
	client_free(d, client);
	if (!known)
		return;
	stats_client(d, client, NULL);
	d->n_clients--;
	ckv_hint_store64(&d->stats->clients, d->n_clients);
}

void client_drop(struct daemon *d, struct client *client)
{
	if (client->state == CLIENT_FREE)
		return;
	/* Do not wait for one that has not read its descriptors. */
	client->n_fds_unread = 0;
	(void)close_socket(d, client);
	sys_close(client->pidfd);
	arenas_drop(client);
	client->state = CLIENT_FREE;
}

void client_awaited(struct daemon *d, struct client *client)
{
	int r;

	if (--client->n_awaited > 0)
		return;
	r = control_done(d, client);
	/* A client that has closed the socket needs no answer; its messages still count. */
	if (r < 0 && r != -EPIPE)
		client_hang_up(d, client);
}

void client_lane_ended(struct daemon *d, struct client *client)
{
	if (client->n_lanes > 0)
		return;
	if (client->state == CLIENT_ENDING) {
		client_free(d, client);
		stats_client(d, client, NULL);
	} else if (client->state == CLIENT_DETACHED) {
		client_forget(d, client);
	}
}

void client_hang_up(struct daemon *d, struct client *client)
{
	uint32_t at = client->turn_lane;

	(void)close_socket(d, client);
	if (client->n_lanes == 0) {
		client_forget(d, client);
		return;
	}
	for (uint32_t n = client->n_lanes - client->n_ending; n > 0; n--) {
		lane_shut(d, &d->lane[at], ESHUTDOWN);
		at = d->lane[at].next;
	}
	client->state = CLIENT_DETACHED;
	stats_client(d, client, NULL);
}

/*
 * A process that ends counts as died only if something is taken back from it. A client
 * without lanes held nothing, and one that has detached from all spaces gave everything
 * back. The pidfd may report the end before the reactor has read the last messages, so
 * control_left() looks for a DETACH among them.
 */
void client_died(struct daemon *d, struct client *client)
{
	uint32_t n_open = client->n_lanes - client->n_ending;

	if (n_open > 0 && !control_left(client)) {
		ckv_count(&d->stats->clients_died, 1);
		log_limited(LOG_INFO, d->now_ns, "client %d is dead; %u lane%s "
			    "taken back", (int)client->pid, n_open,
			    n_open == 1 ? "" : "s");
	}
	client_forget(d, client);
}

/*
 * clients.c - who is connected: from accept to death.
 *
 * The kernel says who a peer is. Its pidfd is the kernel's too where
 * SO_PEERPIDFD exists; else the client sends its own, which must name the
 * process that connected.
 */
#include "daemon/shell/control.h"
#include "daemon/shell/log.h"
#include "daemon/shell/sys.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint32_t index_of(const struct daemon *d, const struct client *client)
{
	return (uint32_t)(client - d->client);
}

struct client *client_by_token(struct daemon *d, uint64_t token)
{
	uint32_t index = (uint32_t)token;
	struct client *client = index < d->n_clients_max ? &d->client[index] :
				NULL;

	if (client == NULL || client->state == CLIENT_FREE ||
	    client->state == CLIENT_ENDING ||
	    (client->generation & 0xffffff) != (token >> 32 & 0xffffff))
		return NULL;
	return client;
}

static struct client *free_client(struct daemon *d)
{
	for (uint32_t i = 0; i < d->n_clients_max; i++)
		if (d->client[i].state == CLIENT_FREE)
			return &d->client[i];
	return NULL;
}

/* The limit is said by a message, because a closed socket says nothing. */
static void turn_away(struct daemon *d, int fd)
{
	struct client stranger = { .socket = fd };
	struct ckv_refused refused = { .error = EUSERS };

	snprintf(refused.text, sizeof refused.text,
		 "%u processes are connected, the limit (max_clients)",
		 d->n_clients_max);
	(void)control_send(d, &stranger, &refused, sizeof refused, CKV_REFUSED,
			   NULL, 0);
	sys_close(fd);
	ckv_count(&d->stats->clients_refused, 1);
}

static void admit(struct daemon *d, int fd)
{
	struct client *client = free_client(d);
	int r;

	if (client == NULL) {
		turn_away(d, fd);
		return;
	}
	client->generation++;
	client->socket = fd;
	client->pidfd = -1;
	client->since_ns = d->now_ns;
	client->n_requests = client->n_lanes = client->n_fds_unread = 0;
	client->n_ending = client->n_awaited = client->owed = 0;
	client->turn_lane = CKV_NONE;
	r = loop_watch(d->loop, fd, watch_token(WATCH_SOCKET, client->generation,
						index_of(d, client)));
	if (r < 0) {
		log_limited(LOG_ERROR, d->now_ns, "cannot watch a new "
			    "connection: %s", strerror(-r));
		sys_close(fd);
		return;
	}
	client->state = CLIENT_CONNECTED;
	client->readable = true;
}

void clients_accept(struct daemon *d)
{
	int fd;

	for (int i = 0; i < 16; i++) {
		fd = sys_accept(d->listen_fd);
		if (fd == -EAGAIN) {
			d->accepting = false;
			return;
		}
		if (fd >= 0) {
			admit(d, fd);
			continue;
		}
		if (fd == -ECONNABORTED || fd == -EINTR)
			continue;
		/* No descriptor left: the queue waits until one is. */
		log_limited(LOG_ERROR, d->now_ns, "accept: %s", strerror(-fd));
		d->accepting = false;
		return;
	}
}

/* The process that a pidfd names, by its fdinfo; 0: it is gone. */
static int pidfd_pid(int pidfd, pid_t *ret_pid)
{
	char path[64], text[1024], *line;
	ssize_t n;
	int fd;

	snprintf(path, sizeof path, "/proc/self/fdinfo/%d", pidfd);
	fd = sys_open(path, O_RDONLY, 0);
	if (fd < 0)
		return fd;
	n = sys_read(fd, text, sizeof text - 1);
	sys_close(fd);
	if (n < 0)
		return (int)n;
	text[n] = 0;
	line = strstr(text, "Pid:");
	if (line == NULL)
		return -EINVAL;
	*ret_pid = (pid_t)strtol(line + 4, NULL, 10);
	return 0;
}

int client_identify(struct client *client, uint32_t claimed_pid, int pidfd,
		    char text[232])
{
	struct ucred peer = { .pid = 0 };
	socklen_t bytes = sizeof peer;
	pid_t named = 0;
	int r, fd;

	r = sys_socket_option(client->socket, SO_PEERCRED, &peer, &bytes);
	if (r < 0) {
		snprintf(text, 232, "the peer is unknown: %s", strerror(-r));
		return r;
	}
	if ((pid_t)claimed_pid != peer.pid) {
		snprintf(text, 232, "the message says process %u, the kernel "
			 "says %d; both must be in one pid namespace",
			 claimed_pid, (int)peer.pid);
		return -EPROTO;
	}
	fd = sys_peer_pidfd(client->socket);
	if (fd < 0 && pidfd < 0) {
		snprintf(text, 232, "HELLO brought no pidfd, and this kernel "
			 "gives none: %s", strerror(-fd));
		return -EPROTO;
	}
	if (fd < 0) {
		r = pidfd_pid(pidfd, &named);
		if (r < 0 || named != peer.pid) {
			snprintf(text, 232, "the pidfd in HELLO names process "
				 "%d, the kernel says %d", (int)named,
				 (int)peer.pid);
			return -EPROTO;
		}
		fd = pidfd;
	} else {
		sys_close(pidfd);
	}
	client->pidfd = fd;
	client->pid = peer.pid;
	client->uid = peer.uid;
	client->gid = peer.gid;
	return 0;
}

static void close_socket(struct daemon *d, struct client *client)
{
	if (client->socket < 0)
		return;
	loop_unwatch(d->loop, client->socket,
		     watch_token(WATCH_SOCKET, client->generation,
				 index_of(d, client)));
	sys_close(client->socket);
	client->socket = -1;
	client->readable = false;
}

void client_forget(struct daemon *d, struct client *client)
{
	uint32_t index = index_of(d, client);
	bool known = client->state != CLIENT_CONNECTED;

	assert(client->state != CLIENT_FREE);
	while (client->turn_lane != CKV_NONE)
		lane_end(d, &d->lane[client->turn_lane]);
	close_socket(d, client);
	if (client->pidfd >= 0) {
		loop_unwatch(d->loop, client->pidfd,
			     watch_token(WATCH_DEATH, client->generation, index));
		sys_close(client->pidfd);
		client->pidfd = -1;
	}
	for (uint32_t i = 0; i < d->n_hosts; i++)
		client->attached[i].access = 0;
	client->state = client->n_lanes > 0 ? CLIENT_ENDING : CLIENT_FREE;
	if (!known)
		return;
	stats_client(d, client, NULL);
	d->n_clients--;
	ckv_hint_store64(&d->stats->clients, d->n_clients);
}

void client_awaited(struct daemon *d, struct client *client)
{
	int r;

	if (--client->n_awaited > 0)
		return;
	r = control_done(d, client);
	/* Who closed the socket wants no answer, but meant what it sent. */
	if (r < 0 && r != -EPIPE)
		client_hang_up(d, client);
}

void client_lane_ended(struct daemon *d, struct client *client)
{
	if (client->n_lanes > 0)
		return;
	if (client->state == CLIENT_ENDING)
		client->state = CLIENT_FREE;
	else if (client->state == CLIENT_DETACHED)
		client_forget(d, client);
}

void client_hang_up(struct daemon *d, struct client *client)
{
	uint32_t at = client->turn_lane;

	close_socket(d, client);
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

void client_died(struct daemon *d, struct client *client)
{
	bool held = client->n_lanes > 0;

	for (uint32_t i = 0; i < d->n_hosts; i++)
		held |= client->attached[i].access != 0;
	if (held) {
		ckv_count(&d->stats->clients_died, 1);
		log_limited(LOG_INFO, d->now_ns, "client %d is dead; %u lanes "
			    "taken back", (int)client->pid, client->n_lanes);
	}
	client_forget(d, client);
}

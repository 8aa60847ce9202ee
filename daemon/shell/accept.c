/* SPDX-License-Identifier: Apache-2.0 */
/*
 * accept.c - accept connections, and identify the process behind each.
 *
 * The kernel names the peer's user at once, and each user gets a share of the
 * connections (users.h). When room is short, a mute connection, one that has not sent
 * HELLO, is closed for a new one: so nobody keeps others out by connecting and waiting.
 */
#include "daemon/shell/control.h"
#include "daemon/shell/leave.h"
#include "daemon/shell/log.h"
#include "daemon/shell/sys.h"
#include "daemon/shell/users.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ACCEPT_PER_TURN 4

static struct client *free_client(struct daemon *d)
{
	for (uint32_t i = 0; i < d->n_clients_max; i++)
		if (d->client[i].state == CLIENT_FREE)
			return &d->client[i];
	return NULL;
}

/* Tell a new connection why it is refused, and close it. */
static void turn_away(struct daemon *d, int fd, bool bare, uid_t uid,
		      const char *text)
{
	struct client stranger = { .socket = fd };
	struct ckv_refused refused = { .error = EUSERS };

	snprintf(refused.text, sizeof refused.text, "%s", text);
	(void)control_send(d, &stranger, &refused, sizeof refused, CKV_REFUSED,
			   NULL, 0);
	leave_socket(d, uid, fd, bare, 0);
	ckv_count(&d->stats->clients_refused, 1);
	log_limited(LOG_INFO, d->now_ns, "a connection of uid %u is refused: %s", uid, text);
}

/*
 * The oldest mute connection of this user; user NULL: of the user that has the most of
 * them. Only those whose socket was read and found empty.
 */
static struct client *mute_client(struct daemon *d, const struct user *user)
{
	struct client *oldest = NULL;

	for (uint32_t i = 0; i < d->n_clients_max; i++) {
		struct client *c = &d->client[i];

		if (c->state != CLIENT_CONNECTED || c->readable ||
		    (user != NULL && c->user != user))
			continue;
		if (oldest == NULL || c->user->n_mute > oldest->user->n_mute ||
		    (c->user->n_mute == oldest->user->n_mute &&
		     c->since_ns < oldest->since_ns))
			oldest = c;
	}
	return oldest;
}

/* Close a mute connection to make room for a new one. False: `mute` is NULL. */
static bool give_way(struct daemon *d, struct client *mute)
{
	if (mute == NULL)
		return false;
	(void)control_refuse(d, mute, -EUSERS, "you sent no HELLO, and a new "
			     "connection needed your place; connect again");
	ckv_count(&d->stats->clients_refused, 1);
	client_hang_up(d, mute);
	return true;
}

/* Make room for a connection of this user. False: there is none, and `text` says why. */
static bool make_place(struct daemon *d, const struct user *user, char text[232])
{
	uint32_t most = user_clients_max(&d->config->daemon);
	uint32_t most_mute = d->n_clients_max / 2 + d->n_clients_max % 2;

	if (user == NULL || user->n_clients >= most) {
		snprintf(text, 232, "%u processes of this user are connected; at "
			 "most %u (max_clients_per_user)",
			 user ? user->n_clients : 0, most);
		return user != NULL && give_way(d, mute_client(d, user));
	}
	if (d->n_mute >= most_mute || free_client(d) == NULL)
		(void)give_way(d, mute_client(d, NULL));
	/* Connections whose socket was not read yet stay: they may have sent HELLO. */
	if (free_client(d) != NULL)
		return true;
	snprintf(text, 232, "all %u connections are taken (max_clients)",
		 d->n_clients_max);
	return false;
}

static void admit(struct daemon *d, int fd)
{
	struct ucred peer = { .pid = 0 };
	socklen_t bytes = sizeof peer;
	struct client *client;
	struct user *user;
	char text[232];
	bool bare = leave_is_bare(d, fd);
	int r;

	r = sys_socket_option(fd, SO_PEERCRED, &peer, &bytes);
	if (r < 0) {
		leave_socket(d, peer.uid, fd, bare, 0);
		return;
	}
	user = user_of(d, peer.uid);
	if (!make_place(d, user, text)) {
		turn_away(d, fd, bare, peer.uid, text);
		return;
	}
	client = free_client(d);
	client->generation++;
	client->socket = fd;
	client->bare = bare;
	client->pidfd = -1;
	client->pid = peer.pid;
	client->uid = peer.uid;
	client->gid = peer.gid;
	client->since_ns = d->now_ns;
	client->n_requests = client->n_lanes = client->n_fds_unread = 0;
	client->n_ending = client->n_awaited = client->owed = 0;
	client->sparse = client->noted = false;
	client->serial = client->ticket = 0;
	client->turn_lane = client->opening = client->ledger_row = CKV_NONE;
	r = loop_watch(d->loop, fd, watch_token(WATCH_SOCKET, client->generation,
						(uint32_t)(client - d->client)));
	if (r < 0) {
		log_limited(LOG_ERROR, d->now_ns, "cannot watch a new "
			    "connection: %s", strerror(-r));
		leave_socket(d, peer.uid, fd, bare, 0);
		return;
	}
	client->state = CLIENT_CONNECTED;
	client->readable = true;
	client->user = user;
	user->n_clients++;
	user->n_mute++;
	d->n_mute++;
}

void clients_accept(struct daemon *d)
{
	int fd;

	for (int i = 0; i < ACCEPT_PER_TURN; i++) {
		/* If not, the tick tries again. */
		d->accepting = leave_may_accept(d);
		if (!d->accepting)
			return;
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
		/* No descriptor is left. The tick tries again. */
		log_limited(LOG_ERROR, d->now_ns, "accept: %s", strerror(-fd));
		d->accepting = false;
		return;
	}
}

/* ---- identify the process ---- */

/* The fdinfo of any other kind of file is not read, because that could block. */
int client_pidfd_pid(int pidfd, pid_t *ret_pid)
{
	char path[64], text[1024], *line;
	ssize_t n;
	int fd;

	snprintf(path, sizeof path, "/proc/self/fd/%d", pidfd);
	n = sys_readlink(path, text, sizeof text - 1);
	if (n < 0)
		return (int)n;
	text[n] = 0;
	if (strcmp(text, "anon_inode:[pidfd]") != 0 &&
	    strncmp(text, "pidfd:", 6) != 0)
		return -EINVAL;
	snprintf(path, sizeof path, "/proc/self/fdinfo/%d", pidfd);
	fd = sys_open(path, O_RDONLY, 0);
	if (fd < 0)
		return fd;
	n = sys_read(fd, text, sizeof text - 1);
	sys_close(fd);
	if (n < 0)
		return (int)n;
	text[n] = 0;
	line = strstr(text, "\nPid:");
	if (line == NULL)
		return -EINVAL;
	*ret_pid = (pid_t)strtol(line + 5, NULL, 10);
	return 0;
}

/* If the kernel gives no pidfd: the client sent one, which must name its process. */
static int identify_by_claim(const struct client *client, uint32_t claimed_pid,
			     int pidfd, char text[232])
{
	pid_t named = 0;
	int r;

	if (pidfd < 0) {
		snprintf(text, 232, "HELLO brought no pidfd, and this kernel gives "
			 "none (Linux 6.5 does)");
		return -EPROTO;
	}
	if ((pid_t)claimed_pid != client->pid) {
		snprintf(text, 232, "the message says process %u, the kernel says "
			 "%d; before Linux 6.5 both must be in one pid namespace",
			 claimed_pid, (int)client->pid);
		return -EPROTO;
	}
	r = client_pidfd_pid(pidfd, &named);
	if (r < 0 || named != client->pid) {
		snprintf(text, 232, "the pidfd in HELLO names process %d, the "
			 "kernel says %d", (int)named, (int)client->pid);
		return -EPROTO;
	}
	return 0;
}

int client_identify(struct client *client, uint32_t claimed_pid, int *pidfd,
		    char text[232])
{
	int fd = sys_peer_pidfd(client->socket), r;

	if (fd >= 0) {
		/* It needs to send no descriptor, so let the kernel refuse all. */
		(void)sys_pass_rights(client->socket, false);
		client->pidfd = fd;
		return 0;
	}
	if (fd != -ENOPROTOOPT) {
		snprintf(text, 232, "the client's process cannot be watched: %s",
			 strerror(-fd));
		return fd;
	}
	r = identify_by_claim(client, claimed_pid, *pidfd, text);
	if (r < 0)
		return r;
	client->pidfd = *pidfd;
	*pidfd = -1;
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * listen.c - create the daemon's socket, and deal with one that exists already.
 *
 * The daemon keeps PATH.lock locked as long as it lives. With the lock it may replace
 * the socket that a killed daemon left behind, but not one that a program without the
 * lock serves. Lock and socket are checked before the daemon takes any memory; the
 * new socket is created last.
 */
#include "daemon/shell/leave.h"
#include "daemon/shell/log.h"
#include "daemon/shell/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LOCK_BYTES	(CONFIG_TEXT_BYTES + 8)

/* How often, and after what pause, one connects to a socket whose queue is full. */
#define FULL_TRIES	100
#define FULL_PAUSE_NS	10000000u

static void lock_name(const char *path, char name[LOCK_BYTES])
{
	snprintf(name, LOCK_BYTES, "%s.lock", path);
}

/* A lock file stays when its daemon ends, so it may belong to another user. */
static void say_lock(const char *name, int error)
{
	struct stat s;

	if (error == -EACCES && sys_stat(name, &s) == 0)
		log_line(LOG_ERROR, "%s: %s: it belongs to uid %u, who serves this "
			 "socket or did; set socket to another path, or remove it "
			 "when no ckvd of that user runs", name,
			 strerror(-error), s.st_uid);
	else if (error == -ENOENT || error == -ENOTDIR)
		log_line(LOG_ERROR, "%s: its folder does not exist; make it ('mkdir', or "
			 "for /run/ckv 'systemd-tmpfiles --create ckvd.conf'), or set "
			 "socket to another path", name);
	else if (error == -EACCES)
		log_line(LOG_ERROR, "%s: %s: this user may not write to the folder; run "
			 "ckvd as the user it belongs to, or set socket to another path",
			 name, strerror(-error));
	else if (error == -EISDIR || error == -ELOOP)
		log_line(LOG_ERROR, "%s: a folder or a symbolic link where the lock file "
			 "belongs; remove it, or set socket to another path", name);
	else
		log_line(LOG_ERROR, "%s: %s", name, strerror(-error));
}

static int lock(struct daemon *d)
{
	const char *path = d->config->daemon.socket;
	char name[LOCK_BYTES];
	int r;

	lock_name(path, name);
	d->lock_fd = sys_open(name, O_RDWR | O_CREAT | O_NOFOLLOW, 0600);
	if (d->lock_fd < 0) {
		say_lock(name, d->lock_fd);
		return d->lock_fd;
	}
	r = sys_lock(d->lock_fd);
	if (r == -EWOULDBLOCK) {
		log_line(LOG_ERROR, "%s: another ckvd serves this socket", path);
		return -EADDRINUSE;
	}
	if (r < 0)
		log_line(LOG_ERROR, "%s: %s", name, strerror(-r));
	return r;
}

/*
 * Is the process that listens at the other end gone? The socket of a killed
 * daemon answers until the kernel has torn its ring down, some time after
 * the process itself.
 */
static bool listener_is_gone(int fd)
{
	struct ucred peer = { .pid = 0 };
	socklen_t bytes = sizeof peer;
	struct stat s;
	char proc[32];

	if (sys_socket_option(fd, SO_PEERCRED, &peer, &bytes) < 0 ||
	    peer.pid <= 0)
		return false;
	snprintf(proc, sizeof proc, "/proc/%d", (int)peer.pid);
	return sys_stat(proc, &s) == -ENOENT;
}

/*
 * A queue that is full may be that of a killed daemon, too, and who connects cannot ask
 * whose it is. That one's is gone soon.
 */
static int connect_to(int fd, const char *path)
{
	int r = sys_connect(fd, path);

	for (int i = 0; r == -EAGAIN && i < FULL_TRIES; i++) {
		sys_sleep_ns(FULL_PAUSE_NS);
		r = sys_connect(fd, path);
	}
	return r;
}

enum place { PLACE_EMPTY, PLACE_STALE, PLACE_SERVED };

/* An enum place: what is at the path; or -errno. *ret_pid: who serves it; 0: unknown. */
static int look_at(const char *path, pid_t *ret_pid)
{
	struct ucred peer = { .pid = 0 };
	socklen_t bytes = sizeof peer;
	struct stat s;
	char target;
	int fd, r;

	r = sys_stat(path, &s);
	if (r == -ENOENT && sys_readlink(path, &target, 1) > 0) {
		log_line(LOG_ERROR, "%s: a symbolic link to what is not there; remove it, "
			 "or set socket to another path", path);
		return -EEXIST;
	}
	if (r == -ENOENT)
		return PLACE_EMPTY;
	if (r == 0 && !S_ISSOCK(s.st_mode)) {
		log_line(LOG_ERROR, "%s: exists and is not a socket; set socket to "
			 "another path, or remove it", path);
		return -EEXIST;
	}
	if (r < 0) {
		log_line(LOG_ERROR, "%s: %s", path, strerror(-r));
		return r;
	}
	fd = sys_socket();
	if (fd < 0)
		return fd;
	r = connect_to(fd, path);
	if (r == 0 && listener_is_gone(fd))
		r = -ECONNREFUSED;
	if (r == 0 && sys_socket_option(fd, SO_PEERCRED, &peer, &bytes) < 0)
		peer.pid = 0;
	sys_close(fd);
	*ret_pid = peer.pid;
	if (r == 0 || r == -EAGAIN || r == -EPROTOTYPE)
		return PLACE_SERVED;
	if (r == -ECONNREFUSED || r == -ENOENT)
		return PLACE_STALE;
	log_line(LOG_ERROR, "%s: exists, but connecting to it fails: %s", path,
		 strerror(-r));
	return r;
}

/* Remove a socket that nobody serves. -EADDRINUSE: a program serves it. */
static int clear_path(const char *path)
{
	pid_t pid;
	int r = look_at(path, &pid);

	if (r == PLACE_SERVED) {
		log_line(LOG_ERROR, "%s: another program serves this socket",
			 path);
		return -EADDRINUSE;
	}
	if (r != PLACE_STALE)
		return r;
	log_line(LOG_INFO, "%s: replacing the socket of a daemon that is gone",
		 path);
	return sys_unlink(path);
}

/* The group that the socket shall have; (gid_t)-1: none is configured. */
static int find_group(const struct daemon_params *p, gid_t *ret_gid)
{
	const struct group *group;

	*ret_gid = (gid_t)-1;
	if (p->socket_group[0] == 0)
		return 0;
	group = getgrnam(p->socket_group);
	if (group == NULL) {
		log_line(LOG_ERROR, "socket_group = %s: there is no such group; "
			 "'groupadd --system %s' as root makes it, and without the key "
			 "the daemon's own is taken", p->socket_group,
			 p->socket_group);
		return -EINVAL;
	}
	*ret_gid = group->gr_gid;
	return 0;
}

/* Log why the socket cannot be given to its group. */
static int say_group(const struct daemon_params *p, int error)
{
	if (error == -EPERM)
		log_line(LOG_ERROR, "socket_group = %s: this user is not a member of it; "
			 "run ckvd as one who is, or name a group that this user is in",
			 p->socket_group);
	else
		log_line(LOG_ERROR, "socket_group = %s: %s", p->socket_group,
			 strerror(-error));
	return error;
}

/*
 * Giving the lock file to the socket's group shows whether the daemon may do so with
 * the socket later: both are its own files in one directory.
 */
int listen_claim(struct daemon *d)
{
	const struct daemon_params *p = &d->config->daemon;
	gid_t gid;
	int r = find_group(p, &gid);

	if (r == 0)
		r = lock(d);
	if (r < 0)
		return r;
	if (gid != (gid_t)-1)
		r = sys_chown(d->lock_fd, (uid_t)-1, gid);
	return r < 0 ? say_group(p, r) : clear_path(p->socket);
}

/* Could a start take the lock and the path? An enum place; or -errno. */
static int look_behind(const char *path, pid_t *ret_pid)
{
	char name[LOCK_BYTES];
	int fd;

	lock_name(path, name);
	fd = sys_open(name, O_RDWR | O_NOFOLLOW, 0);
	if (fd < 0 && fd != -ENOENT) {
		say_lock(name, fd);
		return fd;
	}
	sys_close(fd);
	return look_at(path, ret_pid);
}

int listen_look(const struct daemon *d, pid_t *ret_pid)
{
	const struct daemon_params *p = &d->config->daemon;
	char dir[CONFIG_TEXT_BYTES], *slash;
	pid_t pid = 0;
	gid_t gid;
	int r = find_group(p, &gid), place;

	if (r == 0 && gid != (gid_t)-1) {
		r = sys_in_group(gid);
		if (r < 0)
			say_group(p, r);
	}
	snprintf(dir, sizeof dir, "%s", p->socket);
	slash = strrchr(dir, '/');
	if (slash == NULL)
		strcpy(dir, ".");
	else
		slash[slash == dir] = 0;
	place = sys_access(dir, W_OK | X_OK);
	if (place == -ENOENT)
		log_line(LOG_WARNING, "%s: is not there yet, and a start needs it: the "
			 "unit makes /run/ckv, as does 'systemd-tmpfiles --create "
			 "ckvd.conf'; 'mkdir' makes others", dir);
	else if (place < 0)
		log_line(LOG_ERROR, "%s: %s; a start as this user could not make its "
			 "socket there", dir, strerror(-place));
	else
		place = look_behind(p->socket, &pid);
	if (place == PLACE_SERVED)
		log_line(LOG_WARNING, "%s: process %d serves this socket; it must end "
			 "before a start, so its memory counts as free here",
			 p->socket, (int)pid);
	*ret_pid = pid;
	return r < 0 ? r : place < 0 && place != -ENOENT ? place : 0;
}

/* If only root and its group may connect, say how to let others connect. */
static void say_who_may(const struct daemon_params *p)
{
	struct stat s;

	if (sys_stat(p->socket, &s) == 0 && s.st_gid == 0 &&
	    (s.st_mode & S_IWOTH) == 0)
		log_line(LOG_INFO, "%s: only root and its group may connect (mode %04o); "
			 "socket_group lets another group in", p->socket,
			 s.st_mode & 07777);
}

int listen_open(struct daemon *d)
{
	const struct daemon_params *p = &d->config->daemon;
	gid_t gid;
	int r = find_group(p, &gid);

	if (r < 0)
		return r;
	d->listen_fd = sys_socket();
	if (d->listen_fd < 0)
		return d->listen_fd;
	r = sys_bind(d->listen_fd, p->socket);
	if (r < 0)
		goto err_say;
	r = sys_chmod_path(p->socket, (mode_t)p->socket_mode);
	if (r == 0 && gid != (gid_t)-1)
		r = sys_chown_path(p->socket, (uid_t)-1, gid);
	if (r == 0)
		leave_guard(d);
	if (r == 0)
		r = sys_listen(d->listen_fd, 64);
	if (r == 0)
		r = loop_watch(d->loop, d->listen_fd,
			       watch_token(WATCH_LISTEN, 0, 0));
	if (r == 0) {
		say_who_may(p);
		return 0;
	}
	(void)sys_unlink(p->socket);
err_say:
	log_line(LOG_ERROR, "%s: %s", p->socket, strerror(-r));
	sys_close(d->listen_fd);
	d->listen_fd = -1;
	return r;
}

/* The lock is released last, so the next daemon that takes it finds no socket. */
void listen_close(struct daemon *d)
{
	if (d->listen_fd >= 0) {
		(void)sys_unlink(d->config->daemon.socket);
		/* Connections that were not accepted are closed with it. */
		leave_socket(d, 0, d->listen_fd, false, 0);
	}
	sys_close(d->lock_fd);
	d->listen_fd = d->lock_fd = -1;
}

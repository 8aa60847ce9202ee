/*
 * listen.c - the socket, and what to do about one that is there already.
 *
 * PATH.lock is locked for as long as the daemon lives: who holds it may
 * replace the socket that a killed one left behind. Someone who answers at
 * PATH without the lock is left alone.
 */
#include "daemon/shell/daemon.h"
#include "daemon/shell/log.h"
#include "daemon/shell/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <string.h>

static int lock(struct daemon *d)
{
	const char *path = d->config->daemon.socket;
	char name[CONFIG_TEXT_BYTES + 8];
	int r;

	snprintf(name, sizeof name, "%s.lock", path);
	d->lock_fd = sys_open(name, O_RDWR | O_CREAT | O_NOFOLLOW, 0600);
	if (d->lock_fd < 0) {
		log_line(LOG_ERROR, "%s: %s", name, strerror(-d->lock_fd));
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

/* Nobody may answer at the path; then what is there may go. */
static int clear_path(const char *path)
{
	struct stat s;
	int fd, r;

	r = sys_stat(path, &s);
	if (r == -ENOENT)
		return 0;
	if (r == 0 && !S_ISSOCK(s.st_mode)) {
		log_line(LOG_ERROR, "%s: exists and is not a socket", path);
		return -EEXIST;
	}
	if (r < 0) {
		log_line(LOG_ERROR, "%s: %s", path, strerror(-r));
		return r;
	}
	fd = sys_socket();
	if (fd < 0)
		return fd;
	r = sys_connect(fd, path);
	if (r == 0 && listener_is_gone(fd))
		r = -ECONNREFUSED;
	sys_close(fd);
	if (r == 0 || r == -EAGAIN || r == -EPROTOTYPE) {
		log_line(LOG_ERROR, "%s: another program serves this socket",
			 path);
		return -EADDRINUSE;
	}
	if (r != -ECONNREFUSED && r != -ENOENT)
		return r;
	log_line(LOG_INFO, "%s: replacing the socket of a daemon that is gone",
		 path);
	return sys_unlink(path);
}

static int set_owner(const struct daemon_params *p)
{
	const struct group *group;
	int r;

	r = sys_chmod_path(p->socket, (mode_t)p->socket_mode);
	if (r < 0 || p->socket_group[0] == 0)
		return r;
	group = getgrnam(p->socket_group);
	if (group == NULL) {
		log_line(LOG_ERROR, "socket_group = %s: there is no such group",
			 p->socket_group);
		return -EINVAL;
	}
	return sys_chown_path(p->socket, (uid_t)-1, group->gr_gid);
}

int listen_open(struct daemon *d)
{
	const struct daemon_params *p = &d->config->daemon;
	int r = lock(d);

	if (r < 0)
		return r;
	r = clear_path(p->socket);
	if (r < 0)
		return r;
	d->listen_fd = sys_socket();
	if (d->listen_fd < 0)
		return d->listen_fd;
	r = sys_bind(d->listen_fd, p->socket);
	if (r < 0)
		goto err_say;
	r = set_owner(p);
	if (r == 0)
		r = sys_listen(d->listen_fd, 64);
	if (r == 0)
		r = loop_watch(d->loop, d->listen_fd,
			       watch_token(WATCH_LISTEN, 0, 0));
	if (r == 0)
		return 0;
	(void)sys_unlink(p->socket);
err_say:
	log_line(LOG_ERROR, "%s: %s", p->socket, strerror(-r));
	sys_close(d->listen_fd);
	d->listen_fd = -1;
	return r;
}

/* The lock goes last: whoever takes it then finds no socket. */
void listen_close(struct daemon *d)
{
	if (d->listen_fd >= 0) {
		(void)sys_unlink(d->config->daemon.socket);
		sys_close(d->listen_fd);
	}
	sys_close(d->lock_fd);
	d->listen_fd = d->lock_fd = -1;
}

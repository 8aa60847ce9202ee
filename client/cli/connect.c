/* SPDX-License-Identifier: Apache-2.0 */
/*
 * connect.c - connecting to the control socket, and saying why it failed.
 */
#include "client/cli/connect.h"

#include <errno.h>
#include <grp.h>
#include <libgen.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

enum { ANSWER_TIMEOUT_S = 5 };

static void explain_absent(const char *path, int error, char *why, size_t bytes)
{
	struct stat st;

	if (stat(path, &st) == 0 && !S_ISSOCK(st.st_mode)) {
		snprintf(why, bytes, "%s is not a socket", path);
		return;
	}
	snprintf(why, bytes, "no daemon at %s (%s). Start it with 'systemctl "
		 "start ckvd' or 'ckvd --config FILE'; if it listens elsewhere, "
		 "say --socket PATH or set CKV_SOCKET.", path,
		 error == ENOENT ? "the socket does not exist" :
		 "the socket is left over, nobody listens");
}

/* Who owns it and which group may: what a person needs to be let in. */
static void explain_refused(const char *path, char *why, size_t bytes)
{
	const struct passwd *owner, *me = getpwuid(geteuid());
	const struct group *group;
	char user[64], owner_name[64];
	char where[sizeof(((struct sockaddr_un *)0)->sun_path)];
	struct stat st;
	const char *object = path;

	snprintf(user, sizeof user, "%s", me ? me->pw_name : "this user");
	if (stat(path, &st) < 0) {
		snprintf(where, sizeof where, "%s", path);
		object = dirname(where);
		if (stat(object, &st) < 0) {
			snprintf(why, bytes, "%s may not look into %s", user,
				 object);
			return;
		}
	}
	owner = getpwuid(st.st_uid);
	snprintf(owner_name, sizeof owner_name, "%s",
		 owner ? owner->pw_name : "an unknown user");
	group = getgrgid(st.st_gid);
	snprintf(why, bytes, "%s may not connect: %s belongs to %s, group %s, mode "
		 "%04o. To be let in, join the group ('usermod -aG %s %s' as root, "
		 "then log in again).", user, object, owner_name,
		 group ? group->gr_name : "unknown",
		 st.st_mode & 07777, group ? group->gr_name : "GROUP", user);
}

int connect_control(const char *path, char *why, size_t why_bytes)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct timeval limit = { .tv_sec = ANSWER_TIMEOUT_S };
	int fd, r;

	if (strlen(path) >= sizeof address.sun_path) {
		snprintf(why, why_bytes, "the socket path is longer than %zu bytes",
			 sizeof address.sun_path - 1);
		return -ENAMETOOLONG;
	}
	memcpy(address.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0) {
		r = -errno;
		snprintf(why, why_bytes, "socket: %s", strerror(-r));
		return r;
	}
	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0 &&
	    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) == 0 &&
	    connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
		return fd;
	r = -errno;
	close(fd);
	if (r == -ENOENT || r == -ECONNREFUSED || r == -ENOTDIR)
		explain_absent(path, -r, why, why_bytes);
	else if (r == -EACCES || r == -EPERM)
		explain_refused(path, why, why_bytes);
	else
		snprintf(why, why_bytes, "connecting to %s: %s", path,
			 r == -EPROTOTYPE ? "a socket of another kind, not ckvd's"
					  : strerror(-r));
	return r;
}

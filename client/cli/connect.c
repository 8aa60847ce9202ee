/* SPDX-License-Identifier: Apache-2.0 */
/*
 * connect.c - connecting to the control socket, and saying why it failed.
 */
#include "client/cli/connect.h"

#include <errno.h>
#include <grp.h>
#include <libgen.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

enum {
	PATH_BYTES = sizeof(((struct sockaddr_un *)0)->sun_path),
};

int connect_timeout_ms = 5000;

/* The folder that a path lies in. */
static const char *folder(const char *path, char out[PATH_BYTES])
{
	snprintf(out, PATH_BYTES, "%s", path);
	return dirname(out);
}

/* Something else lies there, whatever connect() says of it: EACCES comes first. */
static bool explain_no_socket(const char *path, char *why, size_t bytes)
{
	struct stat st;

	if (stat(path, &st) < 0 || S_ISSOCK(st.st_mode))
		return false;
	snprintf(why, bytes, "%s is %s, not a socket. --socket PATH or "
		 "CKV_SOCKET say where ckvd listens.", path,
		 S_ISDIR(st.st_mode) ? "a folder" : "a file");
	return true;
}

static void explain_absent(const char *path, int error, char *why, size_t bytes)
{
	const char *what = "the socket is left over, nobody listens";
	char where[PATH_BYTES], text[PATH_BYTES + 100];
	struct stat st;

	if (error != ECONNREFUSED) {
		what = text;
		if (stat(folder(path, where), &st) == 0 && S_ISDIR(st.st_mode))
			what = "the socket does not exist";
		else
			snprintf(text, sizeof text, error == ENOTDIR ?
				 "a part of the path is not a folder" :
				 "its folder %s does not exist",
				 folder(path, where));
	}
	snprintf(why, bytes, "no daemon at %s (%s). Start it with 'systemctl "
		 "start ckvd' or 'ckvd --config FILE'; if it listens elsewhere, "
		 "say --socket PATH or set CKV_SOCKET.", path, what);
}

/* Groups that may do more than connect: nobody shall join one for a cache. */
static bool is_powerful(const struct group *group)
{
	static const char *const names[] = {
		"root", "wheel", "sudo", "adm", "disk", "docker", "shadow", "kmem",
		"lxd", "staff", "sys", "daemon", "bin",
	};

	if (group == NULL || group->gr_gid == 0)
		return true;
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
		if (strcmp(group->gr_name, names[i]) == 0)
			return true;
	return false;
}

/* Is this user a member by now, though this process is not? */
static bool joined_later(const struct passwd *me, const struct group *group)
{
	gid_t gids[256];
	int n = sizeof gids / sizeof gids[0];

	if (me == NULL || getgrouplist(me->pw_name, me->pw_gid, gids, &n) < 0)
		return false;
	while (n > 0)
		if (gids[--n] == group->gr_gid)
			return true;
	return false;
}

/* What a person can safely do about it, in how many ways there are. */
static void advise(const struct stat *st, bool is_folder, const struct passwd *me,
		   char *text, size_t bytes)
{
	const struct group *group = getgrgid(st->st_gid);
	bool opens = st->st_mode & (is_folder ? S_IXGRP : S_IWGRP);
	char user[64];

	snprintf(user, sizeof user, "%s", me ? me->pw_name : "USER");
	if (is_folder && (!opens || is_powerful(group)))
		snprintf(text, bytes, "Whoever runs ckvd can let others in by another "
			 "socket in ckvd.conf, in a folder that they may enter, such "
			 "as /run/ckv.");
	else if (!opens || is_powerful(group))
		snprintf(text, bytes, "Whoever runs ckvd can let a group in: "
			 "socket_group = GROUP and socket_mode = 0660 in ckvd.conf, "
			 "with user %s in GROUP, then restart ckvd.", user);
	else if (joined_later(me, group))
		snprintf(text, bytes, "user %s is in group %s now, but was not when this "
			 "session began: log in again, or run 'sg %s -c COMMAND'.",
			 user, group->gr_name, group->gr_name);
	else
		snprintf(text, bytes, "To be let in, join the group ('usermod -aG %s %s' "
			 "as root, then log in again).", group->gr_name, user);
}

/* Who owns it and which group may: what a person needs to be let in. */
static void explain_refused(const char *path, char *why, size_t bytes)
{
	const struct passwd *owner, *me = getpwuid(geteuid());
	const struct group *group;
	char user[64], owner_name[64], advice[400], where[PATH_BYTES];
	bool is_folder = false;
	struct stat st;

	snprintf(user, sizeof user, "%s%s", me ? "user " : "this user",
		 me ? me->pw_name : "");
	if (stat(path, &st) < 0) {
		path = folder(path, where);
		is_folder = true;
		if (stat(path, &st) < 0) {
			snprintf(why, bytes, "%s may not look into %s. --socket PATH "
				 "or CKV_SOCKET say where ckvd listens.", user, path);
			return;
		}
	}
	advise(&st, is_folder, getpwuid(geteuid()), advice, sizeof advice);
	owner = getpwuid(st.st_uid);
	snprintf(owner_name, sizeof owner_name, "%s",
		 owner ? owner->pw_name : "an unknown user");
	group = getgrgid(st.st_gid);
	snprintf(why, bytes, "%s may not connect: %s belongs to %s, group %s, mode "
		 "%04o. %s", user, path, owner_name,
		 group ? group->gr_name : "unknown", st.st_mode & 07777, advice);
}

int connect_control(const char *path, char *why, size_t why_bytes)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct timeval limit = { .tv_sec = connect_timeout_ms / 1000,
				 .tv_usec = connect_timeout_ms % 1000 * 1000 };
	int fd, r;

	if (strlen(path) >= sizeof address.sun_path) {
		snprintf(why, why_bytes, "the path of the socket has %zu bytes; at "
			 "most %zu", strlen(path), sizeof address.sun_path - 1);
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
	if (explain_no_socket(path, why, why_bytes))
		return r;
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

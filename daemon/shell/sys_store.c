/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sys_store.c - calls on memory that outlives the daemon, and on the service manager that
 * holds it.
 */
#include "daemon/shell/sys.h"
#include "daemon/shell/sys_fault.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#define NOTICE_BYTES 256	/* FDSTORE=1, a name, FDPOLL=0 */

int sys_dup(int fd)
{
	return sys_fault() ? -errno :
	       sys_count_descriptor(fcntl(fd, F_DUPFD_CLOEXEC, 3));
}

int sys_seals(int fd)
{
	int seals = sys_fault() ? -1 : fcntl(fd, F_GET_SEALS);

	return seals < 0 ? -errno : seals;
}

int sys_punch(int fd, uint64_t offset, uint64_t bytes)
{
	return sys_fault() ||
	       fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			 (off_t)offset, (off_t)bytes) != 0 ? -errno : 0;
}

bool sys_readable(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, 0) > 0;
}

/* An empty text is no path, as libsystemd sees it. */
bool sys_has_manager(void)
{
	const char *path = getenv("NOTIFY_SOCKET");

	return path != NULL && path[0] != 0;
}

int sys_take_fds(char ***ret_names)
{
	char **names = NULL;
	int n = sys_fault() ? -errno : sd_listen_fds_with_names(1, &names);

	for (int i = 0; i < n; i++)
		sys_count_descriptor(SYS_FDS_START + i);
	*ret_names = names;
	return n;
}

void sys_free_names(char **names)
{
	for (char **name = names; name != NULL && *name != NULL; name++)
		free(*name);
	free(names);
}

/* libsystemd answers 0 if there is no manager. */
static int sent(int r)
{
	return r > 0 ? 0 : r == 0 ? -ENOTCONN : r;
}

int sys_store_put(const char *name, int fd, bool poll)
{
	char text[NOTICE_BYTES];

	snprintf(text, sizeof text, "FDSTORE=1\nFDNAME=%s%s", name,
		 poll ? "" : "\nFDPOLL=0");
	return sys_fault() ? -errno :
	       sent(sd_pid_notify_with_fds(0, 0, text, &fd, 1));
}

int sys_store_remove(const char *name)
{
	char text[NOTICE_BYTES];

	snprintf(text, sizeof text, "FDSTOREREMOVE=1\nFDNAME=%s", name);
	return sys_fault() ? -errno : sent(sd_notify(0, text));
}

int sys_store_barrier(uint64_t wait_ns)
{
	return sys_fault() ? -errno : sent(sd_notify_barrier(0, wait_ns / 1000));
}

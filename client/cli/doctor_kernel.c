/* SPDX-License-Identifier: Apache-2.0 */
/*
 * doctor_kernel.c - the kernel: io_uring, pidfds, and how much may be opened.
 */
#include "client/cli/doctor.h"
#include "client/cli/text.h"

#include <errno.h>
#include <linux/io_uring.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif
#ifndef IORING_SETUP_SINGLE_ISSUER
#define IORING_SETUP_SINGLE_ISSUER (1U << 12)
#endif
#ifndef IORING_SETUP_DEFER_TASKRUN
#define IORING_SETUP_DEFER_TASKRUN (1U << 13)
#endif

static void check_version(struct doctor *doctor)
{
	struct utsname u;
	int major = 0, minor = 0;

	uname(&u);
	if (sscanf(u.release, "%d.%d", &major, &minor) != 2)
		major = minor = 0;
	doctor_add(doctor, major > 5 || (major == 5 && minor >= 14) ? DOCTOR_OK :
		   DOCTOR_WARN, "kernel", "older kernels are not tested",
		   "Linux 6.1 or newer has everything that is used",
		   "Linux %.100s", u.release);
}

/* A ring made with these flags, closed again: 0 or -errno. */
static int try_ring(unsigned flags)
{
	struct io_uring_params p;
	long fd;

	memset(&p, 0, sizeof p);
	p.flags = flags;
	fd = syscall(SYS_io_uring_setup, 8, &p);
	if (fd < 0)
		return -errno;
	close((int)fd);
	return 0;
}

static void check_ring(struct doctor *doctor)
{
	char disabled[16];
	int r = try_ring(IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);

	if (r == 0) {
		doctor_add(doctor, DOCTOR_OK, "io_uring", NULL, NULL,
			   "permitted, with SINGLE_ISSUER and DEFER_TASKRUN");
		return;
	}
	if (try_ring(0) == 0) {
		doctor_add(doctor, DOCTOR_WARN, "io_uring",
			   "a little more processor time per wake-up of the daemon",
			   "Linux 6.1 or newer",
			   "permitted, without DEFER_TASKRUN (%s)", strerror(-r));
		return;
	}
	doctor_read("/proc/sys/kernel/io_uring_disabled", disabled,
		    sizeof disabled);
	r = try_ring(0);
	doctor_add(doctor, DOCTOR_WARN, "io_uring",
		   "the daemon uses epoll and threads; engines do not notice, "
		   "wake-ups cost more",
		   "allow io_uring_setup, io_uring_enter and io_uring_register "
		   "in the container's seccomp profile, or sysctl "
		   "kernel.io_uring_disabled=0",
		   "not permitted: %s%s%s", strerror(-r),
		   *disabled ? "; kernel.io_uring_disabled=" : "", disabled);
}

static void check_pidfd(struct doctor *doctor)
{
	int pair[2], peer = -1, fd = (int)syscall(SYS_pidfd_open, getpid(), 0);
	socklen_t bytes = sizeof peer;

	if (fd < 0) {
		doctor_add(doctor, DOCTOR_FAIL, "pidfd",
			   "a client's death cannot be seen, so none is admitted",
			   "Linux 5.3 or newer; allow pidfd_open in seccomp",
			   "pidfd_open: %s", strerror(errno));
		return;
	}
	close(fd);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
		doctor_add(doctor, DOCTOR_FAIL, "pidfd", "clients cannot connect",
			   "allow UNIX sockets", "socketpair: %s",
			   strerror(errno));
		return;
	}
	if (getsockopt(pair[0], SOL_SOCKET, SO_PEERPIDFD, &peer, &bytes) == 0) {
		close(peer);
		doctor_add(doctor, DOCTOR_OK, "pidfd", NULL, NULL,
			   "pidfd_open and SO_PEERPIDFD");
	} else {
		doctor_add(doctor, DOCTOR_OK, "pidfd", NULL, NULL,
			   "pidfd_open; no SO_PEERPIDFD (Linux 6.5), so clients "
			   "send their own and it is checked");
	}
	close(pair[0]);
	close(pair[1]);
}

static const char *limit_text(rlim_t n, char *out, int as_bytes)
{
	if (n == RLIM_INFINITY)
		snprintf(out, TEXT_SHORT, "unlimited");
	else if (as_bytes)
		text_bytes(out, n);
	else
		snprintf(out, TEXT_SHORT, "%llu", (unsigned long long)n);
	return out;
}

static void check_limits(struct doctor *doctor)
{
	struct rlimit files, locked, length, range;
	char soft[TEXT_SHORT], hard[TEXT_SHORT];

	getrlimit(RLIMIT_NOFILE, &files);
	getrlimit(RLIMIT_MEMLOCK, &locked);
	doctor_add(doctor, files.rlim_max >= 4096 ? DOCTOR_OK : DOCTOR_WARN,
		   "open files", "a pool of many slabs, or many clients, is refused",
		   "LimitNOFILE= in the unit, or ulimit -n",
		   "RLIMIT_NOFILE %s, at most %s",
		   limit_text(files.rlim_cur, soft, 0),
		   limit_text(files.rlim_max, hard, 0));
	doctor_add(doctor, locked.rlim_max == RLIM_INFINITY ||
		   locked.rlim_max >= 8u << 20 ? DOCTOR_OK : DOCTOR_WARN,
		   "locked memory", "io_uring may be refused by old kernels",
		   "LimitMEMLOCK= in the unit, or ulimit -l",
		   "RLIMIT_MEMLOCK %s, at most %s",
		   limit_text(locked.rlim_cur, soft, 1),
		   limit_text(locked.rlim_max, hard, 1));
	getrlimit(RLIMIT_FSIZE, &length);
	getrlimit(RLIMIT_AS, &range);
	doctor_add(doctor, length.rlim_cur == RLIM_INFINITY &&
		   range.rlim_cur == RLIM_INFINITY ? DOCTOR_OK : DOCTOR_WARN,
		   "memory limits", "pools whose slabs or addresses are longer are "
		   "refused; engines map whole pools too",
		   "LimitFSIZE= and LimitAS= in the unit, or ulimit -f and -v",
		   "RLIMIT_FSIZE %s, RLIMIT_AS %s",
		   limit_text(length.rlim_cur, soft, 1),
		   limit_text(range.rlim_cur, hard, 1));
}

void doctor_kernel(struct doctor *doctor)
{
	check_version(doctor);
	check_ring(doctor);
	check_pidfd(doctor);
	check_limits(doctor);
}

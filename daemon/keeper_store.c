/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keeper_store.c - the descriptors that a keeper holds, and the socket on which they come.
 *
 * Where systemd and sd_notify(3) leave something open, this does what systemd does.
 *
 * The socket lies in a folder that only this user can enter: a message of somebody else
 * could bring a descriptor whose close() waits, or fill the queue. Of this user's processes
 * only the daemon itself is believed, by the process id that the kernel adds.
 */
#include "daemon/keeper_store.h"
#include "proto/ckv_text.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define STORE_MAX	16384u
#define MESSAGE_FDS	253		/* the kernel sends no more at once */
#define OWN_FDS		64		/* numbers left for the keeper's own descriptors */
#define LINES_MAX	20u		/* about messages, in ten seconds */
#define LINES_S		10

static const char names_prefix[] = "LISTEN_FDNAMES=";

/* Lines that nobody reads, or that find no room, are lost and counted: it does not wait. */
static void write_line(const char *format, va_list args)
{
	static unsigned int n_lost;
	struct pollfd p = { .fd = 2, .events = POLLOUT };
	char text[1024], line[1280];
	size_t n = 0;

	if (n_lost > 0)
		n = (size_t)snprintf(line, sizeof line, "ckvd: keeper: %u line%s lost\n", n_lost,
				     n_lost == 1 ? " was" : "s were");
	n += (size_t)snprintf(line + n, sizeof line - n, "ckvd: keeper: ");
	vsnprintf(text, sizeof text, format, args);
	n += ckv_text_line(line + n, sizeof line - 1 - n, text);
	line[n++] = '\n';
	n_lost++;
	if (poll(&p, 1, 0) > 0 && write(2, line, n) >= 0)
		n_lost = 0;
}

void keeper_say(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	write_line(format, args);
	va_end(args);
}

/* A line that messages can cause as often as they like. */
__attribute__((format(printf, 1, 2)))
static void complain(const char *format, ...)
{
	static time_t window_s;
	static unsigned int n_lines;
	struct timespec now;
	va_list args;

	clock_gettime(CLOCK_MONOTONIC, &now);
	if (now.tv_sec - window_s > LINES_S) {
		window_s = now.tv_sec;
		n_lines = 0;
	}
	if (n_lines >= LINES_MAX)
		return;
	va_start(args, format);
	write_line(format, args);
	va_end(args);
	if (++n_lines == LINES_MAX)
		keeper_say("more lines about messages are left out for some seconds");
}

/* ---- what is kept ------------------------------------------------------- */

static bool is_name(const char *text)
{
	size_t n = 0;

	for (; text[n] != 0; n++)
		if (text[n] < 0x20 || text[n] > 0x7e || text[n] == ':')
			return false;
	return n < STORE_NAME_BYTES;
}

/* Do two descriptors stand for the same open file? */
static bool is_same(const struct kept *a, int fd, const struct stat *s)
{
	return a->device == s->st_dev && a->inode == s->st_ino &&
	       syscall(SYS_kcmp, getpid(), getpid(), KCMP_FILE, a->fd, fd) == 0;
}

static void drop(struct store *s, unsigned int i)
{
	struct kept *kept = &s->kept[i];

	/* The daemon may hold the same file, so closing alone would leave it watched. */
	epoll_ctl(s->epoll, EPOLL_CTL_DEL, kept->fd, NULL);
	close(kept->fd);
	s->names_bytes -= strlen(kept->name) + 1;
	memmove(kept, kept + 1, (--s->n_kept - i) * sizeof *kept);
}

static void drop_named(struct store *s, const char *name)
{
	for (unsigned int i = s->n_kept; i-- > 0; )
		if (strcmp(s->kept[i].name, name) == 0)
			drop(s, i);
}

void store_hung_up(struct store *s, int fd)
{
	for (unsigned int i = 0; i < s->n_kept; i++)
		if (s->kept[i].fd == fd) {
			drop(s, i);
			return;
		}
}

/* Keep a descriptor of a message, under a number of its own. */
static void keep(struct store *s, int fd, const char *name, bool watch)
{
	struct kept *kept = &s->kept[s->n_kept];
	struct stat status = { .st_ino = 0 };

	fstat(fd, &status);
	for (unsigned int i = 0; i < s->n_kept; i++)
		if (is_same(&s->kept[i], fd, &status))
			return;
	if (s->n_kept == s->max_kept || s->names_bytes + strlen(name) + 1 >
	    STORE_NAMES_BYTES - sizeof names_prefix) {
		complain("\"%s\" is not kept, so a next daemon will not have it: %u descriptors "
			 "with %zu bytes of names are kept, and there is no room for more",
			 name, s->n_kept, s->names_bytes);
		return;
	}
	/* High numbers leave those free that a daemon's descriptors get in the child. */
	kept->fd = fcntl(fd, F_DUPFD_CLOEXEC, s->base);
	if (kept->fd < 0) {
		complain("\"%s\" is not kept, so a next daemon will not have it: %s", name,
			 strerror(errno));
		return;
	}
	kept->device = status.st_dev;
	kept->inode = status.st_ino;
	strcpy(kept->name, name);
	s->names_bytes += strlen(name) + 1;
	s->n_kept++;
	/* Memory cannot be watched, and never hangs up. */
	if (watch)
		epoll_ctl(s->epoll, EPOLL_CTL_ADD, kept->fd,
			  &(struct epoll_event){ .data.fd = kept->fd });
}

void store_name_all(struct store *s)
{
	size_t at = (size_t)sprintf(s->env_names, "%s", names_prefix);

	for (unsigned int i = 0; i < s->n_kept; i++)
		at += (size_t)sprintf(s->env_names + at, "%s%s", i > 0 ? ":" : "",
				      s->kept[i].name);
}

int store_pass(const struct store *s)
{
	for (unsigned int i = 0; i < s->n_kept; i++)
		if (dup2(s->kept[i].fd, STORE_FIRST_FD + (int)i) < 0)
			return -1;
	return 0;
}

/* ---- messages ----------------------------------------------------------- */

const char *message_line(const struct message *m, const char *line)
{
	line = line != NULL ? line + strlen(line) + 1 : m->text;
	return line < m->text + m->bytes ? line : NULL;
}

bool message_has(const struct message *m, const char *wanted)
{
	const char *line = NULL;

	while ((line = message_line(m, line)) != NULL)
		if (strcmp(line, wanted) == 0)
			return true;
	return false;
}

/* The name that a message gives its descriptors, or NULL. */
static const char *message_name(const struct message *m)
{
	static const char prefix[] = "FDNAME=";
	const char *line = NULL;

	while ((line = message_line(m, line)) != NULL)
		if (strncmp(line, prefix, sizeof prefix - 1) == 0)
			break;
	if (line == NULL || is_name(line + sizeof prefix - 1))
		return line != NULL ? line + sizeof prefix - 1 : NULL;
	complain("a name of descriptors is wrong, and ignored: \"%s\"", line + sizeof prefix - 1);
	return NULL;
}

/* The descriptors are closed after this; for a barrier's, that is the answer. */
static void judge(struct store *s, const struct message *m, const int *fd, unsigned int n)
{
	const char *name;

	if (message_has(m, "BARRIER=1"))
		return;
	name = message_name(m);
	if (name != NULL && message_has(m, "FDSTOREREMOVE=1"))
		drop_named(s, name);
	if (!message_has(m, "FDSTORE=1"))
		return;
	for (unsigned int i = 0; i < n; i++)
		keep(s, fd[i], name != NULL ? name : "stored", !message_has(m, "FDPOLL=0"));
}

/* Who sent it, 0 if nobody knows; and how many descriptors came with it. */
static pid_t take_control(struct msghdr *header, int fd[MESSAGE_FDS], unsigned int *ret_n)
{
	pid_t pid = 0;

	*ret_n = 0;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c; c = CMSG_NXTHDR(header, c)) {
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_CREDENTIALS)
			pid = ((const struct ucred *)(const void *)CMSG_DATA(c))->pid;
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
			*ret_n = (unsigned int)((c->cmsg_len - CMSG_LEN(0)) / sizeof *fd);
			memcpy(fd, CMSG_DATA(c), *ret_n * sizeof *fd);
		}
	}
	return pid;
}

/* Is a message as it must be? Then its lines get ends. */
static bool is_fit(struct message *m, ssize_t bytes, int flags)
{
	if (flags & MSG_TRUNC) {
		complain("a message of %zd bytes is ignored: %u is the most", bytes,
			 STORE_MESSAGE_BYTES);
		return false;
	}
	if (flags & MSG_CTRUNC) {
		complain("a message is ignored: there is no room for its descriptors");
		return false;
	}
	if (bytes > 1 && memchr(m->text, 0, (size_t)bytes - 1) != NULL) {
		complain("a message is ignored: it has a 0 in it");
		return false;
	}
	m->bytes = (size_t)bytes;
	m->text[bytes] = 0;
	for (size_t i = 0; i < m->bytes; i++)
		if (m->text[i] == '\n')
			m->text[i] = 0;
	return true;
}

enum store_got store_receive(struct store *s, pid_t from, struct message *m)
{
	union {
		char bytes[CMSG_SPACE(sizeof(struct ucred)) +
			   CMSG_SPACE(MESSAGE_FDS * sizeof(int))];
		struct cmsghdr aligned;
	} control;
	struct iovec iov = { m->text, STORE_MESSAGE_BYTES };
	struct msghdr header = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control,
				 .msg_controllen = sizeof control };
	ssize_t bytes = recvmsg(s->notify, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC | MSG_TRUNC);
	bool fit = false;
	int fd[MESSAGE_FDS];
	unsigned int n;
	pid_t pid;

	if (bytes < 0)
		return errno == EINTR ? STORE_REFUSED : STORE_NOTHING;
	pid = take_control(&header, fd, &n);
	if (pid != from)
		complain("a message of process %d is ignored: only the daemon's count", pid);
	else
		fit = is_fit(m, bytes, header.msg_flags);
	if (fit)
		judge(s, m, fd, n);
	for (unsigned int i = 0; i < n; i++)
		close(fd[i]);
	return fit ? STORE_TAKEN : STORE_REFUSED;
}

/* ---- beginning and end -------------------------------------------------- */

/* As many as the limit allows: each has a number here, and another one in the child. */
static void raise_limits(struct store *s)
{
	struct rlimit limit = { 1024, 1024 };
	rlim_t each;

	getrlimit(RLIMIT_NOFILE, &limit);
	if (setrlimit(RLIMIT_NOFILE, &(struct rlimit){ limit.rlim_max, limit.rlim_max }) == 0)
		limit.rlim_cur = limit.rlim_max;
	each = limit.rlim_cur > 2 * OWN_FDS ? (limit.rlim_cur - OWN_FDS) / 2 : OWN_FDS / 2;
	s->max_kept = each < STORE_MAX ? (unsigned int)each : STORE_MAX;
	s->base = (int)s->max_kept + OWN_FDS;
}

/* Make the folder and the socket in it. */
static int listen_here(struct store *s)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	const char *place = getenv("TMPDIR");
	int on = 1;

	if (place == NULL || place[0] != '/' || strlen(place) > sizeof s->folder - 24)
		place = "/tmp";
	snprintf(s->folder, sizeof s->folder, "%s/ckvd-keeper-XXXXXX", place);
	if (mkdtemp(s->folder) == NULL) {
		s->folder[0] = 0;
		return -1;
	}
	snprintf(address.sun_path, sizeof address.sun_path, "%s/notify", s->folder);
	snprintf(s->env_notify, sizeof s->env_notify, "NOTIFY_SOCKET=%s", address.sun_path);
	s->notify = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (s->notify < 0 ||
	    setsockopt(s->notify, SOL_SOCKET, SO_PASSCRED, &on, sizeof on) != 0 ||
	    bind(s->notify, (struct sockaddr *)&address, sizeof address) != 0)
		return -1;
	return epoll_ctl(s->epoll, EPOLL_CTL_ADD, s->notify,
			 &(struct epoll_event){ .events = EPOLLIN, .data.fd = s->notify });
}

int store_open(struct store *s, int epoll)
{
	s->epoll = epoll;
	raise_limits(s);
	s->kept = calloc(s->max_kept, sizeof *s->kept);
	return s->kept == NULL ? -1 : listen_here(s);
}

void store_close(struct store *s)
{
	char path[sizeof s->folder + 16];

	while (s->n_kept > 0)
		drop(s, s->n_kept - 1);
	free(s->kept);
	if (s->notify >= 0)
		close(s->notify);
	if (s->folder[0] == 0)
		return;
	snprintf(path, sizeof path, "%s/notify", s->folder);
	unlink(path);
	rmdir(s->folder);
}

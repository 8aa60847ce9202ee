/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keeper.c - keep a daemon going, and what it shares with its clients.
 *
 * A daemon sends the descriptors of its memory to $NOTIFY_SOCKET, and the next one gets
 * them back from 3 up ($LISTEN_FDS, $LISTEN_FDNAMES): the protocol of systemd's descriptor
 * store. One thread waits in epoll for messages, signals and stored descriptors that hang
 * up.
 *
 * A dead daemon stays a zombie until all that it had sent is read; so its process id cannot
 * be another's, and what it stored with its last breath counts. Why a child could not
 * become the daemon it writes into memory that both share: that needs no descriptor, which
 * could be in the way of those that the daemon gets.
 */
#include "daemon/keeper.h"
#include "daemon/keeper_store.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#define EXEC_FAILED	127
#define ENV_OWN		6		/* entries of the daemon's environment that are made here */
#define LAST_WORDS	65536		/* messages of a dead daemon; its queue is shorter */
#define PATIENCE_S	2		/* for a parent of the keeper that does not read */

#define QUICK_NS	2000000000u	/* who lived less than this died quickly */
#define PAUSE_MIN_MS	10u		/* doubled with each quick death after the second */
#define PAUSE_MAX_MS	5000u
#define PAUSE_DOUBLED	9		/* as often, at most */

struct keeper {
	const char *program;
	char *const *argv;
	char **env;			/* of the daemon: n_env entries, then those made here */
	size_t n_env;
	char env_fds[32], env_pid[32], env_watchdog[32], env_most[32];
	bool watched;			/* there is a watchdog for this process */
	void (*sigpipe_before)(int);
	sigset_t mask_before;

	struct store store;
	int epoll, signals;
	int upper;			/* a socket, if the keeper's own parent wants to know; or -1 */
	struct sockaddr_un upper_address;
	socklen_t upper_bytes;
	bool upper_slow;		/* it did not read the last message in time */

	pid_t child;			/* 0: there is none */
	int *exec_error;		/* why the child could not become the daemon; shared */
	bool was_started;		/* the daemon ran at least once */
	bool is_ready, reload_later, ending, done;
	int status;			/* of the keeper, when it is done */
	uint64_t started_ns, start_at_ns;
	unsigned int n_quick;		/* quick deaths in a row */
};

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- the daemon --------------------------------------------------------- */

/* In the child, where nothing may be called: NAME=1234. */
static void put_number(char *out, const char *name, pid_t number)
{
	char digits[16];
	size_t n = 0;

	while (*name != 0)
		*out++ = *name++;
	do
		digits[n++] = (char)('0' + number % 10);
	while ((number /= 10) > 0);
	while (n > 0)
		*out++ = digits[--n];
	*out = 0;
}

/* In the child, where nothing may be called that a signal handler may not call. */
static _Noreturn void become_daemon(struct keeper *k)
{
	if (store_pass(&k->store) == 0) {
		put_number(k->env_pid, "LISTEN_PID=", getpid());
		put_number(k->env_watchdog, "WATCHDOG_PID=", getpid());
		signal(SIGPIPE, k->sigpipe_before);
		sigprocmask(SIG_SETMASK, &k->mask_before, NULL);
		execve(k->program, k->argv, k->env);
	}
	*k->exec_error = errno;
	_exit(EXEC_FAILED);
}

/* The environment of the next daemon. */
static void fill_env(struct keeper *k)
{
	size_t n = k->n_env;

	k->env[n++] = k->store.env_notify;
	snprintf(k->env_most, sizeof k->env_most, "FDSTORE=%u", k->store.max_kept);
	k->env[n++] = k->env_most;
	if (k->watched)
		k->env[n++] = k->env_watchdog;
	if (k->store.n_kept > 0) {
		snprintf(k->env_fds, sizeof k->env_fds, "LISTEN_FDS=%u", k->store.n_kept);
		store_name_all(&k->store);
		k->env[n++] = k->env_fds;
		k->env[n++] = k->env_pid;
		k->env[n++] = k->store.env_names;
	}
	k->env[n] = NULL;
}

static void end(struct keeper *k, int status)
{
	k->done = true;
	k->status = status;
}

/* At once after a death, or two that are quick; then after pauses that grow. */
static void start_again(struct keeper *k, const char *why)
{
	uint64_t now = now_ns(), pause_ms = 0;

	if (k->is_ready && now - k->started_ns >= QUICK_NS)
		k->n_quick = 0;
	if (k->n_quick >= 2)
		pause_ms = PAUSE_MIN_MS << (k->n_quick - 2);
	if (pause_ms > PAUSE_MAX_MS)
		pause_ms = PAUSE_MAX_MS;
	if (k->n_quick < PAUSE_DOUBLED + 2)
		k->n_quick++;
	k->start_at_ns = now + pause_ms * 1000000;
	if (pause_ms == 0)
		keeper_say("%s; starting it with %u kept descriptors", why, k->store.n_kept);
	else
		keeper_say("%s; starting it with %u kept descriptors in %u ms", why,
			   k->store.n_kept, (unsigned int)pause_ms);
}

/* The daemon did not come to run. If it did before, what is wrong now may pass. */
static void not_started(struct keeper *k, const char *what, int error)
{
	char why[KEEPER_PATH_BYTES + 128];

	snprintf(why, sizeof why, "%s: %s", what, strerror(error));
	k->child = 0;
	if (k->was_started && !k->ending) {
		start_again(k, why);
		return;
	}
	keeper_say("%s", why);
	end(k, 1);
}

static void start(struct keeper *k)
{
	fill_env(k);
	*k->exec_error = 0;
	k->is_ready = k->reload_later = false;
	k->started_ns = now_ns();
	k->child = fork();
	if (k->child == 0)
		become_daemon(k);
	if (k->child < 0)
		not_started(k, "no process for the daemon", errno);
}

static void daemon_ended(struct keeper *k, int wait_status)
{
	bool killed = WIFSIGNALED(wait_status);
	int status = killed ? 128 + WTERMSIG(wait_status) : WEXITSTATUS(wait_status);
	char why[256];

	if (!killed && *k->exec_error != 0) {
		not_started(k, k->program, *k->exec_error);
		return;
	}
	if (killed)
		snprintf(why, sizeof why, "the daemon, process %d, was killed by signal %d (%s)",
			 k->child, WTERMSIG(wait_status), strsignal(WTERMSIG(wait_status)));
	else
		snprintf(why, sizeof why, "the daemon, process %d, ended with status %d",
			 k->child, status);
	k->child = 0;
	k->was_started = true;
	if (k->ending) {
		end(k, status);
	} else if (!killed && (status == 2 || status == EX_CONFIG)) {
		keeper_say("%s, which another start would not mend", why);
		end(k, status);
	} else {
		start_again(k, why);
	}
}

/* ---- messages and signals ----------------------------------------------- */

/* Tell the keeper's own parent what is true of both, and what it may wait for. */
static void forward(struct keeper *k, const struct message *m)
{
	static const char *const passed[] = {
		"READY=", "RELOADING=", "MONOTONIC_USEC=", "STATUS=", "EXTEND_TIMEOUT_USEC=",
		"WATCHDOG=",
	};
	char text[STORE_MESSAGE_BYTES + 1];
	const char *line = NULL;
	size_t n = 0;

	while ((line = message_line(m, line)) != NULL) {
		bool pass = k->ending && strcmp(line, "STOPPING=1") == 0;

		for (size_t i = 0; i < sizeof passed / sizeof *passed; i++)
			pass = pass || strncmp(line, passed[i], strlen(passed[i])) == 0;
		if (pass)
			n += (size_t)sprintf(text + n, "%s%s", n > 0 ? "\n" : "", line);
	}
	/* It is waited for once; then, until it reads again, what it misses is its own loss. */
	if (n > 0 && k->upper >= 0)
		k->upper_slow = sendto(k->upper, text, n,
				       MSG_NOSIGNAL | (k->upper_slow ? MSG_DONTWAIT : 0),
				       (struct sockaddr *)&k->upper_address,
				       k->upper_bytes) < 0 && errno == EAGAIN;
}

/* One message. False: there is none. */
static bool take_message(struct keeper *k)
{
	static struct message m;
	enum store_got got = store_receive(&k->store, k->child, &m);

	if (got != STORE_TAKEN)
		return got != STORE_NOTHING;
	if (message_has(&m, "READY=1")) {
		k->is_ready = true;
		if (k->reload_later)
			kill(k->child, SIGHUP);
		k->reload_later = false;
	}
	forward(k, &m);
	return true;
}

/*
 * The first process of a container inherits whom others leave, and nobody else waits for
 * them. The daemon's own end is left to reap_daemon().
 */
static void reap_orphans(const struct keeper *k)
{
	siginfo_t info = { .si_pid = 0 };

	while (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
	       info.si_pid != 0 && info.si_pid != k->child &&
	       waitpid(info.si_pid, NULL, WNOHANG) == info.si_pid)
		info.si_pid = 0;
}

static void reap_daemon(struct keeper *k)
{
	siginfo_t info = { .si_pid = 0 };
	int status;

	if (k->child == 0 ||
	    waitid(P_PID, (id_t)k->child, &info, WEXITED | WNOHANG | WNOWAIT) != 0 ||
	    info.si_pid == 0)
		return;
	for (int i = 0; i < LAST_WORDS && take_message(k); i++)
		;
	if (waitpid(k->child, &status, 0) == k->child)
		daemon_ended(k, status);
}

static void take_signal(struct keeper *k, int number)
{
	if (number == SIGCHLD) {
		reap_daemon(k);
		reap_orphans(k);
	} else if (number == SIGHUP) {
		/* A daemon that does not listen for it yet would be killed by it. */
		k->reload_later = k->child > 0 && !k->is_ready;
		if (k->child > 0 && k->is_ready)
			kill(k->child, SIGHUP);
	} else {
		k->ending = true;
		if (k->child > 0)
			kill(k->child, number);
		else
			end(k, 0);
	}
}

static void take_signals(struct keeper *k)
{
	struct signalfd_siginfo info;

	while (!k->done && read(k->signals, &info, sizeof info) == sizeof info)
		take_signal(k, (int)info.ssi_signo);
}

/* Milliseconds until the next start; -1: none is due. */
static int wait_ms(const struct keeper *k)
{
	uint64_t now = now_ns();

	if (k->child > 0)
		return -1;
	return k->start_at_ns <= now ? 0 : (int)((k->start_at_ns - now) / 1000000 + 1);
}

static void loop(struct keeper *k)
{
	struct epoll_event event[16];
	int n;

	while (!k->done) {
		if (wait_ms(k) == 0)
			start(k);
		n = epoll_wait(k->epoll, event, 16, wait_ms(k));
		if (n < 0 && errno != EINTR) {
			keeper_say("waiting failed: %s; a daemon that runs goes on without a "
				   "keeper", strerror(errno));
			end(k, 1);
		}
		for (int i = 0; i < n; i++)
			if (event[i].data.fd == k->store.notify)
				take_message(k);
			else if (event[i].data.fd != k->signals)
				store_hung_up(&k->store, event[i].data.fd);
		take_signals(k);
	}
}

/* ---- beginning and end -------------------------------------------------- */

/* Descriptors 0 to 2 that are closed would become something of the keeper's. */
static void open_standard(void)
{
	for (int fd = 0; fd < STORE_FIRST_FD; fd++)
		if (fcntl(fd, F_GETFD) < 0 && errno == EBADF && open("/dev/null", O_RDWR) != fd)
			return;
}

static int open_signals(struct keeper *k)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, &k->mask_before);
	signal(SIGCHLD, SIG_DFL);	/* ignored, there would be no status to wait for */
	k->sigpipe_before = signal(SIGPIPE, SIG_IGN);
	k->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return k->signals < 0 ? -1 :
	       epoll_ctl(k->epoll, EPOLL_CTL_ADD, k->signals,
			 &(struct epoll_event){ .events = EPOLLIN, .data.fd = k->signals });
}

/* Has this process a parent that listens, as the keeper does itself? */
static void open_upper(struct keeper *k)
{
	const char *path = getenv("NOTIFY_SOCKET");
	const struct timeval patience = { .tv_sec = PATIENCE_S };
	size_t n = path != NULL ? strlen(path) : 0;

	if (n < 2 || n > sizeof k->upper_address.sun_path || (path[0] != '/' && path[0] != '@'))
		return;
	k->upper_address.sun_family = AF_UNIX;
	memcpy(k->upper_address.sun_path, path, n);
	if (path[0] == '@')
		k->upper_address.sun_path[0] = 0;
	k->upper_bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n);
	k->upper = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (k->upper >= 0)
		setsockopt(k->upper, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
}

/* What the daemon inherits. A watchdog that is for the keeper is fed by the daemon. */
static int open_env(struct keeper *k)
{
	static const char *const made_here[] = {
		"NOTIFY_SOCKET=", "LISTEN_FDS=", "LISTEN_PID=", "LISTEN_FDNAMES=",
		"FDSTORE=",
	};
	const char *watchdog = getenv("WATCHDOG_PID");
	size_t n = 0;

	k->watched = watchdog != NULL && atoi(watchdog) == getpid();
	while (environ[n] != NULL)
		n++;
	k->env = calloc(n + ENV_OWN + 1, sizeof *k->env);
	if (k->env == NULL)
		return -1;
	for (size_t i = 0; i < n; i++) {
		bool pass = !k->watched || strncmp(environ[i], "WATCHDOG_PID=", 13) != 0;

		for (size_t j = 0; j < sizeof made_here / sizeof *made_here; j++)
			pass = pass && strncmp(environ[i], made_here[j], strlen(made_here[j])) != 0;
		if (pass)
			k->env[k->n_env++] = environ[i];
	}
	return 0;
}

static int keeper_open(struct keeper *k)
{
	open_standard();
	open_upper(k);
	k->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (k->epoll < 0 || store_open(&k->store, k->epoll) < 0 || open_env(k) < 0 ||
	    open_signals(k) < 0)
		return -1;
	k->exec_error = mmap(NULL, sizeof *k->exec_error, PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	return k->exec_error == MAP_FAILED ? -1 : 0;
}

static void keeper_close(struct keeper *k)
{
	store_close(&k->store);
	free(k->env);
	for (int i = 0; i < 3; i++) {
		int fd = (const int[]){ k->signals, k->upper, k->epoll }[i];

		if (fd >= 0)
			close(fd);
	}
}

int keeper_run(const char *program, char *const *argv)
{
	static struct keeper k = {
		.store.notify = -1, .epoll = -1, .signals = -1, .upper = -1,
	};

	k.program = program;
	k.argv = argv;
	prctl(PR_SET_NAME, "ckvd-keeper");
	if (keeper_open(&k) < 0) {
		keeper_say("it cannot work: %s", strerror(errno));
		k.status = 1;
	} else {
		loop(&k);
	}
	keeper_close(&k);
	return k.status;
}

const char *keeper_program(const char *argv0, char path[KEEPER_PATH_BYTES])
{
	struct stat given, now;
	ssize_t n;

	if (strchr(argv0, '/') != NULL && strlen(argv0) < KEEPER_PATH_BYTES &&
	    stat(argv0, &given) == 0 && stat("/proc/self/exe", &now) == 0 &&
	    given.st_dev == now.st_dev && given.st_ino == now.st_ino)
		return strcpy(path, argv0);
	n = readlink("/proc/self/exe", path, KEEPER_PATH_BYTES - 1);
	path[n > 0 ? n : 0] = 0;
	return path;
}

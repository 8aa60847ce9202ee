/* SPDX-License-Identifier: Apache-2.0 */
/* test_keeper_life.c - how a keeper starts its daemon, and again, and ends. */
#include "daemon/keeper.h"
#include "tests/lib/built.h"
#include "tests/lib/daemon.h"
#include "tests/lib/keeper.h"
#include "tests/lib/wait.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

/* ---- life and death ----------------------------------------------------- */

/* What a parent has changed for itself, the daemon does not inherit. */
START_TEST(the_daemon_begins_as_if_alone)
{
	begin_with(&(struct life){ .child_ignored = true, .no_stdin = true,
				   .listen_fds = "7" });
	next();
	ck_assert_int_eq(now.hello.n_fds, -1);
	ck_assert_int_eq(now.hello.listen_pid, 0);
	ck_assert_str_eq(now.hello.given, "given");
	ck_assert_str_eq(now.hello.argument, "argument");
	ck_assert_int_eq(now.hello.n_open, 0);
	ck_assert_int_eq(now.hello.n_standard, 3);
	ck_assert_int_eq(now.hello.n_blocked, 0);
	fake_raise(&now, SIGKILL);
	next();
	ck_assert_int_eq(now.hello.n_blocked, 0);
}
END_TEST

static const struct {
	int status;
	bool again;
} statuses[] = { { 0, true }, { 1, true }, { 2, false }, { 3, true }, { EX_CONFIG, false },
		 { 127, true } };

/* What no start can mend ends the keeper; after all else there is another daemon. */
START_TEST(a_status_ends_it_or_not)
{
	char text[64];

	begin();
	fake_exit(&now, statuses[_i].status);
	snprintf(text, sizeof text, "ended with status %d%s", statuses[_i].status,
		 statuses[_i].again ? "; starting it with" : ", which another start would not");
	says(text);
	if (statuses[_i].again)
		next();
	else
		ck_assert_int_eq(ended(), statuses[_i].status);
}
END_TEST

static const int stops[] = { SIGTERM, SIGINT };

/* It waits for the daemon as long as that takes, and ends with its status. */
START_TEST(told_to_stop_it_ends_with_the_daemon)
{
	struct pollfd p;

	begin();
	kill(keeper, stops[_i]);
	ck_assert_int_eq(fake_signal(&now), stops[_i]);
	p = (struct pollfd){ .fd = (int)syscall(SYS_pidfd_open, keeper, 0), .events = POLLIN };
	ck_assert_int_eq(poll(&p, 1, SHORT_MS), 0);
	ck_assert_int_eq(kill(now.hello.pid, 0), 0);
	kill(keeper, stops[_i]);
	ck_assert_int_eq(fake_signal(&now), stops[_i]);
	fake_exit(&now, 7);
	ck_assert_int_eq(ended(), 7);
	ck_assert_int_lt(fake_accept(keeper_listener, SHORT_MS, &now), 0);
}
END_TEST

/* A stop that kills the daemon is a status, too. */
START_TEST(a_daemon_killed_by_the_stop_is_told)
{
	begin();
	kill(keeper, SIGTERM);
	ck_assert_int_eq(fake_signal(&now), SIGTERM);
	fake_raise(&now, SIGABRT);
	ck_assert_int_eq(ended(), 128 + SIGABRT);
}
END_TEST

/* A reload goes to a daemon that is ready, and waits for one that is not yet. */
START_TEST(a_reload_waits_until_it_is_ready)
{
	begin();
	kill(keeper, SIGHUP);
	ck_assert_int_eq(fake_send(&now, "STATUS=not yet", NULL, 0), 0);
	ck_assert_int_eq(fake_barrier(&now), 0);
	usleep(1000 * SHORT_MS);
	ck_assert_int_eq(fake_pending(&now), 0);
	ck_assert_int_eq(fake_send(&now, "READY=1", NULL, 0), 0);
	ck_assert_int_eq(fake_signal(&now), SIGHUP);
	kill(keeper, SIGHUP);
	ck_assert_int_eq(fake_signal(&now), SIGHUP);
	next_has("", "");
}
END_TEST

/* One that is stopped is not dead. */
START_TEST(a_stopped_daemon_is_waited_for)
{
	struct fake other;

	begin();
	kill(now.hello.pid, SIGSTOP);
	ck_assert_int_lt(fake_accept(keeper_listener, SHORT_MS, &other), 0);
	kill(now.hello.pid, SIGCONT);
	next_has("", "");
}
END_TEST

static pid_t *left;

static void leave_a_child(void)
{
	pid_t pid = fork();

	while (pid == 0)
		pause();
	*left = pid;
}

/* As the first process of a container it has children that are not the daemon. */
START_TEST(who_is_left_to_it_is_buried)
{
	left = mmap(NULL, sizeof *left, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		    -1, 0);
	ck_assert_ptr_ne(left, MAP_FAILED);
	begin_with(&(struct life){ .prepare = leave_a_child });
	next();
	ck_assert_int_eq(kill(*left, SIGKILL), 0);
	WAIT_UNTIL(kill(*left, 0) != 0);
	ck_assert_int_ne(kill(*left, 0), 0);
	next_has("", "");
}
END_TEST

/* Quick deaths in a row: at once, at once, then after pauses that grow. */
START_TEST(pauses_grow)
{
	uint64_t ms = 0;
	struct timespec a, b;

	begin();
	for (int i = 0; i < 6; i++) {
		clock_gettime(CLOCK_MONOTONIC, &a);
		fake_exit(&now, 1);
		next();
		clock_gettime(CLOCK_MONOTONIC, &b);
		ms = (uint64_t)(b.tv_sec - a.tv_sec) * 1000 + (uint64_t)b.tv_nsec / 1000000 -
		     (uint64_t)a.tv_nsec / 1000000;
	}
	ck_assert_uint_ge(ms, 79);
	says("starting it with 0 kept descriptors\n");
	says("in 10 ms\n");
	says("in 80 ms\n");
	ck_assert_ptr_null(strstr(read_log(), "in 160 ms"));
	/* One that lived is not a quick death. */
	ck_assert_int_eq(fake_send(&now, "READY=1", NULL, 0), 0);
	usleep(2100000);
	fake_exit(&now, 1);
	next();
	ck_assert_ptr_null(strstr(read_log(), "in 160 ms"));
}
END_TEST

/* A stop that comes in a pause ends it, with nothing to wait for. */
START_TEST(a_stop_in_a_pause)
{
	begin();
	for (int i = 0; i < 9; i++) {
		fake_exit(&now, 1);
		next();
	}
	fake_exit(&now, 1);
	says("in 1280 ms");
	kill(keeper, SIGTERM);
	ck_assert_int_eq(ended(), 0);
}
END_TEST

/* A new file at the place of the old one is what is started; where there is none it waits. */
START_TEST(a_new_binary_is_taken)
{
	char new[FOLDER_BYTES + 16];
	ino_t first;

	snprintf(new, sizeof new, "%s/new", keeper_dir);
	begin();
	fake_store(&now, "1", "FDNAME=a");
	first = now.hello.program;
	copy_program(new);
	ck_assert_int_eq(rename(new, keeper_program_path), 0);
	fake_exit(&now, 0);
	next();
	ck_assert_uint_ne(now.hello.program, first);
	ck_assert_str_eq(now.hello.names, "a");
	ck_assert_int_eq(unlink(keeper_program_path), 0);
	fake_exit(&now, 0);
	says("/program: No such file or directory; starting it with 1 kept descriptors");
	copy_program(keeper_program_path);
	next();
	ck_assert_str_eq(now.hello.tags[0], "1");
}
END_TEST

/* What was never there is not waited for. */
START_TEST(a_first_start_that_fails_is_the_end)
{
	ck_assert_int_eq(unlink(keeper_program_path), 0);
	begin_with(&(struct life){ 0 });
	ck_assert_int_eq(ended(), 1);
	says("/program: No such file or directory\n");
}
END_TEST

/* Nor can it work where it can make no folder. */
START_TEST(no_place_for_its_socket)
{
	begin_with(&(struct life){ .place = "/no/such/folder" });
	ck_assert_int_eq(ended(), 1);
	says("it cannot work: No such file or directory");
}
END_TEST

/* Without its keeper the daemon goes on, though nobody hears it. */
START_TEST(the_daemon_outlives_its_keeper)
{
	begin();
	kill(keeper, SIGKILL);
	ck_assert_int_eq(waitpid(keeper, NULL, 0), keeper);
	keeper = 0;
	ck_assert_int_eq(fake_send(&now, "READY=1", NULL, 0), ECONNREFUSED);
	ck_assert_int_eq(kill(now.hello.pid, 0), 0);
	fake_exit(&now, 0);
}
END_TEST

/* ---- its own parent ----------------------------------------------------- */

static const char *hear(int upper)
{
	static char text[4096];
	union {
		char bytes[CMSG_SPACE(sizeof(struct ucred))];
		struct cmsghdr aligned;
	} credentials;
	struct iovec iov = { text, sizeof text - 1 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &credentials,
			    .msg_controllen = sizeof credentials };
	ssize_t n = recvmsg(upper, &m, 0);

	ck_assert_int_ge(n, 0);
	ck_assert_int_eq(((struct ucred *)(void *)CMSG_DATA(CMSG_FIRSTHDR(&m)))->pid, keeper);
	text[n] = 0;
	return text;
}

/* Readiness and status go on to the keeper's own parent, in the keeper's name. */
START_TEST(its_parent_hears_what_is_true_of_both)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int upper = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), on = 1, fd = fake_memory("x");

	snprintf(a.sun_path, sizeof a.sun_path, "%s/upper", keeper_dir);
	ck_assert_int_eq(bind(upper, (struct sockaddr *)&a, sizeof a), 0);
	setsockopt(upper, SOL_SOCKET, SO_PASSCRED, &on, sizeof on);
	begin_with(&(struct life){ .upper = a.sun_path });
	next();
	ck_assert_str_ne(now.hello.notify, a.sun_path);
	ck_assert_int_eq(now.hello.watchdog_pid, now.hello.pid);
	ck_assert_int_eq(fake_send(&now, "READY=1\nMAINPID=1\nSTATUS=well", NULL, 0), 0);
	ck_assert_str_eq(hear(upper), "READY=1\nSTATUS=well");
	ck_assert_int_eq(fake_send(&now, "FDSTORE=1\nFDNAME=a", &fd, 1), 0);
	ck_assert_int_eq(fake_send(&now, "STOPPING=1", NULL, 0), 0);
	ck_assert_int_eq(fake_send(&now, "WATCHDOG=1", NULL, 0), 0);
	ck_assert_str_eq(hear(upper), "WATCHDOG=1");
	kill(keeper, SIGTERM);
	ck_assert_int_eq(fake_signal(&now), SIGTERM);
	ck_assert_int_eq(fake_send(&now, "STOPPING=1", NULL, 0), 0);
	ck_assert_str_eq(hear(upper), "STOPPING=1");
}
END_TEST

/* It reads nothing, and its queue is full: the daemon waits for that once, not each time. */
START_TEST(a_parent_that_does_not_read_is_left_alone)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int upper = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), one, on = 1;
	time_t began;

	snprintf(a.sun_path, sizeof a.sun_path, "%s/upper", keeper_dir);
	ck_assert_int_eq(bind(upper, (struct sockaddr *)&a, sizeof a), 0);
	begin_with(&(struct life){ .upper = a.sun_path });
	next();
	one = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	while (sendto(one, "x", 1, MSG_DONTWAIT, (struct sockaddr *)&a, sizeof a) == 1)
		;
	close(one);
	began = time(NULL);
	for (int i = 0; i < 8; i++)
		ck_assert_int_eq(fake_send(&now, "WATCHDOG=1", NULL, 0), 0);
	ck_assert_int_eq(fake_barrier(&now), 0);
	ck_assert_int_lt(time(NULL) - began, 10);
	while (recv(upper, &one, 1, MSG_DONTWAIT) == 1)
		;
	setsockopt(upper, SOL_SOCKET, SO_PASSCRED, &on, sizeof on);
	ck_assert_int_eq(fake_send(&now, "STATUS=again", NULL, 0), 0);
	ck_assert_str_eq(hear(upper), "STATUS=again");
	close(upper);
}
END_TEST

/* ---- its program -------------------------------------------------------- */

/* A name that leads to this program is taken as it is; of others the kernel knows better. */
START_TEST(its_program_is_found)
{
	char path[KEEPER_PATH_BYTES], self[KEEPER_PATH_BYTES], link[FOLDER_BYTES + 16];

	keeper_program("ckvd", self);
	ck_assert_ptr_nonnull(strstr(self, "/test_keeper_life"));
	ck_assert_str_eq(keeper_program(self, path), self);
	ck_assert_str_eq(keeper_program(keeper_program_path, path), self);
	ck_assert_str_eq(keeper_program("/no/such/file", path), self);
	snprintf(link, sizeof link, "%s/link", keeper_dir);
	ck_assert_int_eq(symlink(self, link), 0);
	ck_assert_str_eq(keeper_program(link, path), link);
}
END_TEST

/* ckvd itself, under a keeper of its own. */
START_TEST(ckvd_is_kept)
{
	struct test_daemon daemon;
	pid_t first;

	test_daemon_start_kept(&daemon, NULL, NULL);
	first = daemon.pid;
	ck_assert_int_ne(first, daemon.keeper);
	test_daemon_kill(&daemon);
	test_daemon_restart(&daemon);
	ck_assert_int_ne(daemon.pid, first);
	ck_assert(test_daemon_logged(&daemon, "was killed by signal 9"));
	ck_assert_int_eq(kill(daemon.keeper, SIGHUP), 0);
	ck_assert(test_daemon_logged(&daemon, "reload: 0 keys changed"));
	test_daemon_remove(&daemon);
}
END_TEST

/* What the last daemon held is not given up for a slip in the file. */
START_TEST(a_wrong_file_costs_no_cache)
{
	struct test_daemon daemon;
	char right[sizeof daemon.config + 8];

	test_daemon_start_kept(&daemon, NULL, NULL);
	snprintf(right, sizeof right, "%s.right", daemon.config);
	ck_assert_int_eq(rename(daemon.config, right), 0);
	folder_write(daemon.dir, "conf", "nonsense\n", 9);
	kill(daemon.pid, SIGTERM);
	ck_assert(test_daemon_logged(&daemon, "is kept meanwhile"));
	ck_assert_int_eq(rename(right, daemon.config), 0);
	ck_assert(test_daemon_logged(&daemon, "taken over from an earlier daemon: 1 of 1"));
	test_daemon_remove(&daemon);
}
END_TEST

/* Told to stop, both end well. */
START_TEST(ckvd_stops_with_its_keeper)
{
	struct test_daemon daemon;
	pid_t pid;

	test_daemon_start_kept(&daemon, NULL, NULL);
	pid = daemon.pid;
	ck_assert_int_eq(test_daemon_stop(&daemon), 0);
	ck_assert_int_ne(kill(pid, 0), 0);
	test_daemon_remove(&daemon);
}
END_TEST

static const struct {
	const char *arguments, *said;
} wrong[] = {
	{ "--keeper --check", "--keeper and --check cannot be done at once" },
	{ "--keeper --reload", "--keeper and --reload cannot be done at once" },
	{ "--check --keeper --json", "--keeper and --check cannot be done at once" },
	{ "--keeper --json", "--json goes with --check" },
	{ "--keeper --frob", "--frob is not an argument" },
	{ "--keeper now", "now is not an argument" },
	{ "--keeper --config", "--config is not an argument, or needs a value" },
};

/* Arguments that make no sense together are refused before anything is started. */
START_TEST(wrong_arguments_are_refused)
{
	char path[512], command[1024], text[512];
	FILE *out;
	size_t n;

	built("ckvd", path, sizeof path);
	snprintf(command, sizeof command, "%s %s 2>&1",
		 getenv("CKVD") != NULL ? getenv("CKVD") : path, wrong[_i].arguments);
	out = popen(command, "re");
	n = fread(text, 1, sizeof text - 1, out);
	text[n] = 0;
	ck_assert_ptr_nonnull(strstr(text, wrong[_i].said));
	ck_assert_int_eq(WEXITSTATUS(pclose(out)), 2);
}
END_TEST

KEEPER_MAIN("keeper_life",
	CASE("life", .setup = keeper_setup, .teardown = keeper_teardown),
	TEST(the_daemon_begins_as_if_alone),
	EACH(a_status_ends_it_or_not, statuses),
	EACH(told_to_stop_it_ends_with_the_daemon, stops),
	TEST(a_daemon_killed_by_the_stop_is_told),
	TEST(a_reload_waits_until_it_is_ready),
	TEST(a_stopped_daemon_is_waited_for),
	TEST(who_is_left_to_it_is_buried),
	TEST(pauses_grow),
	TEST(a_stop_in_a_pause),
	TEST(a_new_binary_is_taken),
	TEST(a_first_start_that_fails_is_the_end),
	TEST(no_place_for_its_socket),
	TEST(the_daemon_outlives_its_keeper),
	TEST(its_parent_hears_what_is_true_of_both),
	TEST(a_parent_that_does_not_read_is_left_alone),
	TEST(its_program_is_found),
	CASE("ckvd"),
	TEST(ckvd_is_kept),
	TEST(a_wrong_file_costs_no_cache),
	TEST(ckvd_stops_with_its_keeper),
	EACH(wrong_arguments_are_refused, wrong))

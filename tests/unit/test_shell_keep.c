/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_shell_keep.c - a lane is opened when the service manager holds what it needs: while
 * that takes long, clients are killed, say other things, or are many; or the manager goes.
 */
#include "proto/ckv_stats.h"
#include "tests/lib/check_main.h"
#include "tests/lib/manager.h"
#include "tests/lib/wait.h"
#include "tests/lib/wire.h"

#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static struct test_daemon daemon_;
static struct test_manager *manager;
static char folder[FOLDER_BYTES];

static void setup(void)
{
	folder_make(folder);
	manager = manager_start(folder);
	test_daemon_before(manager_pass, manager);
	test_daemon_start(&daemon_, "log_level = debug\nmax_clients = 64\n"
			  "max_clients_per_user = 64\nmax_lanes_per_user = 512\n", NULL);
}

static void teardown(void)
{
	test_daemon_remove(&daemon_);
	if (manager != NULL)
		manager_stop(manager);
	folder_remove(folder);
}

static int attached(void)
{
	union wire m = { .attach = { .space = "tiny", .access = CKV_ACCESS_WRITE,
				     .any_geometry = CKV_WANT_ANY } };
	int fd = wire_dial(&daemon_);

	wire_hello(fd, NULL);
	wire_head(&m, CKV_ATTACH, sizeof m.attach, 0);
	wire_send(fd, &m, sizeof m.attach, NULL, 0);
	ck_assert_int_eq(wire_hear(fd, &m, NULL), CKV_ATTACHED);
	ck_assert_int_eq(wire_hear(fd, &m, NULL), CKV_SLABS);
	return fd;
}

static void ask_lane(int fd)
{
	union wire m = { .lane_open = { .space_id = 0 } };

	wire_head(&m, CKV_LANE_OPEN, sizeof m.lane_open, 0);
	wire_send(fd, &m, sizeof m.lane_open, NULL, 0);
}

static bool is_answered(int fd, int wait_ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, wait_ms) == 1;
}

static struct ckv_global_stats stats(void)
{
	struct ckv_global_stats all;
	int fd = wire_dial(&daemon_), fds[4];

	wire_hello(fd, fds);
	ck_assert_int_eq(pread(fds[1], &all, sizeof all, 4096), sizeof all);
	close(fds[0]);
	close(fds[1]);
	close(fd);
	return all;
}

/* No answer before the manager has confirmed; others are served meanwhile. */
START_TEST(an_answer_waits_for_the_manager)
{
	union wire m;
	int fd = attached(), other;

	manager_set_mood(manager, MANAGER_SLOW);
	ask_lane(fd);
	ck_assert(!is_answered(fd, 100));
	other = attached();
	ck_assert_uint_eq(stats().clients, 3);
	manager_set_mood(manager, MANAGER_WELL);
	ck_assert_int_eq(wire_hear(fd, &m, NULL), CKV_LANE_OPENED);
	/* The next lane of this client needs nothing more. */
	manager_set_mood(manager, MANAGER_SLOW);
	ask_lane(fd);
	ck_assert_int_eq(wire_hear(fd, &m, NULL), CKV_LANE_OPENED);
	manager_set_mood(manager, MANAGER_WELL);
	close(other);
	close(fd);
}
END_TEST

/* What a client says meanwhile is answered after that, in order. */
START_TEST(a_detach_waits_its_turn)
{
	union wire m = { .id = { .id = CKV_NONE } };
	int fd = attached();
	uint64_t sleeps;

	manager_set_mood(manager, MANAGER_SLOW);
	ask_lane(fd);
	wire_head(&m, CKV_DETACH, sizeof m.id, 0);
	wire_send(fd, &m, sizeof m.id, NULL, 0);
	ck_assert(!is_answered(fd, 100));
	/* The daemon does not look at its socket all the time. */
	sleeps = stats().reactor_sleeps;
	ck_assert(!is_answered(fd, 200));
	ck_assert_uint_gt(stats().reactor_sleeps, sleeps);
	manager_set_mood(manager, MANAGER_WELL);
	ck_assert_int_eq(wire_hear(fd, &m, NULL), CKV_LANE_OPENED);
	ck_assert_int_eq(wire_hear(fd, &m, NULL), CKV_DONE);
	ck_assert_uint_eq(stats().lanes, 0);
	close(fd);
	WAIT_UNTIL(manager_count(manager, "client-") == 0);
	ck_assert_uint_eq(manager_count(manager, "client-"), 0);
}
END_TEST

/* It asks and is killed before the answer: nothing of it is left, here or in the store. */
START_TEST(a_client_is_killed_before_its_answer)
{
	int ready[2];
	char byte;
	pid_t pid;

	ck_assert_int_eq(pipe(ready), 0);
	manager_set_mood(manager, MANAGER_SLOW);
	pid = fork();
	if (pid == 0) {
		ask_lane(attached());
		(void)!write(ready[1], "x", 1);
		pause();
	}
	ck_assert_int_eq(read(ready[0], &byte, 1), 1);
	WAIT_UNTIL(manager_count(manager, "client-") == 1);
	if (_i == 1) {		/* or only its socket is closed */
		manager_set_mood(manager, MANAGER_WELL);
		WAIT_UNTIL(stats().lanes == 1);
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	WAIT_UNTIL(stats().lanes == 0);
	ck_assert_uint_eq(stats().lanes, 0);
	manager_set_mood(manager, MANAGER_WELL);
	WAIT_UNTIL(manager_count(manager, "lanes-") + manager_count(manager, "client-") == 0);
	ck_assert_uint_eq(manager_count(manager, "lanes-"), 0);
	ck_assert_uint_eq(manager_count(manager, "client-"), 0);
}
END_TEST

/* The daemon is killed before the answer: the next one knows nothing of it, and says so. */
START_TEST(the_daemon_is_killed_before_the_answer)
{
	int fd = attached();

	manager_set_mood(manager, MANAGER_SLOW);
	ask_lane(fd);
	WAIT_UNTIL(manager_count(manager, "client-") == 1);
	test_daemon_kill(&daemon_);
	manager_set_mood(manager, MANAGER_WELL);
	test_daemon_restart(&daemon_);
	ck_assert(test_daemon_logged(&daemon_, "0 clients, 0 lanes"));
	ck_assert_uint_eq(manager_count(manager, "client-"), 0);
	ck_assert_uint_eq(manager_count(manager, "lanes-"), 0);
	close(fd);
}
END_TEST

/* Many at once share barriers, and each gets its answer. */
START_TEST(many_ask_at_once)
{
	enum { MANY = 50 };
	unsigned int barriers = manager_barriers(manager);
	int fd[MANY];
	union wire m;

	for (int i = 0; i < MANY; i++)
		fd[i] = attached();
	manager_set_mood(manager, MANAGER_SLOW);
	for (int i = 0; i < MANY; i++)
		ask_lane(fd[i]);
	usleep(50000);
	manager_set_mood(manager, MANAGER_WELL);
	for (int i = 0; i < MANY; i++)
		ck_assert_int_eq(wire_hear(fd[i], &m, NULL), CKV_LANE_OPENED);
	ck_assert_uint_le(manager_barriers(manager) - barriers, MANY);
	ck_assert_uint_eq(manager_count(manager, "lanes-"), MANY);
	for (int i = 0; i < MANY; i++)
		close(fd[i]);
}
END_TEST

/* More than may wait for one user wait in their sockets, and come in the end. */
START_TEST(who_comes_and_goes_fills_nothing)
{
	manager_set_mood(manager, MANAGER_SLOW);
	for (int i = 0; i < 100; i++) {
		pid_t pid = fork();

		if (pid == 0) {
			ask_lane(attached());
			_exit(0);
		}
		waitpid(pid, NULL, 0);
	}
	ck_assert(test_daemon_keeps_quiet(&daemon_, "no longer holds"));
	manager_set_mood(manager, MANAGER_WELL);
	WAIT_UNTIL(manager_count(manager, "lanes-") + manager_count(manager, "client-") == 0);
	ck_assert_uint_eq(manager_count(manager, "client-"), 0);
	ck_assert_uint_eq(stats().lanes, 0);
}
END_TEST

/* The manager goes: one line, and lanes are opened all the same. The next start is cold. */
START_TEST(without_its_manager_it_serves_on)
{
	int fd = attached(), other;
	unsigned int n;
	union wire m;

	ck_assert_uint_eq(stats().stored, manager_count(manager, ""));
	manager_mute(manager);
	ask_lane(fd);
	ck_assert_int_eq(wire_hear(fd, &m, NULL), CKV_LANE_OPENED);
	ck_assert(test_daemon_logged(&daemon_, "no longer holds what would outlive"));
	ck_assert_uint_eq(stats().stored, 0);
	other = attached();
	ask_lane(other);
	ck_assert_int_eq(wire_hear(other, &m, NULL), CKV_LANE_OPENED);
	close(fd);
	close(other);
	n = manager_count(manager, "");
	ck_assert_uint_gt(n, 4);
	manager_unmute(manager);
	test_daemon_kill(&daemon_);
	test_daemon_restart(&daemon_);
	ck_assert(test_daemon_logged(&daemon_, "or the manager failed before"));
	ck_assert_uint_eq(stats().stored, manager_count(manager, ""));
}
END_TEST

/* It reads nothing more, and its queue is full: a reload and all others do not wait for it. */
START_TEST(a_stopped_manager_holds_up_nobody)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = attached(), s = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	ssize_t n = 0;

	strcpy(a.sun_path, getenv("NOTIFY_SOCKET"));
	manager_set_mood(manager, MANAGER_SLOW);
	ask_lane(fd);
	WAIT_UNTIL(manager_barriers(manager) > 1);
	while (n >= 0)
		n = sendto(s, "STATUS=x", 8, MSG_DONTWAIT, (struct sockaddr *)&a, sizeof a);
	kill(daemon_.pid, SIGHUP);
	ck_assert(test_daemon_logged(&daemon_, "reload: 0 keys changed"));
	close(attached());
	manager_set_mood(manager, MANAGER_WELL);
	ck_assert(is_answered(fd, 10000));
	close(fd);
	close(s);
}
END_TEST

/*
 * A lane of before with a pin: the same process ends it over its next connection, or lets
 * the pin go, which the daemon sees by itself.
 */
START_TEST(a_lane_of_before_is_let_go)
{
	union wire m;
	struct ckv_lane_map map;
	struct ckv_c_head *head;
	uint64_t serial;
	_Atomic uint64_t *pin;
	int fd = attached(), fds[4];

	ask_lane(fd);
	ck_assert_int_eq(wire_hear(fd, &m, fds), CKV_LANE_OPENED);
	serial = m.lane_opened.serial;
	map = ckv_lane_map(&m.lane_opened.shape);
	head = mmap(NULL, map.c_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fds[0],
		    (off_t)m.lane_opened.c_offset);
	ck_assert_ptr_ne(head, MAP_FAILED);
	pin = (void *)((char *)head + map.pins);
	ckv_hint_store64(&pin[1], 2);
	ckv_hint_store32(&head->pin_high, 2);
	for (int i = 0; i < 2; i++) {
		test_daemon_kill(&daemon_);
		test_daemon_restart(&daemon_);
		ck_assert_uint_eq(stats().lanes_of_before, 1);
	}
	if (_i == 0) {
		m.lane_close.serial = serial;
		close(fd);
		fd = attached();
		wire_head(&m, CKV_LANE_CLOSE, sizeof m.lane_close, 0);
		wire_send(fd, &m, sizeof m.lane_close, NULL, 0);
		ck_assert_int_eq(wire_hear(fd, &m, NULL), CKV_DONE);
	} else {
		ckv_hint_store64(&pin[1], 0);
	}
	WAIT_UNTIL(stats().lanes_of_before == 0);
	ck_assert_uint_eq(stats().lanes_of_before, 0);
	WAIT_UNTIL(manager_count(manager, "client-") == 0);
	ck_assert_uint_eq(manager_count(manager, "client-"), 0);
	close(fd);
}
END_TEST

CHECK_MAIN("shell_keep",
	CASE("keep", .setup = setup, .teardown = teardown),
	TEST(an_answer_waits_for_the_manager),
	TEST(a_detach_waits_its_turn),
	LOOP(a_client_is_killed_before_its_answer, 2),
	TEST(the_daemon_is_killed_before_the_answer),
	TEST(many_ask_at_once),
	TEST(who_comes_and_goes_fills_nothing),
	TEST(without_its_manager_it_serves_on),
	TEST(a_stopped_manager_holds_up_nobody),
	LOOP(a_lane_of_before_is_let_go, 2))

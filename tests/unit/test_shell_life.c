/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_shell_life.c - a daemon from outside: its socket, its words, its signals.
 */
#include "proto/ckv_stats.h"
#include "proto/ckv_world.h"
#include "tests/lib/built.h"
#include "tests/lib/check_main.h"
#include "tests/lib/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static struct test_daemon daemon_;

static void setup(void)
{
	wire_daemon_start(&daemon_);
}

static void teardown(void)
{
	test_daemon_remove(&daemon_);
}

/* The life word says alive, then died when it is killed; the epoch differs after. */
START_TEST(the_life_word_tells_of_death)
{
	int fd = wire_dial(&daemon_), fds[4];
	struct ckv_world *world;
	union wire m;
	uint64_t epoch;

	wire_hello(fd, fds);
	world = mmap(NULL, CKV_WORLD_BYTES, PROT_READ, MAP_SHARED, fds[0], 0);
	ck_assert_ptr_ne(world, MAP_FAILED);
	epoch = world->epoch;
	ck_assert(ckv_world_alive(world, epoch));
	ck_assert_uint_eq(world->life & CKV_LIFE_TID, (uint32_t)daemon_.pid);
	test_daemon_kill(&daemon_);
	ck_assert(!ckv_world_alive(world, epoch));
	ck_assert_uint_ne(world->life & CKV_LIFE_DIED, 0);
	close(fd);
	/* The socket it left behind is replaced. */
	test_daemon_restart(&daemon_);
	ck_assert(test_daemon_logged(&daemon_, "replacing the socket"));
	fd = wire_dial(&daemon_);
	wire_hello(fd, fds);
	world = mmap(NULL, CKV_WORLD_BYTES, PROT_READ, MAP_SHARED, fds[0], 0);
	ck_assert_uint_ne(world->epoch, epoch);
	ck_assert_int_eq(test_daemon_stop(&daemon_), 0);
	ck_assert_uint_eq(world->life, 0);
	ck_assert_int_eq(wire_hear(fd, &m, NULL), 0);
	ck_assert_int_ne(access(daemon_.socket, F_OK), 0);
}
END_TEST

static int run_ckvd(const char *config)
{
	char path[512];
	int status;

	built("ckvd", path, sizeof path);
	if (fork() == 0) {
		int null = open("/dev/null", O_WRONLY);

		dup2(null, 1);
		dup2(null, 2);
		execl(path, path, "--config", config, (char *)NULL);
		_exit(99);
	}
	wait(&status);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* A second daemon at the same place gives up, and the first goes on. */
START_TEST(a_second_daemon_leaves_the_first_alone)
{
	int fd;

	ck_assert_int_eq(run_ckvd(daemon_.config), 1);
	fd = wire_dial(&daemon_);
	wire_hello(fd, NULL);
	close(fd);
}
END_TEST

/* A file that is not a socket is not removed. */
START_TEST(what_is_not_a_socket_is_left_there)
{
	test_daemon_stop(&daemon_);
	close(open(daemon_.socket, O_CREAT | O_WRONLY, 0600));
	ck_assert_int_eq(run_ckvd(daemon_.config), 1);
	ck_assert_int_eq(access(daemon_.socket, F_OK), 0);
}
END_TEST

/* SIGHUP takes what may change, names what may not, and a bad file changes nothing. */
START_TEST(reload_says_what_it_did)
{
	FILE *out = fopen(daemon_.config, "w");

	fprintf(out, "[daemon]\nsocket = /elsewhere\nspin_max = 33us\n"
		TEST_SPACE_TINY);
	fclose(out);
	kill(daemon_.pid, SIGHUP);
	ck_assert(test_daemon_logged(&daemon_, "daemon: spin_max is 33us, was "
				     "100us"));
	ck_assert(test_daemon_logged(&daemon_, "/elsewhere needs a restart"));
	out = fopen(daemon_.config, "w");
	fprintf(out, "[daemon]\nspin_max = soon\n");
	fclose(out);
	kill(daemon_.pid, SIGHUP);
	ck_assert(test_daemon_logged(&daemon_, "spin_max = soon: expected"));
	ck_assert(test_daemon_logged(&daemon_, "reload: nothing changed"));
}
END_TEST

static int attach(int fd, union wire *m)
{
	*m = (union wire){ .attach = { .space = "tiny", .access = CKV_ACCESS_READ,
				       .any_geometry = 1 } };
	wire_head(m, CKV_ATTACH, sizeof m->attach, 0);
	wire_send(fd, m, sizeof m->attach, NULL, 0);
	return wire_hear(fd, m, NULL);
}

/*
 * allow_read and allow_write are looked at when somebody attaches: who is attached
 * stays, and ckv-security.7 says so.
 */
START_TEST(a_reload_ends_no_attachment)
{
	int old = wire_dial(&daemon_), new = wire_dial(&daemon_);
	union wire m;
	FILE *out;

	wire_hello(old, NULL);
	wire_hello(new, NULL);
	ck_assert_int_eq(attach(old, &m), CKV_ATTACHED);
	ck_assert_int_eq(wire_hear(old, &m, NULL), CKV_SLABS);
	out = fopen(daemon_.config, "w");
	fprintf(out, "[daemon]\nsocket = %s\n" TEST_SPACE_TINY "allow_read =\n"
		"allow_write =\n", daemon_.socket);
	fclose(out);
	kill(daemon_.pid, SIGHUP);
	ck_assert(test_daemon_logged(&daemon_, "so nobody may attach to it"));
	ck_assert(test_daemon_logged(&daemon_, "keys changed"));
	ck_assert_int_eq(attach(new, &m), CKV_REFUSED);
	ck_assert_int_eq((int)m.refused.error, EACCES);
	m = (union wire){ .lane_open = { .space_id = 0 } };
	wire_head(&m, CKV_LANE_OPEN, sizeof m.lane_open, 0);
	wire_send(old, &m, sizeof m.lane_open, NULL, 0);
	ck_assert_int_eq(wire_hear(old, &m, NULL), CKV_LANE_OPENED);
	close(old);
	close(new);
}
END_TEST

/* With clients attached and nothing to do it sleeps, but for one tick a second. */
START_TEST(an_idle_daemon_sleeps)
{
	int fd = wire_dial(&daemon_), fds[4];
	struct stat s;
	struct ckv_global_stats *stats;
	uint64_t before;
	void *base;

	wire_hello(fd, fds);
	ck_assert_int_eq(fstat(fds[1], &s), 0);
	base = mmap(NULL, (size_t)s.st_size, PROT_READ, MAP_SHARED, fds[1], 0);
	stats = ckv_stats_global(base);
	sleep(1);
	before = ckv_hint_load64(&stats->reactor_sleeps);
	sleep(2);
	ck_assert_uint_le(ckv_hint_load64(&stats->reactor_sleeps) - before, 4);
	ck_assert_uint_ge(ckv_hint_load64(&stats->reactor_sleeps) - before, 1);
	ck_assert_uint_ge(ckv_hint_load64(&stats->uptime_s), 2);
	close(fd);
}
END_TEST

/* Stats and world cannot be written by who was sent them. */
START_TEST(what_is_sent_for_reading_is_only_read)
{
	int fd = wire_dial(&daemon_), fds[4];

	wire_hello(fd, fds);
	for (int i = 0; i < 2; i++) {
		char path[64];

		ck_assert_ptr_eq(mmap(NULL, 4096, PROT_READ | PROT_WRITE,
				      MAP_SHARED, fds[i], 0), MAP_FAILED);
		snprintf(path, sizeof path, "/proc/self/fd/%d", fds[i]);
		/*
		 * Even who may open it again cannot map or write it: sealed. But a
		 * successor must write the world page, so there only the mode says who.
		 */
		int again = open(path, O_RDWR);
		struct stat s;

		ck_assert_int_eq(fstat(fds[i], &s), 0);
		ck_assert_uint_eq(s.st_mode & 07777, 0600);
		if (again >= 0 && i == 1) {
			ck_assert_int_lt(write(again, "x", 1), 0);
			ck_assert_ptr_eq(mmap(NULL, 4096, PROT_READ | PROT_WRITE,
					      MAP_SHARED, again, 0), MAP_FAILED);
		}
		close(again);
	}
	close(fd);
}
END_TEST

CHECK_MAIN("shell_life",
	CASE("life", .setup = setup, .teardown = teardown),
	TEST(the_life_word_tells_of_death),
	TEST(a_second_daemon_leaves_the_first_alone),
	TEST(what_is_not_a_socket_is_left_there),
	TEST(reload_says_what_it_did),
	TEST(a_reload_ends_no_attachment),
	TEST(an_idle_daemon_sleeps),
	TEST(what_is_sent_for_reading_is_only_read))

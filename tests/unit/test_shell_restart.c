/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_shell_restart.c - what the daemon hands to a service manager, and what the next
 * daemon makes of it.
 */
#include "client/ckv.h"
#include "proto/ckv_stats.h"
#include "tests/lib/attach.h"
#include "tests/lib/check_main.h"
#include "tests/lib/daemon.h"
#include "tests/lib/manager.h"
#include "tests/lib/wait.h"
#include "tests/lib/wire.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

static struct test_daemon daemon_;
static struct test_manager *manager;
static char folder[FOLDER_BYTES];

static void set_up(const char *params)
{
	folder_make(folder);
	manager = manager_start(folder);
	test_daemon_before(manager_pass, manager);
	test_daemon_start(&daemon_, params, NULL);
}

static void setup(void)
{
	set_up(NULL);
}

static void setup_small(void)
{
	set_up("max_clients = 2\nmax_lanes = 2\nmax_clients_per_user = 2\n"
	       "max_lanes_per_user = 2\n");
}

static void teardown(void)
{
	test_daemon_remove(&daemon_);
	manager_stop(manager);
	folder_remove(folder);
}

static int seals(int fd)
{
	return fcntl(fd, F_GET_SEALS);
}

/* Once it serves, all that a successor needs is held, in memory that it can write. */
START_TEST(a_start_stores_what_outlives_it)
{
	static const char *const name[] = {
		"ledger", "world", "records-0", "nodes-0", "slab-0-0",
	};
	struct stat s;

	for (size_t i = 0; i < sizeof name / sizeof name[0]; i++) {
		int fd = manager_held(manager, name[i]);

		ck_assert_msg(fd >= 0, "%s", name[i]);
		ck_assert_int_eq(seals(fd), F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
		ck_assert_int_eq(fstat(fd, &s), 0);
		ck_assert_uint_eq(s.st_mode & 07777, 0600);
		ck_assert_ptr_ne(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED,
				      fd, 0), MAP_FAILED);
	}
	ck_assert_uint_eq(manager_count(manager, "client-"), 0);
	ck_assert_uint_eq(manager_count(manager, "lanes-"), 0);
}
END_TEST

/* Lanes of one client share descriptors; when it has gone, so have they. */
START_TEST(lanes_cost_few_descriptors)
{
	struct ckv_lane *lane[16];
	struct ckv_space *space;
	char name[MANAGER_NAME];
	struct ckv *ckv;

	test_attach(&daemon_, &ckv, &space, &lane[0]);
	for (int i = 1; i < 16; i++)
		ck_assert_int_eq(ckv_lane_open(space, NULL, &lane[i]), 0);
	ck_assert_uint_eq(manager_count(manager, "client-"), 1);
	ck_assert_uint_eq(manager_count(manager, "lanes-"), 1);
	manager_name(manager, "client-", name);
	ck_assert(!manager_polls(manager, name));
	ckv_close(ckv);
	WAIT_UNTIL(manager_count(manager, "client-") == 0);
	ck_assert_uint_eq(manager_count(manager, "client-"), 0);
	WAIT_UNTIL(manager_count(manager, "lanes-") == 0);
	ck_assert_uint_eq(manager_count(manager, "lanes-"), 0);
}
END_TEST

/* ---- the next daemon ---- */

static struct ckv *ckv;
static struct ckv_space *space;
static struct ckv_lane *lane;
static struct ckv_space_info info;

static void name_key(uint8_t key[32], uint32_t i)
{
	memset(key, 0, 32);
	memcpy(key, &i, sizeof i);
	key[31] = 1;
}

static void store_block(uint32_t i)
{
	struct ckv_page page;
	uint8_t key[32];

	name_key(key, i);
	ck_assert_int_eq(ckv_reserve(lane, NULL, key, 1, &page), 1);
	memset(page.data, (int)i, info.page_bytes);
	ck_assert_int_eq(ckv_publish(lane, &page, 1, 16, CKV_SUM, NULL, NULL, NULL), 1);
}

/* Is the block there, with its bytes? It stays pinned if `pin` is given. */
static bool find_block(uint32_t i, struct ckv_pin *pin)
{
	struct ckv_handle handle;
	struct ckv_pin own;
	uint8_t key[32];

	name_key(key, i);
	if (ckv_lookup(lane, key, 1, CKV_VERIFY, &handle, pin ? pin : &own) != 1)
		return false;
	ck_assert_uint_eq(*(const uint8_t *)handle.data, (uint8_t)i);
	if (pin == NULL)
		ckv_unpin(lane, &own);
	return true;
}

static uint32_t count_blocks(uint32_t n)
{
	uint32_t there = 0;

	for (uint32_t i = 0; i < n; i++)
		there += find_block(i, NULL);
	return there;
}

static void attach(void)
{
	test_attach(&daemon_, &ckv, &space, &lane);
	ckv_space_get_info(space, &info);
}

static void restart(bool in_order)
{
	if (in_order)
		ck_assert_int_eq(test_daemon_stop(&daemon_), 0);
	else
		test_daemon_kill(&daemon_);
	test_daemon_restart(&daemon_);
}

/* Blocks are found again after a kill and after a stop in order, several times over. */
START_TEST(blocks_outlive_their_daemon)
{
	attach();
	for (uint32_t i = 0; i < 200; i++)
		store_block(i);
	ckv = ckv_close(ckv);
	for (int n = 0; n < 4; n++) {
		restart(n % 2);
		attach();
		ck_assert_uint_eq(count_blocks(201), 200);
		ckv = ckv_close(ckv);
	}
	ck_assert(test_daemon_logged(&daemon_, "200 blocks and 0 views taken over"));
	ck_assert(test_daemon_keeps_quiet(&daemon_, "cold start"));
}
END_TEST

/* A client that lives on finds them again by itself, and what is new beside them. */
START_TEST(a_client_finds_them_by_itself)
{
	attach();
	store_block(1);
	for (uint32_t n = 2; n < 6; n++) {
		restart(n % 2);
		WAIT_UNTIL(find_block(1, NULL));
		ck_assert_uint_eq(count_blocks(n + 1), n - 1);
		store_block(n);
	}
	ckv = ckv_close(ckv);
}
END_TEST

/* What the manager was told before stays told: no descriptor is stored twice. */
START_TEST(nothing_is_stored_twice)
{
	unsigned int n = manager_count(manager, "");

	for (int i = 0; i < 3; i++) {
		restart(false);
		ck_assert_uint_eq(manager_count(manager, ""), n);
	}
}
END_TEST

/* Start a child that attaches, does something, and waits to be killed. */
static pid_t child(void (*act)(void))
{
	int ready[2];
	char byte;
	pid_t pid;

	ck_assert_int_eq(pipe(ready), 0);
	pid = fork();
	if (pid == 0) {
		attach();
		act();
		(void)!write(ready[1], "x", 1);
		for (;;)
			pause();
	}
	close(ready[1]);
	ck_assert_int_eq(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	return pid;
}

static void end_child(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

/* The numbers that the daemon shows now. */
struct numbers {
	struct ckv_global_stats all;
	struct ckv_space_stats space;
};

static struct numbers numbers(void)
{
	union wire m = { .attach = { .space = "tiny", .access = CKV_ACCESS_STATS,
				     .any_geometry = CKV_WANT_ANY } };
	int fd = wire_dial(&daemon_), fds[4];
	struct numbers n;

	wire_hello(fd, fds);
	close(fds[0]);
	ck_assert_int_eq(pread(fds[1], &n.all, sizeof n.all, 4096), sizeof n.all);
	close(fds[1]);
	wire_head(&m, CKV_ATTACH, sizeof m.attach, 0);
	wire_send(fd, &m, sizeof m.attach, NULL, 0);
	ck_assert_int_eq(wire_hear(fd, &m, fds), CKV_ATTACHED);
	ck_assert_int_eq(pread(fds[0], &n.space, sizeof n.space, 0), sizeof n.space);
	close(fds[0]);
	close(fd);
	return n;
}

#define GAUGE(name)	numbers().all.name
#define SPACE_GAUGE(name) numbers().space.name

static void pin_a_block(void)
{
	static struct ckv_pin pin;

	store_block(7);
	ck_assert(find_block(7, &pin));
}

static void lend_a_page(void)
{
	struct ckv_page page;
	uint8_t key[32];

	name_key(key, 9);
	ck_assert_int_eq(ckv_reserve(lane, NULL, key, 1, &page), 1);
}

static void do_nothing(void)
{
}

/* Forget block 7: 0; -EBUSY while somebody has it pinned. */
static int drop_block(void)
{
	uint8_t key[32];
	int32_t status;

	name_key(key, 7);
	ck_assert_int_ge(ckv_drop(lane, key, 1, &status), 0);
	return status;
}

/* A stopped process keeps its pin over restarts; when it is dead the block may go. */
START_TEST(a_pin_of_before_holds_until_its_process_is_dead)
{
	pid_t pid = child(pin_a_block);

	kill(pid, SIGSTOP);
	restart(_i == 1);
	restart(false);
	attach();
	ck_assert_uint_eq(GAUGE(lanes_of_before), 1);
	ck_assert_int_eq(drop_block(), -EBUSY);
	ck_assert(find_block(7, NULL));
	end_child(pid);
	WAIT_UNTIL(GAUGE(lanes_of_before) == 0);
	ck_assert_uint_eq(GAUGE(lanes_of_before), 0);
	ck_assert_int_eq(drop_block(), 0);
	ckv = ckv_close(ckv);
	WAIT_UNTIL(manager_count(manager, "lanes-") == 0);
	ck_assert_uint_eq(manager_count(manager, "client-"), 0);
	ck_assert_uint_eq(manager_count(manager, "lanes-"), 0);
}
END_TEST

/* So does it keep a page that was lent to it. */
START_TEST(a_page_of_before_is_lent_until_its_process_is_dead)
{
	pid_t pid = child(lend_a_page);

	kill(pid, SIGSTOP);
	restart(_i == 1);
	ck_assert_uint_eq(SPACE_GAUGE(pages_lent), 1);
	ck_assert_uint_eq(GAUGE(lanes_of_before), 1);
	end_child(pid);
	WAIT_UNTIL(SPACE_GAUGE(pages_lent) == 0);
	ck_assert_uint_eq(SPACE_GAUGE(pages_lent), 0);
}
END_TEST

/* A process that died while there was no daemon held nothing. */
START_TEST(the_dead_are_not_taken_over)
{
	pid_t pinned = child(pin_a_block), lent = child(lend_a_page);

	test_daemon_kill(&daemon_);
	end_child(pinned);
	end_child(lent);
	test_daemon_restart(&daemon_);
	ck_assert(test_daemon_logged(&daemon_, "0 clients, 0 lanes"));
	ck_assert_uint_eq(manager_count(manager, "client-"), 0);
	ck_assert_uint_eq(manager_count(manager, "lanes-"), 0);
	ck_assert_uint_eq(SPACE_GAUGE(pages_lent), 0);
	attach();
	ck_assert(find_block(7, NULL));
	ckv = ckv_close(ckv);
}
END_TEST

/* One that holds nothing is not kept either. */
START_TEST(a_lane_that_holds_nothing_is_ended)
{
	pid_t pid = child(do_nothing);

	kill(pid, SIGSTOP);
	restart(false);
	attach();
	ck_assert_uint_eq(GAUGE(lanes_of_before), 0);
	WAIT_UNTIL(manager_count(manager, "lanes-") == 1);
	ck_assert_uint_eq(manager_count(manager, "lanes-"), 1);	/* ours */
	ckv = ckv_close(ckv);
	end_child(pid);
}
END_TEST

/* What they hold counts against no limit of those who come. */
START_TEST(those_of_before_have_no_place_of_others)
{
	pid_t pid[4];

	for (int n = 0; n < 4; n++) {
		pid[n] = child(n == 0 ? pin_a_block : lend_a_page);
		kill(pid[n], SIGSTOP);
		restart(false);
	}
	ck_assert(test_daemon_logged(&daemon_, "4 clients, 4 lanes"));
	attach();
	ck_assert_int_eq(ckv_lane_open(space, NULL, &lane), 0);
	ck_assert_int_eq(ckv_lane_open(space, NULL, &lane), -EUSERS);
	ckv = ckv_close(ckv);
	for (int n = 0; n < 4; n++)
		end_child(pid[n]);
}
END_TEST

CHECK_MAIN("shell_restart",
	CASE("store", .setup = setup, .teardown = teardown),
	TEST(a_start_stores_what_outlives_it),
	TEST(lanes_cost_few_descriptors),
	CASE("restart", .setup = setup, .teardown = teardown),
	TEST(blocks_outlive_their_daemon),
	TEST(a_client_finds_them_by_itself),
	TEST(nothing_is_stored_twice),
	LOOP(a_pin_of_before_holds_until_its_process_is_dead, 2),
	LOOP(a_page_of_before_is_lent_until_its_process_is_dead, 2),
	TEST(the_dead_are_not_taken_over),
	TEST(a_lane_that_holds_nothing_is_ended),
	CASE("small", .setup = setup_small, .teardown = teardown),
	TEST(those_of_before_have_no_place_of_others))

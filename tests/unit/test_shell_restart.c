/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_shell_restart.c - what the daemon hands to a service manager, and what the next
 * daemon makes of it.
 */
#include "client/lib.h"
#include "tests/lib/attach.h"
#include "tests/lib/check_main.h"
#include "tests/lib/daemon.h"
#include "tests/lib/manager.h"
#include "tests/lib/wait.h"

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

static void setup(void)
{
	folder_make(folder);
	manager = manager_start(folder);
	test_daemon_before(manager_pass, manager);
	test_daemon_start(&daemon_, NULL, NULL);
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

CHECK_MAIN("shell_restart",
	CASE("store", .setup = setup, .teardown = teardown),
	TEST(a_start_stores_what_outlives_it),
	TEST(lanes_cost_few_descriptors))

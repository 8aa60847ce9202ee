/* SPDX-License-Identifier: Apache-2.0 */
/*
 * crash_restart_clients.c - clients and keepers in strange states around a daemon's death.
 *
 * A keeper that is killed or stopped; lanes that are being opened when the daemon dies; many
 * lanes; a client that never comes back and lives on.
 */
#include "tests/crash/manager.h"
#include "tests/crash/script.h"
#include "tests/crash/storm.h"
#include "tests/lib/attach.h"
#include "tests/lib/check_main.h"
#include "tests/lib/command.h"
#include "tests/lib/wait.h"

#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LANES = 64, CLIENTS = 4, OPENERS = 3, KILLS = 12, BLOCKS = 8, NOPS = 200 };

static struct manager manager;
static struct test_daemon daemon_;
static struct ckv *client;
static struct ckv_space *space;
static struct ckv_lane *lane;
static struct ckv_space_info info;

static struct ckv_key key_of(uint32_t i)
{
	return raw_key(0xc00, i);
}

static void store_blocks(void)
{
	for (uint32_t i = 0; i < BLOCKS; i++) {
		struct ckv_key key = key_of(i);
		struct ckv_page page;

		ck_assert_int_eq(ckv_reserve(lane, NULL, key.byte, 1, &page), 1);
		storm_fill(&key, page.data, info.page_bytes);
		ck_assert_int_eq(ckv_publish(lane, &page, 1, 16, CKV_SUM, NULL, NULL, NULL),
				 1);
	}
}

/* How many of them are found now; a wrong byte ends the test. */
static uint32_t find_blocks(struct ckv_lane *by)
{
	uint32_t n_found = 0;

	for (uint32_t i = 0; i < BLOCKS; i++) {
		struct ckv_key key = key_of(i);
		struct ckv_handle handle;
		struct ckv_pin pin;
		long n = ckv_lookup(by, key.byte, 1, CKV_VERIFY, &handle, &pin);

		ck_assert_int_ge(n, 0);
		if (n == 1)
			ck_assert(script_right(&key, handle.data));
		n_found += (uint32_t)n;
		ckv_unpin(by, &pin);
	}
	return n_found;
}

static void attach(const struct test_daemon *daemon)
{
	test_attach(daemon, &client, &space, &lane);
	ckv_space_get_info(space, &info);
	store_blocks();
}

/* With this test's client alone: lanes and pages add up. */
static bool adds_up(const struct raw *raw, uint64_t n_lanes)
{
	return RAW_GLOBAL(raw, lanes) == n_lanes && RAW_SPACE(raw, pages_lent) == 0 &&
	       RAW_SPACE(raw, pages_free) + RAW_SPACE(raw, blocks) ==
	       RAW_SPACE(raw, pages_total);
}

static void check_adds_up(const struct test_daemon *daemon, uint64_t n_lanes)
{
	struct raw raw;

	raw_open(&raw, daemon->socket);
	raw_attach(&raw, "tiny", CKV_ACCESS_READ);
	for (int i = 0; i < RAW_WAIT_MS && !adds_up(&raw, n_lanes); i++)
		raw_nap();
	ck_assert_msg(adds_up(&raw, n_lanes), "clients %d, lanes %d (%d), lent %d (0), "
		      "free %d + blocks %d of %d", (int)RAW_GLOBAL(&raw, clients),
		      (int)RAW_GLOBAL(&raw, lanes), (int)n_lanes,
		      (int)RAW_SPACE(&raw, pages_lent), (int)RAW_SPACE(&raw, pages_free),
		      (int)RAW_SPACE(&raw, blocks), (int)RAW_SPACE(&raw, pages_total));
	raw_close(&raw);
}

/* ---- the keeper --------------------------------------------------------- */

static void keeper_setup(void)
{
	test_daemon_start_kept(&daemon_, NULL, NULL);
	attach(&daemon_);
}

static void keeper_teardown(void)
{
	client = ckv_close(client);
	test_daemon_remove(&daemon_);
}

static void nop(void)
{
	struct ckv_event event;

	ck_assert_int_eq(ckv_submit_nop(lane, 1), 0);
	ck_assert_int_eq(ckv_wait(lane, -1, &event, 1), 1);
	ck_assert_int_eq(event.result, 0);
}

/* Its daemon serves on; another one under a new keeper says that it cannot. */
START_TEST(a_daemon_outlives_its_keeper)
{
	pid_t first = daemon_.pid;

	kill(daemon_.keeper, SIGKILL);
	waitpid(daemon_.keeper, NULL, 0);
	daemon_.keeper = 0;
	nop();
	ck_assert_uint_eq(find_blocks(lane), BLOCKS);
	fflush(NULL);
	daemon_.keeper = fork();
	if (daemon_.keeper == 0)
		test_daemon_become(&daemon_, 1);
	ck_assert(test_daemon_logged(&daemon_, "another ckvd serves this socket"));
	nop();
	ck_assert_uint_eq(find_blocks(lane), BLOCKS);
	ck_assert_int_eq(kill(first, 0), 0);
	/* When it is gone the new keeper's daemon has the place, and nothing is kept. */
	kill(first, SIGKILL);
	daemon_.killed = first;
	test_daemon_restart(&daemon_);
	WAIT_UNTIL(find_blocks(lane) == 0 && ckv_submit_nop(lane, 2) == 0);
	ck_assert_uint_eq(find_blocks(lane), 0);
}
END_TEST

static struct opener {
	_Atomic uint32_t done;
	struct ckv *ckv;
	struct ckv_space *space;
	struct ckv_lane *lane;
	int r;
} opener;

static void *open_one(void *argument)
{
	struct opener *o = argument;

	o->r = ckv_lane_open(o->space, NULL, &o->lane);
	ckv_hint_store32(&o->done, 1);
	return NULL;
}

/*
 * While it stores nothing, no lane is opened, since its memory would be lost; that waits.
 * Nobody else does.
 */
START_TEST(a_stopped_keeper_holds_up_lanes_only)
{
	struct ckv *other;
	struct ckv_space *seen;
	pthread_t thread;

	ck_assert_int_eq(ckv_open(daemon_.socket, "opener", &opener.ckv), 0);
	ck_assert_int_eq(ckv_attach(opener.ckv, "tiny", NULL, CKV_WRITE, &opener.space), 0);
	kill(daemon_.keeper, SIGSTOP);
	ck_assert_int_eq(pthread_create(&thread, NULL, open_one, &opener), 0);
	for (int i = 0; i < NOPS; i++) {
		nop();
		wait_moment();
	}
	ck_assert_uint_eq(find_blocks(lane), BLOCKS);
	ck_assert_int_eq(ckv_open(daemon_.socket, "other", &other), 0);
	ck_assert_int_eq(ckv_attach(other, "tiny", NULL, CKV_READ, &seen), 0);
	ck_assert_ptr_null(ckv_close(other));
	ck_assert_uint_eq(ckv_hint_load32(&opener.done), 0);
	kill(daemon_.keeper, SIGCONT);
	pthread_join(thread, NULL);
	ck_assert_msg(opener.r == 0, "%s", ckv_strerror(opener.r));
	ck_assert_uint_eq(find_blocks(opener.lane), BLOCKS);
	ck_assert_ptr_null(ckv_close(opener.ckv));
}
END_TEST

/* ---- clients ------------------------------------------------------------ */

static void clients_setup(void)
{
	manager_create(&manager, "max_lanes = 1024\n", NULL);
	manager_start(&manager, false);
	manager_wait(&manager);
	attach(&manager.daemon);
}

static void clients_teardown(void)
{
	client = ckv_close(client);
	manager_destroy(&manager);
}

static void restart(void)
{
	manager_kill(&manager);
	manager_start(&manager, false);
	manager_wait(&manager);
}

static uint32_t n_kept(void)
{
	uint32_t n;

	(void)manager_take(&manager);
	pthread_mutex_lock(&manager.lock);
	n = manager.n_kept;
	pthread_mutex_unlock(&manager.lock);
	return n;
}

/* As many descriptors are stored as there were without the other clients. */
static void check_kept(uint32_t n)
{
	WAIT_UNTIL(n_kept() <= n);
	ck_assert_msg(n_kept() <= n, "%u descriptors are stored, %u before", n_kept(), n);
}

static pid_t begin(void (*live)(_Atomic uint32_t *), _Atomic uint32_t *shared)
{
	pid_t parent = getpid(), pid;

	fflush(NULL);
	pid = fork();
	if (pid != 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(RAW_BROKEN);
	live(shared);
	_exit(RAW_BROKEN);
}

static _Atomic uint32_t *share(void)
{
	void *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
			    -1, 0);

	ck_assert_ptr_ne(shared, MAP_FAILED);
	return shared;
}

static void end(pid_t pid)
{
	int status = 0;

	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	ck_assert_msg(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL,
		      "a client ended by itself, status %x", (unsigned)status);
}

/* Open and close lanes for ever. shared[0] counts them. */
static _Noreturn void open_for_ever(_Atomic uint32_t *shared)
{
	struct ckv_space *its_space;
	struct ckv_lane *its_lane;
	struct ckv *its;

	while (ckv_open(manager.daemon.socket, "opens", &its) != 0)
		wait_moment();
	while (ckv_attach(its, "tiny", NULL, CKV_WRITE, &its_space) != 0)
		wait_moment();
	for (;;) {
		if (ckv_lane_open(its_space, NULL, &its_lane) != 0) {
			wait_moment();
			continue;
		}
		if (ckv_lane_close(its_lane) != NULL)
			_exit(RAW_BROKEN);
		ckv_hint_store32(&shared[0], shared[0] + 1);
	}
}

/* Killed while lanes are opened and closed all the time: none is left over. */
START_TEST(lanes_that_open_at_a_death_leave_nothing)
{
	_Atomic uint32_t *shared = share();
	uint32_t n_before = n_kept();
	uint64_t random = (uint64_t)getpid();
	pid_t pid[OPENERS];

	for (int i = 0; i < OPENERS; i++)
		pid[i] = begin(open_for_ever, shared);
	for (int i = 0; i < KILLS; i++) {
		uint32_t n = ckv_hint_load32(&shared[0]);

		WAIT_UNTIL(ckv_hint_load32(&shared[0]) > n + 10);
		ck_assert_uint_gt(ckv_hint_load32(&shared[0]), n + 10);
		usleep((useconds_t)(storm_draw(&random) % 5000));
		restart();
	}
	for (int i = 0; i < OPENERS; i++)
		end(pid[i]);
	WAIT_UNTIL(find_blocks(lane) == BLOCKS);
	ck_assert_uint_eq(find_blocks(lane), BLOCKS);
	check_adds_up(&manager.daemon, 1);
	check_kept(n_before + 2);
}
END_TEST

/* Each of many lanes has a pin. shared[0] counts those that have, shared[1] those found. */
static _Noreturn void have_many_lanes(_Atomic uint32_t *shared)
{
	const struct ckv_lane_options few = { .n_pins = 8 };
	static struct ckv_lane *lanes[LANES];
	static struct ckv_handle handle[LANES];
	static struct ckv_pin pin[LANES];
	struct ckv_space *its_space;
	struct ckv *its;

	if (ckv_open(manager.daemon.socket, "many", &its) != 0 ||
	    ckv_attach(its, "tiny", NULL, CKV_READ, &its_space) != 0)
		_exit(RAW_BROKEN);
	for (uint32_t i = 0; i < LANES; i++) {
		struct ckv_key key = key_of(i % BLOCKS);

		if (ckv_lane_open(its_space, &few, &lanes[i]) != 0 ||
		    ckv_lookup(lanes[i], key.byte, 1, 0, &handle[i], &pin[i]) != 1)
			_exit(RAW_BROKEN);
		atomic_fetch_add(&shared[0], 1);
	}
	while (ckv_hint_load32(&shared[2]) == 0)
		wait_moment();
	for (uint32_t i = 0; i < LANES; i++) {
		struct ckv_key key = key_of(i % BLOCKS);
		struct ckv_handle now;
		struct ckv_pin again;
		long n = 0;

		WAIT_UNTIL((n = ckv_lookup(lanes[i], key.byte, 1, 0, &now, &again)) == 1);
		if (n == 1 && script_right(&key, now.data) &&
		    script_right(&key, handle[i].data))
			atomic_fetch_add(&shared[1], 1);
		if (i % 2)
			ckv_unpin(lanes[i], &pin[i]);
		ckv_unpin(lanes[i], &again);
	}
	for (;;)
		pause();
}

/* All come back, and they take few descriptors of the store. */
START_TEST(many_lanes_come_back)
{
	_Atomic uint32_t *shared = share();
	uint32_t n_before = n_kept();
	pid_t pid[CLIENTS];

	for (int i = 0; i < CLIENTS; i++)
		pid[i] = begin(have_many_lanes, shared);
	WAIT_UNTIL(ckv_hint_load32(&shared[0]) == CLIENTS * LANES);
	ck_assert_uint_eq(ckv_hint_load32(&shared[0]), CLIENTS * LANES);
	ck_assert_uint_le(n_kept(), n_before + CLIENTS * LANES / 4);
	restart();
	ckv_hint_store32(&shared[2], 1);
	WAIT_UNTIL(ckv_hint_load32(&shared[1]) == CLIENTS * LANES);
	ck_assert_uint_eq(ckv_hint_load32(&shared[1]), CLIENTS * LANES);
	restart();
	for (int i = 0; i < CLIENTS; i++)
		end(pid[i]);
	WAIT_UNTIL(find_blocks(lane) == BLOCKS);
	check_adds_up(&manager.daemon, 1);
	check_kept(n_before + 2);
}
END_TEST

/* Hold a pin and pages, and never call anything again. */
static _Noreturn void live_on(_Atomic uint32_t *shared)
{
	struct ckv_page page[BLOCKS];
	struct ckv_space *its_space;
	struct ckv_handle handle;
	struct ckv_lane *its_lane;
	struct ckv_pin pin;
	struct ckv *its;

	if (ckv_open(manager.daemon.socket, "lives on", &its) != 0 ||
	    ckv_attach(its, "tiny", NULL, CKV_WRITE, &its_space) != 0 ||
	    ckv_lane_open(its_space, NULL, &its_lane) != 0 ||
	    ckv_lookup(its_lane, key_of(0).byte, 1, 0, &handle, &pin) != 1 ||
	    ckv_reserve_scratch(its_lane, BLOCKS, page) != 0)
		_exit(RAW_BROKEN);
	ckv_hint_store32(&shared[0], 1);
	for (;;) {
		struct ckv_key key = key_of(0);

		if (!script_right(&key, handle.data))
			ckv_hint_store32(&shared[1], 1);
		for (uint32_t i = 0; i < BLOCKS; i++)
			memset(page[i].data, 0xee, info.page_bytes);
		wait_moment();
	}
}

/* Fill all there is, twice. */
static void press(void)
{
	for (uint32_t i = 0; i < 2 * info.n_block_pages; i++) {
		struct ckv_key key = raw_key(0xd00, i);
		struct ckv_handle handle;
		struct ckv_page page;
		struct ckv_pin pin;

		ck_assert_int_eq(ckv_reserve(lane, NULL, key.byte, 1, &page), 1);
		storm_fill(&key, page.data, info.page_bytes);
		ck_assert_int_eq(ckv_publish(lane, &page, 1, 16, CKV_SUM, NULL, NULL, NULL),
				 1);
		ck_assert_int_eq(ckv_lookup(lane, key.byte, 1, CKV_VERIFY, &handle, &pin), 1);
		ck_assert(script_right(&key, handle.data));
		ckv_unpin(lane, &pin);
	}
}

/* It keeps what it has over any number of daemons, is shown, and can be ended. */
START_TEST(who_never_comes_back_keeps_what_it_has)
{
	_Atomic uint32_t *shared = share();
	uint32_t n_before = n_kept();
	char text[64];
	int status;
	pid_t pid = begin(live_on, shared);

	WAIT_UNTIL(ckv_hint_load32(&shared[0]) == 1);
	ck_assert_uint_eq(ckv_hint_load32(&shared[0]), 1);
	for (int i = 0; i < 3; i++) {
		restart();
		WAIT_UNTIL(find_blocks(lane) == (i == 0 ? BLOCKS : 1));
		press();
		ck_assert_uint_eq(ckv_hint_load32(&shared[1]), 0);
		setenv("CKV_SOCKET", manager.daemon.socket, 1);
		ckv("clients");
		snprintf(text, sizeof text, "%d", (int)pid);
		ck_assert_msg(strstr(said.out, text) != NULL, "%s\n%s", said.out, said.err);
		ck_assert_msg(strstr(said.out, "lives on") != NULL, "%s", said.out);
	}
	snprintf(text, sizeof text, "kick %d", (int)pid);
	ckv(text);
	ck_assert_msg(said.rc == 0, "%s", said.err);
	check_adds_up(&manager.daemon, 1);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	check_kept(n_before + 2);
}
END_TEST

CHECK_MAIN("restart_clients",
	CASE("keeper", .setup = keeper_setup, .teardown = keeper_teardown),
	TEST(a_daemon_outlives_its_keeper),
	TEST(a_stopped_keeper_holds_up_lanes_only),
	CASE("clients", .setup = clients_setup, .teardown = clients_teardown),
	TEST(lanes_that_open_at_a_death_leave_nothing),
	TEST(many_lanes_come_back),
	TEST(who_never_comes_back_keeps_what_it_has))

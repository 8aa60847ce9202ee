/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_shell_adopt.c - what a start makes of what an earlier daemon left, when something
 * of it is missing, other than it was, or damaged, and when a call fails.
 */
#include "client/ckv.h"
#include "daemon/shell/adopt.h"
#include "daemon/shell/log.h"
#include "daemon/shell/sys.h"
#include "tests/lib/attach.h"
#include "tests/lib/check_main.h"
#include "tests/lib/manager.h"
#include "tests/lib/wait.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#define BLOCKS	50u

static struct test_daemon daemon_;
static struct test_manager *manager;
static char folder[FOLDER_BYTES];
static struct ckv *ckv;
static struct ckv_space *space;
static struct ckv_lane *lane;
static struct ckv_pin pin;

static void name_key(uint8_t key[32], uint32_t i)
{
	memset(key, 0, 32);
	memcpy(key, &i, sizeof i);
	key[31] = 1;
}

static void store_block(uint32_t i)
{
	struct ckv_space_info info;
	struct ckv_page page;
	uint8_t key[32];

	ckv_space_get_info(space, &info);
	name_key(key, i);
	ck_assert_int_eq(ckv_reserve(lane, NULL, key, 1, &page), 1);
	memset(page.data, (int)i, info.page_bytes);
	ck_assert_int_eq(ckv_publish(lane, &page, 1, 16, CKV_SUM, NULL, NULL, NULL), 1);
}

static uint32_t count_blocks(void)
{
	struct ckv_handle handle;
	struct ckv_pin own;
	uint8_t key[32];
	uint32_t n = 0;

	for (uint32_t i = 0; i < BLOCKS; i++) {
		name_key(key, i);
		if (ckv_lookup(lane, key, 1, CKV_VERIFY, &handle, &own) != 1)
			continue;
		ck_assert_uint_eq(*(const uint8_t *)handle.data, (uint8_t)i);
		ckv_unpin(lane, &own);
		n++;
	}
	return n;
}

/* A killed daemon, which had blocks, and this process as a client with a pin. */
static void setup(void)
{
	struct ckv_handle handle;
	uint8_t key[32];

	folder_make(folder);
	manager = manager_start(folder);
	test_daemon_before(manager_pass, manager);
	test_daemon_start(&daemon_, "max_clients = 8\nmax_lanes = 8\nhuge_pages = no\n"
			  "workers = 1\n", TEST_SPACE("tiny", "pool = 2M\nslab = 128K\n")
			  TEST_SPACE("other", "pool = 1M\n"));
	test_attach(&daemon_, &ckv, &space, &lane);
	for (uint32_t i = 0; i < BLOCKS; i++)
		store_block(i);
	name_key(key, 7);
	ck_assert_int_eq(ckv_lookup(lane, key, 1, 0, &handle, &pin), 1);
	test_daemon_kill(&daemon_);
}

static void teardown(void)
{
	ckv_close(ckv);
	test_daemon_remove(&daemon_);
	manager_stop(manager);
	folder_remove(folder);
}

/* Start the next daemon, and look from another connection what it has. */
static uint32_t blocks_of_next(void)
{
	struct ckv_lane *own_lane = lane;
	struct ckv_space *own_space = space;
	struct ckv *own = ckv;
	uint32_t n;

	test_daemon_restart(&daemon_);
	test_attach(&daemon_, &ckv, &space, &lane);
	n = count_blocks();
	ckv_close(ckv);
	ckv = own;
	space = own_space;
	lane = own_lane;
	return n;
}

/* Change bytes of something that is held. */
static void poke(const char *name, off_t offset, const void *bytes, size_t n)
{
	ck_assert_int_eq(pwrite(manager_held(manager, name), bytes, n, offset),
			 (ssize_t)n);
}

/* Names in the store, but for those that have a serial. */
static unsigned int n_lasting(void)
{
	return manager_count(manager, "") - manager_count(manager, "client-") -
	       manager_count(manager, "lanes-");
}

/* ---- what is missing, or something else ---- */

static void put_other(const char *name, bool sealed)
{
	int fd = memfd_create("x", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	ck_assert_int_eq(ftruncate(fd, sealed ? 12288 : 131072), 0);
	if (sealed)
		ck_assert_int_eq(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW |
				       F_SEAL_SEAL), 0);
	manager_drop(manager, name);
	manager_put(manager, name, fd);
	close(fd);
}

static void drop_first(const char *prefix)
{
	char name[MANAGER_NAME];

	manager_name(manager, prefix, name);
	manager_drop(manager, name);
}

static void no_world(void) { manager_drop(manager, "world"); }
static void no_ledger(void) { manager_drop(manager, "ledger"); }
static void no_slab(void) { manager_drop(manager, "slab-0-0"); }
static void no_records(void) { manager_drop(manager, "records-0"); }
static void no_client(void) { drop_first("client-"); }
static void no_lanes(void) { drop_first("lanes-"); }
static void no_sealed_slab(void) { put_other("slab-0-0", false); }
static void small_records(void) { put_other("records-0", true); }
static void small_ledger(void) { put_other("ledger", true); }
static void ledger_is(int fd)
{
	manager_drop(manager, "ledger");
	manager_put(manager, "ledger", fd);
	close(fd);
}
static void ledger_is_folder(void) { ledger_is(open(folder, O_RDONLY | O_CLOEXEC)); }
static void ledger_is_pipe(void)
{
	int ends[2];

	ck_assert_int_eq(pipe(ends), 0);
	ledger_is(ends[0]);
	close(ends[1]);
}
static void ledger_is_terminal(void) { ledger_is(posix_openpt(O_RDWR | O_NOCTTY)); }
static void small_lanes(void)
{
	char name[MANAGER_NAME];

	manager_name(manager, "lanes-", name);
	put_other(name, true);
}
static void no_pidfd(void)
{
	char name[MANAGER_NAME];

	manager_name(manager, "client-", name);
	put_other(name, true);
}
static void other_pidfd(void)
{
	char name[MANAGER_NAME];

	manager_name(manager, "client-", name);
	manager_drop(manager, name);
	manager_put(manager, name, pidfd_open(getppid(), 0));
}
static void world_twice(void)
{
	manager_put(manager, "world", manager_held(manager, "world"));
}
static void older_layout(void)
{
	poke("ledger", 4, &(uint32_t){ CKV_LAYOUT_VERSION - 1 }, 4);
}
static void older_world(void)
{
	poke("world", 4, &(uint32_t){ CKV_LAYOUT_VERSION - 1 }, 4);
}
static void other_owner(void)
{
	ck_assert_int_eq(fchown(manager_held(manager, "records-0"), 1, 1), 0);
}

static void not_finished(void) { poke("ledger", 20, &(uint32_t){ 0 }, 4); }
static void lane_elsewhere(void)
{
	poke("ledger", (off_t)CKV_LEDGER_LANES_OFFSET + 40, &(uint64_t){ 4096 }, 8);
}

static const struct {
	void (*spoil)(void);
	const char *text;
	uint32_t n_blocks;
} spoiled[] = {
	{ no_world, "cold start: what an earlier daemon left cannot be used: the world "
	  "page is missing", 0 },
	{ no_ledger, "the ledger is missing", 0 },
	{ no_slab, "space tiny: cold start: slab-0-0 is missing", 0 },
	{ no_records, "space tiny: cold start: records-0 is missing", 0 },
	{ no_client, "space tiny: cold start: the process of a lane of before is not "
	  "known", 0 },
	{ no_lanes, "space tiny: cold start: the memory of a lane of before is missing",
	  0 },
	{ no_sealed_slab, "slab-0-0 is not sealed, or not of 131072 bytes", 0 },
	{ small_records, "records-0 is not sealed, or not of", 0 },
	{ other_owner, "bytes, or another user's", 0 },
	{ small_ledger, "its ledger has first word 0", 0 },
	{ ledger_is_folder, "its ledger is no memory", 0 },
	{ ledger_is_pipe, "its ledger is no memory", 0 },
	{ ledger_is_terminal, "its ledger is no memory", 0 },
	{ small_lanes, "the memory of a lane of before is missing", 0 },
	{ no_pidfd, "the process of a lane of before is not known", 0 },
	{ other_pidfd, "the process of a lane of before is not known", 0 },
	{ world_twice, "world came twice", 0 },
	{ older_layout, "its ledger has memory layout version", 0 },
	{ older_world, "the world page has memory layout version", 0 },
	{ not_finished, "a start was not finished", 0 },
	{ lane_elsewhere, "row 0 of the lanes in the ledger is damaged", 0 },
};

/*
 * It is said what is wrong, and the daemon serves. What it does not use it gives back, and
 * what it made new is there for the one after it.
 */
START_TEST(what_does_not_fit_is_a_cold_start)
{
	unsigned int n = n_lasting();

	if (spoiled[_i].spoil == other_owner && !CHECK_IS_ROOT())
		return;
	spoiled[_i].spoil();
	ck_assert_uint_eq(blocks_of_next(), spoiled[_i].n_blocks);
	ck_assert(test_daemon_logged(&daemon_, spoiled[_i].text));
	WAIT_UNTIL(n_lasting() == n);
	ck_assert_uint_eq(n_lasting(), n);
	ckv_unpin(lane, &pin);
	ckv = ckv_close(ckv);
	test_attach(&daemon_, &ckv, &space, &lane);
	store_block(3);
	test_daemon_kill(&daemon_);
	ck_assert_uint_eq(blocks_of_next(), 1);
}
END_TEST

/* Hints may be missing, and other descriptors are nobody's business here. */
START_TEST(what_is_not_needed_may_be_missing)
{
	manager_drop(manager, "nodes-0");
	manager_put(manager, "unknown", 0);
	put_other("nodes-1", true);
	ck_assert_uint_eq(blocks_of_next(), BLOCKS);
	ck_assert(test_daemon_keeps_quiet(&daemon_, "cold start"));
	WAIT_UNTIL(manager_held(manager, "unknown") < 0);
	ck_assert_int_eq(manager_held(manager, "unknown"), -1);
	ck_assert_int_ge(manager_held(manager, "nodes-0"), 0);
}
END_TEST

/* ---- another configuration ---- */

static const struct {
	const char *spaces, *text;
	bool kept;
} changed[] = {
	{ TEST_SPACE("other", "pool = 1M\n") TEST_SPACE("tiny", "pool = 2M\nslab = 128K\n"), NULL,
	  true },
	{ TEST_SPACE("tiny", "pool = 2M\nslab = 128K\n"), "space other is not configured any "
	  "more; its memory is given back", true },
	{ TEST_SPACE("other", "pool = 1M\n")
	  TEST_SPACE("tiny", "pool = 2M\nslab = 128K\nquota = 1M\n"), NULL, true },
	{ TEST_SPACE("tiny", "pool = 4M\nslab = 128K\n"), "space tiny: cold start: slabs "
	  "(pool, slab): ", false },
	{ TEST_SPACE("tiny", "pool = 2M\nslab = 128K\nviews = 50\n"), "space tiny: cold start: pages "
	  "for blocks (pool, views): ", false },
	{ TEST_SPACE("tiny", "pool = 2M\nslab = 128K\nlayout = token-major\n"), "space tiny: cold "
	  "start: layout is token-major here, head-major (1) in the memory of before",
	  false },
	{ TEST_SPACE("tiny", "pool = 2M\nslab = 128K\nweights = "
		     "0101010101010101010101010101010101010101010101010101010101010101\n"),
	  "space tiny: cold start: the configuration names other weights", false },
};

static void configure_with(const char *params, const char *spaces)
{
	FILE *out = fopen(daemon_.config, "w");

	fprintf(out, "[daemon]\nsocket = %s\nmax_clients = 8\nmax_lanes = 8\n"
		"huge_pages = no\nworkers = 1\n%s%s", daemon_.socket, params, spaces);
	fclose(out);
}

static void configure(const char *spaces)
{
	configure_with("", spaces);
}

START_TEST(a_space_is_kept_if_its_configuration_is)
{
	configure(changed[_i].spaces);
	ck_assert_uint_eq(blocks_of_next(), changed[_i].kept ? BLOCKS : 0);
	if (changed[_i].text != NULL)
		ck_assert(test_daemon_logged(&daemon_, changed[_i].text));
	else
		ck_assert(test_daemon_keeps_quiet(&daemon_, "cold start"));
}
END_TEST

static void start_fails(const char *mode)
{
	int status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		if (mode != NULL)
			setenv("CKV_TEST_MODE", mode, 1);
		test_daemon_become(&daemon_, 0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 1);
}

/* Nobody has so much memory: a slip in the file, which costs nothing. */
START_TEST(a_pool_that_never_fits_costs_no_cache)
{
	uint32_t n_slabs = manager_count(manager, "slab-0-");

	configure(TEST_SPACE("tiny", "pool = 16T\nslab = 64G\n")
		  TEST_SPACE("other", "pool = 1M\n"));
	start_fails(NULL);
	ck_assert_uint_eq(manager_count(manager, "slab-0-"), n_slabs);
	configure(TEST_SPACE("tiny", "pool = 2M\nslab = 128K\n")
		  TEST_SPACE("other", "pool = 1M\n"));
	ck_assert_uint_eq(blocks_of_next(), BLOCKS);
}
END_TEST

/*
 * What is not taken over is given back before memory is made, or a start that needs its
 * room fails for ever. This one fails right after that.
 */
START_TEST(a_start_needs_the_memory_of_before)
{
	configure_with("loop = uring\n", TEST_SPACE("tiny", "pool = 4M\nslab = 128K\n")
		       TEST_SPACE("other", "pool = 1M\n"));
	start_fails("no-io_uring");
	ck_assert_uint_eq(manager_count(manager, "slab-0-"), 0);
	ck_assert_uint_gt(manager_count(manager, "slab-1-"), 0);
	configure(TEST_SPACE("tiny", "pool = 2M\nslab = 128K\n")
		  TEST_SPACE("other", "pool = 1M\n"));
	ck_assert_uint_eq(blocks_of_next(), 0);
	ck_assert(test_daemon_logged(&daemon_, "1 of 2 spaces"));
}
END_TEST

/* ---- in this process: flips and failing calls ---- */

static void say(void *context, const char *text)
{
	(void)context;
	(void)text;
}

static struct config *config(void)
{
	const struct config_complaint complaint = { say, NULL };
	struct config *c;

	if (config_read(daemon_.config, &complaint, &c) < 0)
		_exit(99);
	return c;
}

static int in_child(int (*act)(long argument), long argument)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		int null = open("/dev/null", O_WRONLY);

		dup2(null, 2);
		close(null);
		manager_pass(manager);
		_exit(act(argument));
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFEXITED(status), "argument %ld: signal %d", argument,
		      WTERMSIG(status));
	return WEXITSTATUS(status);
}

/* How much would be taken over: spaces and lanes; 100: nothing at all. */
static int judge(long argument)
{
	struct daemon d = { .config = config() };
	int n = 0;

	(void)argument;
	if (adopt_look(&d) < 0)
		return 98;
	if (!adopt_has_ledger(d.adopt))
		return 100;
	for (uint32_t i = 0; i < 2; i++)
		n += adopt_space(&d, i) != NULL;
	return n * 10 + (int)d.n_old_lanes;
}

/* A flipped byte anywhere in what is written of the ledger is seen, and costs no more than that. */
START_TEST(a_flipped_byte_is_never_believed)
{
	static const struct {
		size_t from, bytes;
		int left;
		size_t step;
	} part[] = {
		{ 0, 24, 100, 1 },		/* the head: all is cold */
		{ CKV_LEDGER_SPACES_OFFSET, sizeof(struct ckv_ledger_space), 10, 3 },
		{ CKV_LEDGER_SPACES_OFFSET + sizeof(struct ckv_ledger_space),
		  sizeof(struct ckv_ledger_space), 11, 7 },
		{ CKV_LEDGER_CLIENTS_OFFSET, sizeof(struct ckv_ledger_client), 100, 1 },
		{ CKV_LEDGER_LANES_OFFSET, sizeof(struct ckv_ledger_lane), 100, 1 },
		{ CKV_LEDGER_LANES_OFFSET + 77 * sizeof(struct ckv_ledger_lane), 4, 100,
		  1 },
	};
	int fd = manager_held(manager, "ledger");
	uint8_t was, is;

	ck_assert_int_eq(in_child(judge, 0), 21);
	for (size_t i = 0; i < part[_i].bytes; i += part[_i].step) {
		off_t at = (off_t)(part[_i].from + i);

		ck_assert_int_eq(pread(fd, &was, 1, at), 1);
		is = (uint8_t)(was ^ (1u << (i % 8)));
		ck_assert_int_eq(pwrite(fd, &is, 1, at), 1);
		ck_assert_msg(in_child(judge, (long)at) == part[_i].left, "byte %zu", i);
		ck_assert_int_eq(pwrite(fd, &was, 1, at), 1);
	}
	ck_assert_int_eq(in_child(judge, 0), 21);
}
END_TEST

/* An epoch that cannot be is damage; any other one is below the next. */
START_TEST(the_epoch_only_rises)
{
	uint64_t far = UINT64_MAX - 1, ahead = UINT64_MAX / 2 - 1000000;

	poke("ledger", 24, &far, 8);
	ck_assert_int_eq(in_child(judge, 0), 100);
	poke("ledger", 24, &ahead, 8);
	ck_assert_int_eq(in_child(judge, 0), 21);
	ck_assert_uint_eq(blocks_of_next(), BLOCKS);
	ck_assert_int_eq(pread(manager_held(manager, "ledger"), &far, 8, 24), 8);
	ck_assert_uint_gt(far, ahead);
}
END_TEST

/* The whole start and stop with the nth call failing: 0 started, 1 not, 2 leaked. */
static int start_and_stop(long nth)
{
	struct config *c = config();
	struct daemon *d;
	int r;

	log_setup(LOG_ERROR);
	sys_fault_arm(nth, ENOMEM);
	r = daemon_start(c, daemon_.config, &d);
	sys_fault_arm(0, 0);
	if (r == 0)
		daemon_destroy(d);
	if (sys_descriptors() != 0 || sys_mapped_bytes() != 0)
		return 2;
	return r < 0;
}

/* How many calls, in steps of 50. */
static int calls(long argument)
{
	long before = sys_fault_calls();

	(void)argument;
	(void)start_and_stop(0);
	return (int)((sys_fault_calls() - before + 49) / 50);
}

/* Each call of a start fails once: an error or a start, no leak, and everything is still there. */
START_TEST(a_failing_call_costs_nothing)
{
	long n = 50L * in_child(calls, 0), failed = 0;

	ck_assert_int_gt(n, 100);
	for (long i = 1; i <= n; i++) {
		int r = in_child(start_and_stop, i);

		ck_assert_msg(r < 2, "call %ld leaves something", i);
		failed += r;
		ck_assert_msg(in_child(judge, 0) == 21, "call %ld: something is lost", i);
	}
	ck_assert_int_gt(failed, 60);
	ck_assert_uint_eq(blocks_of_next(), BLOCKS);
}
END_TEST

CHECK_MAIN("shell_adopt",
	CASE("adopt", .setup = setup, .teardown = teardown),
	EACH(what_does_not_fit_is_a_cold_start, spoiled),
	TEST(what_is_not_needed_may_be_missing),
	EACH(a_space_is_kept_if_its_configuration_is, changed),
	TEST(a_pool_that_never_fits_costs_no_cache),
	TEST(a_start_needs_the_memory_of_before),
	LOOP(a_flipped_byte_is_never_believed, 6),
	TEST(the_epoch_only_rises),
	TEST(a_failing_call_costs_nothing))

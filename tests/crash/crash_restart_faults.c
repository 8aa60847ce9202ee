/* SPDX-License-Identifier: Apache-2.0 */
/*
 * crash_restart_faults.c - what is stored comes back wrong: a part is missing, of another
 * size, of another version, or a byte of it is another one.
 *
 * A client (script.h) has stored, pinned and borrowed; its daemon was killed; it lives. From
 * there each fault begins anew. Whatever it is, the next daemon serves, says in its log what
 * it cannot use, and neither shows a wrong byte nor takes what the client holds.
 *
 *   CKV_SEED           repeats the choices
 *   CKV_RESTART_RUNS   about so many places of each kind, 24; with ALL=1 it is all of them
 */
#include "proto/ckv_ledger.h"
#include "tests/crash/manager.h"
#include "tests/crash/script.h"
#include "tests/crash/storm_run.h"
#include "tests/lib/check_main.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { RUNS = 24, ANY = 1000 };

/* Blocks and views of the space "model" that were stored, and not dropped. */
enum { STORED = 3 * SCRIPT_DEPTH - SCRIPT_DEPTH / 2 + 3 * SCRIPT_DEPTH + 1 };

static struct manager manager;
static struct script *script;
static uint64_t random_;
static long log_at;	/* where the log of the last daemon begins */

static void start(void)
{
	random_ = storm_number("CKV_SEED", (uint64_t)time(NULL) * 1000003);
	fprintf(stderr, "CKV_SEED=%llu\n", (unsigned long long)random_);
	manager_create(&manager, NULL, SCRIPT_SPACES("2M"));
	script = script_create(manager.daemon.socket);
	manager_start(&manager, false);
	manager_wait(&manager);
	script_start(script);
	for (int i = 0; i < RAW_WAIT_MS && ckv_hint_load32(&script->waits) == 0; i++)
		raw_nap();
	script_check_client(script);
	ck_assert_uint_eq(ckv_hint_load32(&script->fate[SCRIPT_CHAINS - 1]
					  [SCRIPT_DEPTH - 1]), FATE_STORED);
	manager_kill(&manager);
	manager_remember(&manager);
}

static void stop(void)
{
	script_destroy(script);
	manager_destroy(&manager);
}

/* ---- a fault ------------------------------------------------------------ */

static long log_bytes(void)
{
	struct stat status;

	return stat(manager.daemon.log, &status) == 0 ? (long)status.st_size : 0;
}

/* Lines of this daemon that contain a text. */
static uint32_t n_logged(const char *text)
{
	FILE *log = fopen(manager.daemon.log, "r");
	char line[1024];
	uint32_t n = 0;

	ck_assert_ptr_nonnull(log);
	fseek(log, log_at, SEEK_SET);
	while (fgets(line, sizeof line, log))
		n += strstr(line, text) != NULL;
	fclose(log);
	return n;
}

/* Is damage in it a reason for a cold start? That of records is not. */
static bool is_judged(const char *name)
{
	return strncmp(name, "records", 7) != 0 && strncmp(name, "nodes", 5) != 0;
}

/*
 * The next daemon serves. So many blocks may be lost; if all are since something is wrong
 * with `name`, a line of its log says why. NULL: nothing is.
 */
static void check(const char *name, uint32_t most)
{
	uint32_t n_lost;

	log_at = log_bytes();
	manager_start(&manager, false);
	manager_wait(&manager);
	script_order(script, ORDER_LOOK);
	n_lost = script_check(script, most);
	ck_assert_msg(n_lost < STORED || name == NULL || !is_judged(name) ||
		      n_logged("cold start") == 1 || n_logged("cold start") == 2,
		      "there are %u lines about a cold start", n_logged("cold start"));
	script_check_serves(script, true, name != NULL && !is_judged(name));
	manager_kill(&manager);
}

/* And so does one that finds what that left. */
static void check_once_more(const char *name)
{
	manager_start(&manager, false);
	manager_wait(&manager);
	script_order(script, ORDER_LOOK);
	script_check_serves(script, true, name != NULL && !is_judged(name));
	manager_kill(&manager);
}

/* ---- parts -------------------------------------------------------------- */

/* Nothing is stored, as after a stop: an ordinary start. */
START_TEST(nothing_is_stored)
{
	manager_empty(&manager);
	check(NULL, ANY);
	check_once_more(NULL);
}
END_TEST

START_TEST(any_one_is_missing)
{
	for (uint32_t i = 0; i < manager.n_remembered; i++) {
		char name[MANAGER_NAME];
		uint32_t most;

		manager_restore(&manager);
		memcpy(name, manager.kept[i].name, sizeof name);
		fprintf(stderr, "without %s\n", name);
		most = strncmp(name, "nodes", 5) == 0 ? 0 : ANY;
		manager_drop(&manager, &manager.kept[i]);
		check(name, most);
		ck_assert_msg(manager.n_kept > 0, "nothing is stored any more");
		check_once_more(name);
	}
}
END_TEST

/* Memory of another size under the name of what was stored. */
static void put_other_size(struct manager_kept *kept, size_t bytes)
{
	const void *copy = manager_copy(&manager, kept->name);
	int fd = memfd_create("other", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, (off_t)bytes), 0);
	ck_assert_int_ge(pwrite(fd, copy, bytes < kept->bytes ? bytes : kept->bytes, 0), 0);
	ck_assert_int_eq(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL),
			 0);
	dup3(fd, kept->fd, O_CLOEXEC);
	close(fd);
}

START_TEST(any_one_has_another_size)
{
	for (uint32_t i = 0; i < 2 * manager.n_remembered; i++) {
		struct manager_kept *kept = &manager.kept[i / 2];
		char name[MANAGER_NAME];

		manager_restore(&manager);
		if (kept->bytes == 0)
			continue;
		fprintf(stderr, "%s has another size\n", kept->name);
		put_other_size(kept, i % 2 ? kept->bytes / 2 : kept->bytes + 4096);
		memcpy(name, kept->name, sizeof name);
		check(name, ANY);
		check_once_more(name);
	}
}
END_TEST

/* ---- bytes -------------------------------------------------------------- */

static void put_bytes(const char *name, size_t offset, const void *bytes, size_t n)
{
	struct manager_kept *kept = manager_find(&manager, name);

	ck_assert_msg(kept != NULL, "there is no %s", name);
	ck_assert_int_eq(pwrite(kept->fd, bytes, n, (off_t)offset), (ssize_t)n);
}

static uint8_t byte_of(const char *name, size_t offset)
{
	return ((const uint8_t *)manager_copy(&manager, name))[offset];
}

/* One that was written before all this was made, or by something else. */
START_TEST(the_ledger_is_of_another_version)
{
	const uint32_t other[] = { CKV_LAYOUT_VERSION - 1, CKV_LAYOUT_VERSION + 1, 0 };

	for (size_t i = 0; i < COUNT(other); i++) {
		manager_restore(&manager);
		put_bytes("ledger", offsetof(struct ckv_ledger_head, layout_version),
			  &other[i], sizeof other[i]);
		check("ledger", ANY);
		ck_assert_uint_ge(n_logged("layout"), 1);
		check_once_more("ledger");
	}
}
END_TEST

/* Places of a memory that hold something, and some that do not: their number. */
static size_t places(const char *name, size_t *ret_places, size_t max)
{
	const struct manager_kept *kept = manager_find(&manager, name);
	const uint8_t *bytes = manager_copy(&manager, name);
	size_t n = 0;

	ck_assert_msg(kept != NULL, "there is no %s", name);
	for (size_t line = 0; line < kept->bytes && n + 64 <= max; line += 64) {
		bool used = false;

		for (size_t i = 0; i < 64 && line + i < kept->bytes; i++)
			used |= bytes[line + i] != 0;
		for (size_t i = 0; used && i < 64 && line + i < kept->bytes; i++)
			ret_places[n++] = line + i;
	}
	return n;
}

/* Flip a byte of each of some places, one at a time, and start. */
static void flip(const char *name, uint32_t lost)
{
	static size_t place[1 << 16];
	size_t n, step, n_done = 0;

	manager_restore(&manager);
	n = places(name, place, COUNT(place));
	step = storm_stride(n, RUNS);
	for (size_t i = storm_draw(&random_) % step; i < n; i += step) {
		uint8_t byte = byte_of(name, place[i]);

		byte ^= (uint8_t)(storm_draw(&random_) % 2 ? 0xff :
				  1u << storm_draw(&random_) % 8);
		manager_restore(&manager);
		fprintf(stderr, "%s: byte %zu is %02x, not %02x\n", name, place[i], byte,
			byte_of(name, place[i]));
		put_bytes(name, place[i], &byte, 1);
		check(name, lost);
		n_done++;
	}
	fprintf(stderr, "%s: %zu of %zu bytes flipped\n", name, n_done, n);
}

START_TEST(a_byte_of_the_ledger_flips)
{
	flip("ledger", ANY);
}
END_TEST

/*
 * No more is lost than a chain, and those that branch from it; or the view. When nobody can
 * have it pinned any more all is as ever.
 */
START_TEST(a_byte_of_a_record_flips)
{
	flip("records-0", 4 * SCRIPT_DEPTH);
	script_kill(script);
	manager_start(&manager, false);
	manager_wait(&manager);
	script_check_serves(script, false, false);
	script_check_adds_up(script);
}
END_TEST

/* Only hints are read from it. */
START_TEST(a_byte_of_the_nodes_flips)
{
	flip("nodes-0", 0);
}
END_TEST

START_TEST(a_byte_of_the_world_flips)
{
	flip("world", ANY);
}
END_TEST

/* Many at once, up to all of it. */
START_TEST(many_bytes_are_others)
{
	static const char *const names[] = { "ledger", "records-0", "nodes-0", "records-1",
					     "world" };

	for (uint64_t i = 0; i < RUNS; i += storm_stride(RUNS, RUNS)) {
		const char *name = names[storm_draw(&random_) % COUNT(names)];
		uint64_t n = 1ull << storm_draw(&random_) % 14;
		size_t bytes;

		manager_restore(&manager);
		fprintf(stderr, "%s: %llu bytes are others\n", name, (unsigned long long)n);
		bytes = manager_find(&manager, name)->bytes;
		for (uint64_t k = 0; k < n; k++) {
			/* Most of the ledger is empty. */
			size_t most = bytes > 65536 && k % 2 ? 65536 : bytes;
			uint8_t byte = (uint8_t)storm_draw(&random_);

			put_bytes(name, storm_draw(&random_) % most, &byte, 1);
		}
		check(name, ANY);
		check_once_more(name);
	}
}
END_TEST

CHECK_MAIN("restart_faults",
	CASE("parts", .setup = start, .teardown = stop, .timeout = storm_stride_limit()),
	TEST(nothing_is_stored),
	TEST(any_one_is_missing),
	TEST(any_one_has_another_size),
	TEST(the_ledger_is_of_another_version),
	CASE("bytes", .setup = start, .teardown = stop, .timeout = storm_stride_limit()),
	TEST(a_byte_of_the_ledger_flips),
	TEST(a_byte_of_a_record_flips),
	TEST(a_byte_of_the_nodes_flips),
	TEST(a_byte_of_the_world_flips),
	TEST(many_bytes_are_others))

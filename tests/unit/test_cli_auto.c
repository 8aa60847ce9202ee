/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_cli_auto.c - views that a space asks for itself, in a real daemon with real
 * clients: made, found, listed, shared, dropped; writers do not wait for them.
 *
 * Every block is filled with one number, its chain's, so a view that was made of pages
 * which somebody else filled meanwhile would show another.
 */
#include "client/ckv.h"
#include "tests/lib/check_main.h"
#include "tests/lib/command.h"
#include "tests/lib/daemon.h"
#include "tests/lib/wait.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* 128 pages for blocks and as many for views, of 16 KiB. */
#define SPACE	TEST_SPACE("tiny", "pool = 4M\nviews = 50\n")
#define HALF	"keydiff(keep=1/2)"
#define EIGHTH	"keydiff(keep=1/8)"

enum { PAGES = 128, TOKENS = 16, LAYERS = 2, HEADS = 2, DIM = 32 };

static struct test_daemon daemon_;
static struct ckv *client;
static struct ckv_space *space;
static struct ckv_lane *lane;

/* Also in a child, which must not write into Check's file. */
static bool attach(void)
{
	return ckv_open(NULL, "auto", &client) == 0 &&
	       ckv_attach(client, "tiny", NULL, CKV_WRITE, &space) == 0 &&
	       ckv_lane_open(space, NULL, &lane) == 0;
}

static void begin(const char *params, const char *keys)
{
	char spaces[1024];

	snprintf(spaces, sizeof spaces, SPACE "%s", keys);
	test_daemon_start(&daemon_, params, spaces);
	setenv("CKV_SOCKET", daemon_.socket, 1);
	ck_assert(attach());
}

static void end(void)
{
	client = ckv_close(client);
	ck_assert_int_eq(test_daemon_stop(&daemon_), 0);
	test_daemon_remove(&daemon_);
}

/* Key of block i of a chain. */
static const uint8_t *key_of(uint32_t chain, uint32_t i)
{
	static uint8_t key[CKV_KEY_SIZE];

	memset(key, 0, sizeof key);
	key[0] = 1;
	memcpy(key + 4, &chain, sizeof chain);
	memcpy(key + 8, &i, sizeof i);
	return key;
}

/* A chain of n blocks, from its block `first` on; all of it is the chain's number. */
static long put_from(uint32_t chain, uint32_t first, uint32_t n)
{
	uint8_t keys[PAGES][CKV_KEY_SIZE], parent[CKV_KEY_SIZE];
	struct ckv_page pages[PAGES];
	struct ckv_space_info info;
	long r;

	for (uint32_t i = 0; i < n; i++)
		memcpy(keys[i], key_of(chain, first + i), CKV_KEY_SIZE);
	memcpy(parent, key_of(chain, first - 1), CKV_KEY_SIZE);
	ckv_space_get_info(space, &info);
	r = ckv_reserve(lane, first ? parent : NULL, keys[0], n, pages);
	if (r != (long)n)
		return r < 0 ? r : pages[r].status;
	for (uint32_t i = 0; i < n; i++)
		for (size_t at = 0; at < info.page_bytes / sizeof(float); at++)
			((float *)pages[i].data)[at] = (float)chain;
	r = ckv_publish(lane, pages, n, TOKENS, CKV_SUM, NULL, NULL, NULL);
	return r == (long)n ? 0 : -EIO;
}

static void put(uint32_t chain, uint32_t n)
{
	ck_assert_int_eq(put_from(chain, 0, n), 0);
}

static bool is_stored(uint32_t chain, uint32_t i)
{
	struct ckv_handle handle;
	struct ckv_pin pin;
	long n = ckv_lookup(lane, key_of(chain, i), 1, 0, &handle, &pin);

	if (n == 1)
		ckv_unpin(lane, &pin);
	return n == 1;
}

static void wait_for(const char *name, long at_least)
{
	WAIT_UNTIL(space_counter(name) >= at_least);
	ck_assert_int_ge(space_counter(name), at_least);
}

/* Nothing is held or queued any more: counters stand still. */
static void settle(void)
{
	long before = -1, now;

	for (int i = 0; i < 500; i++) {
		now = space_counter("auto_made") + space_counter("auto_skipped");
		if (now == before && space_counter("auto_held") == 0)
			return;
		before = now;
		usleep(20000);
	}
	ck_abort_msg("automatic views come to no end");
}

static int find(uint32_t chain, uint32_t i, const char *method,
		struct ckv_view_info *ret)
{
	return ckv_view_find(lane, key_of(chain, i), method, ret);
}

/* A view, pinned, holds what its chain held, and how many tokens of it. */
static void see_bytes(const struct ckv_view *view, uint32_t chain, uint32_t n_kept)
{
	struct ckv_run run;

	for (uint32_t l = 0; l < LAYERS; l++)
		for (uint32_t h = 0; h < HEADS; h++) {
			uint32_t n_wrong = 0;

			ck_assert_int_eq(ckv_view_run(lane, view, l, h, &run), 0);
			ck_assert_uint_eq(run.n_kept, n_kept);
			for (uint32_t i = 0; i < n_kept * DIM; i++)
				n_wrong += ((const float *)run.k)[i] != (float)chain ||
					   ((const float *)run.v)[i] != (float)chain;
			ck_assert_uint_eq(n_wrong, 0);
		}
}

/* Look at the view of a chain, if there is one. */
static bool try_view(const char *method, uint32_t chain, uint32_t last,
		     uint32_t n_kept)
{
	struct ckv_view_info info;
	struct ckv_view view;

	/* It may be evicted between the two. */
	if (find(chain, last, method, &info) != 0 ||
	    ckv_view_open(lane, info.key, &view) != 0)
		return false;
	ck_assert_uint_eq(view.n_tokens, (last + 1) * TOKENS);
	see_bytes(&view, chain, n_kept);
	ckv_unpin(lane, &view.pin);
	return true;
}

static void see_view(uint32_t chain, uint32_t last, uint32_t n_kept)
{
	ck_assert(try_view(HALF, chain, last, n_kept));
}

/*
 * publish: a chain has its view soon after; another process is given the same when it
 * asks for it; it is listed, and dropped.
 */
START_TEST(a_published_chain_gets_its_view)
{
	struct ckv_view_info info, same;
	json_t *views, *view;

	begin(NULL, "compress = " HALF "\n");
	put(3, 4);
	wait_for("auto_made", 1);
	see_view(3, 3, 32);
	ck_assert_int_eq(find(3, 3, HALF, &info), 0);
	ck_assert_int_eq(ckv_compress(lane, key_of(3, 3), HALF, NULL, &same), 0);
	ck_assert_mem_eq(same.key, info.key, sizeof info.key);
	ck_assert_int_eq(space_counter("views_made"), 1);
	ck_assert_int_eq(space_counter("views_shared"), 1);

	views = ckv_json("views tiny");
	ck_assert_uint_eq(json_array_size(json_object_get(views, "views")), 1);
	view = json_array_get(json_object_get(views, "views"), 0);
	ck_assert_str_eq(json_string_value(json_object_get(view, "method")),
			 "keydiff(keep=1/2, block=0)");
	json_decref(views);

	ck_assert_int_eq(ckv_drop(lane, info.key, 1, NULL), 1);
	ck_assert_int_eq(find(3, 3, HALF, &info), -ENOENT);
	settle();
	ck_assert_int_eq(space_counter("auto_made"), 1);	/* one turn */
	ckv("status --all");
	ck_assert_ptr_nonnull(strstr(said.out, "auto_lost_room"));
	end();
}
END_TEST

/* publish: a writer that dies leaves chains that get their views; what it did not publish is no chain. */
START_TEST(a_killed_writers_chains_get_views)
{
	int status;
	pid_t pid;

	begin(NULL, "compress = " HALF "\n");
	pid = fork();
	if (pid == 0) {
		struct ckv_page page;

		if (!attach())
			_exit(1);
		for (uint32_t c = 1; c <= 20; c++)
			if (put_from(c, 0, 3) != 0)
				_exit(1);
		ckv_reserve(lane, NULL, key_of(99, 0), 1, &page);
		raise(SIGKILL);
	}
	waitpid(pid, &status, 0);
	ck_assert(WIFSIGNALED(status));
	wait_for("auto_made", 20);
	for (uint32_t c = 1; c <= 20; c++)
		see_view(c, 2, 24);
	ck_assert_int_eq(space_counter("auto_made"), 20);
	end();
}
END_TEST

/* pressure: with a sixteenth free nothing happens; then the coldest get views, and are evicted with them. */
START_TEST(the_coldest_get_views_before_they_go)
{
	begin(NULL, "compress = " HALF "\ncompress_on = pressure\n");
	for (uint32_t c = 1; c <= PAGES - PAGES / 16; c++)
		put(c, 1);
	usleep(100000);
	ck_assert_int_eq(space_counter("auto_made"), 0);
	put(201, 4);
	wait_for("auto_made", 64);
	settle();
	put(202, 40);
	ck_assert_int_gt(space_counter("evicted"), 30);
	for (uint32_t c = 1; c <= 30; c++) {
		ck_assert(!is_stored(c, 0));
		see_view(c, 0, 8);
	}
	ck_assert_int_eq(space_counter("auto_lost_busy"), 0);
	end();
}
END_TEST

/*
 * demote: who is to leave leaves a view. One chain at a time leaves, so that each can
 * wait for its view; chains of several blocks leave one view each.
 */
START_TEST(who_leaves_leaves_a_view)
{
	long n_gone = 0, n_seen = 0;

	begin(NULL, "compress = " HALF "\ncompress_on = demote\n");
	for (uint32_t c = 1; c <= PAGES / 4; c++)
		put(c, 4);
	ck_assert_int_eq(space_counter("auto_made"), 0);
	for (uint32_t c = 101; c <= 130; c++) {
		put(c, 1);
		settle();
	}
	for (uint32_t c = 1; c <= PAGES / 4; c++) {
		if (is_stored(c, 3))
			continue;
		n_gone++;
		n_seen += try_view(HALF, c, 3, 32);
	}
	ck_assert_int_gt(n_gone, 5);
	ck_assert_int_gt(n_seen, 5);
	ck_assert_int_gt(space_counter("auto_made"), 5);
	/* Every chain whose end is gone had its turn or was lost before it. */
	ck_assert_int_ge(space_counter("auto_made") + space_counter("auto_lost_busy"), n_gone);
	ck_assert_int_eq(space_counter("auto_refused") + space_counter("auto_failed"), 0);
	end();
}
END_TEST

/* If a chain, or nearly all of it, has a view, it holds the chain's numbers. */
static uint32_t see_views_of(uint32_t chain, uint32_t n_blocks)
{
	uint32_t n = 0;

	for (uint32_t last = n_blocks - 2; last < n_blocks; last++)
		n += try_view(HALF, chain, last, (last + 1) * 8);
	return n;
}

/* Some views were seen, and some given up. Each depends on who was faster. */
static bool both(uint32_t n_seen)
{
	return n_seen > 0 && space_counter("auto_lost_room") > 0;
}

static uint32_t blocks_of(uint32_t chain)
{
	return 20 + chain * 37 % 81;
}

/*
 * demote, in a pool that one writer keeps full while jobs run, with chains of which two
 * to six fit: no reservation is ever refused, and no view holds another chain's
 * numbers.
 */
START_TEST(a_writer_never_goes_without)
{
	enum { CHAINS = 100, PATIENCE = 30 };
	uint32_t n_seen = 0;

	begin("max_auto_jobs = 16\n", "compress = " HALF "\ncompress_on = demote\n");
	for (uint32_t c = 1; !(c > CHAINS && both(n_seen)) && c <= CHAINS * PATIENCE; c++) {
		put(c, blocks_of(c));
		if (c > 3)
			n_seen += see_views_of(c - 3, blocks_of(c - 3));
	}
	ck_assert_uint_gt(n_seen, 0);
	ck_assert_int_gt(space_counter("auto_lost_room"), 0);
	ck_assert_int_eq(space_counter("refused_space"), 0);
	ck_assert_int_eq(space_counter("checksum_failed"), 0);
	end();
}
END_TEST

/*
 * publish, where the next chain takes the pages that the last one's job reads: the job is
 * given up, or was done before; what it made of changed pages is seen by nobody.
 */
START_TEST(a_view_of_changed_pages_is_thrown_away)
{
	enum { CHAINS = 200, PATIENCE = 10, BLOCKS = 120, KEPT = BLOCKS * TOKENS / 8 };
	uint32_t n_seen = 0;

	begin(NULL, "compress = " EIGHTH "\n");
	for (uint32_t c = 1; !(c > CHAINS && both(n_seen)) && c <= CHAINS * PATIENCE; c++) {
		put(c, BLOCKS);
		if (c % 8 == 0)
			settle();
		else	/* its job is at this point, then at that */
			usleep(c % 8 * 300);
		for (uint32_t b = 0; b < 6 && b < c; b++)
			n_seen += try_view(EIGHTH, c - b, BLOCKS - 1, KEPT);
	}
	ck_assert_uint_gt(n_seen, 0);
	ck_assert_int_gt(space_counter("auto_lost_room"), 0);
	ck_assert_int_eq(space_counter("refused_space"), 0);
	ck_assert_int_eq(space_counter("checksum_failed"), 0);
	end();
}
END_TEST

/* The daemon stops at once while views are being made. */
START_TEST(a_stop_does_not_wait_for_views)
{
	begin("workers = 1\n", "compress = " HALF "\n");
	for (uint32_t c = 1; c <= 3; c++)
		put(c, 40);
	end();
}
END_TEST

/* A reload brings another method and another time. */
START_TEST(a_reload_changes_what_is_asked_for)
{
	struct ckv_view_info info;
	char line[512];
	FILE *in, *out;

	begin(NULL, "compress = " HALF "\ncompress_on = demote\n");
	put(1, 2);
	in = fopen(daemon_.config, "r");
	snprintf(line, sizeof line, "%s/new", daemon_.dir);
	out = fopen(line, "w");
	while (fgets(line, sizeof line, in))
		fputs(strncmp(line, "compress =", 10) == 0 ? "compress = fp8\n" :
		      strncmp(line, "compress_on", 11) == 0 ?
		      "compress_on = publish\n" : line, out);
	fclose(in);
	fclose(out);
	snprintf(line, sizeof line, "%s/new", daemon_.dir);
	ck_assert_int_eq(rename(line, daemon_.config), 0);
	kill(daemon_.pid, SIGHUP);
	ck_assert(test_daemon_logged(&daemon_, "compress is fp8"));
	put(2, 2);
	wait_for("auto_made", 1);
	ck_assert_int_eq(find(2, 1, "fp8", &info), 0);
	ck_assert_int_eq(find(2, 1, HALF, &info), -ENOENT);
	end();
}
END_TEST

/* What the method cannot do is refused and counted, not tried again. */
START_TEST(chains_that_do_not_fit_are_counted)
{
	begin("max_job_blocks = 2\n", "compress = " HALF "\n");
	put(1, 3);
	put(2, 2);
	wait_for("auto_made", 1);
	settle();
	ck_assert_int_eq(space_counter("auto_refused"), 1);
	see_view(2, 1, 16);
	end();
}
END_TEST

/* A floor refuses a client's method too when it was not measured, and says so. */
START_TEST(a_floor_refuses_what_was_not_measured)
{
	struct ckv_view_info info;

	begin(NULL, "floor = 1%\n");
	put(1, 2);
	ck_assert_int_eq(ckv_compress(lane, key_of(1, 1), "random(keep=1/2) + "
				      "kivi(bits=2, group=32)", NULL, &info),
			 -EPERM);
	ck_assert_ptr_nonnull(strstr(ckv_why(client), "floor 1 %: random + kivi(bits=2, "
				     "group=32) is not recorded; "));
	ck_assert_int_eq(space_counter("views_made"), 0);
	end();
}
END_TEST

CHECK_MAIN("cli_auto",
	CASE("auto", .timeout = 100),
	TEST(a_published_chain_gets_its_view),
	TEST(a_killed_writers_chains_get_views),
	TEST(the_coldest_get_views_before_they_go),
	TEST(who_leaves_leaves_a_view),
	TEST(a_writer_never_goes_without),
	TEST(a_view_of_changed_pages_is_thrown_away),
	TEST(a_stop_does_not_wait_for_views),
	TEST(a_reload_changes_what_is_asked_for),
	TEST(chains_that_do_not_fit_are_counted),
	TEST(a_floor_refuses_what_was_not_measured))

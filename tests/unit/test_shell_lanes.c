/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_shell_lanes.c - what happens to the pins and pages of a lane that ends.
 */
#include "proto/ckv_ops.h"
#include "proto/ckv_stats.h"
#include "proto/ckv_world.h"
#include "tests/lib/check_main.h"
#include "tests/lib/wait.h"
#include "tests/lib/wire.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static struct test_daemon daemon_;

static void setup(void)
{
	test_daemon_start(&daemon_, NULL, NULL);
}

static void teardown(void)
{
	test_daemon_remove(&daemon_);
}

struct client {
	int fd;
	struct ckv_world *world;
	void *stats;			/* global */
	uint32_t n_client_rows;
	struct ckv_space_stats *space;
	uint64_t serial;
	struct ckv_lane_map map;
	char *c, *d;
	int eventfd;
	struct ckv_ring_end requests, completions;
};

static void *map(int fd, size_t bytes, int prot)
{
	void *base = mmap(NULL, bytes, prot, MAP_SHARED, fd, 0);

	ck_assert_ptr_ne(base, MAP_FAILED);
	close(fd);
	return base;
}

static void attach(struct client *c, uint32_t access)
{
	union wire m = { .attach = { .space = "tiny", .access = access,
				     .any_geometry = CKV_WANT_ANY } };
	struct ckv_stats_head *head;
	struct stat s;
	int fds[4];

	c->fd = wire_dial(&daemon_);
	wire_hello(c->fd, fds);
	c->world = map(fds[0], CKV_WORLD_BYTES, PROT_READ);
	fstat(fds[1], &s);
	c->stats = map(fds[1], (size_t)s.st_size, PROT_READ);
	head = c->stats;
	c->n_client_rows = head->n_client_rows;
	wire_head(&m, CKV_ATTACH, sizeof m.attach, 0);
	wire_send(c->fd, &m, sizeof m.attach, NULL, 0);
	ck_assert_int_eq(wire_hear(c->fd, &m, fds), CKV_ATTACHED);
	c->space = map(fds[0], CKV_SPACE_STATS_BYTES, PROT_READ);
	if (access == CKV_ACCESS_STATS)
		return;
	close(fds[1]);
	ck_assert_int_eq(wire_hear(c->fd, &m, NULL), CKV_SLABS);
}

static void open_lane(struct client *c)
{
	union wire m = { .lane_open = { .space_id = 0 } };
	int fds[4];

	wire_head(&m, CKV_LANE_OPEN, sizeof m.lane_open, 0);
	wire_send(c->fd, &m, sizeof m.lane_open, NULL, 0);
	ck_assert_int_eq(wire_hear(c->fd, &m, fds), CKV_LANE_OPENED);
	c->serial = m.lane_opened.serial;
	c->map = ckv_lane_map(&m.lane_opened.shape);
	c->c = mmap(NULL, c->map.c_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fds[0],
		    (off_t)m.lane_opened.c_offset);
	ck_assert_ptr_ne(c->c, MAP_FAILED);
	close(fds[0]);
	c->d = map(fds[1], c->map.d_bytes, PROT_READ);
	c->eventfd = fds[2];
	c->requests = (struct ckv_ring_end){
		.slots = (void *)(c->c + c->map.requests),
		.credit = &((struct ckv_d_head *)c->d)->req_credit,
		.n_slots = m.lane_opened.shape.n_slots,
	};
	c->completions = (struct ckv_ring_end){
		.slots = (void *)(c->d + c->map.completions),
		.credit = &((struct ckv_c_head *)c->c)->comp_credit,
		.n_slots = m.lane_opened.shape.n_slots,
	};
}

static void put(struct client *c, const struct ckv_req *request)
{
	struct ckv_msg message;
	uint64_t one = 1;

	memcpy(&message, request, sizeof message);
	ck_assert_int_eq(ckv_ring_put(&c->requests, &message), 0);
	ck_assert_int_eq(write(c->eventfd, &one, sizeof one), sizeof one);
}

static int32_t take(struct client *c)
{
	struct ckv_comp completion;
	struct ckv_msg message;
	int r = -EAGAIN;

	WAIT_UNTIL((r = ckv_ring_take(&c->completions, &message)) != -EAGAIN);
	ck_assert_int_eq(r, 0);
	ckv_ring_credit(&c->completions);
	memcpy(&completion, &message, sizeof completion);
	return completion.result;
}

static void lend_pages(struct client *c, uint32_t n)
{
	const struct ckv_req reserve = { .op = CKV_OP_RESERVE,
					 .flags = CKV_REQ_SCRATCH, .n = n };

	put(c, &reserve);
	ck_assert_int_eq(take(c), (int32_t)n);
}

static void expect_lent(const struct client *c, uint64_t want)
{
	WAIT_UNTIL(ckv_hint_load64(&c->space->pages_lent) == want);
	ck_assert_uint_eq(ckv_hint_load64(&c->space->pages_lent), want);
}

/* The state shown for a process, if it is not `want` for long. */
static uint32_t shown_state(const struct client *c, pid_t pid, uint32_t want)
{
	uint32_t state = 0;

	for (int i = 0; i < WAIT_MOMENTS; i++) {
		state = 0;
		for (uint32_t row = 0; row < c->n_client_rows; row++) {
			struct ckv_client_row *r =
				ckv_stats_client(c->stats, 1, row);

			if (r->pid == (uint32_t)pid && ckv_client_state(r))
				state = ckv_client_state(r);
		}
		if (state == want)
			break;
		wait_moment();
	}
	return state;
}

static uint32_t why_closed(const struct client *c)
{
	uint32_t why = 0;

	WAIT_UNTIL((why = ckv_lane_state((struct ckv_d_head *)c->d)) != 0);
	return why;
}

/*
 * A liar's lane is closed, but its pages stay lent, for it may still write into
 * them; LANE_CLOSE gives them back, and the connection has gone on.
 */
START_TEST(pages_of_a_liar_stay_lent_until_it_closes_the_lane)
{
	const struct ckv_req lie = { .op = CKV_OP_NOP, .zero0 = 1 };
	union wire m = { .lane_close = { .serial = 0 } };
	struct client c;

	attach(&c, CKV_ACCESS_WRITE);
	open_lane(&c);
	lend_pages(&c, 3);
	put(&c, &lie);
	ck_assert_uint_eq(why_closed(&c), EPROTO);
	usleep(50000);
	expect_lent(&c, 3);
	m.lane_close.serial = c.serial;
	wire_head(&m, CKV_LANE_CLOSE, sizeof m.lane_close, 0);
	wire_send(c.fd, &m, sizeof m.lane_close, NULL, 0);
	while (wire_hear(c.fd, &m, NULL) == CKV_SLAB_WRITE)
		;
	ck_assert_uint_eq(m.head.type, CKV_DONE);
	expect_lent(&c, 0);
	ck_assert_uint_eq(ckv_hint_load64(&ckv_stats_global(c.stats)->
					  lanes_closed_lying), 1);
}
END_TEST

/* A closed socket is a detach: claims stay while the process lives, and go with it. */
START_TEST(claims_outlive_the_socket_and_not_the_process)
{
	struct client watcher, c;
	int told[2], status;
	char byte;
	pid_t pid;

	attach(&watcher, CKV_ACCESS_STATS);
	ck_assert_int_eq(pipe(told), 0);
	pid = fork();
	if (pid == 0) {
		attach(&c, CKV_ACCESS_WRITE);
		open_lane(&c);
		lend_pages(&c, 2);
		close(c.fd);
		ck_assert_uint_eq(why_closed(&c), ESHUTDOWN);
		if (write(told[1], "x", 1) == 1)
			pause();
		_exit(1);
	}
	ck_assert_int_eq(read(told[0], &byte, 1), 1);
	ck_assert_uint_eq(shown_state(&watcher, pid, CKV_CLIENT_DETACHED),
			  CKV_CLIENT_DETACHED);
	expect_lent(&watcher, 2);
	kill(pid, SIGKILL);
	expect_lent(&watcher, 0);
	ck_assert_uint_eq(shown_state(&watcher, pid, CKV_CLIENT_FREE),
			  CKV_CLIENT_FREE);
	ck_assert_uint_eq(ckv_hint_load64(&watcher.space->aborted_by_death), 2);
	waitpid(pid, &status, 0);
}
END_TEST

/* The daemon sleeps while a client sends its last message, if any, and ends. */
static void end_unseen(bool detaches)
{
	union wire m = { .id = { .id = CKV_NONE } };
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		struct client c;

		attach(&c, CKV_ACCESS_WRITE);
		open_lane(&c);
		kill(daemon_.pid, SIGSTOP);
		wire_head(&m, CKV_DETACH, sizeof m.id, 0);
		if (detaches)
			wire_send(c.fd, &m, sizeof m.id, NULL, 0);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	ck_assert_int_eq(status, 0);
	kill(daemon_.pid, SIGCONT);
}

static void expect_gone(const struct client *watcher)
{
	const struct ckv_global_stats *g = ckv_stats_global(watcher->stats);

	WAIT_UNTIL(ckv_hint_load64(&g->clients) <= 1);
	ck_assert_uint_eq(ckv_hint_load64(&g->clients), 1);
}

/* Who said that it leaves has left, though its end is seen before that is read. */
START_TEST(a_detach_that_was_not_read_yet_is_no_death)
{
	struct client watcher;
	struct ckv_global_stats *g;

	attach(&watcher, CKV_ACCESS_STATS);
	g = ckv_stats_global(watcher.stats);
	for (int i = 0; i < 50; i++) {
		end_unseen(true);
		expect_gone(&watcher);
	}
	ck_assert_uint_eq(ckv_hint_load64(&g->clients_died), 0);
	end_unseen(false);
	expect_gone(&watcher);
	ck_assert_uint_eq(ckv_hint_load64(&g->clients_died), 1);
	ck_assert(test_daemon_logged(&daemon_, "is dead; 1 lane taken back"));
}
END_TEST

/* A full completion ring is waited for: nothing is lost, others are served. */
START_TEST(a_client_that_collects_nothing_holds_up_only_itself)
{
	const struct ckv_req nop = { .op = CKV_OP_NOP };
	struct client lazy, c;

	attach(&lazy, CKV_ACCESS_WRITE);
	open_lane(&lazy);
	attach(&c, CKV_ACCESS_WRITE);
	open_lane(&c);
	for (int i = 0; i < 64; i++)
		put(&lazy, &nop);
	WAIT_UNTIL(ckv_hint_load32(lazy.requests.credit) >= 64);
	for (int i = 0; i < 64; i++)
		put(&lazy, &nop);	/* more than may be outstanding */
	put(&c, &nop);
	ck_assert_int_eq(take(&c), 0);
	for (int i = 0; i < 128; i++) {
		uint64_t one = 1;

		ck_assert_int_eq(take(&lazy), 0);
		ck_assert_int_eq(write(lazy.eventfd, &one, 8), 8);
	}
	ck_assert_uint_eq(ckv_lane_state((struct ckv_d_head *)lazy.d), 0);
}
END_TEST

/* A page that is lent can be written when its owner hears of it: the slab came before. */
START_TEST(a_writable_slab_comes_before_the_page)
{
	struct client c;
	union wire m;
	int fds[4];

	attach(&c, CKV_ACCESS_WRITE);
	open_lane(&c);
	lend_pages(&c, 1);
	ck_assert_int_eq(wire_hear(c.fd, &m, fds), CKV_SLAB_WRITE);
	munmap(map(fds[0], 4096, PROT_READ | PROT_WRITE), 4096);
}
END_TEST

/*
 * The daemon does not go to sleep over a request that came while it was about
 * to: one that asked for no wake-up is answered before the next sleep begins.
 */
START_TEST(no_request_is_slept_over)
{
	const struct ckv_req nop = { .op = CKV_OP_NOP };
	struct ckv_global_stats *stats;
	struct ckv_msg message;
	struct client c;
	uint64_t sleeps, one = 1;
	bool slept;

	attach(&c, CKV_ACCESS_WRITE);
	open_lane(&c);
	stats = ckv_stats_global(c.stats);
	for (int i = 0; i < 400; i++) {
		memcpy(&message, &nop, sizeof message);
		ck_assert_int_eq(ckv_ring_put(&c.requests, &message), 0);
		if (ckv_wake_needed(&c.world->reactor_sleeping)) {
			ck_assert_int_eq(write(c.eventfd, &one, 8), 8);
			ck_assert_int_eq(take(&c), 0);
		} else {
			sleeps = ckv_hint_load64(&stats->reactor_sleeps);
			do {
				slept = ckv_hint_load64(&stats->reactor_sleeps)
					!= sleeps;
			} while (!slept && !ckv_ring_ready(&c.completions));
			ck_assert(ckv_ring_ready(&c.completions));
			ck_assert_int_eq(take(&c), 0);
		}
		if (i % 4 == 0)
			usleep(1 + (unsigned)i % 256);
	}
}
END_TEST

/*
 * Three clients ask for as much as fits into their rings, and for a wake-up each time:
 * each has its share of a turn, whatever it asked for, and everything is answered. A
 * share is work_per_turn and at most one indivisible piece, which is smaller than that;
 * after each of them one more client may have one.
 */
START_TEST(a_turn_is_bounded_whatever_is_asked)
{
	enum { CLIENTS = 3, LANES = 4, SHARE = 144, ROUNDS = 40 };
	const struct ckv_req ask[] = {
		{ .op = CKV_OP_DROP, .n = 1024, .arg_bytes = 1024 * 32 },
		{ .op = CKV_OP_RESERVE, .flags = CKV_REQ_SCRATCH, .n = 1024 },
		{ .op = CKV_OP_DROP, .n = 1023, .arg_bytes = 1023 * 32 },
		{ .op = CKV_OP_RESERVE, .n = 1000, .arg_bytes = 1001 * 32 },
		{ .op = CKV_OP_NOP },
	};
	static struct client c[CLIENTS][LANES];
	struct ckv_global_stats *stats;
	uint64_t most;

	for (int i = 0; i < CLIENTS; i++) {
		attach(&c[i][0], CKV_ACCESS_WRITE);
		for (int l = 0; l < LANES; l++) {
			c[i][l] = c[i][0];
			open_lane(&c[i][l]);
			memset(c[i][l].c + c[i][l].map.args + 32, 1 + i, 1024 * 32);
		}
	}
	stats = ckv_stats_global(c[0][0].stats);
	for (int n = 0; n < ROUNDS; n++)
		for (int l = 0; l < CLIENTS * LANES; l++) {
			struct client *at = &c[l % CLIENTS][l / CLIENTS];

			ckv_hint_store32(&((struct ckv_c_head *)at->c)->need_wake, 1);
			put(at, &ask[(n + l) % 5]);
		}
	for (int n = 0; n < ROUNDS; n++)
		for (int l = 0; l < CLIENTS * LANES; l++)
			take(&c[l % CLIENTS][l / CLIENTS]);
	most = ckv_hint_load64(&stats->turn_units_max);
	ck_assert_uint_gt(most, SHARE / 2);
	ck_assert_uint_le(most, 2 * CLIENTS * 2 * SHARE);
	/* Items were counted: of DROP alone there were so many. */
	ck_assert_uint_ge(ckv_hint_load64(&stats->work_units),
			  CLIENTS * LANES * ROUNDS * 2 / 5 * 2 * 1023ull);
}
END_TEST

/* A wake-up is work, too: it costs whom it wakes as much as thirty requests. */
START_TEST(a_wake_up_is_counted_as_work)
{
	const struct ckv_req nop = { .op = CKV_OP_NOP };
	struct ckv_global_stats *stats;
	struct client c;

	attach(&c, CKV_ACCESS_WRITE);
	open_lane(&c);
	stats = ckv_stats_global(c.stats);
	ckv_hint_store32(&((struct ckv_c_head *)c.c)->need_wake, 1);
	for (int i = 0; i < 50; i++) {
		put(&c, &nop);
		ck_assert_int_eq(take(&c), 0);
	}
	/* The last is counted after it was answered. */
	WAIT_UNTIL(ckv_hint_load64(&stats->work_units) >=
		   50 + 30 * ckv_hint_load64(&stats->wakeups_sent));
	ck_assert_uint_gt(ckv_hint_load64(&stats->wakeups_sent), 0);
	ck_assert_uint_eq(ckv_hint_load64(&stats->work_units),
			  50 + 30 * ckv_hint_load64(&stats->wakeups_sent));
}
END_TEST

/* What a request may not say is answered or closes the lane, each by its rule. */
static const struct {
	struct ckv_req request;
	int32_t result;		/* 0: the lane is closed */
} asked[] = {
	{ { .op = 0 }, -EOPNOTSUPP },
	{ { .op = 10 }, -EOPNOTSUPP },
	{ { .op = CKV_OP_CANCEL }, -EINVAL },
	{ { .op = CKV_OP_CANCEL, .arg_bytes = 8 }, -ENOENT },
	{ { .op = CKV_OP_PREFETCH, .n = 1, .arg_bytes = 32 }, -EINVAL },
	/* Its level is 0. */
	{ { .op = CKV_OP_PREFETCH, .n = 1, .arg_bytes = 48 }, -EINVAL },
	{ { .op = 255 }, -EOPNOTSUPP },
	{ { .op = CKV_OP_NOP, .flags = 1 }, -EINVAL },
	{ { .op = CKV_OP_RESERVE, .flags = 2 }, -EINVAL },
	{ { .op = CKV_OP_RESERVE, .n = 1 }, -EINVAL },
	{ { .op = CKV_OP_DROP, .n = CKV_BATCH_MAX + 1 }, -EINVAL },
	{ { .op = CKV_OP_ABORT, .n = UINT32_MAX }, -EINVAL },
	{ { .op = CKV_OP_NOP, .arg_bytes = 8 }, -EINVAL },
	{ { .op = CKV_OP_NOP, .arg_offset = 4 }, 0 },
	{ { .op = CKV_OP_NOP, .arg_offset = UINT32_MAX & ~7u }, 0 },
	{ { .op = CKV_OP_NOP, .arg_bytes = UINT32_MAX }, 0 },
	{ { .op = CKV_OP_NOP, .zero1 = { [8] = 1 } }, 0 },
	/* Its answer would end outside the area. */
	{ { .op = CKV_OP_RESERVE, .flags = CKV_REQ_SCRATCH, .n = 2,
	    .arg_offset = (256u << 10) - 16 }, 0 },
	{ { .op = CKV_OP_ABORT, .n = 1, .arg_bytes = 4 }, -EINVAL },
};

START_TEST(each_rule_of_a_request_is_kept)
{
	const struct ckv_req nop = { .op = CKV_OP_NOP };
	struct client c;

	attach(&c, CKV_ACCESS_WRITE);
	open_lane(&c);
	put(&c, &asked[_i].request);
	if (asked[_i].result != 0) {
		ck_assert_int_eq(take(&c), asked[_i].result);
		put(&c, &nop);
		ck_assert_int_eq(take(&c), 0);
	} else {
		ck_assert_uint_eq(why_closed(&c), EPROTO);
	}
}
END_TEST

CHECK_MAIN("shell_lanes",
	CASE("lanes", .setup = setup, .teardown = teardown),
	TEST(pages_of_a_liar_stay_lent_until_it_closes_the_lane),
	TEST(claims_outlive_the_socket_and_not_the_process),
	TEST(a_detach_that_was_not_read_yet_is_no_death),
	TEST(a_client_that_collects_nothing_holds_up_only_itself),
	TEST(a_writable_slab_comes_before_the_page),
	TEST(no_request_is_slept_over),
	TEST(a_turn_is_bounded_whatever_is_asked),
	TEST(a_wake_up_is_counted_as_work),
	EACH(each_rule_of_a_request_is_kept, asked))

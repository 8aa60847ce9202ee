/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_shell_waits.c - what many waiting requests cost in one turn, and who goes first.
 *
 * A daemon in this process, whose reactor does not run: the test makes its turns.
 */
#include "daemon/shell/arena.h"
#include "daemon/shell/daemon.h"
#include "daemon/shell/log.h"
#include "daemon/shell/users.h"
#include "daemon/shell/waits.h"
#include "tests/lib/check_main.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { MANY = 100, TURNS = 1000, TURN_MAX = 300 /* units */ };

static const struct ckv_lane_shape shape = {
	.n_slots = 256, .n_pins = 64, .n_touches = 8, .arg_bytes = 65536,
};
static char dir[FOLDER_BYTES];
static struct daemon *d;
static struct lane *lane[2];		/* of the spaces a and b */
static struct ckv_c_head *c_head[2];	/* as their client has it, to write */
static struct ckv_page_name lent[2];	/* the page that is being written for key 1 */

static void say(void *context, const char *text)
{
	(void)context;
	ck_abort_msg("%s", text);
}

static void open_client(void)
{
	struct client *client = &d->client[0];

	client->state = CLIENT_ATTACHED;
	client->turn_lane = CKV_NONE;
	client->user = user_of(d, getuid());
	client->user->n_clients++;
	d->n_clients++;
	for (uint32_t i = 0; i < 2; i++) {
		int r;

		client->attached[i].access = CKV_ACCESS_WRITE;
		r = lane_create(d, client, i, &shape);
		ck_assert_int_ge(r, 0);
		lane[i] = &d->lane[r];
		c_head[i] = mmap(NULL, CKV_SEGMENT_HEAD_BYTES, PROT_READ | PROT_WRITE,
				 MAP_SHARED, lane[i]->arena->fd,
				 (off_t)(lane[i]->part * lane[i]->arena->part_bytes));
		ck_assert_ptr_ne(c_head[i], MAP_FAILED);
	}
}

static void setup(void)
{
	const struct config_complaint complaint = { say, NULL };
	struct config *config;
	char text[1024];

	folder_make(dir);
	log_setup(LOG_ERROR);
	snprintf(text, sizeof text, "[daemon]\nsocket = %s/sock\nmax_clients = 2\n"
		 "max_lanes = 4\nworkers = 1\ntouch_threads = 1\nhuge_pages = no\n"
		 "max_prefetches = 256\nmax_prefetches_per_user = 256\n"
		 "[space a]\nmodel = m\nlayers = 1\nkv_heads = 1\nhead_dim = 64\n"
		 "pool = 1MiB\n"
		 "[space b]\nmodel = m\nlayers = 1\nkv_heads = 1\nhead_dim = 64\n"
		 "pool = 1MiB\n", dir);
	ck_assert_int_eq(config_parse("test", text, &complaint, &config), 0);
	ck_assert_int_eq(daemon_start(config, "test", &d), 0);
	open_client();
}

static void teardown(void)
{
	for (int i = 0; i < 2; i++)
		munmap(c_head[i], CKV_SEGMENT_HEAD_BYTES);
	daemon_destroy(d);
}

static struct space *core_of(int i)
{
	return d->served[i].core;
}

/* Somebody begins to write the block of key 1, or gives it back. */
static void begin_to_write(int i)
{
	static const struct ckv_key root, key = { .byte = { 1 } };
	struct ckv_lent answer;

	ck_assert_int_eq(space_reserve(core_of(i), lane[i]->number, 0, &root, &key, 1,
				       &answer), 1);
	lent[i] = (struct ckv_page_name){ answer.page, answer.lending, d->epoch,
					  answer.level, 0 };
}

static void give_back(int i)
{
	int32_t status;

	ck_assert_int_eq(space_abort(core_of(i), lane[i]->number, &lent[i], 1, &status),
			 1);
}

/* A PREFETCH of key 1, as requests.c has it when the core says that it must wait. */
static void wait_for_it(int i, uint64_t timeout_ns)
{
	struct ckv_prefetch_arg *arg = (void *)lane[i]->argument;
	struct ckv_key *key = (void *)(arg + 1);
	struct run *run = &lane[i]->run;
	int32_t units = 100;

	*arg = (struct ckv_prefetch_arg){ .timeout_ns = timeout_ns,
					  .level = CKV_LEVEL_HOST };
	*key = (struct ckv_key){ .byte = { 1 } };
	*run = (struct run){
		.request = { .op = CKV_OP_PREFETCH, .n = 1 },
		.task = { .op = SPACE_PREFETCH, .n = 1, .items = key },
	};
	ck_assert_int_eq(space_run(core_of(i), &run->task, &units), SPACE_LATER);
	ck_assert_int_eq(wait_prefetch(d, lane[i], SPACE_LATER), WAIT_TAKEN);
}

static uint64_t units_used(void)
{
	return ckv_hint_load64(&d->stats->work_units);
}

/* A block that is given back and begun again in each turn keeps all who want it busy. */
START_TEST(who_waits_in_another_space_has_a_turn)
{
	begin_to_write(0);
	begin_to_write(1);
	for (int i = 0; i < MANY; i++)
		wait_for_it(0, UINT64_MAX);
	wait_for_it(1, UINT64_MAX);
	give_back(1);
	for (int turn = 0; turn < 3; turn++) {
		give_back(0);
		begin_to_write(0);
		ck_assert(waits_turn(d));
	}
	ck_assert_uint_eq(lane[1]->n_waits, 0);
	ck_assert_uint_eq(lane[0]->n_waits, MANY);
}
END_TEST

/* To wake a client is a system call: so many answers, so many of those. */
START_TEST(a_turn_wakes_few)
{
	int turns = 0;

	ckv_hint_store32(&c_head[0]->need_wake, 1);
	begin_to_write(0);
	for (int i = 0; i < MANY; i++)
		wait_for_it(0, UINT64_MAX);
	give_back(0);
	while (lane[0]->n_waits > 0) {
		uint64_t before = units_used();

		ck_assert_uint_eq(waits_due_ns(d), 0);
		ck_assert(waits_turn(d));
		ck_assert_uint_le(units_used() - before, TURN_MAX);
		ck_assert_int_lt(++turns, TURNS);
	}
	ck_assert_uint_ge(units_used(), (uint64_t)MANY * UNITS_CALL);
	ck_assert_uint_eq(waits_due_ns(d), WAIT_NO_DEADLINE);
}
END_TEST

/* The same for those whose time is up at once, and the reactor does not sleep meanwhile. */
START_TEST(a_turn_ends_few_that_are_too_late)
{
	int turns = 0;

	ckv_hint_store32(&c_head[0]->need_wake, 1);
	begin_to_write(0);
	for (int i = 0; i < MANY; i++)
		wait_for_it(0, 1000);
	wait_for_it(0, 5000);
	ck_assert(!waits_expire(d));
	d->now_ns += 1000;
	while (lane[0]->n_waits > 1) {
		uint64_t before = units_used();

		ck_assert_uint_le(waits_due_ns(d), d->now_ns);
		ck_assert(waits_expire(d));
		ck_assert_uint_le(units_used() - before, TURN_MAX);
		ck_assert_int_lt(++turns, TURNS);
	}
	ck_assert_uint_ge(units_used(), (uint64_t)MANY * UNITS_CALL);
	ck_assert_uint_eq(ckv_hint_load64(&d->served[0].stats->prefetch_late), MANY);
	(void)waits_expire(d);
	ck_assert_uint_eq(waits_due_ns(d), d->now_ns + 4000);
}
END_TEST

/* Whose time is up again as soon as it was told does not keep others from being told. */
START_TEST(none_is_too_late_for_ever)
{
	ckv_hint_store32(&c_head[0]->need_wake, 1);
	begin_to_write(0);
	begin_to_write(1);
	wait_for_it(1, 1);
	for (int i = 0; i < MANY; i++)
		wait_for_it(0, 1);
	wait_for_it(1, 1);
	for (int turn = 0; turn < MANY && lane[1]->n_waits > 0; turn++) {
		uint32_t n = lane[0]->n_waits;

		d->now_ns += 2;
		(void)waits_expire(d);
		for (; n > lane[0]->n_waits; )
			wait_for_it(0, 1);
		ckv_hint_store32(&c_head[0]->comp_credit, lane[0]->completions.pos);
	}
	ck_assert_uint_eq(lane[1]->n_waits, 0);
	ck_assert_uint_eq(lane[0]->n_waits, MANY);
}
END_TEST

/* Two CANCELs, two answers, and one wake-up, which requests.c does behind them. */
START_TEST(cancel_wakes_nobody_itself)
{
	int32_t units = 100;

	ckv_hint_store32(&c_head[0]->need_wake, 1);
	begin_to_write(0);
	wait_for_it(0, UINT64_MAX);
	wait_for_it(0, UINT64_MAX);
	ck_assert_int_eq(wait_cancel(d, lane[0], 0, &units), 0);
	ck_assert_int_eq(wait_cancel(d, lane[0], 0, &units), 0);
	ck_assert_int_eq(wait_cancel(d, lane[0], 0, &units), -ENOENT);
	ck_assert_uint_eq(lane[0]->completions.pos, 2);
	ck_assert_uint_eq(ckv_hint_load64(&d->stats->wakeups_sent), 0);
	ck_assert_int_eq(lane_flush(d, lane[0]), UNITS_CALL);
}
END_TEST

/* To copy a list takes time, also if its first key ends the chain. */
START_TEST(a_long_list_costs_something)
{
	struct ckv_req request = {
		.op = CKV_OP_PREFETCH, .n = CKV_BATCH_MAX,
		.arg_bytes = sizeof(struct ckv_prefetch_arg) +
			     CKV_BATCH_MAX * sizeof(struct ckv_key),
	};
	struct ckv_prefetch_arg arg = { .level = CKV_LEVEL_HOST };
	int32_t units = 1000;
	struct ckv_ring_end end;
	struct ckv_msg message;
	char *c = mmap(NULL, lane[0]->c.bytes, PROT_READ | PROT_WRITE, MAP_SHARED,
		       lane[0]->arena->fd, 0);

	ck_assert_uint_eq(lane[0]->part, 0);
	ck_assert_ptr_ne(c, MAP_FAILED);
	end = lane[0]->requests;
	end.slots = (void *)(c + lane[0]->map.requests);
	memcpy(c + lane[0]->map.args, &arg, sizeof arg);
	memcpy(&message, &request, sizeof message);
	ck_assert_int_eq(ckv_ring_put(&end, &message), 0);
	lane_serve(d, lane[0], &units);
	ck_assert_uint_eq(lane[0]->completions.pos, 1);
	ck_assert_int_ge(1000 - units, (int32_t)(request.arg_bytes / BYTES_PER_UNIT));
	munmap(c, lane[0]->c.bytes);
}
END_TEST

CHECK_MAIN("shell_waits",
	CASE("turns", .setup = setup, .teardown = teardown),
	TEST(who_waits_in_another_space_has_a_turn),
	TEST(a_turn_wakes_few),
	TEST(a_turn_ends_few_that_are_too_late),
	TEST(none_is_too_late_for_ever),
	TEST(cancel_wakes_nobody_itself),
	TEST(a_long_list_costs_something))

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_core_kill.c - a daemon that is killed at any instruction leaves records that tell
 * the truth.
 *
 * A child runs a script on a space whose records are shared, one instruction at a time.
 * Whenever an instruction has changed them, this process adopts a copy, as if the child had
 * been killed there. What is found must be what was there before the step of the script
 * that was going on, or after it; and what was there both before and after is found.
 */
#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include "tests/lib/check_main.h"
#include "tests/lib/core.h"

#include "daemon/core/state.h"

enum { PAGES = 6, VIEW_PAGES = 8, FIRST_VIEW = 8, ALL_PAGES = 16, KEYS = 20, VIEWS = 2,
       FIRST_VIEW_KEY = KEYS - VIEWS + 1, STEPS_MAX = 64 };

/* What there is between two steps. */
struct state {
	struct found {
		bool there;
		uint32_t slot;
		struct ckv_block block;
	} key[KEYS + 1];
	bool lent[PAGES];	/* to lane 0 or 1 */
	int lane[PAGES];
};

static struct core core;
static struct state state[STEPS_MAX];
static struct shared {
	volatile int step;	/* the last one that has ended */
	char nodes[256 * 64] __attribute__((aligned(CKV_LINE)));
	char records[] __attribute__((aligned(CKV_LINE)));
} *shared;

static struct ckv_lent lent[8];
static int lane[2];

/* ---- the script ---- */

static void publish(int l, const struct ckv_lent *page, bool summed)
{
	struct ckv_publish_item item = {
		.name = core_name(page), .n_tokens = (uint16_t)(1 + page->slot % 9),
		.flags = summed ? CKV_ENTRY_SUMMED : 0,
		.checksum = 0x0101010101010101u * (page->slot + 1),
	};
	int32_t status;

	(void)space_publish(core.space, lane[l], &item, 1, &status);
	ck_assert_int_eq(status, 0);
}

static void sum(uint64_t checksum)
{
	uint32_t page;

	ck_assert_int_eq(space_sum_next(core.space, &page), 1);
	space_sum_done(core.space, page, true, checksum);
}

static void put_view(uint32_t i, uint32_t n_pages)
{
	struct space_view view = {
		.key = core_key(FIRST_VIEW_KEY + i), .name = core_key(300),
		.n_bytes = 5000, .n_tokens = 99, .checksum = 7 + i,
	};
	int64_t first = space_view_alloc(core.space, n_pages);

	ck_assert_int_ge(first, 0);
	view.first_page = (uint32_t)first;
	ck_assert_int_eq(space_view_publish(core.space, &view), 0);
}

static void drop_two(uint32_t i, uint32_t parent)
{
	struct ckv_key keys[] = { core_key(i), core_key(parent) };
	int32_t status[2];

	ck_assert_int_eq(space_drop(core.space, keys, 2, status), 2);
}

/* Each step changes records through another function. False: the script has ended. */
static bool step(int number)
{
	struct ckv_lent *a = &lent[0], *b = &lent[4];

	switch (number) {
	case 0: lane[0] = core_lane_open(&core, 0); break;
	case 1: lane[1] = core_lane_open(&core, 1); break;
	case 2: core_reserve_list(&core, lane[0], 0, 1, 3, a); break;
	case 3: publish(0, &a[0], true); break;
	case 4: publish(0, &a[1], false); break;
	case 5: publish(0, &a[2], false); break;
	case 6: sum(0x1111111111111111u); break;
	case 7: core_reserve_list(&core, lane[1], 0, 5, 2, b); break;
	case 8: core_abort(&core, lane[1], &b[0]); break;	/* with its child */
	case 9: core_put(&core, lane[1], 0, 6); break;
	case 10: core_put(&core, lane[0], 6, 7); break;
	case 11: core_put(&core, lane[0], 7, 8); break;
	case 12: core_reserve(&core, lane[1], 0, 9, b); break;	/* evicts */
	case 13: core_reserve(&core, lane[0], 0, 10, a); break;
	case 14: publish(1, b, true); break;
	case 15: core_drop(&core, 9); break;
	case 16: publish(0, &a[0], false); break;
	case 17: drop_two(8, 7); break;		/* the end of a chain */
	case 18: space_reserve_scratch(core.space, lane[1], 2, b); break;
	case 19: sum(0x2222222222222222u); break;
	case 20: put_view(0, 3); break;
	case 21: put_view(1, 5); break;
	case 22: core_drop(&core, FIRST_VIEW_KEY); break;
	case 23: put_view(0, 3); break;
	case 24: ck_assert_int_ge(space_view_alloc(core.space, 4), 0); break;
	case 25: space_view_abort(core.space, FIRST_VIEW + 3); break;
	case 26: core_put(&core, lane[0], 6, 11); break;
	case 27: space_lane_close(core.space, lane[1]); break;
	case 28: space_lane_close(core.space, lane[0]); break;
	case 29: core_drop(&core, 11); break;
	default: return false;
	}
	return true;
}

/* ---- what there is ---- */

static struct state look(void)
{
	struct state now = { 0 };

	for (uint32_t i = 1; i <= KEYS; i++)
		now.key[i].there = core_find(&core, i, &now.key[i].slot,
					     &now.key[i].block);
	for (uint32_t page = 0; page < PAGES; page++) {
		now.lent[page] = page_of(core.space, 0, page)->lane != NO_LANE;
		now.lane[page] = page_of(core.space, 0, page)->lane;
	}
	return now;
}

static void open_space(void *records, void *nodes)
{
	struct space_config config = core_config(PAGES, VIEW_PAGES);

	core_open(&core, &config);
	ck_assert_uint_le(space_node_bytes(&config), sizeof shared->nodes);
	space_destroy(core.space);
	free(core.memory.records[0]);
	free(core.memory.nodes);
	core.memory.records[0] = records;
	core.memory.nodes = nodes;
	ck_assert_int_eq(space_create(&config, &core.memory, &core.space), 0);
	space_set_fingerprint(core.space, core.fingerprint);
}

/* Run it once, to know what there is after each step: it does the same every time. */
static int rehearse(void)
{
	static char nodes[sizeof shared->nodes] __attribute__((aligned(64)));
	static char records[ALL_PAGES * 256] __attribute__((aligned(64)));
	int n = 0;

	open_space(records, nodes);
	state[0] = look();
	while (step(n)) {
		space_check(core.space);
		state[++n] = look();
	}
	return n;
}

/* ---- after the kill ---- */

static bool same(const struct found *a, const struct found *b)
{
	struct found x = *a, y = *b;

	if (!(x.block.flags & CKV_ENTRY_SUMMED))
		x.block.checksum = 0;
	if (!(y.block.flags & CKV_ENTRY_SUMMED))
		y.block.checksum = 0;
	return x.there && y.there && x.slot == y.slot &&
	       memcmp(&x.block, &y.block, sizeof x.block) == 0;
}

/* The block or its checksum may be new, but it was there before and is there after. */
static bool stays(const struct found *before, const struct found *after)
{
	return before->there && after->there && before->slot == after->slot &&
	       before->block.generation == after->block.generation;
}

/*
 * How many pages may rest: that of a block which is being published, or all of a view. All
 * else is done by one store.
 */
static uint32_t may_rest(const struct state *before, const struct state *after)
{
	uint32_t n = 0;

	for (uint32_t i = 1; i <= KEYS; i++) {
		const struct found *was = &before->key[i], *is = &after->key[i];

		if (i >= FIRST_VIEW_KEY && was->there != is->there)
			return was->there ? was->block.n_pages : is->block.n_pages;
		n |= !was->there && is->there;
	}
	return n;
}

static void judge(int at, const struct space_adopted *adopted)
{
	const struct state *before = &state[at], *after = &state[at + 1];
	struct state now = look();

	for (uint32_t i = 1; i <= KEYS; i++) {
		const struct found *is = &now.key[i];

		if (is->there)
			ck_assert_msg(same(is, &before->key[i]) ||
				      same(is, &after->key[i]),
				      "step %d: key %u is another", at, i);
		else
			ck_assert_msg(!stays(&before->key[i], &after->key[i]),
				      "step %d: key %u is lost", at, i);
	}
	for (uint32_t page = 0; page < PAGES; page++) {
		bool lent_still = before->lent[page] && after->lent[page];

		ck_assert_msg(!lent_still || now.lent[page],
			      "step %d: page %u is lent no more", at, page);
	}
	ck_assert_uint_le(adopted->n_resting, may_rest(before, after));
}

/* Adopt a copy: both lanes live. Then the space goes on. */
static void adopt(const char *records)
{
	static char copy[ALL_PAGES * 256] __attribute__((aligned(64)));
	struct space_adopted adopted;
	struct ckv_lent new[PAGES];
	int at = shared->step, n;

	memcpy(copy, records, ckv_records_bytes(&core.config.level[0].pool));
	memcpy(core.memory.records[0], copy, ckv_records_bytes(&core.config.level[0].pool));
	memcpy(core.memory.nodes, shared->nodes, space_node_bytes(&core.config));
	core.config.epoch = CORE_EPOCH;
	adopted = core_again(&core, (at > 27 ? 0u : 2u) | (at > 28 ? 0u : 1u));
	space_check(core.space);
	judge(at, &adopted);
	n = space_reserve_scratch(core.space, core_lane_open(&core, 2), PAGES, new);
	for (int i = 0; i < n; i++)
		ck_assert(!state[at].lent[new[i].page] || !state[at + 1].lent[new[i].page]);
	space_check(core.space);
}

/* ---- one instruction after the other ---- */

static void child(void)
{
	open_space(shared->records, shared->nodes);
	if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
		_exit(99);
	raise(SIGSTOP);
	for (int i = 0; step(i); i++)
		shared->step = i + 1;
	_exit(0);
}

/* Called so often that an assertion, which Check writes down each time, would cost most. */
static bool stopped(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, 0) != pid)
		ck_abort_msg("waitpid: %s", strerror(errno));
	if (WIFSTOPPED(status))
		return true;
	ck_assert(WIFEXITED(status));
	ck_assert_int_eq(WEXITSTATUS(status), 0);
	return false;
}

START_TEST(a_kill_at_any_instruction)
{
	size_t bytes = ALL_PAGES * 64 + VIEW_PAGES * sizeof(struct ckv_view_row);
	static char last[ALL_PAGES * 256];
	uint64_t n_kills = 0;
	int n_steps;
	pid_t pid;

	shared = mmap(NULL, sizeof *shared + bytes, PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert(shared != MAP_FAILED);
	n_steps = rehearse();
	pid = fork();
	if (pid == 0)
		child();
	ck_assert_int_gt(pid, 0);
	while (stopped(pid)) {
		if (memcmp(last, shared->records, bytes) != 0) {
			memcpy(last, shared->records, bytes);
			adopt(last);
			n_kills++;
		}
		if (ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) != 0)
			ck_abort_msg("ptrace: %s", strerror(errno));
	}
	ck_assert_int_eq(shared->step, n_steps);
	ck_assert_uint_gt(n_kills, 300);
}
END_TEST

CHECK_MAIN("core_kill",
	CASE("kill", .timeout = 240),
	TEST(a_kill_at_any_instruction))

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_lib_prefetch.c - an engine waits for what another one is just writing.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/lib.h"
#include "tests/lib/attach.h"
#include "tests/lib/check_main.h"
#include "tests/lib/command.h"
#include "tests/lib/daemon.h"
#include "tests/lib/wait.h"

enum { TOKENS = 16, KEYS = 600, PAGES = 256, LONG = 60 };	/* s */

#define LONG_NS		(LONG * 1000000000ll)
#define SPACE		TEST_SPACE("tiny", "pool = 4M\nslab = 2M\nviews = 0\n")
#define PARAMS		"max_prefetches = 6\nmax_prefetches_per_user = 4\n"

/* One engine: its own connection, as another process would have. */
struct engine {
	struct ckv *ckv;
	struct ckv_space *space;
	struct ckv_lane *lane;
};

static struct test_daemon daemon_;
static struct engine a, b;	/* who writes, who waits */
static uint8_t keys[KEYS][32];
static struct ckv_handle handles[KEYS];
static struct ckv_pin pin;

static void engine_open(struct engine *e)
{
	test_attach(&daemon_, &e->ckv, &e->space, &e->lane);
}

static void start(const char *params, const char *more)
{
	char space[512];

	snprintf(space, sizeof space, "%s%s", SPACE, more);
	test_daemon_start(&daemon_, params, space);
	setenv("CKV_SOCKET", daemon_.socket, 1);
	engine_open(&a);
	engine_open(&b);
	for (uint32_t i = 0; i < KEYS; i++) {
		keys[i][0] = 9;
		memcpy(&keys[i][1], &i, sizeof i);
	}
}

static void setup(void)
{
	start(PARAMS, "");
}

static void teardown(void)
{
	a.ckv = ckv_close(a.ckv);
	b.ckv = ckv_close(b.ckv);
	test_daemon_remove(&daemon_);
}

/* Keys [first, first + n) as a chain under the key before them; each page its own byte. */
static void borrow(uint32_t first, uint32_t n, struct ckv_page *pages)
{
	ck_assert_int_eq(ckv_reserve(a.lane, first == 0 ? NULL : keys[first - 1],
				     keys[first], n, pages), n);
	for (uint32_t i = 0; i < n; i++)
		memset(pages[i].data, (int)(first + i), 4096);
}

static void publish(const struct ckv_page *pages, uint32_t n)
{
	ck_assert_int_eq(ckv_publish(a.lane, pages, n, TOKENS, CKV_SUM, NULL, NULL,
				     NULL), n);
}

static void put(uint32_t first, uint32_t n)
{
	struct ckv_page pages[64];

	borrow(first, n, pages);
	publish(pages, n);
}

/* Other chains, until whatever may leave has left. */
static void crowd_out(void)
{
	for (uint32_t i = KEYS - PAGES - 40; i < KEYS; i++) {
		struct ckv_page page;

		ck_assert_int_eq(ckv_reserve(a.lane, NULL, keys[i], 1, &page), 1);
		publish(&page, 1);
	}
}

/* b waits for n keys from `first` without being waited for; pinned. */
static void submit(uint32_t first, uint32_t n, int64_t timeout_ns, uint64_t tag)
{
	ck_assert_int_eq(ckv_submit_prefetch(b.lane, keys[first], n, CKV_HOST,
					     timeout_ns, 0, handles, &pin, tag), 0);
}

static long collect(uint64_t tag)
{
	struct ckv_event event;

	ck_assert_int_eq(ckv_wait(b.lane, LONG_NS, &event, 1), 1);
	ck_assert_uint_eq(event.tag, tag);
	return event.result;
}

static void expect_none(void)
{
	struct ckv_event event;

	ck_assert_int_eq(ckv_wait(b.lane, 20000000, &event, 1), -ETIMEDOUT);
}

static void expect_bytes(uint32_t first, long n)
{
	for (uint32_t i = 0; i < n; i++)
		ck_assert_uint_eq(*(const uint8_t *)handles[i].data,
				  (uint8_t)(first + i));
}

START_TEST(what_is_stored_is_there_at_once)
{
	put(0, 8);
	ck_assert_int_eq(ckv_prefetch(b.lane, keys[0], 10, CKV_HOST, -1, 0, NULL,
				      NULL), 8);
	ck_assert_int_eq(ckv_prefetch(b.lane, keys[0], 10, CKV_HOST, -1, CKV_VERIFY,
				      handles, &pin), 8);
	ck_assert_uint_eq(pin.n_blocks, 8);
	expect_bytes(0, 8);
	ckv_unpin(b.lane, &pin);
	ck_assert_int_eq(ckv_prefetch(b.lane, keys[100], 2, CKV_HOST, -1, 0, handles,
				      &pin), 0);
	ck_assert_uint_eq(pin.n_blocks, 0);
	ck_assert_int_eq(space_counter("prefetch_waits"), 0);
}
END_TEST

static void says(const char *part)
{
	ck_assert_msg(strstr(ckv_why(b.ckv), part) != NULL, "\"%s\" lacks \"%s\"",
		      ckv_why(b.ckv), part);
}

START_TEST(bad_arguments_are_refused)
{
	uint8_t *many = calloc(1025, 32);

	ck_assert_int_eq(ckv_prefetch(b.lane, keys[0], 0, CKV_HOST, 0, 0, NULL, NULL),
			 -EINVAL);
	says("there are 0 keys");
	ck_assert_int_eq(ckv_prefetch(b.lane, many, 1025, CKV_HOST, 0, 0, NULL, NULL),
			 -EINVAL);
	says("there are 1025 keys; expected 1 to 1024");
	ck_assert_int_eq(ckv_prefetch(b.lane, keys[0], 1, CKV_DISK, 0, 0, NULL, NULL),
			 -EINVAL);
	says("level is 2; expected CKV_HOST (3) or CKV_DEVICE (4)");
	ck_assert_int_eq(ckv_submit_prefetch(b.lane, NULL, 1, CKV_HOST, 0, 0, NULL,
					     NULL, 1), -EINVAL);
	says("there are 0 keys");
	ck_assert_int_eq(ckv_prefetch(b.lane, keys[0], 1, CKV_HOST, 0, CKV_EXISTS,
				      handles, &pin), -EINVAL);
	says("flags is 0x2; expected 0 or CKV_VERIFY");
	ck_assert_int_eq(ckv_prefetch(b.lane, keys[0], 1, CKV_HOST, 0, 0, NULL, &pin),
			 -EINVAL);
	says("ret_handles is NULL");
	ck_assert_int_eq(ckv_prefetch(b.lane, keys[0], 1, CKV_DEVICE, 0, 0, NULL,
				      NULL), -ENODEV);
	says("no such level");
	free(many);
}
END_TEST

/* The second engine has every byte of the first one's prompt, and cannot lose it. */
START_TEST(a_prompt_being_written_is_waited_for)
{
	struct ckv_page pages[32];

	put(0, 4);
	borrow(4, 32, pages);
	submit(0, 40, LONG_NS, 11);
	expect_none();
	publish(pages, 10);
	expect_none();
	publish(pages + 10, 22);
	ck_assert_int_eq(collect(11), 36);
	ck_assert_uint_eq(pin.n_blocks, 36);
	crowd_out();
	expect_bytes(0, 36);
	ck_assert_int_eq(ckv_pin_valid(b.lane, &pin), 0);
	ckv_unpin(b.lane, &pin);
	ck_assert_int_eq(space_counter("prefetch_waits"), 1);
	ck_assert_int_eq(space_counter("prefetch_late"), 0);
}
END_TEST

/* The daemon's own hold ends when the pin is there: after the unpin the block may go. */
START_TEST(nothing_is_held_beside_the_pin)
{
	put(0, 1);
	for (int i = 0; i < 20; i++) {
		ck_assert_int_eq(ckv_prefetch(b.lane, keys[0], 1, CKV_HOST, -1, 0,
					      handles, &pin), 1);
		ck_assert_int_eq(ckv_drop(b.lane, keys[0], 1, NULL), 0);
		ckv_unpin(b.lane, &pin);
	}
	ck_assert_int_eq(ckv_drop(b.lane, keys[0], 1, NULL), 1);
}
END_TEST

START_TEST(a_deadline_ends_the_wait_with_what_came)
{
	struct ckv_page pages[4];

	put(0, 2);
	borrow(2, 4, pages);
	ck_assert_int_eq(ckv_prefetch(b.lane, keys[0], 6, CKV_HOST, 0, 0, handles,
				      &pin), 2);
	ckv_unpin(b.lane, &pin);
	ck_assert_int_eq(ckv_prefetch(b.lane, keys[0], 6, CKV_HOST, 30000000, 0,
				      handles, &pin), 2);
	ck_assert_uint_eq(pin.n_blocks, 2);
	ckv_unpin(b.lane, &pin);
	ck_assert_int_eq(ckv_prefetch(b.lane, keys[0], 6, CKV_HOST, 1000000, 0, NULL,
				      NULL), 2);
	ck_assert_int_eq(space_counter("prefetch_waits"), 2);
	ck_assert_int_eq(space_counter("prefetch_late"), 2);
}
END_TEST

/* Two events with this result, of these tags in either order. */
static void collect_both(uint64_t one, uint64_t other, long result)
{
	struct ckv_event event[2];

	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(ckv_wait(b.lane, LONG_NS, &event[i], 1), 1);
		ck_assert_int_eq(event[i].result, result);
	}
	ck_assert_uint_eq(event[0].tag + event[1].tag, one + other);
	ck_assert(event[0].tag == one || event[0].tag == other);
}

/* A later request with an earlier deadline ends first; the latest deadline is none. */
START_TEST(each_deadline_is_its_own)
{
	const int64_t ns[] = { -1, LONG_NS, 60000000, 20000000 };
	struct ckv_page page;
	struct ckv_event event;

	borrow(0, 1, &page);
	for (uint64_t tag = 0; tag < 4; tag++)
		ck_assert_int_eq(ckv_submit_prefetch(b.lane, keys[0], 1, CKV_HOST,
						     ns[tag], 0, NULL, NULL, tag), 0);
	collect_both(2, 3, 0);
	ck_assert_int_eq(ckv_poll(b.lane, &event, 1), 0);
	publish(&page, 1);
	collect_both(0, 1, 1);
}
END_TEST

START_TEST(a_writer_that_gives_up_ends_the_wait)
{
	struct ckv_page pages[3];

	borrow(0, 3, pages);
	submit(0, 3, LONG_NS, 1);
	expect_none();
	publish(pages, 1);
	ck_assert_int_eq(ckv_abort(a.lane, pages + 1, 2, NULL), 2);
	ck_assert_int_eq(collect(1), 1);
	ckv_unpin(b.lane, &pin);
}
END_TEST

static void each_descriptor(int (*end)(int fd, int how))
{
	for (int fd = 3; fd < 256; fd++)
		(void)end(fd, SHUT_RDWR);
}

static int close_one(int fd, int how)
{
	(void)how;
	return close(fd);
}

/* Killed, or its connection breaks: then it lives, but can publish nothing any more. */
START_TEST(a_writer_that_is_gone_ends_the_wait)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		struct ckv_page page;
		struct engine e;
		each_descriptor(close_one);
		engine_open(&e);
		if (ckv_reserve(e.lane, NULL, keys[0], 1, &page) != 1)
			_exit(1);
		raise(SIGSTOP);
		each_descriptor(shutdown);
		pause();
	}
	ck_assert_int_eq(waitpid(pid, &status, WUNTRACED), pid);
	ck_assert(WIFSTOPPED(status));
	submit(0, 1, LONG_NS, 1);
	expect_none();
	kill(pid, _i == 0 ? SIGKILL : SIGCONT);
	ck_assert_int_eq(collect(1), 0);
	kill(pid, SIGKILL);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
}
END_TEST

START_TEST(other_requests_of_the_lane_go_on)
{
	struct ckv_page page, mine;

	borrow(0, 1, &page);
	submit(0, 1, LONG_NS, 1);
	for (uint32_t i = 10; i < 30; i++) {
		ck_assert_int_eq(ckv_reserve(b.lane, NULL, keys[i], 1, &mine), 1);
		ck_assert_int_eq(ckv_publish(b.lane, &mine, 1, TOKENS, 0, NULL, NULL,
					     NULL), 1);
	}
	publish(&page, 1);
	ck_assert_int_eq(collect(1), 1);
	ckv_unpin(b.lane, &pin);
}
END_TEST

START_TEST(a_wait_can_be_cancelled)
{
	struct ckv_page page;
	struct ckv_event event;
	int r;

	ck_assert_int_eq(ckv_cancel(b.lane, 5), -ENOENT);
	borrow(0, 1, &page);
	submit(0, 1, LONG_NS, 5);
	ck_assert_int_eq(ckv_cancel(b.lane, 6), -ENOENT);
	says("no request with the tag 6");
	ck_assert_int_eq(ckv_cancel(b.lane, 5), 0);
	ck_assert_int_eq(collect(5), -ECANCELED);
	ck_assert_int_eq(ckv_cancel(b.lane, 5), -ENOENT);
	/* One that has ended is not cancelled, and its result stays. */
	submit(0, 1, 0, 7);
	do {
		r = ckv_cancel(b.lane, 7);
	} while (r == 0 || r == -EAGAIN);
	ck_assert_int_eq(ckv_cancel(b.lane, 7), -EALREADY);
	says("the tag 7 has ended");
	ck_assert_int_eq(ckv_poll(b.lane, &event, 1), 1);
	ck_assert_int_eq(event.result, 0);
}
END_TEST

/* However many wait on a lane, they can be cancelled. */
START_TEST(a_place_is_left_to_cancel)
{
	const struct ckv_lane_options options = { .n_slots = 4 };
	struct ckv_event event;
	struct ckv_lane *lane;
	struct ckv_page page;
	uint64_t tag;

	borrow(0, 1, &page);
	ck_assert_int_eq(ckv_lane_open(b.space, &options, &lane), 0);
	for (tag = 1; tag <= 4; tag++)
		ck_assert_int_eq(ckv_submit_prefetch(lane, keys[0], 1, CKV_HOST, -1, 0,
						     NULL, NULL, tag), 0);
	ck_assert_int_eq(ckv_wait(lane, LONG_NS, &event, 1), 1);
	ck_assert_uint_eq(event.tag, 4);
	ck_assert_int_eq(event.result, -EAGAIN);
	for (tag = 1; tag <= 3; tag++) {
		ck_assert_int_eq(ckv_cancel(lane, tag), 0);
		ck_assert_int_eq(ckv_wait(lane, LONG_NS, &event, 1), 1);
		ck_assert_uint_eq(event.tag, tag);
		ck_assert_int_eq(event.result, -ECANCELED);
	}
	ck_assert_ptr_null(ckv_lane_close(lane));
}
END_TEST

/* Rows come back however a wait ends, so limits are met again and again. */
START_TEST(too_many_are_refused_and_places_come_back)
{
	struct ckv_page page;
	struct ckv_lane *lane;
	struct ckv_event event;

	borrow(0, 1, &page);
	for (int round = 0; round < 3; round++) {
		ck_assert_int_eq(ckv_lane_open(b.space, NULL, &lane), 0);
		for (uint64_t tag = 0; tag < 4; tag++)
			ck_assert_int_eq(ckv_submit_prefetch(lane, keys[0], 1,
					CKV_HOST, -1, 0, handles, &pin, tag), 0);
		/* A lane's requests are taken in order: these are. */
		ck_assert_int_eq(ckv_submit_nop(lane, 9), 0);
		ck_assert_int_eq(ckv_wait(lane, LONG_NS, &event, 1), 1);
		ck_assert_uint_eq(event.tag, 9);
		ck_assert_int_eq(ckv_prefetch(b.lane, keys[0], 1, CKV_HOST, -1, 0,
					      NULL, NULL), -EAGAIN);
		/* What need not wait needs no place. */
		ck_assert_int_eq(ckv_prefetch(b.lane, keys[0], 1, CKV_HOST, 0, 0,
					      NULL, NULL), 0);
		ck_assert_ptr_null(ckv_lane_close(lane));
	}
}
END_TEST

/* A hold is a pin of its client, counted as one beside the words of its lanes. */
START_TEST(a_hold_counts_as_a_pin)
{
	const struct ckv_lane_options options = { .n_pins = 64 };
	struct ckv_lane *lane;

	start(PARAMS, "max_pins_per_client = 1089\n");
	put(0, 2);
	ck_assert_int_eq(ckv_lane_open(b.space, &options, &lane), 0);
	for (int i = 0; i < 8; i++) {
		ck_assert_int_eq(ckv_prefetch(lane, keys[0], 2, CKV_HOST, 0, 0,
					      handles, &pin), 2);
		ckv_unpin(lane, &pin);
	}
	ck_assert_ptr_null(ckv_lane_close(lane));
	teardown();
	start(PARAMS, "max_pins_per_client = 1024\n");
	put(0, 2);
	ck_assert_int_eq(ckv_prefetch(b.lane, keys[0], 2, CKV_HOST, 0, 0, handles,
				      &pin), -EUSERS);
	ck_assert_int_eq(ckv_prefetch(b.lane, keys[0], 2, CKV_HOST, 0, 0, NULL, NULL),
			 2);
	teardown();
}
END_TEST

START_TEST(no_pin_word_is_an_answer_and_holds_nothing)
{
	const struct ckv_lane_options options = { .n_pins = 1 };
	struct ckv_lane *lane;
	struct ckv_pin other;

	put(0, 2);
	ck_assert_int_eq(ckv_lane_open(b.space, &options, &lane), 0);
	ck_assert_int_eq(ckv_lookup(lane, keys[0], 1, 0, handles, &other), 1);
	ck_assert_int_eq(ckv_prefetch(lane, keys[0], 2, CKV_HOST, 0, 0, handles, &pin),
			 -EAGAIN);
	ckv_unpin(lane, &other);
	ck_assert_int_eq(ckv_drop(lane, keys[1], 1, NULL), 1);
	ck_assert_int_eq(ckv_drop(lane, keys[0], 1, NULL), 1);
	ckv_lane_close(lane);
}
END_TEST

/* Nobody answers any more: the event says so, and the next daemon is asked anew. */
START_TEST(a_daemon_that_dies_ends_the_wait)
{
	struct ckv_page page;

	borrow(0, 1, &page);
	submit(0, 1, -1, 3);
	expect_none();
	test_daemon_kill(&daemon_);
	ck_assert_int_eq(collect(3), -ESTALE);
	test_daemon_restart(&daemon_);
	WAIT_UNTIL((ckv_lookup(b.lane, keys[0], 1, CKV_EXISTS, NULL, NULL),
		    lib_lane_alive(b.lane)));
	ck_assert_int_eq(ckv_prefetch(b.lane, keys[0], 1, CKV_HOST, -1, 0, handles,
				      &pin), 0);
}
END_TEST

static void reattach(struct ckv_lane *lane)
{
	test_daemon_kill(&daemon_);
	test_daemon_restart(&daemon_);
	WAIT_UNTIL((ckv_lookup(lane, keys[0], 1, CKV_EXISTS, NULL, NULL),
		    lib_lane_alive(lane)));
	ck_assert(lib_lane_alive(lane));
}

/* What came from a daemon that is gone is not looked up in the one that follows. */
START_TEST(what_came_is_not_taken_from_the_next_daemon)
{
	struct ckv_event event;

	put(0, 2);
	memset(&pin, 0x77, sizeof pin);
	submit(0, 2, 0, 8);
	WAIT_UNTIL(ckv_cancel(b.lane, 8) == -EALREADY);
	reattach(b.lane);
	ck_assert_int_eq(ckv_poll(b.lane, &event, 1), 1);
	ck_assert_uint_eq(event.tag, 8);
	ck_assert_int_eq(event.result, -ESTALE);
	ck_assert_uint_eq(pin.n_blocks, 0x77777777);
	ck_assert_int_eq(ckv_wait(b.lane, LONG_NS, &event, 1), 0);
}
END_TEST

/* Requests that nobody collects give their places and arguments back, too, at a death. */
START_TEST(a_death_leaves_no_place_taken)
{
	const struct ckv_lane_options options = { .n_slots = 4, .arg_bytes = 4096 };
	enum { ALL_KEYS = (4096 - sizeof(struct ckv_prefetch_arg)) / 32 };
	struct ckv_event event;
	struct ckv_lane *lane;

	ck_assert_int_eq(ckv_lane_open(b.space, &options, &lane), 0);
	for (int round = 0; round < 3; round++) {
		kill(daemon_.pid, SIGSTOP);
		for (uint64_t tag = 0; tag < 2; tag++) {
			ck_assert_int_eq(ckv_submit_prefetch(lane, keys[0], 1,
					CKV_HOST, -1, 0, handles, &pin, tag), 0);
			ck_assert_int_eq(ckv_cancel(lane, tag), 0);
		}
		ck_assert_int_eq(ckv_cancel(lane, 0), -EAGAIN);
		ck_assert_int_eq(ckv_submit_nop(lane, 2), -EAGAIN);
		reattach(lane);
		for (int i = 0; i < 2; i++) {
			ck_assert_int_eq(ckv_wait(lane, LONG_NS, &event, 1), 1);
			ck_assert_int_eq(event.result, -ESTALE);
		}
		ck_assert_int_eq(ckv_wait(lane, LONG_NS, &event, 1), 0);
		ck_assert_int_eq(ckv_prefetch(lane, keys[0], ALL_KEYS, CKV_HOST, 0, 0,
					      NULL, NULL), 0);
	}
	ck_assert_ptr_null(ckv_lane_close(lane));
}
END_TEST

/* Waiting, then asleep in the kernel: the daemon wakes who waits, at any moment. */
START_TEST(who_sleeps_is_woken)
{
	for (uint32_t i = 0; i < 40; i++) {
		pid_t pid = fork();
		int status;

		if (pid == 0) {
			struct ckv_page page;
			struct engine e;
			long n;

			engine_open(&e);
			n = ckv_reserve(e.lane, i == 0 ? NULL : keys[i - 1],
					keys[i], 1, &page);
			if (n != 1)
				_exit(1);
			raise(SIGSTOP);
			usleep(i * 50);
			n = ckv_publish(e.lane, &page, 1, TOKENS, 0, NULL, NULL,
					NULL);
			_exit(n == 1 ? 0 : 2);
		}
		ck_assert_int_eq(waitpid(pid, &status, WUNTRACED), pid);
		ck_assert(WIFSTOPPED(status));
		kill(pid, SIGCONT);
		ck_assert_int_eq(ckv_prefetch(b.lane, keys[0], i + 1, CKV_HOST,
					      LONG_NS, 0, NULL, NULL), i + 1);
		ck_assert_int_eq(waitpid(pid, &status, 0), pid);
		ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	}
}
END_TEST

CHECK_MAIN("lib_prefetch",
	CASE("prefetch", .setup = setup, .teardown = teardown, .timeout = 2 * LONG),
	TEST(what_is_stored_is_there_at_once),
	TEST(bad_arguments_are_refused),
	TEST(a_prompt_being_written_is_waited_for),
	TEST(nothing_is_held_beside_the_pin),
	TEST(a_deadline_ends_the_wait_with_what_came),
	TEST(each_deadline_is_its_own),
	TEST(a_writer_that_gives_up_ends_the_wait),
	LOOP(a_writer_that_is_gone_ends_the_wait, 2),
	TEST(other_requests_of_the_lane_go_on),
	TEST(a_wait_can_be_cancelled),
	TEST(a_place_is_left_to_cancel),
	TEST(too_many_are_refused_and_places_come_back),
	TEST(no_pin_word_is_an_answer_and_holds_nothing),
	TEST(a_daemon_that_dies_ends_the_wait),
	TEST(what_came_is_not_taken_from_the_next_daemon),
	TEST(a_death_leaves_no_place_taken),
	TEST(who_sleeps_is_woken),
	CASE("own", .timeout = 2 * LONG),
	TEST(a_hold_counts_as_a_pin))

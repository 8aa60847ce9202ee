/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_lib_contract.c - errors that ckv.h names and that no other test meets, against a
 * real ckvd: each is answered, says why in words, and leaves ret_ arguments alone.
 */
#include <errno.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/lib.h"
#include "tests/lib/attach.h"
#include "tests/lib/check_main.h"
#include "tests/lib/daemon.h"

enum { TOKENS = 16, BLOCKS = 4, MOST = 1024 };

static struct test_daemon daemon_;
static struct ckv *ckv;
static struct ckv_space *space;
static struct ckv_lane *lane;
static uint8_t keys[BLOCKS * CKV_KEY_SIZE];
static uint8_t many[(MOST + 1) * CKV_KEY_SIZE];
static struct ckv_page pages[MOST + 1];

static void setup(void)
{
	uint32_t tokens[BLOCKS * TOKENS] = { 7 };

	test_daemon_start(&daemon_, NULL, NULL);
	test_attach(&daemon_, &ckv, &space, &lane);
	ck_assert_int_eq(ckv_keys(space, NULL, tokens, BLOCKS * TOKENS, NULL, 0,
				  keys), BLOCKS);
	memset(many, 5, sizeof many);
}

static void teardown(void)
{
	ckv = ckv_close(ckv);
	test_daemon_remove(&daemon_);
}

/* The last refusal is told with this part of a sentence. */
static void says(const char *part)
{
	ck_assert_msg(strstr(ckv_why(ckv), part) != NULL, "\"%s\" lacks \"%s\"",
		      ckv_why(ckv), part);
}

static void store(uint32_t n)
{
	ck_assert_int_eq(ckv_reserve(lane, NULL, keys, n, pages), n);
	for (uint32_t i = 0; i < n; i++)
		memset(pages[i].data, (int)i, 16384);
	ck_assert_int_eq(ckv_publish(lane, pages, n, TOKENS, CKV_SUM, NULL, NULL,
				     NULL), n);
}

/* Who attached to read is told so by every call that writes, before the daemon is asked. */
START_TEST(readers_are_told_how_to_write)
{
	struct ckv_view_info info;
	struct ckv_page page = { .data = pages, .status = 0 };
	int32_t status = 1;

	store(1);
	ckv_detach(space);
	ck_assert_int_eq(ckv_attach(ckv, "tiny", NULL, CKV_READ, &space), 0);
	ck_assert_int_eq(ckv_lane_open(space, NULL, &lane), 0);
	ck_assert_int_eq(ckv_compress(lane, keys, "int8", NULL, &info), -EACCES);
	says("space tiny is attached read-only; attach it with CKV_WRITE");
	ck_assert_int_eq(ckv_submit_compress(lane, keys, "int8", NULL, &info, 1),
			 -EACCES);
	ck_assert_int_eq(ckv_submit_reserve(lane, NULL, keys, 1, pages, 1), -EACCES);
	ck_assert_int_eq(ckv_publish(lane, &page, 1, TOKENS, 0, NULL, &status, NULL),
			 -EACCES);
	ck_assert_int_eq(status, -EACCES);
	ck_assert_int_eq(ckv_submit_publish(lane, &page, 1, TOKENS, NULL, NULL, 1),
			 -EACCES);
	ck_assert_int_eq(ckv_abort(lane, &page, 1, &status), -EACCES);
	ck_assert_int_eq(ckv_drop(lane, keys, 1, &status), -EACCES);
	ck_assert_int_eq(ckv_view_find(lane, keys, "int8", &info), -ENOENT);
	says("no such");
}
END_TEST

/* How a socket is no daemon's. */
START_TEST(no_daemon_is_told_apart)
{
	struct ckv *none = NULL;
	char path[300];

	memset(path, 'x', sizeof path - 1);
	path[sizeof path - 1] = 0;
	ck_assert_int_eq(ckv_open(path, NULL, &none), -ENAMETOOLONG);
	test_daemon_kill(&daemon_);
	ck_assert_int_eq(ckv_open(daemon_.socket, NULL, &none), -ECONNREFUSED);
	ck_assert_ptr_nonnull(strstr(ckv_why(NULL), daemon_.socket));
	unlink(daemon_.socket);
	ck_assert_int_eq(ckv_open(daemon_.socket, NULL, &none), -ENOENT);
	ck_assert_ptr_nonnull(strstr(ckv_why(NULL), "is ckvd running?"));
	ck_assert_ptr_null(none);
}
END_TEST

/* What cannot be attached, or be a lane, is refused by name. */
START_TEST(attach_and_lane_say_what_is_wrong)
{
	struct ckv_lane_options odd = { .n_slots = 3 }, much = { .n_pins = 1u << 30 };
	struct ckv_space *s = NULL;
	struct ckv_lane *l = NULL;
	char name[100];

	ck_assert_int_eq(ckv_attach(ckv, "tiny", NULL, (enum ckv_mode)7, &s), -EINVAL);
	says("mode is 7");
	ck_assert_int_eq(ckv_attach(ckv, "tiny", NULL, CKV_READ, &s), -EALREADY);
	says("tiny is attached already");
	memset(name, 'n', sizeof name - 1);
	name[sizeof name - 1] = 0;
	ck_assert_int_eq(ckv_attach(ckv, name, NULL, CKV_READ, &s), -ENOENT);
	says("99 letters");
	ck_assert_int_eq(ckv_lane_open(space, &odd, &l), -EINVAL);
	says("3 slots");
	ck_assert_int_eq(ckv_lane_open(space, &much, &l), -EDQUOT);
	says("n_pins");
	ck_assert_ptr_null(s);
	ck_assert_ptr_null(l);
}
END_TEST

/* Nothing, too much, or what no page is. */
START_TEST(writing_says_what_is_out_of_range)
{
	struct ckv_page page = { .status = -ENOSPC };
	uint8_t zero[CKV_KEY_SIZE] = { 0 };
	int32_t status = 1;

	ck_assert_int_eq(ckv_reserve(lane, NULL, keys, 0, pages), -EINVAL);
	ck_assert_int_eq(ckv_reserve(lane, NULL, zero, 1, pages), -EINVAL);
	ck_assert_int_eq(ckv_submit_reserve(lane, NULL, many, MOST + 1, pages, 1),
			 -EINVAL);
	says("1025 keys or pages in one call; at most 1024");
	ck_assert_int_eq(ckv_reserve_scratch(lane, 0, pages), -EINVAL);
	ck_assert_int_eq(ckv_drop(lane, many, MOST + 1, NULL), -EINVAL);
	ck_assert_int_eq(ckv_drop(lane, many, 0, &status), -EINVAL);
	ck_assert_int_eq(status, 1);
	ck_assert_int_eq(ckv_abort(lane, pages, MOST + 1, NULL), -EINVAL);
	ck_assert_int_eq(ckv_abort(lane, &page, 1, &status), 0);
	ck_assert_int_eq(status, -ENOSPC);
	ck_assert_int_eq(ckv_publish(lane, &page, 1, TOKENS, 0, NULL, &status, NULL),
			 -EINVAL);
	says("page 0 is not lent; its status is -28");
	ck_assert_int_eq(status, -EINVAL);
	ck_assert_int_eq(ckv_submit_publish(lane, &page, 0, TOKENS, NULL, NULL, 1),
			 -EINVAL);
	says("no pages");
	ck_assert_int_eq(ckv_publish(lane, &page, 1, TOKENS + 1, 0, NULL, NULL, NULL),
			 -EINVAL);
	says("n_tokens is 17; expected 1 to 16");
	ck_assert_int_eq(ckv_publish(lane, &page, 1, TOKENS, 3, NULL, NULL, NULL),
			 -EINVAL);
	says("flags is 0x3");
	ck_assert_int_eq(ckv_publish(lane, &page, 1, TOKENS, CKV_SUMMED, NULL, NULL,
				     NULL), -EINVAL);
	says("sums is NULL");
}
END_TEST

/* Lookups: flags, arrays, pin words. */
START_TEST(lookups_say_what_is_wrong)
{
	const struct ckv_lane_options options = { .n_pins = 1 };
	struct ckv_handle handle = { .page = 77 };
	struct ckv_view_info info;
	struct ckv_view view = { .bytes = 77 };
	struct ckv_pin pin, other = { .n_blocks = 77 };
	struct ckv_lane *l;

	store(2);
	ck_assert_int_eq(ckv_lookup(lane, keys, 1, 8, &handle, &other), -EINVAL);
	ck_assert_int_eq(ckv_lookup(lane, keys, 1, 0, NULL, &other), -EINVAL);
	ck_assert_int_eq(ckv_compress(lane, keys, "int8", NULL, &info), 0);
	ck_assert_int_eq(ckv_lane_open(space, &options, &l), 0);
	ck_assert_int_eq(ckv_lookup(l, keys, 1, 0, &handle, &pin), 1);
	handle.page = 77;
	ck_assert_int_eq(ckv_lookup(l, keys, 2, 0, &handle, &other), -EAGAIN);
	ck_assert_int_eq(ckv_view_open(l, info.key, &view), -EAGAIN);
	ck_assert_uint_eq(handle.page, 77);
	ck_assert_uint_eq(other.n_blocks, 77);
	ck_assert_uint_eq(view.bytes, 77);
	ckv_unpin(l, &pin);
	ck_assert_int_eq(ckv_view_open(l, info.key, &view), 0);
	ck_assert_int_eq(ckv_view_decode(l, &view, 0, 0, CKV_K, 0, 17, CKV_F32, many),
			 -EINVAL);
}
END_TEST

/* What is no chain or no method is told in words, also where the daemon has none. */
START_TEST(compressing_says_what_is_wrong)
{
	struct ckv_queries queries = { .pages = pages, .n_pages = 1 };
	struct ckv_view_info info;
	char method[300];

	memset(method, 'm', sizeof method - 1);
	method[sizeof method - 1] = 0;
	ck_assert_int_eq(ckv_compress(lane, keys, "int8", NULL, &info), -ENOENT);
	says("there is no such");
	ck_assert_int_eq(ckv_compress(lane, keys, method, NULL, &info), -EINVAL);
	says("299 characters; at most 255");
	ck_assert_int_eq(ckv_view_find(lane, keys, "magic", &info), -EINVAL);
	says("magic");
	pages[0].status = -EDQUOT;
	ck_assert_int_eq(ckv_submit_compress(lane, keys, "int8", &queries, &info, 1),
			 -EINVAL);
	says("page 0 of the queries is not lent");
	ck_assert_int_eq(ckv_method_get(1000, NULL), -ENOENT);
}
END_TEST

/* In a child of fork(): -ECHILD, and no fault, from every call that others do not try. */
START_TEST(a_child_is_told_by_all)
{
	struct ckv_view_info info;
	struct ckv_event event;
	struct ckv_run run;
	struct ckv_view view = { .data = NULL };
	struct ckv_space *s;
	struct ckv_lane *l;
	struct ckv_chain chain = { .keys = keys, .n_keys = 0 };
	struct ckv_queries queries = { .pages = pages, .n_pages = 1 };
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		ck_assert_int_eq(ckv_attach(ckv, "tiny", NULL, CKV_READ, &s), -ECHILD);
		ck_assert_int_eq(ckv_lane_open(space, NULL, &l), -ECHILD);
		ck_assert_int_eq(ckv_compress(lane, keys, "int8", NULL, &info), -ECHILD);
		ck_assert_int_eq(ckv_view_find(lane, keys, "int8", &info), -ECHILD);
		ck_assert_int_eq(ckv_view_open(lane, keys, &view), -ECHILD);
		ck_assert_int_eq(ckv_view_run(lane, &view, 0, 0, &run), -ECHILD);
		ck_assert_int_eq(ckv_view_decode(lane, &view, 0, 0, CKV_K, 0, 1, CKV_F32,
						 many), -ECHILD);
		ck_assert_int_eq(ckv_lookup(lane, keys, 0, 0, NULL, NULL), -ECHILD);
		ck_assert_int_eq(ckv_lookup_many(lane, &chain, 1, 0), -ECHILD);
		ck_assert_int_eq(ckv_pin_valid(lane, &chain.pin), -ECHILD);
		ck_assert_int_eq(ckv_queries_write(space, &queries, 0, keys, 1), -ECHILD);
		ck_assert_int_eq(ckv_drop(lane, keys, 1, NULL), -ECHILD);
		ck_assert_int_eq(ckv_submit_nop(lane, 1), -ECHILD);
		ck_assert_int_eq(ckv_prefetch(lane, keys, 1, CKV_HOST, 0, 0, NULL, NULL),
				 -ECHILD);
		ck_assert_int_eq(ckv_submit_prefetch(lane, keys, 1, CKV_HOST, 0, 0, NULL,
						     NULL, 1), -ECHILD);
		ck_assert_int_eq(ckv_cancel(lane, 1), -ECHILD);
		ck_assert_int_eq(ckv_poll(lane, &event, 1), -ECHILD);
		ck_assert_int_eq(ckv_wait(lane, 0, &event, 1), -ECHILD);
		ck_assert_int_eq(ckv_event_arm(lane), -ECHILD);
		ck_assert_int_eq(ckv_event_fd(ckv), -ECHILD);
		ck_assert_ptr_null(ckv_lane_close(lane));
		ck_assert_ptr_null(ckv_detach(space));
		ck_assert_ptr_null(ckv_close(ckv));
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	store(1);
}
END_TEST

CHECK_MAIN("lib_contract",
	CASE("daemon", .setup = setup, .teardown = teardown),
	TEST(readers_are_told_how_to_write),
	TEST(no_daemon_is_told_apart),
	TEST(attach_and_lane_say_what_is_wrong),
	TEST(writing_says_what_is_out_of_range),
	TEST(lookups_say_what_is_wrong),
	TEST(compressing_says_what_is_wrong),
	TEST(a_child_is_told_by_all))

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_lib_daemon.c - libckv against a real ckvd: attach, write, read, share.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/lib.h"
#include "tests/lib/attach.h"
#include "tests/lib/check_main.h"
#include "tests/lib/daemon.h"

enum { TOKENS = 16, BLOCKS = 8 };

static struct test_daemon daemon_;
static struct ckv *ckv;
static struct ckv_space *space;
static struct ckv_lane *lane;
static struct ckv_space_info info;
static uint32_t tokens[TOKENS * BLOCKS];
static uint8_t keys[BLOCKS * CKV_KEY_SIZE];

static void setup(void)
{
	test_daemon_start(&daemon_, "max_client_lanes = 200\n", NULL);
	test_attach(&daemon_, &ckv, &space, &lane);
	ckv_space_get_info(space, &info);
	for (uint32_t i = 0; i < TOKENS * BLOCKS; i++)
		tokens[i] = i * 7;
	ck_assert_int_eq(ckv_keys(space, NULL, tokens, TOKENS * BLOCKS, NULL, 0,
				  keys), BLOCKS);
}

static void teardown(void)
{
	ckv = ckv_close(ckv);
	test_daemon_remove(&daemon_);
}

/* What block i holds. */
static void fill(void *data, uint32_t i)
{
	memset(data, (int)(i * 31 + 5), info.page_bytes);
}

/* Reserve, fill, sum and publish the first n blocks. */
static void store(struct ckv_lane *l, uint32_t n)
{
	struct ckv_page pages[BLOCKS];

	ck_assert_int_eq(ckv_reserve(l, NULL, keys, n, pages), n);
	for (uint32_t i = 0; i < n; i++)
		fill(pages[i].data, i);
	ck_assert_int_eq(ckv_publish(l, pages, n, TOKENS, CKV_SUM, NULL, NULL, NULL),
			 n);
}

/* Look everything up, with checks; how much is there and is right. */
static long seen(struct ckv_lane *l)
{
	struct ckv_handle handles[BLOCKS];
	struct ckv_pin pin;
	long n = ckv_lookup(l, keys, BLOCKS, CKV_VERIFY, handles, &pin);

	for (long i = 0; i < n; i++) {
		char *want = malloc(info.page_bytes);

		fill(want, (uint32_t)i);
		ck_assert_mem_eq(handles[i].data, want, info.page_bytes);
		ck_assert_uint_eq(handles[i].level, CKV_HOST);
		ck_assert_uint_eq(handles[i].n_tokens, TOKENS);
		free(want);
	}
	if (n >= 0)
		ckv_unpin(l, &pin);
	return n;
}

/* What one process stores another finds, in the same bytes. */
START_TEST(another_process_finds_what_was_stored)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		struct ckv *other;
		struct ckv_space *s;
		struct ckv_lane *l;

		if (ckv_open(daemon_.socket, "writer", &other) < 0 ||
		    ckv_attach(other, "tiny", NULL, CKV_WRITE, &s) < 0 ||
		    ckv_lane_open(s, NULL, &l) < 0)
			_exit(1);
		store(l, 5);
		ckv_close(other);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	ck_assert_int_eq(status, 0);
	ck_assert_int_eq(seen(lane), 5);
}
END_TEST

/* A chain that is there is not lent again, and its new end is. */
START_TEST(stored_and_borrowed_keys_are_refused)
{
	struct ckv_page pages[BLOCKS];
	struct ckv_lane *other;

	store(lane, 3);
	ck_assert_int_eq(ckv_reserve(lane, NULL, keys, 5, pages), 2);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(pages[i].status, -EEXIST);
	ck_assert_int_eq(ckv_lane_open(space, NULL, &other), 0);
	ck_assert_int_eq(ckv_reserve(other, keys + 2 * 32, keys + 3 * 32, 2,
				     pages), 0);
	ck_assert_int_eq(pages[0].status, -EALREADY);
	ck_assert_int_eq(pages[1].status, -ECANCELED);
	ck_assert_ptr_null(pages[0].data);
	ck_assert_int_eq(ckv_reserve(other, keys + 6 * 32, keys + 7 * 32, 1,
				     pages), 0);
	ck_assert_int_eq(pages[0].status, -ENOENT);
}
END_TEST

/* Of two clients one is lent a key, the other is told to wait, then that it is there. */
START_TEST(two_clients_do_not_write_one_key_twice)
{
	struct ckv_page mine, other_page;
	struct ckv_space *other_space;
	struct ckv_lane *other_lane;
	struct ckv *other;

	ck_assert_int_eq(ckv_open(daemon_.socket, "other", &other), 0);
	ck_assert_int_eq(ckv_attach(other, "tiny", NULL, CKV_WRITE,
				    &other_space), 0);
	ck_assert_int_eq(ckv_lane_open(other_space, NULL, &other_lane), 0);
	ck_assert_int_eq(ckv_reserve(lane, NULL, keys, 1, &mine), 1);
	ck_assert_int_eq(ckv_reserve(other_lane, NULL, keys, 1, &other_page), 0);
	ck_assert_int_eq(other_page.status, -EALREADY);
	fill(mine.data, 0);
	ck_assert_int_eq(ckv_publish(lane, &mine, 1, TOKENS, CKV_SUM, NULL, NULL,
				     NULL), 1);
	ck_assert_int_eq(ckv_reserve(other_lane, NULL, keys, 1, &other_page), 0);
	ck_assert_int_eq(other_page.status, -EEXIST);
	ck_assert_int_eq(seen(other_lane), 1);
	ckv_close(other);
}
END_TEST

/* Without a word for the pin that was asked for nothing is published; then it can be. */
START_TEST(publish_takes_its_pin_first)
{
	const struct ckv_lane_options options = { .n_pins = 64 };
	struct ckv_handle handle;
	struct ckv_pin held[64], pin;
	struct ckv_page page;
	struct ckv_lane *small;

	store(lane, 1);
	ck_assert_int_eq(ckv_lane_open(space, &options, &small), 0);
	ck_assert_int_eq(ckv_reserve(small, keys, keys + 32, 1, &page), 1);
	fill(page.data, 1);
	for (int i = 0; i < 64; i++)
		ck_assert_int_eq(ckv_lookup(small, keys, 1, 0, &handle,
					    &held[i]), 1);
	ck_assert_int_eq(ckv_publish(small, &page, 1, TOKENS, CKV_SUM, NULL, NULL,
				     &pin), -EAGAIN);
	ck_assert_int_eq(seen(lane), 1);
	ckv_unpin(small, &held[0]);
	ck_assert_int_eq(ckv_publish(small, &page, 1, TOKENS, CKV_SUM, NULL, NULL,
				     &pin), 1);
	ck_assert_int_eq(seen(lane), 2);
}
END_TEST

/* Pages given back can be borrowed again; forgotten blocks are gone. */
START_TEST(abort_and_drop_forget)
{
	struct ckv_page pages[BLOCKS];
	int32_t status[BLOCKS];

	ck_assert_int_eq(ckv_reserve(lane, NULL, keys, 2, pages), 2);
	ck_assert_int_ge(ckv_abort(lane, pages, 2, NULL), 1);
	ck_assert_int_eq(seen(lane), 0);
	store(lane, 2);
	ck_assert_int_eq(ckv_drop(lane, keys, 1, status), 0);
	ck_assert_int_eq(status[0], -EBUSY);
	ck_assert_int_eq(ckv_drop(lane, keys + 32, 1, status), 1);
	ck_assert_int_eq(seen(lane), 1);
	ck_assert_int_eq(ckv_drop(lane, keys + 64, 1, NULL), 0);
}
END_TEST

/* With a pin asked for, the deepest published block cannot be dropped until it is given back. */
START_TEST(publish_with_a_pin_holds_the_block)
{
	struct ckv_page pages[2];
	struct ckv_pin pin;
	int32_t status;

	ck_assert_int_eq(ckv_reserve(lane, NULL, keys, 2, pages), 2);
	ck_assert_int_eq(ckv_publish(lane, pages, 2, TOKENS, CKV_SUM, NULL, NULL,
				     &pin), 2);
	ck_assert_uint_eq(pin.n_blocks, 2);
	ck_assert_int_eq(ckv_pin_valid(lane, &pin), 0);
	ck_assert_int_eq(ckv_drop(lane, keys + 32, 1, &status), 0);
	ck_assert_int_eq(status, -EBUSY);
	ckv_unpin(lane, &pin);
	ck_assert_int_eq(ckv_drop(lane, keys + 32, 1, &status), 1);
}
END_TEST

/* One flipped byte ends the prefix before its block when the reader checks. */
START_TEST(verify_sees_a_flipped_byte)
{
	struct ckv_handle handles[BLOCKS];
	struct ckv_pin pin;
	size_t offset;

	store(lane, 4);
	ck_assert_int_eq(ckv_lookup(lane, keys, 4, 0, handles, &pin), 4);
	offset = (size_t)((const char *)handles[2].data - lane->read_base);
	ckv_unpin(lane, &pin);
	lane->maps->pool->write_base[offset + 4097] ^= 1;
	ck_assert_int_eq(ckv_lookup(lane, keys, 4, CKV_VERIFY, handles, &pin), 2);
	ck_assert_uint_eq(pin.n_blocks, 2);
	ck_assert_uint_eq(pin.n_at[CKV_HOST], 2);
	ckv_unpin(lane, &pin);
	ck_assert_uint_eq(ckv_hint_load64(&lane->c->count[
					  CKV_CLAIM_VERIFY_FAILED]), 1);
	ck_assert_int_eq(ckv_lookup(lane, keys, 4, 0, handles, &pin), 4);
}
END_TEST

/* Who is refused is told why. */
START_TEST(refusals_say_why)
{
	struct ckv_model model = info.model;
	struct ckv_space *s = NULL;
	struct ckv *other, *none = NULL;

	ck_assert_int_eq(ckv_open("/nonexistent/x", NULL, &none), -ENOENT);
	ck_assert_ptr_null(none);
	ck_assert_int_eq(ckv_open(daemon_.socket, NULL, &other), 0);
	ck_assert_int_eq(ckv_attach(other, "nosuch", NULL, CKV_READ, &s),
			 -ENOENT);
	ck_assert_ptr_nonnull(strstr(ckv_why(other), "nosuch"));
	model.n_layers = 80;
	ck_assert_int_eq(ckv_attach(other, "tiny", &model, CKV_READ, &s),
			 -EINVAL);
	ck_assert_str_eq(ckv_why(other),
			 "space tiny: n_layers is 2 here, 80 at the client");
	ck_assert_ptr_null(s);
	ck_assert_str_eq(ckv_why(ckv), "");
	ck_assert_int_eq(ckv_attach(other, "tiny", &info.model, CKV_READ, &s), 0);
	ckv_close(other);
}
END_TEST

/* A lane on a space attached to read finds, and may not write. */
START_TEST(readers_may_not_write)
{
	struct ckv_page page;
	struct ckv_space *s;
	struct ckv_lane *l;
	struct ckv_view_info view;
	struct ckv *other;

	store(lane, 2);
	ck_assert_int_eq(ckv_open(daemon_.socket, NULL, &other), 0);
	ck_assert_int_eq(ckv_attach(other, "tiny", NULL, CKV_READ, &s), 0);
	ck_assert_int_eq(ckv_lane_open(s, NULL, &l), 0);
	ck_assert_int_eq(seen(l), 2);
	ck_assert_int_eq(ckv_reserve(l, NULL, keys, 1, &page), -EACCES);
	ck_assert_int_eq(ckv_reserve_scratch(l, 1, &page), -EACCES);
	ck_assert_int_eq(ckv_compress(l, keys, "fp8", NULL, &view), -EACCES);
	ck_assert_str_eq(ckv_why(other), "space tiny is attached read-only; "
			 "attach it with CKV_WRITE");
	ckv_close(other);
}
END_TEST

/* The text is that of the last call that failed, never of one before; success leaves it. */
START_TEST(the_reason_is_of_the_last_failure)
{
	struct ckv_handle handle;
	struct ckv_view_info view;
	struct ckv_view opened;
	struct ckv *other;
	struct ckv_pin pin;
	int32_t status;

	store(lane, 2);
	ck_assert_int_eq(ckv_compress(lane, keys, "no-such-method", NULL, &view),
			 -EINVAL);
	ck_assert_ptr_nonnull(strstr(ckv_why(ckv), "no-such-method"));
	ck_assert_int_eq(ckv_lookup(lane, keys, 1, 0, &handle, &pin), 1);
	ckv_unpin(lane, &pin);
	ck_assert_ptr_nonnull(strstr(ckv_why(ckv), "no-such-method"));
	ck_assert_int_eq(ckv_lookup(lane, keys, 1, 0x80, &handle, &pin), -EINVAL);
	ck_assert_str_eq(ckv_why(ckv), ckv_strerror(-EINVAL));
	ck_assert_int_lt(ckv_drop(lane, keys, CKV_BATCH_MAX + 1, NULL), 0);
	ck_assert_ptr_nonnull(strstr(ckv_why(ckv), "keys or pages in one call; at most 1024"));
	ck_assert_int_eq(ckv_view_open(lane, keys, &opened), -ENOENT);
	ck_assert_str_eq(ckv_why(ckv), ckv_strerror(-ENOENT));
	ck_assert_int_eq(ckv_compress(lane, keys, "no-such-method", NULL, &view),
			 -EINVAL);
	ck_assert_int_eq(ckv_view_find(lane, keys, "fp8", &view), -ENOENT);
	ck_assert_ptr_null(strstr(ckv_why(ckv), "no-such-method"));
	ck_assert_str_ne(ckv_why(ckv), "");
	/* What became of one key is no failure of the call. */
	ck_assert_int_eq(ckv_drop(lane, (const uint8_t *)"there is no block of this key...",
				  1, &status), 0);
	ck_assert_int_eq(status, -ENOENT);
	/* No path is the default, as NULL is. */
	setenv("CKV_SOCKET", daemon_.socket, 1);
	ck_assert_int_eq(ckv_open("", NULL, &other), 0);
	ckv_close(other);
	/* What is no socket is called so, also to a user who may not write it. */
	uid_t me = geteuid();
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(ckv_open("/etc/passwd", NULL, &other),
				 geteuid() == 0 ? -ECONNREFUSED : -EACCES);
		ck_assert_str_eq(ckv_why(NULL), "/etc/passwd: this is not a socket");
		if (me == 0)
			ck_assert_int_eq(seteuid(i == 0 ? 65534 : 0), 0);
	}
}
END_TEST

/* Parts lie where lay_out says, and nothing is written beyond the pages. */
START_TEST(inputs_stay_in_their_pages)
{
	struct ckv_queries q = { .n_pages = 2, .n_query_heads = 4,
				 .n_window = 3, .type = CKV_BF16, .with_lse = 1,
				 .n_sum_heads = 2, .n_sum_tokens = 10 };
	struct ckv_page p[2];
	struct ckv_queries_layout at;
	uint64_t room = 2 * info.page_bytes;
	char bytes[100] = { 1 };

	ck_assert_int_eq(ckv_queries_lay_out(space, &q, &at), 0);
	ck_assert_uint_eq(at.queries, 0);
	ck_assert_uint_eq(at.lse, 2 * 4 * 3 * 32 * 2);
	ck_assert_uint_eq(at.sums, at.lse + 128);	/* 96 bytes, rounded up */
	ck_assert_uint_eq(at.bytes, at.sums + 192);	/* 160 bytes */
	q.type = 9;
	ck_assert_int_eq(ckv_queries_lay_out(space, &q, &at), -EINVAL);
	ck_assert_int_eq(ckv_reserve_scratch(lane, 2, p), 0);
	q.pages = p;
	ck_assert_int_eq(ckv_queries_write(space, &q, room - 99, bytes, 100), -EINVAL);
	ck_assert_int_eq(ckv_queries_write(space, &q, UINT64_MAX, bytes, 2), -EINVAL);
	ck_assert_int_eq(ckv_queries_write(space, &q, room, bytes, 0), 0);
	for (int i = 0; i < 100; i++)
		bytes[i] = (char)(i + 1);
	ck_assert_int_eq(ckv_queries_write(space, &q, info.page_bytes - 30, bytes,
					   100), 0);
	ck_assert_mem_eq((char *)p[0].data + info.page_bytes - 30, bytes, 30);
	ck_assert_mem_eq(p[1].data, bytes + 30, 70);
}
END_TEST

/* A process may hold a hundred lanes; beyond the limit it is told so. */
START_TEST(many_lanes_work)
{
	struct ckv_lane_options small = { 4, 4, 4, 4096 };
	struct ckv_lane *l[201];
	int n = 0, r = 0;

	store(lane, 3);
	while (n < 200 && (r = ckv_lane_open(space, &small, &l[n])) == 0)
		n++;
	ck_assert_int_eq(n, 199);
	ck_assert_int_eq(r, -EMFILE);
	for (int i = 0; i < n; i++)
		ck_assert_int_eq(seen(l[i]), 3);
	for (int i = 0; i < n; i += 2)
		ckv_lane_close(l[i]);
	ck_assert_int_eq(ckv_lane_open(space, &small, &l[0]), 0);
	ck_assert_int_eq(seen(l[0]), 3);
}
END_TEST

/* More than fits is refused with -EAGAIN, not lost; everything sent comes back once. */
START_TEST(full_lane_says_again)
{
	struct ckv_lane_options small = { 8, 4, 4, 4096 };
	struct ckv_event events[16];
	struct ckv_page pages[8][100];
	uint8_t many[200 * 32];
	struct ckv_lane *l;
	unsigned got = 0;
	int n, sent = 0;

	ck_assert_int_eq(ckv_lane_open(space, &small, &l), 0);
	while (sent < 20 && ckv_submit_nop(l, (uint64_t)sent) == 0)
		sent++;
	ck_assert_int_eq(sent, 8);
	ck_assert_int_eq(ckv_submit_nop(l, 9), -EAGAIN);
	while (got != 255) {
		n = ckv_wait(l, 1000000000, events, 16);
		ck_assert_int_gt(n, 0);
		for (int i = 0; i < n; i++) {
			ck_assert_uint_eq(got & 1u << events[i].tag, 0);
			got |= 1u << events[i].tag;
		}
	}
	for (size_t i = 0; i < sizeof many; i++)
		many[i] = (uint8_t)(i / 32 + 1);
	/* 3232 bytes of arguments each: the second finds no room. */
	ck_assert_int_eq(ckv_submit_reserve(l, keys, many, 100, pages[0], 1), 0);
	ck_assert_int_eq(ckv_submit_reserve(l, keys, many, 100, pages[1], 2),
			 -EAGAIN);
	ck_assert_int_eq(ckv_wait(l, -1, events, 16), 1);
	ck_assert_int_eq(events[0].result, 0);
	ck_assert_int_eq(ckv_reserve(l, NULL, many, 200, pages[0]), -EINVAL);
}
END_TEST

/* Waiting ends at its timeout, and with nothing outstanding at once. */
START_TEST(wait_ends)
{
	struct ckv_event event;

	ck_assert_int_eq(ckv_wait(lane, -1, &event, 1), 0);
	ck_assert_int_eq(ckv_poll(lane, &event, 1), 0);
	kill(daemon_.pid, SIGSTOP);
	ck_assert_int_eq(ckv_submit_nop(lane, 3), 0);
	ck_assert_int_eq(ckv_wait(lane, 20000000, &event, 1), -ETIMEDOUT);
	kill(daemon_.pid, SIGCONT);
	ck_assert_int_eq(ckv_wait(lane, -1, &event, 1), 1);
	ck_assert_uint_eq(event.tag, 3);
}
END_TEST

/* An armed lane makes the descriptor readable; polling makes it quiet again. */
START_TEST(event_descriptor_wakes)
{
	struct pollfd p = { .fd = ckv_event_fd(ckv), .events = POLLIN };
	struct ckv_event event;

	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(poll(&p, 1, 0), 0);
		ck_assert_int_eq(ckv_event_arm(lane), 0);
		ck_assert_int_eq(ckv_submit_nop(lane, 5), 0);
		ck_assert_int_eq(poll(&p, 1, 2000), 1);
		ck_assert_int_eq(ckv_poll(lane, &event, 1), 1);
	}
	ck_assert_int_eq(poll(&p, 1, 0), 0);
}
END_TEST

static void *writer(void *arg)
{
	uint32_t seed = (uint32_t)(uintptr_t)arg;
	struct ckv_lane *l;

	ck_assert_int_eq(ckv_lane_open(space, NULL, &l), 0);
	for (uint32_t i = 0; i < 500; i++) {
		uint32_t t[TOKENS] = { seed, i };
		uint8_t key[32];
		struct ckv_handle handle;
		struct ckv_page page;
		struct ckv_pin pin;

		ckv_keys(space, NULL, t, TOKENS, NULL, 0, key);
		ck_assert_int_eq(ckv_reserve(l, NULL, key, 1, &page), 1);
		memset(page.data, (int)(seed + i), info.page_bytes);
		ck_assert_int_eq(ckv_publish(l, &page, 1, TOKENS, CKV_SUM, NULL, NULL,
					     NULL), 1);
		ck_assert_int_eq(ckv_lookup(l, key, 1, CKV_VERIFY, &handle,
					    &pin), 1);
		ck_assert_int_eq(*(const uint8_t *)handle.data,
				 (uint8_t)(seed + i));
		ckv_unpin(l, &pin);
	}
	ckv_lane_close(l);
	return NULL;
}

/* Two threads with a lane each write and read at once. */
START_TEST(threads_have_their_own_lanes)
{
	pthread_t thread[2];

	for (uintptr_t i = 0; i < 2; i++)
		pthread_create(&thread[i], NULL, writer, (void *)(i + 1));
	for (int i = 0; i < 2; i++)
		pthread_join(thread[i], NULL);
}
END_TEST

/* In a child every call says -ECHILD and nothing faults; the parent goes on. */
START_TEST(child_is_told)
{
	struct ckv_handle handle;
	struct ckv_pin pin;
	struct ckv_page page;
	struct ckv_queries queries = { .pages = &page, .n_pages = 1 };
	struct ckv_space_info here, there;
	pid_t pid;
	int status;

	store(lane, 1);
	ck_assert_int_eq(ckv_lookup(lane, keys, 1, 0, &handle, &pin), 1);
	ck_assert_int_eq(ckv_reserve_scratch(lane, 1, &page), 0);
	ckv_space_get_info(space, &here);
	/* As if another thread were in a call at the time. */
	pthread_mutex_lock(&space->lock);
	pid = fork();
	if (pid == 0) {
		struct ckv_pin copy = pin;

		alarm(20);
		ckv_space_get_info(space, &there);
		if (memcmp(&here, &there, sizeof here) != 0 ||
		    ckv_queries_write(space, &queries, 0, keys, 32) != -ECHILD)
			_exit(2);

		if (ckv_lookup(lane, keys, 1, 0, &handle, &pin) != -ECHILD ||
		    ckv_reserve(lane, NULL, keys, 1, &page) != -ECHILD ||
		    ckv_submit_nop(lane, 1) != -ECHILD ||
		    ckv_pin_valid(lane, &copy) != -ECHILD ||
		    ckv_event_fd(ckv) != -ECHILD ||
		    ckv_keys(space, NULL, tokens, TOKENS, NULL, 0, keys) !=
		    -ECHILD)
			_exit(1);
		ckv_unpin(lane, &copy);
		ckv_lane_close(lane);
		ckv_detach(space);
		ckv_close(ckv);
		_exit(0);
	}
	pthread_mutex_unlock(&space->lock);
	waitpid(pid, &status, 0);
	ck_assert_int_eq(status, 0);
	ck_assert_int_eq(ckv_pin_valid(lane, &pin), 0);
	ckv_unpin(lane, &pin);
	ck_assert_int_eq(seen(lane), 1);
}
END_TEST

/* More than one call takes is refused; in parts, each under the last key of the one before. */
START_TEST(long_chains_go_in_parts)
{
	enum { PART = 3, MOST = 1024 };
	static uint8_t many[(MOST + 1) * CKV_KEY_SIZE];
	static struct ckv_page p[MOST + 1];
	struct ckv_handle handles[MOST + 1];
	struct ckv_pin pin;
	long n;

	memcpy(many, keys, sizeof keys);
	ck_assert_int_eq(ckv_reserve(lane, NULL, many, MOST + 1, p), -EINVAL);
	ck_assert_int_eq(ckv_abort(lane, p, MOST + 1, NULL), -EINVAL);
	ck_assert_int_eq(ckv_drop(lane, many, MOST + 1, NULL), -EINVAL);
	for (int i = 0; i < BLOCKS; i += PART) {
		n = BLOCKS - i < PART ? BLOCKS - i : PART;
		ck_assert_int_eq(ckv_reserve(lane, i == 0 ? NULL :
				 keys + (i - 1) * CKV_KEY_SIZE,
				 keys + i * CKV_KEY_SIZE, (size_t)n, &p[i]), n);
	}
	for (int i = 0; i < BLOCKS; i += PART) {
		n = BLOCKS - i < PART ? BLOCKS - i : PART;
		ck_assert_int_eq(ckv_publish(lane, &p[i], (size_t)n, TOKENS,
					     CKV_SUM, NULL, NULL, NULL), n);
	}
	ck_assert_int_eq(ckv_lookup(lane, many, MOST + 1, 0, handles, &pin), BLOCKS);
	ckv_unpin(lane, &pin);
}
END_TEST

CHECK_MAIN("lib_daemon",
	CASE("daemon", .setup = setup, .teardown = teardown),
	TEST(another_process_finds_what_was_stored),
	TEST(stored_and_borrowed_keys_are_refused),
	TEST(two_clients_do_not_write_one_key_twice),
	TEST(publish_takes_its_pin_first),
	TEST(abort_and_drop_forget),
	TEST(publish_with_a_pin_holds_the_block),
	TEST(verify_sees_a_flipped_byte),
	TEST(refusals_say_why),
	TEST(the_reason_is_of_the_last_failure),
	TEST(readers_may_not_write),
	TEST(inputs_stay_in_their_pages),
	TEST(many_lanes_work),
	TEST(full_lane_says_again),
	TEST(wait_ends),
	TEST(event_descriptor_wakes),
	TEST(threads_have_their_own_lanes),
	TEST(child_is_told),
	TEST(long_chains_go_in_parts))

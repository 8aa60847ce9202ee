/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_lib_reattach.c - a space that is attached again: what it costs, what stays mapped,
 * and what the daemon hears of what was before.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client/lib.h"
#include "tests/lib/attach.h"
#include "tests/lib/check_main.h"
#include "tests/lib/daemon.h"
#include "tests/lib/wait.h"

static struct test_daemon daemon_;
static struct ckv *ckv;
static struct ckv_space *space;
static struct ckv_lane *lane;
static const uint8_t key[32] = { 1, 2, 3 }, other[32] = { 4 };

static void setup(void)
{
	struct ckv_page page;

	test_daemon_start(&daemon_, NULL, TEST_SPACE("tiny", "pool = 16M\nslab = 2M\n"));
	test_attach(&daemon_, &ckv, &space, &lane);
	ck_assert_int_eq(ckv_reserve(lane, NULL, key, 1, &page), 1);
	memset(page.data, 7, CKV_PIECE_BYTES);
	ck_assert_int_eq(ckv_publish(lane, &page, 1, 16, CKV_SUM, NULL, NULL, NULL), 1);
}

static void teardown(void)
{
	ck_assert_ptr_null(ckv_close(ckv));
	test_daemon_remove(&daemon_);
}

static int alive(void)
{
	struct ckv_handle handle;
	struct ckv_pin pin;

	if (ckv_lookup(lane, key, 1, 0, &handle, &pin) > 0)
		ckv_unpin(lane, &pin);
	return lib_lane_alive(lane) && ckv_lane_state(lane->d) == 0;
}

/* The connection breaks, and the lane attaches again. */
static void break_it(void)
{
	shutdown(ckv->sock, SHUT_RDWR);
	WAIT_UNTIL(ckv_lane_state(lane->d) != 0);
	WAIT_UNTIL(alive());
	ck_assert(alive());
}

/* Mappings of this process. */
static int n_mappings(void)
{
	FILE *f = fopen("/proc/self/maps", "r");
	int n = 0, c;

	while ((c = fgetc(f)) != EOF)
		n += c == '\n';
	fclose(f);
	return n;
}

static int readable(void)
{
	struct pollfd p = { .fd = ckv_event_fd(ckv), .events = POLLIN };

	return poll(&p, 1, 20);
}

/* Is nothing pending on the socket, and nothing to be said? */
static int is_idle(void)
{
	int r;

	lib_lock(ckv);
	r = lib_session_pump(ckv);
	lib_unlock(ckv);
	return r == 0;
}

/*
 * The daemon lives, so its memory is the same: no slab is mapped again, for reading or for
 * writing, and old handles and lent pages lie where new ones do.
 */
START_TEST(same_memory_stays_mapped)
{
	const struct lib_pool *pool = space->maps->pool;
	struct ckv_handle handle, again;
	struct ckv_page page[2];
	struct ckv_pin pin;
	int before = 0;

	for (int i = 0; i < 10; i++) {
		uint64_t serial = lane->maps->serial;

		ck_assert_int_eq(ckv_lookup(lane, key, 1, 0, &handle, &pin), 1);
		ck_assert_int_eq(ckv_reserve(lane, NULL, other, 1, &page[0]), 1);
		break_it();
		ck_assert_uint_ne(lane->maps->serial, serial);
		ck_assert_ptr_eq(lane->maps->pool, pool);
		ck_assert_uint_eq(pool->refs, 2);
		ck_assert_int_eq(*(const uint8_t *)handle.data, 7);
		ck_assert_int_eq(ckv_pin_valid(lane, &pin), -ESTALE);
		memset(page[0].data, i, CKV_PIECE_BYTES);
		ck_assert_int_eq(ckv_abort(lane, page, 1, NULL), -ESTALE);
		ckv_unpin(lane, &pin);
		ck_assert_ptr_null(lane->olds);
		ck_assert_uint_eq(pool->refs, 1);
		ck_assert_int_eq(ckv_lookup(lane, key, 1, 0, &again, &pin), 1);
		ck_assert_ptr_eq(again.data, handle.data);
		ckv_unpin(lane, &pin);
		WAIT_UNTIL(is_idle());
		/* When the daemon has closed the old lane; its SLAB_WRITE is read. */
		page[1].status = -EALREADY;
		WAIT_UNTIL(ckv_reserve(lane, NULL, other, 1, &page[1]) == 1);
		ck_assert_int_eq(page[1].status, 0);
		ck_assert_ptr_eq((char *)page[1].data - ckv_page_offset(
			&pool->shape, page[1].page), pool->write_base);
		ck_assert_int_eq(readable(), 0);
		ck_assert_int_eq(ckv_abort(lane, &page[1], 1, NULL), 1);
		if (i == 0)
			before = n_mappings();
	}
	ck_assert_int_le(n_mappings(), before);
}
END_TEST

/* A pin word of before is cleared when its pin is given back, one by one. */
START_TEST(old_pins_are_given_back_one_by_one)
{
	struct ckv_handle handle;
	struct ckv_pin pin[3];
	int left = 3;

	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(ckv_lookup(lane, key, 1, 0, &handle, &pin[i]), 1);
	break_it();
	for (int i = 0; i < 3; i++, left--) {
		int n = 0;

		for (uint32_t w = 0; w < lane->shape.n_pins; w++)
			n += ckv_pin_slot(&lane->olds->pins[w]) != CKV_NONE;
		ck_assert_int_eq(n, left);
		ckv_unpin(lane, &pin[i]);
	}
	ck_assert_ptr_null(lane->olds);
}
END_TEST

/* Another daemon, which has not its memory: another pool; the old one goes with its pins. */
START_TEST(other_memory_is_another_pool)
{
	const struct lib_pool *pool = space->maps->pool;
	struct ckv_handle handle;
	struct ckv_page page;
	struct ckv_pin pin;
	int before = n_mappings();

	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(ckv_reserve(lane, NULL, key, 1, &page), i > 0);
		if (i > 0) {
			memset(page.data, 7, CKV_PIECE_BYTES);
			ckv_publish(lane, &page, 1, 16, 0, NULL, NULL, NULL);
		}
		ck_assert_int_eq(ckv_lookup(lane, key, 1, 0, &handle, &pin), 1);
		test_daemon_kill(&daemon_);
		test_daemon_restart(&daemon_);
		WAIT_UNTIL(alive());
		ck_assert_ptr_ne(lane->maps->pool, pool);
		ck_assert_int_eq(*(const uint8_t *)handle.data, 7);
		ckv_unpin(lane, &pin);
		pool = lane->maps->pool;
		ck_assert_uint_eq(pool->refs, 1);
	}
	ck_assert_int_le(n_mappings(), before);
}
END_TEST

/* A request that waits for the daemon waits until the lane is attached again, too. */
START_TEST(a_waiting_call_attaches_again)
{
	struct ckv_page page;

	for (int i = 0; i < 10; i++) {
		shutdown(ckv->sock, SHUT_RDWR);
		WAIT_UNTIL(ckv_lane_state(lane->d) != 0);
		/* The connection of before is thrown away, and another is made, in one call. */
		ck_assert_int_eq(ckv_reserve(lane, NULL, other, 1, &page), 1);
		ck_assert_int_eq(ckv_abort(lane, &page, 1, NULL), 1);
	}
	/* Of a daemon that is there and says nothing, it has enough in a moment. */
	lib_call_timeout_ns = 20000000;
	shutdown(ckv->sock, SHUT_RDWR);
	WAIT_UNTIL(ckv_lane_state(lane->d) != 0);
	kill(daemon_.pid, SIGSTOP);
	ck_assert_int_eq(ckv_reserve(lane, NULL, other, 1, &page), -ESTALE);
	kill(daemon_.pid, SIGCONT);
	WAIT_UNTIL(alive());
	lib_call_timeout_ns = LIB_CALL_TIMEOUT_NS;
}
END_TEST

/*
 * Each step of attaching is asked for at once over a new connection, however short ago
 * that was over the one before.
 */
START_TEST(a_new_connection_does_not_wait)
{
	lib_reattach_ns = 60000000000;
	for (int i = 0; i < 5; i++)
		break_it();
	lib_reattach_ns = LIB_REATTACH_NS;
}
END_TEST

/* A lane is closed at the next daemon if this one ends before it has said DONE. */
START_TEST(a_lane_is_closed_until_that_is_answered)
{
	struct ckv_handle handle;
	struct ckv_pin pin;

	ck_assert_int_eq(ckv_lookup(lane, key, 1, 0, &handle, &pin), 1);
	break_it();
	WAIT_UNTIL(is_idle());
	kill(daemon_.pid, SIGSTOP);
	ckv_unpin(lane, &pin);
	ck_assert_int_eq((int)ckv->call.pending, LIB_DONE);
	ck_assert_ptr_nonnull(ckv->call.sent);
	ck_assert_ptr_null(ckv->byes);
	test_daemon_kill(&daemon_);
	ck_assert_int_eq(ckv_lookup(lane, key, 1, 0, &handle, &pin), 0);
	/* That, and the lane that this daemon had last. */
	ck_assert_ptr_nonnull(ckv->byes);
	ck_assert_int_eq(ckv->byes->type, CKV_LANE_CLOSE);
	test_daemon_restart(&daemon_);
	WAIT_UNTIL(alive());
	WAIT_UNTIL(is_idle());
	ck_assert(is_idle());
}
END_TEST

/* The answer to a bye is nobody's event: a loop that polls is not woken for it. */
START_TEST(an_answer_to_a_bye_wakes_nobody)
{
	struct ckv_handle handle;
	struct ckv_event event;
	struct ckv_pin pin;

	ck_assert_int_eq(ckv_lookup(lane, key, 1, 0, &handle, &pin), 1);
	break_it();
	WAIT_UNTIL(is_idle());
	ckv_unpin(lane, &pin);
	ck_assert_int_eq((int)ckv->call.pending, LIB_DONE);
	ck_assert_int_eq(readable(), 0);
	ck_assert_int_eq((int)ckv->call.pending, LIB_DONE);
	/* Who asks for an event may be woken for it, and reads it. */
	ck_assert_int_eq(ckv_event_arm(lane), 0);
	ck_assert_int_eq(readable(), 1);
	ck_assert_int_eq(ckv_poll(lane, &event, 1), 0);
	ck_assert_int_eq(readable(), 0);
	ck_assert_int_eq(ckv_submit_nop(lane, 3), 0);
	WAIT_UNTIL(readable());
	WAIT_UNTIL(ckv_poll(lane, &event, 1) == 1);
	ck_assert_uint_eq(event.tag, 3);
	ck_assert_int_eq(readable(), 0);
}
END_TEST

/* ---- maps without a daemon ---- */

enum { SLABS = 4 };

static struct ckv_pool_shape shape = {
	.page_bytes = CKV_PIECE_BYTES, .slab_stride = CKV_HUGE_BYTES,
	.slab_pages = 4, .n_slabs = SLABS, .n_block_pages = 4 * SLABS,
};

/* A file of a slab, full of `value`. */
static int slab_file(char value)
{
	int fd = memfd_create("slab", MFD_CLOEXEC);

	for (size_t i = 0; i < ckv_slab_bytes(&shape); i++)
		ck_assert_int_eq(write(fd, &value, 1), 1);
	return fd;
}

static char read_at(const struct lib_maps *maps, uint32_t slab)
{
	return maps->pool->read_base[slab * shape.slab_stride + 5];
}

/* Some slabs are the same and some are not: nothing is shared, all bytes are right. */
START_TEST(partly_the_same_is_another_pool)
{
	int file[SLABS], mixed[SLABS];
	struct lib_maps first = { .refs = 2, .ckv = ckv };
	struct lib_maps second = { .refs = 2, .ckv = ckv, .shares = 1 };

	ck_assert_int_eq(lib_pool_new(&shape, &first.pool), 0);
	for (uint32_t i = 0; i < SLABS; i++) {
		file[i] = slab_file((char)('a' + i));
		mixed[i] = i == (uint32_t)_i ? slab_file('z') : file[i];
	}
	lib_lock(ckv);
	ck_assert_int_eq(lib_maps_add_slabs(&first, 0, SLABS, file), 0);
	ck_assert(lib_pool_share(first.pool, &shape));
	second.pool = first.pool;
	ck_assert_int_eq(lib_maps_add_slabs(&second, 0, 2, mixed), 0);
	ck_assert_int_eq(lib_maps_add_slabs(&second, 2, 2, mixed + 2), 0);
	lib_unlock(ckv);
	ck_assert_int_eq(second.pool == first.pool, _i == SLABS);
	for (uint32_t i = 0; i < SLABS; i++) {
		ck_assert_int_eq(read_at(&first, i), (char)('a' + i));
		ck_assert_int_eq(read_at(&second, i), i == (uint32_t)_i ?
				 'z' : (char)('a' + i));
		ck_assert_int_eq(lib_pool_same(second.pool, i, mixed[i]), 1);
	}
	ck_assert_uint_eq(first.pool->refs, _i == SLABS ? 2 : 1);
	/* A slab for writing is the one that is read, or it is nonsense. */
	ck_assert_int_eq(lib_pool_add_write(first.pool, 1, file[2]), -EPROTO);
	ck_assert_int_eq(first.pool->slab[1].write, LIB_SLAB_NONE);
	ck_assert_int_eq(lib_pool_add_write(first.pool, 1, file[1]), 0);
	ck_assert_int_eq(first.pool->slab[1].write, LIB_SLAB_MAPPED);
	ck_assert_int_eq(lib_pool_add_write(first.pool, 1, file[2]), -EPROTO);
	if (second.pool != first.pool)
		lib_pool_free(second.pool);
	lib_pool_free(first.pool);
	for (int i = 0; i < SLABS; i++)
		close(file[i]);
}
END_TEST

/* Another shape is never the same memory. */
START_TEST(another_shape_is_another_pool)
{
	struct ckv_pool_shape wider = shape;
	struct lib_pool *pool;

	ck_assert_int_eq(lib_pool_new(&shape, &pool), 0);
	wider.n_slabs++;
	ck_assert(!lib_pool_share(pool, &wider));
	ck_assert(!lib_pool_share(NULL, &shape));
	ck_assert_uint_eq(pool->refs, 1);
	lib_pool_free(pool);
}
END_TEST

/* Who closes everything before it has attached again gives back what it was lent, too. */
START_TEST(a_close_connects_to_give_back)
{
	struct ckv_page page;

	ck_assert_int_eq(ckv_reserve(lane, NULL, other, 1, &page), 1);
	shutdown(ckv->sock, SHUT_RDWR);
	ck_assert_ptr_null(ckv_close(ckv));
	test_attach(&daemon_, &ckv, &space, &lane);
	WAIT_UNTIL(ckv_reserve(lane, NULL, other, 1, &page) == 1);
	ck_assert_int_eq(page.status, 0);
}
END_TEST

CHECK_MAIN("lib_reattach",
	CASE("reattach", .setup = setup, .teardown = teardown),
	TEST(same_memory_stays_mapped),
	TEST(old_pins_are_given_back_one_by_one),
	TEST(other_memory_is_another_pool),
	TEST(a_waiting_call_attaches_again),
	TEST(a_new_connection_does_not_wait),
	TEST(a_lane_is_closed_until_that_is_answered),
	TEST(an_answer_to_a_bye_wakes_nobody),
	TEST(a_close_connects_to_give_back),
	LOOP(partly_the_same_is_another_pool, SLABS + 1),
	TEST(another_shape_is_another_pool))

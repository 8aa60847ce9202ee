/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_lib_apart.c - what several spaces, connections and threads of one process have is
 * told apart.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "client/lib.h"
#include "tests/lib/attach.h"
#include "tests/lib/check_main.h"
#include "tests/lib/daemon.h"

enum { TOKENS = 16, PAGES = 512, KEYS = 512 };

static const char spaces[] =
	TEST_SPACE("tiny", "pool = 8M\nslab = 2M\nviews = 0\n")
	TEST_SPACE("twin", "pool = 2M\nslab = 2M\nviews = 0\n");

static struct test_daemon daemon_;
static struct ckv *ckv;
static struct ckv_space *space;
static struct ckv_lane *lane;
static uint8_t keys[KEYS][32];

static void setup(void)
{
	test_daemon_start(&daemon_, NULL, spaces);
	test_attach(&daemon_, &ckv, &space, &lane);
	for (uint32_t i = 0; i < KEYS; i++) {
		keys[i][0] = 7;
		memcpy(&keys[i][1], &i, sizeof i);
	}
}

static void teardown(void)
{
	ck_assert_ptr_null(ckv_close(ckv));
	test_daemon_remove(&daemon_);
}

static void nap(void)
{
	nanosleep(&(struct timespec){ .tv_nsec = 2000000 }, NULL);
}

static long publish(struct ckv_lane *l, const struct ckv_page *pages, uint32_t n,
		    int32_t *ret_status)
{
	return ckv_publish(l, pages, n, TOKENS, 0, NULL, ret_status, NULL);
}

/*
 * What two spaces of one daemon lend has equal numbers, also over two connections. A page
 * of one is none of the other: it publishes nothing there, costs no page and no lane.
 */
START_TEST(another_spaces_page_is_refused)
{
	struct ckv_queries queries = { .n_pages = 1, .n_query_heads = 2,
				       .n_window = 8, .type = CKV_F32 };
	struct ckv_page p[2], own, high[PAGES], scratch;
	struct ckv_view_info view;
	struct ckv *second = ckv;
	struct ckv_space *twin;
	struct ckv_lane *there;
	int32_t status[2];

	if (_i == 1)
		ck_assert_int_eq(ckv_open(daemon_.socket, "2nd", &second), 0);
	ck_assert_int_eq(ckv_attach(second, "twin", NULL, CKV_WRITE, &twin), 0);
	ck_assert_int_eq(ckv_lane_open(twin, NULL, &there), 0);
	ck_assert_int_eq(ckv_reserve(there, NULL, keys[0], 1, &own), 1);
	ck_assert_int_eq(ckv_reserve(lane, NULL, keys[0], 2, p), 2);
	ck_assert_uint_eq(p[0].page, own.page);
	ck_assert_int_eq(publish(there, p, 1, status), -ESTALE);
	ck_assert_int_eq(status[0], -ESTALE);
	ck_assert_int_eq(ckv_abort(there, p, 2, status), -ESTALE);
	ck_assert_uint_eq(there->lent.n, 1);
	ck_assert_int_eq(publish(lane, p, 2, NULL), 2);
	/* Of a number that is none there. */
	ck_assert_int_eq(ckv_reserve(lane, keys[1], keys[2], PAGES - 2, high),
			 PAGES - 2);
	ck_assert_int_eq(publish(there, &high[PAGES - 3], 1, NULL), -ESTALE);
	/* Its own is as it was, also for what reads scratch pages. */
	ck_assert_int_eq(publish(there, &own, 1, NULL), 1);
	ck_assert_int_eq(ckv_reserve_scratch(there, 1, &scratch), 0);
	queries.pages = high;
	ck_assert_int_eq(ckv_compress(there, keys[0], "snapkv(keep=1/2, "
				      "window=8)", &queries, &view), -ESTALE);
	if (_i == 1)
		ck_assert_ptr_null(ckv_close(second));
}
END_TEST

/*
 * A slab's descriptor is asked for again over a socket that is broken, of which the lane
 * has not heard: the page goes back, to be tried again.
 */
START_TEST(broken_socket_is_no_reason)
{
	struct ckv_event event;
	struct ckv_page p[2];

	ck_assert_int_eq(ckv_reserve(lane, NULL, keys[0], 1, p), 1);
	ck_assert_int_eq(ckv_submit_reserve(lane, NULL, keys[1], 1, p + 1, 1), 0);
	while (!ckv_ring_ready(&lane->rx))
		nap();
	kill(daemon_.pid, SIGSTOP);
	pthread_mutex_lock(&ckv->lock);
	space->maps->pool->slab[p[0].page / space->pool.slab_pages].write =
		LIB_SLAB_LOST;
	shutdown(ckv->sock, SHUT_RDWR);
	pthread_mutex_unlock(&ckv->lock);
	ck_assert_int_eq(ckv_poll(lane, &event, 1), 1);
	ck_assert_int_eq(event.result, 0);
	ck_assert_int_eq(p[1].status, -EAGAIN);
	ck_assert_ptr_null(p[1].data);
	kill(daemon_.pid, SIGCONT);
}
END_TEST

/* ---- threads ---- */

static void *close_lane(void *l)
{
	return ckv_lane_close(l);
}

static int n_populated, n_locked;

/* In place of libc's: is the connection's lock free while an index is populated? */
int madvise(void *base, size_t bytes, int advice)
{
	if (advice == MADV_POPULATE_READ && ckv != NULL) {
		n_populated++;
		if (pthread_mutex_trylock(&ckv->lock) == 0)
			pthread_mutex_unlock(&ckv->lock);
		else
			n_locked++;
	}
	return (int)syscall(SYS_madvise, base, bytes, advice);
}

/* A large index takes a while, at attach and after a restart: no lane waits for it. */
START_TEST(index_is_populated_without_lock)
{
	struct ckv_handle handle;
	struct ckv_space *twin;
	struct ckv_pin pin;

	ck_assert_int_eq(n_populated, 1);
	ck_assert_int_eq(ckv_attach(ckv, "twin", NULL, CKV_READ, &twin), 0);
	ck_assert_int_eq(n_populated, 2);
	test_daemon_kill(&daemon_);
	test_daemon_restart(&daemon_);
	for (int i = 0; !lib_lane_alive(lane) && i < 5000; i++) {
		ck_assert_int_eq(ckv_lookup(lane, keys[0], 1, 0, &handle, &pin),
				 0);
		nap();
	}
	ck_assert(lib_lane_alive(lane));
	ck_assert_int_eq(n_populated, 3);
	ck_assert_int_eq(n_locked, 0);
}
END_TEST

/* A thread that awaits its turn to close a lane is in a call of its space. */
START_TEST(closing_is_refused_during_a_close)
{
	struct ckv_lane *second;
	uint32_t n_calls = 0;
	pthread_t thread;
	int used = 0;
	void *r;

	ck_assert_int_eq(ckv_lane_open(space, NULL, &second), 0);
	pthread_mutex_lock(&ckv->turn);
	ck_assert_int_eq(pthread_create(&thread, NULL, close_lane, second), 0);
	while (n_calls == 0) {
		nap();
		pthread_mutex_lock(&ckv->lock);
		n_calls = ckv->n_calls;
		used = lib_space_used(space);
		pthread_mutex_unlock(&ckv->lock);
	}
	ck_assert_int_eq(used, 1);
	ck_assert_ptr_eq(ckv_close(ckv), ckv);
	pthread_mutex_unlock(&ckv->turn);
	pthread_join(thread, &r);
	ck_assert_ptr_null(r);
	ck_assert_int_eq(lib_space_used(space), 0);
}
END_TEST

static int readable(void)
{
	struct pollfd p = { .fd = ckv_event_fd(ckv), .events = POLLIN };

	return poll(&p, 1, 0);
}

/* Asked for on a lane whose connection is over, before its daemon knows: nobody will tell. */
START_TEST(end_before_arming_is_an_event)
{
	struct ckv_event event;

	kill(daemon_.pid, SIGSTOP);
	pthread_mutex_lock(&ckv->lock);
	lib_session_drop(ckv, -ESTALE);
	pthread_mutex_unlock(&ckv->lock);
	ck_assert_int_eq(readable(), 0);
	ck_assert_int_eq(ckv_event_arm(lane), 0);
	ck_assert_int_eq(readable(), 1);
	ck_assert_int_eq(ckv_poll(lane, &event, 1), 0);
	ck_assert_int_eq(readable(), 0);
	kill(daemon_.pid, SIGCONT);
}
END_TEST

CHECK_MAIN("lib_apart",
	CASE("apart", .setup = setup, .teardown = teardown),
	LOOP(another_spaces_page_is_refused, 2),
	TEST(broken_socket_is_no_reason),
	TEST(index_is_populated_without_lock),
	TEST(closing_is_refused_during_a_close),
	TEST(end_before_arming_is_an_event))

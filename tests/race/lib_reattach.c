/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lib_reattach.c - the whole of libckv under ThreadSanitizer, with a real ckvd that is
 * killed and started again, and a connection that breaks while it lives, so that pools
 * are shared: one connection, a thread that looks up and reads under pins of before, one
 * that writes and waits for events, and one that opens and closes lanes and spaces.
 *
 * Fails when a race is seen, when one of the first two is not attached again after a
 * restart, or when bytes under a pin change.
 */
#include "client/lib.h"
#include "tests/lib/daemon.h"

#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>

enum { RESTARTS = 6, BREAKS = 4, PATIENCE = 30000, THREADS = 3 };

static const char spaces[] = TEST_SPACE_TINY
	TEST_SPACE("other", "pool = 8M\nslab = 2M\n");

static struct test_daemon daemon_;
static struct ckv *ckv;
static struct ckv_space *space;
static struct ckv_lane *lane[2];
static _Atomic int started = 1;	/* daemons so far; 0: stop */
static _Atomic int seen[2];	/* by each lane's thread: the one it works with */
static _Atomic int changed;	/* bytes under a pin were not what was stored */

static void nap(void)
{
	lib_sys_sleep(1000000);
}

static void attached(int i, int now)
{
	if (lib_lane_alive(lane[i]) && ckv_lane_state(lane[i]->d) == 0)
		atomic_store(&seen[i], now);
}

static void *look_up(void *unused)
{
	uint8_t keys[8 * 32] = { 1 };
	struct ckv_handle handle[2];
	struct ckv_pin pin[2] = { { 0 } };
	long n[2] = { 0, 0 };
	int now;

	for (unsigned i = 0; (now = atomic_load(&started)) != 0; i++) {
		/* The older of two pins goes, so some outlive their daemon. */
		if (n[i % 2] > 0 && *(const char *)handle[i % 2].data != 1)
			atomic_store(&changed, 1);
		ckv_unpin(lane[0], &pin[i % 2]);
		n[i % 2] = ckv_lookup(lane[0], keys, 1, 0, &handle[i % 2],
				      &pin[i % 2]);
		if (n[i % 2] < 0)
			break;
		attached(0, now);
		if (i % 16 == 0)
			nap();
	}
	ckv_unpin(lane[0], &pin[0]);
	ckv_unpin(lane[0], &pin[1]);
	return unused;
}

static void *write_and_wait(void *unused)
{
	struct pollfd p = { .fd = ckv_event_fd(ckv), .events = POLLIN };
	uint8_t keys[2 * 32] = { 1 };
	struct ckv_event event;
	struct ckv_page page[2];
	int now;

	keys[32] = 2;
	while ((now = atomic_load(&started)) != 0) {
		if (ckv_reserve(lane[1], NULL, keys, 2, page) > 0 &&
		    page[0].status == 0) {
			memset(page[0].data, 1, CKV_PIECE_BYTES);
			ckv_publish(lane[1], page, 1, 16, CKV_SUM, NULL, NULL,
				    NULL);
			ckv_abort(lane[1], page, 2, NULL);
		}
		ckv_drop(lane[1], keys, 1, NULL);
		if (ckv_event_arm(lane[1]) == 0 &&
		    ckv_submit_nop(lane[1], 1) == 0)
			for (int i = 0; i < 100; i++) {
				poll(&p, 1, 10);
				if (ckv_poll(lane[1], &event, 1) != 0)
					break;
			}
		attached(1, now);
	}
	return unused;
}

static void *open_and_close(void *unused)
{
	struct ckv_space *other;
	struct ckv_lane *l;

	while (atomic_load(&started) != 0) {
		if (ckv_lane_open(space, NULL, &l) == 0)
			ckv_lane_close(l);
		if (ckv_attach(ckv, "other", NULL, CKV_WRITE, &other) == 0) {
			if (ckv_lane_open(other, NULL, &l) == 0)
				(void)ckv_event_arm(l);
			ckv_detach(other);
		}
		nap();
	}
	return unused;
}

/* Did both lanes get to the daemon that was started last? */
static int both_attached(int now)
{
	for (int i = 0; i < PATIENCE; i++) {
		if (atomic_load(&seen[0]) == now && atomic_load(&seen[1]) == now)
			return 1;
		nap();
	}
	fprintf(stderr, "daemon %d: lanes are with %d and %d\n", now,
		atomic_load(&seen[0]), atomic_load(&seen[1]));
	return 0;
}

/* The daemon lives and its memory stays the same; only the connection is another. */
static void break_often(void)
{
	for (int i = 0; i < BREAKS; i++) {
		lib_lock(ckv);
		if (ckv->sock >= 0)
			shutdown(ckv->sock, SHUT_RDWR);
		lib_unlock(ckv);
		lib_sys_sleep(20000000);
	}
}

int main(void)
{
	void *(*const run[THREADS])(void *) = { look_up, write_and_wait,
						open_and_close };
	pthread_t thread[THREADS];
	int ok;

	test_daemon_start(&daemon_, NULL, spaces);
	if (ckv_open(daemon_.socket, "race", &ckv) < 0 ||
	    ckv_attach(ckv, "tiny", NULL, CKV_WRITE, &space) < 0 ||
	    ckv_lane_open(space, NULL, &lane[0]) < 0 ||
	    ckv_lane_open(space, NULL, &lane[1]) < 0)
		return EXIT_FAILURE;
	for (int i = 0; i < THREADS; i++)
		if (pthread_create(&thread[i], NULL, run[i], NULL) != 0)
			return EXIT_FAILURE;
	ok = both_attached(1);
	for (int i = 2; ok && i < 2 + RESTARTS; i++) {
		test_daemon_kill(&daemon_);
		test_daemon_restart(&daemon_);
		atomic_store(&started, i);
		ok = both_attached(i);
		break_often();
	}
	ok &= !atomic_load(&changed);
	atomic_store(&started, 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	ok &= ckv_close(ckv) == NULL;
	test_daemon_remove(&daemon_);
	printf("%s 1 - libckv's threads and a daemon that is killed\n",
	       ok ? "ok" : "not ok");
	return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_lib_session.c - what a failed, late or refused call on the control socket costs:
 * that call, and nothing else; and who may close what when.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "client/lib.h"
#include "tests/lib/attach.h"
#include "tests/lib/check_main.h"
#include "tests/lib/daemon.h"

static const char spaces[] = TEST_SPACE_TINY
	TEST_SPACE("other", "pool = 8M\nslab = 2M\n");

static struct test_daemon daemon_;
static struct ckv *ckv;
static struct ckv_space *space;
static struct ckv_lane *lane;
static struct ckv_pin held;
static const uint8_t key[32] = { 1, 2, 3 };

static void store(struct ckv_lane *l)
{
	struct ckv_page page;

	ck_assert_int_eq(ckv_reserve(l, NULL, key, 1, &page), 1);
	memset(page.data, 7, CKV_PIECE_BYTES);
	ck_assert_int_eq(ckv_publish(l, &page, 1, 16, CKV_SUM, NULL, NULL, NULL), 1);
}

static void setup(void)
{
	struct ckv_handle handle;

	test_daemon_start(&daemon_, "max_clients = 4\nmax_client_lanes = 6\n",
			  spaces);
	test_attach(&daemon_, &ckv, &space, &lane);
	store(lane);
	ck_assert_int_eq(ckv_lookup(lane, key, 1, 0, &handle, &held), 1);
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

static long found(struct ckv_lane *l)
{
	struct ckv_handle handle;
	struct ckv_pin pin;
	long n = ckv_lookup(l, key, 1, 0, &handle, &pin);

	if (n > 0)
		ckv_unpin(l, &pin);
	return n;
}

/* What the lane had is still its own. */
static void lane_lives(void)
{
	ck_assert_int_eq(found(lane), 1);
	ck_assert_int_eq(ckv_pin_valid(lane, &held), 0);
}

static int finds_again(struct ckv_lane *l)
{
	for (int i = 0; i < 3000; i++) {
		if (found(l) == 1)
			return 1;
		nap();
	}
	return 0;
}

/* ---- calls that fail for want of something here ---- */

static struct rlimit usual;

static void no_room(int what)
{
	struct rlimit limit;
	long pages = 0;
	FILE *f;

	getrlimit(what, &usual);
	limit = usual;
	if (what == RLIMIT_NOFILE) {
		limit.rlim_cur = (rlim_t)dup(0);
		close((int)limit.rlim_cur);
	} else {
		f = fopen("/proc/self/statm", "r");
		ck_assert_int_eq(fscanf(f, "%ld", &pages), 1);
		fclose(f);
		limit.rlim_cur = (rlim_t)pages * 4096 + 65536;
	}
	ck_assert_int_eq(setrlimit(what, &limit), 0);
}

static void room_again(int what)
{
	ck_assert_int_eq(setrlimit(what, &usual), 0);
}

static const struct {
	int what, error;
} limits[] = { { RLIMIT_NOFILE, -EMFILE }, { RLIMIT_AS, -ENOMEM } };

/* Ten times more often than the daemon would lend lanes, if one were lost each time. */
START_TEST(no_room_costs_one_call)
{
	struct ckv_space *other = NULL;
	struct ckv_lane *second = NULL;

	for (int i = 0; i < 60; i++) {
		no_room(limits[_i].what);
		ck_assert_int_eq(ckv_lane_open(space, NULL, &second),
				 limits[_i].error);
		ck_assert_int_eq(ckv_attach(ckv, "other", NULL, CKV_WRITE,
					    &other), limits[_i].error);
		room_again(limits[_i].what);
		ck_assert_str_ne(ckv_why(ckv), "");
		lane_lives();
	}
	ck_assert_ptr_null(second);
	ck_assert_int_eq(ckv_attach(ckv, "other", NULL, CKV_WRITE, &other), 0);
	ck_assert_int_eq(ckv_lane_open(other, NULL, &second), 0);
	store(second);
	lane_lives();
}
END_TEST

/* A slab that cannot be mapped is a status; it is mapped when there is room again. */
START_TEST(slab_without_room_is_mapped_later)
{
	struct ckv_space *other;
	struct ckv_lane *second;
	struct ckv_page page;

	ck_assert_int_eq(ckv_attach(ckv, "other", NULL, CKV_WRITE, &other), 0);
	ck_assert_int_eq(ckv_lane_open(other, NULL, &second), 0);
	for (int i = 0; i < 3; i++) {
		no_room(limits[_i].what);
		ck_assert_int_eq(ckv_reserve(second, NULL, key, 1, &page), 0);
		ck_assert_int_eq(page.status, limits[_i].error);
		ck_assert_ptr_null(page.data);
		room_again(limits[_i].what);
	}
	store(second);
	ck_assert_int_eq(found(second), 1);
	lane_lives();
}
END_TEST

/* What the daemon has no room for is one of two errors, and a text. */
START_TEST(the_daemon_has_no_room)
{
	static const struct ckv_lane_options large = { .arg_bytes = 2 << 20 };
	static const struct {
		__rlimit_resource_t what;
		rlim_t limit;
		int error;
		const char *text;
	} row[] = {
		{ RLIMIT_NOFILE, 3, -EMFILE, "Too many open files" },
		{ RLIMIT_FSIZE, 1 << 20, -ENOMEM, "File too large" },
	};
	struct ckv_space *other = NULL;
	struct ckv_lane *second = NULL;
	struct rlimit had, limit;

	for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
		ck_assert_int_eq(prlimit(daemon_.pid, row[i].what, NULL, &had), 0);
		limit = (struct rlimit){ row[i].limit, had.rlim_max };
		ck_assert_int_eq(prlimit(daemon_.pid, row[i].what, &limit, NULL), 0);
		ck_assert_int_eq(ckv_lane_open(space, &large, &second), row[i].error);
		ck_assert_ptr_nonnull(strstr(ckv_why(ckv), row[i].text));
		if (row[i].what == RLIMIT_NOFILE)
			ck_assert_int_eq(ckv_attach(ckv, "other", NULL, CKV_READ,
						    &other), -EMFILE);
		ck_assert_int_eq(found(lane), 1);
		ck_assert_int_eq(prlimit(daemon_.pid, row[i].what, &had, NULL), 0);
	}
	ck_assert_int_eq(ckv_lane_open(space, &large, &second), 0);
	ck_assert_int_eq(ckv_attach(ckv, "other", NULL, CKV_READ, &other), 0);
	lane_lives();
}
END_TEST

/* ---- calls that are late ---- */

/* Their replies come when nobody waits any more; the daemon is told so. */
START_TEST(late_reply_is_undone)
{
	struct ckv_space *other = NULL;
	struct ckv_lane *second = NULL;
	struct ckv *late;

	for (int i = 0; i < 20; i++) {
		lib_call_timeout_ns = 20000000;
		kill(daemon_.pid, SIGSTOP);
		ck_assert_int_eq(i % 2 ? ckv_lane_open(space, NULL, &second) :
				 ckv_attach(ckv, "other", NULL, CKV_READ, &other),
				 -ETIMEDOUT);
		/* And one that could not even be sent. */
		ck_assert_int_eq(ckv_lane_open(space, NULL, &second), -ETIMEDOUT);
		ck_assert_int_eq(found(lane), 1);
		/* Nor does it welcome anybody. */
		ck_assert_int_eq(ckv_open(daemon_.socket, NULL, &late), -ETIMEDOUT);
		ck_assert_ptr_nonnull(strstr(ckv_why(NULL), "the daemon does not answer"));
		kill(daemon_.pid, SIGCONT);
		lib_call_timeout_ns = LIB_CALL_TIMEOUT_NS;
		lane_lives();
		ck_assert_int_eq(ckv_lane_open(space, NULL, &second), 0);
		ck_assert_int_eq(found(second), 1);
		ck_assert_ptr_null(ckv_lane_close(second));
	}
	ck_assert_int_eq(ckv_attach(ckv, "other", NULL, CKV_READ, &other), 0);
	lane_lives();
}
END_TEST

static void *attach_slowly(void *done)
{
	struct ckv_space *other;
	static int r;

	r = ckv_attach(ckv, "other", NULL, CKV_READ, &other);
	pthread_mutex_lock(&ckv->lock);
	*(int *)done = 1;
	pthread_mutex_unlock(&ckv->lock);
	return &r;
}

static int pending(void)
{
	int is;

	pthread_mutex_lock(&ckv->lock);
	is = ckv->call.pending != LIB_IDLE;
	pthread_mutex_unlock(&ckv->lock);
	return is;
}

/* While one thread waits for the daemon, a lane is used as ever. */
START_TEST(slow_call_delays_no_lane)
{
	struct ckv_event event;
	pthread_t thread;
	int done = 0;
	void *r;

	kill(daemon_.pid, SIGSTOP);
	ck_assert_int_eq(pthread_create(&thread, NULL, attach_slowly, &done), 0);
	while (!pending())
		nap();
	for (int i = 0; i < 1000; i++)
		lane_lives();
	ck_assert_int_eq(ckv_submit_nop(lane, 1), 0);
	ck_assert_int_eq(ckv_event_arm(lane), 0);
	ck_assert_int_eq(ckv_poll(lane, &event, 1), 0);
	pthread_mutex_lock(&ckv->lock);
	ck_assert_int_eq(done, 0);
	pthread_mutex_unlock(&ckv->lock);
	kill(daemon_.pid, SIGCONT);
	pthread_join(thread, &r);
	ck_assert_int_eq(*(int *)r, 0);
	ck_assert_int_eq(ckv_wait(lane, -1, &event, 1), 1);
}
END_TEST

/* ---- a connection that breaks while the daemon lives ---- */

/* Lanes come back; what they had stays until it is given back, then the daemon has it. */
START_TEST(lanes_outlive_their_connection)
{
	struct ckv_handle handle;
	struct ckv_lane *second;
	struct ckv_page page;
	uint8_t mine[32] = { 9 };

	lib_reattach_ns = 5000000;
	ck_assert_int_eq(ckv_lane_open(space, NULL, &second), 0);
	for (int i = 0; i < 20; i++) {
		/* Until the old lane is closed there, its page is being written. */
		while (ckv_reserve(lane, NULL, mine, 1, &page) == 0 &&
		       page.status == -EALREADY)
			nap();
		ck_assert_int_eq(page.status, 0);
		shutdown(ckv->sock, SHUT_RDWR);
		while (ckv_lane_state(lane->d) == 0)
			nap();
		ck_assert(finds_again(lane));
		ck_assert(finds_again(second));
		ck_assert_int_eq(ckv_pin_valid(lane, &held), -ESTALE);
		ck_assert_int_eq(ckv_publish(lane, &page, 1, 16, CKV_SUM, NULL,
					     NULL, NULL), -ESTALE);
		ckv_unpin(lane, &held);
		ck_assert_ptr_null(lane->olds);
		ck_assert_int_eq(ckv_lookup(lane, key, 1, 0, &handle, &held), 1);
	}
}
END_TEST

/* The last word of a connection is heard, also by a daemon that could not answer. */
START_TEST(nothing_stays_behind)
{
	struct ckv_space *s;
	struct ckv_lane *l;
	struct ckv *other;

	for (int i = 0; i < 20; i++) {
		int r = -EUSERS;

		for (int n = 0; r == -EUSERS && n < 1000; n++) {
			r = ckv_open(daemon_.socket, "other", &other);
			if (r == -EUSERS)
				nap();
		}
		ck_assert_int_eq(r, 0);
		ck_assert_int_eq(ckv_attach(other, "other", NULL, CKV_READ, &s), 0);
		ck_assert_int_eq(ckv_attach(other, "tiny", NULL, CKV_READ, &s), 0);
		ck_assert_int_eq(ckv_lane_open(s, NULL, &l), 0);
		ck_assert_int_eq(ckv_lane_open(s, NULL, &l), 0);
		lib_call_timeout_ns = 20000000;
		kill(daemon_.pid, SIGSTOP);
		if (i % 2)
			ck_assert_int_eq(ckv_lane_open(s, NULL, &l), -ETIMEDOUT);
		ck_assert_ptr_null(ckv_close(other));
		kill(daemon_.pid, SIGCONT);
		lib_call_timeout_ns = LIB_CALL_TIMEOUT_NS;
	}
}
END_TEST

/* More lines for [daemon], which comes first. */
static void add_params(const char *lines)
{
	char text[4096], *rest;
	FILE *f = fopen(daemon_.config, "r+");

	text[fread(text, 1, sizeof text - 1, f)] = 0;
	rest = strchr(text, '\n') + 1;
	rewind(f);
	fprintf(f, "[daemon]\n%s%s", lines, rest);
	fclose(f);
}

/* A lane that a new daemon refuses asks it ten times a second, not at every lookup. */
START_TEST(refused_lanes_ask_seldom)
{
	struct ckv_lane_options options = { .n_pins = 4096 };
	struct ckv_lane *big[2];
	int64_t start, ns;
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(ckv_lane_open(space, &options, &big[i]), 0);
	ckv_unpin(lane, &held);
	test_daemon_kill(&daemon_);
	add_params("max_lane_pins = 1024\nlane_pins = 1024\n");
	test_daemon_restart(&daemon_);
	start = lib_now_ns();
	for (ns = 0; ckv->n_refusals < 4; ns = lib_now_ns() - start)
		for (int i = 0; i < 2; i++)
			ck_assert_int_eq(found(big[i]), 0);
	/* Four of them take three pauses, whoever asks. */
	ck_assert_int_ge(ns, 3 * LIB_REATTACH_NS);
	ck_assert_ptr_nonnull(strstr(ckv_why(ckv), "n_pins"));
}
END_TEST

/* ---- refusals are told ---- */

START_TEST(limit_of_clients_is_always_told)
{
	struct ckv *c[4];
	int n = 0, r;

	while ((r = ckv_open(daemon_.socket, "other", &c[n])) == 0)
		ck_assert_int_lt(++n, 4);
	for (int i = 0; i < 100; i++) {
		ck_assert_int_eq(ckv_open(daemon_.socket, "other", &c[3]), -EUSERS);
		ck_assert_ptr_nonnull(strstr(ckv_why(NULL), "max_clients"));
	}
	while (n > 0)
		ckv_close(c[--n]);
	lane_lives();
}
END_TEST

/* Without a daemon every call that needs one says -ESTALE, and where it looked. */
START_TEST(absent_daemon_is_stale)
{
	struct ckv_space *s;
	struct ckv_lane *l;

	if (_i == 0)
		test_daemon_kill(&daemon_);
	else
		test_daemon_stop(&daemon_);
	ck_assert_int_eq(ckv_lane_open(space, NULL, &l), -ESTALE);
	ck_assert_ptr_nonnull(strstr(ckv_why(ckv), daemon_.socket));
	ck_assert_int_eq(ckv_attach(ckv, "other", NULL, CKV_READ, &s), -ESTALE);
}
END_TEST

/* ---- the event descriptor ---- */

static int readable(void)
{
	struct pollfd p = { .fd = ckv_event_fd(ckv), .events = POLLIN };

	return poll(&p, 1, 0);
}

static void wait_readable(void)
{
	struct pollfd p = { .fd = ckv_event_fd(ckv), .events = POLLIN };

	ck_assert_int_eq(poll(&p, 1, 5000), 1);
}

/* Each lane's event is its own, whoever reads the socket. */
START_TEST(events_wait_for_their_lane)
{
	struct ckv_lane *second;
	struct ckv_event event;

	ck_assert_int_eq(ckv_lane_open(space, NULL, &second), 0);
	for (int i = 0; i < 10; i++) {
		ck_assert_int_eq(readable(), 0);
		ck_assert_int_eq(ckv_event_arm(lane), 0);
		ck_assert_int_eq(ckv_event_arm(second), 0);
		ck_assert_int_eq(ckv_submit_nop(lane, 1), 0);
		while (!ckv_ring_ready(&lane->rx))
			nap();
		wait_readable();
		/* The other one has nothing yet, and takes nothing away. */
		ck_assert_int_eq(ckv_poll(second, &event, 1), 0);
		ck_assert_int_eq(ckv_submit_nop(second, 2), 0);
		while (!ckv_ring_ready(&second->rx))
			nap();
		ck_assert_int_eq(ckv_wait(second, -1, &event, 1), 1);
		ck_assert_int_eq(readable(), 1);
		ck_assert_int_eq(ckv_poll(lane, &event, 1), 1);
		for (int n = 0; readable() && n < 1000; n++) {
			nap();
			ckv_poll(second, &event, 1);
		}
	}
}
END_TEST

/* A daemon's death is an event of every lane that asked for one. */
START_TEST(death_is_an_event_of_each_lane)
{
	struct ckv_lane *second;
	struct ckv_event event;

	ck_assert_int_eq(ckv_lane_open(space, NULL, &second), 0);
	kill(daemon_.pid, SIGSTOP);
	ck_assert_int_eq(ckv_submit_nop(lane, 1), 0);
	ck_assert_int_eq(ckv_submit_nop(second, 2), 0);
	ck_assert_int_eq(ckv_event_arm(lane), 0);
	ck_assert_int_eq(ckv_event_arm(second), 0);
	test_daemon_kill(&daemon_);
	wait_readable();
	ck_assert_int_eq(ckv_poll(lane, &event, 1), 1);
	ck_assert_int_eq(event.result, -ESTALE);
	ck_assert_int_eq(readable(), 1);
	ck_assert_int_eq(ckv_poll(second, &event, 1), 1);
	ck_assert_uint_eq(event.tag, 2);
	ck_assert_int_eq(readable(), 0);
}
END_TEST

/* A child holds the old socket; the descriptor is quiet after a restart all the same. */
START_TEST(quiet_after_fork_and_restart)
{
	struct ckv_event event;
	pid_t child = fork();

	if (child == 0) {
		pause();
		_exit(0);
	}
	test_daemon_kill(&daemon_);
	ckv_unpin(lane, &held);
	test_daemon_restart(&daemon_);
	for (int i = 0; !lib_lane_alive(lane) && i < 3000; i++) {
		found(lane);
		nap();
	}
	ck_assert_int_eq(readable(), 0);
	ck_assert_int_eq(ckv_event_arm(lane), 0);
	ck_assert_int_eq(ckv_submit_nop(lane, 5), 0);
	wait_readable();
	while (ckv_poll(lane, &event, 1) == 0)
		nap();
	ck_assert_int_eq(readable(), 0);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
}
END_TEST

/* ---- closing ---- */

static void *wait_for_nop(void *unused)
{
	static struct ckv_event event;

	(void)unused;
	return ckv_wait(lane, -1, &event, 1) == 1 ? &event : NULL;
}

/* What a thread is in a call of is not closed under it. */
START_TEST(closing_is_refused_during_a_call)
{
	pthread_t thread;
	void *r;

	kill(daemon_.pid, SIGSTOP);
	ck_assert_int_eq(ckv_submit_nop(lane, 1), 0);
	ck_assert_int_eq(pthread_create(&thread, NULL, wait_for_nop, NULL), 0);
	while (!lib_lane_used(lane))
		nap();
	ck_assert_ptr_eq(ckv_lane_close(lane), lane);
	ck_assert_ptr_eq(ckv_detach(space), space);
	ck_assert_ptr_eq(ckv_close(ckv), ckv);
	kill(daemon_.pid, SIGCONT);
	pthread_join(thread, &r);
	ck_assert_ptr_nonnull(r);
	lane_lives();
	ckv_unpin(lane, &held);
	ck_assert_ptr_null(ckv_detach(space));
}
END_TEST

/* The same for a thread that attaches or opens a lane. */
START_TEST(closing_is_refused_during_an_attach)
{
	pthread_t thread;
	int done = 0;
	void *r;

	kill(daemon_.pid, SIGSTOP);
	ck_assert_int_eq(pthread_create(&thread, NULL, attach_slowly, &done), 0);
	while (!pending())
		nap();
	ck_assert_ptr_eq(ckv_close(ckv), ckv);
	kill(daemon_.pid, SIGCONT);
	pthread_join(thread, &r);
	ck_assert_int_eq(*(int *)r, 0);
}
END_TEST

CHECK_MAIN("lib_session",
	CASE("session", .setup = setup, .teardown = teardown),
	LOOP(no_room_costs_one_call, 2),
	LOOP(slab_without_room_is_mapped_later, 2),
	LOOP(absent_daemon_is_stale, 2),
	TEST(the_daemon_has_no_room),
	TEST(late_reply_is_undone),
	TEST(slow_call_delays_no_lane),
	TEST(lanes_outlive_their_connection),
	TEST(nothing_stays_behind),
	TEST(refused_lanes_ask_seldom),
	TEST(limit_of_clients_is_always_told),
	TEST(events_wait_for_their_lane),
	TEST(death_is_an_event_of_each_lane),
	TEST(quiet_after_fork_and_restart),
	TEST(closing_is_refused_during_a_call),
	TEST(closing_is_refused_during_an_attach))

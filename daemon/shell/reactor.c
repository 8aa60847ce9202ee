/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reactor.c - the one thread that decides everything, turn by turn.
 *
 * A turn
 *   - gives every client its share of work (turns.c);
 *   - makes a step of a space whose tasks or jobs wait for one;
 *   - does a bounded piece of each background work: lanes that end, requests that
 *     waited and can go on, chains that own jobs list, the shown numbers;
 *   - every few turns, or if the loop has a hint, looks at the clock and the
 *     descriptors.
 *
 * Without work the reactor goes on polling for spin_ns: this time doubles when work
 * came soon after the reactor had gone to sleep, and halves when it did not. Then the
 * reactor announces that it sleeps, looks once more, and waits in the kernel until a
 * client wakes it, a request has waited long enough, or the tick is due.
 */
#include "daemon/shell/adopt.h"
#include "daemon/shell/auto.h"
#include "daemon/shell/jobs.h"
#include "daemon/shell/keep.h"
#include "daemon/shell/leave.h"
#include "daemon/shell/log.h"
#include "daemon/shell/reload.h"
#include "daemon/shell/sys.h"
#include "daemon/shell/waits.h"

#include <errno.h>
#include <string.h>

#define TURN_UNITS	3u	/* cost of a turn without work, in work units */
#define CLOCK_TURNS	16u	/* turns from one look at the clock to the next */
#define POLL_NS		100000u	/* a busy reactor asks the loop this often */

static void report(struct daemon *d, uint64_t token)
{
	struct client *client;

	switch ((enum watch_kind)(token >> 56)) {
	case WATCH_LISTEN:
		d->accepting = d->sockets_wait = true;
		break;
	case WATCH_SIGNAL:
		signals_read(d);
		break;
	case WATCH_JOBS:
		jobs_collect(d);
		break;
	case WATCH_SOCKET:
		client = client_by_token(d, token);
		if (client)
			client->readable = d->sockets_wait = true;
		break;
	case WATCH_DEATH:
		client = client_by_token(d, token);
		if (client)
			client_died(d, client);
		break;
	case WATCH_STORE:
		keep_collect(d);
		break;
	case WATCH_LANE:	/* it only had to wake the reactor */
		break;
	}
}

/* Serve messages and new connections that may be waiting. Were there perhaps any? */
static bool serve_sockets(struct daemon *d)
{
	leave_collect(d);
	if (!d->sockets_wait)
		return false;
	if (d->accepting)
		clients_accept(d);
	d->sockets_wait = d->accepting;
	control_serve(d);
	return true;
}

/* Take reports from the loop, waiting at most wait_ns for the first. */
static int poll_loop(struct daemon *d, uint64_t wait_ns, int *ret_n)
{
	uint64_t token[TOKENS_MAX];
	int n = loop_wait(d->loop, wait_ns, token, TOKENS_MAX);

	d->now_ns = d->polled_ns = sys_now_ns();
	for (int i = 0; i < n; i++)
		report(d, token[i]);
	if (n >= 0)
		*ret_n = n;
	return n < 0 ? n : 0;
}

/* Everything that happens once a second, busy or not. */
void tick(struct daemon *d)
{
	uint64_t patience_ns = d->config->daemon.hello_timeout;

	d->tick_ns = d->now_ns + TICK_NS;
	for (uint32_t i = 0; i < d->n_client_rows; i++)
		if (d->client[i].state == CLIENT_CONNECTED &&
		    d->now_ns - d->client[i].since_ns > patience_ns) {
			ckv_count(&d->stats->clients_refused, 1);
			client_hang_up(d, &d->client[i]);
		} else if (d->client[i].state == CLIENT_ENDING) {
			client_free(d, &d->client[i]);
		}
	/* Accepting stops when descriptors run out; try again. */
	d->accepting = d->sockets_wait = true;
	/* Also before each sleep, but a reactor that is always busy does not sleep. */
	(void)auto_begin(d);
	adopt_tick(d);
	stats_tick(d);
	(void)sys_notify("WATCHDOG=1", 0);
	if (d->ready_unsaid)
		reload_say_ready(d);
}

static int sleep_until_tick(struct daemon *d)
{
	uint64_t started_ns = d->now_ns, due_ns, wait_ns;
	const struct daemon_params *p = &d->config->daemon;
	int n = 0, r = 0;

	if (jobs_idle(d))
		return 0;
	if (auto_begin(d))
		return 0;	/* the next turn lists its chain */
	ckv_sleep_prepare(&d->world->reactor_sleeping);
	if (!any_lane_ready(d) && !d->step_wanted) {
		due_ns = waits_due_ns(d);
		if (due_ns > d->tick_ns)
			due_ns = d->tick_ns;
		wait_ns = due_ns > d->now_ns ? due_ns - d->now_ns : 0;
		ckv_count(&d->stats->reactor_sleeps, 1);
		r = poll_loop(d, wait_ns, &n);
	}
	ckv_sleep_done(&d->world->reactor_sleeping);
	if (d->now_ns - started_ns < p->spin_max)
		d->spin_ns *= 2;
	else
		d->spin_ns /= 2;
	if (d->spin_ns < p->spin_min)
		d->spin_ns = p->spin_min;
	if (d->spin_ns > p->spin_max)
		d->spin_ns = p->spin_max;
	d->worked_ns = d->now_ns;
	return r;
}

/* Read some touches of one space; a step also does, before it evicts. */
static void drain_touches(struct daemon *d)
{
	d->last_drained = d->last_drained + 1 < d->n_spaces ? d->last_drained + 1 : 0;
	(void)space_touches_drain(d->served[d->last_drained].core);
}

/* Look at the clock and the descriptors, tick if it is time, sleep if there is no work. */
static int turn_slow(struct daemon *d)
{
	bool worked;
	int n = 0, r;

	d->now_ns = sys_now_ns();
	if (loop_hint(d->loop) || d->now_ns - d->polled_ns > POLL_NS) {
		r = poll_loop(d, 0, &n);
		if (r < 0)
			return r;
		d->worked |= n > 0;
	}
	d->worked |= serve_sockets(d);
	drain_touches(d);
	d->worked |= adopt_turn(d);
	d->worked |= waits_expire(d);
	if (d->now_ns >= d->tick_ns)
		tick(d);
	worked = d->worked;
	if (worked)
		d->worked_ns = d->now_ns;
	d->worked = false;
	/* Work may go on in the next turn, so look once more, also with spin_min = 0. */
	if (worked || d->now_ns - d->worked_ns < d->spin_ns || d->sockets_wait)
		return 0;
	return sleep_until_tick(d);
}

static int turn(struct daemon *d)
{
	uint32_t units = serve_clients(d);
	bool worked = units > 0;

	d->turn++;
	pay_for_steps(d, units + TURN_UNITS);
	worked |= serve_steps(d);
	worked |= lanes_end(d);
	worked |= waits_turn(d);
	worked |= jobs_turn(d);
	worked |= stats_turn(d);
	d->worked |= worked;
	if (d->turn % CLOCK_TURNS == 0 || d->sockets_wait || loop_hint(d->loop))
		return turn_slow(d);
	if (!worked)
		ckv_pause();
	return 0;
}

int reactor_run(struct daemon *d)
{
	int r = 0;

	d->now_ns = d->worked_ns = sys_now_ns();
	d->spin_ns = d->config->daemon.spin_min;
	tick(d);
	while (!d->stop && r == 0) {
		r = turn(d);
		ckv_hint_store64(&d->stats->reactor_turns, d->turn);
	}
	if (r < 0)
		log_line(LOG_ERROR, "the %s loop failed: %s",
			 loop_name(d->loop), strerror(-r));
	return r;
}

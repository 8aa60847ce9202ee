/* SPDX-License-Identifier: Apache-2.0 */
/*
 * turns.c - what one turn of the reactor does for each client and each space.
 *
 * In a turn each client is served once, for its share of work units; who is first
 * changes from turn to turn. The lanes of a client take turns in the same way. If a
 * client uses more than its share, its next share is so much smaller. So a client waits
 * at most for the shares of all others and for one step.
 *
 * A client is sparse if it used less than its share: it asks for little, and waits for
 * the answers before it asks again. To make such waits short, one sparse client that
 * has requests is served after each share of a client that is not sparse. So it waits
 * for one share instead of all, and a turn becomes at most twice as long.
 */
#include "daemon/shell/jobs.h"

#define GAP_LOOKS	16u	/* lanes of sparse clients looked at after a share */

static void serve_client(struct daemon *d, struct client *client, int32_t share)
{
	int32_t units = share - (int32_t)client->owed;
	uint32_t at = client->turn_lane, next;

	client->owed = 0;
	for (uint32_t n = client->n_lanes; n > 0 && units > 0; n--, at = next) {
		struct lane *lane = &d->lane[at];

		next = lane->next;
		if (lane->state == LANE_OPEN && lane_ready(lane))
			lane_serve(d, lane, &units);
	}
	client->turn_lane = at;
	/* A lane that was shut meanwhile has added what that cost. */
	client->owed += units < 0 ? (uint32_t)-units : 0;
	client->sparse = units > 0;
}

/* Serve the next sparse client that has a request; not the one at index `but`. */
static void serve_sparse(struct daemon *d, uint32_t but, int32_t share)
{
	uint32_t looks = 0;

	for (uint32_t i = 0; i < d->n_serving && looks < GAP_LOOKS; i++) {
		uint32_t at = d->next_sparse < d->n_serving ? d->next_sparse : 0;
		struct client *client = &d->client[d->serving[at]];
		uint64_t before = ckv_hint_load64(&d->stats->work_units);

		d->next_sparse = at + 1;
		if (at == but || !client->sparse)
			continue;
		looks += client->n_lanes;
		serve_client(d, client, share);
		if (ckv_hint_load64(&d->stats->work_units) != before)
			return;
	}
}

uint32_t serve_clients(struct daemon *d)
{
	int32_t share = (int32_t)d->config->daemon.work_per_turn;
	uint64_t before = ckv_hint_load64(&d->stats->work_units), n;
	uint32_t at = d->first_served;
	struct client *client;

	for (uint32_t i = 0; i < d->n_serving; i++, at++) {
		if (at >= d->n_serving)
			at = 0;
		client = &d->client[d->serving[at]];
		serve_client(d, client, share);
		if (!client->sparse)
			serve_sparse(d, at, share);
	}
	d->first_served = d->first_served + 1 < d->n_serving ?
			  d->first_served + 1 : 0;
	n = ckv_hint_load64(&d->stats->work_units) - before;
	if (n > ckv_hint_load64(&d->stats->turn_units_max))
		ckv_hint_store64(&d->stats->turn_units_max, n);
	return (uint32_t)n;
}

bool any_lane_ready(const struct daemon *d)
{
	for (uint32_t i = 0; i < d->n_serving; i++) {
		const struct client *client = &d->client[d->serving[i]];
		uint32_t at = client->turn_lane;

		do {
			const struct lane *lane = &d->lane[at];

			if (lane->state == LANE_OPEN && lane_ready(lane))
				return true;
			at = lane->next;
		} while (at != client->turn_lane);
	}
	return false;
}

/*
 * May the space make a step? Its own scans must be paid. A space whose last scan was
 * long also waits until the long scans of all spaces are paid, so that all together take
 * no more time than those of one space may. A space of short scans does not wait for
 * the others.
 */
static bool may_step(const struct daemon *d, const struct served_space *served)
{
	return space_pace_ready(&served->pace) &&
	       (served->step_debt <= SPACE_PACE_FREE || space_pace_ready(&d->pace));
}

static void make_step(struct daemon *d, struct served_space *served)
{
	uint64_t before = served->pace.debt;

	space_step(served->core);
	served->step_debt = served->pace.debt - before;
	if (served->step_debt > SPACE_PACE_FREE)
		d->pace.debt += served->step_debt;
	jobs_step(d, served);
}

bool serve_steps(struct daemon *d)
{
	bool wanted = false;

	for (uint32_t i = 0; d->step_wanted && i < d->n_spaces; i++) {
		struct served_space *served;

		d->last_stepped = d->last_stepped + 1 < d->n_spaces ?
			       d->last_stepped + 1 : 0;
		served = &d->served[d->last_stepped];
		if (!space_waits(served->core))
			continue;
		wanted = true;
		if (!may_step(d, served))
			continue;
		make_step(d, served);
		return true;
	}
	d->step_wanted = wanted;
	return false;
}

void pay_for_steps(struct daemon *d, uint32_t units)
{
	space_pace_pay(&d->pace, units);
	for (uint32_t i = 0; i < d->n_spaces; i++)
		space_pace_pay(&d->served[i].pace, units);
}

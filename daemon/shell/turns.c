/* SPDX-License-Identifier: Apache-2.0 */
/*
 * turns.c - what one turn of the reactor does for each client and each space.
 *
 * Clients are served by turns, from another place each time, and so are the lanes of
 * one. A client's work units are its own: what it takes beyond them it has less of in
 * the next turn. Nobody waits for more than the shares of the others, and for one step.
 *
 * A client whose rings were empty before its share was used up waits for its answers
 * before it asks again. It is looked at after each share of another client, so it waits
 * for one of them, not for all; one such client a time, so a turn is at most twice as long.
 */
#include "daemon/shell/jobs.h"

#define GAP_LOOKS	16u	/* lanes looked at after another client's share */

static void serve_client(struct daemon *d, struct client *client, int32_t share)
{
	int32_t units = share - (int32_t)client->owed;
	uint32_t at = client->turn_lane, next;

	for (uint32_t n = client->n_lanes; n > 0 && units > 0; n--, at = next) {
		struct lane *lane = &d->lane[at];

		next = lane->next;
		if (lane->state == LANE_OPEN && lane_ready(lane))
			lane_serve(d, lane, &units);
	}
	client->turn_lane = at;
	client->owed = units < 0 ? (uint32_t)-units : 0;
	client->sparse = units > 0;
}

/* Between two shares: the next client that asks for little, if it asks now. */
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
 * A space pays for its own scans. All long ones together take no more of the time than
 * one space's may; a short one, of a space whose pin tables are small, waits for none.
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

		d->next_host = d->next_host + 1 < d->n_spaces ?
			       d->next_host + 1 : 0;
		served = &d->served[d->next_host];
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

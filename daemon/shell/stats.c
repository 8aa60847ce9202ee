/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stats.c - fill the stats memory, in which the daemon shows itself and its clients.
 */
#include "daemon/shell/daemon.h"
#include "daemon/shell/sys.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#define ROWS_PER_TURN	8u	/* lanes and clients that stats_turn() looks at */
#define PINS_PER_TURN	4096u	/* pin words of a lane that it reads at once */

static struct ckv_client_row *row_of(struct daemon *d, struct client *client)
{
	return ckv_stats_client(d->stats_memory.base, d->n_spaces,
				(uint32_t)(client - d->client));
}

static void copy_name(char to[CKV_NAME_BYTES], const char *from)
{
	memset(to, 0, CKV_NAME_BYTES);
	memcpy(to, from, strnlen(from, CKV_NAME_BYTES - 1));
}

static void fill_space_row(struct daemon *d, uint32_t i)
{
	struct ckv_space_row *row = ckv_stats_space(d->stats_memory.base, i);
	const struct served_space *served = &d->served[i];
	uint64_t node = d->config->daemon.numa_node;

	copy_name(row->name, served->config->name);
	copy_name(row->policy, served->config->policy->name);
	row->geometry = served->geometry;
	ckv_hint_store32(&row->weights_known, served->weights_known);
	row->pool = served->pool.shape;
	row->n_buckets = space_buckets(&served->pool.shape);
	row->numa_node = node == CONFIG_NONE ? CKV_NONE : (uint32_t)node;
	row->huge_bytes = served->pool.huge_bytes;
	row->index_huge_bytes = served->index_huge_bytes;
}

void stats_weights(struct daemon *d, uint32_t space)
{
	struct ckv_space_row *row = ckv_stats_space(d->stats_memory.base, space);
	const struct served_space *served = &d->served[space];

	memcpy(row->geometry.weights, served->geometry.weights,
	       sizeof row->geometry.weights);
	ckv_hint_store32(&row->weights_known, served->weights_known);
}

int stats_create(struct daemon *d)
{
	struct ckv_stats_head head = {
		.magic = CKV_STATS_MAGIC, .layout_version = CKV_LAYOUT_VERSION,
		.pid = (uint32_t)getpid(), .n_spaces = d->n_spaces,
		.n_client_rows = d->n_client_rows,
		.n_workers = config_workers(&d->config->daemon),
		.started_s = sys_real_ns() / 1000000000u,
	};
	int r;

	copy_name(head.version, CKV_VERSION);
	copy_name(head.loop, loop_name(d->loop));
	r = memory_create("ckv-stats", ckv_stats_bytes(d->n_spaces,
						       d->n_client_rows),
			  MEMORY_OURS, &head, sizeof head, &d->stats_memory);
	if (r < 0)
		return r;
	d->stats = ckv_stats_global(d->stats_memory.base);
	for (uint32_t i = 0; i < d->n_spaces; i++)
		fill_space_row(d, i);
	return 0;
}

/* `name` is given once, when the client attaches. */
void stats_client(struct daemon *d, struct client *client, const char *name)
{
	static const uint32_t shown[] = {
		[CLIENT_FREE] = CKV_CLIENT_FREE,
		[CLIENT_CONNECTED] = CKV_CLIENT_FREE,
		[CLIENT_ATTACHED] = CKV_CLIENT_ATTACHED,
		[CLIENT_DETACHED] = CKV_CLIENT_DETACHED,
		[CLIENT_ENDING] = CKV_CLIENT_FREE,
	};
	struct ckv_client_row *row = row_of(d, client);
	/* As long as its lanes are being ended, it is shown as detached. */
	uint32_t state = client->state == CLIENT_ENDING && client->n_lanes > 0 ?
			 CKV_CLIENT_DETACHED : shown[client->state];
	uint64_t pins = 0, lent = 0, spaces = 0;
	uint32_t at = client->turn_lane;

	if (name != NULL) {
		copy_name(row->name, name);
		row->pid = (uint32_t)client->pid;
		row->uid = client->uid;
		row->gid = client->gid;
		row->attached_s = sys_real_ns() / 1000000000u;
	}
	if (state != CKV_CLIENT_FREE) {
		for (uint32_t i = 0; i < d->n_spaces; i++) {
			spaces |= (uint64_t)(client->attached[i].access != 0) << i;
			lent += space_client_lent(d->served[i].core,
						  (uint32_t)(client - d->client));
		}
		for (uint32_t n = client->n_lanes - client->n_ending; n > 0; n--) {
			pins += d->lane[at].n_pins_used;
			at = d->lane[at].next;
		}
	}
	ckv_hint_store64(&row->spaces, spaces);
	ckv_hint_store64(&row->lanes, client->n_lanes);
	ckv_hint_store64(&row->pins, pins);
	ckv_hint_store64(&row->pages_lent, lent);
	ckv_hint_store64(&row->requests, client->n_requests);
	ckv_client_set_state(row, state);
}

void stats_tick(struct daemon *d)
{
	ckv_hint_store64(&d->stats->uptime_s,
			 (d->now_ns - d->started_ns) / 1000000000u);
	ckv_hint_store64(&d->stats->descriptors, (uint64_t)sys_descriptors());
	/* stats_turn() does the rest, some in each turn. */
	d->next_row = d->next_pin = 0;
}

/* Count some of a lane's pins. True: all of them are counted. */
static bool count_pins(struct daemon *d, struct lane *lane)
{
	if (d->next_pin == 0)
		lane->n_pins_counting = 0;
	lane->n_pins_counting += space_lane_pins(d->served[lane->space].core,
						 lane->number, d->next_pin,
						 PINS_PER_TURN);
	d->next_pin += PINS_PER_TURN;
	if (d->next_pin < lane->shape.n_pins)
		return false;
	d->next_pin = 0;
	lane->n_pins_used = lane->n_pins_counting;
	return true;
}

/* Lanes first, then the clients, whose rows show sums over lanes. */
bool stats_turn(struct daemon *d)
{
	for (uint32_t i = 0; i < ROWS_PER_TURN; i++, d->next_row++) {
		uint32_t row = d->next_row;

		if (row >= d->n_lane_rows + d->n_client_rows)
			return i > 0;
		if (row >= d->n_lane_rows) {
			struct client *client = &d->client[row - d->n_lane_rows];

			if (client->state == CLIENT_ATTACHED ||
			    client->state == CLIENT_DETACHED)
				stats_client(d, client, NULL);
			continue;
		}
		if (!lane_is_there(&d->lane[row])) {
			d->next_pin = 0;
			continue;
		}
		lane_fold_claims(d, &d->lane[row]);
		if (!count_pins(d, &d->lane[row]))
			return true;
	}
	return true;
}

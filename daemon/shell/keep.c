/* SPDX-License-Identifier: Apache-2.0 */
/* keep.c - see keep.h. */
#include "daemon/shell/keep.h"
#include "daemon/shell/adopt.h"
#include "daemon/shell/control.h"
#include "daemon/shell/ledger.h"
#include "daemon/shell/log.h"
#include "daemon/shell/store.h"
#include "daemon/shell/sys.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/*
 * What can wait for the store at once: as much as is let in, and for each name that is held
 * or will be held one wish to forget it.
 */
static uint32_t items_max(const struct daemon *d)
{
	return STORE_ITEMS + 8 + 2 * (d->n_client_rows + d->n_lane_rows);
}

int keep_create(struct daemon *d)
{
	int r;

	if (!sys_has_manager())
		return 0;
	r = store_create(items_max(d), &d->store);
	if (r == 0 && d->ledger == NULL)
		r = ledger_create(&d->ledger);
	if (r == 0)
		r = loop_watch(d->loop, store_eventfd(d->store),
			       watch_token(WATCH_STORE, 0, 0));
	if (r < 0)
		return r;
	/* What this epoch gives away is above all that was given away before. */
	ledger_set_next_serial(d->ledger, d->next_serial);
	ledger_set_epoch(d->ledger, d->epoch);
	return 0;
}

void keep_destroy(struct daemon *d)
{
	store_destroy(d->store);
	ledger_destroy(d->ledger);
	d->store = NULL;
	d->ledger = NULL;
}

uint64_t keep_serial(struct daemon *d)
{
	uint64_t serial = d->next_serial++;

	if (d->ledger != NULL)
		ledger_set_next_serial(d->ledger, d->next_serial);
	return serial;
}

static void client_name(char name[STORE_NAME_BYTES], uint64_t serial)
{
	snprintf(name, STORE_NAME_BYTES, "client-%" PRIu64, serial);
}

static void arena_name(char name[STORE_NAME_BYTES], uint64_t serial)
{
	snprintf(name, STORE_NAME_BYTES, "lanes-%" PRIu64, serial);
}

/* ---- the start ---- */

/* The same when nobody can be told yet: wait while many are waiting. */
static void put(struct daemon *d, const char *name, int fd, uint64_t *ticket)
{
	int r = store_put(d->store, sys_user_id(), name, fd, true, ticket);

	if (r == 0 && *ticket % STORE_ITEMS == 0)
		store_wait(d->store, *ticket);
	if (r < 0)
		store_break(d->store, r);
}

static void put_space(struct daemon *d, const struct served_space *served,
		      uint64_t *ticket)
{
	char name[STORE_NAME_BYTES];
	uint32_t row = served->ledger_row;

	for (uint32_t i = 0; !served->adopted && i < served->pool.shape.n_slabs; i++) {
		snprintf(name, sizeof name, "slab-%u-%u", row, i);
		put(d, name, served->pool.fds[i], ticket);
	}
	if (!served->adopted) {
		snprintf(name, sizeof name, "records-%u", row);
		put(d, name, served->records.fd, ticket);
	}
	if (!served->nodes_kept) {
		snprintf(name, sizeof name, "nodes-%u", row);
		put(d, name, served->nodes.fd, ticket);
	}
}

static void note_space(struct daemon *d, uint32_t space)
{
	const struct served_space *served = &d->served[space];
	struct ckv_ledger_space row = {
		.geometry = served->geometry, .pool = served->pool.shape,
		.fingerprint = served->fingerprint,
		.huge_bytes = served->pool.huge_bytes,
		.n_buckets = space_buckets(&served->pool.shape),
		.weights_known = served->weights_known,
	};

	snprintf(row.name, sizeof row.name, "%s", served->config->name);
	memcpy(row.seed, served->seed, sizeof row.seed);
	memcpy(row.secret, served->config->secret, sizeof row.secret);
	ledger_write(d->ledger, LEDGER_SPACE, served->ledger_row, &row);
}

/* Log once that nothing survives, and have a successor not use what is held. */
static bool is_lost(struct daemon *d)
{
	int error = store_error(d->store);

	if (error == 0)
		return false;
	ledger_set_valid(d->ledger, false);
	ckv_hint_store64(&d->stats->stored, 0);
	if (!d->store_lost)
		log_line(LOG_WARNING, "the service manager no longer holds what would "
			 "outlive this daemon: %s; the next start will be a cold one",
			 strerror(-error));
	d->store_lost = true;
	return true;
}

static void show_held(struct daemon *d)
{
	ckv_hint_store64(&d->stats->stored, store_held(d->store));
}

/*
 * The old goes before the new comes, perhaps under the same name. A new ledger, and the
 * row of a space, says that it can be used when all of it is stored.
 */
void keep_start(struct daemon *d)
{
	uint64_t ticket = 0;
	bool is_new = !adopt_has_ledger(d->adopt);

	if (d->store == NULL)
		return;
	adopt_forget_rest(d, &ticket);
	if (is_new) {
		put(d, "ledger", ledger_fd(d->ledger), &ticket);
		put(d, "world", d->world_memory.fd, &ticket);
	}
	for (uint32_t i = 0; i < d->n_spaces; i++) {
		struct served_space *served = &d->served[i];

		if (!served->adopted)
			served->ledger_row = ledger_take(d->ledger, LEDGER_SPACE);
		put_space(d, served, &ticket);
	}
	store_wait(d->store, ticket);
	for (uint32_t i = 0; i < d->n_spaces; i++)
		if (!d->served[i].adopted)
			note_space(d, i);
	if (!is_lost(d))
		ledger_set_valid(d->ledger, true);
	show_held(d);
}

void keep_weights(struct daemon *d, uint32_t space)
{
	if (d->ledger != NULL && d->served[space].ledger_row != CKV_NONE)
		note_space(d, space);
}

/* ---- lanes ---- */

bool keep_has_room(struct daemon *d, const struct client *client)
{
	return d->store == NULL || store_has_room(d->store, client->uid);
}

static int put_client(struct daemon *d, struct client *client)
{
	char name[STORE_NAME_BYTES];
	int r;

	if (client->serial != 0)
		return 0;
	client->ledger_row = ledger_take(d->ledger, LEDGER_CLIENT);
	if (client->ledger_row == CKV_NONE)
		return -EMFILE;
	client->serial = keep_serial(d);
	client_name(name, client->serial);
	/* A process that has ended must not vanish from the store by itself. */
	r = store_put(d->store, client->uid, name, client->pidfd, false,
		      &client->ticket);
	if (r < 0) {
		ledger_give(d->ledger, LEDGER_CLIENT, client->ledger_row);
		client->ledger_row = CKV_NONE;
		client->serial = 0;
	}
	return r;
}

static int put_arena(struct daemon *d, const struct client *client,
		     struct arena *arena)
{
	char name[STORE_NAME_BYTES];
	int r;

	if (arena->stored)
		return 0;
	arena_name(name, arena->serial);
	r = store_put(d->store, client->uid, name, arena->fd, true, &arena->ticket);
	arena->stored = r == 0;
	return r;
}

int keep_lane(struct daemon *d, struct lane *lane)
{
	struct client *client = &d->client[lane->client];
	int r;

	if (d->store == NULL || d->store_lost)
		return 0;
	r = put_client(d, client);
	if (r == 0)
		r = put_arena(d, client, lane->arena);
	if (r < 0)
		return r;
	if (client->ticket < lane->arena->ticket)
		client->ticket = lane->arena->ticket;
	if (store_done(d->store) >= client->ticket)
		return 0;
	client->opening = (uint32_t)(lane - d->lane);
	return 1;
}

static void note_client(struct daemon *d, struct client *client)
{
	uint32_t index = (uint32_t)(client - d->client);
	struct ckv_ledger_client row = {
		.serial = client->serial, .pid = (uint32_t)client->pid,
		.uid = client->uid, .gid = client->gid,
	};

	if (client->noted)
		return;
	memcpy(row.name, ckv_stats_client(d->stats_memory.base, d->n_spaces,
					  index)->name, sizeof row.name);
	ledger_write(d->ledger, LEDGER_CLIENT, client->ledger_row, &row);
	client->noted = true;
}

int keep_note_lane(struct daemon *d, struct lane *lane)
{
	struct client *client = &d->client[lane->client];
	struct ckv_ledger_lane row = {
		.serial = lane->serial, .client_serial = client->serial,
		.arena_serial = lane->arena->serial,
		.offset = lane->part * lane->arena->part_bytes,
		.shape = lane->shape, .client = client->ledger_row,
		.space = d->served[lane->space].ledger_row,
	};

	if (d->store == NULL || client->serial == 0 || is_lost(d))
		return 0;
	lane->ledger_row = ledger_take(d->ledger, LEDGER_LANE);
	if (lane->ledger_row == CKV_NONE)
		return -EMFILE;
	note_client(d, client);
	ledger_write(d->ledger, LEDGER_LANE, lane->ledger_row, &row);
	return 0;
}

void keep_collect(struct daemon *d)
{
	uint64_t done = store_done(d->store);

	(void)is_lost(d);
	show_held(d);
	for (uint32_t i = 0; i < d->n_clients_max; i++) {
		struct client *client = &d->client[i];
		struct lane *lane;
		int r;

		if (client->state != CLIENT_ATTACHED || client->opening == CKV_NONE ||
		    client->ticket > done)
			continue;
		lane = &d->lane[client->opening];
		client->opening = CKV_NONE;
		d->sockets_wait = true;
		r = control_lane_opened(d, client, lane);
		/* A client that has closed the socket needs no answer; its messages still count. */
		if (r < 0 && r != -EPIPE)
			client_hang_up(d, client);
	}
}

/* ---- what ends ---- */

void keep_forget_lane(struct daemon *d, struct lane *lane)
{
	if (d->ledger != NULL)
		ledger_give(d->ledger, LEDGER_LANE, lane->ledger_row);
	lane->ledger_row = CKV_NONE;
}

void keep_forget_arena(struct daemon *d, const struct client *client,
		       struct arena *arena)
{
	char name[STORE_NAME_BYTES];

	if (d->store == NULL || !arena->stored)
		return;
	arena_name(name, arena->serial);
	(void)store_remove(d->store, client->uid, name);
}

void keep_forget_client(struct daemon *d, struct client *client)
{
	char name[STORE_NAME_BYTES];

	client->opening = CKV_NONE;
	if (d->store == NULL || client->serial == 0)
		return;
	ledger_give(d->ledger, LEDGER_CLIENT, client->ledger_row);
	client->ledger_row = CKV_NONE;
	client_name(name, client->serial);
	(void)store_remove(d->store, client->uid, name);
	client->serial = 0;
	client->noted = false;
}

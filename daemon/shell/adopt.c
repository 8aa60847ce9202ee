/* SPDX-License-Identifier: Apache-2.0 */
/* adopt.c - see adopt.h. */
#include "daemon/shell/adopt.h"
#include "daemon/shell/arena.h"
#include "daemon/shell/keep.h"
#include "daemon/shell/ledger.h"
#include "daemon/shell/log.h"
#include "daemon/shell/served.h"
#include "daemon/shell/sys.h"
#include "daemon/shell/users.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define REST_UNITS 128	/* work units per turn for pages that rest no longer */

/* ---- the descriptors ---- */

static int take_items(struct adopt *a)
{
	char **names = NULL;
	int n = sys_take_fds(&names), r;

	if (n <= 0)
		return n;
	r = sys_alloc((size_t)n, sizeof a->item[0], &a->item);
	for (int i = 0; i < n; i++) {
		if (r < 0) {
			sys_close(SYS_FDS_START + i);
			continue;
		}
		a->item[i].fd = SYS_FDS_START + i;
		snprintf(a->item[i].name, sizeof a->item[i].name, "%s", names[i]);
	}
	a->n_items = r < 0 ? 0 : (uint32_t)n;
	sys_free_names(names);
	return r;
}

int adopt_look(struct daemon *d)
{
	struct adopt *a;
	int r;

	if (!sys_has_manager())
		return 0;
	r = sys_alloc(1, sizeof *a, &a);
	if (r < 0)
		return r;
	d->adopt = a;
	for (uint32_t i = 0; i < CKV_LEDGER_SPACES; i++)
		a->space[i] = (struct adopt_space){ .space = CKV_NONE, .row = i };
	a->began_ns = sys_now_ns();
	r = take_items(a);
	if (r == 0 && a->n_items > 0)
		r = adopt_judge(d, a);
	if (!a->ledger_used) {
		ledger_destroy(d->ledger);
		d->ledger = NULL;
	}
	a->judged_ns = sys_now_ns();
	return r;
}

static bool is_slab(const struct adopt_item *item)
{
	return strncmp(item->name, "slab-", 5) == 0;
}

uint64_t adopt_epoch(const struct daemon *d)
{
	uint64_t epoch, next;

	if (d->ledger == NULL)
		return 0;
	epoch = ledger_epoch(d->ledger);
	next = ledger_next_serial(d->ledger);
	return epoch > next ? epoch : next;
}

uint64_t adopt_bytes(const struct daemon *d)
{
	return d->adopt ? d->adopt->bytes : 0;
}

uint64_t adopt_unused_bytes(const struct daemon *d)
{
	const struct adopt *a = d->adopt;
	uint64_t bytes = 0;
	struct stat s;

	for (uint32_t i = 0; a != NULL && i < a->n_items; i++)
		if (is_slab(&a->item[i]) && !a->item[i].used &&
		    sys_stat_fd(a->item[i].fd, &s) == 0)
			bytes += (uint64_t)s.st_blocks * 512;
	return bytes;
}

bool adopt_has_ledger(const struct adopt *a)
{
	return a != NULL && a->ledger_used;
}

/* The descriptor, which belongs to its taker from now on. */
static int take(struct adopt_item *item)
{
	int fd = item->fd;

	item->fd = -1;
	return fd;
}

/* ---- world page, spaces ---- */

int adopt_world(struct daemon *d)
{
	struct adopt *a = d->adopt;
	int r;

	if (!adopt_has_ledger(a))
		return -ENOENT;
	r = memory_adopt(a->world->fd, CKV_WORLD_BYTES, &d->world_memory);
	if (r == 0)
		(void)take(a->world);
	return r;
}

struct adopt_space *adopt_space(const struct daemon *d, uint32_t space)
{
	for (uint32_t i = 0; d->adopt && i < CKV_LEDGER_SPACES; i++)
		if (d->adopt->space[i].space == space)
			return &d->adopt->space[i];
	return NULL;
}

int adopt_pool(struct adopt_space *s, struct pool_options *options, struct pool *ret_pool)
{
	const struct ckv_pool_shape *shape = &s->ledger->pool;
	int *fds, r;

	r = sys_alloc(shape->n_slabs, sizeof fds[0], &fds);
	if (r < 0)
		return r;
	for (uint32_t i = 0; i < shape->n_slabs; i++)
		fds[i] = s->slab[i]->fd;
	options->kept = fds;
	r = pool_create(shape, options, ret_pool);
	options->kept = NULL;
	for (uint32_t i = 0; r == 0 && i < shape->n_slabs; i++)
		(void)take(s->slab[i]);
	if (r == 0)
		ret_pool->huge_bytes = s->ledger->huge_bytes;
	sys_free(fds);
	return r;
}

int adopt_nodes(struct adopt_space *s, size_t bytes, struct memory *ret_memory)
{
	int r = s->nodes != NULL ? memory_check(s->nodes->fd, bytes) : -EINVAL;

	if (r == -EINVAL)
		return -ENOENT;
	if (r == 0)
		r = memory_adopt(s->nodes->fd, bytes, ret_memory);
	if (r == 0) {
		(void)take(s->nodes);
		s->nodes->used = true;
	}
	return r;
}

int adopt_records(struct adopt_space *s, struct memory *ret_memory)
{
	int r = memory_adopt(s->records->fd, ckv_records_bytes(&s->ledger->pool),
			     ret_memory);

	if (r == 0)
		(void)take(s->records);
	return r;
}

/* ---- clients and lanes ---- */

static int adopt_client(struct daemon *d, const struct ckv_ledger_client *row,
			struct adopt_client *c, uint32_t index, uint32_t ledger_row)
{
	struct client *client = &d->client[index];
	struct user *user = &d->user[users_max(&d->config->daemon) +
				     index - d->n_clients_max];
	char name[CKV_NAME_BYTES];
	int r;

	client->generation++;
	client->socket = -1;
	client->pid = (pid_t)row->pid;
	client->uid = row->uid;
	client->gid = row->gid;
	client->since_ns = d->now_ns;
	client->turn_lane = client->opening = CKV_NONE;
	r = loop_watch(d->loop, c->item->fd,
		       watch_token(WATCH_DEATH, client->generation, index));
	if (r < 0)
		return r;
	client->pidfd = take(c->item);
	client->state = CLIENT_DETACHED;
	client->serial = row->serial;
	client->ledger_row = ledger_row;
	client->noted = true;
	client->user = user;
	user->uid = row->uid;
	user->n_clients = 1;
	c->index = index;
	d->n_clients++;
	ckv_hint_store64(&d->stats->clients, d->n_clients);
	memcpy(name, row->name, sizeof name);
	name[sizeof name - 1] = 0;
	stats_client(d, client, name);
	return 0;
}

static int adopt_arena(struct adopt_arena *arena, struct client *client)
{
	int r;

	if (arena->arena != NULL)
		return 0;
	r = arena_adopt(client, arena->serial, arena->item->fd, arena->part_bytes,
			arena->n_parts, &arena->arena);
	if (r == 0)
		(void)take(arena->item);
	return r;
}

static int adopt_lane(struct daemon *d, const struct adopt_lane *old, uint32_t index)
{
	const struct ckv_ledger_lane *row = ledger_lane(d->ledger, old->row);
	struct adopt_client *c = &d->adopt->client[row->client];
	struct adopt_arena *arena = &d->adopt->arena[old->arena];
	struct client *client = &d->client[c->index];
	struct lane *lane = &d->lane[index];
	int r = adopt_arena(arena, client);

	if (r < 0)
		return r;
	*lane = (struct lane){
		.serial = row->serial, .client = c->index,
		.space = d->adopt->space[row->space].space, .eventfd = -1,
		.arena = arena->arena, .shape = row->shape,
		.part = (uint32_t)(row->offset / arena->part_bytes),
		.ledger_row = old->row, .first_wait = CKV_NONE,
		.map = ckv_lane_map(&row->shape),
	};
	return lane_adopt(d, client, lane);
}

/* All of a client's lanes come behind it; the tables have just as many rows. */
static int adopt_lanes(struct daemon *d)
{
	struct adopt *a = d->adopt;
	uint32_t client = d->n_clients_max, lane = d->n_lanes_max;
	int r = 0;

	for (uint32_t row = 0; row < CKV_LEDGER_CLIENTS && r == 0; row++)
		if (a->client[row].n_lanes > 0)
			r = adopt_client(d, ledger_client(d->ledger, row),
					 &a->client[row], client++, row);
	for (uint32_t i = 0; i < a->n_lanes && r == 0; i++)
		if (!a->lane[i].lost)
			r = adopt_lane(d, &a->lane[i], lane++);
	return r;
}

int adopt_clients(struct daemon *d)
{
	int r;

	if (!adopt_has_ledger(d->adopt))
		return 0;
	d->adopt->mapped_ns = sys_now_ns();
	r = adopt_lanes(d);
	for (uint32_t i = 0; i < d->n_spaces && r == 0; i++)
		if (d->served[i].adopted)
			served_adopt(&d->served[i]);
	if (r == 0)
		adopt_tick(d);
	d->adopt->built_ns = sys_now_ns();
	return r;
}

/*
 * Is a lane of before over? Its client may have said so while there was no daemon to hear
 * LANE_CLOSE. Else: a pin that is set after the epoch was raised is never confirmed, so a
 * lane without pins gets none any more; and no page is lent on it. The pins are those of
 * the last count, which stats_turn() makes. But while pages rest, their lane may be any one.
 */
static bool is_over(const struct daemon *d, const struct lane *lane)
{
	const struct space *core = d->served[lane->space].core;

	return ckv_state_load32(&lane->c_head->closed) != 0 ||
	       (lane->n_pins_used == 0 && space_lane_lent(core, lane->number) == 0 &&
		space_resting(core) == 0);
}

void adopt_tick(struct daemon *d)
{
	for (uint32_t i = d->n_lanes_max; i < d->n_lane_rows && d->n_old_open > 0; i++) {
		struct lane *lane = &d->lane[i];

		if (lane->state == LANE_SHUT && is_over(d, lane))
			lane_end(d, lane);
	}
}

bool adopt_turn(struct daemon *d)
{
	int32_t units = REST_UNITS;
	bool more = false;

	for (uint32_t i = 0; i < d->n_spaces && units > 0; i++)
		more |= !space_rest_end(d->served[i].core, &units);
	return more;
}

/* ---- what is not taken over ---- */

/* The rows first: what is in the ledger is held. */
static void clear_rows(struct daemon *d)
{
	struct adopt *a = d->adopt;

	/*
	 * Spaces before their lanes: after a kill in here, a space without its lanes would be
	 * taken over, and what is pinned on them lent again.
	 */
	for (uint32_t i = 0; i < CKV_LEDGER_SPACES; i++)
		if (ledger_state(d->ledger, LEDGER_SPACE, i) != LEDGER_FREE &&
		    a->space[i].space == CKV_NONE)
			ledger_give(d->ledger, LEDGER_SPACE, i);
	for (uint32_t i = 0; i < a->n_lanes; i++)
		if (a->lane[i].lost)
			ledger_give(d->ledger, LEDGER_LANE, a->lane[i].row);
	for (uint32_t i = 0; i < CKV_LEDGER_CLIENTS; i++)
		if (ledger_state(d->ledger, LEDGER_CLIENT, i) == LEDGER_RIGHT &&
		    a->client[i].n_lanes == 0)
			ledger_give(d->ledger, LEDGER_CLIENT, i);
}

/* `r`: of the one before; a manager that did not listen to that is not waited for again. */
static int release(struct adopt_item *item, int r)
{
	if (item == NULL || item->used)
		return r;
	sys_close(item->fd);
	item->fd = -1;
	if (r == 0)
		r = sys_store_remove(item->name, STORE_WAIT_NS);
	item->gone = r == 0;
	return r;
}

/* Without its ledger nothing of before can be used, so that goes first. */
void adopt_release(struct daemon *d)
{
	struct adopt *a = d->adopt;
	int r;

	if (a == NULL || a->n_items == 0)
		return;
	if (a->ledger_used)
		clear_rows(d);
	r = release(adopt_find(a, "ledger"), 0);
	for (uint32_t i = 0; i < a->n_items; i++)
		if (is_slab(&a->item[i]))
			r = release(&a->item[i], r);
	if (r == 0)
		(void)sys_store_barrier(STORE_WAIT_NS);
}

void adopt_forget_rest(struct daemon *d, uint64_t *ticket)
{
	struct adopt *a = d->adopt;

	for (uint32_t i = 0; a != NULL && i < a->n_items; i++) {
		if (a->item[i].gone)
			continue;
		store_count(d->store, a->item[i].name);
		if (a->item[i].used)
			continue;
		*ticket = store_remove(d->store, sys_user_id(), a->item[i].name);
		if (*ticket % STORE_ITEMS == 0)
			store_wait(d->store, *ticket);
	}
}

/* ---- the end of the start ---- */

void adopt_end(struct daemon *d)
{
	struct adopt *a = d->adopt;
	uint64_t now = sys_now_ns();
	uint32_t n = 0;

	for (uint32_t i = 0; i < d->n_spaces; i++)
		n += d->served[i].adopted;
	if (a != NULL && n > 0)
		log_line(LOG_INFO, "taken over from an earlier daemon: %u of %u spaces, "
			 "%" PRIu64 " MiB, %u clients, %u lanes; judged in %" PRIu64
			 " ms, mapped in %" PRIu64 ", built in %" PRIu64
			 ", stored in %" PRIu64, n, d->n_spaces, a->bytes >> 20,
			 d->n_old_clients, d->n_old_lanes,
			 (a->judged_ns - a->began_ns) / 1000000,
			 (a->mapped_ns - a->judged_ns) / 1000000,
			 (a->built_ns - a->mapped_ns) / 1000000,
			 (now - a->built_ns) / 1000000);
	adopt_destroy(d);
}

void adopt_destroy(struct daemon *d)
{
	struct adopt *a = d->adopt;

	if (a == NULL)
		return;
	for (uint32_t i = 0; i < a->n_items; i++)
		sys_close(a->item[i].fd);
	for (uint32_t i = 0; i < CKV_LEDGER_SPACES; i++)
		sys_free(a->space[i].slab);
	sys_free(a->arena);
	sys_free(a->lane);
	sys_free(a->client);
	sys_free(a->item);
	sys_free(a);
	d->adopt = NULL;
}

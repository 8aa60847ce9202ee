/* SPDX-License-Identifier: Apache-2.0 */
/*
 * adopt_judge.c - judge what an earlier daemon left: what of it can be used?
 *
 * A space that starts cold takes its lanes with it. Damage in the row of a client or lane
 * makes all spaces start cold, since it is not known what the row said.
 */
#include "daemon/shell/adopt.h"
#include "daemon/shell/arena.h"
#include "daemon/shell/control.h"
#include "daemon/shell/geometry.h"
#include "daemon/shell/ledger.h"
#include "daemon/shell/log.h"
#include "daemon/shell/sys.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COLD 1		/* of a judgement: it cannot be used, and it was said why */

static int compare_items(const void *one, const void *other)
{
	return strcmp(((const struct adopt_item *)one)->name,
		      ((const struct adopt_item *)other)->name);
}

struct adopt_item *adopt_find(const struct adopt *a, const char *format, ...)
{
	struct adopt_item key;
	va_list args;

	va_start(args, format);
	vsnprintf(key.name, sizeof key.name, format, args);
	va_end(args);
	return bsearch(&key, a->item, a->n_items, sizeof key, compare_items);
}

/* Nothing of before can be used. */
__attribute__((format(printf, 1, 2)))
static int all_cold(const char *format, ...)
{
	char text[256];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	log_line(LOG_WARNING, "cold start: what an earlier daemon left cannot be used: %s",
		 text);
	return COLD;
}

/* One space of before cannot be used; the first reason is said. */
__attribute__((format(printf, 2, 3)))
static int space_cold(struct adopt_space *s, const char *format, ...)
{
	char text[256];
	va_list args;

	if (s->ledger == NULL)
		return COLD;
	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	log_line(LOG_WARNING, "space %.*s: cold start: %s", (int)CKV_NAME_BYTES,
		 s->ledger->name, text);
	s->space = CKV_NONE;
	s->ledger = NULL;
	return COLD;
}

/* ---- the ledger and the world page ---- */

/* Is it there once, and such memory? 0, COLD, -errno. */
static int judge_world(struct adopt *a)
{
	struct ckv_world world;
	int r;

	a->world = adopt_find(a, "world");
	if (a->world == NULL)
		return all_cold("the world page is missing");
	r = memory_check(a->world->fd, CKV_WORLD_BYTES);
	if (r == -EINVAL)
		return all_cold("the world page is not sealed, or of another size or user");
	if (r < 0)
		return r;
	r = (int)sys_pread(a->world->fd, &world, sizeof world, 0);
	if (r < 0)
		return r;
	if (world.magic != CKV_WORLD_MAGIC ||
	    world.layout_version != CKV_LAYOUT_VERSION)
		return all_cold("the world page has memory layout version %u, this "
				"daemon %u", world.layout_version, CKV_LAYOUT_VERSION);
	return 0;
}

static int judge_ledger(struct daemon *d, struct adopt *a)
{
	struct adopt_item *item = adopt_find(a, "ledger");
	char text[128] = "";
	int r;

	for (uint32_t i = 1; i < a->n_items; i++)
		if (strcmp(a->item[i].name, a->item[i - 1].name) == 0)
			return all_cold("%s came twice", a->item[i].name);
	if (item == NULL)
		return all_cold("the ledger is missing");
	r = ledger_adopt(item->fd, &d->ledger, text);
	if (r == -EINVAL)
		return all_cold("%s", text);
	if (r < 0)
		return r;
	item->fd = -1;
	if (!ledger_is_valid(d->ledger))
		return all_cold("a start was not finished, or the manager failed before");
	/* Epochs are times, so such a one is damage; and serials must not overflow. */
	if (adopt_epoch(d) > UINT64_MAX / 2)
		return all_cold("the ledger has an impossible epoch");
	r = judge_world(a);
	if (r != 0)
		return r;
	for (int kind = LEDGER_CLIENT; kind < LEDGER_KINDS; kind++)
		for (uint32_t i = 0; i < ledger_rows(kind); i++)
			if (ledger_state(d->ledger, kind, i) == LEDGER_DAMAGED)
				return all_cold("row %u of %s in the ledger is damaged", i,
						kind == LEDGER_LANE ? "the lanes" :
						"the clients");
	item->used = a->world->used = true;
	return 0;
}

/* ---- spaces ---- */

/* Is such memory held under this name? *ret_item: it. 0, COLD, -errno. */
static int find_memory(struct adopt *a, struct adopt_space *s, const char *name,
		       uint64_t bytes, struct adopt_item **ret_item)
{
	struct adopt_item *item = adopt_find(a, "%s", name);
	int r;

	if (item == NULL)
		return space_cold(s, "%s is missing", name);
	r = memory_check(item->fd, bytes);
	if (r == -EINVAL)
		return space_cold(s, "%s is not sealed, or not of %" PRIu64 " bytes, "
				  "or another user's", name, bytes);
	if (r == 0)
		*ret_item = item;
	return r;
}

static int judge_memory(struct adopt *a, struct adopt_space *s)
{
	const struct ckv_pool_shape *pool = &s->ledger->pool;
	char name[STORE_NAME_BYTES];
	int r = sys_alloc(pool->n_slabs, sizeof s->slab[0], &s->slab);

	for (uint32_t i = 0; r == 0 && i < pool->n_slabs; i++) {
		snprintf(name, sizeof name, "slab-%u-%u", s->row, i);
		r = find_memory(a, s, name, ckv_slab_bytes(pool), &s->slab[i]);
	}
	if (r != 0)
		return r;
	snprintf(name, sizeof name, "records-%u", s->row);
	r = find_memory(a, s, name, ckv_records_bytes(pool), &s->records);
	if (r != 0)
		return r;
	s->nodes = adopt_find(a, "nodes-%u", s->row);
	return 0;
}

/* The shape is compared whole; these are the fields by which it can differ. */
static int compare_pool(struct adopt_space *s, const struct ckv_pool_shape *ours)
{
	const struct ckv_pool_shape *theirs = &s->ledger->pool;
	const struct {
		const char *what;
		uint64_t ours, theirs;
	} row[] = {
		{ "page_bytes", ours->page_bytes, theirs->page_bytes },
		{ "pages in a slab (pool, slab)", ours->slab_pages, theirs->slab_pages },
		{ "slabs (pool, slab)", ours->n_slabs, theirs->n_slabs },
		{ "pages for blocks (pool, views)", ours->n_block_pages, theirs->n_block_pages },
		{ "pages for views (pool, views)", ours->n_view_pages, theirs->n_view_pages },
	};

	for (size_t i = 0; i < sizeof row / sizeof row[0]; i++)
		if (row[i].ours != row[i].theirs)
			return space_cold(s, "%s: %" PRIu64 " in the configuration, %"
					  PRIu64 " in the memory of before", row[i].what,
					  row[i].ours, row[i].theirs);
	return memcmp(ours, theirs, sizeof *ours) == 0 ? 0 :
	       space_cold(s, "the pool has another shape");
}

static int compare_config(struct adopt_space *s, const struct config_space *c)
{
	const struct ckv_ledger_space *l = s->ledger;
	char text[232];
	size_t skip = strlen("space : ") + strlen(c->name);

	if (geometry_compare(c->name, &c->geometry, &l->geometry,
			     "in the memory of before", text) < 0)
		return space_cold(s, "%s", text + skip);
	if (compare_pool(s, &c->pool) != 0)
		return COLD;
	if (c->params.weights[0] != 0 &&
	    (!l->weights_known || memcmp(c->geometry.weights, l->geometry.weights,
					 CKV_WEIGHTS_BYTES) != 0))
		return space_cold(s, "the configuration names other weights");
	if (memcmp(c->secret, l->secret, sizeof l->secret) != 0)
		return space_cold(s, "the configuration has another secret");
	if (l->n_buckets != space_buckets(&c->pool))
		return space_cold(s, "the index has %u buckets here, %u before",
				  space_buckets(&c->pool), l->n_buckets);
	return 0;
}

static int judge_space(struct daemon *d, struct adopt *a, struct adopt_space *s)
{
	uint32_t i = 0;
	int r;

	while (i < d->config->n_spaces &&
	       strncmp(d->config->space[i].name, s->ledger->name,
		       CKV_NAME_BYTES) != 0)
		i++;
	if (i == d->config->n_spaces) {
		log_line(LOG_INFO, "space %.*s is not configured any more; its memory is "
			 "given back", (int)CKV_NAME_BYTES, s->ledger->name);
		s->ledger = NULL;
		return COLD;
	}
	for (uint32_t row = 0; row < s->row; row++)
		if (a->space[row].space == i)
			return space_cold(s, "the ledger has it twice");
	r = compare_config(s, &d->config->space[i]);
	if (r == 0)
		r = judge_memory(a, s);
	if (r == 0)
		s->space = i;
	return r;
}

static int judge_spaces(struct daemon *d, struct adopt *a)
{
	for (uint32_t row = 0; row < CKV_LEDGER_SPACES; row++) {
		struct adopt_space *s = &a->space[row];
		enum ledger_state state = ledger_state(d->ledger, LEDGER_SPACE, row);
		int r = 0;

		if (state == LEDGER_DAMAGED)
			log_line(LOG_WARNING, "cold start of one space: row %u of the "
				 "spaces in the ledger is damaged", row);
		if (state != LEDGER_RIGHT)
			continue;
		s->ledger = ledger_space(d->ledger, row);
		r = judge_space(d, a, s);
		if (r < 0)
			return r;
	}
	return 0;
}

/* ---- clients and lanes ---- */

/* Find the pidfd of each client, and whether its process lives. */
static int judge_clients(struct daemon *d, struct adopt *a)
{
	for (uint32_t row = 0; row < CKV_LEDGER_CLIENTS; row++) {
		const struct ckv_ledger_client *l = ledger_client(d->ledger, row);
		struct adopt_client *c = &a->client[row];
		pid_t pid;
		int r;

		if (ledger_state(d->ledger, LEDGER_CLIENT, row) != LEDGER_RIGHT)
			continue;
		c->item = adopt_find(a, "client-%" PRIu64, l->serial);
		if (c->item == NULL)
			continue;
		r = client_pidfd_pid(c->item->fd, &pid);
		if (r == -EINVAL || (r == 0 && pid > 0 && pid != (pid_t)l->pid)) {
			c->item = NULL;
			continue;
		}
		if (r < 0)
			return r;
		c->alive = pid >= 0 && !sys_readable(c->item->fd);
	}
	return 0;
}

/* List an arena: 0; COLD: it is not there, or not such memory; -errno. */
static int list_arena(struct adopt *a, const struct ckv_ledger_lane *l, size_t bytes)
{
	struct adopt_arena arena = {
		.serial = l->arena_serial, .client_serial = l->client_serial,
		.item = adopt_find(a, "lanes-%" PRIu64, l->arena_serial),
		.part_bytes = bytes,
	};
	struct stat s;
	int r;

	if (arena.item == NULL)
		return COLD;
	r = sys_stat_fd(arena.item->fd, &s);
	if (r == 0)
		r = memory_check(arena.item->fd, (uint64_t)s.st_size);
	if (r < 0)
		return r == -EINVAL ? COLD : r;
	if (s.st_size == 0 || (size_t)s.st_size % bytes != 0 ||
	    (size_t)s.st_size / bytes > ARENA_PARTS)
		return COLD;
	arena.n_parts = (uint32_t)((size_t)s.st_size / bytes);
	a->arena[a->n_arenas++] = arena;
	return 0;
}

/* Judge where the lane of a living client lies: 0, COLD, -errno. */
static int judge_lane(struct adopt *a, const struct ckv_ledger_lane *l,
		      struct adopt_lane *lane)
{
	size_t bytes = ckv_lane_map(&l->shape).c_bytes;
	uint32_t i = a->n_arenas;
	struct adopt_arena *arena;
	int r;

	if (!ckv_lane_shape_ok(&l->shape))
		return COLD;
	/* A client's lanes lie together in the ledger, so look at the last ones first. */
	while (i > 0 && a->arena[i - 1].serial != l->arena_serial)
		i--;
	if (i == 0) {
		r = list_arena(a, l, bytes);
		if (r != 0)
			return r;
		i = a->n_arenas;
	}
	arena = &a->arena[i - 1];
	if (arena->part_bytes != bytes || arena->client_serial != l->client_serial ||
	    l->offset % bytes != 0 || l->offset / bytes >= arena->n_parts ||
	    (arena->used >> (l->offset / bytes) & 1) != 0)
		return COLD;
	arena->used |= 1u << (l->offset / bytes);
	lane->arena = i - 1;
	return 0;
}

/* Is the client of a lane known? */
static bool has_client(const struct daemon *d, const struct adopt *a,
		       const struct ckv_ledger_lane *l)
{
	return l->client < CKV_LEDGER_CLIENTS && a->client[l->client].item != NULL &&
	       ledger_client(d->ledger, l->client)->serial == l->client_serial;
}

static int judge_lanes(struct daemon *d, struct adopt *a)
{
	for (uint32_t row = 0; row < CKV_LEDGER_LANES; row++) {
		const struct ckv_ledger_lane *l = ledger_lane(d->ledger, row);
		struct adopt_lane *lane = &a->lane[a->n_lanes];
		int r;

		if (ledger_state(d->ledger, LEDGER_LANE, row) != LEDGER_RIGHT)
			continue;
		*lane = (struct adopt_lane){ .row = row };
		a->n_lanes++;
		lane->lost = l->space >= CKV_LEDGER_SPACES ||
			     a->space[l->space].ledger == NULL;
		if (lane->lost)
			continue;
		if (!has_client(d, a, l)) {
			(void)space_cold(&a->space[l->space], "the process of a lane of "
					 "before is not known");
			continue;
		}
		lane->lost = !a->client[l->client].alive;
		r = lane->lost ? 0 : judge_lane(a, l, lane);
		if (r == COLD)
			(void)space_cold(&a->space[l->space], "the memory of a lane of "
					 "before is missing, or not as it must be");
		if (r < 0)
			return r;
	}
	return 0;
}

/* Count what is taken over, now that it is known which spaces are. */
static void count(struct daemon *d, struct adopt *a)
{
	for (uint32_t i = 0; i < a->n_lanes; i++) {
		const struct ckv_ledger_lane *l = ledger_lane(d->ledger, a->lane[i].row);
		struct adopt_client *c;

		if (a->lane[i].lost || a->space[l->space].ledger == NULL) {
			a->lane[i].lost = true;
			continue;
		}
		c = &a->client[l->client];
		if (c->n_lanes++ == 0)
			d->n_old_clients++;
		d->n_old_lanes++;
		c->item->used = a->arena[a->lane[i].arena].item->used = true;
	}
	for (uint32_t row = 0; row < CKV_LEDGER_SPACES; row++) {
		struct adopt_space *s = &a->space[row];

		for (uint32_t i = 0; s->ledger && i < s->ledger->pool.n_slabs; i++)
			s->slab[i]->used = true;
		if (s->ledger == NULL)
			continue;
		s->records->used = true;
		a->bytes += ckv_pool_bytes(&s->ledger->pool) +
			    ckv_records_bytes(&s->ledger->pool);
	}
}

int adopt_judge(struct daemon *d, struct adopt *a)
{
	int r;

	qsort(a->item, a->n_items, sizeof a->item[0], compare_items);
	r = judge_ledger(d, a);
	if (r == 0)
		r = sys_alloc(CKV_LEDGER_CLIENTS, sizeof a->client[0], &a->client);
	if (r == 0)
		r = sys_alloc(CKV_LEDGER_LANES, sizeof a->lane[0], &a->lane);
	if (r == 0)
		r = sys_alloc(CKV_LEDGER_LANES + 1, sizeof a->arena[0], &a->arena);
	if (r == 0)
		r = judge_spaces(d, a);
	if (r == 0)
		r = judge_clients(d, a);
	if (r != 0)
		return r < 0 ? r : 0;
	a->ledger_used = true;
	r = judge_lanes(d, a);
	if (r == 0)
		count(d, a);
	return r;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* arena.c - see arena.h. */
#include "daemon/shell/arena.h"
#include "daemon/shell/keep.h"
#include "daemon/shell/sys.h"

#include <assert.h>

static uint32_t all_parts(const struct arena *a)
{
	return (1u << a->n_parts) - 1;
}

/* An arena of this shape with a part to spare. */
static struct arena *find(const struct client *client, size_t part_bytes)
{
	struct arena *a = client->arenas;

	while (a != NULL && (a->part_bytes != part_bytes || a->used == all_parts(a)))
		a = a->next;
	return a;
}

static int make(struct daemon *d, struct client *client, size_t part_bytes,
		struct arena **ret_arena)
{
	struct arena *a;
	int r = sys_alloc(1, sizeof *a, &a);

	if (r < 0)
		return r;
	a->part_bytes = part_bytes;
	a->n_parts = (uint32_t)(ARENA_BYTES / part_bytes);
	a->n_parts = a->n_parts > ARENA_PARTS ? ARENA_PARTS :
		     a->n_parts < 1 ? 1 : a->n_parts;
	r = a->fd = memory_file("ckv-lane-c", a->n_parts * part_bytes);
	if (r < 0) {
		sys_free(a);
		return r;
	}
	a->serial = keep_serial(d);
	a->next = client->arenas;
	client->arenas = a;
	*ret_arena = a;
	return 0;
}

int arena_take(struct daemon *d, struct client *client, size_t part_bytes,
	       struct arena **ret_arena, uint32_t *ret_part)
{
	struct arena *a = find(client, part_bytes);
	uint32_t part = 0;
	int r = a == NULL ? make(d, client, part_bytes, &a) : 0;

	if (r < 0)
		return r;
	while (a->used >> part & 1)
		part++;
	a->used |= 1u << part;
	a->n_lanes++;
	*ret_arena = a;
	*ret_part = part;
	return 0;
}

int arena_adopt(struct client *client, uint64_t serial, int fd, size_t part_bytes,
		uint32_t n_parts, struct arena **ret_arena)
{
	struct arena *a;
	int r = sys_alloc(1, sizeof *a, &a);

	if (r < 0)
		return r;
	*a = (struct arena){
		.next = client->arenas, .serial = serial, .fd = fd,
		.part_bytes = part_bytes, .n_parts = n_parts, .stored = true,
	};
	client->arenas = a;
	*ret_arena = a;
	return 0;
}

/* Take it out of the client's list, and free it. */
static void leave(struct client *client, struct arena *arena)
{
	struct arena **at = &client->arenas;

	while (*at != arena)
		at = &(*at)->next;
	*at = arena->next;
	sys_close(arena->fd);
	sys_free(arena);
}

static void destroy(struct daemon *d, struct client *client, struct arena *arena)
{
	keep_forget_arena(d, client, arena);
	leave(client, arena);
}

void arena_give(struct daemon *d, struct client *client, struct arena *arena,
		uint32_t part)
{
	bool spare = false;

	assert(arena->used >> part & 1);
	/* What cannot be zeroed is never lent again. */
	if (sys_punch(arena->fd, part * arena->part_bytes, arena->part_bytes) == 0)
		arena->used &= ~(1u << part);
	arena->n_lanes--;
	for (struct arena *a = client->arenas; a != NULL; a = a->next)
		spare |= a != arena && a->n_lanes == 0;
	if (arena->n_lanes == 0 && (spare || arena->used != 0))
		destroy(d, client, arena);
}

void arenas_destroy(struct daemon *d, struct client *client)
{
	while (client->arenas != NULL)
		destroy(d, client, client->arenas);
}

void arenas_drop(struct client *client)
{
	while (client->arenas != NULL)
		leave(client, client->arenas);
}

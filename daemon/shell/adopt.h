/* SPDX-License-Identifier: Apache-2.0 */
/*
 * adopt.h - at start, take over what an earlier daemon left.
 *
 * The service manager passes the descriptors that it held (keep.h). First they are judged,
 * and nothing is changed: the ledger first, then each space against the configuration,
 * then the clients, then the lanes. All of it is memory that only the daemon has, but
 * nothing of it is trusted: a number that does not fit is damage.
 *
 * What is not known of a space could be a pin or a lent page of a living process. So a
 * space starts cold, with new memory, if anything that belongs to it is damaged, does not
 * fit or is not there. If that cannot be told of one space, all of them do. One line says
 * why.
 *
 * A client of before is DETACHED, its lanes are SHUT (daemon.h). A client that is dead by
 * now held nothing. Once nothing is pinned or lent on a lane of before, it is ended.
 */
#ifndef CKV_ADOPT_H
#define CKV_ADOPT_H

#include "daemon/shell/daemon.h"
#include "daemon/shell/store.h"
#include "proto/ckv_ledger.h"

/* A descriptor that was passed. */
struct adopt_item {
	char name[STORE_NAME_BYTES];
	int fd;			/* -1: somebody has taken it */
	bool used;		/* it goes on being held under this name */
	bool gone;		/* the manager holds it no longer */
};

/* A space of before, by its row in the ledger. */
struct adopt_space {
	uint32_t space;		/* its index in the configuration; CKV_NONE: not taken over */
	uint32_t row;
	const struct ckv_ledger_space *ledger;
	struct adopt_item **slab; /* [n_slabs] */
	struct adopt_item *records;
	struct adopt_item *nodes; /* NULL: they are not there, and the order of use is lost */
};

struct adopt_arena {
	uint64_t serial, client_serial;
	struct adopt_item *item; /* NULL: it is not there */
	size_t part_bytes;
	uint32_t n_parts, used;	/* used: bit i: a lane has part i */
	struct arena *arena;	/* once it is taken over */
};

struct adopt_client {
	struct adopt_item *item; /* its pidfd; NULL: it is not there, or its row is free */
	bool alive;
	uint32_t n_lanes;	/* that are taken over */
	uint32_t index;		/* in the client table */
};

struct adopt_lane {
	uint32_t row;
	uint32_t arena;		/* index of adopt.arena */
	bool lost;		/* its client is dead, or its space starts cold */
};

struct adopt {
	struct adopt_item *item; /* [n_items], sorted by name */
	uint32_t n_items;
	bool ledger_used;
	struct adopt_item *world;
	struct adopt_space space[CKV_LEDGER_SPACES];
	struct adopt_client *client; /* [CKV_LEDGER_CLIENTS], by row */
	struct adopt_lane *lane; /* [n_lanes] */
	struct adopt_arena *arena; /* [n_arenas] */
	uint32_t n_lanes, n_arenas;
	uint64_t bytes;		/* of memory that is taken over */
	/* When each part of the start was done, for the log. */
	uint64_t began_ns, judged_ns, mapped_ns, built_ns;
};

/*
 * Take the descriptors that were passed and judge them. Then d->adopt says what is taken
 * over, d->ledger is the ledger of before if that is, and d->n_old_clients and
 * d->n_old_lanes say how many rows the tables need for it. -errno: a call failed.
 */
int adopt_look(struct daemon *d);

/* What the epoch must be above: that of before, and all its serials. */
uint64_t adopt_epoch(const struct daemon *d);
uint64_t adopt_bytes(const struct daemon *d);
/* Memory of slabs that were passed and are not taken over: adopt_release() gives it back. */
uint64_t adopt_unused_bytes(const struct daemon *d);
bool adopt_has_ledger(const struct adopt *adopt);

/* The space of before that this one takes over; NULL: it starts cold. */
struct adopt_space *adopt_space(const struct daemon *d, uint32_t space);
/* Its slabs and its records; the space has their descriptors then. */
int adopt_pool(struct adopt_space *s, struct pool_options *options, struct pool *ret_pool);
int adopt_records(struct adopt_space *s, struct memory *ret_memory);
/* The core's nodes, of this size: 0, or -ENOENT: they must be made. */
int adopt_nodes(struct adopt_space *s, size_t bytes, struct memory *ret_memory);
/* Map the world page of before: 0, or -ENOENT: there is none, a new one must be made. */
int adopt_world(struct daemon *d);

/* After the spaces and the world page: its clients, their lanes, then the blocks. */
int adopt_clients(struct daemon *d);
/* End the lanes of before on which nothing is pinned or lent. Called at each tick. */
void adopt_tick(struct daemon *d);
/* Free some of the pages that rested until the lanes of before have ended. More to do? */
bool adopt_turn(struct daemon *d);

/*
 * Give back the pools that are not taken over, as a start may need their memory, and clear
 * the rows of all that is not. Waits for the manager.
 */
void adopt_release(struct daemon *d);
/* Have it forget the rest that is not used any more. *ticket: the last one, if any. */
void adopt_forget_rest(struct daemon *d, uint64_t *ticket);
/* The start is over: close what was not used, and log what was taken over. */
void adopt_end(struct daemon *d);
void adopt_destroy(struct daemon *d);

/* ---- adopt_judge.c ---- */

int adopt_judge(struct daemon *d, struct adopt *a);
/* The item of this name; NULL: there is none. */
struct adopt_item *adopt_find(const struct adopt *a, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

#endif

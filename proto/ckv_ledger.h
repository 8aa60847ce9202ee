/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ckv_ledger.h - what the daemon notes for its successor, beside the records of pages.
 *
 * The ledger is memory that only the daemon maps. It outlives it, together with the memory
 * that its rows tell of, because a service manager holds descriptors of all of it, each
 * under a name:
 *
 *   ledger            this memory
 *   world             the world page (ckv_world.h)
 *   slab-S-N          slab N of the space in row S of the ledger
 *   records-S         the records of its pages
 *   nodes-S           the core's private state of it, as far as that is of use
 *   client-SERIAL     the pidfd of a client that has or had a lane
 *   lanes-SERIAL      an arena: C segments of lanes of one client (ckv_lane.h)
 *
 * A serial is a number that no two things have, also not of two daemons: it counts up
 * from the daemon's epoch, and each epoch is above all serials of before.
 *
 * Memory layout: head, then struct ckv_ledger_space[CKV_LEDGER_SPACES], struct
 * ckv_ledger_client[CKV_LEDGER_CLIENTS], struct ckv_ledger_lane[CKV_LEDGER_LANES].
 *
 * A row is free if its state is 0, whatever else it holds. It is used if its state is
 * CKV_LEDGER_USED and its seal is right. The daemon writes the state last, and clears it
 * before it changes anything of a row, so wherever it is killed a row is free or right.
 * Everything else is damage. Damage and a used row without its descriptor mean the same:
 * something is not known of a space, so nothing of that space can be used.
 *
 *   a row is used  ->  its descriptor is held: the row is written after the manager has
 *                      said so, and cleared before the manager is told to forget it
 */
#ifndef CKV_LEDGER_H
#define CKV_LEDGER_H

#include "proto/ckv_lane.h"
#include "proto/ckv_space.h"

#define CKV_LEDGER_MAGIC	0x6c766b63u	/* "ckvl" */
#define CKV_LEDGER_USED		0x75766b63u	/* "ckvu"; one flipped byte does not make it 0 */
#define CKV_LEDGER_SPACES	64u
#define CKV_LEDGER_CLIENTS	8192u
#define CKV_LEDGER_LANES	32768u
#define CKV_LEDGER_HEAD_BYTES	4096u

struct ckv_ledger_head {
	uint32_t magic;
	uint32_t layout_version;
	uint32_t n_spaces;		/* numbers of rows */
	uint32_t n_clients;
	uint32_t n_lanes;
	_Atomic uint32_t state;		/* CKV_LEDGER_USED: what is held can be used */
	_Atomic uint64_t epoch;		/* of the daemon that wrote here last */
	_Atomic uint64_t next_serial;	/* no serial is as high */
};
CKV_AT(struct ckv_ledger_head, magic, 0, 4);
CKV_AT(struct ckv_ledger_head, layout_version, 4, 4);
CKV_AT(struct ckv_ledger_head, n_spaces, 8, 4);
CKV_AT(struct ckv_ledger_head, n_clients, 12, 4);
CKV_AT(struct ckv_ledger_head, n_lanes, 16, 4);
CKV_AT(struct ckv_ledger_head, state, 20, 4);
CKV_AT(struct ckv_ledger_head, epoch, 24, 8);
CKV_AT(struct ckv_ledger_head, next_serial, 32, 8);
CKV_SIZE(struct ckv_ledger_head, 40);

/* How each row begins. `seal`: XXH3-64 of what follows it, seeded with the row's place. */
struct ckv_ledger_mark {
	_Atomic uint32_t state;
	uint32_t zero;
	uint64_t seal;
};
CKV_AT(struct ckv_ledger_mark, state, 0, 4);
CKV_AT(struct ckv_ledger_mark, zero, 4, 4);
CKV_AT(struct ckv_ledger_mark, seal, 8, 8);
CKV_SIZE(struct ckv_ledger_mark, 16);

struct ckv_ledger_space {
	struct ckv_ledger_mark mark;
	char	 name[CKV_NAME_BYTES];
	struct ckv_geometry geometry;	/* with the weights that it holds */
	struct ckv_pool_shape pool;
	uint64_t seed[4];		/* of the index */
	uint64_t fingerprint;		/* XXH3-64 of the geometry */
	uint64_t huge_bytes;		/* of the pool, as verified when it was made */
	uint32_t n_buckets;		/* of the index */
	uint32_t weights_known;		/* not 0: the geometry has weights */
	uint8_t	 secret[32];		/* that keys are made with */
	uint8_t	 zero[96];
};
CKV_AT(struct ckv_ledger_space, mark, 0, 16);
CKV_AT(struct ckv_ledger_space, name, 16, 64);
CKV_AT(struct ckv_ledger_space, geometry, 80, 336);
CKV_AT(struct ckv_ledger_space, pool, 416, 40);
CKV_AT(struct ckv_ledger_space, seed, 456, 32);
CKV_AT(struct ckv_ledger_space, fingerprint, 488, 8);
CKV_AT(struct ckv_ledger_space, huge_bytes, 496, 8);
CKV_AT(struct ckv_ledger_space, n_buckets, 504, 4);
CKV_AT(struct ckv_ledger_space, weights_known, 508, 4);
CKV_AT(struct ckv_ledger_space, secret, 512, 32);
CKV_AT(struct ckv_ledger_space, zero, 544, 96);
CKV_SIZE(struct ckv_ledger_space, 640);

struct ckv_ledger_client {
	struct ckv_ledger_mark mark;
	uint64_t serial;		/* client-SERIAL */
	uint32_t pid;			/* 0: of another pid namespace */
	uint32_t uid;
	uint32_t gid;
	uint32_t zero;
	char	 name[CKV_NAME_BYTES];
	uint8_t	 zero_too[24];
};
CKV_AT(struct ckv_ledger_client, mark, 0, 16);
CKV_AT(struct ckv_ledger_client, serial, 16, 8);
CKV_AT(struct ckv_ledger_client, pid, 24, 4);
CKV_AT(struct ckv_ledger_client, uid, 28, 4);
CKV_AT(struct ckv_ledger_client, gid, 32, 4);
CKV_AT(struct ckv_ledger_client, zero, 36, 4);
CKV_AT(struct ckv_ledger_client, name, 40, 64);
CKV_AT(struct ckv_ledger_client, zero_too, 104, 24);
CKV_SIZE(struct ckv_ledger_client, 128);

struct ckv_ledger_lane {
	struct ckv_ledger_mark mark;
	uint64_t serial;
	uint64_t client_serial;
	uint64_t arena_serial;		/* lanes-SERIAL ... */
	uint64_t offset;		/* ... where in it the lane's C segment begins */
	struct ckv_lane_shape shape;
	uint32_t client;		/* row of its client */
	uint32_t space;			/* row of its space */
	uint8_t	 zero[56];
};
CKV_AT(struct ckv_ledger_lane, mark, 0, 16);
CKV_AT(struct ckv_ledger_lane, serial, 16, 8);
CKV_AT(struct ckv_ledger_lane, client_serial, 24, 8);
CKV_AT(struct ckv_ledger_lane, arena_serial, 32, 8);
CKV_AT(struct ckv_ledger_lane, offset, 40, 8);
CKV_AT(struct ckv_ledger_lane, shape, 48, 16);
CKV_AT(struct ckv_ledger_lane, client, 64, 4);
CKV_AT(struct ckv_ledger_lane, space, 68, 4);
CKV_AT(struct ckv_ledger_lane, zero, 72, 56);
CKV_SIZE(struct ckv_ledger_lane, 128);

#define CKV_LEDGER_SPACES_OFFSET CKV_LEDGER_HEAD_BYTES
#define CKV_LEDGER_CLIENTS_OFFSET (CKV_LEDGER_SPACES_OFFSET +			\
	CKV_LEDGER_SPACES * sizeof(struct ckv_ledger_space))
#define CKV_LEDGER_LANES_OFFSET	(CKV_LEDGER_CLIENTS_OFFSET +			\
	CKV_LEDGER_CLIENTS * sizeof(struct ckv_ledger_client))
#define CKV_LEDGER_BYTES	(CKV_LEDGER_LANES_OFFSET +			\
	CKV_LEDGER_LANES * sizeof(struct ckv_ledger_lane))

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ckv_stats.h - what the daemon shows: counters, clients, spaces.
 *
 * Only the daemon writes it. Whoever may connect may read the global part, and whoever
 * may attach a space its part. Each number is written by one thread, and is read without
 * any lock, so two numbers may be of different moments.
 *
 * Global stats memory, sent with WELCOME:
 *      0  head
 *   4096  struct ckv_global_stats
 *   8192  struct ckv_space_row[n_spaces], struct ckv_client_row[n_client_rows]
 *
 * Space stats memory, sent with ATTACHED: struct ckv_space_stats at 0.
 */
#ifndef CKV_STATS_H
#define CKV_STATS_H

#include "proto/ckv_space.h"

#define CKV_STATS_MAGIC		0x73766b63u	/* "ckvs" */
#define CKV_STATS_ROWS_OFFSET	8192u
#define CKV_SPACE_STATS_BYTES	4096u

struct ckv_global_stats {
#define CKV_GLOBAL_STAT(name, kind, unit, help) _Atomic uint64_t name;
#include "proto/ckv_stats.def"
};

struct ckv_space_stats {
#define CKV_SPACE_STAT(name, kind, unit, help) _Atomic uint64_t name;
#include "proto/ckv_stats.def"
};
_Static_assert(sizeof(struct ckv_global_stats) <= 4096 &&
	       sizeof(struct ckv_space_stats) <= CKV_SPACE_STATS_BYTES,
	       "counters outgrew their page");

struct ckv_stats_head {
	uint32_t magic;
	uint32_t layout_version;
	uint32_t pid;
	uint32_t n_spaces;
	uint32_t n_client_rows;
	uint32_t n_workers;
	uint64_t started_s;	/* CLOCK_REALTIME */
	char	 version[CKV_NAME_BYTES];
	char	 loop[CKV_NAME_BYTES]; /* "io_uring", "io_uring plain", "epoll" */
};
CKV_AT(struct ckv_stats_head, magic, 0, 4);
CKV_AT(struct ckv_stats_head, layout_version, 4, 4);
CKV_AT(struct ckv_stats_head, pid, 8, 4);
CKV_AT(struct ckv_stats_head, n_spaces, 12, 4);
CKV_AT(struct ckv_stats_head, n_client_rows, 16, 4);
CKV_AT(struct ckv_stats_head, n_workers, 20, 4);
CKV_AT(struct ckv_stats_head, started_s, 24, 8);
CKV_AT(struct ckv_stats_head, version, 32, 64);
CKV_AT(struct ckv_stats_head, loop, 96, 64);
CKV_SIZE(struct ckv_stats_head, 160);

/*
 * Constant while the daemon runs, but for geometry.weights, which change only while the
 * space is empty. The daemon writes them before weights_known. A reader that looks while
 * they change may see a mixture of both.
 */
struct ckv_space_row {
	char	 name[CKV_NAME_BYTES];
	char	 policy[CKV_NAME_BYTES];
	struct ckv_geometry geometry;
	struct ckv_pool_shape pool;
	uint32_t n_buckets;
	uint32_t numa_node;		/* CKV_NONE: not bound */
	uint64_t huge_bytes;		/* of the pool, verified at start */
	uint64_t index_huge_bytes;
	_Atomic uint32_t weights_known;	/* 0: nobody has named them */
	uint8_t	 zero[108];
};
CKV_AT(struct ckv_space_row, name, 0, 64);
CKV_AT(struct ckv_space_row, policy, 64, 64);
CKV_AT(struct ckv_space_row, geometry, 128, 336);
CKV_AT(struct ckv_space_row, pool, 464, 40);
CKV_AT(struct ckv_space_row, n_buckets, 504, 4);
CKV_AT(struct ckv_space_row, numa_node, 508, 4);
CKV_AT(struct ckv_space_row, huge_bytes, 512, 8);
CKV_AT(struct ckv_space_row, index_huge_bytes, 520, 8);
CKV_AT(struct ckv_space_row, weights_known, 528, 4);
CKV_AT(struct ckv_space_row, zero, 532, 108);
CKV_SIZE(struct ckv_space_row, 640);

enum ckv_client_state {
	CKV_CLIENT_FREE	    = 0,
	CKV_CLIENT_ATTACHED = 1,
	CKV_CLIENT_DETACHED = 2, /* its socket is closed, its process lives and keeps pins */
};

struct ckv_client_row {
	_Atomic uint32_t state;		/* written last */
	uint32_t pid;
	uint32_t uid;
	uint32_t gid;
	uint64_t attached_s;		/* CLOCK_REALTIME */
	_Atomic uint64_t spaces;	/* bit i: space row i */
	_Atomic uint64_t lanes;
	_Atomic uint64_t pins;		/* pin words in use, at the last tick */
	_Atomic uint64_t pages_lent;
	_Atomic uint64_t requests;
	char	 name[CKV_NAME_BYTES];
};
CKV_AT(struct ckv_client_row, state, 0, 4);
CKV_AT(struct ckv_client_row, pid, 4, 4);
CKV_AT(struct ckv_client_row, uid, 8, 4);
CKV_AT(struct ckv_client_row, gid, 12, 4);
CKV_AT(struct ckv_client_row, attached_s, 16, 8);
CKV_AT(struct ckv_client_row, spaces, 24, 8);
CKV_AT(struct ckv_client_row, lanes, 32, 8);
CKV_AT(struct ckv_client_row, pins, 40, 8);
CKV_AT(struct ckv_client_row, pages_lent, 48, 8);
CKV_AT(struct ckv_client_row, requests, 56, 8);
CKV_AT(struct ckv_client_row, name, 64, 64);
CKV_SIZE(struct ckv_client_row, 128);

static inline size_t ckv_stats_bytes(uint32_t n_spaces, uint32_t n_client_rows)
{
	return ckv_round_up(CKV_STATS_ROWS_OFFSET +
			    n_spaces * sizeof(struct ckv_space_row) +
			    n_client_rows * sizeof(struct ckv_client_row),
			    CKV_PIECE_BYTES);
}

/* `base` is the mapped global stats memory, ckv_stats_bytes() long. */
static inline struct ckv_global_stats *ckv_stats_global(void *base)
{
	return (struct ckv_global_stats *)((char *)base + 4096);
}

static inline struct ckv_space_row *ckv_stats_space(void *base, uint32_t i)
{
	return (struct ckv_space_row *)((char *)base + CKV_STATS_ROWS_OFFSET) + i;
}

static inline struct ckv_client_row *ckv_stats_client(void *base,
						      uint32_t n_spaces,
						      uint32_t i)
{
	return (struct ckv_client_row *)ckv_stats_space(base, n_spaces) + i;
}

static inline uint32_t ckv_client_state(const struct ckv_client_row *row)
{
	return atomic_load_explicit(&row->state, CKV_ORDER_STATE_TAKE);
}

static inline void ckv_client_set_state(struct ckv_client_row *row,
					uint32_t state)
{
	atomic_store_explicit(&row->state, state, CKV_ORDER_STATE_PUT);
}

#endif

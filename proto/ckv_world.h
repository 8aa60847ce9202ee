/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ckv_world.h - one page that everybody reads: is the daemon alive, and is it
 * the one I attached to?
 *
 *     0  magic, layout version    daemon, once
 *    64  life                     daemon's reactor thread; the kernel at its death
 *   128  epoch                    daemon, once per start
 *   192  reactor_sleeping         daemon: NEED_WAKEUP of the reactor
 *
 * `life` is a robust futex: the reactor's thread id while it lives. When that
 * thread dies, however it dies, the kernel sets FUTEX_OWNER_DIED in it; a clean
 * stop stores 0. Either way every lookup misses from then on.
 *
 * `epoch` differs between any two starts. A client compares it with the epoch
 * it attached under; it is raised, and fenced, before a page is reused.
 */
#ifndef CKV_WORLD_H
#define CKV_WORLD_H

#include "proto/ckv_order.h"

#define CKV_WORLD_MAGIC	0x77766b63u	/* "ckvw" */
#define CKV_WORLD_BYTES	4096u
#define CKV_LIFE_TID	0x3fffffffu	/* FUTEX_TID_MASK */
#define CKV_LIFE_DIED	0x40000000u	/* FUTEX_OWNER_DIED */

struct ckv_world {
	uint32_t magic;
	uint32_t layout_version;
	uint8_t	 pad0[56];
	_Atomic uint32_t life;
	uint8_t	 pad1[60];
	_Atomic uint64_t epoch;
	uint8_t	 pad2[56];
	_Atomic uint32_t reactor_sleeping;
	uint8_t	 pad3[60];
};
CKV_AT(struct ckv_world, magic, 0, 4);
CKV_AT(struct ckv_world, layout_version, 4, 4);
CKV_AT(struct ckv_world, life, 64, 4);
CKV_AT(struct ckv_world, epoch, 128, 8);
CKV_AT(struct ckv_world, reactor_sleeping, 192, 4);
CKV_SIZE(struct ckv_world, 256);

/* Is the daemon of `epoch` alive? */
static inline int ckv_world_alive(const struct ckv_world *world, uint64_t epoch)
{
	uint32_t life = atomic_load_explicit(&world->life, CKV_ORDER_STATE_TAKE);

	return (life & CKV_LIFE_TID) != 0 && (life & CKV_LIFE_DIED) == 0 &&
	       atomic_load_explicit(&world->epoch, CKV_ORDER_STATE_TAKE) == epoch;
}

/* Daemon: the reactor lives (its thread id) or stops (0). */
static inline void ckv_world_set_life(struct ckv_world *world, uint32_t tid)
{
	atomic_store_explicit(&world->life, tid, CKV_ORDER_STATE_PUT);
}

/* Daemon, at start: from here on pins of older attachments do not confirm. */
static inline void ckv_world_raise_epoch(struct ckv_world *world, uint64_t epoch)
{
	atomic_store_explicit(&world->epoch, epoch, CKV_ORDER_STATE_PUT);
	atomic_thread_fence(CKV_ORDER_EPOCH_FENCE);
}

#endif

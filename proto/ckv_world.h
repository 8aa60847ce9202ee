/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ckv_world.h - the world page, which every client maps read-only: does the daemon live,
 * and is it the one that the client attached to?
 *
 *  offset                         written by
 *     0  magic, layout version    the daemon, once
 *    64  life                     the daemon's reactor thread; the kernel at its death
 *   128  epoch                    the daemon, once, before it serves anybody
 *   192  reactor_sleeping         the reactor: not 0 while it sleeps or is about to
 *
 * `life` is a robust futex (get_robust_list(2)): the thread id of the reactor while it lives.
 * When that thread ends, even by SIGKILL, the kernel sets FUTEX_OWNER_DIED in the word.
 * A daemon that stops in order stores 0. Either way clients find nothing from then on.
 *
 * `epoch` is a number that no two starts of a daemon share. A client compares it with
 * the epoch of the daemon that it attached to.
 *
 * `reactor_sleeping` is the reactor's "wake me" flag: a client that has put a request and
 * sees it set writes the eventfd of its lane (ckv_ring.h).
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

/* Client: is the daemon of this epoch alive? */
static inline int ckv_world_alive(const struct ckv_world *world, uint64_t epoch)
{
	uint32_t life = atomic_load_explicit(&world->life, CKV_ORDER_STATE_TAKE);

	return (life & CKV_LIFE_TID) != 0 && (life & CKV_LIFE_DIED) == 0 &&
	       atomic_load_explicit(&world->epoch, CKV_ORDER_STATE_TAKE) == epoch;
}

/* Daemon: the reactor lives, with this thread id, or stops in order (0). */
static inline void ckv_world_set_life(struct ckv_world *world, uint32_t tid)
{
	atomic_store_explicit(&world->life, tid, CKV_ORDER_STATE_PUT);
}

/* Daemon, at its start: from here on no pin of an attachment to another daemon is confirmed. */
static inline void ckv_world_raise_epoch(struct ckv_world *world, uint64_t epoch)
{
	atomic_store_explicit(&world->epoch, epoch, CKV_ORDER_STATE_PUT);
	/* EPOCH_FENCE: a client sees the new epoch, or the daemon sees the client's pin. */
	atomic_thread_fence(CKV_ORDER_EPOCH_FENCE);
}

#endif

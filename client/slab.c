/* SPDX-License-Identifier: Apache-2.0 */
/*
 * slab.c - the write mapping of a slab in which a page was lent.
 *
 * The daemon sends the slab's descriptor once, before the number of the first page in it,
 * so it waits in the socket when the number is here. If this process had no descriptor or
 * address space left when it came, the page goes back to the daemon and the caller gets
 * that error. When the next page in the slab is lent, the daemon is asked for the
 * descriptor again, and the lane waits for it, LIB_SLAB_WAIT_NS at most. For nothing else
 * does a lane wait for the socket.
 *
 * If a pool is shared with the attachment before, its slabs may be mapped already. Then
 * the descriptor is taken from the socket all the same, so that it does not stay there.
 */
#include "client/lib.h"

#include <errno.h>

static int ask_again(struct lib_maps *maps, uint32_t slab)
{
	struct ckv_slabs msg = { .space_id = maps->space_id,
				 .first_slab = slab };
	int r = lib_control_send(maps->ckv->sock, &msg, sizeof msg,
				 CKV_SLAB_WANT, -1);

	if (r == 0)
		maps->pool->slab[slab].write = LIB_SLAB_NONE;
	/* The connection is over, which the lane will notice; now the page is not mapped. */
	return r == -EPIPE || r == -ECONNRESET ? -EAGAIN : r;
}

/* Has the answer come? ckv->lock is let go while it has not. */
static int await_slab(struct lib_maps *maps, uint32_t slab)
{
	const struct lib_slab *s = &maps->pool->slab[slab];
	int64_t deadline = lib_now_ns() + LIB_SLAB_WAIT_NS;
	struct ckv *ckv = maps->ckv;

	while (s->write == LIB_SLAB_NONE) {
		int sock = ckv->sock;

		if (maps->link != ckv->link || lib_now_ns() >= deadline)
			return -EAGAIN;
		lib_unlock(ckv);
		lib_sys_wait_readable(sock, 1);
		lib_lock(ckv);
		lib_session_pump(ckv);
	}
	return s->write == LIB_SLAB_MAPPED ? 0 : maps->pool->write_error;
}

/* See that pages of this slab can be written. ckv->lock is held. */
int lib_slab_get(struct ckv_lane *lane, uint32_t slab)
{
	struct lib_maps *maps = lane->maps;
	const struct lib_slab *s = &maps->pool->slab[slab];
	struct ckv *ckv = lane->ckv;
	int r;

	if (!maps->told[slab]) {
		lib_session_pump(ckv);
		if (s->write == LIB_SLAB_LOST)
			return maps->pool->write_error;
	}
	if (s->write == LIB_SLAB_MAPPED)
		return 0;
	if (maps->link != ckv->link || ckv->sock < 0)
		return -EAGAIN;
	r = ask_again(maps, slab);
	return r < 0 ? r : await_slab(maps, slab);
}

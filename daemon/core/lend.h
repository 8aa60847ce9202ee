/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lend.h - the functions by which the core's files handle pages that are lent, that rest, and
 * that are taken over from an earlier daemon; and the operations: a part of state.h.
 */
#ifndef CKV_CORE_LEND_H
#define CKV_CORE_LEND_H

#include "daemon/core/space.h"

/* ---- lend.c, publish.c ---- */

/* Take a free place of a level that has one: a page's, if it has pages. Put it back. */
uint32_t place_get(struct space *s, uint32_t level);
void place_put(struct space *s, uint32_t level, uint32_t place);
/*
 * Begin a lending: put the page into its lane's queue, behind what it was reserved under
 * (see lend.c). Returns the lending's number.
 */
uint32_t lane_take(struct space *s, int number, uint32_t level, uint32_t page,
		   uint32_t parent);
/* Fill the record of a block's page at this level with what the index says of it. */
void record_published(struct space *s, uint32_t slot, uint32_t level);
/* A move is about to fill this page: a later daemon must not lend it at once. */
void record_loading(struct space *s, uint32_t level, uint32_t page);
/* Take a lent sheet back; nothing may be reserved under it. `ended`: its lane has. */
void lent_abort(struct space *s, uint32_t sheet, bool ended, int32_t *units);
/*
 * Is the page that a client names lent to this lane? 0: it is, and *ret_level is its level.
 * -ESTALE, -EEXIST, -ECANCELED: as in proto/ckv_ops.h. -EPROTO.
 */
int lent_judge(const struct space *s, int lane, const struct ckv_page_name *name,
	       uint32_t *ret_level);
/* Free a page that was taken back and that no job reads. */
void lent_free(struct space *s, uint32_t level, uint32_t page);
/* Free a published block and its places; it is in no policy and has no children. */
void block_free(struct space *s, uint32_t slot);

/* ---- the operations: lend.c, publish.c, prefetch.c, drop.c; called by task.c ---- */

/* Begin to wait for the next step. Returns SPACE_WAIT. */
int task_wait(const struct space *s, struct space_wait *wait);
int reserve_run(struct space *s, struct space_task *t, int32_t *units);
void reserve_cancel(struct space *s, struct space_task *t);
int scratch_run(struct space *s, struct space_task *t, int32_t *units);
int publish_run(struct space *s, struct space_task *t, int32_t *units);
int abort_run(struct space *s, struct space_task *t, int32_t *units);
int prefetch_run(struct space *s, struct space_task *t, int32_t *units);
void prefetch_cancel(struct space *s, struct space_task *t);
/*
 * The block in this slot is published, or given back: who waits for it can go on. Who
 * did that pays for each that is looked at.
 */
void await_settle(struct space *s, uint32_t slot, int32_t *units);
int drop_run(struct space *s, struct space_task *t, int32_t *units);
void drop_cancel(struct space *s, struct space_task *t);
/* Put the blocks that waiting DROPs name into the batch. */
void drops_choose(struct space *s);
/* After the scan: free those that are not pinned, and answer the DROPs. */
void drops_settle(struct space *s);

/* ---- rest.c ---- */

/* Have a page of a level rest, whatever its record says; as this writer may still write it. */
void page_rest(struct space *s, uint32_t level, uint32_t page, uint64_t writer);

/* blind.c: find lanes with a pin on what was not found, or with any and a lower serial. */
void blind_find(struct space *space, uint64_t below);

/* adopt_order.c: put what was taken over into policies, names and queues. */
void adopt_order(struct space *s);

#endif

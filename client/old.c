/* SPDX-License-Identifier: Apache-2.0 */
/*
 * old.c - pins and lent pages of an attachment that a lane has left.
 *
 * Its pool stays mapped here while the caller may read a pinned page or write a lent one,
 * and so does its C segment, where each pin keeps its word until it is given back: a
 * daemon that adopted the memory of the one before, or that lost the connection only,
 * still reads these words. When the last pin and page are given back the lane is closed
 * at the daemon there is, and what nothing else uses is unmapped.
 */
#include "client/lib.h"

/* Unmap a C segment (NULL is allowed); whoever reads it later sees that it is over. */
void lib_segment_end(char *c_base, size_t c_bytes)
{
	if (c_base != NULL)
		ckv_state_store32(&((struct ckv_c_head *)(void *)c_base)->closed, 1);
	lib_sys_unmap(c_base, c_bytes);
}

/* ckv->lock is held. */
static void old_end(struct ckv *ckv, struct lib_old *old)
{
	lib_segment_end(old->c_base, old->c_bytes);
	lib_session_bye(ckv, &old->bye);
	lib_maps_put(old->maps);
	lib_lent_free(&old->lent);
	lib_sys_free(old);
}

static void old_put(struct ckv_lane *lane, struct lib_old *old)
{
	struct lib_old **at = &lane->olds;

	if (old->n_pins > 0 || old->lent.n > 0)
		return;
	while (*at != old)
		at = &(*at)->next;
	*at = old->next;
	lib_lock(lane->ckv);
	old_end(lane->ckv, old);
	lib_unlock(lane->ckv);
}

/* The lane is closed, and with it what it had before. ckv->lock is held. */
void lib_lane_end_olds(struct ckv_lane *lane)
{
	while (lane->olds != NULL) {
		struct lib_old *old = lane->olds;

		lane->olds = old->next;
		old_end(lane->ckv, old);
	}
}

static struct lib_old *old_of(const struct ckv_lane *lane, uint64_t serial)
{
	struct lib_old *old = lane->olds;

	while (old != NULL && old->maps->serial != serial)
		old = old->next;
	return old;
}

/* A pin of an earlier attachment is given back. */
void lib_lane_unpin_old(struct ckv_lane *lane, const struct lib_pin *pin)
{
	struct lib_old *old = old_of(lane, pin->serial);

	if (old == NULL || old->n_pins == 0)
		return;
	for (int i = 0; i < 2; i++)
		if (pin->word[i] != CKV_NONE)
			ckv_pin_drop(&old->pins[pin->word[i]]);
	old->n_pins--;
	old_put(lane, old);
}

/* So is a page that one lent, unless it was before. */
void lib_lane_forget_old(struct ckv_lane *lane, uint64_t serial, uint32_t page,
			 uint32_t lending)
{
	struct lib_old *old = old_of(lane, serial);

	if (old != NULL && lib_lent_remove(&old->lent, page, lending))
		old_put(lane, old);
}

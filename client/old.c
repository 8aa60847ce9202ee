/* SPDX-License-Identifier: Apache-2.0 */
/*
 * old.c - pins and lent pages of an attachment that a lane has left.
 *
 * When the daemon has died its memory stays mapped here while the caller may read a
 * pinned page or write a lent one; when the last of them is given back it is unmapped. If
 * only the connection was lost, the daemon keeps the old lane as long, and is then told
 * to close it.
 */
#include "client/lib.h"

static void old_put(struct ckv_lane *lane, struct lib_old *old)
{
	struct lib_old **at = &lane->olds;

	if (old->n_pins > 0 || old->lent.n > 0)
		return;
	while (*at != old)
		at = &(*at)->next;
	*at = old->next;
	lib_lock(lane->ckv);
	lib_session_bye(lane->ckv, &old->bye);
	lib_maps_put(old->maps);
	lib_unlock(lane->ckv);
	lib_lent_free(&old->lent);
	lib_sys_free(old);
}

static struct lib_old *old_of(const struct ckv_lane *lane, uint64_t serial)
{
	struct lib_old *old = lane->olds;

	while (old != NULL && old->maps->serial != serial)
		old = old->next;
	return old;
}

/* A pin of an earlier attachment is given back. */
void lib_lane_unpin_old(struct ckv_lane *lane, uint64_t serial)
{
	struct lib_old *old = old_of(lane, serial);

	if (old == NULL || old->n_pins == 0)
		return;
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

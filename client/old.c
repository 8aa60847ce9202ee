/*
 * old.c - what was handed out of maps that a lane has left.
 *
 * After the daemon died its memory is still mapped here as long as someone may
 * read a pinned page or write a lent one; the last thing given back unmaps it. If
 * only the connection was lost, the daemon keeps the lane just as long and is
 * then told to close it.
 */
#include "client/lib.h"

static void old_put(struct ckv_lane *lane, struct lib_old *old)
{
	struct lib_old **at = &lane->olds;

	if (old->n_pins > 0 || old->n_lent > 0)
		return;
	while (*at != old)
		at = &(*at)->next;
	*at = old->next;
	lib_lock(lane->ckv);
	lib_session_bye(lane->ckv, &old->bye);
	lib_maps_put(old->maps);
	lib_unlock(lane->ckv);
	lib_sys_free(old);
}

/* A pin of an earlier attachment is given back. */
void lib_lane_unpin_old(struct ckv_lane *lane, uint64_t serial)
{
	struct lib_old *old = lane->olds;

	while (old != NULL && old->maps->serial != serial)
		old = old->next;
	if (old == NULL || old->n_pins == 0)
		return;
	old->n_pins--;
	old_put(lane, old);
}

/* If a lent page is of an earlier attachment, forget it. Was it? */
int lib_lane_page_old(struct ckv_lane *lane, const void *data)
{
	for (struct lib_old *old = lane->olds; old != NULL; old = old->next) {
		const struct lib_maps *maps = old->maps;
		size_t bytes = ckv_pool_range(&maps->pool);
		uintptr_t offset = (uintptr_t)data - (uintptr_t)maps->write_base;

		if (maps->write_base == NULL || offset >= bytes)
			continue;
		if (old->n_lent > 0)
			old->n_lent--;
		old_put(lane, old);
		return 1;
	}
	return 0;
}

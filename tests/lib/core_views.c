/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core_views.c - see core_model.h.
 */
#include "tests/lib/core_model.h"

#include <errno.h>

static void see_views(void)
{
	for (uint32_t v = 0; v < VIEWS; v++) {
		struct ckv_block block;
		uint32_t slot;
		bool found = core_find(&core, FIRST_VIEW + v, &slot, &block);

		MUST(views[v].there || !found);
		if (found) {
			MUST(slot == views[v].slot);
			MUST(*ckv_block_page(&block, core.config.level[work()].number) ==
			     views[v].page);
			MUST(block.n_pages == views[v].n_pages);
		}
		MUST(found || !views[v].kept || !views[v].there);
		views[v].there = found;
	}
}

void do_view(void)
{
	uint32_t v = below(VIEWS), n_pages = 1 + below(8);
	struct space_view view = {
		.key = core_key(FIRST_VIEW + v),
		.name = core_key(FIRST_VIEW + 100 + v % 3),
	}, found;
	uint64_t before = CORE_STAT(&core, evicted);
	struct ckv_block block;
	int64_t first;
	int r;

	mark_kept(0, 0);
	if (below(3) == 0) {
		r = space_view_find(core.space, &view.key, &found);
		MUST((r == 0) == views[v].there);
		return;
	}
	first = space_view_alloc(core.space, n_pages);
	see_views();
	see_evictions(before);
	if (first < 0)
		return;
	view.first_page = (uint32_t)first;
	r = below(4) == 0 ? -ECANCELED : space_view_publish(core.space, &view);
	if (r != 0) {
		MUST(r == -ECANCELED || r == -EXFULL ||
		     (r == -EEXIST && views[v].there));
		space_view_abort(core.space, view.first_page);
		return;
	}
	views[v] = (struct mview){
		.there = true, .page = view.first_page, .n_pages = n_pages,
	};
	MUST(core_find(&core, FIRST_VIEW + v, &views[v].slot, &block));
}

/* A pin on a view, in a word of its own. */
void do_view_pin(int l)
{
	uint32_t v = below(VIEWS);

	core_unpin(&core, l, 2);
	pinned_is(l, 2, 0);
	if (below(2))
		MUST(core_pin(&core, l, 2, FIRST_VIEW + v) == views[v].there);
}

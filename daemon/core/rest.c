/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rest.c - pages that rest: nobody's, until no process of before may use them.
 *
 * What a page holds whose record is not believed is not known. A process that was there
 * before this daemon may have pinned it or may write it. So it gets the record
 * QUARANTINE, and is neither free nor anything else, until the last lane of before has
 * ended. The record sees to it that the page rests under later daemons, too.
 */
#include "daemon/core/state.h"

static bool is_view_page(const struct level *level, uint32_t page)
{
	return page >= level->config.n_places;
}

void page_rest(struct space *s, uint32_t l, uint32_t page)
{
	struct level *level = &s->levels[l];
	struct ckv_record *record = &level->records[page];

	/* If it rests already, its record tells since when. */
	if (record->state != CKV_RECORD_QUARANTINE ||
	    !ckv_record_ok(record, s->fingerprint, page))
		ckv_record_rest(record, s->fingerprint, page, CKV_NONE, 0);
	if (!is_view_page(level, page))
		level->pages[page].rests = true;
	level->n_resting++;
	ckv_count(&s->stats->pages_resting, 1);
}

static void rest_over(struct space *s, uint32_t l, uint32_t page)
{
	struct level *level = &s->levels[l];

	level->n_resting--;
	gauge_sub(&s->stats->pages_resting, 1);
	if (is_view_page(level, page)) {
		ckv_record_free(&level->records[page]);
		view_run_set(s, page - level->config.pool.first_view_page, 1, false);
	} else {
		level->pages[page].rests = false;
		place_put(s, l, page);
	}
}

/* A page that PUBLISH replaced has the same record; it does not rest under this daemon. */
static bool rests(const struct level *level, uint32_t page)
{
	return level->records[page].state == CKV_RECORD_QUARANTINE &&
	       (is_view_page(level, page) || level->pages[page].rests);
}

static bool level_rest_end(struct space *s, uint32_t l, int32_t *units)
{
	struct level *level = &s->levels[l];

	for (; level->n_resting > 0; level->rest_page++) {
		if (*units <= 0)
			return false;
		*units -= UNITS_LOOK;
		if (!rests(level, level->rest_page))
			continue;
		*units -= UNITS_ABORT;
		rest_over(s, l, level->rest_page);
	}
	level->rest_page = 0;
	return true;
}

bool space_rest_end(struct space *s, int32_t *units)
{
	if (s->n_before > 0)
		return true;
	for (uint32_t l = 0; l < s->config.n_levels; l++)
		if (!level_rest_end(s, l, units))
			return false;
	return true;
}

uint32_t space_resting(const struct space *s)
{
	uint32_t n = 0;

	for (uint32_t l = 0; l < s->config.n_levels; l++)
		n += s->levels[l].n_resting;
	return n;
}

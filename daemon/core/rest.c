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

void page_rest(struct space *s, uint32_t page)
{
	struct ckv_record *record = &s->records[page];

	/* If it rests already, its record tells since when. */
	if (record->state != CKV_RECORD_QUARANTINE ||
	    !ckv_record_ok(record, s->fingerprint, page))
		ckv_record_blank(record, s->fingerprint, page, CKV_RECORD_QUARANTINE, 0);
	s->n_resting++;
	ckv_count(&s->stats->pages_resting, 1);
}

static void rest_over(struct space *s, uint32_t page)
{
	s->n_resting--;
	gauge_sub(&s->stats->pages_resting, 1);
	if (page < lend_level(s)->config.n_places) {
		page_push(s, page);
	} else {
		ckv_record_free(&s->records[page]);
		view_run_set(s, page - s->config.pool.first_view_page, 1, false);
	}
}

bool space_rest_end(struct space *s, int32_t *units)
{
	if (s->n_before > 0)
		return true;
	for (; s->n_resting > 0; s->rest_page++) {
		if (*units <= 0)
			return false;
		*units -= UNITS_LOOK;
		if (s->records[s->rest_page].state != CKV_RECORD_QUARANTINE)
			continue;
		*units -= UNITS_ABORT;
		rest_over(s, s->rest_page);
	}
	s->rest_page = 0;
	return true;
}

uint32_t space_resting(const struct space *s)
{
	return s->n_resting;
}

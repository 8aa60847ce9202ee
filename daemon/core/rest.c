/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rest.c - pages that rest: nobody's, until no process may use them any more.
 *
 * What a page holds whose record is not believed is not known. A process that was there
 * before this daemon may have pinned it or may write it. So it gets the record
 * QUARANTINE, and is neither free nor anything else, until the last lane of before has
 * ended. The record sees to it that the page rests under later daemons, too.
 *
 * At a level with rests_after_death something may write a page that was lent to a process
 * after that has ended. Such a page rests until the shell knows that it
 * is quiet; its record says whose lane it was. If that is not known, as a daemon was killed
 * while it wrote the record, the page rests until no lane of before is left and all is quiet.
 */
#include "daemon/core/state.h"

static bool is_view_page(const struct level *level, uint32_t page)
{
	return page >= level->config.n_places;
}

/* Nobody but this daemon writes a view page, whatever a record of before says. */
static uint64_t writer_of(const struct level *level, uint32_t page)
{
	return is_view_page(level, page) ? 0 : ckv_record_writer(&level->records[page]);
}

static void count(struct space *s, struct level *level, uint32_t page)
{
	uint64_t writer = writer_of(level, page);

	ckv_count(&s->stats->pages_resting, 1);
	if (!is_view_page(level, page))
		level->pages[page].rests = true;
	if (writer == 0) {
		level->n_resting++;
		return;
	}
	queue_put_head(&s->written, sheet_links(s), level->first_sheet + page);
	s->n_unknown += writer == CKV_WRITER_UNKNOWN;
}

void page_rest(struct space *s, uint32_t l, uint32_t page, uint64_t writer)
{
	struct level *level = &s->levels[l];
	struct ckv_record *record = &level->records[page];

	/* If it rests already, its record tells since when, and who writes it. */
	if (record->state != CKV_RECORD_QUARANTINE ||
	    !ckv_record_ok(record, s->fingerprint, page))
		ckv_record_rest(record, s->fingerprint, page, CKV_NONE, 0, writer);
	count(s, level, page);
}

/* ---- until no lane of before is left ---- */

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
	       writer_of(level, page) == 0 &&
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
	uint32_t n = s->n_unknown;

	for (uint32_t l = 0; l < s->config.n_levels; l++)
		n += s->levels[l].n_resting;
	return n;
}

/* ---- until it is quiet ---- */

static bool is_quiet(const struct space *s, uint64_t writer, uint64_t serial)
{
	if (writer == CKV_WRITER_UNKNOWN)
		return serial == 0 && s->n_before == 0;
	return serial == 0 || writer == serial;
}

/* The page is out of the queue. If a job still reads it, it is lent to nobody until that ends. */
static void written_over(struct space *s, uint32_t sheet)
{
	uint32_t page, l = sheet_level(s, sheet, &page);
	struct level *level = &s->levels[l];

	s->n_unknown -= ckv_record_writer(&level->records[page]) == CKV_WRITER_UNKNOWN;
	gauge_sub(&s->stats->pages_resting, 1);
	level->pages[page].rests = false;
	if (level->pages[page].n_holds == 0) {
		place_put(s, l, page);
		return;
	}
	ckv_record_blank(&level->records[page], s->fingerprint, page, CKV_RECORD_LENT, 0);
	ckv_count(&s->stats->pages_lent, 1);
}

bool space_quiet(struct space *s, uint64_t serial, int32_t *units)
{
	struct links links = sheet_links(s);

	if (s->n_unquiet == 0 || s->quiet_serial != serial)
		s->n_unquiet = s->written.n;
	s->quiet_serial = serial;
	for (; s->n_unquiet > 0; s->n_unquiet--) {
		uint32_t sheet = s->written.tail;

		if (*units <= 0)
			return false;
		*units -= UNITS_LOOK;
		queue_remove(&s->written, links, sheet);
		if (!is_quiet(s, ckv_record_writer(sheet_record(s, sheet)), serial)) {
			queue_put_head(&s->written, links, sheet);
			continue;
		}
		*units -= UNITS_ABORT;
		written_over(s, sheet);
	}
	return true;
}

uint32_t space_written(const struct space *s)
{
	return s->written.n;
}

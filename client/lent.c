/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lent.c - which pages a lane was lent and has not given back.
 *
 * A page enters the set when ckv_reserve() hands it to the caller. It leaves with the
 * first answer after which the caller may not write it any more; later answers about it
 * change nothing. While a page is in the set its memory stays mapped. A page is known by
 * the attachment that lent it and by the number of its lending, never by its address.
 *
 * An open hash table, at most half full; a row with lending 0 is free.
 */
#include "client/lib.h"

#include <errno.h>

enum { ROWS_MIN = 64 };

static uint32_t home(const struct lib_lent_set *set, uint32_t page)
{
	return (page * 0x9e3779b1u) >> 7 & (set->n_rows - 1);
}

/* The row of a page's lending, or the free one where it would be. */
static uint32_t row_of(const struct lib_lent_set *set, uint32_t page,
		       uint32_t lending)
{
	uint32_t i = home(set, page);

	while (set->row[i].lending != 0 &&
	       (set->row[i].page != page || set->row[i].lending != lending))
		i = (i + 1) & (set->n_rows - 1);
	return i;
}

static int grow(struct lib_lent_set *set)
{
	struct lib_lent_set larger = {
		.n = set->n,
		.n_rows = set->n_rows == 0 ? ROWS_MIN : 2 * set->n_rows,
	};

	larger.row = lib_sys_alloc(larger.n_rows, sizeof *larger.row);
	if (larger.row == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < set->n_rows; i++) {
		const struct lib_lending *row = &set->row[i];

		if (row->lending != 0)
			larger.row[row_of(&larger, row->page,
					  row->lending)] = *row;
	}
	lib_sys_free(set->row);
	*set = larger;
	return 0;
}

/* 0 or -ENOMEM. */
int lib_lent_add(struct lib_lent_set *set, const struct lib_lending *lent)
{
	struct lib_lending *row;

	if (2 * (set->n + 1) > set->n_rows && grow(set) < 0)
		return -ENOMEM;
	row = &set->row[row_of(set, lent->page, lent->lending)];
	set->n += row->lending == 0;
	*row = *lent;
	return 0;
}

/* The caller may not write the page any more. Was it in the set? */
int lib_lent_remove(struct lib_lent_set *set, uint32_t page, uint32_t lending)
{
	uint32_t mask = set->n_rows - 1, hole, i;

	if (set->n == 0 || lending == 0)
		return 0;
	hole = row_of(set, page, lending);
	if (set->row[hole].lending == 0)
		return 0;
	/* What follows moves up, unless its home lies behind the hole. */
	for (i = (hole + 1) & mask; set->row[i].lending != 0;
	     i = (i + 1) & mask) {
		uint32_t from = home(set, set->row[i].page);

		if (((i - from) & mask) < ((i - hole) & mask))
			continue;
		set->row[hole] = set->row[i];
		hole = i;
	}
	set->row[hole].lending = 0;
	set->n--;
	return 1;
}

/*
 * Remove pages that the daemon took back because a page that they were reserved under was
 * aborted: their index entries have another generation now. Called when the lane leaves
 * these maps, so that only pages that are really lent keep them mapped.
 */
void lib_lent_sweep(struct lib_lent_set *set, const struct ckv_index *index)
{
	uint32_t i = 0;

	while (i < set->n_rows) {
		struct lib_lending row = set->row[i];

		if (row.lending == 0 || row.slot == CKV_NONE ||
		    ckv_entry_generation(ckv_index_entry(index, row.slot)) ==
		    row.generation)
			i++;
		else
			lib_lent_remove(set, row.page, row.lending);
	}
}

void lib_lent_free(struct lib_lent_set *set)
{
	lib_sys_free(set->row);
	*set = (struct lib_lent_set){ .n = 0 };
}

/* Was it lent under the attachment that the lane has now? */
int lib_page_current(const struct ckv_lane *lane, const struct ckv_page *page)
{
	struct lib_lent lent;

	memcpy(&lent, page->private_, sizeof lent);
	return lane->maps != NULL && lent.serial == lane->maps->serial;
}

/*
 * The name of a page in a request of this lane. A page that was lent under another
 * attachment (another space, say) may have the same name as a page of this one. It gets
 * a wrong epoch instead, so no page here has its name, and the daemon answers -ESTALE.
 */
struct ckv_page_name lib_page_name(const struct ckv_lane *lane,
				   const struct ckv_page *page)
{
	struct lib_lent lent;

	memcpy(&lent, page->private_, sizeof lent);
	return (struct ckv_page_name){
		.page = page->page, .lending = lent.lending, .level = lent.level,
		.epoch = lib_page_current(lane, page) ? lent.epoch : ~lane->epoch };
}

/* The caller may not write the page any more, whichever attachment lent it. */
void lib_page_forget(struct ckv_lane *lane, const struct ckv_page *page)
{
	struct lib_lent lent;

	memcpy(&lent, page->private_, sizeof lent);
	if (lib_page_current(lane, page))
		lib_lent_remove(&lane->lent, page->page, lent.lending);
	else
		lib_lane_forget_old(lane, lent.serial, page->page, lent.lending);
}

/* The i-th name in a PUBLISH or an ABORT that this lane has sent. */
static struct ckv_page_name sent_name(const struct ckv_lane *lane,
				      const struct lib_request *request,
				      uint32_t i)
{
	const char *args = lib_request_args(lane, request);
	struct ckv_page_name name;

	memcpy(&name, args + i * (request->op == CKV_OP_PUBLISH ?
				  sizeof(struct ckv_publish_item) :
				  sizeof name), sizeof name);
	return name;
}

/* The daemon answered `status` for the i-th page of a request: is its lending over? */
void lib_page_answered(struct ckv_lane *lane, const struct lib_request *request,
		       uint32_t i, int status)
{
	struct ckv_page_name name = sent_name(lane, request, i);

	if (name.epoch != lane->epoch)
		return;		/* forgotten when it was sent */
	if (status == 0 || status == -EEXIST || status == -ECANCELED ||
	    status == -ESTALE)
		lib_lent_remove(&lane->lent, name.page, name.lending);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * floor.h - what a space's accuracy floor allows, by what was measured.
 *
 * A method is judged by the rows of its family in quality.def: its selection and its
 * encoding with what decides about their loss. Of these counts the row of the largest
 * share that is not above the share of bytes it is given: more bytes were never measured
 * to be worse. Of several lengths the worst counts. An encoding alone keeps every token
 * and takes what it takes: its share is not compared. What was not measured is refused.
 */
#ifndef CKV_FLOOR_H
#define CKV_FLOOR_H

#include "kernels/ckv_method.h"

#define FLOOR_FAMILY_BYTES 64u

struct quality_row {
	const char *family;
	uint32_t share_num, share_den;
	uint32_t n_tokens;
	uint32_t right;			/* in a thousand */
};

struct quality_table {
	const struct quality_row *row;
	uint32_t n_rows;
};

/* daemon/shell/quality.def */
extern const struct quality_table quality_table;

/* "snapkv + kivi(bits=4, group=64)"; a selection alone is "snapkv + plain". */
void floor_family(const struct ckv_method *m, char family[FLOOR_FAMILY_BYTES]);

/*
 * Does `floor` percent hold for a method, given as it was asked for and as it was
 * settled for an object? A floor of 0 allows everything. -EPERM: `why` names the row
 * and its number, or what was not measured, and what would pass.
 */
int floor_check(const struct quality_table *table, uint32_t floor,
		const struct ckv_method *asked, const struct ckv_method *settled,
		const struct ckv_object *o, char why[CKV_METHOD_WHY_BYTES]);

#endif

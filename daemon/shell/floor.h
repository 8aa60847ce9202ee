/* SPDX-License-Identifier: Apache-2.0 */
/*
 * floor.h - judge a method by a space's accuracy floor and the measured accuracies.
 *
 * quality.def has rows for families of methods. A family is a selection and an encoding
 * with those parameters that decide how much is lost. A method is judged by the row of
 * its family with the largest share of bytes that is not above the method's own share:
 * more bytes were never measured to give worse answers. If such rows differ in the
 * length of the documents, the worst counts. A family without a selection keeps every
 * token, so shares are not compared. A method that no row covers is refused.
 */
#ifndef CKV_FLOOR_H
#define CKV_FLOOR_H

#include "kernels/ckv_method.h"

#define FLOOR_FAMILY_BYTES 64u

struct quality_row {
	const char *family;
	uint32_t share_num, share_den;	/* of the plain bytes */
	uint32_t n_tokens;		/* length of the documents */
	uint32_t right;			/* right answers of 1000 */
};

struct quality_table {
	const struct quality_row *row;
	uint32_t n_rows;
};

/* daemon/shell/quality.def */
extern const struct quality_table quality_table;

/* For example "snapkv + kivi(bits=4, group=64)"; a selection alone is "snapkv + plain". */
void floor_family(const struct ckv_method *m, char family[FLOOR_FAMILY_BYTES]);

/*
 * Does a method reach `floor` percent of right answers? It is given as requested, and
 * as settled for an object. A floor of 0 allows everything. 0; -EPERM: `why` names the
 * row and its accuracy, or says what was not measured, and names a method that passes.
 */
int floor_check(const struct quality_table *table, uint32_t floor,
		const struct ckv_method *asked, const struct ckv_method *settled,
		const struct ckv_object *o, char why[CKV_METHOD_WHY_BYTES]);

#endif

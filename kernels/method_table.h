/* SPDX-License-Identifier: Apache-2.0 */
/*
 * method_table.h - inside the text of methods: a row for each name.
 */
#ifndef CKV_KERNELS_METHOD_TABLE_H
#define CKV_KERNELS_METHOD_TABLE_H

#include "kernels/ckv_method.h"

enum method_stage { STAGE_SELECTION, STAGE_ALWAYS, STAGE_ENCODING, N_STAGES };

struct method_row {
	struct ckv_method_info info;
	enum method_stage stage;
	uint32_t kind;		/* enum ckv_selector or ckv_encode_kind */
	uint32_t bits;		/* int8: what is not written; else 0 */
};

extern const struct method_row method_row[];
extern const uint32_t method_n_rows;

/* The row that names a kind in canonical text: the first with it. */
const struct method_row *method_row_of(enum method_stage stage, uint32_t kind);

#endif

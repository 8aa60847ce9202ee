/* SPDX-License-Identifier: Apache-2.0 */
/*
 * geometry.h - compare a page layout and model, mostly a client's, with the space's.
 */
#ifndef CKV_GEOMETRY_H
#define CKV_GEOMETRY_H

#include "proto/ckv_space.h"

/* "head-major", "token-major" or "opaque"; for any other number "none of these". */
const char *geometry_layout(uint32_t layout);

/*
 * Compare all but the weights. A client wrote `theirs`; its model name may lack the 0
 * byte. `where` says where theirs was found, for the text. 0; -EINVAL: `text` names the first field that differs, with both values. The
 * client's name is in it unescaped: control_refuse() escapes it.
 */
int geometry_compare(const char *space, const struct ckv_geometry *ours,
		     const struct ckv_geometry *theirs, const char *where,
		     char text[232]);

#endif

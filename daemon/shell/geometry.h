/* SPDX-License-Identifier: Apache-2.0 */
/*
 * geometry.h - does a client mean by a page what the space means?
 */
#ifndef CKV_GEOMETRY_H
#define CKV_GEOMETRY_H

#include "proto/ckv_space.h"

/* "head-major", "token-major", "opaque"; "none of these". */
const char *geometry_layout(uint32_t layout);

/*
 * Compare all but the weights; what a client wrote is `theirs`, ended or not. 0;
 * -EINVAL: `text` names the first field that differs, with both values; a name in it is
 * as it came, and made safe to show by control_refuse().
 */
int geometry_compare(const char *space, const struct ckv_geometry *ours,
		     const struct ckv_geometry *theirs, char text[232]);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* harness.h - the kernels of harness.cu, from C. */
#ifndef CKV_SIMT_HARNESS_H
#define CKV_SIMT_HARNESS_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum wrong {
	WRONG_PAST_SHARED, WRONG_BEFORE_SHARED, WRONG_FAR_PAST_SHARED,
	WRONG_TWO_BARRIERS, WRONG_BARRIER_WITHOUT_ONE, WRONG_SHUFFLE_FROM_OUTSIDE,
	WRONG_LANE_ENDED, WRONG_NOT_IN_MASK, WRONG_TWO_MASKS,
	WRONG_LANE_IN_BARRIER, WRONG_PARTIAL_WARP, WRONG_ALIGNMENT, WRONG_GLOBAL,
};

int harness_reverse(const uint32_t *in, uint32_t n, int barrier, uint32_t *out);
int harness_before(const uint32_t *in, uint32_t n, uint32_t *out);
int harness_lanes(const uint32_t *in, uint32_t *out);
int harness_wrong(enum wrong wrong, uint32_t n, uint32_t *out);
int harness_launch(uint32_t grid, uint32_t block, uint32_t shared_bytes);

#ifdef __cplusplus
}
#endif
#endif

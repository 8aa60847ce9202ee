/* SPDX-License-Identifier: Apache-2.0 */
/*
 * encode_vector.h - the vectors that the encodings are written in.
 *
 * Included once per instruction set. The file that includes it has defined LANES, the
 * number of floats in a vector, and TARGET, the attribute that each function needs for
 * that instruction set; encode_body.h says what it defines after this.
 */
#include <stdint.h>
#include <string.h>

#define PAIR	(2 * LANES)
#define INLINE	static inline __attribute__((always_inline)) TARGET
#define LANE_BYTES	(LANES * 4)

typedef float vf __attribute__((vector_size(LANE_BYTES)));
typedef int32_t vi __attribute__((vector_size(LANE_BYTES)));
typedef uint32_t vu __attribute__((vector_size(LANE_BYTES)));
typedef uint64_t vl __attribute__((vector_size(LANE_BYTES)));
typedef int16_t vs __attribute__((vector_size(LANE_BYTES)));
typedef uint16_t vh __attribute__((vector_size(LANE_BYTES)));
typedef uint8_t vb __attribute__((vector_size(LANE_BYTES / 2)));	/* PAIR */
typedef vu vu_loose __attribute__((aligned(1), may_alias));
typedef vb vb_loose __attribute__((aligned(1), may_alias));

INLINE vf splat(float x)
{
	return x - (vf){ 0 };
}

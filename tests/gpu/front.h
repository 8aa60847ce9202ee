/* SPDX-License-Identifier: Apache-2.0 */
/* front.h - what front.c did. */
#ifndef CKV_GPU_FRONT_H
#define CKV_GPU_FRONT_H

#include <stdint.h>

/* Launches since the start. */
extern uint64_t front_n_launches;

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* figures.h - what a benchmark says of one case: as JSON, and in a line. */
#ifndef CKV_GPU_FIGURES_H
#define CKV_GPU_FIGURES_H

#include "bench.h"

#include <jansson.h>
#include <stdio.h>

/* Of an emulated device without a figure: that it ran. The caller's. */
json_t *figures_json(const struct bench_result *r);
void figures_print(const struct bench_result *r, FILE *out);

#endif

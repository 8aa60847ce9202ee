/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench.h - how long the kernels take on the GPU at hand, against its own copy rate.
 */
#ifndef CKV_GPU_BENCH_H
#define CKV_GPU_BENCH_H

#include "timing.h"

#include <stdbool.h>
#include <stddef.h>

/* About as long a case is launched; making its object takes as long again. */
#define BENCH_SECONDS	1.0

struct bench_result {
	const char *name;
	double bytes;			/* that it must move */
	struct times times, copy;	/* copy: of K to another place, just before */
	double gb_s, copy_gb_s, share;	/* share of the copy rate */
	double target_share, target_us;	/* 0: none */
	bool emulated;			/* it ran, less often and on less: there are no figures */
};

/* Name of case i; NULL: there are no more. */
const char *bench_name(size_t i);

/* Time one case on the open device. 0, or -errno with *why in words. */
int bench_run(const char *name, struct bench_result *ret, const char **why);

bool bench_met(const struct bench_result *r);	/* figures.c */

#endif

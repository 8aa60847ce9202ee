/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench.h - how long the kernels take on the GPU at hand, against its own copy rate.
 */
#ifndef CKV_GPU_BENCH_H
#define CKV_GPU_BENCH_H

#include <stddef.h>
#include <stdint.h>

struct bench_gpu {
	char name[256];
	int capability, driver;	/* 90 is 9.0; 13000: it knows CUDA 13.0 */
	int multiprocessors;
	size_t memory_bytes, l2_bytes;
};

/* 0, or -ENODEV: no GPU, or none that this program has code for; *why says which. */
int bench_gpu_open(struct bench_gpu *ret_gpu, const char **why);

struct bench_result {
	const char *name;
	double bytes;			/* that it must move */
	double us, us_min, us_max;	/* median and range of `runs` */
	int runs;
	double gb_s, share;		/* of the copy rate */
	double target_share;		/* 0: none */
	double target_us;		/* 0: none */
	const char *failed;		/* NULL, or what went wrong */
};

#define BENCH_MAX	32

struct bench {
	double copy_gb_s, copy_gb_s_min, copy_gb_s_max;
	struct bench_result result[BENCH_MAX];
	int n;
};

/* Run them all in about `seconds`; prints a line for each. */
void bench_run(struct bench *ret_bench, double seconds);

int bench_met(const struct bench_result *r);

#endif

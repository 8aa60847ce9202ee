/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake.h - a CUDA driver that runs nothing: it counts, and fails when it is told to.
 *
 * fake.c becomes a library of its own, which a test opens by its path. The test looks up
 * fake_driver in it and so says what happens and sees what happened.
 */
#ifndef CKV_CUDA_FAKE_H
#define CKV_CUDA_FAKE_H

#include "kernels/cuda_driver.h"

#include <pthread.h>
#include <sys/types.h>

#define FAKE_MULTIPROCESSORS	7
#define FAKE_OCCUPANCY		5
#define FAKE_MOST_SHARED	(227 << 10)

enum fake_call {
	FAKE_CTX_GET_DEVICE, FAKE_DEVICE_GET_ATTRIBUTE, FAKE_KERNEL_SET_ATTRIBUTE,
	FAKE_LAUNCH_KERNEL, FAKE_LIBRARY_GET_KERNEL, FAKE_LIBRARY_LOAD_DATA, FAKE_OCCUPANCY_OF,
	N_FAKE_CALLS,
};

struct fake {
	const char *missing;		/* a function that this driver lacks */
	const char *wanted[64];		/* what was asked for, in order; n_wanted of them */
	int version[64];
	unsigned n_wanted;
	CUresult fails[N_FAKE_CALLS];	/* what each call returns */
	unsigned n_calls[N_FAKE_CALLS];
	pthread_barrier_t *stop;	/* NULL, or who asks for a function or loads code says so */
	pid_t stopped;			/* here, in this process, and stays */
	const void *code;		/* of the last cuLibraryLoadData() */
	char kernel[64];		/* of the last cuLibraryGetKernel() */
	CUlaunchConfig config;		/* of the last launch, and where its first argument is */
	void *argument;
	int attribute;			/* the last that was set, and its value */
	int value;
};

#endif

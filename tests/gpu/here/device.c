/* SPDX-License-Identifier: Apache-2.0 */
/*
 * device.c - device.h by ordinary memory, for kernels that the harness runs.
 *
 * With it the tests of tests/simt go through front.c and mirror.c here, under ASan, which
 * sees whatever is read or written beside a block of either side.
 */
#include "tests/gpu/device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ALIGN	256u	/* as a driver's memory is */

static CUresult done(void)
{
	return CUDA_SUCCESS;
}

struct gpu_driver gpu = { .cuCtxSynchronize = done };

void gpu_must(CUresult r, const char *what)
{
	if (r == CUDA_SUCCESS)
		return;
	fprintf(stderr, "gpu-check: %s: %u\n", what, r);
	exit(EXIT_FAILURE);
}

void *gpu_alloc(size_t bytes)
{
	void *at = NULL;

	if (posix_memalign(&at, ALIGN, bytes) != 0)
		exit(EXIT_FAILURE);
	return at;
}

void gpu_free(void *at)
{
	free(at);
}

void gpu_fill(void *at, unsigned char byte, size_t n)
{
	memset(at, byte, n);
}

void gpu_put(void *to, const void *from, size_t bytes)
{
	memcpy(to, from, bytes);
}

void gpu_get(void *to, const void *from, size_t bytes)
{
	memcpy(to, from, bytes);
}

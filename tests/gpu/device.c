/* SPDX-License-Identifier: Apache-2.0 */
/* device.c - see device.h. */
#include "device.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

struct gpu_driver gpu;

static const struct cuda_function functions[] = { GPU_FUNCTIONS(CKV_CUDA_FUNCTION) };
static const struct cuda_driver *driver;
static CUdevice device;

int gpu_open(const char **why)
{
	static struct cuda_library library;
	CUcontext context;
	int n = 0;

	*why = library.why;
	if (cuda_library_open(NULL, &library) < 0 ||
	    cuda_library_find(&library, functions, sizeof functions / sizeof *functions,
			      &gpu) < 0)
		return -ENODEV;
	if (cuda_driver_open(NULL, &driver) < 0) {
		*why = cuda_driver_why();
		return -ENODEV;
	}
	*why = "no CUDA device";
	if (gpu.cuInit(0) != CUDA_SUCCESS || gpu.cuDeviceGetCount(&n) != CUDA_SUCCESS ||
	    n == 0 || gpu.cuDeviceGet(&device, 0) != CUDA_SUCCESS)
		return -ENODEV;
	*why = "the CUDA device gives no context";
	if (gpu.cuDevicePrimaryCtxRetain(&context, device) != CUDA_SUCCESS ||
	    gpu.cuCtxSetCurrent(context) != CUDA_SUCCESS)
		return -ENODEV;
	return 0;
}

int gpu_attribute(CUdevice_attribute what)
{
	int value = 0;

	driver->cuDeviceGetAttribute(&value, what, device);
	return value;
}

void gpu_must(CUresult r, const char *what)
{
	const char *text = "unknown error";

	if (r == CUDA_SUCCESS)
		return;
	gpu.cuGetErrorString(r, &text);
	fprintf(stderr, "gpu-check: %s: %s\n", what, text);
	exit(EXIT_FAILURE);
}

void *gpu_alloc(size_t bytes)
{
	CUdeviceptr at = 0;

	gpu_must(gpu.cuMemAlloc(&at, bytes), "device memory");
	return (void *)(uintptr_t)at;
}

void gpu_free(void *at)
{
	gpu_must(gpu.cuMemFree((uintptr_t)at), "free");
}

void gpu_fill(void *at, unsigned char byte, size_t n)
{
	gpu_must(gpu.cuMemsetD8((uintptr_t)at, byte, n), "fill");
}

void gpu_put(void *to, const void *from, size_t bytes)
{
	gpu_must(gpu.cuMemcpyHtoD((uintptr_t)to, from, bytes), "copy there");
}

void gpu_get(void *to, const void *from, size_t bytes)
{
	gpu_must(gpu.cuMemcpyDtoH(to, (uintptr_t)from, bytes), "copy back");
}

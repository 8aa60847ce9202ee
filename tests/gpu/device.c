/* SPDX-License-Identifier: Apache-2.0 */
/* device.c - see device.h. */
#include "device.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct gpu_driver gpu;

static struct cuda_devices seen;

static const struct cuda_function functions[] = { GPU_FUNCTIONS(CKV_CUDA_FUNCTION) };

int gpu_count(const char **why)
{
	static struct cuda_library library;
	int r = cuda_devices_open(NULL, "", &seen);

	*why = seen.why;
	if (r < 0)
		return r == -ENOENT || r == -ENODEV ? -ENODEV : -EIO;
	*why = library.why;
	if (cuda_library_open(NULL, &library) < 0 ||
	    cuda_library_find(&library, functions, sizeof functions / sizeof *functions,
			      &gpu) < 0)
		return -EIO;
	return (int)seen.n_shown;
}

static int attribute(CUdevice_attribute what, CUdevice device)
{
	int value = 0;

	gpu_must(gpu.cuDeviceGetAttribute(&value, what, device), "attribute");
	return value;
}

/* A driver calls a slice "GPU NAME MIG 1g.10gb", and gives its own UUID. */
static void name_device(CUdevice device, struct gpu_words *ret)
{
	CUuuid id = { { 0 } };
	char *at = ret->uuid;

	gpu_must(gpu.cuDeviceGetName(ret->name, sizeof ret->name, device), "name");
	gpu_must(gpu.cuDeviceGetUuid(&id, device), "UUID");
	ret->emulated = strstr(ret->name, "emulated") != NULL;
	ret->mig = strstr(ret->name, " MIG ") != NULL;
	at += sprintf(at, "%s", ret->mig ? "MIG" : "GPU");
	for (int i = 0; i < 16; i++)
		at += sprintf(at, "%s%02x", i == 0 || i == 4 || i == 6 || i == 8 || i == 10
			      ? "-" : "", (unsigned char)id.bytes[i]);
}

void gpu_describe(int n, struct gpu_words *ret)
{
	CUdevice device = 0;

	memset(ret, 0, sizeof *ret);
	gpu_must(gpu.cuDeviceGet(&device, n), "device");
	name_device(device, ret);
	gpu_must(gpu.cuDeviceTotalMem(&ret->memory_bytes, device), "memory");
	ret->capability = 10 * attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, device) +
			  attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, device);
	ret->multiprocessors = attribute(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, device);
	ret->l2_bytes = (size_t)attribute(CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE, device);
}

bool gpu_is_emulated(void)
{
	struct gpu_words w;

	gpu_describe(0, &w);
	return w.emulated;
}

/* A device in use by another, or without memory left, is there and gives no context. */
static int make_context(const char **why)
{
	static char words[160];
	const char *call = "cuDeviceGet", *name = NULL;
	CUcontext context;
	CUdevice device = 0;
	CUresult r = gpu.cuDeviceGet(&device, 0);

	if (r == CUDA_SUCCESS) {
		call = "cuDevicePrimaryCtxRetain";
		r = gpu.cuDevicePrimaryCtxRetain(&context, device);
	}
	if (r == CUDA_SUCCESS) {
		call = "cuCtxSetCurrent";
		r = gpu.cuCtxSetCurrent(context);
	}
	if (r == CUDA_SUCCESS)
		return 0;
	if (seen.cu.cuGetErrorName(r, &name) != CUDA_SUCCESS || name == NULL)
		name = "an unknown error";
	snprintf(words, sizeof words, "the CUDA device gives no context: %s fails with %s (%u)",
		 call, name, (unsigned)r);
	*why = words;
	return -EIO;
}

int gpu_open(const char **why)
{
	const struct cuda_driver *driver;
	int r = gpu_count(why);

	if (r < 0)
		return r;
	if (cuda_driver_open(NULL, &driver) < 0) {
		*why = cuda_driver_why();
		return -EIO;
	}
	return make_context(why);
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

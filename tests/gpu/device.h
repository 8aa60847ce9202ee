/* SPDX-License-Identifier: Apache-2.0 */
/*
 * device.h - the GPU at hand: its memory, events and errors, by the driver.
 *
 * The tests make a context and wait for it, which the product never does; the functions
 * for that are found beside those of kernels/cuda_driver.h, in a list of their own.
 */
#ifndef CKV_GPU_DEVICE_H
#define CKV_GPU_DEVICE_H

#include "kernels/cuda_device.h"
#include "kernels/cuda_driver.h"

#include <stdbool.h>

/* As CKV_CUDA_NUMBERS, for the tests only. */
#define GPU_NUMBERS(do)								\
	do(CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE, 38)

#ifndef __cuda_cuda_h__
#define GPU_NUMBER(name, value)	name = value,
enum { GPU_NUMBERS(GPU_NUMBER) };
#undef GPU_NUMBER

typedef struct CUctx_st *CUcontext;
typedef struct CUevent_st *CUevent;
typedef unsigned long long CUdeviceptr;
#endif

/* As CKV_CUDA_FUNCTIONS, for the tests only. */
#define GPU_FUNCTIONS(do)							\
	do(cuInit, 2000, (unsigned flags))					\
	do(cuDriverGetVersion, 2020, (int *version))				\
	do(cuGetErrorString, 6000, (CUresult error, const char **text))		\
	do(cuDeviceGet, 2000, (CUdevice *device, int ordinal))			\
	do(cuDeviceGetCount, 2000, (int *n))					\
	do(cuDeviceGetAttribute, 2000,						\
	   (int *value, CUdevice_attribute attribute, CUdevice device))		\
	do(cuDeviceGetName, 2000, (char *name, int bytes, CUdevice device))	\
	do(cuDeviceGetUuid, 11040, (CUuuid *uuid, CUdevice device))		\
	do(cuDeviceTotalMem, 3020, (size_t *bytes, CUdevice device))		\
	do(cuDevicePrimaryCtxRetain, 7000, (CUcontext *context, CUdevice device))	\
	do(cuCtxSetCurrent, 4000, (CUcontext context))				\
	do(cuCtxSynchronize, 2000, (void))					\
	do(cuMemAlloc, 3020, (CUdeviceptr *at, size_t bytes))			\
	do(cuMemFree, 3020, (CUdeviceptr at))					\
	do(cuMemcpyHtoD, 3020, (CUdeviceptr to, const void *from, size_t bytes))	\
	do(cuMemcpyDtoH, 3020, (void *to, CUdeviceptr from, size_t bytes))	\
	do(cuMemcpyDtoDAsync, 3020,						\
	   (CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream))	\
	do(cuMemsetD8, 3020, (CUdeviceptr at, unsigned char byte, size_t n))	\
	do(cuLaunchHostFunc, 10000,						\
	   (CUstream stream, void (*function)(void *), void *data))		\
	do(cuEventCreate, 2000, (CUevent *event, unsigned flags))		\
	do(cuEventRecord, 2000, (CUevent event, CUstream stream))		\
	do(cuEventSynchronize, 2000, (CUevent event))				\
	do(cuEventElapsedTime, 2000, (float *ms, CUevent from, CUevent to))	\
	do(cuEventDestroy, 4000, (CUevent event))

#define GPU_POINTER(name, version, parameters)	CUresult (*name) parameters;
struct gpu_driver { GPU_FUNCTIONS(GPU_POINTER) };
#undef GPU_POINTER

/* Filled by gpu_open(). */
extern struct gpu_driver gpu;

/*
 * How many devices the driver shows. With *why in words: -ENODEV, no driver or no device;
 * -EIO, a driver or a device that should be there and cannot be used.
 */
int gpu_count(const char **why);

/* What the driver says of device n without a context on it. */
struct gpu_words {
	char name[256];
	char uuid[48];		/* as CUDA_VISIBLE_DEVICES takes it */
	bool mig;		/* a slice of a GPU */
	bool emulated;		/* no GPU at all (tests/cuda/emu): no figure of it means anything */
	int capability;		/* 90 is 9.0 */
	int multiprocessors;
	size_t memory_bytes, l2_bytes;
};
void gpu_describe(int n, struct gpu_words *ret);

/* Is the first one no GPU? */
bool gpu_is_emulated(void);

/* The first device, its primary context current. 0, or as gpu_count(). */
int gpu_open(const char **why);

/* What goes wrong in these ends the program, with `what` in its message. */
void gpu_must(CUresult r, const char *what);
void *gpu_alloc(size_t bytes);
void gpu_free(void *at);
void gpu_fill(void *at, unsigned char byte, size_t n);
void gpu_put(void *to, const void *from, size_t bytes);
void gpu_get(void *to, const void *from, size_t bytes);

#endif

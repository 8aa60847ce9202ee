/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cuda_launch.c - cuda_launch.h through the driver, in the caller's current context.
 *
 * Device code is loaded file by file when a kernel of it is first wanted, once for a
 * process: the driver brings it to each device and context by itself. Nothing here makes
 * or changes a context, and the driver keeps no error that somebody else would ask for.
 */
#include "kernels/cuda_driver.h"
#include "kernels/cuda_launch.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>

#define PLAIN_SHARED_BYTES	(48u << 10)	/* more has to be allowed for a kernel */

#define KERNEL(file, name)	{ CUDA_FILE_##file, "ckvk_" #name },
static const struct {
	enum cuda_file file;
	const char *name;
} kernels[N_CUDA_KERNELS] = { CKV_CUDA_KERNELS(KERNEL) };

/* What is loaded; never unloaded. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static CUlibrary library[N_CUDA_FILES];
static CUkernel handle[N_CUDA_KERNELS];

/* Whoever held it is not in the child; each pointer above is whole or not there. */
static void free_lock(void)
{
	pthread_mutex_init(&lock, NULL);
}

__attribute__((constructor)) static void mind_forks(void)
{
	pthread_atfork(NULL, NULL, free_lock);
}

/* With the lock. */
static int load(const struct cuda_driver *d, uint32_t kernel)
{
	CUlibrary *from = &library[kernels[kernel].file];
	const void *code = cuda_image[kernels[kernel].file];
	CUresult r = CUDA_SUCCESS;

	if (code == NULL)
		return -ENODEV;
	if (*from == NULL)
		r = d->cuLibraryLoadData(from, code, NULL, NULL, 0, NULL, NULL, 0);
	if (r == CUDA_SUCCESS)
		r = d->cuLibraryGetKernel(&handle[kernel], *from, kernels[kernel].name);
	return cuda_errno(r);
}

static int kernel_get(const struct cuda_driver *d, uint32_t kernel, CUkernel *ret)
{
	int r = 0;

	pthread_mutex_lock(&lock);
	if (handle[kernel] == NULL)
		r = load(d, kernel);
	*ret = handle[kernel];
	pthread_mutex_unlock(&lock);
	return r;
}

/*
 * Let blocks of `kernel` have as much shared memory as the device has: the most, and not
 * what this launch needs, so that two threads never take it from each other.
 */
static CUresult allow_shared(const struct cuda_driver *d, CUkernel kernel)
{
	CUdevice device = 0;
	int most = 0;
	CUresult r = d->cuCtxGetDevice(&device);

	if (r == CUDA_SUCCESS)
		r = d->cuDeviceGetAttribute(
			&most, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, device);
	if (r == CUDA_SUCCESS)
		r = d->cuKernelSetAttribute(CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
					    most, kernel, device);
	return r;
}

/* The kernel, ready for blocks with that much shared memory. */
static int prepare(const struct cuda_driver **d, uint32_t kernel, size_t shared_bytes,
		   CUkernel *ret)
{
	int r = cuda_driver_open(NULL, d);

	if (r == 0)
		r = kernel_get(*d, kernel, ret);
	if (r == 0 && shared_bytes > PLAIN_SHARED_BYTES)
		r = cuda_errno(allow_shared(*d, *ret));
	return r;
}

int cuda_launch(uint32_t kernel, struct cuda_shape shape, void *stream, void *const *args)
{
	const CUlaunchConfig config = {
		.gridDimX = shape.n_blocks, .gridDimY = 1, .gridDimZ = 1,
		.blockDimX = shape.n_threads, .blockDimY = 1, .blockDimZ = 1,
		.sharedMemBytes = (unsigned)shape.shared_bytes, .hStream = stream };
	const struct cuda_driver *d;
	CUkernel ready;
	int r;

	if (shape.shared_bytes > INT_MAX)
		return -EIO;
	r = prepare(&d, kernel, shape.shared_bytes, &ready);
	if (r < 0)
		return r;
	return cuda_errno(d->cuLaunchKernelEx(&config, (CUfunction)ready,
					      (void **)(uintptr_t)args, NULL));
}

uint32_t cuda_blocks_at_once(uint32_t kernel, uint32_t n_threads, size_t shared_bytes)
{
	int n_multiprocessors = 0, of_each = 0;
	const struct cuda_driver *d;
	CUdevice device = 0;
	CUkernel ready;

	if (prepare(&d, kernel, shared_bytes, &ready) < 0 ||
	    d->cuCtxGetDevice(&device) != CUDA_SUCCESS ||
	    d->cuDeviceGetAttribute(&n_multiprocessors,
				    CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT,
				    device) != CUDA_SUCCESS ||
	    d->cuOccupancyMaxActiveBlocksPerMultiprocessor(
		    &of_each, (CUfunction)ready, (int)n_threads, shared_bytes) != CUDA_SUCCESS)
		return 1;	/* the launch says why */
	return n_multiprocessors > 0 && of_each > 0
		? (uint32_t)n_multiprocessors * (uint32_t)of_each : 1;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * library.c - libraries of kernels, and their launches.
 *
 * The code in a fatbin is for GPUs, so only its magic number is looked at; the kernels
 * are those of the same names in the libraries that CKV_EMU_KERNELS lists.
 */
#include "emu.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FATBIN_WRAPPER	0x466243b1u	/* of a struct whose third word points at the code */
#define FATBIN		0xba55ed50u

enum { DEFAULT_SHARED = 48 << 10 };

struct CUkern_st {
	CUkernel next;
	const struct ptx_kernel *kernel;
	size_t max_shared;		/* that a launch may ask for */
};

struct CUlib_st {
	CUlibrary next;
	CUkernel kernels;
};

static CUlibrary libraries;

/* In any of the libraries of CKV_EMU_KERNELS, which stay loaded. */
static const struct ptx_kernel *search(const char *name)
{
	const char *list = getenv("CKV_EMU_KERNELS");
	const struct ptx_kernel *found = NULL;

	while (list != NULL && *list != '\0' && found == NULL) {
		const struct ptx_kernel *(*find)(const char *);
		size_t n = strcspn(list, ":");
		char *path = strndup(list, n);
		void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);

		if (library == NULL) {
			fprintf(stderr, "emu: CKV_EMU_KERNELS: %s\n", dlerror());
			abort();
		}
		*(void **)&find = dlsym(library, "ptx_find");
		found = find(name);
		free(path);
		list += n + (list[n] == ':');
	}
	return found;
}

static int is_fatbin(const void *code)
{
	struct {
		uint32_t magic, version;
		const uint32_t *code;
	} wrapper;
	uint32_t magic;

	memcpy(&magic, code, sizeof magic);
	if (magic != FATBIN_WRAPPER)
		return magic == FATBIN;
	memcpy(&wrapper, code, sizeof wrapper);
	return *wrapper.code == FATBIN;
}

CUresult cuLibraryLoadData(CUlibrary *ret, const void *code, CUjit_option *jit_options,
			   void **jit_values, unsigned n_jit, CUlibraryOption *options,
			   void **values, unsigned n_options)
{
	CUlibrary l;

	(void)jit_options;
	(void)jit_values;
	(void)options;
	(void)values;
	EMU_ENTER("cuLibraryLoadData", EMU_INIT);
	if (ret == NULL || code == NULL)
		return CUDA_ERROR_INVALID_VALUE;
	if (n_jit != 0 || n_options != 0)
		return CUDA_ERROR_NOT_SUPPORTED;
	if (!is_fatbin(code))
		return CUDA_ERROR_INVALID_IMAGE;
	l = calloc(1, sizeof *l);
	if (l == NULL)
		return CUDA_ERROR_OUT_OF_MEMORY;
	pthread_mutex_lock(&emu_lock);
	l->next = libraries;
	libraries = l;
	pthread_mutex_unlock(&emu_lock);
	*ret = l;
	return CUDA_SUCCESS;
}

/* The link to it, or NULL. With the lock. */
static CUlibrary *library_of(CUlibrary handle)
{
	CUlibrary *at = &libraries;

	while (*at != NULL && *at != handle)
		at = &(*at)->next;
	return *at == NULL ? NULL : at;
}

CUresult cuLibraryUnload(CUlibrary library)
{
	CUlibrary *at;

	EMU_ENTER("cuLibraryUnload", EMU_INIT);
	pthread_mutex_lock(&emu_lock);
	at = library_of(library);
	if (at != NULL) {
		*at = library->next;
		while (library->kernels != NULL) {
			CUkernel next = library->kernels->next;

			free(library->kernels);
			library->kernels = next;
		}
		free(library);
	}
	pthread_mutex_unlock(&emu_lock);
	return at == NULL ? CUDA_ERROR_INVALID_HANDLE : CUDA_SUCCESS;
}

CUresult cuLibraryGetKernel(CUkernel *ret, CUlibrary library, const char *name)
{
	const struct ptx_kernel *kernel;
	CUresult r = CUDA_SUCCESS;
	CUkernel k;

	EMU_ENTER("cuLibraryGetKernel", EMU_INIT);
	if (ret == NULL || name == NULL)
		return CUDA_ERROR_INVALID_VALUE;
	kernel = search(name);
	pthread_mutex_lock(&emu_lock);
	if (library_of(library) == NULL) {
		r = CUDA_ERROR_INVALID_HANDLE;
		goto out;
	}
	for (k = library->kernels; k != NULL && k->kernel != kernel;)
		k = k->next;
	if (kernel == NULL)
		r = CUDA_ERROR_NOT_FOUND;
	else if (k == NULL && (k = calloc(1, sizeof *k)) == NULL)
		r = CUDA_ERROR_OUT_OF_MEMORY;
	if (r != CUDA_SUCCESS)
		goto out;
	if (k->kernel == NULL) {
		*k = (struct CUkern_st){ library->kernels, kernel,
					 DEFAULT_SHARED - kernel->shared_bytes };
		library->kernels = k;
	}
	*ret = k;
out:
	pthread_mutex_unlock(&emu_lock);
	return r;
}

/* What a kernel's handle means, or NULL. */
static CUkernel kernel_of(const void *handle)
{
	CUkernel k = NULL;

	pthread_mutex_lock(&emu_lock);
	for (CUlibrary l = libraries; l != NULL && k == NULL; l = l->next)
		for (k = l->kernels; k != NULL && k != handle;)
			k = k->next;
	pthread_mutex_unlock(&emu_lock);
	return k;
}

CUresult cuKernelSetAttribute(CUfunction_attribute attribute, int value, CUkernel kernel,
			      CUdevice device)
{
	CUkernel k;

	EMU_ENTER("cuKernelSetAttribute", EMU_INIT);
	k = kernel_of(kernel);
	if (k == NULL)
		return CUDA_ERROR_INVALID_HANDLE;
	if (attribute != CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES || emu_device(device) < 0 ||
	    value < 0 || (size_t)value + k->kernel->shared_bytes > SIMT_MAX_SHARED)
		return CUDA_ERROR_INVALID_VALUE;
	k->max_shared = (size_t)value;
	return CUDA_SUCCESS;
}

CUresult cuLaunchKernelEx(const CUlaunchConfig *c, CUfunction function, void **params,
			  void **extra)
{
	struct emu_work work = { .kind = EMU_KERNEL };
	CUkernel k;

	EMU_ENTER("cuLaunchKernelEx", EMU_CONTEXT);
	k = kernel_of(function);
	if (k == NULL)
		return CUDA_ERROR_INVALID_HANDLE;
	if (extra != NULL || c->numAttrs != 0)
		return CUDA_ERROR_NOT_SUPPORTED;
	work.kernel.kernel = k->kernel;
	work.kernel.grid = (struct simt_dim){ c->gridDimX, c->gridDimY, c->gridDimZ };
	work.kernel.block = (struct simt_dim){ c->blockDimX, c->blockDimY, c->blockDimZ };
	work.kernel.shared_bytes = c->sharedMemBytes;
	if (c->sharedMemBytes > k->max_shared ||
	    !ptx_fits(k->kernel, work.kernel.grid, work.kernel.block, c->sharedMemBytes) ||
	    (k->kernel->n_params > 0 && params == NULL))
		return CUDA_ERROR_INVALID_VALUE;
	work.kernel.params = ptx_params(k->kernel, params);
	return emu_queue(c->hStream, &work, NULL);
}

CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int *ret, CUfunction function,
						     int n_threads, size_t shared_bytes)
{
	size_t n, by_shared;
	CUkernel k;

	EMU_ENTER("cuOccupancyMaxActiveBlocksPerMultiprocessor", EMU_CONTEXT);
	k = kernel_of(function);
	if (k == NULL)
		return CUDA_ERROR_INVALID_HANDLE;
	if (n_threads <= 0 || n_threads > (int)SIMT_MAX_THREADS)
		return CUDA_ERROR_INVALID_VALUE;
	/* A block costs a KiB besides what it has; a multiprocessor has one more than a block. */
	by_shared = (SIMT_MAX_SHARED + 1024) / (shared_bytes + k->kernel->shared_bytes + 1024);
	n = 2048 / (((size_t)n_threads + 31) / 32 * 32);
	n = n < by_shared ? n : by_shared;
	*ret = (int)(n < 32 ? n : 32);
	return CUDA_SUCCESS;
}

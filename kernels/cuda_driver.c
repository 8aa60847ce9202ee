/* SPDX-License-Identifier: Apache-2.0 */
/* cuda_driver.c - see cuda_driver.h. */
#include "kernels/cuda_driver.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

static const struct cuda_function functions[] = { CKV_CUDA_FUNCTIONS(CKV_CUDA_FUNCTION) };

#define N_FUNCTIONS	(sizeof functions / sizeof *functions)
_Static_assert(sizeof(struct cuda_driver) == N_FUNCTIONS * sizeof(void *), "pointers only");

int cuda_library_open(const char *path, struct cuda_library *library)
{
	void *get;

	*library = (struct cuda_library){ .why = "" };
	library->handle = dlopen(path == NULL ? CUDA_DRIVER_LIBRARY : path,
				 RTLD_NOW | RTLD_LOCAL);
	if (library->handle == NULL) {
		snprintf(library->why, sizeof library->why, "no CUDA driver: %s", dlerror());
		return -ENODEV;
	}
	get = dlsym(library->handle, "cuGetProcAddress_v2");
	if (get == NULL) {
		snprintf(library->why, sizeof library->why,
			 "the CUDA driver is older than 12.0: it lacks cuGetProcAddress_v2");
		return -ENODEV;
	}
	memcpy(&library->get, &get, sizeof get);
	return 0;
}

int cuda_library_find(struct cuda_library *library, const struct cuda_function *wanted,
		      size_t n, void *pointers)
{
	for (size_t i = 0; i < n; i++) {
		void *function = NULL;
		unsigned status = 0;
		CUresult r = library->get(wanted[i].name, &function, wanted[i].version, 0,
					  &status);

		if (r != CUDA_SUCCESS || function == NULL) {
			snprintf(library->why, sizeof library->why,
				 "the CUDA driver lacks %s of version %d.%d", wanted[i].name,
				 wanted[i].version / 1000, wanted[i].version % 1000 / 10);
			return -ENODEV;
		}
		memcpy((char *)pointers + i * sizeof function, &function, sizeof function);
	}
	return 0;
}

/* The driver of this process. Nothing changes once `tried` is set. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct cuda_library library;
static struct cuda_driver driver;
static int tried, result;

/* Whoever held it is not in the child; what was half done is done again there. */
static void free_lock(void)
{
	pthread_mutex_init(&lock, NULL);
}

__attribute__((constructor)) static void mind_forks(void)
{
	pthread_atfork(NULL, NULL, free_lock);
}

int cuda_driver_open(const char *path, const struct cuda_driver **ret)
{
	pthread_mutex_lock(&lock);
	if (!tried) {
		result = cuda_library_open(path, &library);
		if (result == 0)
			result = cuda_library_find(&library, functions, N_FUNCTIONS, &driver);
		tried = 1;
	}
	pthread_mutex_unlock(&lock);
	if (result == 0)
		*ret = &driver;
	return result;
}

const char *cuda_driver_why(void)
{
	return library.why;
}

int cuda_errno(CUresult r)
{
	switch (r) {
	case CUDA_SUCCESS:
		return 0;
	case CUDA_ERROR_NOT_INITIALIZED:
	case CUDA_ERROR_DEINITIALIZED:
	case CUDA_ERROR_NO_DEVICE:
	case CUDA_ERROR_INVALID_DEVICE:
	case CUDA_ERROR_INVALID_IMAGE:		/* packed in a way that this driver does not know */
	case CUDA_ERROR_INVALID_CONTEXT:
	case CUDA_ERROR_NO_BINARY_FOR_GPU:
	case CUDA_ERROR_JIT_COMPILER_NOT_FOUND:	/* which only PTX needs */
	case CUDA_ERROR_UNSUPPORTED_PTX_VERSION:
	case CUDA_ERROR_JIT_COMPILATION_DISABLED:
	case CUDA_ERROR_SYSTEM_DRIVER_MISMATCH:
		return -ENODEV;
	case CUDA_ERROR_OUT_OF_MEMORY:
		return -ENOMEM;
	default:
		return -EIO;
	}
}

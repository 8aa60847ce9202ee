/* SPDX-License-Identifier: Apache-2.0 */
/* fake.c - see fake.h. */
#include "fake.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct fake fake_driver;
CUresult cuGetProcAddress_v2(const char *name, void **function, int version, uint64_t flags,
			     unsigned *status);

static char things[2];		/* a library and a kernel are their addresses */

static CUresult call(enum fake_call which)
{
	__atomic_fetch_add(&fake_driver.n_calls[which], 1, __ATOMIC_RELAXED);
	return fake_driver.fails[which];
}

/* In a child nobody stops. */
static void stop_here(void)
{
	if (fake_driver.stop == NULL || fake_driver.stopped != getpid())
		return;
	pthread_barrier_wait(fake_driver.stop);
	for (;;)
		pause();
}

static CUresult ctx_get_device(CUdevice *device)
{
	*device = 3;
	return call(FAKE_CTX_GET_DEVICE);
}

static CUresult device_get_attribute(int *value, CUdevice_attribute attribute, CUdevice device)
{
	*value = device != 3 ? 0 : attribute == CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT
		? FAKE_MULTIPROCESSORS : FAKE_MOST_SHARED;
	return call(FAKE_DEVICE_GET_ATTRIBUTE);
}

static CUresult kernel_set_attribute(CUfunction_attribute attribute, int value, CUkernel kernel,
				     CUdevice device)
{
	(void)kernel;
	(void)device;
	fake_driver.attribute = (int)attribute;
	fake_driver.value = value;
	return call(FAKE_KERNEL_SET_ATTRIBUTE);
}

static CUresult launch_kernel(const CUlaunchConfig *config, CUfunction function, void **arguments,
			      void **extra)
{
	(void)function;
	(void)extra;
	fake_driver.config = *config;
	fake_driver.argument = arguments[0];
	return call(FAKE_LAUNCH_KERNEL);
}

static CUresult library_get_kernel(CUkernel *kernel, CUlibrary library, const char *name)
{
	(void)library;
	snprintf(fake_driver.kernel, sizeof fake_driver.kernel, "%s", name);
	if (fake_driver.fails[FAKE_LIBRARY_GET_KERNEL] == CUDA_SUCCESS)
		*kernel = (CUkernel)(void *)&things[0];
	return call(FAKE_LIBRARY_GET_KERNEL);
}

static CUresult library_load_data(CUlibrary *library, const void *code, CUjit_option *jit_options,
				  void **jit_values, unsigned n_jit, CUlibraryOption *options,
				  void **values, unsigned n_options)
{
	(void)jit_options;
	(void)jit_values;
	(void)n_jit;
	(void)options;
	(void)values;
	(void)n_options;
	fake_driver.code = code;
	stop_here();
	if (fake_driver.fails[FAKE_LIBRARY_LOAD_DATA] == CUDA_SUCCESS)
		*library = (CUlibrary)(void *)&things[1];
	return call(FAKE_LIBRARY_LOAD_DATA);
}

static CUresult occupancy(int *n_blocks, CUfunction function, int n_threads, size_t shared_bytes)
{
	(void)function;
	(void)n_threads;
	(void)shared_bytes;
	*n_blocks = FAKE_OCCUPANCY;
	return call(FAKE_OCCUPANCY_OF);
}

/* Only what the product's list has: whoever wants more is told that there is no such thing. */
static const struct cuda_driver driver = {
	ctx_get_device, device_get_attribute, kernel_set_attribute, launch_kernel,
	library_get_kernel, library_load_data, occupancy };
static const struct cuda_function list[] = { CKV_CUDA_FUNCTIONS(CKV_CUDA_FUNCTION) };

CUresult cuGetProcAddress_v2(const char *name, void **function, int version, uint64_t flags,
			     unsigned *status)
{
	(void)flags;
	stop_here();
	*status = 1;	/* CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND */
	*function = NULL;
	if (fake_driver.n_wanted < 64) {
		fake_driver.version[fake_driver.n_wanted] = version;
		fake_driver.wanted[fake_driver.n_wanted++] = name;
	}
	if (fake_driver.missing != NULL && strcmp(name, fake_driver.missing) == 0)
		return CUDA_SUCCESS;	/* which 12.x does, with a null pointer */
	for (size_t i = 0; i < sizeof list / sizeof *list; i++)
		if (strcmp(name, list[i].name) == 0) {
			memcpy(function, (const char *)&driver + i * sizeof *function,
			       sizeof *function);
			*status = 0;
			return CUDA_SUCCESS;
		}
	return 500;	/* CUDA_ERROR_NOT_FOUND */
}

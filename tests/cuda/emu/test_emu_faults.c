/* SPDX-License-Identifier: Apache-2.0 */
/* test_emu_faults.c - kernels on the emulated driver, and what a test makes go wrong. */
#include "tests/cuda/emu/loaded.h"
#include "tests/lib/check_main.h"

#include <time.h>

static uint32_t fatbin[2] = { 0xba55ed50, 0 };

static CUkernel find_kernel(const char *name)
{
	CUlibrary library;
	CUkernel kernel;

	OK(cu.cuLibraryLoadData(&library, fatbin, NULL, NULL, 0, NULL, NULL, 0));
	OK(cu.cuLibraryGetKernel(&kernel, library, name));
	return kernel;
}

static CUresult launch(CUkernel kernel, unsigned n_threads, unsigned shared_bytes, CUstream s,
		       void **params)
{
	CUlaunchConfig config = { 1, 1, 1, n_threads, 1, 1, shared_bytes, s, NULL, 0 };

	return cu.cuLaunchKernelEx(&config, (CUfunction)kernel, params, NULL);
}

static void start_with_kernels(void)
{
	setenv("CKV_EMU_KERNELS", EMU_MEET, 1);
	driver_start();
}

/* ---- kernels ---- */

START_TEST(a_kernel_takes_its_parameters_when_it_is_launched)
{
	CUmemGenericAllocationHandle handle;
	uint32_t in[64], out[64];
	CUdeviceptr at, from, to;
	void *params[] = { &from, &to };
	CUstream s;

	start_with_kernels();
	s = make_stream();
	from = at = make_slab(&handle);
	to = at + 4096;
	for (uint32_t i = 0; i < 64; i++)
		in[i] = i;
	OK(cu.cuMemcpyAsync(from, address(in), sizeof in, s));
	OK(launch(find_kernel("reverse"), 64, 0, s, params));
	from = to = 0;
	OK(cu.cuMemcpyAsync(address(out), at + 4096, sizeof out, s));
	for (uint32_t i = 0; i < 64; i++)
		ck_assert_uint_eq(out[i], 63 - i);
}
END_TEST

START_TEST(impossible_launches_are_refused)
{
	CUdeviceptr none = 0;
	void *params[] = { &none, &none };
	uint32_t not_code[2] = { 1, 2 };
	CUlibrary library;
	CUkernel kernel;
	int n;

	start_with_kernels();
	kernel = find_kernel("reverse");
	ck_assert_int_eq(launch(kernel, 129, 0, NULL, params), CUDA_ERROR_INVALID_VALUE);
	ck_assert_int_eq(launch(kernel, 0, 0, NULL, params), CUDA_ERROR_INVALID_VALUE);
	ck_assert_int_eq(launch(kernel, 1, 48 << 10, NULL, params), CUDA_ERROR_INVALID_VALUE);
	OK(cu.cuKernelSetAttribute(CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, 100 << 10,
				   kernel, 0));
	ck_assert_int_eq(launch(kernel, 1, (100 << 10) + 1, NULL, params),
			 CUDA_ERROR_INVALID_VALUE);
	ck_assert_int_eq(launch((CUkernel)&kernel, 1, 0, NULL, params),
			 CUDA_ERROR_INVALID_HANDLE);
	ck_assert_int_eq(cu.cuLibraryLoadData(&library, not_code, NULL, NULL, 0, NULL, NULL, 0),
			 CUDA_ERROR_INVALID_IMAGE);
	OK(cu.cuLibraryLoadData(&library, fatbin, NULL, NULL, 0, NULL, NULL, 0));
	ck_assert_int_eq(cu.cuLibraryGetKernel(&kernel, library, "nothing"),
			 CUDA_ERROR_NOT_FOUND);
	OK(cu.cuLibraryGetKernel(&kernel, library, "reverse"));
	OK(cu.cuOccupancyMaxActiveBlocksPerMultiprocessor(&n, (CUfunction)kernel, 128,
							  56 << 10));
	ck_assert_int_eq(n, 3);
	OK(cu.cuLibraryUnload(library));
	ck_assert_int_eq(cu.cuLibraryUnload(library), CUDA_ERROR_INVALID_HANDLE);
}
END_TEST

/* It reads what nobody mapped, or stores where it may only read. */
START_TEST(a_kernel_that_goes_astray_loses_the_device_only)
{
	CUmemGenericAllocationHandle handle;
	CUdeviceptr from, to;
	void *params[] = { &from, &to };
	CUstream s;

	start_with_kernels();
	s = make_stream();
	if (_i == 0) {
		OK(cu.cuMemAddressReserve(&from, SLAB, 0, 0, 0));
	} else {
		OK(cu.cuMemCreate(&handle, SLAB, &prop, 0));
		from = map_handle(handle, CU_MEM_ACCESS_FLAGS_PROT_READ);
	}
	to = from;
	OK(launch(find_kernel("reverse"), 32, 0, s, params));
	ck_assert_int_eq(cu.cuStreamSynchronize(s), CUDA_ERROR_ILLEGAL_ADDRESS);
	ck_assert_int_eq(cu.cuMemAddressFree(from, SLAB), CUDA_ERROR_ILLEGAL_ADDRESS);
}
END_TEST

/* ---- what goes wrong on demand ---- */

START_TEST(the_nth_call_fails_and_no_other)
{
	CUmemGenericAllocationHandle handle = 0;

	setenv("CKV_EMU_FAIL", "cuMemCreate:2:2,cuMemRelease:1:999", 1);
	driver_start();
	OK(cu.cuMemCreate(&handle, SLAB, &prop, 0));
	ck_assert_int_eq(cu.cuMemCreate(&handle, SLAB, &prop, 0), CUDA_ERROR_OUT_OF_MEMORY);
	OK(cu.cuMemCreate(&handle, SLAB, &prop, 0));
	ck_assert_int_eq(cu.cuMemRelease(handle), CUDA_ERROR_UNKNOWN);
	OK(cu.cuMemRelease(handle));
}
END_TEST

/* Ten calls; does one of them fail? The next is then not made. */
static int scenario(void)
{
	CUmemAccessDesc desc = { prop.location, CU_MEM_ACCESS_FLAGS_PROT_READWRITE };
	CUmemGenericAllocationHandle handle;
	CUcontext context;
	CUdeviceptr at;
	CUstream s;

	return cu.cuInit(0) != 0 ||
	       cu.cuDevicePrimaryCtxRetain(&context, 0) != 0 ||
	       cu.cuCtxSetCurrent(context) != 0 ||
	       cu.cuStreamCreateWithPriority(&s, 0, 0) != 0 ||
	       cu.cuMemCreate(&handle, SLAB, &prop, 0) != 0 ||
	       cu.cuMemAddressReserve(&at, SLAB, 0, 0, 0) != 0 ||
	       cu.cuMemMap(at, SLAB, 0, handle, 0) != 0 ||
	       cu.cuMemSetAccess(at, SLAB, &desc, 1) != 0 ||
	       cu.cuMemsetD8Async(at, 1, 8, s) != 0 ||
	       cu.cuStreamSynchronize(s) != 0;
}

/* Calls of driver_load(). */
#define COUNT_ONE(symbol, name, version, parameters)	+ 1
enum { N_SCENARIO = 10, N_FOUND = 0 EMU_FUNCTIONS(COUNT_ONE) };
#undef COUNT_ONE

/* "*" counts calls of whatever name, also those that find functions. */
START_TEST(each_call_can_fail)
{
	char rule[32];

	snprintf(rule, sizeof rule, "*:%d:999", N_FOUND + 1 + _i);
	setenv("CKV_EMU_FAIL", rule, 1);
	driver_load();
	ck_assert_uint_eq(cu.n_calls(), N_FOUND);
	ck_assert_int_eq(scenario(), _i < N_SCENARIO);
	ck_assert_uint_eq(cu.n_calls(), N_FOUND + (_i < N_SCENARIO ? (unsigned)_i + 1 : N_SCENARIO));
}
END_TEST

START_TEST(the_nth_call_is_slow)
{
	struct timespec from, to;
	int n;

	setenv("CKV_EMU_SLOW", "cuDeviceGetCount:2:50", 1);
	driver_start();
	OK(cu.cuDeviceGetCount(&n));
	clock_gettime(CLOCK_MONOTONIC, &from);
	OK(cu.cuDeviceGetCount(&n));
	clock_gettime(CLOCK_MONOTONIC, &to);
	ck_assert_int_ge((to.tv_sec - from.tv_sec) * 1000 + (to.tv_nsec - from.tv_nsec) / 1000000,
			 49);
}
END_TEST

/*
 * All that was queued is dropped, who waits wakes, and every call says the same; so do
 * those that queue the later words, if they come late enough.
 */
START_TEST(a_lost_device_does_nothing_more)
{
	uint64_t *word;
	CUstream s;

	setenv("CKV_EMU_LOSE", "write:2:719", 1);
	driver_start();
	s = make_stream();
	word = (uint64_t *)(void *)make_host();
	for (int i = 0; i < 4; i++)
		cu.cuStreamWriteValue64(s, address(word + i), 1, 0);
	ck_assert_int_eq(cu.cuStreamSynchronize(s), CUDA_ERROR_LAUNCH_FAILED);
	ck_assert_int_eq(cu.cuStreamDestroy(s), CUDA_ERROR_LAUNCH_FAILED);
	ck_assert_int_eq(cu.cuMemHostUnregister(word), CUDA_ERROR_LAUNCH_FAILED);
	usleep(20000);
	ck_assert_uint_eq(word[0], 1);
	ck_assert_uint_eq(word[1] + word[2] + word[3], 0);
}
END_TEST

START_TEST(a_device_is_lost_while_a_stream_waits)
{
	uint64_t *word;
	CUstream s;
	int n;

	setenv("CKV_EMU_LOSE", "cuDeviceGetCount:1:999", 1);
	driver_start();
	s = make_stream();
	word = (uint64_t *)(void *)make_host();
	OK(cu.cuStreamWaitValue64(s, address(word), 1, CU_STREAM_WAIT_VALUE_EQ));
	ck_assert_int_eq(cu.cuDeviceGetCount(&n), CUDA_ERROR_UNKNOWN);
	ck_assert_int_eq(cu.cuStreamSynchronize(s), CUDA_ERROR_UNKNOWN);
}
END_TEST

START_TEST(work_of_a_stream_fails_when_it_is_done)
{
	CUstream s;

	setenv("CKV_EMU_FAIL", "copy:2:700", 1);
	driver_start();
	s = make_stream();
	for (int i = 0; i < 2; i++) {
		uint64_t from = 1, *to = (uint64_t *)(void *)make_host();

		OK(cu.cuMemcpyAsync(address(to), address(&from), 8, s));
	}
	ck_assert_int_eq(cu.cuStreamSynchronize(s), CUDA_ERROR_ILLEGAL_ADDRESS);
}
END_TEST

CHECK_MAIN("emu_faults",
	CASE("kernels"),
	TEST(a_kernel_takes_its_parameters_when_it_is_launched),
	TEST(impossible_launches_are_refused),
	LOOP(a_kernel_that_goes_astray_loses_the_device_only, 2),
	CASE("on demand"),
	TEST(the_nth_call_fails_and_no_other),
	LOOP(each_call_can_fail, N_SCENARIO + 1),
	TEST(the_nth_call_is_slow),
	TEST(a_lost_device_does_nothing_more),
	TEST(a_device_is_lost_while_a_stream_waits),
	TEST(work_of_a_stream_fails_when_it_is_done))

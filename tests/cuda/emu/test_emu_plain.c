/* SPDX-License-Identifier: Apache-2.0 */
/* test_emu_plain.c - plain memory, copies that are waited for, events and their times. */
#include "tests/cuda/emu/loaded.h"
#include "tests/lib/check_main.h"

#include <errno.h>
#include <semaphore.h>
#include <time.h>
#include <unistd.h>

static CUdeviceptr alloc(size_t bytes)
{
	CUdeviceptr at;

	OK(cu.cuMemAlloc(&at, bytes));
	return at;
}

/* The stream waits until somebody posts. */
static void hold(void *data)
{
	while (sem_wait(data) < 0 && errno == EINTR)
		;
}

/* ---- memory ---- */

START_TEST(memory_is_aligned_and_given_back)
{
	size_t before, now, total;
	CUdeviceptr a, b;

	setenv("CKV_EMU_MEMORY", "8192", 1);
	driver_start();
	OK(cu.cuMemGetInfo(&before, &total));
	a = alloc(1);
	b = alloc(4000);
	ck_assert_uint_eq((a | b) % 256, 0);
	OK(cu.cuMemGetInfo(&now, &total));
	ck_assert_uint_eq(before - now, 256 + 4096);
	ck_assert_int_eq(cu.cuMemAlloc(&b, 4096), CUDA_ERROR_OUT_OF_MEMORY);
	ck_assert_int_eq(cu.cuMemAlloc(&b, 0), CUDA_ERROR_INVALID_VALUE);
	ck_assert_int_eq(cu.cuMemFree(a + 1), CUDA_ERROR_INVALID_VALUE);
	OK(cu.cuMemFree(a));
	ck_assert_int_eq(cu.cuMemFree(a), CUDA_ERROR_INVALID_VALUE);
	OK(cu.cuMemFree(0));
	alloc(4096);
}
END_TEST

START_TEST(what_goes_past_the_end_faults)
{
	driver_start();
	OK(cu.cuMemsetD8(alloc(5000), 1, 5121));	/* 5000 are 5120 */
	ck_assert_int_eq(cu.cuCtxSynchronize(), CUDA_ERROR_ILLEGAL_ADDRESS);
}
END_TEST

START_TEST(bytes_go_there_and_back)
{
	char out[16] = "fifteen letters", back[16] = "";
	CUdeviceptr a, b;

	driver_start();
	a = alloc(16);
	b = alloc(16);
	OK(cu.cuMemcpyHtoD(a, out, 16));
	OK(cu.cuMemcpyDtoDAsync(b, a, 16, NULL));
	OK(cu.cuMemsetD8(b, 'F', 1));
	OK(cu.cuMemcpyDtoH(back, b, 16));
	ck_assert_str_eq(back, "Fifteen letters");
	ck_assert_int_eq(cu.cuMemcpyHtoD(address(back), out, 1), CUDA_ERROR_INVALID_VALUE);
	ck_assert_int_eq(cu.cuMemcpyDtoH(back, address(out), 1), CUDA_ERROR_INVALID_VALUE);
	ck_assert_int_eq(cu.cuMemcpyDtoDAsync(a, address(out), 1, NULL),
			 CUDA_ERROR_INVALID_VALUE);
}
END_TEST

/* The host's memory has been read when the call returns; the device need not have it yet. */
START_TEST(a_copy_there_may_come_late)
{
	uint64_t word = 5, got;
	CUdeviceptr a;
	sem_t go;

	driver_start();
	a = alloc(8);
	sem_init(&go, 0, 0);
	OK(cu.cuLaunchHostFunc(NULL, hold, &go));
	OK(cu.cuMemcpyHtoD(a, &word, 8));
	word = 6;
	ck_assert_int_eq(cu.cuStreamQuery(NULL), CUDA_ERROR_NOT_READY);
	sem_post(&go);
	OK(cu.cuMemcpyDtoH(&got, a, 8));
	ck_assert_uint_eq(got, 5);
}
END_TEST

/* What is queued on any stream of the context may still use it. */
START_TEST(who_frees_or_synchronizes_waits_for_all)
{
	CUdeviceptr a, b;
	CUstream s;

	setenv("CKV_EMU_SLOW", "set:1:50,set:2:50", 1);
	driver_start();
	s = make_stream();
	a = alloc(8);
	b = alloc(8);
	OK(cu.cuMemsetD8Async(a, 1, 8, s));
	OK(cu.cuCtxSynchronize());
	OK(cu.cuStreamQuery(s));
	OK(cu.cuMemsetD8Async(a, 1, 8, s));
	OK(cu.cuMemFree(b));
	OK(cu.cuStreamQuery(s));
}
END_TEST

/* ---- events ---- */

START_TEST(an_event_has_a_time_when_it_is_reached)
{
	CUevent from, to, never, timeless;
	float ms = -1;
	CUstream s;
	sem_t go;

	setenv("CKV_EMU_SLOW", "host:1:20", 1);
	driver_start();
	s = make_stream();
	sem_init(&go, 0, 0);
	OK(cu.cuEventCreate(&from, 0));
	OK(cu.cuEventCreate(&to, 0));
	OK(cu.cuEventCreate(&never, 0));
	OK(cu.cuEventCreate(&timeless, CU_EVENT_DISABLE_TIMING));
	OK(cu.cuEventQuery(never));
	OK(cu.cuEventSynchronize(never));
	OK(cu.cuEventRecord(from, s));
	OK(cu.cuEventSynchronize(from));
	OK(cu.cuLaunchHostFunc(s, hold, &go));
	OK(cu.cuEventRecord(to, s));
	OK(cu.cuEventRecord(timeless, s));
	ck_assert_int_eq(cu.cuEventQuery(to), CUDA_ERROR_NOT_READY);
	ck_assert_int_eq(cu.cuEventElapsedTime(&ms, from, to), CUDA_ERROR_NOT_READY);
	sem_post(&go);
	OK(cu.cuEventSynchronize(timeless));
	OK(cu.cuEventElapsedTime(&ms, from, to));
	ck_assert(ms >= 19);
	OK(cu.cuEventElapsedTime(&ms, to, from));
	ck_assert(ms <= -19);
	ck_assert_int_eq(cu.cuEventElapsedTime(&ms, from, timeless), CUDA_ERROR_INVALID_HANDLE);
	ck_assert_int_eq(cu.cuEventElapsedTime(&ms, from, never), CUDA_ERROR_INVALID_HANDLE);
}
END_TEST

/* Its stream has not come there: what it left is the stream's. Recorded again it moves. */
START_TEST(an_event_may_go_before_it_is_reached)
{
	CUevent gone, moved;
	CUstream s;
	sem_t go;

	driver_start();
	s = make_stream();
	sem_init(&go, 0, 0);
	OK(cu.cuEventCreate(&gone, 0));
	OK(cu.cuEventCreate(&moved, 0));
	OK(cu.cuEventRecord(moved, s));
	OK(cu.cuEventSynchronize(moved));
	OK(cu.cuLaunchHostFunc(s, hold, &go));
	OK(cu.cuEventRecord(gone, s));
	OK(cu.cuEventRecord(moved, s));
	OK(cu.cuEventDestroy(gone));
	ck_assert_int_eq(cu.cuEventDestroy(NULL), CUDA_ERROR_INVALID_HANDLE);
	ck_assert_int_eq(cu.cuEventQuery(moved), CUDA_ERROR_NOT_READY);
	sem_post(&go);
	OK(cu.cuStreamSynchronize(s));
	OK(cu.cuEventQuery(moved));
}
END_TEST

/* ---- what goes wrong ---- */

static CUdeviceptr at, spare;
static CUevent first, second;
static char name[256], byte;
static float elapsed;

static CUresult get_name(void) { return cu.cuDeviceGetName(name, sizeof name, 0); }
static CUresult synchronize(void) { return cu.cuCtxSynchronize(); }
static CUresult allocate(void) { return cu.cuMemAlloc(&spare, 8); }
static CUresult give_back(void) { return cu.cuMemFree(0); }
static CUresult put(void) { return cu.cuMemcpyHtoD(at, &byte, 1); }
static CUresult get(void) { return cu.cuMemcpyDtoH(&byte, at, 1); }
static CUresult move(void) { return cu.cuMemcpyDtoDAsync(at, at + 4, 1, NULL); }
static CUresult fill(void) { return cu.cuMemsetD8(at, 1, 8); }
static CUresult wait_for(void) { return cu.cuEventSynchronize(first); }
static CUresult time_of(void) { return cu.cuEventElapsedTime(&elapsed, first, second); }

static const struct {
	const char *name;
	CUresult (*call)(void);
} calls[] = {
	{ "cuDeviceGetName", get_name }, { "cuCtxSynchronize", synchronize },
	{ "cuMemAlloc", allocate }, { "cuMemFree", give_back }, { "cuMemcpyHtoD", put },
	{ "cuMemcpyDtoH", get }, { "cuMemcpyDtoDAsync", move }, { "cuMemsetD8", fill },
	{ "cuEventSynchronize", wait_for }, { "cuEventElapsedTime", time_of },
};

static void start_with(const char *variable, int i, const char *rule)
{
	char text[96];

	snprintf(text, sizeof text, "%s:%s", calls[i].name, rule);
	setenv(variable, text, 1);
	driver_start();
	if (calls[i].call != allocate)
		at = alloc(8);
	OK(cu.cuEventCreate(&first, 0));
	OK(cu.cuEventCreate(&second, 0));
	OK(cu.cuEventRecord(first, NULL));
	OK(cu.cuEventRecord(second, NULL));
	OK(cu.cuStreamSynchronize(NULL));
}

START_TEST(each_call_can_fail)
{
	start_with("CKV_EMU_FAIL", _i, "2:999");
	OK(calls[_i].call());
	ck_assert_int_eq(calls[_i].call(), CUDA_ERROR_UNKNOWN);
	OK(calls[_i].call());
}
END_TEST

START_TEST(each_call_can_fail_for_ever)
{
	start_with("CKV_EMU_FAIL", _i, "2+:999");
	OK(calls[_i].call());
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(calls[_i].call(), CUDA_ERROR_UNKNOWN);
}
END_TEST

START_TEST(each_call_can_be_slow)
{
	struct timespec from, to;

	start_with("CKV_EMU_SLOW", _i, "1:20");
	clock_gettime(CLOCK_MONOTONIC, &from);
	OK(calls[_i].call());
	clock_gettime(CLOCK_MONOTONIC, &to);
	ck_assert_int_ge((to.tv_sec - from.tv_sec) * 1000 + (to.tv_nsec - from.tv_nsec) / 1000000,
			 19);
}
END_TEST

START_TEST(each_call_can_lose_the_device)
{
	start_with("CKV_EMU_LOSE", _i, "1:719");
	ck_assert_int_eq(calls[_i].call(), CUDA_ERROR_LAUNCH_FAILED);
	for (size_t i = 0; i < COUNT(calls); i++)
		ck_assert_int_eq(calls[i].call(), CUDA_ERROR_LAUNCH_FAILED);
}
END_TEST

CHECK_MAIN("emu_plain",
	CASE("memory"),
	TEST(memory_is_aligned_and_given_back),
	TEST(what_goes_past_the_end_faults),
	TEST(bytes_go_there_and_back),
	TEST(a_copy_there_may_come_late),
	TEST(who_frees_or_synchronizes_waits_for_all),
	CASE("events"),
	TEST(an_event_has_a_time_when_it_is_reached),
	TEST(an_event_may_go_before_it_is_reached),
	CASE("what goes wrong"),
	EACH(each_call_can_fail, calls),
	EACH(each_call_can_fail_for_ever, calls),
	EACH(each_call_can_be_slow, calls),
	EACH(each_call_can_lose_the_device, calls))

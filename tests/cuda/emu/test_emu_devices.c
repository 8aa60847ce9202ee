/* SPDX-License-Identifier: Apache-2.0 */
/* test_emu_devices.c - several emulated devices, slices, modes, and none that may be used. */
#include "tests/cuda/emu/loaded.h"
#include "tests/lib/check_main.h"
#include "tests/lib/folder.h"

#include <errno.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

/* All of them; each has a context, that of the first is current. */
static CUcontext context[8];

static void start(int n)
{
	int count;

	driver_load();
	OK(cu.cuInit(0));
	OK(cu.cuDeviceGetCount(&count));
	ck_assert_int_eq(count, n);
	for (int i = 0; i < n; i++)
		OK(cu.cuDevicePrimaryCtxRetain(&context[i], i));
	OK(cu.cuCtxSetCurrent(context[0]));
}

static void start_with(int n)
{
	char text[8];

	snprintf(text, sizeof text, "%d", n);
	setenv("CKV_EMU_DEVICES", text, 1);
	start(n);
}

static int attribute(CUdevice_attribute what, CUdevice device)
{
	int value = -1;

	OK(cu.cuDeviceGetAttribute(&value, what, device));
	return value;
}

/* ---- which there are ---- */

START_TEST(each_device_is_itself)
{
	char bus[8][32], name[256];
	CUdevice device;
	CUuuid id[8];

	setenv("CKV_EMU_ATTRIBUTES", "5/134=1,6/134=1,7/113=1,113=0", 1);
	start_with(8);
	for (int i = 0; i < 8; i++) {
		int number;

		OK(cu.cuDeviceGet(&device, i));
		OK(cu.cuDeviceGetName(name, sizeof name, device));
		ck_assert_str_eq(name, "ckv emulated GPU");
		OK(cu.cuDeviceGetUuid(&id[i], device));
		OK(cu.cuDeviceGetPCIBusId(bus[i], sizeof bus[i], device));
		ck_assert_int_eq(sscanf(bus[i], "0000:%x:00.0", (unsigned *)&number), 1);
		ck_assert_int_eq(number, attribute(CU_DEVICE_ATTRIBUTE_PCI_BUS_ID, device));
		ck_assert_int_eq(attribute(CU_DEVICE_ATTRIBUTE_HOST_NUMA_ID, device),
				 i == 5 || i == 6);
		ck_assert_int_eq(
			attribute(CU_DEVICE_ATTRIBUTE_READ_ONLY_HOST_REGISTER_SUPPORTED, device),
			i == 7);
		for (int j = 0; j < i; j++) {
			ck_assert_int_ne(memcmp(&id[i], &id[j], sizeof id[i]), 0);
			ck_assert_str_ne(bus[i], bus[j]);
		}
		OK(cu.cuCtxSetCurrent(context[i]));
		OK(cu.cuCtxGetDevice(&device));
		ck_assert_int_eq(device, i);
	}
	ck_assert_int_eq(cu.cuDeviceGet(&device, 8), CUDA_ERROR_INVALID_DEVICE);
	ck_assert_int_eq(cu.cuDeviceGet(&device, -1), CUDA_ERROR_INVALID_DEVICE);
}
END_TEST

/* By number, by the begin of a UUID; a word that means nothing ends the list. */
START_TEST(what_is_visible_is_chosen)
{
	static const struct {
		const char *visible;
		int n;
		char first;	/* the last letter of its UUID */
	} table[] = {
		{ "2,0", 2, 'W' }, { "", 0, 0 }, { "1,9,0", 1, 'V' }, { "9", 0, 0 },
		{ "GPU-636b7620-656d-756c-6174-656420475056,0", 2, 'V' },
		{ "gpu-636b7620", 1, 'U' }, { "MIG-6d6b7620", 0, 0 },
	};
	CUuuid id;

	setenv("CUDA_VISIBLE_DEVICES", table[_i].visible, 1);
	setenv("CKV_EMU_DEVICES", "3", 1);
	if (table[_i].n == 0) {
		driver_load();
		ck_assert_int_eq(cu.cuInit(0), CUDA_ERROR_NO_DEVICE);
		return;
	}
	start(table[_i].n);
	OK(cu.cuDeviceGetUuid(&id, 0));
	ck_assert_int_eq(id.bytes[15], table[_i].first);
}
END_TEST

START_TEST(a_slice_is_chosen_by_its_own_name)
{
	char name[256];
	CUuuid id;

	setenv("CKV_EMU_MIG", "3", 1);
	setenv("CKV_EMU_DEVICES", "4", 1);
	setenv("CUDA_VISIBLE_DEVICES", "MIG-6d6b7620", 1);
	start(1);
	OK(cu.cuDeviceGetName(name, sizeof name, 0));
	ck_assert_str_eq(name, "ckv emulated GPU MIG 1g.10gb");
	OK(cu.cuDeviceGetUuid(&id, 0));
	ck_assert_mem_eq(id.bytes, "mkv emulated GPX", 16);
}
END_TEST

/* ---- each has what is its own ---- */

static const CUmemAllocationProp on_second = {
	.type = CU_MEM_ALLOCATION_TYPE_PINNED,
	.requestedHandleTypes = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR,
	.location = { CU_MEM_LOCATION_TYPE_DEVICE, 1 },
};

START_TEST(each_device_has_memory_of_its_own)
{
	CUmemAccessDesc both[2] = {
		{ { CU_MEM_LOCATION_TYPE_DEVICE, 1 }, CU_MEM_ACCESS_FLAGS_PROT_READWRITE },
		{ { CU_MEM_LOCATION_TYPE_DEVICE, 2 }, CU_MEM_ACCESS_FLAGS_PROT_READ },
	};
	CUmemGenericAllocationHandle handle;
	CUmemAllocationProp nowhere = on_second;
	size_t free_bytes[2], total;
	CUdeviceptr at;

	setenv("CKV_EMU_MEMORY", "4194304", 1);
	start_with(2);
	OK(cu.cuMemCreate(&handle, SLAB, &on_second, 0));
	for (int i = 0; i < 2; i++) {
		OK(cu.cuCtxSetCurrent(context[i]));
		OK(cu.cuMemGetInfo(&free_bytes[i], &total));
	}
	ck_assert_uint_eq(free_bytes[0], 2 * SLAB);
	ck_assert_uint_eq(free_bytes[1], SLAB);
	OK(cu.cuMemAlloc(&at, SLAB));
	ck_assert_int_eq(cu.cuMemCreate(&handle, SLAB, &on_second, 0), CUDA_ERROR_OUT_OF_MEMORY);
	nowhere.location.id = 2;
	ck_assert_int_eq(cu.cuMemCreate(&handle, SLAB, &nowhere, 0), CUDA_ERROR_INVALID_VALUE);
	OK(cu.cuMemCreate(&handle, SLAB, &prop, 0));
	at = map_handle(handle, CU_MEM_ACCESS_FLAGS_PROT_READ);
	ck_assert_int_eq(cu.cuMemSetAccess(at, SLAB, both, 2), CUDA_ERROR_INVALID_VALUE);
	both[1].location.id = 0;
	OK(cu.cuMemSetAccess(at, SLAB, both, 2));
	OK(cu.cuMemsetD8(at, 1, 8));
	OK(cu.cuCtxSynchronize());
}
END_TEST

static void hold(void *data)
{
	while (sem_wait(data) < 0 && errno == EINTR)
		;
}

static void let_go(void *data)
{
	sem_post(data);
}

/* The legacy stream of one does not order what another does. */
START_TEST(each_device_has_streams_of_its_own)
{
	CUdevice device;
	CUcontext found;
	CUstream s;
	sem_t go;

	start_with(2);
	sem_init(&go, 0, 0);
	OK(cu.cuLaunchHostFunc(NULL, hold, &go));
	OK(cu.cuCtxSetCurrent(context[1]));
	OK(cu.cuStreamCreateWithPriority(&s, 0, 0));
	OK(cu.cuStreamGetCtx(s, &found));
	ck_assert_ptr_eq(found, context[1]);
	OK(cu.cuLaunchHostFunc(s, let_go, &go));
	OK(cu.cuCtxSynchronize());
	OK(cu.cuCtxGetDevice(&device));
	ck_assert_int_eq(device, 1);
	OK(cu.cuCtxSetCurrent(context[0]));
	OK(cu.cuCtxSynchronize());
}
END_TEST

/* Nor does it wait for a stream of another: one that waits is not waited for. */
START_TEST(a_legacy_stream_waits_for_its_own_device_only)
{
	uint64_t *word;
	CUdeviceptr at;
	CUstream s;

	start_with(2);
	OK(cu.cuMemAlloc(&at, 8));
	word = (uint64_t *)(void *)make_host();
	OK(cu.cuCtxSetCurrent(context[1]));
	OK(cu.cuStreamCreateWithPriority(&s, 0, 0));
	OK(cu.cuStreamWaitValue64(s, address(word), 1, CU_STREAM_WAIT_VALUE_EQ));
	OK(cu.cuCtxSetCurrent(context[0]));
	OK(cu.cuMemsetD8(at, 1, 8));
	OK(cu.cuStreamSynchronize(NULL));
	ck_assert_int_eq(cu.cuStreamQuery(s), CUDA_ERROR_NOT_READY);
	__atomic_store_n(word, 1, __ATOMIC_RELEASE);
	OK(cu.cuStreamSynchronize(s));
}
END_TEST

START_TEST(a_lost_device_leaves_the_others)
{
	CUmemGenericAllocationHandle handle;
	CUstream s[2];
	uint64_t *word;

	setenv("CKV_EMU_LOSE", "write:1:719", 1);
	start_with(2);
	word = (uint64_t *)(void *)make_host();
	for (int i = 0; i < 2; i++) {
		OK(cu.cuCtxSetCurrent(context[i]));
		s[i] = make_stream();
	}
	/* Whatever is current, it is lost whose stream it was. */
	OK(cu.cuStreamWriteValue64(s[0], address(word), 1, 0));
	ck_assert_int_eq(cu.cuStreamSynchronize(s[0]), CUDA_ERROR_LAUNCH_FAILED);
	ck_assert_int_eq(cu.cuStreamQuery(s[0]), CUDA_ERROR_LAUNCH_FAILED);
	ck_assert_int_eq(cu.cuStreamWriteValue64(s[0], address(word), 1, 0),
			 CUDA_ERROR_LAUNCH_FAILED);
	ck_assert_int_eq(cu.cuMemCreate(&handle, SLAB, &prop, 0), CUDA_ERROR_LAUNCH_FAILED);
	ck_assert_int_eq(cu.cuDevicePrimaryCtxRetain(&context[0], 0), CUDA_ERROR_LAUNCH_FAILED);
	OK(cu.cuMemCreate(&handle, SLAB, &on_second, 0));
	OK(cu.cuStreamWriteValue64(s[1], address(word + 1), 1, 0));
	OK(cu.cuStreamSynchronize(s[1]));
	ck_assert_uint_eq(word[1], 1);
	OK(cu.cuCtxSetCurrent(context[0]));
	ck_assert_int_eq(cu.cuCtxSynchronize(), CUDA_ERROR_LAUNCH_FAILED);
}
END_TEST

START_TEST(memory_of_a_device_that_is_not_seen_is_not_imported)
{
	CUmemGenericAllocationHandle handle;
	int fd, status, pair[2];
	pid_t child;

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	child = fork();
	if (child == 0) {
		fd = receive_descriptor(pair[0]);
		setenv("CUDA_VISIBLE_DEVICES", "0", 1);
		setenv("CKV_EMU_DEVICES", "2", 1);
		start(1);
		_exit(cu.cuMemImportFromShareableHandle(&handle, (void *)(intptr_t)fd,
				CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR) ==
		      CUDA_ERROR_INVALID_VALUE ? 0 : 1);
	}
	start_with(2);
	OK(cu.cuMemCreate(&handle, SLAB, &on_second, 0));
	OK(cu.cuMemExportToShareableHandle(&fd, handle,
					   CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0));
	send_descriptor(pair[1], fd);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
	OK(cu.cuMemImportFromShareableHandle(&handle, (void *)(intptr_t)fd,
					     CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR));
}
END_TEST

/* ---- none that may be used ---- */

START_TEST(a_prohibited_device_has_no_context)
{
	CUcontext c;

	setenv("CKV_EMU_ATTRIBUTES", "20=2", 1);
	driver_load();
	OK(cu.cuInit(0));
	ck_assert_int_eq(attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_MODE, 0),
			 CU_COMPUTEMODE_PROHIBITED);
	ck_assert_int_eq(cu.cuDevicePrimaryCtxRetain(&c, 0), CUDA_ERROR_DEVICE_UNAVAILABLE);
}
END_TEST

/* Until it ends, or gives its context back. */
START_TEST(an_exclusive_device_has_one_process)
{
	char folder[FOLDER_BYTES], path[FOLDER_BYTES + 8], byte;
	int pair[2];
	CUcontext c;
	pid_t child;

	folder_make(folder);
	snprintf(path, sizeof path, "%s/device", folder);
	setenv("CKV_EMU_ATTRIBUTES", "20=3", 1);
	setenv("CKV_EMU_LOCK", path, 1);
	ck_assert_int_eq(pipe(pair), 0);
	child = fork();
	if (child == 0) {
		driver_start();
		ck_assert_int_eq(write(pair[1], "x", 1), 1);
		pause();
	}
	ck_assert_int_eq(read(pair[0], &byte, 1), 1);
	driver_load();
	OK(cu.cuInit(0));
	ck_assert_int_eq(cu.cuDevicePrimaryCtxRetain(&c, 0), CUDA_ERROR_DEVICE_UNAVAILABLE);
	kill(child, SIGKILL);
	ck_assert_int_eq(waitpid(child, NULL, 0), child);
	OK(cu.cuDevicePrimaryCtxRetain(&c, 0));
	OK(cu.cuDevicePrimaryCtxRetain(&c, 0));
	OK(cu.cuDevicePrimaryCtxRelease(0));
	OK(cu.cuDevicePrimaryCtxRelease(0));
	OK(cu.cuDevicePrimaryCtxRetain(&c, 0));
	folder_remove(folder);
}
END_TEST

/* Files of the device that may not be opened, a library that does not fit the module, ... */
static const struct {
	const char *rule;
	CUresult says;
} refusals[] = {
	{ "cuInit:1+:34", CUDA_ERROR_STUB_LIBRARY },
	{ "cuInit:1+:100", CUDA_ERROR_NO_DEVICE },
	{ "cuInit:1+:304", CUDA_ERROR_OPERATING_SYSTEM },
	{ "cuInit:1+:802", CUDA_ERROR_SYSTEM_NOT_READY },
	{ "cuInit:1+:803", CUDA_ERROR_SYSTEM_DRIVER_MISMATCH },
	{ "cuInit:1+:999", CUDA_ERROR_UNKNOWN },
};

START_TEST(a_driver_may_refuse_all)
{
	const char *name = NULL, *words = NULL;
	int n;

	setenv("CKV_EMU_FAIL", refusals[_i].rule, 1);
	driver_load();
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(cu.cuInit(0), refusals[_i].says);
	ck_assert_int_eq(cu.cuDeviceGetCount(&n), CUDA_ERROR_NOT_INITIALIZED);
	OK(cu.cuGetErrorName(refusals[_i].says, &name));
	OK(cu.cuGetErrorString(refusals[_i].says, &words));
	ck_assert_int_eq(strncmp(name, "CUDA_ERROR_", 11), 0);
	ck_assert_ptr_nonnull(words);
}
END_TEST

/* 11.8: without libraries of kernels; with 12.0 they are there. */
START_TEST(a_driver_may_be_too_old)
{
	CUdriverProcAddressQueryResult status;
	void *function;

	setenv("CKV_EMU_VERSION", _i == 0 ? "11080" : "12000", 1);
	*(void **)&cu.get = dlsym(driver_open(), "cuGetProcAddress_v2");
	OK(cu.get("cuLibraryLoadData", &function, 12000, 0, &status));
	ck_assert_int_eq(function != NULL, _i);
	ck_assert_int_eq(status, _i == 0 ? CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND
					 : CU_GET_PROC_ADDRESS_SUCCESS);
}
END_TEST

CHECK_MAIN("emu_devices",
	CASE("which there are"),
	TEST(each_device_is_itself),
	LOOP(what_is_visible_is_chosen, 7),
	TEST(a_slice_is_chosen_by_its_own_name),
	CASE("its own"),
	TEST(each_device_has_memory_of_its_own),
	TEST(each_device_has_streams_of_its_own),
	TEST(a_legacy_stream_waits_for_its_own_device_only),
	TEST(a_lost_device_leaves_the_others),
	TEST(memory_of_a_device_that_is_not_seen_is_not_imported),
	CASE("none that may be used"),
	TEST(a_prohibited_device_has_no_context),
	TEST(an_exclusive_device_has_one_process),
	EACH(a_driver_may_refuse_all, refusals),
	LOOP(a_driver_may_be_too_old, 2))

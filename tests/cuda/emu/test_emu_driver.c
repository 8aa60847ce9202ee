/* SPDX-License-Identifier: Apache-2.0 */
/* test_emu_driver.c - the emulated driver keeps the API's promises, and no others. */
#include "tests/cuda/emu/loaded.h"
#include "tests/lib/check_main.h"

#include <signal.h>
#include <sys/wait.h>

/* ---- finding it ---- */

START_TEST(functions_are_found_by_base_name_and_version)
{
	CUdriverProcAddressQueryResult status;
	void *function;

	driver_load();
	OK(cu.get("cuMemHostRegister", &function, 12000, 0, &status));
	ck_assert_ptr_nonnull(function);
	OK(cu.get("cuMemHostRegister_v2", &function, 12000, 0, &status));
	ck_assert_int_eq(status, CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND);
	OK(cu.get("cuMemcpyBatchAsync", &function, 12080, 0, &status));
	ck_assert_int_eq(status, CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT);
	ck_assert_ptr_null(function);
}
END_TEST

START_TEST(an_older_driver_lacks_what_came_later)
{
	CUdriverProcAddressQueryResult status;
	void *function;
	int version;

	setenv("CKV_EMU_VERSION", "12080", 1);
	setenv("CKV_EMU_ATTRIBUTES", "113=0,122=0", 1);
	*(void **)&cu.get = dlsym(driver_open(), "cuGetProcAddress_v2");
	OK(cu.get("cuMemcpyBatchAsync", &function, 13000, 0, &status));
	ck_assert_int_eq(status, CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND);
	OK(cu.get("cuInit", (void **)&cu.cuInit, 2000, 0, NULL));
	OK(cu.get("cuDriverGetVersion", (void **)&cu.cuDriverGetVersion, 2020, 0, NULL));
	OK(cu.get("cuDeviceGetAttribute", (void **)&cu.cuDeviceGetAttribute, 2000, 0, NULL));
	OK(cu.cuInit(0));
	OK(cu.cuDriverGetVersion(&version));
	ck_assert_int_eq(version, 12080);
	OK(cu.cuDeviceGetAttribute(&version, CU_DEVICE_ATTRIBUTE_CAN_USE_64_BIT_STREAM_MEM_OPS,
				   0));
	ck_assert_int_eq(version, 0);
}
END_TEST

START_TEST(nothing_goes_before_init_or_without_a_context)
{
	CUstream s;
	int n;

	driver_load();
	ck_assert_int_eq(cu.cuDeviceGetCount(&n), CUDA_ERROR_NOT_INITIALIZED);
	OK(cu.cuInit(0));
	OK(cu.cuDeviceGetCount(&n));
	ck_assert_int_eq(cu.cuStreamCreateWithPriority(&s, 0, 0), CUDA_ERROR_INVALID_CONTEXT);
}
END_TEST

START_TEST(there_may_be_no_device)
{
	setenv("CKV_EMU_DEVICES", "0", 1);
	driver_load();
	ck_assert_int_eq(cu.cuInit(0), CUDA_ERROR_NO_DEVICE);
}
END_TEST

START_TEST(devices_are_told_apart)
{
	char name[2][64], pci[2][16];
	int n, value[2];
	CUuuid id[2];

	setenv("CKV_EMU_DEVICES", "2", 1);
	setenv("CKV_EMU_MIG", "1", 1);
	setenv("CKV_EMU_ATTRIBUTES", "20=2,1/102=0,1/20=3", 1);
	driver_load();
	OK(cu.cuInit(0));
	OK(cu.cuDeviceGetCount(&n));
	ck_assert_int_eq(n, 2);
	for (int i = 0; i < 2; i++) {
		CUdevice device;

		OK(cu.cuDeviceGet(&device, i));
		OK(cu.cuDeviceGetName(name[i], sizeof name[i], device));
		OK(cu.cuDeviceGetUuid(&id[i], device));
		OK(cu.cuDeviceGetPCIBusId(pci[i], sizeof pci[i], device));
		OK(cu.cuDeviceGetAttribute(&value[i], 102, device));
	}
	ck_assert_str_ne(name[0], name[1]);
	ck_assert_str_ne(pci[0], pci[1]);
	ck_assert_mem_ne(&id[0], &id[1], sizeof id[0]);
	ck_assert_int_eq(value[0], 1);
	ck_assert_int_eq(value[1], 0);
	OK(cu.cuDeviceGetAttribute(&n, 20, 1));
	ck_assert_int_eq(n, 2);		/* the first that fits */
	ck_assert_int_eq(cu.cuDeviceGet(&n, 2), CUDA_ERROR_INVALID_DEVICE);
	ck_assert_int_eq(cu.cuDeviceGetName(name[0], 8, 2), CUDA_ERROR_INVALID_DEVICE);
}
END_TEST

START_TEST(a_child_of_fork_has_no_driver)
{
	pid_t child;
	int status, n;

	driver_start();
	child = fork();
	if (child == 0)
		_exit(cu.cuInit(0) == CUDA_ERROR_NOT_INITIALIZED &&
		      cu.cuDeviceGetCount(&n) == CUDA_ERROR_NOT_INITIALIZED ? 0 : 1);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
}
END_TEST

/* ---- memory ---- */

START_TEST(two_mappings_are_one_memory)
{
	CUmemGenericAllocationHandle handle;
	CUdeviceptr a, b;
	CUstream s;
	char got[16] = "";

	driver_start();
	s = make_stream();
	a = make_slab(&handle);
	b = map_handle(handle, CU_MEM_ACCESS_FLAGS_PROT_READ);
	OK(cu.cuMemRelease(handle));
	OK(cu.cuMemsetD8Async(a + 100, 'x', 15, s));
	OK(cu.cuMemcpyAsync(address(got), b + 100, 15, s));
	ck_assert_str_eq(got, "xxxxxxxxxxxxxxx");
	ck_assert_int_eq(cu.cuMemAddressFree(a, SLAB), CUDA_ERROR_INVALID_VALUE);
	OK(cu.cuMemUnmap(a, SLAB));
	OK(cu.cuMemAddressFree(a, SLAB));
}
END_TEST

START_TEST(wrong_sizes_and_places_are_refused)
{
	CUmemGenericAllocationHandle handle;
	CUdeviceptr at;
	size_t granularity;

	setenv("CKV_EMU_MEMORY", "4194304", 1);
	driver_start();
	OK(cu.cuMemGetAllocationGranularity(&granularity, &prop, 0));
	ck_assert_uint_eq(granularity, SLAB);
	ck_assert_int_eq(cu.cuMemCreate(&handle, SLAB + 4096, &prop, 0),
			 CUDA_ERROR_INVALID_VALUE);
	ck_assert_int_eq(cu.cuMemCreate(&handle, 3 * SLAB, &prop, 0), CUDA_ERROR_OUT_OF_MEMORY);
	at = make_slab(&handle);
	ck_assert_int_eq(cu.cuMemMap(at, SLAB, 0, handle, 0), CUDA_ERROR_INVALID_VALUE);
	ck_assert_int_eq(cu.cuMemMap(at + SLAB, SLAB, 0, handle, 0), CUDA_ERROR_INVALID_VALUE);
	ck_assert_int_eq(cu.cuMemRelease(handle + 8), CUDA_ERROR_INVALID_VALUE);
}
END_TEST

START_TEST(a_store_through_a_read_only_mapping_faults)
{
	CUmemGenericAllocationHandle handle;
	CUdeviceptr read_only;
	CUstream s;
	int n;

	driver_start();
	s = make_stream();
	OK(cu.cuMemCreate(&handle, SLAB, &prop, 0));
	read_only = map_handle(handle, CU_MEM_ACCESS_FLAGS_PROT_READ);
	OK(cu.cuMemsetD8Async(read_only, 1, 8, s));
	ck_assert_int_eq(cu.cuStreamSynchronize(s), CUDA_ERROR_ILLEGAL_ADDRESS);
	ck_assert_int_eq(cu.cuDeviceGetCount(&n), CUDA_ERROR_ILLEGAL_ADDRESS);
}
END_TEST

/* Another process, with a driver of its own: make memory, send it, say so, wait to be killed. */
static void exporter(int to)
{
	CUmemGenericAllocationHandle handle;
	CUdeviceptr at;
	CUstream s;
	int fd;

	driver_start();
	s = make_stream();
	at = make_slab(&handle);
	OK(cu.cuMemsetD8Async(at + SLAB - 4, 'k', 4, s));
	OK(cu.cuStreamSynchronize(s));
	OK(cu.cuMemExportToShareableHandle(&fd, handle,
					   CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0));
	send_descriptor(to, fd);
	pause();
}

START_TEST(memory_outlives_its_exporter_while_a_descriptor_lives)
{
	char got[5] = "";
	CUmemGenericAllocationHandle handle;
	CUdeviceptr at;
	pid_t child;
	int fd, pair[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	child = fork();
	if (child == 0) {
		exporter(pair[1]);
		_exit(1);
	}
	fd = receive_descriptor(pair[0]);
	ck_assert_int_eq(kill(child, SIGKILL), 0);
	ck_assert_int_eq(waitpid(child, NULL, 0), child);
	driver_start();
	OK(cu.cuMemImportFromShareableHandle(&handle, (void *)(intptr_t)fd,
					     CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR));
	close(fd);
	at = map_handle(handle, CU_MEM_ACCESS_FLAGS_PROT_READ);
	OK(cu.cuMemcpyAsync(address(got), at + SLAB - 4, 4, make_stream()));
	ck_assert_str_eq(got, "kkkk");
	ck_assert_int_eq(cu.cuMemImportFromShareableHandle(&handle, (void *)(intptr_t)pair[0],
			 CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR), CUDA_ERROR_INVALID_VALUE);
}
END_TEST

START_TEST(host_memory_is_registered_once_and_as_it_is_mapped)
{
	unsigned char *at;
	CUdeviceptr seen;

	driver_start();
	at = make_host();
	ck_assert_int_eq(cu.cuMemHostRegister(at + 4096, 4096, 0),
			 CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED);
	OK(cu.cuMemHostGetDevicePointer(&seen, at + 5, 0));
	ck_assert_uint_eq(seen, address(at + 5));
	OK(cu.cuMemHostUnregister(at));
	ck_assert_int_eq(cu.cuMemHostUnregister(at), CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED);
	ck_assert_int_eq(mprotect(at, HOST, PROT_READ), 0);
	ck_assert_int_eq(cu.cuMemHostRegister(at, HOST, 0), CUDA_ERROR_INVALID_VALUE);
	OK(cu.cuMemHostRegister(at, HOST, CU_MEMHOSTREGISTER_READ_ONLY));
}
END_TEST

/* ---- order ---- */

#define N_TRIES	40
#define MANY		2000	/* until what is rare has been seen */

/*
 * One stream writes 1 and then copies the word away; another writes 2. What the copy
 * found, and whether an event kept the other waiting.
 */
static uint64_t try_order(CUstream first, CUstream second, uint64_t *word, int with_event)
{
	CUevent event;
	uint64_t *found = word + 1;

	word[0] = word[1] = 0;
	OK(cu.cuEventCreate(&event, 0));
	OK(cu.cuStreamWriteValue64(first, address(word), 1, 0));
	OK(cu.cuMemcpyAsync(address(found), address(word), 8, first));
	OK(cu.cuEventRecord(event, first));
	if (with_event)
		OK(cu.cuStreamWaitEvent(second, event, 0));
	OK(cu.cuStreamWriteValue64(second, address(word), 2, 0));
	OK(cu.cuStreamSynchronize(second));
	OK(cu.cuStreamSynchronize(first));
	OK(cu.cuEventDestroy(event));
	return word[0] * 10 + *found;
}

START_TEST(streams_are_in_no_order_but_that_of_events)
{
	unsigned n_seen[32] = { 0 };
	CUstream a, b;
	uint64_t *word;

	driver_start();
	a = make_stream();
	b = make_stream();
	word = (uint64_t *)(void *)make_host();
	for (int i = 0; i < N_TRIES; i++)
		ck_assert_uint_eq(try_order(a, b, word, 1), 21);
	/* In order; 2 before 1; 2 between 1 and the copy. */
	for (int i = 0; i < MANY && !(n_seen[21] && n_seen[11] && n_seen[22]); i++)
		n_seen[try_order(a, b, word, 0)]++;
	ck_assert_uint_gt(n_seen[21], 0);
	ck_assert_uint_gt(n_seen[11], 0);
	ck_assert_uint_gt(n_seen[22], 0);
}
END_TEST

START_TEST(the_legacy_stream_waits_for_blocking_ones_and_they_for_it)
{
	CUstream blocking;
	uint64_t *word;

	driver_start();
	OK(cu.cuStreamCreateWithPriority(&blocking, 0, 0));
	word = (uint64_t *)(void *)make_host();
	for (int i = 0; i < N_TRIES; i++) {
		ck_assert_uint_eq(try_order(blocking, CU_STREAM_LEGACY, word, 0), 21);
		ck_assert_uint_eq(try_order(NULL, blocking, word, 0), 21);
	}
}
END_TEST

START_TEST(copies_of_a_batch_are_in_no_order)
{
	CUmemcpyAttributes how = { .srcAccessOrder = CU_MEMCPY_SRC_ACCESS_ORDER_STREAM };
	CUdeviceptr to[2], from[2];
	size_t bytes[2] = { 8, 8 }, first = 0;
	unsigned n_seen[3] = { 0 };
	uint64_t *word;
	CUstream s;

	driver_start();
	s = make_stream();
	word = (uint64_t *)(void *)make_host();
	word[0] = 1;
	word[1] = 2;
	for (int i = 0; i < 2; i++) {
		to[i] = address(word + 2);
		from[i] = address(word + i);
	}
	for (int i = 0; i < MANY && !(n_seen[1] && n_seen[2]); i++) {
		OK(cu.cuMemcpyBatchAsync(to, from, bytes, 2, &how, &first, 1, s));
		OK(cu.cuStreamSynchronize(s));
		n_seen[word[2]]++;
	}
	ck_assert_uint_gt(n_seen[1], 0);
	ck_assert_uint_gt(n_seen[2], 0);
	ck_assert_int_eq(cu.cuMemcpyBatchAsync(to, from, bytes, 2, &how, &first, 1, NULL),
			 CUDA_ERROR_INVALID_HANDLE);
}
END_TEST

/* Of registered memory a copy reads when the stream comes to it, of other memory at once. */
START_TEST(a_copy_reads_registered_memory_late)
{
	uint64_t *word, plain = 5, *got;
	CUstream s;

	driver_start();
	s = make_stream();
	word = (uint64_t *)(void *)make_host();
	got = word + 8;
	word[1] = 5;
	OK(cu.cuStreamWaitValue64(s, address(word), 1, CU_STREAM_WAIT_VALUE_GEQ));
	OK(cu.cuMemcpyAsync(address(got), address(word + 1), 8, s));
	OK(cu.cuMemcpyAsync(address(got + 1), address(&plain), 8, s));
	word[1] = plain = 6;
	ck_assert_int_eq(cu.cuStreamQuery(s), CUDA_ERROR_NOT_READY);
	__atomic_store_n(word, 1, __ATOMIC_RELEASE);
	OK(cu.cuStreamSynchronize(s));
	OK(cu.cuStreamQuery(s));
	ck_assert_uint_eq(got[0], 6);
	ck_assert_uint_eq(got[1], 5);
}
END_TEST

START_TEST(words_are_waited_for_and_written_in_a_batch)
{
	CUstreamBatchMemOpParams op[3];
	CUevent event;
	uint64_t *word;
	CUstream s;

	driver_start();
	s = make_stream();
	word = (uint64_t *)(void *)make_host();
	memset(op, 0, sizeof op);
	op[0].writeValue.operation = CU_STREAM_MEM_OP_WRITE_VALUE_64;
	op[0].writeValue.address = address(word);
	op[0].writeValue.value64 = 3;
	op[1].waitValue.operation = CU_STREAM_MEM_OP_WAIT_VALUE_64;
	op[1].waitValue.address = address(word + 1);
	op[1].waitValue.value64 = 4;
	op[1].waitValue.flags = CU_STREAM_WAIT_VALUE_AND;
	op[2] = op[0];
	op[2].writeValue.value64 = 9;
	OK(cu.cuStreamBatchMemOp(s, 3, op, 0));
	OK(cu.cuEventCreate(&event, 0));
	OK(cu.cuEventRecord(event, s));
	while (__atomic_load_n(word, __ATOMIC_ACQUIRE) != 3)
		usleep(100);
	ck_assert_int_eq(cu.cuEventQuery(event), CUDA_ERROR_NOT_READY);
	__atomic_store_n(word + 1, 12, __ATOMIC_RELEASE);
	OK(cu.cuStreamSynchronize(s));
	OK(cu.cuEventQuery(event));
	ck_assert_uint_eq(word[0], 9);
	ck_assert_int_eq(cu.cuStreamWriteValue64(s, address(word) + 4, 0, 0),
			 CUDA_ERROR_INVALID_VALUE);
	ck_assert_int_eq(cu.cuStreamWriteValue64(s, address(&word), 0, 0),
			 CUDA_ERROR_INVALID_VALUE);
}
END_TEST

static CUresult said;

static void call_back(void *data)
{
	CUstream *s = data;

	said = cu.cuStreamQuery(*s);
}

START_TEST(a_host_function_may_not_call_the_driver)
{
	CUstream s;

	driver_start();
	s = make_stream();
	OK(cu.cuLaunchHostFunc(s, call_back, &s));
	OK(cu.cuStreamSynchronize(s));
	ck_assert_int_eq(said, CUDA_ERROR_NOT_PERMITTED);
}
END_TEST

START_TEST(what_is_captured_is_not_done)
{
	CUstreamCaptureStatus status;
	uint64_t *word;
	CUgraph graph;
	CUstream s;

	driver_start();
	s = make_stream();
	word = (uint64_t *)(void *)make_host();
	OK(cu.cuStreamBeginCapture(s, CU_STREAM_CAPTURE_MODE_GLOBAL));
	OK(cu.cuStreamIsCapturing(s, &status));
	ck_assert_int_eq(status, CU_STREAM_CAPTURE_STATUS_ACTIVE);
	OK(cu.cuStreamWriteValue64(s, address(word), 1, 0));
	OK(cu.cuStreamEndCapture(s, &graph));
	OK(cu.cuStreamSynchronize(s));
	ck_assert_uint_eq(word[0], 0);
	OK(cu.cuStreamBeginCapture(s, CU_STREAM_CAPTURE_MODE_GLOBAL));
	ck_assert_int_eq(cu.cuStreamSynchronize(s), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
	OK(cu.cuStreamIsCapturing(s, &status));
	ck_assert_int_eq(status, CU_STREAM_CAPTURE_STATUS_INVALIDATED);
	ck_assert_int_eq(cu.cuStreamEndCapture(s, &graph), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
}
END_TEST

START_TEST(a_destroyed_stream_finishes_and_is_unknown)
{
	uint64_t *word;
	CUstream s;

	driver_start();
	s = make_stream();
	word = (uint64_t *)(void *)make_host();
	OK(cu.cuStreamWriteValue64(s, address(word), 1, 0));
	OK(cu.cuStreamDestroy(s));
	ck_assert_int_eq(cu.cuStreamQuery(s), CUDA_ERROR_INVALID_HANDLE);
	while (__atomic_load_n(word, __ATOMIC_ACQUIRE) != 1)
		usleep(100);
}
END_TEST

CHECK_MAIN("emu_driver",
	CASE("finding it"),
	TEST(functions_are_found_by_base_name_and_version),
	TEST(an_older_driver_lacks_what_came_later),
	TEST(nothing_goes_before_init_or_without_a_context),
	TEST(there_may_be_no_device),
	TEST(devices_are_told_apart),
	TEST(a_child_of_fork_has_no_driver),
	CASE("memory"),
	TEST(two_mappings_are_one_memory),
	TEST(wrong_sizes_and_places_are_refused),
	TEST(a_store_through_a_read_only_mapping_faults),
	TEST(memory_outlives_its_exporter_while_a_descriptor_lives),
	TEST(host_memory_is_registered_once_and_as_it_is_mapped),
	CASE("order"),
	TEST(streams_are_in_no_order_but_that_of_events),
	TEST(the_legacy_stream_waits_for_blocking_ones_and_they_for_it),
	TEST(copies_of_a_batch_are_in_no_order),
	TEST(a_copy_reads_registered_memory_late),
	TEST(words_are_waited_for_and_written_in_a_batch),
	TEST(a_host_function_may_not_call_the_driver),
	TEST(what_is_captured_is_not_done),
	TEST(a_destroyed_stream_finishes_and_is_unknown))

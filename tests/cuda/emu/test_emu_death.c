/* SPDX-License-Identifier: Apache-2.0 */
/* test_emu_death.c - a killed process' work goes on for a while, as on a GPU. */
#include "tests/cuda/emu/loaded.h"
#include "tests/lib/check_main.h"

#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { READY, SET, WRITTEN, HOST_CALLED, N_WORDS };

/* Shared by the test and the process that it kills. */
static uint64_t *word;

static uint64_t word_at(int i)
{
	return __atomic_load_n(word + i, __ATOMIC_ACQUIRE);
}

static void host_function(void *data)
{
	(void)data;
	word[HOST_CALLED] = 1;
}

/* The first piece of work takes a minute, so nothing has been done when it dies. */
static void live_and_queue(void)
{
	CUstream s, other;
	CUevent event;

	setenv("CKV_EMU_SLOW", "set:1:60000", 1);
	setenv("CKV_EMU_HEIR_MS", "200", 1);
	driver_start();
	OK(cu.cuMemHostRegister(word, HOST, CU_MEMHOSTREGISTER_PORTABLE));
	s = make_stream();
	other = make_stream();
	OK(cu.cuMemsetD8Async(address(word + SET), 0x11, 8, s));
	OK(cu.cuLaunchHostFunc(s, host_function, NULL));
	OK(cu.cuEventCreate(&event, 0));
	OK(cu.cuEventRecord(event, s));
	OK(cu.cuStreamWaitEvent(other, event, 0));
	OK(cu.cuMemcpyAsync(address(word + WRITTEN), address(word + SET), 8, other));
	__atomic_store_n(word + READY, 1, __ATOMIC_RELEASE);
	pause();
}

START_TEST(queued_work_lands_after_the_death)
{
	struct pollfd dead = { .events = POLLIN };
	pid_t child;

	word = mmap(NULL, HOST, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(word, MAP_FAILED);
	child = fork();
	if (child == 0)
		live_and_queue();
	while (word_at(READY) == 0)
		usleep(1000);
	dead.fd = (int)syscall(SYS_pidfd_open, child, 0);
	ck_assert_uint_eq(word_at(SET), 0);
	ck_assert_int_eq(kill(child, SIGKILL), 0);
	/* Whoever watches it sees it dead, though its memory is still being written. */
	ck_assert_int_eq(poll(&dead, 1, -1), 1);
	ck_assert_int_eq(waitpid(child, NULL, 0), child);
	while (word_at(WRITTEN) == 0)
		usleep(1000);
	ck_assert_uint_eq(word_at(WRITTEN), 0x1111111111111111u);
	ck_assert_uint_eq(word_at(SET), 0x1111111111111111u);
	ck_assert_uint_eq(word_at(HOST_CALLED), 0);
}
END_TEST

/* ---- one memory, two processes ---- */

/* Map what comes, and write it: through a mapping to read, which only it feels; or killed. */
static void import_and_write(int from, CUmemAccess_flags access)
{
	CUmemGenericAllocationHandle handle;
	CUdeviceptr at;
	CUstream s;

	setenv("CKV_EMU_HEIR_MS", "200", 1);
	if (access == CU_MEM_ACCESS_FLAGS_PROT_READWRITE)
		setenv("CKV_EMU_SLOW", "set:1:60000", 1);
	driver_start();
	OK(cu.cuMemHostRegister(word, HOST, CU_MEMHOSTREGISTER_PORTABLE));
	OK(cu.cuMemImportFromShareableHandle(&handle, (void *)(intptr_t)receive_descriptor(from),
					     CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR));
	at = map_handle(handle, access);
	s = make_stream();
	OK(cu.cuMemcpyAsync(address(word + WRITTEN), at, 8, s));
	OK(cu.cuStreamSynchronize(s));
	OK(cu.cuMemsetD8Async(at, 0x22, 8, s));
	if (access == CU_MEM_ACCESS_FLAGS_PROT_READ)
		_exit(cu.cuStreamSynchronize(s) == CUDA_ERROR_ILLEGAL_ADDRESS ? 0 : 1);
	__atomic_store_n(word + READY, 1, __ATOMIC_RELEASE);
	pause();
}

static uint64_t read_word(CUdeviceptr at)
{
	uint64_t got;

	OK(cu.cuMemcpyDtoH(&got, at, 8));
	return got;
}

/*
 * One makes memory and sends its descriptor; another maps it. What that writes to a page
 * that it may only read harms nobody else. What it had queued when it was killed lands in
 * the memory of the living.
 */
START_TEST(two_processes_share_a_device)
{
	CUmemAccess_flags access = _i == 0 ? CU_MEM_ACCESS_FLAGS_PROT_READ
					   : CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
	CUmemGenericAllocationHandle handle;
	int pair[2], fd, status;
	CUdeviceptr at;
	pid_t child;

	word = mmap(NULL, HOST, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(word, MAP_FAILED);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	child = fork();
	if (child == 0)
		import_and_write(pair[1], access);
	driver_start();
	at = make_slab(&handle);
	OK(cu.cuMemsetD8(at, 0x11, 8));
	OK(cu.cuCtxSynchronize());
	OK(cu.cuMemExportToShareableHandle(&fd, handle,
					   CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0));
	send_descriptor(pair[0], fd);
	while (_i == 1 && word_at(READY) == 0)
		usleep(1000);
	if (_i == 1)
		ck_assert_int_eq(kill(child, SIGKILL), 0);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, _i == 0 ? 0 : SIGKILL);
	ck_assert_uint_eq(word_at(WRITTEN), 0x1111111111111111u);
	while (_i == 1 && read_word(at) != 0x2222222222222222u)
		usleep(1000);
	ck_assert_uint_eq(read_word(at + 8), 0);
	if (_i == 0)
		ck_assert_uint_eq(read_word(at), 0x1111111111111111u);
}
END_TEST

/* Descriptors of the one child that a process has; or -1. */
static int n_heirs_descriptors(pid_t process)
{
	char path[64], text[32] = "";
	struct dirent *entry;
	int n = 0;
	FILE *f;
	DIR *d;

	snprintf(path, sizeof path, "/proc/%d/task/%d/children", process, process);
	f = fopen(path, "r");
	if (f == NULL || fgets(text, sizeof text, f) == NULL)
		text[0] = '\0';
	if (f != NULL)
		fclose(f);
	snprintf(path, sizeof path, "/proc/%d/fd", atoi(text));
	d = opendir(path);
	if (text[0] == '\0' || d == NULL)
		return -1;
	while ((entry = readdir(d)) != NULL)
		n += entry->d_name[0] != '.';
	closedir(d);
	return n;
}

/* But the one by which it sees the death; so pipes and sockets end with the process. */
START_TEST(an_heir_keeps_no_descriptor)
{
	pid_t child = fork();

	if (child == 0) {
		setenv("CKV_EMU_HEIR_MS", "1", 1);
		driver_start();
		pause();
	}
	while (n_heirs_descriptors(child) != 1)
		usleep(1000);
	kill(child, SIGKILL);
	ck_assert_int_eq(waitpid(child, NULL, 0), child);
}
END_TEST

CHECK_MAIN("emu_death",
	CASE("death", .timeout = 20),
	TEST(queued_work_lands_after_the_death),
	LOOP(two_processes_share_a_device, 2),
	TEST(an_heir_keeps_no_descriptor))

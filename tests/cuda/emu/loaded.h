/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loaded.h - the emulated driver as a program finds one: dlopen(), then names.
 *
 * A Check test runs in a process of its own, so what it puts into the environment before
 * driver_load() rules its own driver only.
 */
#ifndef CKV_EMU_LOADED_H
#define CKV_EMU_LOADED_H

#include "tests/cuda/emu/api.h"

#include <check.h>
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#ifdef __SANITIZE_ADDRESS__
/* Threads of streams are left where they are when a test ends, with what they work on. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "detect_leaks=0";
}

#define EMU_LIBRARY	"build-emu/asan/libckv-emu-cuda.so"
#else
#define EMU_LIBRARY	"build-emu/libckv-emu-cuda.so"
#endif
#define EMU_MEET	"build-emu/kernels-meet.so"

#define EMU_POINTER(symbol, name, version, parameters)	CUresult (*name) parameters;
struct loaded {
	CUresult (*get)(const char *, void **, int, uint64_t, CUdriverProcAddressQueryResult *);
	uint64_t (*n_calls)(void);
	EMU_FUNCTIONS(EMU_POINTER)
};
#undef EMU_POINTER

static struct loaded cu;

#define OK(call)	ck_assert_int_eq(call, CUDA_SUCCESS)

/* The library; a broken one in its place, where a mutant is tried. */
static inline void *driver_open(void)
{
	const char *path = getenv("CKV_EMU_LIBRARY");
	void *library = dlopen(path != NULL ? path : EMU_LIBRARY, RTLD_NOW | RTLD_LOCAL);

	ck_assert_msg(library != NULL, "%s", dlerror());
	return library;
}

/* Find everything; cuInit() is the test's. */
static inline void driver_load(void)
{
	void *library = driver_open();

	*(void **)&cu.get = dlsym(library, "cuGetProcAddress_v2");
	*(void **)&cu.n_calls = dlsym(library, "emu_n_calls");
#define EMU_FIND(symbol, name, version, parameters) \
	OK(cu.get(#name, (void **)&cu.name, version, 0, NULL));
	EMU_FUNCTIONS(EMU_FIND)
#undef EMU_FIND
}

/* And a context. */
static inline void driver_start(void)
{
	CUcontext context;

	driver_load();
	OK(cu.cuInit(0));
	OK(cu.cuDevicePrimaryCtxRetain(&context, 0));
	OK(cu.cuCtxSetCurrent(context));
}

/* ---- what most tests need ---- */

#define SLAB	((size_t)2 << 20)
#define HOST	((size_t)64 << 10)

static const CUmemAllocationProp prop = {
	.type = CU_MEM_ALLOCATION_TYPE_PINNED,
	.requestedHandleTypes = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR,
	.location = { CU_MEM_LOCATION_TYPE_DEVICE, 0 },
};

static inline CUdeviceptr map_handle(CUmemGenericAllocationHandle handle, CUmemAccess_flags access)
{
	CUmemAccessDesc desc = { prop.location, access };
	CUdeviceptr at;

	OK(cu.cuMemAddressReserve(&at, SLAB, 0, 0, 0));
	OK(cu.cuMemMap(at, SLAB, 0, handle, 0));
	OK(cu.cuMemSetAccess(at, SLAB, &desc, 1));
	return at;
}

/* A slab of device memory that may be written. */
static inline CUdeviceptr make_slab(CUmemGenericAllocationHandle *ret)
{
	OK(cu.cuMemCreate(ret, SLAB, &prop, 0));
	return map_handle(*ret, CU_MEM_ACCESS_FLAGS_PROT_READWRITE);
}

static inline CUstream make_stream(void)
{
	CUstream s;

	OK(cu.cuStreamCreateWithPriority(&s, CU_STREAM_NON_BLOCKING, 0));
	return s;
}

/* Host memory that the device knows. */
static inline unsigned char *make_host(void)
{
	unsigned char *at = mmap(NULL, HOST, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ck_assert_ptr_ne(at, MAP_FAILED);
	OK(cu.cuMemHostRegister(at, HOST, CU_MEMHOSTREGISTER_PORTABLE));
	return at;
}

/* Descriptors of memory go to another process as a daemon sends them. */
static inline void send_descriptor(int to, int fd)
{
	char control[CMSG_SPACE(sizeof(int))] = { 0 }, byte = 0;
	struct iovec part = { &byte, 1 };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = control,
				  .msg_controllen = sizeof control };
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);

	*header = (struct cmsghdr){ CMSG_LEN(sizeof fd), SOL_SOCKET, SCM_RIGHTS };
	memcpy(CMSG_DATA(header), &fd, sizeof fd);
	ck_assert_int_eq(sendmsg(to, &message, 0), 1);
}

static inline int receive_descriptor(int from)
{
	char control[CMSG_SPACE(sizeof(int))], byte;
	struct iovec part = { &byte, 1 };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = control,
				  .msg_controllen = sizeof control };
	int fd;

	ck_assert_int_eq(recvmsg(from, &message, 0), 1);
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fd);
	return fd;
}

static inline CUdeviceptr address(const void *at)
{
	return (uintptr_t)at;
}

#endif

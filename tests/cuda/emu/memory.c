/* SPDX-License-Identifier: Apache-2.0 */
/* memory.c - device memory as memfds, registered host memory, faults. */
#include "range.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define MEMFD_NAME	"ckv-emu-device-memory"

/* Physical memory; of an imported one the descriptor is another's. */
struct memory {
	struct memory *next;
	int fd;
	size_t bytes;
	unsigned n_handles, n_mappings;
	int device, is_imported;
};

static struct memory *memories;

static struct memory *memory_of(CUmemGenericAllocationHandle handle)
{
	struct memory *m = memories;

	while (m != NULL && m != (struct memory *)(uintptr_t)handle)
		m = m->next;
	return m != NULL && m->n_handles > 0 ? m : NULL;
}

static struct memory *memory_add(int fd, size_t bytes, int device, int is_imported)
{
	struct memory *m = calloc(1, sizeof *m);

	if (m != NULL) {
		*m = (struct memory){ memories, fd, bytes, 1, 0, device, is_imported };
		memories = m;
	}
	return m;
}

/* When the last handle and the last mapping are gone. */
static void memory_put(struct memory *m)
{
	struct memory **at = &memories;

	if (m->n_handles > 0 || m->n_mappings > 0)
		return;
	while (*at != m)
		at = &(*at)->next;
	*at = m->next;
	close(m->fd);
	free(m);
}

uint64_t emu_memory_used(int device)
{
	uint64_t bytes = emu_allocated(device);

	for (struct memory *m = memories; m != NULL; m = m->next)
		bytes += m->is_imported || m->device != device ? 0 : m->bytes;
	return bytes;
}

static int range_holds(const struct range *r, CUdeviceptr at, size_t bytes)
{
	return r != NULL && at >= r->at && at + bytes <= r->at + r->bytes;
}

/* ---- physical memory ---- */

static int is_known(const CUmemAllocationProp *p)
{
	return p != NULL && p->type == CU_MEM_ALLOCATION_TYPE_PINNED &&
	       p->location.type == CU_MEM_LOCATION_TYPE_DEVICE &&
	       emu_device(p->location.id) >= 0 &&
	       p->requestedHandleTypes <= CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR &&
	       p->win32HandleMetaData == NULL;
}

CUresult cuMemGetAllocationGranularity(size_t *ret, const CUmemAllocationProp *prop,
				       CUmemAllocationGranularity_flags option)
{
	EMU_ENTER("cuMemGetAllocationGranularity", EMU_INIT);
	if (ret == NULL || !is_known(prop) || option > CU_MEM_ALLOC_GRANULARITY_RECOMMENDED)
		return CUDA_ERROR_INVALID_VALUE;
	*ret = EMU_GRANULARITY;
	return CUDA_SUCCESS;
}

CUresult cuMemCreate(CUmemGenericAllocationHandle *ret, size_t bytes,
		     const CUmemAllocationProp *prop, unsigned long long flags)
{
	struct memory *m = NULL;
	char name[sizeof MEMFD_NAME + 8];
	int fd, device;

	EMU_ENTER("cuMemCreate", EMU_INIT);
	if (ret == NULL || bytes == 0 || bytes % EMU_GRANULARITY != 0 || !is_known(prop) ||
	    flags != 0)
		return CUDA_ERROR_INVALID_VALUE;
	device = emu_device(prop->location.id);
	if (emu_lost(device) != CUDA_SUCCESS)
		return emu_lost(device);
	snprintf(name, sizeof name, MEMFD_NAME "%d", device);
	fd = memfd_create(name, MFD_CLOEXEC);
	pthread_mutex_lock(&emu_lock);
	if (fd >= 0 && ftruncate(fd, (off_t)bytes) == 0 &&
	    bytes <= emu_memory_bytes() - emu_memory_used(device))
		m = memory_add(fd, bytes, device, 0);
	pthread_mutex_unlock(&emu_lock);
	if (m == NULL) {
		if (fd >= 0)
			close(fd);
		return CUDA_ERROR_OUT_OF_MEMORY;
	}
	*ret = (uintptr_t)m;
	return CUDA_SUCCESS;
}

CUresult cuMemRelease(CUmemGenericAllocationHandle handle)
{
	struct memory *m;

	EMU_ENTER("cuMemRelease", EMU_INIT);
	pthread_mutex_lock(&emu_lock);
	m = memory_of(handle);
	if (m != NULL) {
		m->n_handles--;
		memory_put(m);
	}
	pthread_mutex_unlock(&emu_lock);
	return m == NULL ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

CUresult cuMemExportToShareableHandle(void *ret, CUmemGenericAllocationHandle handle,
				      CUmemAllocationHandleType type,
				      unsigned long long flags)
{
	CUresult r = CUDA_ERROR_INVALID_VALUE;
	struct memory *m;
	int fd;

	EMU_ENTER("cuMemExportToShareableHandle", EMU_INIT);
	if (ret == NULL || type != CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR || flags != 0)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&emu_lock);
	m = memory_of(handle);
	if (m != NULL) {
		fd = fcntl(m->fd, F_DUPFD_CLOEXEC, 0);
		r = fd < 0 ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_SUCCESS;
		if (fd >= 0)
			memcpy(ret, &fd, sizeof fd);
	}
	pthread_mutex_unlock(&emu_lock);
	return r;
}

/* Only memory of a device that is seen here can be imported: which one, or -1. */
static int device_of(int fd)
{
	int device, end = 0;
	char path[64], name[64];
	ssize_t n;

	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	n = readlink(path, name, sizeof name - 1);
	name[n < 0 ? 0 : n] = '\0';
	return sscanf(name, "/memfd:" MEMFD_NAME "%d%n", &device, &end) == 1 && end > 0 &&
	       emu_device_seen(device) >= 0 ? device : -1;
}

CUresult cuMemImportFromShareableHandle(CUmemGenericAllocationHandle *ret, void *os_handle,
					CUmemAllocationHandleType type)
{
	int fd = (int)(intptr_t)os_handle;
	struct memory *m = NULL;
	struct stat st;

	EMU_ENTER("cuMemImportFromShareableHandle", EMU_INIT);
	if (ret == NULL || type != CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR ||
	    device_of(fd) < 0 || fstat(fd, &st) < 0)
		return CUDA_ERROR_INVALID_VALUE;
	fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	pthread_mutex_lock(&emu_lock);
	if (fd >= 0)
		m = memory_add(fd, (size_t)st.st_size, device_of(fd), 1);
	pthread_mutex_unlock(&emu_lock);
	if (m == NULL)
		return CUDA_ERROR_OUT_OF_MEMORY;
	*ret = (uintptr_t)m;
	return CUDA_SUCCESS;
}

/* ---- addresses ---- */

/* Nothing that can be reached, and nothing that a child inherits. */
static int make_empty(CUdeviceptr at, size_t bytes)
{
	return mmap((void *)(uintptr_t)at, bytes, PROT_NONE,
		    MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) != MAP_FAILED;
}

CUresult cuMemAddressReserve(CUdeviceptr *ret, size_t bytes, size_t alignment,
			     CUdeviceptr address, unsigned long long flags)
{
	size_t whole, before;
	char *base;
	int added;

	EMU_ENTER("cuMemAddressReserve", EMU_INIT);
	if (alignment < EMU_GRANULARITY)
		alignment = EMU_GRANULARITY;
	if (ret == NULL || bytes == 0 || bytes % EMU_GRANULARITY != 0 || flags != 0 ||
	    (alignment & (alignment - 1)) != 0 || bytes + alignment < bytes)
		return CUDA_ERROR_INVALID_VALUE;
	whole = bytes + alignment;
	base = mmap((void *)(uintptr_t)address, whole, PROT_NONE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (base == MAP_FAILED)
		return CUDA_ERROR_OUT_OF_MEMORY;
	before = -(uintptr_t)base & (alignment - 1);
	if (before > 0)
		munmap(base, before);
	munmap(base + before + bytes, whole - before - bytes);
	*ret = (uintptr_t)base + before;
	pthread_mutex_lock(&emu_lock);
	added = range_add(RANGE_RESERVED, *ret, bytes) != NULL;
	pthread_mutex_unlock(&emu_lock);
	return added ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult cuMemAddressFree(CUdeviceptr at, size_t bytes)
{
	CUresult result = CUDA_ERROR_INVALID_VALUE;
	struct range *r;

	EMU_ENTER("cuMemAddressFree", EMU_INIT);
	pthread_mutex_lock(&emu_lock);
	r = range_meeting(RANGE_RESERVED, at, 1);
	if (r != NULL && r->at == at && r->bytes == bytes &&
	    range_meeting(RANGE_MAPPED, at, bytes) == NULL) {
		munmap((void *)(uintptr_t)at, bytes);
		range_remove(r);
		result = CUDA_SUCCESS;
	}
	pthread_mutex_unlock(&emu_lock);
	return result;
}

/* With the lock. */
static CUresult map(CUdeviceptr at, size_t bytes, struct memory *m)
{
	struct range *r;

	if (m == NULL || bytes > m->bytes ||
	    !range_holds(range_meeting(RANGE_RESERVED, at, 1), at, bytes) ||
	    range_meeting(RANGE_MAPPED, at, bytes) != NULL)
		return CUDA_ERROR_INVALID_VALUE;
	if (mmap((void *)(uintptr_t)at, bytes, PROT_NONE, MAP_FIXED | MAP_SHARED, m->fd,
		 0) == MAP_FAILED ||
	    madvise((void *)(uintptr_t)at, bytes, MADV_DONTFORK) < 0 ||
	    (r = range_add(RANGE_MAPPED, at, bytes)) == NULL)
		return CUDA_ERROR_OUT_OF_MEMORY;
	r->memory = m;
	m->n_mappings++;
	return CUDA_SUCCESS;
}

CUresult cuMemMap(CUdeviceptr at, size_t bytes, size_t offset,
		  CUmemGenericAllocationHandle handle, unsigned long long flags)
{
	CUresult r;

	EMU_ENTER("cuMemMap", EMU_INIT);
	if (at % EMU_GRANULARITY != 0 || bytes == 0 || bytes % EMU_GRANULARITY != 0 ||
	    offset != 0 || flags != 0)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&emu_lock);
	r = map(at, bytes, memory_of(handle));
	pthread_mutex_unlock(&emu_lock);
	return r;
}

CUresult cuMemUnmap(CUdeviceptr at, size_t bytes)
{
	CUresult result = CUDA_ERROR_INVALID_VALUE;
	struct range *r;

	EMU_ENTER("cuMemUnmap", EMU_INIT);
	pthread_mutex_lock(&emu_lock);
	r = range_meeting(RANGE_MAPPED, at, 1);
	if (r != NULL && r->at == at && r->bytes == bytes && make_empty(at, bytes)) {
		r->memory->n_mappings--;
		memory_put(r->memory);
		range_remove(r);
		result = CUDA_SUCCESS;
	}
	pthread_mutex_unlock(&emu_lock);
	return result;
}

/* What any of the devices may do, for mprotect(); -1 where one of them is not known. */
static int access_of(const CUmemAccessDesc *desc, size_t n)
{
	int access = n > 0 ? PROT_NONE : -1;

	for (size_t i = 0; i < n; i++) {
		if (desc[i].location.type != CU_MEM_LOCATION_TYPE_DEVICE ||
		    emu_device(desc[i].location.id) < 0)
			return -1;
		if (desc[i].flags == CU_MEM_ACCESS_FLAGS_PROT_READ)
			access |= PROT_READ;
		else if (desc[i].flags == CU_MEM_ACCESS_FLAGS_PROT_READWRITE)
			access |= PROT_READ | PROT_WRITE;
		else if (desc[i].flags != CU_MEM_ACCESS_FLAGS_PROT_NONE)
			return -1;
	}
	return access;
}

CUresult cuMemSetAccess(CUdeviceptr at, size_t bytes, const CUmemAccessDesc *desc, size_t n)
{
	CUresult r = CUDA_ERROR_INVALID_VALUE;
	int access = access_of(desc, n);

	EMU_ENTER("cuMemSetAccess", EMU_INIT);
	if (access < 0)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&emu_lock);
	if (bytes > 0 && range_made_up(RANGE_MAPPED, at, bytes) &&
	    mprotect((void *)(uintptr_t)at, bytes, access) == 0)
		r = CUDA_SUCCESS;
	pthread_mutex_unlock(&emu_lock);
	return r;
}

/* ---- host memory ---- */

/* Is all of it mapped, and so that it may be written if it must? */
static int is_mapped(uintptr_t at, size_t bytes, int to_write)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	uintptr_t from, to, next = at;
	char line[512], access[8];

	if (maps == NULL)
		return 0;
	while (next < at + bytes && fgets(line, sizeof line, maps) != NULL)
		if (sscanf(line, "%lx-%lx %7s", &from, &to, access) == 3 && from <= next &&
		    to > next && access[0] == 'r' && (!to_write || access[1] == 'w'))
			next = to;
	fclose(maps);
	return next >= at + bytes;
}

CUresult cuMemHostRegister_v2(void *at, size_t bytes, unsigned flags)
{
	int read_only = (flags & CU_MEMHOSTREGISTER_READ_ONLY) != 0, supported = 1;
	CUresult r = CUDA_SUCCESS;

	EMU_ENTER("cuMemHostRegister", EMU_CONTEXT);
	if (bytes == 0 || flags & ~15u || !is_mapped((uintptr_t)at, bytes, !read_only))
		return CUDA_ERROR_INVALID_VALUE;
	if (flags & CU_MEMHOSTREGISTER_IOMEMORY)
		return CUDA_ERROR_NOT_SUPPORTED;
	if (read_only && cuDeviceGetAttribute(&supported,
			CU_DEVICE_ATTRIBUTE_READ_ONLY_HOST_REGISTER_SUPPORTED,
			emu_device_seen(emu_context()->device)) != CUDA_SUCCESS)
		return CUDA_ERROR_NOT_SUPPORTED;
	if (!supported)
		return CUDA_ERROR_NOT_SUPPORTED;
	pthread_mutex_lock(&emu_lock);
	if (range_meeting(RANGE_REGISTERED, (uintptr_t)at, bytes) != NULL)
		r = CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED;
	else if (range_add(RANGE_REGISTERED, (uintptr_t)at, bytes) == NULL)
		r = CUDA_ERROR_OUT_OF_MEMORY;
	pthread_mutex_unlock(&emu_lock);
	return r;
}

CUresult cuMemHostUnregister(void *at)
{
	CUresult result = CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED;
	struct range *r;

	EMU_ENTER("cuMemHostUnregister", EMU_CONTEXT);
	pthread_mutex_lock(&emu_lock);
	r = range_meeting(RANGE_REGISTERED, (uintptr_t)at, 1);
	if (r != NULL && r->at == (uintptr_t)at) {
		range_remove(r);
		result = CUDA_SUCCESS;
	}
	pthread_mutex_unlock(&emu_lock);
	return result;
}

CUresult cuMemHostGetDevicePointer_v2(CUdeviceptr *ret, void *at, unsigned flags)
{
	EMU_ENTER("cuMemHostGetDevicePointer", EMU_CONTEXT);
	if (ret == NULL || flags != 0 || range_meeting(RANGE_RESERVED, (uintptr_t)at, 1) != NULL ||
	    !emu_is_pinned((uintptr_t)at, 1))
		return CUDA_ERROR_INVALID_VALUE;
	*ret = (uintptr_t)at;
	return CUDA_SUCCESS;
}

/* ---- faults ---- */

/* Set while this thread does what the device would do. */
static __thread sigjmp_buf *way_out;
static __thread uintptr_t fault_at;
static struct sigaction before[2];	/* SIGSEGV, SIGBUS */

static void on_fault(int signal, siginfo_t *info, void *context)
{
	const struct sigaction *old = &before[signal == SIGBUS];

	if (way_out != NULL) {
		fault_at = (uintptr_t)info->si_addr;
		siglongjmp(*way_out, 1);
	}
	/* Not the device's: whoever minded before does, or the instruction faults again. */
	if (old->sa_flags & SA_SIGINFO)
		old->sa_sigaction(signal, info, context);
	else
		sigaction(signal, old, NULL);
}

static void mind_faults(void)
{
	struct sigaction action = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO };

	sigaction(SIGSEGV, &action, &before[0]);
	sigaction(SIGBUS, &action, &before[1]);
}

uintptr_t emu_guarded(void (*body)(void *arg), void *arg)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	sigjmp_buf out;

	pthread_once(&once, mind_faults);
	if (sigsetjmp(out, 1) != 0) {
		way_out = NULL;
		return fault_at != 0 ? fault_at : 1;
	}
	way_out = &out;
	body(arg);
	way_out = NULL;
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* alloc.c - device memory of the plain kind, and copies that the host waits for. */
#include "range.h"

#include <sys/mman.h>

#define PAGE		((size_t)4096)
#define ALIGN		((size_t)256)	/* that a driver promises */

static size_t up(size_t bytes, size_t to)
{
	return (bytes + to - 1) / to * to;
}

uint64_t emu_allocated(int device)
{
	uint64_t bytes = 0;

	for (struct range *r = ranges; r != NULL; r = r->next)
		bytes += r->kind == RANGE_ALLOCATED && r->device == device ? r->bytes : 0;
	return bytes;
}

/*
 * With the lock. It ends where a page ends that nothing may touch, so that a kernel which
 * goes past the end is seen; a child of fork() has none of it.
 */
static struct range *allocate(size_t bytes)
{
	size_t part = up(bytes, ALIGN), whole = up(part, PAGE) + PAGE;
	char *base = mmap(NULL, whole, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	char *end = base + whole - PAGE;
	struct range *r;

	if (base == MAP_FAILED)
		return NULL;
	if (mprotect(end, PAGE, PROT_NONE) < 0 || madvise(base, whole, MADV_DONTFORK) < 0 ||
	    (r = range_add(RANGE_ALLOCATED, (uintptr_t)(end - part), part)) == NULL) {
		munmap(base, whole);
		return NULL;
	}
	r->device = emu_context()->device;
	r->base = base;
	r->whole_bytes = whole;
	return r;
}

CUresult cuMemAlloc_v2(CUdeviceptr *ret, size_t bytes)
{
	struct range *r = NULL;

	EMU_ENTER("cuMemAlloc", EMU_CONTEXT);
	if (ret == NULL || bytes == 0)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&emu_lock);
	if (bytes <= emu_memory_bytes() - emu_memory_used(emu_context()->device))
		r = allocate(bytes);
	pthread_mutex_unlock(&emu_lock);
	if (r == NULL)
		return CUDA_ERROR_OUT_OF_MEMORY;
	*ret = r->at;
	return CUDA_SUCCESS;
}

/* It waits for all that might still use it. */
CUresult cuMemFree_v2(CUdeviceptr at)
{
	struct range *r;
	CUresult result;

	EMU_ENTER("cuMemFree", EMU_CONTEXT);
	if (at == 0)
		return CUDA_SUCCESS;
	result = emu_wait_all(emu_context());
	if (result != CUDA_SUCCESS)
		return result;
	pthread_mutex_lock(&emu_lock);
	r = range_meeting(RANGE_ALLOCATED, at, 1);
	if (r != NULL && r->at == at) {
		munmap(r->base, r->whole_bytes);
		range_remove(r);
	} else {
		result = CUDA_ERROR_INVALID_VALUE;
	}
	pthread_mutex_unlock(&emu_lock);
	return result;
}

/*
 * What a driver reads from memory that it does not know it has read when the call returns,
 * but the device need not have it yet. Everything else has come.
 */
CUresult cuMemcpyHtoD_v2(CUdeviceptr to, const void *from, size_t bytes)
{
	EMU_ENTER("cuMemcpyHtoD", EMU_CONTEXT);
	if (!emu_is_pinned(to, bytes))
		return CUDA_ERROR_INVALID_VALUE;
	return emu_copy(to, (uintptr_t)from, bytes, NULL,
			emu_is_pinned((uintptr_t)from, bytes));
}

CUresult cuMemcpyDtoH_v2(void *to, CUdeviceptr from, size_t bytes)
{
	EMU_ENTER("cuMemcpyDtoH", EMU_CONTEXT);
	if (!emu_is_pinned(from, bytes))
		return CUDA_ERROR_INVALID_VALUE;
	return emu_copy((uintptr_t)to, from, bytes, NULL, 1);
}

CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream)
{
	EMU_ENTER("cuMemcpyDtoDAsync", EMU_CONTEXT);
	if (!emu_is_pinned(to, bytes) || !emu_is_pinned(from, bytes))
		return CUDA_ERROR_INVALID_VALUE;
	return emu_copy(to, from, bytes, stream, 0);
}

/* Not waited for: it is the device's memory. */
CUresult cuMemsetD8_v2(CUdeviceptr at, unsigned char byte, size_t n)
{
	EMU_ENTER("cuMemsetD8", EMU_CONTEXT);
	return emu_set(at, byte, n, NULL);
}

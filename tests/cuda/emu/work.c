/* SPDX-License-Identifier: Apache-2.0 */
/* work.c - what streams do: copies, words in memory, functions of the host, kernels. */
#include "emu.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static pthread_mutex_t kernel_lock = PTHREAD_MUTEX_INITIALIZER;	/* the fibers are one set */

static void sleep_us(uint64_t us)
{
	nanosleep(&(struct timespec){ (time_t)(us / 1000000), (long)(us % 1000000 * 1000) }, NULL);
}

/* Mostly not at all; now and then as long as a stream may. */
static void dawdle(uint64_t *random)
{
	uint64_t most = emu_number("CKV_EMU_DELAY_US", 1000);

	switch (emu_random(random) % 8) {
	case 0:
		sleep_us(most);
		break;
	case 1:
		sleep_us(emu_random(random) % (most + 1));
		break;
	}
}

/* ---- copies ---- */

enum { N_PIECES = 8, PIECE_BYTES = 4096 };

/* A copy's bytes arrive in no order that anybody may rely on. */
static void copy_in_pieces(const struct emu_copy *c, uint64_t *random)
{
	size_t n = c->bytes / PIECE_BYTES < N_PIECES ? c->bytes / PIECE_BYTES + 1 : N_PIECES;
	size_t each = c->bytes / n, turn[N_PIECES];

	for (size_t i = 0; i < n; i++) {
		size_t j = emu_random(random) % (i + 1);

		turn[i] = turn[j];
		turn[j] = i;
	}
	for (size_t i = 0; i < n; i++) {
		size_t at = turn[i] * each;

		memmove(c->to + at, c->from + at, turn[i] + 1 == n ? c->bytes - at : each);
		sched_yield();
	}
}

/* Those of a batch are in no order. */
static void do_copies(struct emu_work *w, uint64_t *random)
{
	struct emu_copy *copy = w->copies.copy;

	for (size_t i = w->copies.n; i > 1; i--) {
		size_t j = emu_random(random) % i;
		struct emu_copy t = copy[j];

		copy[j] = copy[i - 1];
		copy[i - 1] = t;
	}
	for (size_t i = 0; i < w->copies.n; i++)
		copy_in_pieces(&copy[i], random);
}

/* ---- words ---- */

int emu_is_reached(const struct emu_work *w)
{
	uint64_t got = __atomic_load_n((uint64_t *)(uintptr_t)w->memory.at, __ATOMIC_ACQUIRE);

	switch (w->memory.flags) {
	case CU_STREAM_WAIT_VALUE_GEQ:
		return (int64_t)(got - w->memory.value) >= 0;
	case CU_STREAM_WAIT_VALUE_EQ:
		return got == w->memory.value;
	case CU_STREAM_WAIT_VALUE_AND:
		return (got & w->memory.value) != 0;
	default:
		return ~(got | w->memory.value) != 0;
	}
}

/* ---- all ---- */

static const char *const names[] = {
	[EMU_COPY] = "copy", [EMU_SET] = "set", [EMU_WRITE] = "write", [EMU_WAIT] = "wait",
	[EMU_HOST] = "host", [EMU_KERNEL] = "kernel", [EMU_AFTER] = "event", [EMU_MARK] = "mark",
};

struct doing {
	struct emu_work *work;
	CUstream stream;
	int failed;
};

/* What touches memory, so that a fault ends here. */
static void do_guarded(void *arg)
{
	struct doing *d = arg;
	struct emu_work *w = d->work;

	switch (w->kind) {
	case EMU_COPY:
		do_copies(w, &d->stream->random);
		break;
	case EMU_SET:
		memset((void *)(uintptr_t)w->memory.at, (int)w->memory.value, w->memory.n);
		break;
	case EMU_WRITE:
		__atomic_store_n((uint64_t *)(uintptr_t)w->memory.at, w->memory.value,
				 __ATOMIC_SEQ_CST);
		break;
	case EMU_WAIT:
		while (!emu_is_reached(w) &&
		       emu_lost(d->stream->context->device) == CUDA_SUCCESS)
			sleep_us(50);
		break;
	case EMU_KERNEL:
		d->failed = ptx_run(w->kernel.kernel, w->kernel.grid, w->kernel.block,
				    w->kernel.shared_bytes, w->kernel.params) < 0;
		break;
	case EMU_HOST:
	case EMU_AFTER:
	case EMU_MARK:
		break;
	}
}

void emu_do_memory(struct emu_work *w, CUstream stream)
{
	struct doing d = { w, stream, 0 };
	const char *what = w->kind == EMU_KERNEL ? w->kernel.kernel->name : names[w->kind];
	uintptr_t at;

	at = emu_guarded(do_guarded, &d);
	if (at != 0) {
		fprintf(stderr, "emu: %s: illegal access at %#lx\n", what, (unsigned long)at);
		emu_lose(stream->context->device, CUDA_ERROR_ILLEGAL_ADDRESS, what);
	}
	if (d.failed)
		emu_lose(stream->context->device, CUDA_ERROR_LAUNCH_FAILED, what);
}

void emu_do(struct emu_work *w, CUstream stream)
{
	int device = stream->context->device;

	if (w->kind == EMU_MARK) {
		if (emu_lost(device) == CUDA_SUCCESS)
			emu_mark_reach(w->mark);
		return;
	}
	dawdle(&stream->random);
	if (w->kind == EMU_AFTER) {
		emu_wait(w->after.stream, w->after.ticket);
		return;
	}
	/* What is left of a lost device's work is not done; functions are called all the same. */
	if (emu_work_fault(names[w->kind], device) != CUDA_SUCCESS && w->kind != EMU_HOST)
		return;
	if (w->kind != EMU_HOST) {
		if (w->kind == EMU_KERNEL)
			pthread_mutex_lock(&kernel_lock);
		emu_do_memory(w, stream);
		if (w->kind == EMU_KERNEL)
			pthread_mutex_unlock(&kernel_lock);
		return;
	}
	emu_in_host_function = 1;
	w->host.function(w->host.data);
	emu_in_host_function = 0;
}

void emu_free(const struct emu_work *w)
{
	if (w->kind == EMU_COPY) {
		for (size_t i = 0; i < w->copies.n; i++)
			free(w->copies.copy[i].staged);
		free(w->copies.copy);
	}
	if (w->kind == EMU_KERNEL)
		free(w->kernel.params);
	if (w->kind == EMU_MARK)
		emu_mark_put(w->mark);
}

/* ---- calls: copies ---- */

/* Source order, as of a batch: read it now, when the stream comes to it, or as one likes? */
static int stage(struct emu_copy *c, CUmemcpySrcAccessOrder order)
{
	static uint64_t random = 7;
	int early = order == CU_MEMCPY_SRC_ACCESS_ORDER_DURING_API_CALL ||
		    (order == CU_MEMCPY_SRC_ACCESS_ORDER_ANY && emu_random(&random) % 2);

	if (!early && emu_is_pinned((uintptr_t)c->from, c->bytes))
		return 1;
	c->staged = malloc(c->bytes > 0 ? c->bytes : 1);
	if (c->staged == NULL)
		return 0;
	memcpy(c->staged, c->from, c->bytes);
	c->from = c->staged;
	return 1;
}

/* Into memory that nobody has registered, a copy has come when the call returns. */
static CUresult queue_copies(CUstream stream, struct emu_copy *copy, size_t n, int wait)
{
	struct emu_work work = { .kind = EMU_COPY, .copies = { copy, n } };
	CUstream s = emu_stream(stream, NULL);
	uint64_t ticket;
	CUresult r;

	for (size_t i = 0; i < n; i++)
		wait |= !emu_is_pinned((uintptr_t)copy[i].to, copy[i].bytes);
	r = emu_queue(stream, &work, &ticket);
	return r == CUDA_SUCCESS && wait ? emu_wait(s, ticket) : r;
}

CUresult emu_copy(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream, int wait)
{
	struct emu_copy *copy;

	if (to == 0 || from == 0)
		return bytes == 0 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
	copy = calloc(1, sizeof *copy);
	if (copy == NULL)
		return CUDA_ERROR_OUT_OF_MEMORY;
	*copy = (struct emu_copy){ (void *)(uintptr_t)to, (void *)(uintptr_t)from, bytes, NULL };
	if (!stage(copy, CU_MEMCPY_SRC_ACCESS_ORDER_STREAM)) {
		free(copy);
		return CUDA_ERROR_OUT_OF_MEMORY;
	}
	return queue_copies(stream, copy, 1, wait);
}

CUresult cuMemcpyAsync(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream)
{
	EMU_ENTER("cuMemcpyAsync", EMU_INIT);
	return emu_copy(to, from, bytes, stream, 0);
}

/* Attribute i is that of the copies from first[i] on. */
static int batch_is_sound(const size_t *bytes, size_t n, const CUmemcpyAttributes *attribute,
			  const size_t *first, size_t n_attributes)
{
	if (n == 0 || n_attributes == 0 || n_attributes > n || first[0] != 0)
		return 0;
	for (size_t i = 0; i < n; i++)
		if (bytes[i] == 0)
			return 0;
	for (size_t i = 0; i < n_attributes; i++)
		if (attribute[i].srcAccessOrder < CU_MEMCPY_SRC_ACCESS_ORDER_STREAM ||
		    attribute[i].srcAccessOrder > CU_MEMCPY_SRC_ACCESS_ORDER_ANY ||
		    first[i] >= n || (i > 0 && first[i] <= first[i - 1]))
			return 0;
	return 1;
}

CUresult cuMemcpyBatchAsync_v2(CUdeviceptr *to, CUdeviceptr *from, size_t *bytes, size_t n,
			       CUmemcpyAttributes *attribute, size_t *first,
			       size_t n_attributes, CUstream stream)
{
	struct emu_work work = { .kind = EMU_COPY };
	size_t a = 0;

	EMU_ENTER("cuMemcpyBatchAsync", EMU_INIT);
	if (!batch_is_sound(bytes, n, attribute, first, n_attributes))
		return CUDA_ERROR_INVALID_VALUE;
	if (stream == NULL || stream == CU_STREAM_LEGACY)
		return CUDA_ERROR_INVALID_HANDLE;
	work.copies.copy = calloc(n, sizeof *work.copies.copy);
	if (work.copies.copy == NULL)
		return CUDA_ERROR_OUT_OF_MEMORY;
	for (size_t i = 0; i < n; i++) {
		struct emu_copy *c = &work.copies.copy[i];

		a += a + 1 < n_attributes && first[a + 1] == i;
		*c = (struct emu_copy){ (void *)(uintptr_t)to[i], (void *)(uintptr_t)from[i],
					bytes[i], NULL };
		work.copies.n = i + 1;
		if (!stage(c, attribute[a].srcAccessOrder)) {
			emu_free(&work);
			return CUDA_ERROR_OUT_OF_MEMORY;
		}
	}
	return queue_copies(stream, work.copies.copy, n, 0);
}

CUresult emu_set(CUdeviceptr at, unsigned char byte, size_t n, CUstream stream)
{
	struct emu_work set = { .kind = EMU_SET, .memory = { at, n, byte, 0 } };

	if (!emu_is_pinned(at, n))
		return CUDA_ERROR_INVALID_VALUE;
	return emu_queue(stream, &set, NULL);
}

CUresult cuMemsetD8Async(CUdeviceptr at, unsigned char byte, size_t n, CUstream stream)
{
	EMU_ENTER("cuMemsetD8Async", EMU_INIT);
	return emu_set(at, byte, n, stream);
}

/* ---- calls: words, functions ---- */

static CUresult queue_word(CUstream stream, enum emu_kind kind, CUdeviceptr at, uint64_t value,
			   unsigned flags)
{
	struct emu_work word = { .kind = kind, .memory = { at, 8, value, flags } };

	if (at % 8 != 0 || !emu_is_pinned(at, 8) ||
	    flags > (kind == EMU_WAIT ? (unsigned)CU_STREAM_WAIT_VALUE_NOR
				      : (unsigned)CU_STREAM_WRITE_VALUE_NO_MEMORY_BARRIER))
		return CUDA_ERROR_INVALID_VALUE;
	return emu_queue(stream, &word, NULL);
}

CUresult cuStreamWriteValue64_v2(CUstream stream, CUdeviceptr at, uint64_t value, unsigned flags)
{
	EMU_ENTER("cuStreamWriteValue64", EMU_INIT);
	return queue_word(stream, EMU_WRITE, at, value, flags);
}

CUresult cuStreamWaitValue64_v2(CUstream stream, CUdeviceptr at, uint64_t value, unsigned flags)
{
	EMU_ENTER("cuStreamWaitValue64", EMU_INIT);
	return queue_word(stream, EMU_WAIT, at, value, flags);
}

CUresult cuStreamBatchMemOp_v2(CUstream stream, unsigned n, CUstreamBatchMemOpParams *op,
			       unsigned flags)
{
	CUresult r = CUDA_SUCCESS;

	EMU_ENTER("cuStreamBatchMemOp", EMU_INIT);
	if (flags != 0 || n > 256)
		return CUDA_ERROR_INVALID_VALUE;
	for (unsigned i = 0; i < n; i++)
		if (op[i].operation != CU_STREAM_MEM_OP_WAIT_VALUE_64 &&
		    op[i].operation != CU_STREAM_MEM_OP_WRITE_VALUE_64)
			return CUDA_ERROR_NOT_SUPPORTED;
	for (unsigned i = 0; i < n && r == CUDA_SUCCESS; i++)
		r = queue_word(stream, op[i].operation == CU_STREAM_MEM_OP_WAIT_VALUE_64 ?
				       EMU_WAIT : EMU_WRITE,
			       op[i].writeValue.address, op[i].writeValue.value64,
			       op[i].writeValue.flags);
	return r;
}

CUresult cuLaunchHostFunc(CUstream stream, CUhostFn function, void *data)
{
	struct emu_work host = { .kind = EMU_HOST, .host = { function, data } };

	EMU_ENTER("cuLaunchHostFunc", EMU_INIT);
	if (function == NULL)
		return CUDA_ERROR_INVALID_VALUE;
	return emu_queue(stream, &host, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* event.c - events: a place in a stream, and the time when it was reached. */
#include "emu.h"

#include <stdlib.h>
#include <time.h>

/* Where a stream was at one record: the event's, and the stream's until it has come there. */
struct emu_mark {
	CUstream stream;
	uint64_t ticket;
	uint64_t reached_ns;	/* 0: not yet */
	int n_users;
};

struct CUevent_st {
	unsigned flags;
	struct emu_mark *mark;	/* NULL: never recorded */
};

void emu_mark_reach(struct emu_mark *mark)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	__atomic_store_n(&mark->reached_ns,
			 (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec,
			 __ATOMIC_RELEASE);
}

void emu_mark_put(struct emu_mark *mark)
{
	if (mark != NULL && __atomic_sub_fetch(&mark->n_users, 1, __ATOMIC_ACQ_REL) == 0)
		free(mark);
}

CUresult cuEventCreate(CUevent *ret, unsigned flags)
{
	EMU_ENTER("cuEventCreate", EMU_CONTEXT);
	if (ret == NULL || flags & ~7u)
		return CUDA_ERROR_INVALID_VALUE;
	*ret = calloc(1, sizeof **ret);
	if (*ret == NULL)
		return CUDA_ERROR_OUT_OF_MEMORY;
	(*ret)->flags = flags;
	return CUDA_SUCCESS;
}

CUresult cuEventDestroy_v2(CUevent event)
{
	EMU_ENTER("cuEventDestroy", EMU_INIT);
	if (event == NULL)
		return CUDA_ERROR_INVALID_HANDLE;
	emu_mark_put(event->mark);
	free(event);
	return CUDA_SUCCESS;
}

/* In a stream that is being captured an event stays where it was. */
CUresult cuEventRecord(CUevent event, CUstream stream)
{
	struct emu_work work = { .kind = EMU_MARK };
	CUstreamCaptureStatus capture = CU_STREAM_CAPTURE_STATUS_NONE;
	struct emu_mark *mark;
	CUresult r;

	EMU_ENTER("cuEventRecord", EMU_INIT);
	if (event == NULL)
		return CUDA_ERROR_INVALID_HANDLE;
	mark = calloc(1, sizeof *mark);
	if (mark == NULL)
		return CUDA_ERROR_OUT_OF_MEMORY;
	mark->n_users = 2;
	mark->stream = emu_stream(stream, &capture);
	work.mark = mark;
	r = emu_queue(stream, &work, &mark->ticket);
	if (r != CUDA_SUCCESS || capture != CU_STREAM_CAPTURE_STATUS_NONE) {
		emu_mark_put(mark);
		return r;
	}
	emu_mark_put(event->mark);
	event->mark = mark;
	return CUDA_SUCCESS;
}

static int is_reached(const struct emu_mark *mark)
{
	return mark == NULL || __atomic_load_n(&mark->reached_ns, __ATOMIC_ACQUIRE) != 0;
}

CUresult cuEventQuery(CUevent event)
{
	EMU_ENTER("cuEventQuery", EMU_INIT);
	if (event == NULL)
		return CUDA_ERROR_INVALID_HANDLE;
	return is_reached(event->mark) ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY;
}

CUresult cuEventSynchronize(CUevent event)
{
	EMU_ENTER("cuEventSynchronize", EMU_INIT);
	if (event == NULL)
		return CUDA_ERROR_INVALID_HANDLE;
	return event->mark == NULL ? CUDA_SUCCESS
				   : emu_wait(event->mark->stream, event->mark->ticket);
}

/* What passed here, where nothing runs as fast as on a GPU: no measure of anything. */
CUresult cuEventElapsedTime(float *ret_ms, CUevent from, CUevent to)
{
	EMU_ENTER("cuEventElapsedTime", EMU_INIT);
	if (ret_ms == NULL)
		return CUDA_ERROR_INVALID_VALUE;
	if (from == NULL || to == NULL || from->mark == NULL || to->mark == NULL ||
	    (from->flags | to->flags) & CU_EVENT_DISABLE_TIMING)
		return CUDA_ERROR_INVALID_HANDLE;
	if (!is_reached(from->mark) || !is_reached(to->mark))
		return CUDA_ERROR_NOT_READY;
	*ret_ms = (float)(int64_t)(to->mark->reached_ns - from->mark->reached_ns) * 1e-6f;
	return CUDA_SUCCESS;
}

CUresult cuStreamWaitEvent(CUstream stream, CUevent event, unsigned flags)
{
	struct emu_work after = { .kind = EMU_AFTER };

	EMU_ENTER("cuStreamWaitEvent", EMU_INIT);
	if (event == NULL)
		return CUDA_ERROR_INVALID_HANDLE;
	if (flags != 0)
		return CUDA_ERROR_INVALID_VALUE;
	if (event->mark == NULL)
		return CUDA_SUCCESS;
	after.after.stream = event->mark->stream;
	after.after.ticket = event->mark->ticket;
	return emu_queue(stream, &after, NULL);
}

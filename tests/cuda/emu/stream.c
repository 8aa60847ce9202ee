/* SPDX-License-Identifier: Apache-2.0 */
/* stream.c - queues of work and the threads that do it. */
#include "emu.h"

#include <stdlib.h>
#include <string.h>

CUstream emu_streams;

static void *run_stream(void *arg)
{
	CUstream s = arg;

	pthread_mutex_lock(&emu_lock);
	for (;;) {
		struct emu_work *work = s->first;

		if (work == NULL && s->is_closed)
			break;
		if (work == NULL) {
			pthread_cond_wait(&emu_changed, &emu_lock);
			continue;
		}
		pthread_mutex_unlock(&emu_lock);
		emu_do(work, s);
		pthread_mutex_lock(&emu_lock);
		s->first = work->next;
		if (s->first == NULL)
			s->last = NULL;
		s->n_done++;
		pthread_cond_broadcast(&emu_changed);
		emu_free(work);
		free(work);
	}
	pthread_mutex_unlock(&emu_lock);
	return NULL;
}

CUstream emu_stream_open(CUcontext context, unsigned flags, int is_legacy)
{
	static uint64_t n;
	CUstream s = calloc(1, sizeof *s);
	pthread_attr_t detached;
	pthread_t thread;
	int r;

	if (s == NULL)
		return NULL;
	*s = (struct CUstream_st){ .next = emu_streams, .context = context, .flags = flags,
				   .is_legacy = is_legacy };
	s->random = emu_number("CKV_EMU_SEED", 1) * 0x9e3779b97f4a7c15u + n++;
	pthread_attr_init(&detached);
	pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
	r = pthread_create(&thread, &detached, run_stream, s);
	pthread_attr_destroy(&detached);
	if (r != 0) {
		free(s);
		return NULL;
	}
	/* Streams stay in the list for ever: events may still name them. */
	emu_streams = s;
	return s;
}

/* With the lock. */
static CUstream find(CUstream handle)
{
	CUstream s = emu_streams;

	if (handle == NULL || handle == CU_STREAM_LEGACY)
		return emu_context() == NULL ? NULL : emu_context()->legacy;
	while (s != NULL && s != handle)
		s = s->next;
	return s != NULL && !s->is_closed ? s : NULL;
}

CUstream emu_stream(CUstream handle, CUstreamCaptureStatus *ret_capture)
{
	CUstream s;

	pthread_mutex_lock(&emu_lock);
	s = find(handle);
	if (s != NULL && ret_capture != NULL)
		*ret_capture = s->capture;
	pthread_mutex_unlock(&emu_lock);
	return s;
}

/* ---- queueing ---- */

static int append(CUstream s, const struct emu_work *work)
{
	struct emu_work *w = malloc(sizeof *w);

	if (w == NULL)
		return 0;
	*w = *work;
	w->next = NULL;
	if (s->last != NULL)
		s->last->next = w;
	else
		s->first = w;
	s->last = w;
	s->n_queued++;
	return 1;
}

static int append_after(CUstream s, CUstream other, uint64_t ticket)
{
	struct emu_work after = { .kind = EMU_AFTER, .after = { other, ticket } };

	return other->n_done >= ticket || append(s, &after);
}

/* Work of the legacy stream comes after all of its context before it, and before all after it. */
static int append_legacy_order(CUstream s)
{
	CUstream legacy = s->context->legacy;
	int ok = 1;

	if (s->flags & CU_STREAM_NON_BLOCKING)
		return 1;
	if (!s->is_legacy)
		return append_after(s, legacy, legacy->n_queued);
	for (CUstream o = emu_streams; o != NULL; o = o->next)
		if (o != s && o->context == s->context &&
		    !(o->flags & CU_STREAM_NON_BLOCKING))
			ok &= append_after(s, o, o->n_queued);
	return ok;
}

CUresult emu_queue(CUstream handle, const struct emu_work *work, uint64_t *ret_ticket)
{
	CUresult r = CUDA_SUCCESS;
	CUstream s;

	pthread_mutex_lock(&emu_lock);
	s = find(handle);
	if (s == NULL)
		r = CUDA_ERROR_INVALID_HANDLE;
	else if (emu_lost(s->context->device) != CUDA_SUCCESS)
		r = emu_lost(s->context->device);
	else if (s->capture == CU_STREAM_CAPTURE_STATUS_INVALIDATED)
		r = CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
	else if (s->capture == CU_STREAM_CAPTURE_STATUS_NONE &&
		 (!append_legacy_order(s) || !append(s, work)))
		r = CUDA_ERROR_OUT_OF_MEMORY;
	if (r == CUDA_SUCCESS && ret_ticket != NULL)
		*ret_ticket = s->n_queued;
	/* What is captured is not done. */
	if (r != CUDA_SUCCESS || s->capture != CU_STREAM_CAPTURE_STATUS_NONE)
		emu_free(work);
	pthread_cond_broadcast(&emu_changed);
	pthread_mutex_unlock(&emu_lock);
	return r;
}

CUresult emu_wait(CUstream stream, uint64_t ticket)
{
	int device = stream->context->device;

	pthread_mutex_lock(&emu_lock);
	while (stream->n_done < ticket && emu_lost(device) == CUDA_SUCCESS)
		pthread_cond_wait(&emu_changed, &emu_lock);
	pthread_mutex_unlock(&emu_lock);
	return emu_lost(device);
}

/* The first stream of the list from s on that has something left of a context, or NULL. */
static CUstream next_busy(CUstream s, CUcontext context)
{
	while (s != NULL && (s->context != context || s->n_done == s->n_queued))
		s = s->next;
	return s;
}

CUresult emu_wait_all(CUcontext context)
{
	pthread_mutex_lock(&emu_lock);
	while (next_busy(emu_streams, context) != NULL &&
	       emu_lost(context->device) == CUDA_SUCCESS)
		pthread_cond_wait(&emu_changed, &emu_lock);
	pthread_mutex_unlock(&emu_lock);
	return emu_lost(context->device);
}

/* ---- streams ---- */

CUresult cuStreamCreateWithPriority(CUstream *ret, unsigned flags, int priority)
{
	CUstream s;

	(void)priority;
	EMU_ENTER("cuStreamCreateWithPriority", EMU_CONTEXT);
	if (ret == NULL || flags & ~(unsigned)CU_STREAM_NON_BLOCKING)
		return CUDA_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&emu_lock);
	s = emu_stream_open(emu_context(), flags, 0);
	pthread_mutex_unlock(&emu_lock);
	if (s == NULL)
		return CUDA_ERROR_OUT_OF_MEMORY;
	*ret = s;
	return CUDA_SUCCESS;
}

/* Returns at once; what is queued is done. */
CUresult cuStreamDestroy_v2(CUstream stream)
{
	CUstream s;

	EMU_ENTER("cuStreamDestroy", EMU_INIT);
	pthread_mutex_lock(&emu_lock);
	s = find(stream);
	if (s != NULL && !s->is_legacy) {
		s->is_closed = 1;
		pthread_cond_broadcast(&emu_changed);
	}
	pthread_mutex_unlock(&emu_lock);
	return s == NULL || s->is_legacy ? CUDA_ERROR_INVALID_HANDLE : CUDA_SUCCESS;
}

/* Asking a stream that is being captured how far it is spoils the capture. */
static CUresult settled(CUstream s)
{
	if (s == NULL)
		return CUDA_ERROR_INVALID_HANDLE;
	if (emu_lost(s->context->device) != CUDA_SUCCESS)
		return emu_lost(s->context->device);
	if (s->capture == CU_STREAM_CAPTURE_STATUS_NONE)
		return CUDA_SUCCESS;
	s->capture = CU_STREAM_CAPTURE_STATUS_INVALIDATED;
	return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
}

CUresult cuStreamQuery(CUstream stream)
{
	CUresult r;
	CUstream s;

	EMU_ENTER("cuStreamQuery", EMU_INIT);
	pthread_mutex_lock(&emu_lock);
	s = find(stream);
	r = settled(s);
	if (r == CUDA_SUCCESS && s->n_done < s->n_queued)
		r = CUDA_ERROR_NOT_READY;
	pthread_mutex_unlock(&emu_lock);
	return r;
}

CUresult cuStreamSynchronize(CUstream stream)
{
	uint64_t ticket = 0;
	CUresult r;
	CUstream s;

	EMU_ENTER("cuStreamSynchronize", EMU_INIT);
	pthread_mutex_lock(&emu_lock);
	s = find(stream);
	r = settled(s);
	if (r == CUDA_SUCCESS)
		ticket = s->n_queued;
	pthread_mutex_unlock(&emu_lock);
	return r == CUDA_SUCCESS ? emu_wait(s, ticket) : r;
}

CUresult cuStreamGetCtx(CUstream stream, CUcontext *ret)
{
	CUstream s;

	EMU_ENTER("cuStreamGetCtx", EMU_INIT);
	s = emu_stream(stream, NULL);
	if (s == NULL)
		return CUDA_ERROR_INVALID_HANDLE;
	*ret = s->context;
	return CUDA_SUCCESS;
}

/* ---- captures: their state only ---- */

CUresult cuStreamIsCapturing(CUstream stream, CUstreamCaptureStatus *ret)
{
	CUstream s;

	EMU_ENTER("cuStreamIsCapturing", EMU_INIT);
	s = emu_stream(stream, NULL);
	if (s == NULL)
		return CUDA_ERROR_INVALID_HANDLE;
	*ret = s->capture;
	return CUDA_SUCCESS;
}

CUresult cuStreamBeginCapture_v2(CUstream stream, CUstreamCaptureMode mode)
{
	CUstream s;

	(void)mode;
	EMU_ENTER("cuStreamBeginCapture", EMU_INIT);
	s = emu_stream(stream, NULL);
	if (s == NULL)
		return CUDA_ERROR_INVALID_HANDLE;
	if (s->is_legacy || s->capture != CU_STREAM_CAPTURE_STATUS_NONE)
		return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
	s->capture = CU_STREAM_CAPTURE_STATUS_ACTIVE;
	return CUDA_SUCCESS;
}

CUresult cuStreamEndCapture(CUstream stream, CUgraph *ret)
{
	CUstreamCaptureStatus was;
	CUstream s;

	EMU_ENTER("cuStreamEndCapture", EMU_INIT);
	s = emu_stream(stream, NULL);
	if (s == NULL)
		return CUDA_ERROR_INVALID_HANDLE;
	was = s->capture;
	s->capture = CU_STREAM_CAPTURE_STATUS_NONE;
	*ret = NULL;
	if (was == CU_STREAM_CAPTURE_STATUS_ACTIVE)
		return CUDA_SUCCESS;
	return was == CU_STREAM_CAPTURE_STATUS_NONE ? CUDA_ERROR_INVALID_VALUE
						    : CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
}

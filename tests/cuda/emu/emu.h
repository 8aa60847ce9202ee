/* SPDX-License-Identifier: Apache-2.0 */
/*
 * emu.h - inside the emulated driver: devices, their streams, what may go wrong.
 *
 * Addresses of the device are those of this process. Memory is memfds, mapped with the
 * access that was asked for, so a store through a read-only mapping faults as on a GPU,
 * and goes from process to process as descriptors. A stream is a thread with a queue; it
 * dawdles by a seed, and what the API leaves unordered it does in an order of its own.
 * Kernels run one at a time, on the fibers of tests/simt. Whatever is timed here says
 * nothing of a GPU; so that no figure is taken for one, devices are named "emulated".
 *
 * A test rules it by the environment, read when the library is loaded:
 *
 *   CKV_EMU_FAIL=NAME:N:ERROR,...  the N-th call of NAME returns ERROR; of a stream's work
 *                                  the NAMEs are copy, set, write, wait, host and kernel
 *   CKV_EMU_SLOW=NAME:N:MS,...     it takes MS milliseconds longer
 *   CKV_EMU_LOSE=NAME:N:ERROR,...  the device is lost then, that of the stream or of the
 *                                  current context: ERROR is all that it says since
 *                                  N+ in place of N: from the N-th on
 *   CKV_EMU_SEED=N                 of the dawdling and the orders; 1
 *   CKV_EMU_DELAY_US=N             how long it dawdles at most before a piece of work; 1000
 *   CKV_EMU_HEIR_MS=N              when the process has been killed, what it had queued is done
 *                                  half to the whole of N milliseconds later; 0: not done
 *   CKV_EMU_DEVICES=N              how many devices there are, 0 to 64; 1. CUDA_VISIBLE_DEVICES
 *                                  chooses of them, by number or UUID
 *   CKV_EMU_MIG=D                  device D is a slice of a GPU (MIG)
 *   CKV_EMU_LOCK=PATH              of a device in exclusive mode (attribute 20 is 3) one process
 *                                  has a context: who has a lock on PATH and its number
 *   CKV_EMU_VERSION=N              of the driver, which lacks what came later; 13000
 *   CKV_EMU_MEMORY=N               bytes of memory of each device; 4 GiB. Each process has
 *                                  them: none sees what others use
 *   CKV_EMU_ATTRIBUTES=N=V,...     attributes that differ; D/N=V: those of device D. The first
 *                                  that fits counts
 *   CKV_EMU_KERNELS=PATH:...       libraries of translated kernels (ptx_table.c)
 *
 * NAME is as cuGetProcAddress takes it; "*" is any call. Not here: streams of CUDA's own
 * "per thread" kind, graphs beyond the state of a capture, launch attributes; and access
 * that one device has to memory and another has not.
 */
#ifndef CKV_EMU_H
#define CKV_EMU_H

#include "api.h"
#include "ptx.h"

#include <pthread.h>

#define EMU_GRANULARITY		((size_t)2 << 20)

extern pthread_mutex_t emu_lock;	/* all that follows, unless it says otherwise */
extern pthread_cond_t emu_changed;	/* work was queued or done, or the device lost */

/* ---- calls ---- */

enum emu_needs { EMU_NOTHING, EMU_INIT, EMU_CONTEXT };

/*
 * Begins each call of the API, without the lock. What it returns, unless CUDA_SUCCESS, the
 * call returns: what a test asked for, what the device has come to, or what is missing.
 */
CUresult emu_enter(const char *name, enum emu_needs needs);

#define EMU_ENTER(name, needs) do {			\
		CUresult r_ = emu_enter(name, needs);	\
							\
		if (r_ != CUDA_SUCCESS)			\
			return r_;			\
	} while (0)

/* The same for a piece of a stream's work, which is skipped then and loses the device. */
CUresult emu_work_fault(const char *name, int device);

/* What a device says since it was lost; CUDA_SUCCESS until then. Any thread, no lock. */
CUresult emu_lost(int device);
void emu_lose(int device, CUresult error, const char *why);

/* A number of the environment, or what it is otherwise. */
uint64_t emu_number(const char *name, uint64_t otherwise);

/* The next of a sequence of numbers. */
uint64_t emu_random(uint64_t *state);

/* Is this thread within a host function, which may not call the API? */
extern __thread int emu_in_host_function;

/* ---- device and context ---- */

#define EMU_MAX_DEVICES		64

struct CUctx_st {
	int device;			/* its number here, whatever is visible */
	unsigned n_users;
	CUstream legacy;
	int lock;			/* of exclusive mode; -1 */
};

CUcontext emu_context(void);		/* the current one, or NULL; no lock */
uint64_t emu_memory_bytes(void);
int emu_n_devices(void);		/* that are visible */

/* The number of a visible device; -1: there is no such one. */
int emu_device(CUdevice device);
CUdevice emu_device_seen(int number);	/* and back */

/* ---- memory ---- */

/* Is it memory that the device moves by itself, or does a copy go through the driver? */
int emu_is_pinned(CUdeviceptr at, size_t bytes);
uint64_t emu_memory_used(int device);
uint64_t emu_allocated(int device);	/* of it, by cuMemAlloc */

/*
 * Run body(arg); 0, or the address of the access that faulted in it. One of a kernel that
 * runs on a fiber also.
 */
uintptr_t emu_guarded(void (*body)(void *arg), void *arg);

/* ---- streams ---- */

enum emu_kind { EMU_COPY, EMU_SET, EMU_WRITE, EMU_WAIT, EMU_HOST, EMU_KERNEL, EMU_AFTER,
		EMU_MARK };
struct emu_mark;			/* of an event (event.c) */

struct emu_copy {
	unsigned char *to, *from;
	size_t bytes;
	void *staged;			/* freed afterwards */
};

struct emu_work {
	struct emu_work *next;
	enum emu_kind kind;
	union {
		struct {
			struct emu_copy *copy;
			size_t n;
		} copies;
		struct {
			CUdeviceptr at;
			size_t n;
			uint64_t value;
			unsigned flags;
		} memory;
		struct {
			CUhostFn function;
			void *data;
		} host;
		struct {
			const struct ptx_kernel *kernel;
			struct simt_dim grid, block;
			size_t shared_bytes;
			unsigned char *params;
		} kernel;
		struct {
			CUstream stream;
			uint64_t ticket;
		} after;
		struct emu_mark *mark;
	};
};

struct CUstream_st {
	CUstream next;
	CUcontext context;
	unsigned flags;
	int is_legacy, is_closed;
	CUstreamCaptureStatus capture;
	uint64_t random;
	struct emu_work *first, *last;	/* the first is being done */
	uint64_t n_queued, n_done;
};

extern CUstream emu_streams;		/* all there ever were */

/* New, with its thread; NULL where there is no memory. */
CUstream emu_stream_open(CUcontext context, unsigned flags, int is_legacy);

/* What a handle means, or NULL; and whether it is being captured, if anybody asks. */
CUstream emu_stream(CUstream handle, CUstreamCaptureStatus *ret_capture);

/*
 * Queue a copy of *work; its pieces belong to the stream then, and are freed if it fails.
 * *ret_ticket, if not NULL, is what the stream's n_done reaches when it is done.
 */
CUresult emu_queue(CUstream handle, const struct emu_work *work, uint64_t *ret_ticket);

/* Wait until a stream has come so far, or the device is lost. Takes the lock. */
CUresult emu_wait(CUstream stream, uint64_t ticket);

/* The same for all streams of a context. */
CUresult emu_wait_all(CUcontext context);

/* Do it, in this thread; free its pieces. */
void emu_do(struct emu_work *work, CUstream stream);
void emu_free(const struct emu_work *work);

/* Queue a copy, and wait for it if somebody would see that it has not come. */
CUresult emu_copy(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream, int wait);
CUresult emu_set(CUdeviceptr at, unsigned char byte, size_t n, CUstream stream);

void emu_mark_reach(struct emu_mark *mark);
void emu_mark_put(struct emu_mark *mark);

/* ---- after the process' death; without the lock ---- */

/* 0 where an heir is wanted and none can be had. */
int emu_heir_start(void);

/* Of work that touches memory: do it. Of a EMU_WAIT: has it come? */
void emu_do_memory(struct emu_work *work, CUstream stream);
int emu_is_reached(const struct emu_work *work);

#endif

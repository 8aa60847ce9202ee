/* SPDX-License-Identifier: Apache-2.0 */
/*
 * front.c - the launchers as the harness' tests call them, on the emulated driver.
 *
 * Tests of tests/simt hand over ordinary memory and look at results when a launcher
 * returns, so each function here has a launcher's own name, calls it (tests/gpu/names.h)
 * on a stream of its own and waits for that. No launch may go elsewhere: the stream does
 * not wait for the legacy one, so what a launcher puts there is out of order.
 */
#include "tests/cuda/emu/api.h"

#include "kernels/ckv_cuda.h"
#include "kernels/cuda_launch.h"
#include "tests/simt/simt.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#ifdef __SANITIZE_ADDRESS__
#define LIBRARY	"build-emu/asan/libckv-emu-cuda.so"

/* Threads of streams are left where they are when a test ends, with what they work on. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "detect_leaks=0";
}
#else
#define LIBRARY	"build-emu/libckv-emu-cuda.so"
#endif

/* kernels/cuda_driver.h has types of its own, for the same things. */
int cuda_driver_open(const char *path, const void **ret);

/* Any file's code: the driver looks at the magic number, and kernels up by their names. */
static const uint32_t code[2] = { 0xba55ed50u, 0 };
#define CODE(file)	code,
const void *const cuda_image[N_CUDA_FILES] = { CKV_CUDA_FILES(CODE) };

uint32_t simt_multiprocessors = 2;

/* The library, which has simt.h's functions too. */
static struct {
	void *handle;
	CUstream stream;
	CUresult (*synchronize)(CUstream);
	void (*schedule)(enum simt_order, uint64_t);
	uint64_t (*n_launches)(void);
	uint32_t *multiprocessors;
} emu;

static void *symbol(const char *name)
{
	void *found = dlsym(emu.handle, name);

	if (found == NULL) {
		fprintf(stderr, "emu: %s\n", dlerror());
		exit(EXIT_FAILURE);
	}
	return found;
}

static void must(CUresult r, const char *what)
{
	if (r != CUDA_SUCCESS) {
		fprintf(stderr, "emu: %s: error %d\n", what, (int)r);
		exit(EXIT_FAILURE);
	}
}

/* Once in each test's process. */
static void start(void)
{
	const char *path = getenv("CKV_EMU_LIBRARY");
	CUresult (*init)(unsigned), (*retain)(CUcontext *, CUdevice);
	CUresult (*set_current)(CUcontext), (*create)(CUstream *, unsigned, int);
	CUcontext context;
	const void *driver;

	if (emu.handle != NULL)
		return;
	setenv("CKV_EMU_KERNELS", "build-emu/kernels-ckv.so", 0);
	setenv("CKV_EMU_DELAY_US", "20", 0);
	if (path == NULL)
		path = LIBRARY;
	if (cuda_driver_open(path, &driver) < 0 ||
	    (emu.handle = dlopen(path, RTLD_NOW | RTLD_LOCAL)) == NULL) {
		fprintf(stderr, "emu: %s\n", dlerror());
		exit(EXIT_FAILURE);
	}
	*(void **)&init = symbol("cuInit");
	*(void **)&retain = symbol("cuDevicePrimaryCtxRetain");
	*(void **)&set_current = symbol("cuCtxSetCurrent");
	*(void **)&create = symbol("cuStreamCreateWithPriority");
	*(void **)&emu.synchronize = symbol("cuStreamSynchronize");
	*(void **)&emu.schedule = symbol("simt_schedule");
	*(void **)&emu.n_launches = symbol("simt_n_launches");
	emu.multiprocessors = symbol("simt_multiprocessors");
	must(init(0), "cuInit");
	must(retain(&context, 0), "context");
	must(set_current(context), "context");
	must(create(&emu.stream, CU_STREAM_NON_BLOCKING, 0), "stream");
}

void simt_schedule(enum simt_order order, uint64_t seed)
{
	start();
	emu.schedule(order, seed);
}

uint64_t simt_n_launches(void)
{
	start();
	return emu.n_launches();
}

static void *stream(void)
{
	start();
	*emu.multiprocessors = simt_multiprocessors;
	return emu.stream;
}

/* A launch that was taken must also go well. */
static int done(int r)
{
	must(emu.synchronize(emu.stream), "launch");
	return r;
}

#define FRONT(name, parameters, ...)						\
	extern __typeof__(ckv_cuda_##name) gpu_##name;				\
	int ckv_cuda_##name parameters						\
	{									\
		(void)stream_;							\
		return done(gpu_##name(__VA_ARGS__, stream()));			\
	}

FRONT(begin, (uint64_t *status, void *stream_), status)
FRONT(window_score, (const struct ckv_cuda_window *in, void *work, float *score,
		     uint64_t *status, void *stream_), in, work, score, status)
FRONT(norms, (const struct ckv_cuda_rows *k, float *norm, uint64_t *status, void *stream_),
      k, norm, status)
FRONT(keydiff, (const struct ckv_cuda_rows *k, void *work, float *score, uint64_t *status,
		void *stream_), k, work, score, status)
FRONT(pool, (enum ckv_pool pool, uint32_t kernel, const float *in, uint32_t n_rows,
	     uint32_t n, float *out, void *stream_), pool, kernel, in, n_rows, n, out)
FRONT(reduce, (enum ckv_reduce reduce, const float *in, uint32_t n_groups, uint32_t group,
	       uint32_t n, float *out, void *stream_), reduce, in, n_groups, group, n, out)
FRONT(snapkv_score, (const struct ckv_snapkv *m, const struct ckv_shape *shape,
		     uint32_t n_layers, const float *score, uint32_t *max, float *out,
		     void *stream_), m, shape, n_layers, score, max, out)
FRONT(chunk_scores, (const struct ckv_chunkkv *m, const struct ckv_shape *shape,
		     uint32_t n_layers, const float *in, const uint32_t *max,
		     float *chunk_score, void *stream_),
      m, shape, n_layers, in, max, chunk_score)
FRONT(select_top, (const struct ckv_cuda_top *top, uint32_t *pos, uint32_t *n_nan,
		   uint32_t *n_lost, void *stream_), top, pos, n_nan, n_lost)
FRONT(chunkkv_keep, (const struct ckv_chunkkv *m, uint32_t n_tokens, uint32_t n_layers,
		     const float *chunk_score, const struct ckv_cuda_kept *kept,
		     void *stream_), m, n_tokens, n_layers, chunk_score, kept)
FRONT(select, (const struct ckv_selection *s, const struct ckv_cuda_layers *in, void *work,
	       const struct ckv_cuda_kept *kept, uint64_t *status, void *stream_),
      s, in, work, kept, status)
FRONT(gather, (const struct ckv_cuda_rows *k, const struct ckv_cuda_rows *v,
	       const struct ckv_cuda_kept *kept, uint32_t n_newest,
	       const struct ckv_cuda_out *out_k, const struct ckv_cuda_out *out_v,
	       uint64_t *status, void *stream_), k, v, kept, n_newest, out_k, out_v, status)
FRONT(encode, (const struct ckv_encode *e, enum ckv_side side,
	       const struct ckv_cuda_rows *rows, const struct ckv_cuda_kept *kept, void *work,
	       const struct ckv_cuda_coded *out, uint64_t *status, void *stream_),
      e, side, rows, kept, work, out, status)
FRONT(decode, (const struct ckv_encode *e, enum ckv_side side,
	       const struct ckv_cuda_object *object, const struct ckv_cuda_coded *in,
	       enum ckv_elem out_elem, const struct ckv_cuda_out *out, void *stream_),
      e, side, object, in, out_elem, out)
FRONT(page_checksum, (const void *const *page, uint32_t n_pages, size_t page_bytes,
		      uint64_t *digest, uint64_t *sum, void *stream_),
      page, n_pages, page_bytes, digest, sum)
FRONT(chunkkv, (const struct ckv_cuda_chunkkv *in, void *work, const struct ckv_cuda_kept *kept,
		const struct ckv_cuda_coded out[2], const struct ckv_cuda_out full[2],
		uint64_t *status, void *stream_), in, work, kept, out, full, status)

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cuda_driver.h - what ckv takes from the CUDA driver, found when it is first needed.
 *
 * One binary runs with a driver and without. The library is opened at run time, each
 * function is asked for by name and the version of its prototype (cuGetProcAddress_v2),
 * and no other library of CUDA is used. driver.md says what each function is for; a test
 * compares the two and what the code calls.
 *
 * The declarations are cuda.h's, as far as they are used here, so that a build needs no
 * toolkit. Where there is one, a test compiles this file behind cuda.h and compares.
 */
#ifndef CKV_KERNELS_CUDA_DRIVER_H
#define CKV_KERNELS_CUDA_DRIVER_H

#include <stddef.h>
#include <stdint.h>

#define CUDA_DRIVER_LIBRARY	"libcuda.so.1"

/* ---------------------------------------------------- declarations of cuda.h */

/* Numbers of its enumerations: do(NAME, VALUE). */
#define CKV_CUDA_NUMBERS(do)							\
	do(CUDA_SUCCESS, 0)							\
	do(CUDA_ERROR_OUT_OF_MEMORY, 2)						\
	do(CUDA_ERROR_NOT_INITIALIZED, 3)					\
	do(CUDA_ERROR_DEINITIALIZED, 4)						\
	do(CUDA_ERROR_NO_DEVICE, 100)						\
	do(CUDA_ERROR_INVALID_DEVICE, 101)					\
	do(CUDA_ERROR_INVALID_IMAGE, 200)					\
	do(CUDA_ERROR_INVALID_CONTEXT, 201)					\
	do(CUDA_ERROR_NO_BINARY_FOR_GPU, 209)					\
	do(CUDA_ERROR_JIT_COMPILER_NOT_FOUND, 221)				\
	do(CUDA_ERROR_UNSUPPORTED_PTX_VERSION, 222)				\
	do(CUDA_ERROR_JIT_COMPILATION_DISABLED, 223)				\
	do(CUDA_ERROR_SYSTEM_DRIVER_MISMATCH, 803)				\
	do(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, 16)			\
	do(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, 97)		\
	do(CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, 8)

#ifndef __cuda_cuda_h__
#define CKV_CUDA_NUMBER(name, value)	name = value,
enum { CKV_CUDA_NUMBERS(CKV_CUDA_NUMBER) };
#undef CKV_CUDA_NUMBER

typedef unsigned CUresult, CUdevice_attribute, CUfunction_attribute;	/* enumerations */
typedef unsigned CUjit_option, CUlibraryOption;
typedef int CUdevice;
typedef struct CUstream_st *CUstream;
typedef struct CUfunc_st *CUfunction;
typedef struct CUkern_st *CUkernel;
typedef struct CUlib_st *CUlibrary;
typedef struct CUlaunchAttribute_st CUlaunchAttribute;

typedef struct CUlaunchConfig_st {
	unsigned gridDimX, gridDimY, gridDimZ;
	unsigned blockDimX, blockDimY, blockDimZ;
	unsigned sharedMemBytes;
	CUstream hStream;
	CUlaunchAttribute *attrs;
	unsigned numAttrs;
} CUlaunchConfig;
#endif

/* Where the driver looks for them, by both declarations. */
_Static_assert(offsetof(CUlaunchConfig, blockDimX) == 12, "CUlaunchConfig");
_Static_assert(offsetof(CUlaunchConfig, sharedMemBytes) == 24, "CUlaunchConfig");
_Static_assert(offsetof(CUlaunchConfig, hStream) == 32, "CUlaunchConfig");
_Static_assert(offsetof(CUlaunchConfig, attrs) == 40, "CUlaunchConfig");
_Static_assert(offsetof(CUlaunchConfig, numAttrs) == 48, "CUlaunchConfig");
_Static_assert(sizeof(CUlaunchConfig) == 56, "CUlaunchConfig");
_Static_assert(sizeof(CUresult) == 4 && sizeof(CUdevice) == 4, "enumerations");

/* ----------------------------------------------------------------- functions */

/* do(NAME, VERSION, (PARAMETERS)): 12000 is the prototype of CUDA 12.0, and so on. */
#define CKV_CUDA_FUNCTIONS(do)							\
	do(cuCtxGetDevice, 2000, (CUdevice *device))				\
	do(cuDeviceGetAttribute, 2000,						\
	   (int *value, CUdevice_attribute attribute, CUdevice device))		\
	do(cuKernelSetAttribute, 12000,						\
	   (CUfunction_attribute attribute, int value, CUkernel kernel,		\
	    CUdevice device))							\
	do(cuLaunchKernelEx, 11060,						\
	   (const CUlaunchConfig *config, CUfunction function, void **parameters,	\
	    void **extra))							\
	do(cuLibraryGetKernel, 12000,						\
	   (CUkernel *kernel, CUlibrary library, const char *name))		\
	do(cuLibraryLoadData, 12000,						\
	   (CUlibrary *library, const void *code, CUjit_option *jit_options,	\
	    void **jit_values, unsigned n_jit, CUlibraryOption *options,	\
	    void **values, unsigned n_options))					\
	do(cuOccupancyMaxActiveBlocksPerMultiprocessor, 6050,			\
	   (int *n_blocks, CUfunction function, int n_threads, size_t shared_bytes))

#define CKV_CUDA_POINTER(name, version, parameters)	CUresult (*name) parameters;
struct cuda_driver { CKV_CUDA_FUNCTIONS(CKV_CUDA_POINTER) };
#undef CKV_CUDA_POINTER

/* ------------------------------------------------------------------ the library */

#define CUDA_WHY_BYTES	256u

struct cuda_library {
	void *handle;
	CUresult (*get)(const char *name, void **function, int version, uint64_t flags,
			unsigned *status);
	char why[CUDA_WHY_BYTES];	/* what is missing, in words */
};

/* A row of a list as CKV_CUDA_FUNCTIONS. */
struct cuda_function {
	const char *name;
	int version;
};
#define CKV_CUDA_FUNCTION(name, version, parameters)	{ #name, version },

/*
 * Open the library at `path` (NULL: CUDA_DRIVER_LIBRARY). 0, or -ENODEV with library->why.
 * It is never closed again: the driver has threads of its own.
 */
int cuda_library_open(const char *path, struct cuda_library *library);

/*
 * Find n functions; `pointers` is a struct of as many function pointers. 0, or -ENODEV
 * with library->why, which names the first one that this driver lacks.
 */
int cuda_library_find(struct cuda_library *library, const struct cuda_function *functions,
		      size_t n, void *pointers);

/*
 * The driver of this process: whoever asks first opens it, at `path` (NULL as above;
 * anything else is for tests), and everybody gets the same. 0 or -ENODEV, which stays.
 * Any thread; also in a child of fork(), whatever other threads did when it was made.
 */
int cuda_driver_open(const char *path, const struct cuda_driver **ret);

/* After a failed cuda_driver_open(): what was missing, in words. */
const char *cuda_driver_why(void);

/* What a result means to a launcher: 0, -ENODEV, -ENOMEM or -EIO. */
int cuda_errno(CUresult result);

#endif

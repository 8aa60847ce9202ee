/* SPDX-License-Identifier: Apache-2.0 */
/*
 * api.h - the part of the CUDA driver API that is emulated, declared without cuda.h.
 *
 * Numbers, layouts and prototypes are those of cuda.h 13.0; test_emu_driver compares the
 * two where there is a toolkit. Types keep the driver's names.
 */
#ifndef CKV_EMU_API_H
#define CKV_EMU_API_H

#include <stddef.h>
#include <stdint.h>

#ifndef __cuda_cuda_h__

/* do(NAME, NUMBER, WORDS) */
#define EMU_ERRORS(do)									\
	do(CUDA_SUCCESS, 0, "no error")							\
	do(CUDA_ERROR_INVALID_VALUE, 1, "invalid argument")				\
	do(CUDA_ERROR_OUT_OF_MEMORY, 2, "out of memory")				\
	do(CUDA_ERROR_NOT_INITIALIZED, 3, "initialization error")			\
	do(CUDA_ERROR_DEINITIALIZED, 4, "driver shutting down")				\
	do(CUDA_ERROR_STUB_LIBRARY, 34, "CUDA driver is a stub library")		\
	do(CUDA_ERROR_DEVICE_UNAVAILABLE, 46,						\
	   "CUDA-capable device(s) is/are busy or unavailable")				\
	do(CUDA_ERROR_NO_DEVICE, 100, "no CUDA-capable device is detected")		\
	do(CUDA_ERROR_INVALID_DEVICE, 101, "invalid device ordinal")			\
	do(CUDA_ERROR_INVALID_IMAGE, 200, "device kernel image is invalid")		\
	do(CUDA_ERROR_INVALID_CONTEXT, 201, "invalid device context")			\
	do(CUDA_ERROR_NO_BINARY_FOR_GPU, 209, "no kernel image is available")		\
	do(CUDA_ERROR_ECC_UNCORRECTABLE, 214, "uncorrectable ECC error encountered")	\
	do(CUDA_ERROR_OPERATING_SYSTEM, 304, "OS call failed or operation not supported") \
	do(CUDA_ERROR_INVALID_HANDLE, 400, "invalid resource handle")			\
	do(CUDA_ERROR_NOT_FOUND, 500, "named symbol not found")				\
	do(CUDA_ERROR_NOT_READY, 600, "device not ready")				\
	do(CUDA_ERROR_ILLEGAL_ADDRESS, 700, "an illegal memory access was encountered")	\
	do(CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES, 701,					\
	   "too many resources requested for launch")					\
	do(CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED, 712,				\
	   "part or all of the requested memory range is already mapped")		\
	do(CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED, 713,					\
	   "pointer does not correspond to a registered memory region")			\
	do(CUDA_ERROR_LAUNCH_FAILED, 719, "unspecified launch failure")			\
	do(CUDA_ERROR_NOT_PERMITTED, 800, "operation not permitted")			\
	do(CUDA_ERROR_NOT_SUPPORTED, 801, "operation not supported")			\
	do(CUDA_ERROR_SYSTEM_NOT_READY, 802, "system not yet initialized")		\
	do(CUDA_ERROR_SYSTEM_DRIVER_MISMATCH, 803,					\
	   "system has unsupported display driver / cuda driver combination")		\
	do(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, 900,					\
	   "operation not permitted when stream is capturing")				\
	do(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, 901,					\
	   "operation failed due to a previous error during capture")			\
	do(CUDA_ERROR_UNKNOWN, 999, "unknown error")
#define EMU_ERROR(name, number, words)	name = number,
typedef enum { EMU_ERRORS(EMU_ERROR) } CUresult;
#undef EMU_ERROR

typedef enum {
	CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK = 1,
	CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK = 8,
	CU_DEVICE_ATTRIBUTE_WARP_SIZE = 10,
	CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT = 16,
	CU_DEVICE_ATTRIBUTE_INTEGRATED = 18,
	CU_DEVICE_ATTRIBUTE_COMPUTE_MODE = 20,
	CU_DEVICE_ATTRIBUTE_PCI_BUS_ID = 33,
	CU_DEVICE_ATTRIBUTE_PCI_DEVICE_ID = 34,
	CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE = 38,
	CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR = 39,
	CU_DEVICE_ATTRIBUTE_ASYNC_ENGINE_COUNT = 40,
	CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING = 41,
	CU_DEVICE_ATTRIBUTE_PCI_DOMAIN_ID = 50,
	CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR = 75,
	CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR = 76,
	CU_DEVICE_ATTRIBUTE_CAN_USE_HOST_POINTER_FOR_REGISTERED_MEM = 91,
	CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN = 97,
	CU_DEVICE_ATTRIBUTE_HOST_REGISTER_SUPPORTED = 99,
	CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED = 102,
	CU_DEVICE_ATTRIBUTE_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR_SUPPORTED = 103,
	CU_DEVICE_ATTRIBUTE_GPU_DIRECT_RDMA_WITH_CUDA_VMM_SUPPORTED = 110,
	CU_DEVICE_ATTRIBUTE_READ_ONLY_HOST_REGISTER_SUPPORTED = 113,
	CU_DEVICE_ATTRIBUTE_CAN_USE_64_BIT_STREAM_MEM_OPS = 122,
	CU_DEVICE_ATTRIBUTE_CAN_USE_STREAM_WAIT_VALUE_NOR = 123,
	CU_DEVICE_ATTRIBUTE_MPS_ENABLED = 133,
	CU_DEVICE_ATTRIBUTE_HOST_NUMA_ID = 134,
} CUdevice_attribute;

typedef enum { CU_COMPUTEMODE_DEFAULT, CU_COMPUTEMODE_PROHIBITED = 2,
	       CU_COMPUTEMODE_EXCLUSIVE_PROCESS } CUcomputemode;
enum { CU_EVENT_DISABLE_TIMING = 2 };
enum { CU_STREAM_NON_BLOCKING = 1 };
enum { CU_STREAM_WAIT_VALUE_GEQ, CU_STREAM_WAIT_VALUE_EQ, CU_STREAM_WAIT_VALUE_AND,
       CU_STREAM_WAIT_VALUE_NOR };
enum { CU_STREAM_WRITE_VALUE_NO_MEMORY_BARRIER = 1 };
typedef enum {
	CU_STREAM_MEM_OP_WAIT_VALUE_64 = 4,
	CU_STREAM_MEM_OP_WRITE_VALUE_64 = 5,
} CUstreamBatchMemOpType;
typedef enum {
	CU_STREAM_CAPTURE_STATUS_NONE, CU_STREAM_CAPTURE_STATUS_ACTIVE,
	CU_STREAM_CAPTURE_STATUS_INVALIDATED,
} CUstreamCaptureStatus;
typedef enum { CU_STREAM_CAPTURE_MODE_GLOBAL } CUstreamCaptureMode;
typedef enum {
	CU_GET_PROC_ADDRESS_SUCCESS, CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND,
	CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT,
} CUdriverProcAddressQueryResult;
enum { CU_MEMHOSTREGISTER_PORTABLE = 1, CU_MEMHOSTREGISTER_DEVICEMAP = 2,
       CU_MEMHOSTREGISTER_IOMEMORY = 4, CU_MEMHOSTREGISTER_READ_ONLY = 8 };
typedef enum { CU_MEM_ALLOCATION_TYPE_PINNED = 1 } CUmemAllocationType;
typedef enum { CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR = 1 } CUmemAllocationHandleType;
typedef enum { CU_MEM_LOCATION_TYPE_DEVICE = 1 } CUmemLocationType;
typedef enum { CU_MEM_ACCESS_FLAGS_PROT_NONE, CU_MEM_ACCESS_FLAGS_PROT_READ,
	       CU_MEM_ACCESS_FLAGS_PROT_READWRITE = 3 } CUmemAccess_flags;
typedef enum { CU_MEM_ALLOC_GRANULARITY_MINIMUM,
	       CU_MEM_ALLOC_GRANULARITY_RECOMMENDED } CUmemAllocationGranularity_flags;
typedef enum { CU_MEMCPY_SRC_ACCESS_ORDER_STREAM = 1,
	       CU_MEMCPY_SRC_ACCESS_ORDER_DURING_API_CALL = 2,
	       CU_MEMCPY_SRC_ACCESS_ORDER_ANY = 3 } CUmemcpySrcAccessOrder;
typedef enum { CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES = 8 } CUfunction_attribute;
typedef unsigned CUjit_option, CUlibraryOption;

typedef int CUdevice;
typedef unsigned long long CUdeviceptr;
typedef unsigned long long CUmemGenericAllocationHandle;
typedef struct CUctx_st *CUcontext;
typedef struct CUstream_st *CUstream;
typedef struct CUevent_st *CUevent;
typedef struct CUgraph_st *CUgraph;
typedef struct CUlib_st *CUlibrary;
typedef struct CUkern_st *CUkernel;
typedef struct CUfunc_st *CUfunction;
typedef struct CUlaunchAttribute_st CUlaunchAttribute;
typedef void (*CUhostFn)(void *data);

#define CU_STREAM_LEGACY	((CUstream)0x1)
#define CU_STREAM_PER_THREAD	((CUstream)0x2)

typedef struct { char bytes[16]; } CUuuid;

typedef struct {
	CUmemLocationType type;
	int id;
} CUmemLocation;

typedef struct {
	CUmemAllocationType type;
	CUmemAllocationHandleType requestedHandleTypes;
	CUmemLocation location;
	void *win32HandleMetaData;
	struct {
		unsigned char compressionType, gpuDirectRDMACapable;
		unsigned short usage;
		unsigned char reserved[4];
	} allocFlags;
} CUmemAllocationProp;

typedef struct {
	CUmemLocation location;
	CUmemAccess_flags flags;
} CUmemAccessDesc;

typedef struct {
	CUmemcpySrcAccessOrder srcAccessOrder;
	CUmemLocation srcLocHint, dstLocHint;
	unsigned flags;
} CUmemcpyAttributes;

struct CUstreamMemOpValueParams_st {
	CUstreamBatchMemOpType operation;
	CUdeviceptr address;
	union {
		uint32_t value;
		uint64_t value64;
	};
	unsigned flags;
	CUdeviceptr alias;
};

typedef union {
	CUstreamBatchMemOpType operation;
	struct CUstreamMemOpValueParams_st waitValue, writeValue;
	uint64_t pad[6];
} CUstreamBatchMemOpParams;

typedef struct {
	unsigned gridDimX, gridDimY, gridDimZ;
	unsigned blockDimX, blockDimY, blockDimZ;
	unsigned sharedMemBytes;
	CUstream hStream;
	CUlaunchAttribute *attrs;
	unsigned numAttrs;
} CUlaunchConfig;

#endif

/*
 * do(SYMBOL, NAME, VERSION, (PARAMETERS)): what the library exports; the name and the
 * least version of CUDA by which cuGetProcAddress gives it.
 */
#define EMU_FUNCTIONS(do)								\
	do(cuInit, cuInit, 2000, (unsigned flags))					\
	do(cuDriverGetVersion, cuDriverGetVersion, 2020, (int *version))		\
	do(cuGetErrorName, cuGetErrorName, 6000, (CUresult error, const char **ret))	\
	do(cuGetErrorString, cuGetErrorString, 6000, (CUresult error, const char **ret)) \
	do(cuDeviceGetCount, cuDeviceGetCount, 2000, (int *ret))			\
	do(cuDeviceGet, cuDeviceGet, 2000, (CUdevice *ret, int ordinal))		\
	do(cuDeviceGetName, cuDeviceGetName, 2000, (char *ret, int bytes, CUdevice device)) \
	do(cuDeviceGetUuid_v2, cuDeviceGetUuid, 11040, (CUuuid *ret, CUdevice device))	\
	do(cuDeviceGetAttribute, cuDeviceGetAttribute, 2000,				\
	   (int *ret, CUdevice_attribute attribute, CUdevice device))			\
	do(cuDeviceGetPCIBusId, cuDeviceGetPCIBusId, 4010,				\
	   (char *ret, int bytes, CUdevice device))					\
	do(cuDeviceTotalMem_v2, cuDeviceTotalMem, 3020, (size_t *ret, CUdevice device))	\
	do(cuMemGetInfo_v2, cuMemGetInfo, 3020, (size_t *ret_free, size_t *ret_total))	\
	do(cuDevicePrimaryCtxRetain, cuDevicePrimaryCtxRetain, 7000,			\
	   (CUcontext *ret, CUdevice device))						\
	do(cuDevicePrimaryCtxRelease_v2, cuDevicePrimaryCtxRelease, 11000,		\
	   (CUdevice device))								\
	do(cuCtxGetCurrent, cuCtxGetCurrent, 4000, (CUcontext *ret))			\
	do(cuCtxSetCurrent, cuCtxSetCurrent, 4000, (CUcontext context))			\
	do(cuCtxGetDevice, cuCtxGetDevice, 2000, (CUdevice *ret))			\
	do(cuCtxSynchronize, cuCtxSynchronize, 2000, (void))				\
	do(cuMemAlloc_v2, cuMemAlloc, 3020, (CUdeviceptr *ret, size_t bytes))		\
	do(cuMemFree_v2, cuMemFree, 3020, (CUdeviceptr at))				\
	do(cuMemGetAllocationGranularity, cuMemGetAllocationGranularity, 10020,		\
	   (size_t *ret, const CUmemAllocationProp *prop,				\
	    CUmemAllocationGranularity_flags option))					\
	do(cuMemCreate, cuMemCreate, 10020,						\
	   (CUmemGenericAllocationHandle *ret, size_t bytes,				\
	    const CUmemAllocationProp *prop, unsigned long long flags))			\
	do(cuMemRelease, cuMemRelease, 10020, (CUmemGenericAllocationHandle handle))	\
	do(cuMemExportToShareableHandle, cuMemExportToShareableHandle, 10020,		\
	   (void *ret, CUmemGenericAllocationHandle handle,				\
	    CUmemAllocationHandleType type, unsigned long long flags))			\
	do(cuMemImportFromShareableHandle, cuMemImportFromShareableHandle, 10020,	\
	   (CUmemGenericAllocationHandle *ret, void *os_handle,				\
	    CUmemAllocationHandleType type))						\
	do(cuMemAddressReserve, cuMemAddressReserve, 10020,				\
	   (CUdeviceptr *ret, size_t bytes, size_t alignment, CUdeviceptr address,	\
	    unsigned long long flags))							\
	do(cuMemAddressFree, cuMemAddressFree, 10020, (CUdeviceptr at, size_t bytes))	\
	do(cuMemMap, cuMemMap, 10020,							\
	   (CUdeviceptr at, size_t bytes, size_t offset,				\
	    CUmemGenericAllocationHandle handle, unsigned long long flags))		\
	do(cuMemUnmap, cuMemUnmap, 10020, (CUdeviceptr at, size_t bytes))		\
	do(cuMemSetAccess, cuMemSetAccess, 10020,					\
	   (CUdeviceptr at, size_t bytes, const CUmemAccessDesc *desc, size_t n))	\
	do(cuMemHostRegister_v2, cuMemHostRegister, 6050,				\
	   (void *at, size_t bytes, unsigned flags))					\
	do(cuMemHostUnregister, cuMemHostUnregister, 4000, (void *at))			\
	do(cuMemHostGetDevicePointer_v2, cuMemHostGetDevicePointer, 3020,		\
	   (CUdeviceptr *ret, void *at, unsigned flags))				\
	do(cuStreamCreateWithPriority, cuStreamCreateWithPriority, 5050,		\
	   (CUstream *ret, unsigned flags, int priority))				\
	do(cuStreamDestroy_v2, cuStreamDestroy, 4000, (CUstream stream))		\
	do(cuStreamQuery, cuStreamQuery, 2000, (CUstream stream))			\
	do(cuStreamSynchronize, cuStreamSynchronize, 2000, (CUstream stream))		\
	do(cuStreamWaitEvent, cuStreamWaitEvent, 3020,					\
	   (CUstream stream, CUevent event, unsigned flags))				\
	do(cuStreamGetCtx, cuStreamGetCtx, 9020, (CUstream stream, CUcontext *ret))	\
	do(cuStreamIsCapturing, cuStreamIsCapturing, 10000,				\
	   (CUstream stream, CUstreamCaptureStatus *ret))				\
	do(cuStreamBeginCapture_v2, cuStreamBeginCapture, 10010,			\
	   (CUstream stream, CUstreamCaptureMode mode))					\
	do(cuStreamEndCapture, cuStreamEndCapture, 10000, (CUstream stream, CUgraph *ret)) \
	do(cuEventCreate, cuEventCreate, 2000, (CUevent *ret, unsigned flags))		\
	do(cuEventRecord, cuEventRecord, 2000, (CUevent event, CUstream stream))	\
	do(cuEventQuery, cuEventQuery, 2000, (CUevent event))				\
	do(cuEventSynchronize, cuEventSynchronize, 2000, (CUevent event))		\
	do(cuEventElapsedTime, cuEventElapsedTime, 2000,				\
	   (float *ret_ms, CUevent from, CUevent to))					\
	do(cuEventDestroy_v2, cuEventDestroy, 4000, (CUevent event))			\
	do(cuStreamWriteValue64_v2, cuStreamWriteValue64, 11070,			\
	   (CUstream stream, CUdeviceptr at, uint64_t value, unsigned flags))		\
	do(cuStreamWaitValue64_v2, cuStreamWaitValue64, 11070,				\
	   (CUstream stream, CUdeviceptr at, uint64_t value, unsigned flags))		\
	do(cuStreamBatchMemOp_v2, cuStreamBatchMemOp, 11070,				\
	   (CUstream stream, unsigned n, CUstreamBatchMemOpParams *op, unsigned flags))	\
	do(cuLaunchHostFunc, cuLaunchHostFunc, 10000,					\
	   (CUstream stream, CUhostFn function, void *data))				\
	do(cuMemcpyAsync, cuMemcpyAsync, 4000,						\
	   (CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream))		\
	do(cuMemcpyHtoD_v2, cuMemcpyHtoD, 3020,						\
	   (CUdeviceptr to, const void *from, size_t bytes))				\
	do(cuMemcpyDtoH_v2, cuMemcpyDtoH, 3020, (void *to, CUdeviceptr from, size_t bytes)) \
	do(cuMemcpyDtoDAsync_v2, cuMemcpyDtoDAsync, 3020,				\
	   (CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream))		\
	do(cuMemcpyBatchAsync_v2, cuMemcpyBatchAsync, 13000,				\
	   (CUdeviceptr *to, CUdeviceptr *from, size_t *bytes, size_t n,		\
	    CUmemcpyAttributes *attribute, size_t *first, size_t n_attributes,		\
	    CUstream stream))								\
	do(cuMemsetD8_v2, cuMemsetD8, 3020,						\
	   (CUdeviceptr at, unsigned char byte, size_t n))				\
	do(cuMemsetD8Async, cuMemsetD8Async, 3020,					\
	   (CUdeviceptr at, unsigned char byte, size_t n, CUstream stream))		\
	do(cuLibraryLoadData, cuLibraryLoadData, 12000,					\
	   (CUlibrary *ret, const void *code, CUjit_option *jit_options,		\
	    void **jit_values, unsigned n_jit, CUlibraryOption *options, void **values,	\
	    unsigned n_options))							\
	do(cuLibraryUnload, cuLibraryUnload, 12000, (CUlibrary library))		\
	do(cuLibraryGetKernel, cuLibraryGetKernel, 12000,				\
	   (CUkernel *ret, CUlibrary library, const char *name))			\
	do(cuKernelSetAttribute, cuKernelSetAttribute, 12000,				\
	   (CUfunction_attribute attribute, int value, CUkernel kernel, CUdevice device)) \
	do(cuLaunchKernelEx, cuLaunchKernelEx, 11060,					\
	   (const CUlaunchConfig *config, CUfunction function, void **params,		\
	    void **extra))								\
	do(cuOccupancyMaxActiveBlocksPerMultiprocessor,					\
	   cuOccupancyMaxActiveBlocksPerMultiprocessor, 6050,				\
	   (int *ret, CUfunction function, int n_threads, size_t shared_bytes))

#ifndef __cuda_cuda_h__
#define EMU_PROTOTYPE(symbol, name, version, parameters)	CUresult symbol parameters;
EMU_FUNCTIONS(EMU_PROTOTYPE)
#undef EMU_PROTOTYPE

CUresult cuGetProcAddress_v2(const char *name, void **ret, int version, uint64_t flags,
			     CUdriverProcAddressQueryResult *ret_status);
#endif

/* ---- what only the emulator has, for tests ---- */

/* Calls of the API by this process; 0 for one that has made none. */
uint64_t emu_n_calls(void);

#endif

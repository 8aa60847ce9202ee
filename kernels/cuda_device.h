/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cuda_device.h - which GPUs this machine has, and whether one can hold blocks.
 *
 * The driver is asked and nothing is made: no context, no memory. A GPU that can hold
 * blocks is one whose memory a process can share with others as descriptors. What stands
 * in the way is told in one message, with what is needed and what is there.
 */
#ifndef CKV_KERNELS_CUDA_DEVICE_H
#define CKV_KERNELS_CUDA_DEVICE_H

#include "kernels/cuda_driver.h"

#include <stdbool.h>

/* ---------------------------------------------------- declarations of cuda.h */

/* As CKV_CUDA_NUMBERS. */
#define CKV_CUDA_DEVICE_NUMBERS(do)						\
	do(CU_DEVICE_ATTRIBUTE_COMPUTE_MODE, 20)				\
	do(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, 75)			\
	do(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, 76)			\
	do(CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED, 102)	\
	do(CU_DEVICE_ATTRIBUTE_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR_SUPPORTED, 103)	\
	do(CU_DEVICE_ATTRIBUTE_GPU_DIRECT_RDMA_WITH_CUDA_VMM_SUPPORTED, 110)	\
	do(CU_DEVICE_ATTRIBUTE_READ_ONLY_HOST_REGISTER_SUPPORTED, 113)		\
	do(CU_DEVICE_ATTRIBUTE_CAN_USE_64_BIT_STREAM_MEM_OPS, 122)		\
	do(CU_COMPUTEMODE_DEFAULT, 0)						\
	do(CU_COMPUTEMODE_PROHIBITED, 2)					\
	do(CU_COMPUTEMODE_EXCLUSIVE_PROCESS, 3)

#ifndef __cuda_cuda_h__
#define CKV_CUDA_NUMBER(name, value)	name = value,
enum { CKV_CUDA_DEVICE_NUMBERS(CKV_CUDA_NUMBER) };
#undef CKV_CUDA_NUMBER

typedef struct CUuuid_st { char bytes[16]; } CUuuid;
#endif

_Static_assert(sizeof(CUuuid) == 16, "CUuuid");

/* As CKV_CUDA_FUNCTIONS; the first is asked for before the others. */
#define CKV_CUDA_DEVICE_FUNCTIONS(do)						\
	do(cuDriverGetVersion, 2020, (int *version))				\
	do(cuInit, 2000, (unsigned flags))					\
	do(cuGetErrorName, 6000, (CUresult error, const char **name))		\
	do(cuDeviceGetCount, 2000, (int *n))					\
	do(cuDeviceGet, 2000, (CUdevice *device, int ordinal))			\
	do(cuDeviceGetName, 2000, (char *name, int bytes, CUdevice device))	\
	do(cuDeviceGetUuid, 11040, (CUuuid *uuid, CUdevice device))		\
	do(cuDeviceGetPCIBusId, 4010, (char *id, int bytes, CUdevice device))	\
	do(cuDeviceTotalMem, 3020, (size_t *bytes, CUdevice device))		\
	do(cuDeviceGetAttribute, 2000,						\
	   (int *value, CUdevice_attribute attribute, CUdevice device))

#define CKV_CUDA_POINTER(name, version, parameters)	CUresult (*name) parameters;
struct cuda_device_driver { CKV_CUDA_DEVICE_FUNCTIONS(CKV_CUDA_POINTER) };
#undef CKV_CUDA_POINTER

/* ------------------------------------------------------------------ the devices */

#define CUDA_VERSION_NEEDED	12000
#define CUDA_DEVICES_MAX	32u
#define CUDA_DEVICE_ANY_NODE	(-1)

struct cuda_device {
	CUdevice handle;
	int index;		/* in the driver's order, which CUDA_VISIBLE_DEVICES rules */
	char name[128];		/* "NVIDIA H100 PCIe" */
	char uuid[48];		/* "GPU-..." as nvidia-smi -L has it, or "MIG-..." */
	char pci[24];		/* "0000:3b:00.0" */
	uint64_t memory_bytes;
	int major, minor;	/* compute capability */
	int numa_node;		/* that it is attached to, or CUDA_DEVICE_ANY_NODE */
	int compute_mode;	/* CU_COMPUTEMODE_DEFAULT ... */
	bool is_mig;		/* a slice of a GPU */
	bool has_vmm;		/* memory can be made, then mapped (cuMemCreate) */
	bool has_descriptors;	/* and be given to other processes as a descriptor */
	bool has_rdma;		/* and be reached by network cards */
	bool has_read_only;	/* it reads host memory that a process may only read */
	bool has_word_writes;	/* a stream can write 64-bit words into memory */
};

#define CUDA_DEVICES_WHY_BYTES	1024u

struct cuda_devices {
	struct cuda_device_driver cu;
	int version;		/* of CUDA, that the driver has; 0: no driver */
	bool has_mps;		/* the Multi-Process Service runs */
	char mps[192];		/* the pipe that shows it, or would */
	unsigned n;		/* of them, in device[] */
	unsigned n_shown;	/* by the driver; more than n where they do not fit */
	struct cuda_device device[CUDA_DEVICES_MAX];
	char why[CUDA_DEVICES_WHY_BYTES];	/* what stands in the way, in words */
};

/*
 * Look at the GPUs of this machine, by the library at `path` (NULL: CUDA_DRIVER_LIBRARY).
 * Files of devices, of /proc and of /sys are looked for below `root` ("" but in tests).
 * The process' driver is initialised by it, which can take a second. Not safe beside
 * another call on the same *ret. On failure ret->why says what stands in the way, and
 * ret->n is 0.
 *
 *   -ENOENT   no driver: its library is not there
 *   -ENOSYS   the driver is older than CUDA_VERSION_NEEDED, or lacks a function
 *   -EACCES   the device files are there, and this process may not open them
 *   -ENODEV   the driver shows no device
 *   -EIO      the driver reports an error; which and where is in ret->why
 */
int cuda_devices_open(const char *path, const char *root, struct cuda_devices *ret);

/*
 * Find the device called `name`: its UUID, its PCI id with or without the domain, or its
 * index. -ENXIO: there is no such device, and all->why lists those that are there.
 */
int cuda_device_find(struct cuda_devices *all, const char *name,
		     const struct cuda_device **ret);

/*
 * Can a process hold `bytes` of blocks in a device's memory and share them? 0, or with the
 * reason in all->why:
 *
 *   -EOPNOTSUPP  it is a slice (MIG), or its memory cannot be shared as descriptors
 *   -EBUSY       its compute mode leaves no room for a second process (or for any)
 *   -ENOSPC      it has less memory than that
 */
int cuda_device_judge(struct cuda_devices *all, const struct cuda_device *device,
		      uint64_t bytes);

#endif

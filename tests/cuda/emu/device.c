/* SPDX-License-Identifier: Apache-2.0 */
/* device.c - the devices, the context, and how the driver's functions are found. */
#include "emu.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

pthread_mutex_t emu_lock = PTHREAD_MUTEX_INITIALIZER;
pthread_cond_t emu_changed = PTHREAD_COND_INITIALIZER;
__thread int emu_in_host_function;

static struct CUctx_st primary;
static __thread CUcontext current;

CUcontext emu_context(void)
{
	return current;
}

uint64_t emu_memory_bytes(void)
{
	return emu_number("CKV_EMU_MEMORY", (uint64_t)4 << 30);
}

/* ---- finding functions ---- */

#define ROW(symbol, name, version, parameters)	{ #name, version, (void *)symbol },
static const struct {
	const char *name;
	int version;
	void *function;
} functions[] = { EMU_FUNCTIONS(ROW) };
#undef ROW

static int driver_version(void)
{
	return (int)emu_number("CKV_EMU_VERSION", 13000);
}

CUresult cuGetProcAddress_v2(const char *name, void **ret, int version, uint64_t flags,
			     CUdriverProcAddressQueryResult *ret_status)
{
	CUdriverProcAddressQueryResult status = CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;

	EMU_ENTER("cuGetProcAddress", EMU_NOTHING);
	if (name == NULL || ret == NULL || flags != 0)
		return CUDA_ERROR_INVALID_VALUE;
	*ret = NULL;
	for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
		if (strcmp(functions[i].name, name) != 0 ||
		    functions[i].version > driver_version())
			continue;
		status = CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT;
		if (functions[i].version > version)
			continue;
		status = CU_GET_PROC_ADDRESS_SUCCESS;
		*ret = functions[i].function;
	}
	if (ret_status != NULL)
		*ret_status = status;
	return *ret != NULL || ret_status != NULL ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}

#define ROW(name, number, words)	{ number, #name, words },
static const struct {
	CUresult error;
	const char *name, *words;
} errors[] = { EMU_ERRORS(ROW) };
#undef ROW

CUresult cuGetErrorName(CUresult error, const char **ret)
{
	*ret = NULL;
	for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
		if (errors[i].error == error)
			*ret = errors[i].name;
	return *ret == NULL ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

CUresult cuGetErrorString(CUresult error, const char **ret)
{
	*ret = NULL;
	for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
		if (errors[i].error == error)
			*ret = errors[i].words;
	return *ret == NULL ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

/* ---- the devices ---- */

static int n_devices(void)
{
	return (int)emu_number("CKV_EMU_DEVICES", 1);
}

static int is_device(CUdevice device)
{
	return device >= 0 && device < n_devices();
}

/* Is it the one that a test wants to be a slice of a GPU? */
static int is_slice(CUdevice device)
{
	return emu_number("CKV_EMU_MIG", UINT64_MAX) == (uint64_t)device;
}

CUresult cuDriverGetVersion(int *version)
{
	EMU_ENTER("cuDriverGetVersion", EMU_NOTHING);
	*version = driver_version();
	return CUDA_SUCCESS;
}

CUresult cuDeviceGetCount(int *ret)
{
	EMU_ENTER("cuDeviceGetCount", EMU_INIT);
	*ret = n_devices();
	return CUDA_SUCCESS;
}

CUresult cuDeviceGet(CUdevice *ret, int ordinal)
{
	EMU_ENTER("cuDeviceGet", EMU_INIT);
	if (!is_device(ordinal))
		return CUDA_ERROR_INVALID_DEVICE;
	*ret = ordinal;
	return CUDA_SUCCESS;
}

CUresult cuDeviceGetName(char *ret, int bytes, CUdevice device)
{
	EMU_ENTER("cuDeviceGetName", EMU_INIT);
	if (!is_device(device) || bytes < 1)
		return is_device(device) ? CUDA_ERROR_INVALID_VALUE : CUDA_ERROR_INVALID_DEVICE;
	snprintf(ret, (size_t)bytes, "ckv emulated GPU%s", is_slice(device) ? " MIG 1g.10gb" : "");
	return CUDA_SUCCESS;
}

/* They differ in the last byte, and a slice's from that of its GPU. */
CUresult cuDeviceGetUuid_v2(CUuuid *ret, CUdevice device)
{
	EMU_ENTER("cuDeviceGetUuid", EMU_INIT);
	if (!is_device(device))
		return CUDA_ERROR_INVALID_DEVICE;
	memcpy(ret->bytes, "ckv emulated GPU", sizeof ret->bytes);
	ret->bytes[15] = (char)(ret->bytes[15] + device);
	if (is_slice(device))
		ret->bytes[0] = 'm';
	return CUDA_SUCCESS;
}

CUresult cuDeviceGetPCIBusId(char *ret, int bytes, CUdevice device)
{
	EMU_ENTER("cuDeviceGetPCIBusId", EMU_INIT);
	if (!is_device(device))
		return CUDA_ERROR_INVALID_DEVICE;
	return snprintf(ret, (size_t)bytes, "0000:%02X:00.0", 0x0e + (unsigned)device) < bytes
		? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuDeviceTotalMem_v2(size_t *ret, CUdevice device)
{
	EMU_ENTER("cuDeviceTotalMem", EMU_INIT);
	if (!is_device(device))
		return CUDA_ERROR_INVALID_DEVICE;
	*ret = emu_memory_bytes();
	return CUDA_SUCCESS;
}

CUresult cuMemGetInfo_v2(size_t *ret_free, size_t *ret_total)
{
	EMU_ENTER("cuMemGetInfo", EMU_CONTEXT);
	pthread_mutex_lock(&emu_lock);
	*ret_total = emu_memory_bytes();
	*ret_free = *ret_total - emu_memory_used();
	pthread_mutex_unlock(&emu_lock);
	return CUDA_SUCCESS;
}

/* "N=V", or "D/N=V" for one device, among those of the environment? */
static int differs(CUdevice device, CUdevice_attribute attribute, int *ret)
{
	const char *text = getenv("CKV_EMU_ATTRIBUTES");

	while (text != NULL && *text != '\0') {
		int of = device, number, value, used = 0;

		if (sscanf(text, "%d/%d=%d%n", &of, &number, &value, &used) != 3) {
			of = device;
			if (sscanf(text, "%d=%d%n", &number, &value, &used) != 2)
				return 0;
		}
		if (of == device && number == (int)attribute) {
			*ret = value;
			return 1;
		}
		text += used + (text[used] == ',');
	}
	return 0;
}

CUresult cuDeviceGetAttribute(int *ret, CUdevice_attribute attribute, CUdevice device)
{
	EMU_ENTER("cuDeviceGetAttribute", EMU_INIT);
	if (!is_device(device))
		return CUDA_ERROR_INVALID_DEVICE;
	if (differs(device, attribute, ret))
		return CUDA_SUCCESS;
	switch (attribute) {
	case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
		*ret = SIMT_MAX_THREADS;
		break;
	case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK:
		*ret = 48 << 10;
		break;
	case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN:
		*ret = SIMT_MAX_SHARED;
		break;
	case CU_DEVICE_ATTRIBUTE_WARP_SIZE:
		*ret = SIMT_WARP;
		break;
	case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT:
		*ret = (int)simt_multiprocessors;
		break;
	case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR:
		*ret = 2048;
		break;
	case CU_DEVICE_ATTRIBUTE_PCI_BUS_ID:
		*ret = 0x0e + device;
		break;
	case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR:
		*ret = 9;
		break;
	case CU_DEVICE_ATTRIBUTE_INTEGRATED:
	case CU_DEVICE_ATTRIBUTE_COMPUTE_MODE:
	case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR:
		*ret = 0;
		break;
	case CU_DEVICE_ATTRIBUTE_ASYNC_ENGINE_COUNT:
		*ret = 3;
		break;
	case CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING:
	case CU_DEVICE_ATTRIBUTE_CAN_USE_HOST_POINTER_FOR_REGISTERED_MEM:
	case CU_DEVICE_ATTRIBUTE_HOST_REGISTER_SUPPORTED:
	case CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED:
	case CU_DEVICE_ATTRIBUTE_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR_SUPPORTED:
	case CU_DEVICE_ATTRIBUTE_GPU_DIRECT_RDMA_WITH_CUDA_VMM_SUPPORTED:
	case CU_DEVICE_ATTRIBUTE_READ_ONLY_HOST_REGISTER_SUPPORTED:
	case CU_DEVICE_ATTRIBUTE_CAN_USE_64_BIT_STREAM_MEM_OPS:
	case CU_DEVICE_ATTRIBUTE_CAN_USE_STREAM_WAIT_VALUE_NOR:
		*ret = 1;
		break;
	default:
		fprintf(stderr, "emu: attribute %d is not known\n", (int)attribute);
		return CUDA_ERROR_INVALID_VALUE;
	}
	return CUDA_SUCCESS;
}

/* ---- the context ---- */

CUresult cuDevicePrimaryCtxRetain(CUcontext *ret, CUdevice device)
{
	CUresult r = CUDA_SUCCESS;

	EMU_ENTER("cuDevicePrimaryCtxRetain", EMU_INIT);
	if (device != 0)
		return CUDA_ERROR_INVALID_DEVICE;
	pthread_mutex_lock(&emu_lock);
	if (primary.legacy == NULL)
		primary.legacy = emu_stream_open(&primary, 0, 1);
	if (primary.legacy == NULL) {
		r = CUDA_ERROR_OUT_OF_MEMORY;
	} else {
		primary.n_users++;
		*ret = &primary;
	}
	pthread_mutex_unlock(&emu_lock);
	return r;
}

CUresult cuDevicePrimaryCtxRelease_v2(CUdevice device)
{
	CUresult r = CUDA_SUCCESS;

	EMU_ENTER("cuDevicePrimaryCtxRelease", EMU_INIT);
	if (device != 0)
		return CUDA_ERROR_INVALID_DEVICE;
	pthread_mutex_lock(&emu_lock);
	if (primary.n_users == 0)
		r = CUDA_ERROR_INVALID_CONTEXT;
	else
		primary.n_users--;
	pthread_mutex_unlock(&emu_lock);
	return r;
}

CUresult cuCtxGetCurrent(CUcontext *ret)
{
	EMU_ENTER("cuCtxGetCurrent", EMU_INIT);
	*ret = current;
	return CUDA_SUCCESS;
}

CUresult cuCtxSetCurrent(CUcontext context)
{
	EMU_ENTER("cuCtxSetCurrent", EMU_INIT);
	if (context != NULL && (context != &primary || primary.n_users == 0))
		return CUDA_ERROR_INVALID_CONTEXT;
	current = context;
	return CUDA_SUCCESS;
}

CUresult cuCtxGetDevice(CUdevice *ret)
{
	EMU_ENTER("cuCtxGetDevice", EMU_CONTEXT);
	*ret = 0;
	return CUDA_SUCCESS;
}

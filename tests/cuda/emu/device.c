/* SPDX-License-Identifier: Apache-2.0 */
/* device.c - the devices, their contexts, and how the driver's functions are found. */
#include "emu.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/file.h>
#include <unistd.h>

pthread_mutex_t emu_lock = PTHREAD_MUTEX_INITIALIZER;
pthread_cond_t emu_changed = PTHREAD_COND_INITIALIZER;
__thread int emu_in_host_function;

static struct CUctx_st primary[EMU_MAX_DEVICES];
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

/* ---- which devices ---- */

static int visible[EMU_MAX_DEVICES], n_visible;	/* of each that is visible */

/* Is it the one that a test wants to be a slice of a GPU? */
static int is_slice(int device)
{
	return emu_number("CKV_EMU_MIG", UINT64_MAX) == (uint64_t)device;
}

/* They differ in the last byte, and a slice's from that of its GPU. */
static CUuuid uuid_of(int device)
{
	CUuuid id;

	memcpy(id.bytes, "ckv emulated GPU", sizeof id.bytes);
	id.bytes[15] = (char)(id.bytes[15] + device);
	if (is_slice(device))
		id.bytes[0] = 'm';
	return id;
}

static int pci_bus(int device)
{
	return 0x0e + device;
}

/* Does a word of CUDA_VISIBLE_DEVICES, a number or the begin of a UUID, mean this device? */
static int is_meant(const char *word, size_t n, int device)
{
	CUuuid id = uuid_of(device);
	char text[48], *at = text;
	size_t digits = strspn(word, "0123456789");

	if (n > 0 && digits >= n)
		return atoi(word) == device;
	at += sprintf(at, "%s", is_slice(device) ? "MIG" : "GPU");
	for (int i = 0; i < 16; i++)
		at += sprintf(at, "%s%02x", i == 0 || i == 4 || i == 6 || i == 8 || i == 10
			      ? "-" : "", (unsigned char)id.bytes[i]);
	return n > 4 && n <= strlen(text) && strncasecmp(word, text, n) == 0;
}

/* As in CUDA, a word that means nothing ends the list. */
__attribute__((constructor)) static void look_for_devices(void)
{
	uint64_t n = emu_number("CKV_EMU_DEVICES", 1);
	const char *word = getenv("CUDA_VISIBLE_DEVICES");

	if (n > EMU_MAX_DEVICES) {
		fprintf(stderr, "emu: CKV_EMU_DEVICES: at most %d\n", EMU_MAX_DEVICES);
		abort();
	}
	for (int i = 0; word == NULL && i < (int)n; i++)
		visible[n_visible++] = i;
	while (word != NULL && *word != '\0' && n_visible < EMU_MAX_DEVICES) {
		size_t length = strcspn(word, ",");
		int i = 0;

		while (i < (int)n && !is_meant(word, length, i))
			i++;
		if (i == (int)n)
			break;
		visible[n_visible++] = i;
		word += length + (word[length] == ',');
	}
}

int emu_n_devices(void)
{
	return n_visible;
}

int emu_device(CUdevice device)
{
	return device >= 0 && device < n_visible ? visible[device] : -1;
}

CUdevice emu_device_seen(int device)
{
	for (int i = 0; i < n_visible; i++)
		if (visible[i] == device)
			return i;
	return -1;
}

/* ---- a device ---- */

CUresult cuDriverGetVersion(int *version)
{
	EMU_ENTER("cuDriverGetVersion", EMU_NOTHING);
	*version = driver_version();
	return CUDA_SUCCESS;
}

CUresult cuDeviceGetCount(int *ret)
{
	EMU_ENTER("cuDeviceGetCount", EMU_INIT);
	*ret = emu_n_devices();
	return CUDA_SUCCESS;
}

CUresult cuDeviceGet(CUdevice *ret, int ordinal)
{
	EMU_ENTER("cuDeviceGet", EMU_INIT);
	if (emu_device(ordinal) < 0)
		return CUDA_ERROR_INVALID_DEVICE;
	*ret = ordinal;
	return CUDA_SUCCESS;
}

#define ENTER_ON(name, device) do {						\
		EMU_ENTER(name, EMU_INIT);					\
		if (emu_device(device) < 0)					\
			return CUDA_ERROR_INVALID_DEVICE;			\
		if (emu_lost(emu_device(device)) != CUDA_SUCCESS)		\
			return emu_lost(emu_device(device));			\
	} while (0)

/* A MIG slice is named as a driver does it. */
CUresult cuDeviceGetName(char *ret, int bytes, CUdevice device)
{
	ENTER_ON("cuDeviceGetName", device);
	if (ret == NULL || bytes <= 0)
		return CUDA_ERROR_INVALID_VALUE;
	snprintf(ret, (size_t)bytes, "ckv emulated GPU%s",
		 is_slice(emu_device(device)) ? " MIG 1g.10gb" : "");
	return CUDA_SUCCESS;
}

CUresult cuDeviceGetUuid_v2(CUuuid *ret, CUdevice device)
{
	ENTER_ON("cuDeviceGetUuid", device);
	*ret = uuid_of(emu_device(device));
	return CUDA_SUCCESS;
}

CUresult cuDeviceGetPCIBusId(char *ret, int bytes, CUdevice device)
{
	ENTER_ON("cuDeviceGetPCIBusId", device);
	return snprintf(ret, (size_t)bytes, "0000:%02X:00.0", (unsigned)pci_bus(emu_device(device))) < bytes
		? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuDeviceTotalMem_v2(size_t *ret, CUdevice device)
{
	ENTER_ON("cuDeviceTotalMem", device);
	*ret = emu_memory_bytes();
	return CUDA_SUCCESS;
}

CUresult cuMemGetInfo_v2(size_t *ret_free, size_t *ret_total)
{
	EMU_ENTER("cuMemGetInfo", EMU_CONTEXT);
	pthread_mutex_lock(&emu_lock);
	*ret_total = emu_memory_bytes();
	*ret_free = *ret_total - emu_memory_used(emu_context()->device);
	pthread_mutex_unlock(&emu_lock);
	return CUDA_SUCCESS;
}

/* "N=V", or "D/N=V" of this device, among those of the environment? */
static int differs(CUdevice_attribute attribute, int device, int *ret)
{
	const char *text = getenv("CKV_EMU_ATTRIBUTES");
	int of, number, value, used;

	while (text != NULL && *text != '\0') {
		of = device;
		if (sscanf(text, "%d/%d=%d%n", &of, &number, &value, &used) != 3 &&
		    (of = device, sscanf(text, "%d=%d%n", &number, &value, &used) != 2)) {
			fprintf(stderr, "emu: CKV_EMU_ATTRIBUTES: cannot be read at '%s'\n", text);
			abort();
		}
		if (number == (int)attribute && of == device) {
			*ret = value;
			return 1;
		}
		text += used + (text[used] == ',');
	}
	return 0;
}

static const struct {
	CUdevice_attribute attribute;
	int value;
} usual[] = {
	{ CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK, SIMT_MAX_THREADS },
	{ CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK, 48 << 10 },
	{ CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, SIMT_MAX_SHARED },
	{ CU_DEVICE_ATTRIBUTE_WARP_SIZE, SIMT_WARP },
	{ CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR, 2048 },
	{ CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE, 50 << 20 },
	{ CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, 9 },
	{ CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, 0 },
	{ CU_DEVICE_ATTRIBUTE_INTEGRATED, 0 },
	{ CU_DEVICE_ATTRIBUTE_COMPUTE_MODE, CU_COMPUTEMODE_DEFAULT },
	{ CU_DEVICE_ATTRIBUTE_PCI_DEVICE_ID, 0 },
	{ CU_DEVICE_ATTRIBUTE_PCI_DOMAIN_ID, 0 },
	{ CU_DEVICE_ATTRIBUTE_HOST_NUMA_ID, 0 },
	{ CU_DEVICE_ATTRIBUTE_MPS_ENABLED, 0 },
	{ CU_DEVICE_ATTRIBUTE_ASYNC_ENGINE_COUNT, 3 },
	{ CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING, 1 },
	{ CU_DEVICE_ATTRIBUTE_CAN_USE_HOST_POINTER_FOR_REGISTERED_MEM, 1 },
	{ CU_DEVICE_ATTRIBUTE_HOST_REGISTER_SUPPORTED, 1 },
	{ CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED, 1 },
	{ CU_DEVICE_ATTRIBUTE_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR_SUPPORTED, 1 },
	{ CU_DEVICE_ATTRIBUTE_GPU_DIRECT_RDMA_WITH_CUDA_VMM_SUPPORTED, 1 },
	{ CU_DEVICE_ATTRIBUTE_READ_ONLY_HOST_REGISTER_SUPPORTED, 1 },
	{ CU_DEVICE_ATTRIBUTE_CAN_USE_64_BIT_STREAM_MEM_OPS, 1 },
	{ CU_DEVICE_ATTRIBUTE_CAN_USE_STREAM_WAIT_VALUE_NOR, 1 },
};

static CUresult attribute_of(int *ret, CUdevice_attribute attribute, int device)
{
	if (differs(attribute, device, ret))
		return CUDA_SUCCESS;
	if (attribute == CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT) {
		*ret = (int)simt_multiprocessors;
		return CUDA_SUCCESS;
	}
	if (attribute == CU_DEVICE_ATTRIBUTE_PCI_BUS_ID) {
		*ret = pci_bus(device);
		return CUDA_SUCCESS;
	}
	for (size_t i = 0; i < sizeof usual / sizeof *usual; i++)
		if (usual[i].attribute == attribute) {
			*ret = usual[i].value;
			return CUDA_SUCCESS;
		}
	fprintf(stderr, "emu: attribute %d is not known\n", (int)attribute);
	return CUDA_ERROR_INVALID_VALUE;
}

CUresult cuDeviceGetAttribute(int *ret, CUdevice_attribute attribute, CUdevice device)
{
	ENTER_ON("cuDeviceGetAttribute", device);
	return attribute_of(ret, attribute, emu_device(device));
}

/* ---- contexts ---- */

/* In exclusive mode: by the lock, the device is this process's. */
static int take_lock(CUcontext c)
{
	const char *path = getenv("CKV_EMU_LOCK");
	char name[512];

	snprintf(name, sizeof name, "%s%d", path == NULL ? "/dev/null" : path, c->device);
	c->lock = open(path == NULL ? "/dev/null" : name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (c->lock >= 0 && (path == NULL || flock(c->lock, LOCK_EX | LOCK_NB) == 0))
		return 1;
	if (c->lock >= 0)
		close(c->lock);
	return 0;
}

/* With the lock: what the mode of the device says to one more context. */
static CUresult may_have_context(CUcontext c)
{
	int mode = CU_COMPUTEMODE_DEFAULT;

	attribute_of(&mode, CU_DEVICE_ATTRIBUTE_COMPUTE_MODE, c->device);
	if (mode == CU_COMPUTEMODE_PROHIBITED)
		return CUDA_ERROR_DEVICE_UNAVAILABLE;
	c->lock = -1;
	return mode != CU_COMPUTEMODE_EXCLUSIVE_PROCESS || take_lock(c)
		? CUDA_SUCCESS : CUDA_ERROR_DEVICE_UNAVAILABLE;
}

CUresult cuDevicePrimaryCtxRetain(CUcontext *ret, CUdevice device)
{
	CUresult r = CUDA_SUCCESS;
	CUcontext c;

	ENTER_ON("cuDevicePrimaryCtxRetain", device);
	c = &primary[emu_device(device)];
	pthread_mutex_lock(&emu_lock);
	c->device = emu_device(device);
	r = emu_lost(c->device);
	if (r == CUDA_SUCCESS && c->n_users == 0)
		r = may_have_context(c);
	if (r == CUDA_SUCCESS && c->legacy == NULL &&
	    (c->legacy = emu_stream_open(c, 0, 1)) == NULL)
		r = CUDA_ERROR_OUT_OF_MEMORY;
	if (r == CUDA_SUCCESS) {
		c->n_users++;
		*ret = c;
	}
	pthread_mutex_unlock(&emu_lock);
	return r;
}

CUresult cuDevicePrimaryCtxRelease_v2(CUdevice device)
{
	CUresult r = CUDA_SUCCESS;
	CUcontext c;

	ENTER_ON("cuDevicePrimaryCtxRelease", device);
	c = &primary[emu_device(device)];
	pthread_mutex_lock(&emu_lock);
	if (c->n_users == 0)
		r = CUDA_ERROR_INVALID_CONTEXT;
	else if (--c->n_users == 0 && c->lock >= 0)
		close(c->lock);
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
	if (context != NULL && (context < primary || context >= primary + EMU_MAX_DEVICES ||
				context->n_users == 0))
		return CUDA_ERROR_INVALID_CONTEXT;
	current = context;
	return CUDA_SUCCESS;
}

CUresult cuCtxGetDevice(CUdevice *ret)
{
	EMU_ENTER("cuCtxGetDevice", EMU_CONTEXT);
	*ret = emu_device_seen(current->device);
	return CUDA_SUCCESS;
}

CUresult cuCtxSynchronize(void)
{
	EMU_ENTER("cuCtxSynchronize", EMU_CONTEXT);
	return emu_wait_all(current);
}

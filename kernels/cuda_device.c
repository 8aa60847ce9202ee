/* SPDX-License-Identifier: Apache-2.0 */
/* cuda_device.c - see cuda_device.h. */
#include "kernels/cuda_device.h"

#include <ctype.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct cuda_function functions[] = {
	CKV_CUDA_DEVICE_FUNCTIONS(CKV_CUDA_FUNCTION) };

#define N_FUNCTIONS	(sizeof functions / sizeof *functions)
_Static_assert(sizeof(struct cuda_device_driver) == N_FUNCTIONS * sizeof(void *),
	       "pointers only");

/* Say what stands in the way; `r` is what the caller returns. */
__attribute__((format(printf, 3, 4)))
static int refuse(struct cuda_devices *all, int r, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(all->why, sizeof all->why, format, ap);
	va_end(ap);
	return r;
}

/* ---- the driver ---- */

/* A call of the driver has failed. */
static int broken(struct cuda_devices *all, const char *call, CUresult error)
{
	const char *name = NULL;

	if (all->cu.cuGetErrorName == NULL ||
	    all->cu.cuGetErrorName(error, &name) != CUDA_SUCCESS || name == NULL)
		name = "an unknown error";
	return refuse(all, -EIO, "the CUDA driver fails at %s: %s (%u)", call, name,
		      (unsigned)error);
}

static int too_old(struct cuda_devices *all, int version)
{
	return refuse(all, -ENOSYS, "the CUDA driver is too old: CUDA %d.%d or later is "
		      "needed, it has %d.%d", CUDA_VERSION_NEEDED / 1000,
		      CUDA_VERSION_NEEDED % 1000 / 10, version / 1000, version % 1000 / 10);
}

/* A driver that cannot be asked for functions by version still says its own. */
static int judge_library(struct cuda_devices *all, const struct cuda_library *library)
{
	CUresult (*get_version)(int *version);
	void *function;
	int version = 0;

	if (library->handle == NULL)
		return refuse(all, -ENOENT, "%s", library->why);
	function = dlsym(library->handle, "cuDriverGetVersion");
	memcpy(&get_version, &function, sizeof function);
	if (function == NULL || get_version(&version) != CUDA_SUCCESS)
		return refuse(all, -ENOSYS, "%s", library->why);
	return too_old(all, version);
}

static int find_functions(struct cuda_devices *all, const char *path)
{
	struct cuda_library library;
	CUresult error;
	int r = cuda_library_open(path, &library);

	if (r < 0)
		return judge_library(all, &library);
	r = cuda_library_find(&library, functions, 1, &all->cu);
	if (r == 0) {
		error = all->cu.cuDriverGetVersion(&all->version);
		if (error != CUDA_SUCCESS)
			return broken(all, "cuDriverGetVersion", error);
		if (all->version < CUDA_VERSION_NEEDED)
			return too_old(all, all->version);
		r = cuda_library_find(&library, functions, N_FUNCTIONS, &all->cu);
	}
	return r < 0 ? refuse(all, -ENOSYS, "%s", library.why) : 0;
}

/* ---- no device: why? ---- */

/* The first of the driver's files that this process may not open, or 0. */
static int is_forbidden(const char *root, char *path, size_t bytes)
{
	static const char *const files[] = { "nvidiactl", "nvidia-uvm", "nvidia0" };

	for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
		int fd;

		snprintf(path, bytes, "%s/dev/%s", root, files[i]);
		fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
		if (fd >= 0)
			close(fd);
		else if (errno == EACCES || errno == EPERM)
			return 1;
	}
	return 0;
}

static bool is_there(const char *root, const char *file)
{
	char path[256];
	struct stat st;

	snprintf(path, sizeof path, "%s%s", root, file);
	return stat(path, &st) == 0;
}

/* The driver does not start, or shows nothing: often it may not open its own files. */
static int no_device(struct cuda_devices *all, const char *root, CUresult error)
{
	const char *visible = getenv("CUDA_VISIBLE_DEVICES");
	char path[192];

	if (is_forbidden(root, path, sizeof path))
		return refuse(all, -EACCES, "no permission to use the GPU: this process may not "
			      "open %s", path);
	if (error != CUDA_SUCCESS && error != CUDA_ERROR_NO_DEVICE)
		return broken(all, "cuInit", error);
	if (visible != NULL)
		return refuse(all, -ENODEV, "the CUDA driver shows no GPU; "
			      "CUDA_VISIBLE_DEVICES is '%.200s'", visible);
	if (is_there(root, "/proc/driver/nvidia/version") && !is_there(root, "/dev/nvidiactl"))
		return refuse(all, -ENODEV, "the CUDA driver shows no GPU: its kernel module is "
			      "loaded, but %s/dev/nvidiactl is not there for this process", root);
	return refuse(all, -ENODEV, "the CUDA driver shows no GPU");
}

/* ---- one device ---- */

/* Of which NUMA node its slot is; a machine of one node says -1. */
static int node_of(const char *root, const char *pci)
{
	char path[256];
	int node = CUDA_DEVICE_ANY_NODE;
	FILE *file;

	snprintf(path, sizeof path, "%s/sys/bus/pci/devices/%s/numa_node", root, pci);
	file = fopen(path, "re");
	if (file == NULL)
		return CUDA_DEVICE_ANY_NODE;
	if (fscanf(file, "%d", &node) != 1 || node < 0)
		node = CUDA_DEVICE_ANY_NODE;
	fclose(file);
	return node;
}

static void write_uuid(struct cuda_device *d, const CUuuid *id)
{
	char *at = d->uuid;

	at += sprintf(at, "%s", d->is_mig ? "MIG" : "GPU");
	for (int i = 0; i < 16; i++)
		at += sprintf(at, "%s%02x", i == 0 || i == 4 || i == 6 || i == 8 || i == 10
			      ? "-" : "", (unsigned char)id->bytes[i]);
}

static const struct {
	CUdevice_attribute attribute;
	size_t offset;
} truths[] = {
	{ CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED,
	  offsetof(struct cuda_device, has_vmm) },
	{ CU_DEVICE_ATTRIBUTE_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR_SUPPORTED,
	  offsetof(struct cuda_device, has_descriptors) },
	{ CU_DEVICE_ATTRIBUTE_GPU_DIRECT_RDMA_WITH_CUDA_VMM_SUPPORTED,
	  offsetof(struct cuda_device, has_rdma) },
	{ CU_DEVICE_ATTRIBUTE_READ_ONLY_HOST_REGISTER_SUPPORTED,
	  offsetof(struct cuda_device, has_read_only) },
	{ CU_DEVICE_ATTRIBUTE_CAN_USE_64_BIT_STREAM_MEM_OPS,
	  offsetof(struct cuda_device, has_word_writes) },
};

static CUresult read_attributes(const struct cuda_device_driver *cu, struct cuda_device *d)
{
	CUresult r;

	r = cu->cuDeviceGetAttribute(&d->major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR,
				     d->handle);
	if (r == CUDA_SUCCESS)
		r = cu->cuDeviceGetAttribute(&d->minor,
					     CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR,
					     d->handle);
	if (r == CUDA_SUCCESS)
		r = cu->cuDeviceGetAttribute(&d->compute_mode, CU_DEVICE_ATTRIBUTE_COMPUTE_MODE,
					     d->handle);
	for (size_t i = 0; i < sizeof truths / sizeof *truths && r == CUDA_SUCCESS; i++) {
		int value = 0;

		r = cu->cuDeviceGetAttribute(&value, truths[i].attribute, d->handle);
		*(bool *)((char *)d + truths[i].offset) = value != 0;
	}
	return r;
}

/* *call is the one that failed. A driver calls a slice "GPU NAME MIG 1g.10gb". */
static CUresult read_device(const struct cuda_device_driver *cu, const char *root,
			    struct cuda_device *d, const char **call)
{
	CUuuid id = { { 0 } };
	size_t bytes = 0;
	CUresult r;

	*call = "cuDeviceGet";
	r = cu->cuDeviceGet(&d->handle, d->index);
	if (r == CUDA_SUCCESS) {
		*call = "cuDeviceGetName";
		r = cu->cuDeviceGetName(d->name, sizeof d->name, d->handle);
	}
	if (r == CUDA_SUCCESS) {
		*call = "cuDeviceGetUuid";
		r = cu->cuDeviceGetUuid(&id, d->handle);
	}
	if (r == CUDA_SUCCESS) {
		*call = "cuDeviceGetPCIBusId";
		r = cu->cuDeviceGetPCIBusId(d->pci, sizeof d->pci, d->handle);
	}
	if (r == CUDA_SUCCESS) {
		*call = "cuDeviceTotalMem";
		r = cu->cuDeviceTotalMem(&bytes, d->handle);
	}
	if (r == CUDA_SUCCESS) {
		*call = "cuDeviceGetAttribute";
		r = read_attributes(cu, d);
	}
	d->is_mig = strstr(d->name, " MIG ") != NULL;
	d->memory_bytes = bytes;
	for (char *at = d->pci; *at != '\0'; at++)
		*at = (char)tolower((unsigned char)*at);
	d->numa_node = node_of(root, d->pci);
	write_uuid(d, &id);
	return r;
}

/* The service is reached by a pipe or a socket, which it makes when it starts. */
static void look_for_mps(struct cuda_devices *all, const char *root)
{
	const char *folder = getenv("CUDA_MPS_PIPE_DIRECTORY");
	struct stat st;

	if (folder != NULL)
		snprintf(all->mps, sizeof all->mps, "%s/control", folder);
	else
		snprintf(all->mps, sizeof all->mps, "%s/tmp/nvidia-mps/control", root);
	all->has_mps = stat(all->mps, &st) == 0 && (S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode));
}

int cuda_devices_open(const char *path, const char *root, struct cuda_devices *ret)
{
	const char *call;
	CUresult error;
	int n = 0, r;

	memset(ret, 0, sizeof *ret);
	r = find_functions(ret, path);
	if (r < 0)
		return r;
	look_for_mps(ret, root);
	error = ret->cu.cuInit(0);
	if (error != CUDA_SUCCESS)
		return no_device(ret, root, error);
	error = ret->cu.cuDeviceGetCount(&n);
	if (error != CUDA_SUCCESS)
		return broken(ret, "cuDeviceGetCount", error);
	if (n <= 0)
		return no_device(ret, root, CUDA_SUCCESS);
	for (int i = 0; i < n && i < (int)CUDA_DEVICES_MAX; i++) {
		ret->device[i].index = i;
		error = read_device(&ret->cu, root, &ret->device[i], &call);
		if (error != CUDA_SUCCESS)
			return broken(ret, call, error);
	}
	ret->n_shown = (unsigned)n;
	ret->n = n < (int)CUDA_DEVICES_MAX ? (unsigned)n : CUDA_DEVICES_MAX;
	return 0;
}

/* ---- finding one, and judging it ---- */

/* "[DOMAIN:]BUS:DEVICE[.0]" as one number; nvidia-smi writes more zeros than Linux. */
static bool read_pci(const char *text, uint64_t *ret)
{
	unsigned domain = 0, bus, slot, function = 0;
	int used = 0;

	if (sscanf(text, "%8x:%2x:%2x%n.%1x%n", &domain, &bus, &slot, &used, &function,
		   &used) < 3) {
		domain = 0;
		if (sscanf(text, "%2x:%2x%n.%1x%n", &bus, &slot, &used, &function, &used) < 2)
			return false;
	}
	*ret = (uint64_t)domain << 32 | bus << 16 | slot << 8 | function;
	return text[used] == '\0';
}

static bool is_called(const struct cuda_device *d, const char *name)
{
	uint64_t wanted, has;
	char *end;

	if (isdigit((unsigned char)name[0])) {
		unsigned long index = strtoul(name, &end, 10);

		if (*end == '\0')
			return index == (unsigned long)d->index;
	}
	if (read_pci(name, &wanted) && read_pci(d->pci, &has))
		return wanted == has;
	return strcasecmp(name, d->uuid) == 0;
}

/* Add to all->why, which is cut where it is full. */
__attribute__((format(printf, 2, 3)))
static void say_more(struct cuda_devices *all, const char *format, ...)
{
	size_t n = strlen(all->why);
	va_list ap;

	va_start(ap, format);
	vsnprintf(all->why + n, sizeof all->why - n, format, ap);
	va_end(ap);
}

int cuda_device_find(struct cuda_devices *all, const char *name,
		     const struct cuda_device **ret)
{
	for (unsigned i = 0; i < all->n; i++)
		if (is_called(&all->device[i], name)) {
			*ret = &all->device[i];
			return 0;
		}
	refuse(all, -ENXIO, "there is no GPU '%.64s'; there is", name);
	for (unsigned i = 0; i < all->n; i++)
		say_more(all, "%s %d (%s, %s)", i > 0 ? "," : "", all->device[i].index,
			 all->device[i].uuid, all->device[i].pci);
	return -ENXIO;
}

int cuda_device_judge(struct cuda_devices *all, const struct cuda_device *d, uint64_t bytes)
{
	if (d->is_mig)
		return refuse(all, -EOPNOTSUPP, "GPU %d (%s) is a slice of a GPU (MIG), which "
			      "is not supported; a whole one is needed", d->index, d->name);
	if (d->compute_mode == CU_COMPUTEMODE_PROHIBITED)
		return refuse(all, -EBUSY, "GPU %d (%s) is in prohibited compute mode: no process "
			      "may compute on it; 'nvidia-smi -i %s -c DEFAULT' ends that",
			      d->index, d->name, d->pci);
	if (d->compute_mode == CU_COMPUTEMODE_EXCLUSIVE_PROCESS && !all->has_mps)
		return refuse(all, -EBUSY, "GPU %d (%s) is in exclusive compute mode: one process "
			      "alone may use it, so the daemon and an engine cannot; "
			      "'nvidia-smi -i %s -c DEFAULT' ends that, or start MPS",
			      d->index, d->name, d->pci);
	if (!d->has_vmm)
		return refuse(all, -EOPNOTSUPP, "GPU %d (%s) has no virtual memory management "
			      "(cuMemCreate), by which memory is shared", d->index, d->name);
	if (!d->has_descriptors)
		return refuse(all, -EOPNOTSUPP, "GPU %d (%s) cannot give its memory to other "
			      "processes as descriptors", d->index, d->name);
	if (bytes > d->memory_bytes)
		return refuse(all, -ENOSPC, "GPU %d (%s) has %llu MiB of memory, %llu MiB are "
			      "asked of it", d->index, d->name,
			      (unsigned long long)(d->memory_bytes >> 20),
			      (unsigned long long)(bytes >> 20));
	return 0;
}

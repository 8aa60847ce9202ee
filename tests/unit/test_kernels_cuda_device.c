/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_kernels_cuda_device.c - which GPUs there are, and each reason not to use one.
 *
 * On the emulated driver, which a test rules by the environment before it is loaded; each
 * test has a process of its own. Files of the machine lie in a folder of the test.
 */
#include "kernels/cuda_device.h"
#include "tests/lib/check_main.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#ifdef __SANITIZE_ADDRESS__
#define DRIVER	"build-emu/asan/libckv-emu-cuda.so"
#else
#define DRIVER	"build-emu/libckv-emu-cuda.so"
#endif
#define GIB	((uint64_t)1 << 30)

static struct cuda_devices all;
static char root[FOLDER_BYTES];

static void setup(void)
{
	unsetenv("CUDA_VISIBLE_DEVICES");
	unsetenv("CUDA_MPS_PIPE_DIRECTORY");
	folder_make(root);
	memset(&all, 0xa5, sizeof all);
}

/* A file below the test's folder, with those above it. */
static void make_file(const char *name, const char *text, mode_t mode)
{
	char path[FOLDER_BYTES + 128];
	FILE *file;

	snprintf(path, sizeof path, "%s/%s", root, name);
	for (char *at = path + strlen(root) + 1; (at = strchr(at, '/')) != NULL; *at++ = '/') {
		*at = '\0';
		mkdir(path, 0755);
	}
	file = fopen(path, "w");
	ck_assert_ptr_nonnull(file);
	fputs(text, file);
	fclose(file);
	ck_assert_int_eq(chmod(path, mode), 0);
}

static void open_with(const char *name, const char *value)
{
	setenv(name, value, 1);
	ck_assert_int_eq(cuda_devices_open(DRIVER, root, &all), 0);
}

#define SAYS(text)	ck_assert_msg(strstr(all.why, text) != NULL, "%s", all.why)

/* ---- what is there ---- */

START_TEST(a_device_says_what_it_is)
{
	const struct cuda_device *d = &all.device[0];

	make_file("sys/bus/pci/devices/0000:0e:00.0/numa_node", "1\n", 0444);
	open_with("CKV_EMU_MEMORY", "8589934592");
	ck_assert_uint_eq(all.n, 1);
	ck_assert_int_eq(all.version, 13000);
	ck_assert_str_eq(d->name, "ckv emulated GPU");
	ck_assert_str_eq(d->uuid, "GPU-636b7620-656d-756c-6174-656420475055");
	ck_assert_str_eq(d->pci, "0000:0e:00.0");
	ck_assert_uint_eq(d->memory_bytes, 8 * GIB);
	ck_assert_int_eq(d->major, 9);
	ck_assert_int_eq(d->minor, 0);
	ck_assert_int_eq(d->numa_node, 1);
	ck_assert(!d->is_mig && d->has_vmm && d->has_descriptors && d->has_rdma &&
		  d->has_read_only && d->has_word_writes && !all.has_mps);
	ck_assert_int_eq(cuda_device_judge(&all, d, 8 * GIB), 0);
}
END_TEST

START_TEST(each_attribute_is_its_own)
{
	static const struct {
		const char *off;
		size_t field;
	} one[] = {
		{ "102=0", offsetof(struct cuda_device, has_vmm) },
		{ "103=0", offsetof(struct cuda_device, has_descriptors) },
		{ "110=0", offsetof(struct cuda_device, has_rdma) },
		{ "113=0", offsetof(struct cuda_device, has_read_only) },
		{ "122=0", offsetof(struct cuda_device, has_word_writes) },
	};

	for (size_t i = 0; i < sizeof one / sizeof *one; i++) {
		open_with("CKV_EMU_ATTRIBUTES", one[i].off);
		for (size_t j = 0; j < sizeof one / sizeof *one; j++)
			ck_assert_int_eq(*((const bool *)&all.device[0] + one[j].field), i != j);
	}
}
END_TEST

START_TEST(a_node_that_is_not_said_is_any)
{
	open_with("CKV_EMU_DEVICES", "1");
	ck_assert_int_eq(all.device[0].numa_node, CUDA_DEVICE_ANY_NODE);
	make_file("sys/bus/pci/devices/0000:0e:00.0/numa_node", "-1\n", 0444);
	open_with("CKV_EMU_DEVICES", "1");
	ck_assert_int_eq(all.device[0].numa_node, CUDA_DEVICE_ANY_NODE);
}
END_TEST

/* The service is there when its pipe is; a file of that name is none. */
START_TEST(mps_is_seen_by_its_pipe)
{
	char path[FOLDER_BYTES + 64];

	snprintf(path, sizeof path, "%s/tmp/nvidia-mps/control", root);
	make_file("tmp/nvidia-mps/control", "", 0666);
	open_with("CKV_EMU_DEVICES", "1");
	ck_assert(!all.has_mps);
	ck_assert_str_eq(all.mps, path);
	unlink(path);
	ck_assert_int_eq(mkfifo(path, 0666), 0);
	open_with("CKV_EMU_DEVICES", "1");
	ck_assert(all.has_mps);
	open_with("CUDA_MPS_PIPE_DIRECTORY", "/nowhere");
	ck_assert(!all.has_mps);
	ck_assert_str_eq(all.mps, "/nowhere/control");
}
END_TEST

/* ---- finding one ---- */

static const struct {
	const char *name;
	int index;		/* or -ENXIO */
} names[] = {
	{ "0", 0 }, { "2", 2 }, { "3", -ENXIO }, { "02", 2 }, { "", -ENXIO }, { "-1", -ENXIO },
	{ "GPU-636b7620-656d-756c-6174-656420475056", 1 },
	{ "gpu-636B7620-656D-756C-6174-656420475056", 1 },
	{ "GPU-636b7620-656d-756c-6174-65642047505", -ENXIO },
	{ "MIG-636b7620-656d-756c-6174-656420475056", -ENXIO },
	{ "0000:0f:00.0", 1 }, { "00000000:0F:00.0", 1 }, { "0f:00.0", 1 }, { "0F:00", 1 },
	{ "0001:0f:00.0", -ENXIO }, { "0f:00.1", -ENXIO }, { "0f:01.0", -ENXIO },
	{ "0f:00.0x", -ENXIO }, { "0f", -ENXIO }, { "1x", -ENXIO },
};

START_TEST(a_device_is_found_by_any_of_its_names)
{
	const struct cuda_device *found = NULL;
	int r;

	open_with("CKV_EMU_DEVICES", "3");
	r = cuda_device_find(&all, names[_i].name, &found);
	if (names[_i].index >= 0) {
		ck_assert_int_eq(r, 0);
		ck_assert_int_eq(found->index, names[_i].index);
		return;
	}
	ck_assert_int_eq(r, -ENXIO);
	ck_assert_ptr_null(found);
	SAYS(names[_i].name);
	SAYS(" 0 (GPU-636b7620-656d-756c-6174-656420475055, 0000:0e:00.0), 1 (GPU-");
	SAYS("57, 0000:10:00.0)");
}
END_TEST

/* A message that does not fit is cut. */
START_TEST(a_long_list_is_cut)
{
	const struct cuda_device *found;

	open_with("CKV_EMU_DEVICES", "40");
	ck_assert_uint_eq(all.n, CUDA_DEVICES_MAX);
	ck_assert_int_eq(cuda_device_find(&all, "40", &found), -ENXIO);
	ck_assert_uint_eq(strlen(all.why), sizeof all.why - 1);
}
END_TEST

/* ---- no driver, no device ---- */

START_TEST(no_library_is_no_driver)
{
	ck_assert_int_eq(cuda_devices_open("/nowhere/libcuda.so.1", root, &all), -ENOENT);
	SAYS("no CUDA driver: /nowhere/libcuda.so.1");
	ck_assert_uint_eq(all.n, 0);
	ck_assert_int_eq(cuda_devices_open("libm.so.6", root, &all), -ENOSYS);
	SAYS("cuGetProcAddress_v2");
}
END_TEST

START_TEST(an_old_driver_says_both_versions)
{
	setenv("CKV_EMU_VERSION", "11080", 1);
	ck_assert_int_eq(cuda_devices_open(DRIVER, root, &all), -ENOSYS);
	SAYS("CUDA 12.0 or later is needed, it has 11.8");
	open_with("CKV_EMU_VERSION", "12000");
}
END_TEST

START_TEST(a_driver_that_shows_nothing)
{
	setenv("CKV_EMU_DEVICES", "0", 1);
	ck_assert_int_eq(cuda_devices_open(DRIVER, root, &all), -ENODEV);
	ck_assert_str_eq(all.why, "the CUDA driver shows no GPU");
	make_file("proc/driver/nvidia/version", "NVRM", 0444);
	ck_assert_int_eq(cuda_devices_open(DRIVER, root, &all), -ENODEV);
	SAYS("kernel module is loaded, but");
	SAYS("/dev/nvidiactl is not there");
	make_file("dev/nvidiactl", "", 0666);
	ck_assert_int_eq(cuda_devices_open(DRIVER, root, &all), -ENODEV);
	ck_assert_str_eq(all.why, "the CUDA driver shows no GPU");
	setenv("CUDA_VISIBLE_DEVICES", "7", 1);
	ck_assert_int_eq(cuda_devices_open(DRIVER, root, &all), -ENODEV);
	SAYS("CUDA_VISIBLE_DEVICES is '7'");
}
END_TEST

/* Whatever the driver says then: it often takes files it may not open for no device. */
START_TEST(files_that_may_not_be_opened_are_named)
{
	static const char *const files[] = { "dev/nvidia0", "dev/nvidia-uvm", "dev/nvidiactl" };
	static const char *const says[] = { "cuInit:1:100", "cuInit:1:999", "cuInit:1:304" };

	int r;

	if (!CHECK_IS_ROOT())
		return;
	for (size_t i = 0; i < sizeof files / sizeof *files; i++)
		make_file(files[i], "", 0666);
	make_file(files[_i], "", 0660);
	ck_assert_int_eq(chmod(root, 0755), 0);
	ck_assert_int_eq(setegid(65534), 0);
	ck_assert_int_eq(seteuid(65534), 0);
	setenv("CKV_EMU_FAIL", says[_i], 1);
	r = cuda_devices_open(DRIVER, root, &all);
	ck_assert_int_eq(seteuid(0), 0);
	ck_assert_int_eq(setegid(0), 0);
	ck_assert_int_eq(r, -EACCES);
	SAYS("no permission to use the GPU: this process may not open ");
	SAYS(files[_i]);
}
END_TEST

/* ---- a device that will not do ---- */

static const struct {
	const char *name, *value, *says;
	int r;
} unfit[] = {
	{ "CKV_EMU_MIG", "1", "is a slice of a GPU (MIG)", -EOPNOTSUPP },
	{ "CKV_EMU_ATTRIBUTES", "1/20=2", "prohibited compute mode", -EBUSY },
	{ "CKV_EMU_ATTRIBUTES", "1/20=3", "exclusive compute mode", -EBUSY },
	{ "CKV_EMU_ATTRIBUTES", "1/102=0", "no virtual memory management", -EOPNOTSUPP },
	{ "CKV_EMU_ATTRIBUTES", "1/103=0", "descriptors", -EOPNOTSUPP },
};

START_TEST(what_stands_in_the_way_is_said)
{
	setenv("CKV_EMU_DEVICES", "2", 1);
	open_with(unfit[_i].name, unfit[_i].value);
	ck_assert_int_eq(cuda_device_judge(&all, &all.device[0], 0), 0);
	ck_assert_int_eq(cuda_device_judge(&all, &all.device[1], 0), unfit[_i].r);
	SAYS("GPU 1 (ckv emulated GPU");
	SAYS(unfit[_i].says);
}
END_TEST

START_TEST(a_slice_has_a_name_of_its_own)
{
	const struct cuda_device *found;

	open_with("CKV_EMU_MIG", "0");
	ck_assert_str_eq(all.device[0].name, "ckv emulated GPU MIG 1g.10gb");
	ck_assert_int_eq(cuda_device_find(&all, "MIG-6d6b7620-656d-756c-6174-656420475055",
					  &found), 0);
}
END_TEST

/* With MPS all are one process to the GPU, so exclusive mode keeps nobody out. */
START_TEST(mps_shares_an_exclusive_device)
{
	make_file("mps/x", "", 0444);
	strcat(root, "/mps");
	setenv("CUDA_MPS_PIPE_DIRECTORY", root, 1);
	strcat(root, "/control");
	ck_assert_int_eq(mkfifo(root, 0666), 0);
	open_with("CKV_EMU_ATTRIBUTES", "20=3");
	ck_assert_int_eq(cuda_device_judge(&all, &all.device[0], 0), 0);
	open_with("CKV_EMU_ATTRIBUTES", "20=2");
	ck_assert_int_eq(cuda_device_judge(&all, &all.device[0], 0), -EBUSY);
}
END_TEST

START_TEST(too_little_memory_says_both_amounts)
{
	open_with("CKV_EMU_MEMORY", "4294967296");
	ck_assert_int_eq(cuda_device_judge(&all, &all.device[0], 4 * GIB + 1), -ENOSPC);
	SAYS("has 4096 MiB of memory, 4096 MiB are asked of it");
	ck_assert_int_eq(cuda_device_judge(&all, &all.device[0], 20 * GIB), -ENOSPC);
	SAYS("20480 MiB are asked of it");
	ck_assert_int_eq(cuda_device_judge(&all, &all.device[0], 4 * GIB), 0);
}
END_TEST

/* ---- failures ---- */

/* The driver's version and how it is found, the others, then those that look at two. */
enum { N_FOUND = 2 + 10, N_CALLS = N_FOUND + 2 + 2 * 13 };

START_TEST(whichever_call_fails_is_said)
{
	char rule[32];
	int r;

	snprintf(rule, sizeof rule, "*:%d:719", _i + 1);
	setenv("CKV_EMU_FAIL", rule, 1);
	setenv("CKV_EMU_DEVICES", "2", 1);
	r = cuda_devices_open(DRIVER, root, &all);
	ck_assert_int_eq(r, _i == N_CALLS ? 0 : _i < N_FOUND && _i != 1 ? -ENOSYS : -EIO);
	ck_assert_uint_eq(all.n, _i == N_CALLS ? 2 : 0);
	SAYS(r == -EIO ? "(719)" : r == 0 ? "" : "lacks cu");
}
END_TEST

START_TEST(a_lost_device_is_said)
{
	setenv("CKV_EMU_LOSE", "cuDeviceGetName:1:700", 1);
	ck_assert_int_eq(cuda_devices_open(DRIVER, root, &all), -EIO);
	SAYS("cuDeviceGetName: CUDA_ERROR_ILLEGAL_ADDRESS (700)");
}
END_TEST

START_TEST(an_unknown_error_is_a_number)
{
	setenv("CKV_EMU_FAIL", "cuDeviceGetCount:1:4711", 1);
	ck_assert_int_eq(cuda_devices_open(DRIVER, root, &all), -EIO);
	ck_assert_str_eq(all.why,
			 "the CUDA driver fails at cuDeviceGetCount: an unknown error (4711)");
}
END_TEST

CHECK_MAIN("kernels_cuda_device",
	CASE("there", .setup = setup),
	TEST(a_device_says_what_it_is),
	TEST(each_attribute_is_its_own),
	TEST(a_node_that_is_not_said_is_any),
	TEST(mps_is_seen_by_its_pipe),
	EACH(a_device_is_found_by_any_of_its_names, names),
	TEST(a_long_list_is_cut),
	CASE("not there", .setup = setup),
	TEST(no_library_is_no_driver),
	TEST(an_old_driver_says_both_versions),
	TEST(a_driver_that_shows_nothing),
	LOOP(files_that_may_not_be_opened_are_named, 3),
	CASE("unfit", .setup = setup),
	EACH(what_stands_in_the_way_is_said, unfit),
	TEST(a_slice_has_a_name_of_its_own),
	TEST(mps_shares_an_exclusive_device),
	TEST(too_little_memory_says_both_amounts),
	CASE("failures", .setup = setup),
	LOOP(whichever_call_fails_is_said, N_CALLS + 1),
	TEST(a_lost_device_is_said),
	TEST(an_unknown_error_is_a_number))

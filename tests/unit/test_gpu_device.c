/* SPDX-License-Identifier: Apache-2.0 */
/* test_gpu_device.c - tests/gpu/device.c: what it says of the devices that a driver shows. */
#include "tests/gpu/device.h"
#include "tests/lib/check_main.h"

#include <string.h>

static const char *const names[] = { "NVIDIA H100 80GB HBM3", "NVIDIA A100-SXM4-40GB MIG 1g.5gb" };

static CUresult get(CUdevice *device, int n)
{
	*device = n;
	return CUDA_SUCCESS;
}

static CUresult name_of(char *name, int bytes, CUdevice device)
{
	snprintf(name, (size_t)bytes, "%s", names[device]);
	return CUDA_SUCCESS;
}

static CUresult uuid_of(CUuuid *uuid, CUdevice device)
{
	for (int i = 0; i < 16; i++)
		uuid->bytes[i] = (char)(i * 0x11 + device);
	return CUDA_SUCCESS;
}

static CUresult memory_of(size_t *bytes, CUdevice device)
{
	*bytes = device == 0 ? (size_t)80 << 30 : (size_t)5 << 30;
	return CUDA_SUCCESS;
}

static CUresult attribute_of(int *value, CUdevice_attribute attribute, CUdevice device)
{
	*value = attribute == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR ? 9 - device :
		 attribute == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR ? 6 :
		 attribute == CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT ? 132 : 50 << 20;
	return CUDA_SUCCESS;
}

static void driver(void)
{
	gpu = (struct gpu_driver){
		.cuDeviceGet = get, .cuDeviceGetName = name_of, .cuDeviceGetUuid = uuid_of,
		.cuDeviceTotalMem = memory_of, .cuDeviceGetAttribute = attribute_of };
}

START_TEST(a_gpu_has_the_name_that_cuda_visible_devices_takes)
{
	struct gpu_words w;

	gpu_describe(0, &w);
	ck_assert_str_eq(w.name, "NVIDIA H100 80GB HBM3");
	ck_assert_str_eq(w.uuid, "GPU-00112233-4455-6677-8899-aabbccddeeff");
	ck_assert(!w.mig);
	ck_assert_int_eq(w.capability, 96);
	ck_assert_int_eq(w.multiprocessors, 132);
	ck_assert_uint_eq(w.memory_bytes, (size_t)80 << 30);
	ck_assert_uint_eq(w.l2_bytes, 50 << 20);
}
END_TEST

START_TEST(a_slice_is_told_from_a_gpu)
{
	struct gpu_words w;

	gpu_describe(1, &w);
	ck_assert_str_eq(w.uuid, "MIG-01122334-4556-6778-899a-abbccddeef00");
	ck_assert(w.mig);
	ck_assert_int_eq(w.capability, 86);
}
END_TEST

CHECK_MAIN("gpu_device",
	CASE("device", .setup = driver),
	TEST(a_gpu_has_the_name_that_cuda_visible_devices_takes),
	TEST(a_slice_is_told_from_a_gpu))

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_cli_doctor_gpu.c - what `ckv doctor` says of GPUs, on the emulated driver.
 */
#include "client/cli/doctor.h"
#include "tests/lib/check_main.h"
#include "tests/lib/command.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#ifdef __SANITIZE_ADDRESS__
#define DRIVER	"build-emu/asan/libckv-emu-cuda.so"
#else
#define DRIVER	"build-emu/libckv-emu-cuda.so"
#endif

static struct doctor doctor;
static char root[FOLDER_BYTES];

static void setup(void)
{
	unsetenv("CUDA_VISIBLE_DEVICES");
	unsetenv("CUDA_MPS_PIPE_DIRECTORY");
	folder_make(root);
	doctor.n = 0;
}

#define HAS(text, part)	ck_assert_msg(strstr(text, part) != NULL, "%s", text)

START_TEST(no_driver_is_an_ordinary_machine)
{
	doctor_gpu(&doctor, "/nowhere/libcuda.so.1", root);
	ck_assert_uint_eq(doctor.n, 1);
	ck_assert_int_eq(doctor.finding[0].level, DOCTOR_OK);
	HAS(doctor.finding[0].what, "no CUDA driver: /nowhere/libcuda.so.1");
	HAS(doctor.finding[0].what, "in host memory works");
}
END_TEST

/* A driver of which nothing can be used. */
static const struct {
	const char *name, *value, *what, *todo;
} refusals[] = {
	{ "CKV_EMU_VERSION", "11040", "it has 11.4", "newer driver" },
	{ "CKV_EMU_DEVICES", "0", "shows no GPU", "if there is no GPU" },
	{ "CKV_EMU_FAIL", "cuInit:1:999", "CUDA_ERROR_UNKNOWN (999)", "kernel's log" },
};

START_TEST(a_driver_without_use_is_warned_of)
{
	setenv(refusals[_i].name, refusals[_i].value, 1);
	doctor_gpu(&doctor, DRIVER, root);
	ck_assert_uint_eq(doctor.n, 1);
	ck_assert_int_eq(doctor.finding[0].level, DOCTOR_WARN);
	HAS(doctor.finding[0].what, refusals[_i].what);
	HAS(doctor.finding[0].cost, "blocks are kept in host memory");
	HAS(doctor.finding[0].todo, refusals[_i].todo);
}
END_TEST

START_TEST(each_gpu_is_judged)
{
	setenv("CKV_EMU_DEVICES", "3", 1);
	setenv("CKV_EMU_MIG", "1", 1);
	setenv("CKV_EMU_ATTRIBUTES", "0/110=0,0/113=0,0/122=0,2/20=3", 1);
	doctor_gpu(&doctor, DRIVER, root);
	ck_assert_uint_eq(doctor.n, 5);
	HAS(doctor.finding[0].what, "CUDA 13.0 and shows 3");
	HAS(doctor.finding[0].what, "this version keeps no blocks in their memory");
	ck_assert_int_eq(doctor.finding[1].level, DOCTOR_OK);
	ck_assert_str_eq(doctor.finding[1].what, "0: ckv emulated GPU, "
			 "GPU-636b7620-656d-756c-6174-656420475055, 0000:0e:00.0, 4.0 GiB, "
			 "compute capability 9.0, NUMA node not known; processes can share its "
			 "memory; network cards do not reach its memory; it does not read what "
			 "is mapped read-only; its streams do not write 64-bit words");
	ck_assert_int_eq(doctor.finding[2].level, DOCTOR_WARN);
	HAS(doctor.finding[2].what, "a slice of a GPU (MIG)");
	ck_assert_int_eq(doctor.finding[3].level, DOCTOR_WARN);
	HAS(doctor.finding[3].what, "exclusive compute mode");
	HAS(doctor.finding[3].todo, "compute mode");
	HAS(doctor.finding[4].what, "does not run");
}
END_TEST

START_TEST(mps_is_said_with_what_follows)
{
	setenv("CUDA_MPS_PIPE_DIRECTORY", root, 1);
	strcat(root, "/control");
	ck_assert_int_eq(mkfifo(root, 0666), 0);
	doctor_gpu(&doctor, DRIVER, "");
	ck_assert_uint_eq(doctor.n, 3);
	ck_assert_str_eq(doctor.finding[2].name, "MPS");
	HAS(doctor.finding[2].what, root);
	HAS(doctor.finding[2].what, "a fatal fault of one of them reaches all");
}
END_TEST

/* The command itself, which has no other driver than the one that the loader finds. */
START_TEST(the_command_finds_a_driver_or_none)
{
	char driver[512], link[FOLDER_BYTES + 16];
	json_t *said_json;
	size_t n = 0, i;
	json_t *one;

	ck_assert_ptr_nonnull(realpath(DRIVER, driver));
	snprintf(link, sizeof link, "%s/libcuda.so.1", root);
	ck_assert_int_eq(symlink(driver, link), 0);
	setenv("LD_LIBRARY_PATH", root, 1);
	ckv("doctor");
	HAS(said.out, "ok    GPU            0: ckv emulated GPU, GPU-");
	said_json = ckv_json("doctor");
	json_array_foreach(said_json, i, one)
		n += strcmp(json_string_value(json_object_get(one, "name")), "GPU") == 0;
	ck_assert_uint_eq(n, 2);
	json_decref(said_json);
	ck_assert_int_eq(unlink(link), 0);
	ck_assert_int_eq(symlink("/nowhere", link), 0);
	ckv("doctor");
	HAS(said.out, "GPU            ");
	ck_assert_int_eq(said.rc, 0);
}
END_TEST

CHECK_MAIN("cli_doctor_gpu",
	CASE("GPU", .setup = setup),
	TEST(no_driver_is_an_ordinary_machine),
	EACH(a_driver_without_use_is_warned_of, refusals),
	TEST(each_gpu_is_judged),
	TEST(mps_is_said_with_what_follows),
	TEST(the_command_finds_a_driver_or_none))

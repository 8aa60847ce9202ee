/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_kernels_cuda.c - the launchers and the driver: what is asked for, what failures mean.
 *
 * The driver is tests/cuda/fake.c, which runs nothing. Each test has a process of its own,
 * as a process opens its driver once.
 */
#include "kernels/ckv_cuda.h"
#include "kernels/cuda_launch.h"
#include "kernels/cuda_task.h"
#include "tests/cuda/fake.h"
#include "tests/lib/built.h"
#include "tests/lib/check_main.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <sys/wait.h>

/* Code for some files, as if nvcc had not been there for the rest. */
static const char code[] = "device code";
const void *const cuda_image[N_CUDA_FILES] = {
	[CUDA_FILE_begin] = code, [CUDA_FILE_norms] = code, [CUDA_FILE_checksum] = code };

static const struct cuda_function list[] = { CKV_CUDA_FUNCTIONS(CKV_CUDA_FUNCTION) };
static char path[512];
static struct fake *fake;
static uint64_t status;

/* The fake is this process's driver from now on; what it does is still to be said. */
static void setup(void)
{
	void *library;

	built("tests/fake_cuda.so", path, sizeof path);
	if (access(path, R_OK) < 0)	/* a mutant does not lie there */
		snprintf(path, sizeof path, "build/tests/fake_cuda.so");
	library = dlopen(path, RTLD_NOW);
	ck_assert_msg(library != NULL, "%s", dlerror());
	fake = dlsym(library, "fake_driver");
	ck_assert_ptr_nonnull(fake);
}

static void open_fake(void)
{
	const struct cuda_driver *driver;

	setup();
	ck_assert_int_eq(cuda_driver_open(path, &driver), 0);
}

/* A launch with all that one can need. */
static int launch_large(void)
{
	void *const args[] = { &status };

	return cuda_launch(KERNEL_norms_f32x4, (struct cuda_shape){ 9, 128, 64 << 10 }, NULL,
			   args);
}

/* -------------------------------------------------------------- the library */

START_TEST(a_missing_library_is_named)
{
	const struct cuda_driver *driver = NULL;

	ck_assert_int_eq(cuda_driver_open("/nowhere/libcuda.so.1", &driver), -ENODEV);
	ck_assert_ptr_null(driver);
	ck_assert_ptr_nonnull(strstr(cuda_driver_why(), "/nowhere/libcuda.so.1"));
	ck_assert_int_eq(ckv_cuda_begin(&status, NULL), -ENODEV);
}
END_TEST

START_TEST(another_library_is_no_driver)
{
	const struct cuda_driver *driver;

	ck_assert_int_eq(cuda_driver_open("libm.so.6", &driver), -ENODEV);
	ck_assert_ptr_nonnull(strstr(cuda_driver_why(), "cuGetProcAddress_v2"));
}
END_TEST

/* Whichever function a driver lacks, the message has its name, and nothing is launched. */
START_TEST(a_missing_function_is_named)
{
	const struct cuda_driver *driver = NULL;
	char version[16];

	snprintf(version, sizeof version, "%d.%d", list[_i].version / 1000,
		 list[_i].version % 1000 / 10);
	fake->missing = list[_i].name;
	ck_assert_int_eq(cuda_driver_open(path, &driver), -ENODEV);
	ck_assert_ptr_null(driver);
	ck_assert_ptr_nonnull(strstr(cuda_driver_why(), list[_i].name));
	ck_assert_ptr_nonnull(strstr(cuda_driver_why(), version));
	ck_assert_int_eq(ckv_cuda_begin(&status, NULL), -ENODEV);
	ck_assert_uint_eq(fake->n_calls[FAKE_LAUNCH_KERNEL], 0);
}
END_TEST

/* A driver that is not there is not looked for again. */
START_TEST(the_first_answer_stays)
{
	const struct cuda_driver *driver;

	fake->missing = list[0].name;
	ck_assert_int_eq(cuda_driver_open(path, &driver), -ENODEV);
	fake->missing = NULL;
	ck_assert_int_eq(cuda_driver_open(path, &driver), -ENODEV);
	ck_assert_uint_eq(fake->n_wanted, 1);
}
END_TEST

/*
 * Each function of the list once, of its version, and no other: so no launcher can make
 * another context current or take an error that is pending.
 */
START_TEST(only_the_list_is_asked_for)
{
	const void *page[1] = { code };
	uint64_t digest, sum;

	ck_assert_int_eq(ckv_cuda_begin(&status, NULL), 0);
	ck_assert_int_eq(launch_large(), 0);
	ck_assert_int_eq(ckv_cuda_page_checksum(page, 1, 16, &digest, &sum, NULL), 0);
	cuda_blocks_at_once(KERNEL_norms_f32x4, 128, 0);
	ck_assert_uint_eq(fake->n_wanted, COUNT(list));
	for (size_t i = 0; i < COUNT(list); i++) {
		ck_assert_str_eq(fake->wanted[i], list[i].name);
		ck_assert_int_eq(fake->version[i], list[i].version);
	}
}
END_TEST

/* ------------------------------------------------------------------ launches */

START_TEST(a_launch_is_as_asked)
{
	int mine;
	void *stream = &mine;

	ck_assert_int_eq(ckv_cuda_begin(&status, stream), 0);
	ck_assert_ptr_eq(fake->code, code);
	ck_assert_str_eq(fake->kernel, "ckvk_begin");
	ck_assert_ptr_eq(fake->config.hStream, stream);
	ck_assert_uint_eq(fake->config.gridDimX, 1);
	ck_assert_uint_eq(fake->config.numAttrs, 0);
	ck_assert_int_eq(launch_large(), 0);
	ck_assert_str_eq(fake->kernel, "ckvk_norms_f32x4");
	ck_assert_uint_eq(fake->config.gridDimX, 9);
	ck_assert_uint_eq(fake->config.gridDimY * fake->config.gridDimZ, 1);
	ck_assert_uint_eq(fake->config.blockDimX, 128);
	ck_assert_uint_eq(fake->config.blockDimY * fake->config.blockDimZ, 1);
	ck_assert_uint_eq(fake->config.sharedMemBytes, 64 << 10);
	ck_assert_ptr_eq(fake->argument, &status);
}
END_TEST

/* Beyond 48 KiB a kernel is allowed all that the device has, and before that nothing. */
START_TEST(much_shared_memory_is_allowed_first)
{
	ck_assert_int_eq(ckv_cuda_begin(&status, NULL), 0);
	ck_assert_uint_eq(fake->n_calls[FAKE_KERNEL_SET_ATTRIBUTE], 0);
	ck_assert_uint_eq(fake->n_calls[FAKE_CTX_GET_DEVICE], 0);
	ck_assert_int_eq(launch_large(), 0);
	ck_assert_uint_eq(fake->n_calls[FAKE_KERNEL_SET_ATTRIBUTE], 1);
	ck_assert_int_eq(fake->attribute, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES);
	ck_assert_int_eq(fake->value, FAKE_MOST_SHARED);
}
END_TEST

/* Two kernels of one file need its code once. */
START_TEST(a_file_is_loaded_once)
{
	const void *page[1] = { code };
	uint64_t digest, sum;

	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(ckv_cuda_page_checksum(page, 1, 16, &digest, &sum, NULL), 0);
	ck_assert_uint_eq(fake->n_calls[FAKE_LIBRARY_LOAD_DATA], 1);
	ck_assert_uint_eq(fake->n_calls[FAKE_LIBRARY_GET_KERNEL], 2);
	ck_assert_uint_eq(fake->n_calls[FAKE_LAUNCH_KERNEL], 4);
}
END_TEST

START_TEST(a_file_without_code_has_no_device)
{
	float x = 0;

	ck_assert_int_eq(ckv_cuda_pool(CKV_POOL_MAX, 1, &x, 1, 1, &x, NULL), -ENODEV);
	ck_assert_uint_eq(fake->n_calls[FAKE_LIBRARY_LOAD_DATA], 0);
}
END_TEST

START_TEST(occupancy_counts_blocks)
{
	ck_assert_uint_eq(cuda_blocks_at_once(KERNEL_norms_f32x4, 128, 82 << 10),
			  FAKE_OCCUPANCY * FAKE_MULTIPROCESSORS);
	ck_assert_uint_eq(fake->n_calls[FAKE_KERNEL_SET_ATTRIBUTE], 1);
	fake->fails[FAKE_OCCUPANCY_OF] = CUDA_ERROR_INVALID_CONTEXT;
	ck_assert_uint_eq(cuda_blocks_at_once(KERNEL_norms_f32x4, 128, 0), 1);
}
END_TEST

/* ------------------------------------------------------------------ failures */

static const struct {
	CUresult result;
	int means;
} failures[] = {
	{ CUDA_ERROR_NOT_INITIALIZED, -ENODEV }, { CUDA_ERROR_DEINITIALIZED, -ENODEV },
	{ CUDA_ERROR_NO_DEVICE, -ENODEV }, { CUDA_ERROR_INVALID_DEVICE, -ENODEV },
	{ CUDA_ERROR_INVALID_CONTEXT, -ENODEV },	/* none is current */
	{ CUDA_ERROR_INVALID_IMAGE, -ENODEV }, { CUDA_ERROR_NO_BINARY_FOR_GPU, -ENODEV },
	{ CUDA_ERROR_JIT_COMPILER_NOT_FOUND, -ENODEV },
	{ CUDA_ERROR_JIT_COMPILATION_DISABLED, -ENODEV },
	{ CUDA_ERROR_UNSUPPORTED_PTX_VERSION, -ENODEV },
	{ CUDA_ERROR_SYSTEM_DRIVER_MISMATCH, -ENODEV },
	{ CUDA_ERROR_OUT_OF_MEMORY, -ENOMEM },
	{ 1, -EIO },	/* CUDA_ERROR_INVALID_VALUE: the launch is refused */
	{ 700, -EIO },	/* CUDA_ERROR_ILLEGAL_ADDRESS of somebody's kernel before */
};

static const enum fake_call of_a_launch[] = {
	FAKE_LIBRARY_LOAD_DATA, FAKE_LIBRARY_GET_KERNEL, FAKE_CTX_GET_DEVICE,
	FAKE_DEVICE_GET_ATTRIBUTE, FAKE_KERNEL_SET_ATTRIBUTE, FAKE_LAUNCH_KERNEL,
};

/* What kernels have in place of a division is one, for each length and the largest number. */
START_TEST(lengths_divide_exactly)
{
	const uint32_t most = (1u << 31) + 512;

	for (uint32_t n = 1; n <= CKV_KERNEL_MAX_DIM; n++) {
		struct cuda_length l = cuda_length_of(n);

		for (uint32_t x = 0; x < 4 * n; x++) {
			uint32_t edge = most - most % n - 2 * n + x;

			ck_assert_uint_eq(cuda_over(x, l), x / n);
			if (edge <= most)
				ck_assert_uint_eq(cuda_over(edge, l), edge / n);
		}
	}
}
END_TEST

/* Whichever call of a launch fails, its failure comes back; once it is over, all is well. */
START_TEST(a_failure_comes_back)
{
	for (size_t i = 0; i < COUNT(of_a_launch); i++) {
		fake->fails[of_a_launch[i]] = failures[_i].result;
		ck_assert_int_eq(launch_large(), failures[_i].means);
		ck_assert_uint_eq(fake->n_calls[FAKE_LAUNCH_KERNEL],
				  of_a_launch[i] == FAKE_LAUNCH_KERNEL);
		fake->fails[of_a_launch[i]] = CUDA_SUCCESS;
	}
	ck_assert_int_eq(launch_large(), 0);
}
END_TEST

/* Of two launches the first that fails ends the call. */
START_TEST(the_first_failure_ends_the_call)
{
	const void *page[1] = { code };
	uint64_t digest, sum;

	fake->fails[FAKE_LAUNCH_KERNEL] = 700;
	ck_assert_int_eq(ckv_cuda_page_checksum(page, 1, 16, &digest, &sum, NULL), -EIO);
	ck_assert_uint_eq(fake->n_calls[FAKE_LAUNCH_KERNEL], 1);
	ck_assert_str_eq(fake->kernel, "ckvk_pieces");
}
END_TEST

/* ------------------------------------------------------------------- threads */

enum { N_THREADS = 8, N_LAUNCHES = 200 };

static void *launch_many(void *barrier)
{
	const struct cuda_driver *driver;
	size_t failed = 0;

	pthread_barrier_wait(barrier);
	failed += cuda_driver_open(path, &driver) != 0;
	for (int i = 0; i < N_LAUNCHES; i++) {
		failed += ckv_cuda_begin(&status, NULL) != 0;
		failed += launch_large() != 0;
	}
	return (void *)failed;
}

START_TEST(many_threads_load_once)
{
	pthread_t thread[N_THREADS];
	pthread_barrier_t barrier;
	void *failed;

	pthread_barrier_init(&barrier, NULL, N_THREADS);
	for (int i = 0; i < N_THREADS; i++)
		ck_assert_int_eq(pthread_create(&thread[i], NULL, launch_many, &barrier), 0);
	for (int i = 0; i < N_THREADS; i++) {
		pthread_join(thread[i], &failed);
		ck_assert_ptr_null(failed);
	}
	ck_assert_uint_eq(fake->n_wanted, COUNT(list));
	ck_assert_uint_eq(fake->n_calls[FAKE_LIBRARY_LOAD_DATA], 2);
	ck_assert_uint_eq(fake->n_calls[FAKE_LIBRARY_GET_KERNEL], 2);
	ck_assert_uint_eq(fake->n_calls[FAKE_LAUNCH_KERNEL], 2 * N_THREADS * N_LAUNCHES);
}
END_TEST

static void *launch_first(void *unused)
{
	const struct cuda_driver *driver;

	(void)unused;
	if (cuda_driver_open(path, &driver) == 0)
		ckv_cuda_begin(&status, NULL);
	return NULL;
}

/*
 * A child of fork() is made while another thread is in its first call, and stays there:
 * finding functions, or loading code. It does the call itself and does not wait.
 */
START_TEST(a_child_waits_for_no_thread_of_its_parent)
{
	const struct cuda_driver *driver;
	pthread_barrier_t barrier;
	pthread_t thread;
	int ended;
	pid_t child;

	if (_i == 1)
		ck_assert_int_eq(cuda_driver_open(path, &driver), 0);
	pthread_barrier_init(&barrier, NULL, 2);
	fake->stop = &barrier;
	fake->stopped = getpid();
	ck_assert_int_eq(pthread_create(&thread, NULL, launch_first, NULL), 0);
	pthread_barrier_wait(&barrier);
	child = fork();
	if (child == 0) {
		alarm(20);
		_exit(cuda_driver_open(path, &driver) == 0 &&
		      ckv_cuda_begin(&status, NULL) == 0 && launch_large() == 0 ? 0 : 1);
	}
	ck_assert_int_eq(waitpid(child, &ended, 0), child);
	ck_assert_int_eq(ended, 0);
}
END_TEST

/* A selection that reads no keys reads no layer_step either. */
START_TEST(only_what_is_read_is_judged)
{
	struct ckv_selection s = { .kind = CKV_KEEP_ALL };
	struct ckv_cuda_layers in = { .of_layers = 3, .k.n_layers = 3 };
	struct ckv_cuda_kept kept;

	in.k.rows.n_heads = 2;
	in.k.rows.n_tokens = 40;
	ck_assert_int_eq(ckv_cuda_select_shape(&s, &in, &kept), 0);
	ck_assert_uint_eq(kept.max_n, 40);
	ck_assert_uint_gt(ckv_cuda_select_work_bytes(&s, &in), 0);
}
END_TEST

CHECK_MAIN("kernels_cuda",
	CASE("library", .setup = setup),
	TEST(a_missing_library_is_named),
	TEST(another_library_is_no_driver),
	EACH(a_missing_function_is_named, list),
	TEST(the_first_answer_stays),
	TEST(many_threads_load_once),
	LOOP(a_child_waits_for_no_thread_of_its_parent, 2),
	CASE("launches", .setup = open_fake),
	TEST(only_the_list_is_asked_for),
	TEST(a_launch_is_as_asked),
	TEST(lengths_divide_exactly),
	TEST(much_shared_memory_is_allowed_first),
	TEST(a_file_is_loaded_once),
	TEST(a_file_without_code_has_no_device),
	TEST(occupancy_counts_blocks),
	EACH(a_failure_comes_back, failures),
	TEST(the_first_failure_ends_the_call),
	TEST(only_what_is_read_is_judged))

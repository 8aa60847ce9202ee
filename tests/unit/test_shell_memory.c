/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_shell_memory.c - what a client can do with the memory it is sent.
 */
#include "daemon/shell/memory.h"
#include "daemon/shell/sys.h"
#include "tests/lib/check_main.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct ckv_pool_shape shape = {
	.page_bytes = 8192, .slab_stride = 4u << 20, .slab_pages = 512,
	.n_slabs = 3, .n_block_pages = 1024, .first_view_page = 1024,
	.n_view_pages = 512,
};

static struct memory make(enum memory_kind kind)
{
	struct memory m;
	uint32_t head = 42;

	ck_assert_int_eq(memory_create("t", 8192, kind, &head, sizeof head, &m),
			 0);
	ck_assert_uint_eq(*(uint32_t *)m.base, 42);
	return m;
}

/* Nobody can change the size of what is shared, nor add seals. */
START_TEST(the_size_is_sealed)
{
	struct memory m = make((enum memory_kind)_i);

	ck_assert_int_ne(ftruncate(m.fd, 4096), 0);
	ck_assert_int_eq(errno, EPERM);
	ck_assert_int_ne(ftruncate(m.fd, 1 << 20), 0);
	ck_assert_int_ne(fcntl(m.fd, F_ADD_SEALS, F_SEAL_WRITE), 0);
	memory_destroy(&m);
	ck_assert_int_eq(sys_descriptors(), 0);
}
END_TEST

/* Ours cannot be mapped for writing any more, by no descriptor of it. */
START_TEST(memory_of_the_daemon_takes_no_new_writer)
{
	struct memory m = make(MEMORY_OURS);
	int reader = memory_reader(m.fd);

	ck_assert_int_ge(reader, 0);
	ck_assert_ptr_eq(mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED,
			      m.fd, 0), MAP_FAILED);
	ck_assert_ptr_eq(mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED,
			      reader, 0), MAP_FAILED);
	ck_assert_ptr_ne(mmap(NULL, 8192, PROT_READ, MAP_SHARED, reader, 0),
			 MAP_FAILED);
	ck_assert_int_lt(pwrite(m.fd, "x", 1, 0), 0);
	((char *)m.base)[0] = 'x';	/* ours still writes */
	sys_close(reader);
	memory_destroy(&m);
}
END_TEST

/* A read-only descriptor of a slab stays read-only for another user, /proc included. */
START_TEST(another_user_cannot_reopen_a_reader_for_writing)
{
	struct pool pool;
	const struct pool_options options = { .n_threads = 1 };
	int reader, status, root = CHECK_IS_ROOT();

	ck_assert_int_eq(pool_create(&shape, &options, &pool), 0);
	reader = memory_reader(pool.fds[1]);
	ck_assert_ptr_eq(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED,
			      reader, 0), MAP_FAILED);
	if (root && fork() == 0) {
		char path[64];

		snprintf(path, sizeof path, "/proc/self/fd/%d", reader);
		if (setresgid(65534, 65534, 65534) != 0 ||
		    setresuid(65534, 65534, 65534) != 0)
			_exit(3);
		_exit(open(path, O_RDWR) >= 0 ? 1 : errno == EACCES ? 0 : 2);
	}
	if (root) {
		wait(&status);
		ck_assert_int_eq(status, 0);
	}
	sys_close(reader);
	pool_destroy(&pool);
	ck_assert_int_eq(sys_descriptors(), 0);
	ck_assert_int_eq(sys_mapped_bytes(), 0);
}
END_TEST

/* What the client writes is mapped read-only here: a slip of ours faults. */
START_TEST(memory_of_a_client_is_not_written_here)
{
	int fd = memory_file("t", 16384), status;
	struct memory m;
	char *theirs = mmap(NULL, 16384, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	ck_assert_int_eq(memory_part(fd, 8192, 8192, &m), 0);
	ck_assert_ptr_ne(theirs, MAP_FAILED);
	theirs[8192 + 100] = 7;
	ck_assert_int_eq(((volatile char *)m.base)[100], 7);
	if (fork() == 0) {
		signal(SIGSEGV, SIG_DFL);	/* a sanitizer has its own */
		((volatile char *)m.base)[100] = 8;
		_exit(0);
	}
	wait(&status);
	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
	ck_assert_int_eq(memory_check(fd, 16384), 0);
	if (fork() == 0) {
		/* Not even mapped in a child. */
		unsigned char in;

		_exit(mincore(m.base, 4096, &in) != 0 && errno == ENOMEM ? 0 : 1);
	}
	wait(&status);
	ck_assert_int_eq(status, 0);
	munmap(theirs, 16384);
	memory_destroy(&m);
	sys_close(fd);
}
END_TEST

/* What outlives the daemon: a successor maps it to write, and knows it from other memory. */
START_TEST(memory_that_is_kept_takes_a_writer)
{
	struct memory m = make(MEMORY_KEPT), again, ours = make(MEMORY_OURS);
	int fd = sys_dup(m.fd), plain = sys_memfd("t");

	ck_assert_int_eq(memory_check(fd, 8192), 0);
	ck_assert_int_eq(memory_check(fd, 4096), -EINVAL);
	ck_assert_int_eq(memory_check(ours.fd, 8192), -EINVAL);
	ck_assert_int_eq(sys_truncate(plain, 8192), 0);
	ck_assert_int_eq(memory_check(plain, 8192), -EINVAL);
	ck_assert_int_eq(memory_check(0, 8192), -EINVAL);
	memory_destroy(&m);
	ck_assert_int_eq(memory_adopt(fd, 8192, &again), 0);
	ck_assert_uint_eq(*(uint32_t *)again.base, 42);
	*(uint32_t *)again.base = 43;
	memory_destroy(&again);
	memory_destroy(&ours);
	sys_close(plain);
	ck_assert_int_eq(sys_descriptors(), 0);
	ck_assert_int_eq(sys_mapped_bytes(), 0);
}
END_TEST

/* Slabs lie at equal distances, aligned to 2 MiB, each its own file. */
START_TEST(slabs_lie_where_pages_say)
{
	struct pool pool;
	const struct pool_options options = { .n_threads = 4,
					      .huge_pages = _i == 1 };

	ck_assert_int_eq(pool_create(&shape, &options, &pool), 0);
	ck_assert_uint_eq((uintptr_t)pool.base % CKV_HUGE_BYTES, 0);
	for (uint32_t i = 0; i < shape.n_slabs; i++) {
		char *slab = (char *)pool.base + ckv_page_offset(&shape, i * 512);
		char byte = (char)('a' + i);

		slab[17] = byte;
		byte = 0;
		ck_assert_int_eq(pread(pool.fds[i], &byte, 1, 17), 1);
		ck_assert_int_eq(byte, 'a' + (int)i);
	}
	ck_assert_uint_le(pool.huge_bytes, 3 * shape.slab_stride);
	if (!options.huge_pages)
		ck_assert_uint_eq(pool.huge_bytes, 0);
	pool_destroy(&pool);
}
END_TEST

/* Huge pages that the kernel does not give are not claimed. */
START_TEST(huge_bytes_are_what_the_kernel_says)
{
	struct memory m;
	uint64_t huge = 1;

	ck_assert_int_eq(memory_create("t", 4 * CKV_HUGE_BYTES, MEMORY_OURS, NULL,
				       0, &m), 0);
	ck_assert_int_eq(memory_huge_bytes(m.base, m.bytes, &huge), 0);
	ck_assert_uint_eq(huge, 0);
	memset(m.base, 1, m.bytes);
	sys_fault_arm(1, EINVAL);	/* a kernel without MADV_COLLAPSE */
	memory_collapse(m.base, m.bytes);
	sys_fault_arm(0, 0);
	memory_destroy(&m);
}
END_TEST

CHECK_MAIN("shell_memory",
	CASE("memory"),
	LOOP(the_size_is_sealed, 2),
	TEST(memory_of_the_daemon_takes_no_new_writer),
	TEST(another_user_cannot_reopen_a_reader_for_writing),
	TEST(memory_of_a_client_is_not_written_here),
	TEST(memory_that_is_kept_takes_a_writer),
	LOOP(slabs_lie_where_pages_say, 2),
	TEST(huge_bytes_are_what_the_kernel_says))

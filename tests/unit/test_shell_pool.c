/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_shell_pool.c - a pool takes the memory of its pages, whatever the slabs.
 */
#include "client/ckv.h"
#include "daemon/shell/config.h"
#include "daemon/shell/memory.h"
#include "daemon/shell/sys.h"
#include "tests/lib/check_main.h"
#include "tests/lib/daemon.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Pages and slabs that do not fill their stride. */
static const struct ckv_pool_shape shapes[] = {
	{ .page_bytes = 4096, .slab_stride = CKV_HUGE_BYTES, .slab_pages = 1,
	  .n_slabs = 40, .n_block_pages = 40, .first_view_page = 40 },
	{ .page_bytes = 752 * 4096, .slab_stride = 4u << 20, .slab_pages = 1,
	  .n_slabs = 5, .n_block_pages = 5, .first_view_page = 5 },
	{ .page_bytes = 12288, .slab_stride = 4u << 20, .slab_pages = 200,
	  .n_slabs = 3, .n_block_pages = 600, .first_view_page = 600 },
};

static uint64_t backed_bytes(int fd)
{
	struct stat s;

	ck_assert_int_eq(fstat(fd, &s), 0);
	return (uint64_t)s.st_blocks * 512;
}

/* Every page is there, and nothing else was taken or can be reached. */
START_TEST(a_slab_has_its_pages_and_no_more)
{
	const struct ckv_pool_shape *shape = &shapes[_i / 2];
	const struct pool_options options = { .n_threads = 2,
					      .huge_pages = _i % 2 == 1 };
	uint64_t taken = 0;
	struct pool pool;
	struct stat s;

	ck_assert_int_eq(pool_create(shape, &options, &pool), 0);
	for (uint32_t i = 0; i < shape->n_block_pages; i++)
		memset((char *)pool.base + ckv_page_offset(shape, i), 1,
		       shape->page_bytes);
	for (uint32_t i = 0; i < shape->n_slabs; i++) {
		ck_assert_int_eq(fstat(pool.fds[i], &s), 0);
		ck_assert_uint_eq((uint64_t)s.st_size, ckv_slab_bytes(shape));
		taken += backed_bytes(pool.fds[i]);
	}
	ck_assert_uint_eq(taken, ckv_pool_bytes(shape));
	ck_assert_uint_le(pool.huge_bytes, taken);
	pool_destroy(&pool);
	ck_assert_int_eq(sys_descriptors(), 0);
	ck_assert_int_eq(sys_mapped_bytes(), 0);
}
END_TEST

/* What all slabs of a running daemon take, by the files it holds open. */
static uint64_t slabs_taken(pid_t pid)
{
	char path[512], target[64];
	struct dirent *entry;
	uint64_t taken = 0;
	struct stat s;
	DIR *dir;

	snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
	dir = opendir(path);
	ck_assert_ptr_nonnull(dir);
	while ((entry = readdir(dir)) != NULL) {
		ssize_t n;

		snprintf(path, sizeof path, "/proc/%d/fd/%s", (int)pid,
			 entry->d_name);
		n = readlink(path, target, sizeof target - 1);
		target[n > 0 ? n : 0] = 0;
		if (strstr(target, "memfd:ckv-slab") == NULL)
			continue;
		ck_assert_int_eq(stat(path, &s), 0);
		taken += (uint64_t)s.st_blocks * 512;
	}
	closedir(dir);
	return taken;
}

static const struct {
	const char *keys;
	uint64_t pool_bytes;
	uint32_t n_pages;
} pools[] = {
	{ "layers = 94\nkv_heads = 4\nhead_dim = 128\npool = 64MiB\nslab = 2MiB\n",
	  64u << 20, 21 },
	{ "layers = 1\nkv_heads = 1\nhead_dim = 64\npool = 1MiB\nslab = 4KiB\n",
	  1u << 20, 256 },
	{ "layers = 1\nkv_heads = 1\nhead_dim = 64\npool = 8KiB\n", 8192, 2 },
	{ "layers = 3\nkv_heads = 1\nhead_dim = 64\npool = 7MiB\n", 7u << 20, 510 },
};

/* A client writes the pool full and reads it all: to the last byte of each page. */
static void fill_pool(struct ckv_lane *lane, uint32_t n, size_t page_bytes)
{
	struct ckv_handle handle;
	struct ckv_page page;
	struct ckv_pin pin;
	uint8_t key[CKV_KEY_SIZE] = { 1 };

	for (uint32_t i = 0; i < n; i++) {
		memcpy(key + 8, &i, sizeof i);
		ck_assert_int_eq(ckv_reserve(lane, NULL, key, 1, &page), 1);
		memset(page.data, (int)(i % 251) + 1, page_bytes);
		ck_assert_int_eq(ckv_publish(lane, &page, 1, 16, CKV_SUM, NULL, NULL,
					     NULL), 1);
	}
	for (uint32_t i = 0; i < n; i++) {
		const uint8_t *data;

		memcpy(key + 8, &i, sizeof i);
		ck_assert_int_eq(ckv_lookup(lane, key, 1, CKV_VERIFY, &handle,
					    &pin), 1);
		data = handle.data;
		ck_assert_uint_eq(data[0], i % 251 + 1);
		ck_assert_uint_eq(data[page_bytes - 1], i % 251 + 1);
		ckv_unpin(lane, &pin);
	}
}

/* The key is the most that is taken, from a daemon that serves all its pages. */
START_TEST(the_key_bounds_what_a_daemon_takes)
{
	struct test_daemon daemon;
	struct ckv_space_info info;
	struct ckv_space *space;
	struct ckv_lane *lane;
	struct ckv *ckv;
	char text[CONFIG_WHY_BYTES];

	snprintf(text, sizeof text, "[space s]\nmodel = m\nkeys = engine\n"
		 "views = 0\n%s", pools[_i].keys);
	test_daemon_start(&daemon, "huge_pages = no\n", text);
	ck_assert_int_eq(ckv_open(daemon.socket, "t", &ckv), 0);
	ck_assert_int_eq(ckv_attach(ckv, "s", NULL, CKV_WRITE, &space), 0);
	ck_assert_int_eq(ckv_lane_open(space, NULL, &lane), 0);
	ckv_space_get_info(space, &info);
	fill_pool(lane, pools[_i].n_pages, info.page_bytes);
	ck_assert_uint_le(slabs_taken(daemon.pid), pools[_i].pool_bytes);
	ck_assert_uint_eq(slabs_taken(daemon.pid),
			  (uint64_t)pools[_i].n_pages * info.page_bytes);
	ckv_close(ckv);
	test_daemon_remove(&daemon);
}
END_TEST

CHECK_MAIN("shell_pool",
	CASE("pool"),
	LOOP(a_slab_has_its_pages_and_no_more, 2 * COUNT(shapes)),
	EACH(the_key_bounds_what_a_daemon_takes, pools))

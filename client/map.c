/* SPDX-License-Identifier: Apache-2.0 */
/*
 * map.c - mappings of what the daemon sends.
 *
 * None of them reaches a child of fork(): the child would hold pages that the
 * daemon believes to be free.
 */
#include "client/lib.h"

#include <errno.h>
#include <sys/mman.h>

static int protection(int writable)
{
	return writable ? PROT_READ | PROT_WRITE : PROT_READ;
}

/* A file shorter than what is mapped would raise SIGBUS later. */
static int long_enough(int fd, uint64_t offset, size_t bytes)
{
	size_t has;
	int r = lib_sys_size(fd, &has);

	return r < 0 ? r : has >= bytes && has - bytes >= offset ? 0 : -EPROTO;
}

/* No child gets what is mapped at `place`. If that fails there is nothing there again. */
static int keep_from_children(void *place, size_t bytes)
{
	int r = lib_sys_advise(place, bytes, MADV_DONTFORK);
	void *base;

	if (r < 0)	/* if this fails, too, what is there is not used */
		(void)lib_sys_map(place, bytes, PROT_NONE,
				  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE |
				  MAP_FIXED, -1, 0, &base);
	return r;
}

/* Map `bytes` of `fd` at `place`, in a range that was reserved. */
int lib_map_at(void *place, int fd, size_t bytes, int writable)
{
	int r = long_enough(fd, 0, bytes);
	void *base;

	if (r == 0)
		r = lib_sys_map(place, bytes, protection(writable),
				MAP_SHARED | MAP_FIXED, fd, 0, &base);
	return r < 0 ? r : keep_from_children(place, bytes);
}

/* Map at `place` what is mapped at `mapped`, too. */
int lib_map_again(void *place, void *mapped, size_t bytes)
{
	int r = lib_sys_map_again(place, mapped, bytes);

	return r < 0 ? r : keep_from_children(place, bytes);
}

/* Map `bytes` of `fd`, which begin at `offset`. */
int lib_map(int fd, uint64_t offset, size_t bytes, int writable,
	    void **ret_base)
{
	int r = long_enough(fd, offset, bytes);
	void *base;

	if (r == 0)
		r = lib_sys_map(NULL, bytes, protection(writable), MAP_SHARED,
				fd, offset, &base);
	if (r < 0)
		return r;
	r = lib_sys_advise(base, bytes, MADV_DONTFORK);
	if (r < 0) {
		lib_sys_unmap(base, bytes);
		return r;
	}
	*ret_base = base;
	return 0;
}

/* Address space for a pool, aligned to 2 MiB, with nothing behind it yet. */
int lib_reserve_range(size_t bytes, char **ret_base)
{
	size_t huge = CKV_HUGE_BYTES, head;
	void *all;
	char *base;
	int r;

	r = lib_sys_map(NULL, bytes + huge, PROT_NONE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0, &all);
	if (r < 0)
		return r;
	base = all;
	head = ckv_round_up((uintptr_t)base, huge) - (uintptr_t)base;
	if (head > 0)
		lib_sys_unmap(base, head);
	lib_sys_unmap(base + head + bytes, huge - head);
	base += head;
	r = lib_sys_advise(base, bytes, MADV_DONTFORK);
	if (r < 0) {
		lib_sys_unmap(base, bytes);
		return r;
	}
	*ret_base = base;
	return 0;
}

/* A page that says 1 here and 0 in every child: the kernel wipes it. */
int lib_wipe_page(const uint32_t **ret_mine)
{
	size_t bytes = lib_sys_page_bytes();
	void *page;
	int r;

	r = lib_sys_map(NULL, bytes, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0, &page);
	if (r < 0)
		return r;
	r = lib_sys_advise(page, bytes, MADV_WIPEONFORK);
	if (r < 0) {
		lib_sys_unmap(page, bytes);
		return r;
	}
	*(uint32_t *)page = 1;
	*ret_mine = page;
	return 0;
}

void lib_wipe_free(const uint32_t *mine)
{
	lib_sys_unmap(mine, lib_sys_page_bytes());
}

/*
 * map.c - mappings of what the daemon sends.
 *
 * None of them reaches a child of fork(): the child would hold pages that the
 * daemon believes to be free.
 */
#include "client/lib.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* A file shorter than what is mapped would raise SIGBUS later. */
static int long_enough(int fd, size_t bytes)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	return st.st_size >= 0 && (size_t)st.st_size >= bytes ? 0 : -EPROTO;
}

/* Map `bytes` of `fd` at `place`, over what is mapped there. */
int lib_map_at(void *place, int fd, size_t bytes, int writable)
{
	int r = long_enough(fd, bytes);

	if (r < 0)
		return r;
	if (mmap(place, bytes, writable ? PROT_READ | PROT_WRITE : PROT_READ,
		 MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED)
		return -errno;
	return madvise(place, bytes, MADV_DONTFORK) < 0 ? -errno : 0;
}

int lib_map(int fd, size_t bytes, int writable, void **ret_base)
{
	void *base;
	int r = long_enough(fd, bytes);

	if (r < 0)
		return r;
	base = mmap(NULL, bytes, writable ? PROT_READ | PROT_WRITE : PROT_READ,
		    MAP_SHARED, fd, 0);
	if (base == MAP_FAILED)
		return -errno;
	if (madvise(base, bytes, MADV_DONTFORK) < 0) {
		r = -errno;
		munmap(base, bytes);
		return r;
	}
	*ret_base = base;
	return 0;
}

/* Address space for a pool, aligned to 2 MiB, with nothing behind it yet. */
int lib_reserve_range(size_t bytes, char **ret_base)
{
	size_t huge = CKV_HUGE_BYTES, head;
	char *base;

	base = mmap(NULL, bytes + huge, PROT_NONE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (base == MAP_FAILED)
		return -errno;
	head = ckv_round_up((uintptr_t)base, huge) - (uintptr_t)base;
	if (head > 0)
		munmap(base, head);
	munmap(base + head + bytes, huge - head);
	base += head;
	if (madvise(base, bytes, MADV_DONTFORK) < 0) {
		int r = -errno;

		munmap(base, bytes);
		return r;
	}
	*ret_base = base;
	return 0;
}

void lib_unmap(const void *base, size_t bytes)
{
	if (base != NULL)
		munmap((void *)(uintptr_t)base, bytes);
}

/* A page that says 1 here and 0 in every child: the kernel wipes it. */
int lib_wipe_page(const uint32_t **ret_mine)
{
	size_t bytes = (size_t)sysconf(_SC_PAGESIZE);
	uint32_t *page;

	page = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (page == MAP_FAILED)
		return -errno;
	if (madvise(page, bytes, MADV_WIPEONFORK) < 0) {
		int r = -errno;

		munmap(page, bytes);
		return r;
	}
	*page = 1;
	*ret_mine = page;
	return 0;
}

void lib_wipe_free(const uint32_t *mine)
{
	lib_unmap(mine, (size_t)sysconf(_SC_PAGESIZE));
}

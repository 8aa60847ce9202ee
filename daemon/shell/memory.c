/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memory.c - memfds, sealed and mapped.
 */
#include "daemon/shell/memory.h"
#include "daemon/shell/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

#define SMAPS_BYTES (1u << 16)
#define SIZE_SEALS (F_SEAL_SHRINK | F_SEAL_GROW)

int memory_file(const char *name, size_t bytes)
{
	int fd = sys_memfd(name), r;

	if (fd < 0)
		return fd;
	r = sys_chmod(fd, 0600);
	if (r == 0)
		r = sys_truncate(fd, bytes);
	/*
	 * Seal it before any client has it: a client that could shrink it could
	 * make the daemon die of SIGBUS.
	 */
	if (r == 0)
		r = sys_seal(fd, SIZE_SEALS | F_SEAL_SEAL);
	if (r < 0) {
		sys_close(fd);
		return r;
	}
	return fd;
}

/* Map it, and see to it that forked children do not get the mapping. */
static int map(int fd, uint64_t offset, size_t bytes, int prot, void **ret_base)
{
	void *base;
	int r = offset == 0 ? sys_map(fd, bytes, prot, &base) :
		sys_map_part(fd, offset, bytes, prot, &base);

	if (r < 0)
		return r;
	r = sys_advise(base, bytes, MADV_DONTFORK);
	if (r < 0) {
		sys_unmap(base, bytes);
		return r;
	}
	*ret_base = base;
	return 0;
}

int memory_part(int fd, uint64_t offset, size_t bytes, struct memory *ret_memory)
{
	struct memory m = { .fd = -1, .bytes = bytes };
	int r = map(fd, offset, bytes, PROT_READ, &m.base);

	if (r == 0)
		*ret_memory = m;
	return r;
}

int memory_create(const char *name, size_t bytes, enum memory_kind kind,
		  const void *head, size_t head_bytes,
		  struct memory *ret_memory)
{
	struct memory m = { .bytes = bytes };
	int r;

	m.fd = sys_memfd(name);
	if (m.fd < 0)
		return m.fd;
	r = sys_chmod(m.fd, 0600);
	if (r == 0)
		r = sys_truncate(m.fd, bytes);
	if (r == 0 && head_bytes > 0 &&
	    sys_pwrite(m.fd, head, head_bytes, 0) != (ssize_t)head_bytes)
		r = -ENOMEM;
	if (r == 0)
		r = map(m.fd, 0, bytes, PROT_READ | PROT_WRITE, &m.base);
	if (r < 0)
		goto err_close;
	/*
	 * After FUTURE_WRITE no new mapping can write, so the one above is the only
	 * one that does.
	 */
	r = sys_seal(m.fd, SIZE_SEALS |
		     (kind == MEMORY_OURS ? F_SEAL_FUTURE_WRITE : 0));
	if (r == 0)
		r = sys_seal(m.fd, F_SEAL_SEAL);
	if (r < 0)
		goto err_unmap;
	*ret_memory = m;
	return 0;

err_unmap:
	sys_unmap(m.base, bytes);
err_close:
	sys_close(m.fd);
	return r;
}

void memory_destroy(struct memory *memory)
{
	if (memory->base == NULL)
		return;
	sys_unmap(memory->base, memory->bytes);
	sys_close(memory->fd);
	*memory = (struct memory){ .fd = -1 };
}

int memory_check(int fd, uint64_t bytes)
{
	int seals = sys_seals(fd), r;
	struct stat s;

	if (seals < 0)
		return seals;
	r = sys_stat_fd(fd, &s);
	if (r < 0)
		return r;
	/* Another user's could not be opened for readers; that user could write it. */
	return seals == (SIZE_SEALS | F_SEAL_SEAL) && s.st_size >= 0 &&
	       (uint64_t)s.st_size == bytes && s.st_uid == sys_user_id() ? 0 : -EINVAL;
}

int memory_adopt(int fd, size_t bytes, struct memory *ret_memory)
{
	struct memory m = { .fd = fd, .bytes = bytes };
	int r = map(fd, 0, bytes, PROT_READ | PROT_WRITE, &m.base);

	if (r == 0)
		*ret_memory = m;
	return r;
}

int memory_reader(int fd)
{
	char path[64];

	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	return sys_open(path, O_RDONLY, 0);
}

void memory_collapse(void *base, size_t bytes)
{
	uintptr_t from = ckv_round_up((uintptr_t)base, CKV_HUGE_BYTES);
	uintptr_t to = ((uintptr_t)base + bytes) & ~(uintptr_t)(CKV_HUGE_BYTES - 1);

	/*
	 * One call for the whole range is three times as fast, but it stops at the
	 * first 2 MiB that the kernel cannot collapse. Then ask for each in turn.
	 */
	if (from >= to ||
	    sys_advise((void *)from, to - from, MADV_COLLAPSE) == 0)
		return;
	for (; from < to; from += CKV_HUGE_BYTES)
		if (sys_advise((void *)from, CKV_HUGE_BYTES, MADV_COLLAPSE) < 0)
			break;
}

struct smaps {
	uint64_t from, to;	/* the mapping that the current lines describe */
	uint64_t want_from, want_to;
	uint64_t huge_bytes;
};

static void smaps_line(struct smaps *s, const char *line)
{
	uint64_t from, to, kib;
	char name[64];

	if (sscanf(line, "%" SCNx64 "-%" SCNx64 " ", &from, &to) == 2) {
		s->from = from;
		s->to = to;
	} else if (s->from >= s->want_from && s->to <= s->want_to &&
		   sscanf(line, "%63[^:]: %" SCNu64, name, &kib) == 2 &&
		   (strcmp(name, "ShmemPmdMapped") == 0 ||
		    strcmp(name, "FilePmdMapped") == 0)) {
		s->huge_bytes += kib << 10;
	}
}

int memory_huge_bytes(const void *base, size_t bytes, uint64_t *ret_bytes)
{
	struct smaps s = { .want_from = (uintptr_t)base,
			   .want_to = (uintptr_t)base + bytes };
	size_t used = 0;
	char *text, *line, *end;
	ssize_t n;
	int fd, r;

	r = sys_alloc(1, SMAPS_BYTES + 1, &text);
	if (r < 0)
		return r;
	fd = sys_open("/proc/self/smaps", O_RDONLY, 0);
	if (fd < 0) {
		sys_free(text);
		return fd;
	}
	while ((n = sys_read(fd, text + used, SMAPS_BYTES - used)) > 0) {
		used += (size_t)n;
		text[used] = 0;
		line = text;
		while ((end = strchr(line, '\n')) != NULL) {
			*end = 0;
			smaps_line(&s, line);
			line = end + 1;
		}
		used = strlen(line);
		memmove(text, line, used);
	}
	sys_close(fd);
	sys_free(text);
	if (n < 0)
		return (int)n;
	*ret_bytes = s.huge_bytes;
	return 0;
}

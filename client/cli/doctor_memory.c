/* SPDX-License-Identifier: Apache-2.0 */
/*
 * doctor_memory.c - memory: memfds with seals, huge pages in them, NUMA, limits.
 */
#include "client/cli/doctor.h"
#include "client/cli/text.h"
#include "proto/ckv_abi.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

/* Kilobytes mapped by huge entries in the mapping that starts at `start`. */
static unsigned long huge_kib(const void *start)
{
	char line[256];
	unsigned long low, value, kib = 0;
	int ours = 0;
	FILE *file = fopen("/proc/self/smaps", "re");

	while (file && fgets(line, sizeof line, file)) {
		if (sscanf(line, "%lx-%*x ", &low) == 1 && strchr(line, '-') &&
		    strchr(line, '-') < strchr(line, ' '))
			ours = low == (unsigned long)(uintptr_t)start;
		else if (ours && sscanf(line, "ShmemPmdMapped: %lu", &value) == 1)
			kib = value;
	}
	if (file)
		fclose(file);
	return kib;
}

/* Collapse 2 MiB of a memfd and look whether it worked: 0 or -errno. */
static int try_collapse(int fd)
{
	size_t bytes = 2 * CKV_HUGE_BYTES;
	char *area, *start;
	int r = 0;

	area = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (area == MAP_FAILED)
		return -errno;
	start = (char *)ckv_round_up((size_t)(uintptr_t)area, CKV_HUGE_BYTES);
	if (mmap(start, CKV_HUGE_BYTES, PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED) {
		r = -errno;
		goto unmap;
	}
	memset(start, 1, CKV_HUGE_BYTES);
	if (madvise(start, CKV_HUGE_BYTES, MADV_COLLAPSE) < 0)
		r = -errno;
	else if (huge_kib(start) != CKV_HUGE_BYTES / 1024)
		r = -ENODATA;
unmap:
	munmap(area, bytes);
	return r;
}

static void check_huge(struct doctor *doctor, int fd)
{
	char enabled[128], shmem[128];
	int r = try_collapse(fd);

	doctor_read("/sys/kernel/mm/transparent_hugepage/enabled", enabled,
		    sizeof enabled);
	doctor_read("/sys/kernel/mm/transparent_hugepage/shmem_enabled", shmem,
		    sizeof shmem);
	if (r == 0) {
		doctor_add(doctor, DOCTOR_OK, "huge pages", NULL, NULL,
			   "MADV_COLLAPSE makes 2 MiB pages of a memfd (tried)");
		return;
	}
	doctor_add(doctor, DOCTOR_WARN, "huge pages",
		   "pools in 4 KiB pages: slower first touch, more TLB misses, "
		   "and a killed client takes longer to be gone",
		   "Linux 6.1 or newer and "
		   "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled",
		   "MADV_COLLAPSE on a memfd: %s; enabled %.40s, shmem_enabled %.60s",
		   r == -ENODATA ? "no huge page came of it" : strerror(-r),
		   *enabled ? enabled : "unknown", *shmem ? shmem : "unknown");
}

static void check_memfd(struct doctor *doctor)
{
	int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE;
	int fd = memfd_create("ckv-doctor", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	char path[64];
	int read_only;

	if (fd < 0 || ftruncate(fd, CKV_HUGE_BYTES) < 0) {
		doctor_add(doctor, DOCTOR_FAIL, "memfd",
			   "there is no memory that could be shared",
			   "allow memfd_create in the container's seccomp profile",
			   "memfd_create: %s", strerror(errno));
		if (fd >= 0)
			close(fd);
		return;
	}
	check_huge(doctor, fd);
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	read_only = open(path, O_RDONLY | O_CLOEXEC);
	if (fcntl(fd, F_ADD_SEALS, seals) < 0 || read_only < 0)
		doctor_add(doctor, DOCTOR_FAIL, "memfd",
			   "the daemon cannot make memory that readers cannot write",
			   "Linux 5.1 or newer, with /proc mounted",
			   "%s", read_only < 0 ? "/proc/self/fd cannot be reopened"
					       : "seals are refused");
	else
		doctor_add(doctor, DOCTOR_OK, "memfd", NULL, NULL,
			   "sealed, and reopened read-only");
	if (read_only >= 0)
		close(read_only);
	close(fd);
}

static int open_file(void *context, const char *path)
{
	(void)context;
	return open(path, O_RDONLY | O_CLOEXEC);
}

static long read_file(void *context, int file, char *text, size_t bytes)
{
	(void)context;
	return read(file, text, bytes);
}

static void close_file(void *context, int file)
{
	(void)context;
	close(file);
}

void doctor_amount(struct doctor *doctor, const struct machine_memory *m)
{
	char a[TEXT_SHORT], t[TEXT_SHORT], l[TEXT_SHORT], f[TEXT_SHORT];
	int other = m->free_bytes < m->available_bytes;

	if (m->free_bytes == MACHINE_UNKNOWN) {
		doctor_add(doctor, DOCTOR_WARN, "memory",
			   "nobody knows whether a pool fits",
			   "show /proc/meminfo here", "cannot be read");
		return;
	}
	doctor_add(doctor, m->free_bytes >= 1u << 30 ? DOCTOR_OK : DOCTOR_WARN,
		   "memory", "only a small pool fits; a pool counts as shared "
		   "memory of the daemon's control group",
		   "make the pools smaller, or give the daemon more",
		   "%s of %s available%s%s%s%s%s%s%s",
		   m->available_bytes == MACHINE_UNKNOWN ? "an unknown part" :
		   text_bytes(a, m->available_bytes), text_bytes(t, m->total_bytes),
		   other ? "; " : "", other ? m->name : "",
		   other ? " gives at most " : "",
		   other ? text_bytes(l, m->limit_bytes) : "", other ? ", " : "",
		   other ? text_bytes(f, m->free_bytes) : "",
		   other ? " of it free" : "");
}

static void check_amount(struct doctor *doctor)
{
	static const struct machine_files files = {
		.open = open_file, .read = read_file, .close = close_file,
	};
	struct machine_memory m;

	machine_memory(&files, MACHINE_ANY_NODE, &m);
	doctor_amount(doctor, &m);
}

static void check_numa(struct doctor *doctor)
{
	char nodes[64];

	doctor_read("/sys/devices/system/node/online", nodes, sizeof nodes);
	if (*nodes == '\0' || strcmp(nodes, "0") == 0)
		doctor_add(doctor, DOCTOR_OK, "NUMA", NULL, NULL, "one node");
	else
		doctor_add(doctor, DOCTOR_OK, "NUMA", NULL, NULL,
			   "nodes %s; 'ckv spaces' shows where each pool lies",
			   nodes);
}

void doctor_memory(struct doctor *doctor)
{
	check_memfd(doctor);
	check_amount(doctor);
	check_numa(doctor);
}

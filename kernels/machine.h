/* SPDX-License-Identifier: Apache-2.0 */
/*
 * machine.h - how much memory the machine still gives to this process.
 *
 * That is the least of several numbers: what /proc/meminfo calls available; what is left
 * in the control group of this process and in each group above it, version 1 and 2, as
 * far as they are mounted; what may still be committed, where the kernel does not
 * overcommit; what the NUMA nodes have that a cpuset allows; and what one node has, if
 * memory shall come from it alone. These limit a memfd. The size of /dev/shm or of another
 * tmpfs does not.
 *
 * Files are read through functions of the caller: the daemon gives its own, a tool
 * others, a test those of a tree of files that it made.
 */
#ifndef CKV_MACHINE_H
#define CKV_MACHINE_H

#include <stddef.h>
#include <stdint.h>

#define MACHINE_NAME_BYTES	1056u
#define MACHINE_UNKNOWN		UINT64_MAX
#define MACHINE_ANY_NODE	(-1)

/* Files by their absolute names. Negative: it cannot be read. */
struct machine_files {
	int (*open)(void *context, const char *path);
	long (*read)(void *context, int file, char *text, size_t bytes);
	void (*close)(void *context, int file);
	void *context;
};

struct machine_memory {
	uint64_t total_bytes;		/* of the machine; 0: not known */
	uint64_t available_bytes;	/* of the machine; MACHINE_UNKNOWN */
	/* Where least is left; MACHINE_UNKNOWN when nothing could be read. */
	uint64_t free_bytes;
	uint64_t limit_bytes;		/* of which free_bytes are left */
	char name[MACHINE_NAME_BYTES];	/* "control group /a/b", "the machine", ... */
};

/* node: MACHINE_ANY_NODE, or the only one that memory is taken from. */
void machine_memory(const struct machine_files *files, int node,
		    struct machine_memory *ret_memory);

/*
 * The value of a line "NAME: 17 kB" or "NAME 17" of a file, in bytes if it says kB.
 * MACHINE_UNKNOWN: there is none.
 */
uint64_t machine_value(const struct machine_files *files, const char *path,
		       const char *name);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_machine.c - what a machine gives, by trees of files like those of real ones.
 */
#include "kernels/machine.h"
#include "tests/lib/check_main.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MIB	(1024ull * 1024)
#define CG	"/sys/fs/cgroup"
#define MEMINFO	{ "/proc/meminfo", "MemTotal:       4194304 kB\n" \
		  "MemFree:   11 kB\nMemAvailable:    2097152 kB\n" \
		  "CommitLimit:    3145728 kB\nCommitted_AS:   1048576 kB\n" }
#define V2_HERE	"30 23 0:26 / " CG " rw,nosuid shared:4 - cgroup2 cgroup2 rw\n"
#define V1_HERE	"34 31 0:31 / " CG "/cpu rw - cgroup cgroup rw,cpu\n" \
		"35 31 0:32 / " CG "/memory rw,relatime - cgroup cgroup rw,memory\n"

struct text_file {
	const char *path, *text;
};

static const struct {
	const char *what;
	int node;
	struct text_file file[12];
	const char *name;		/* of what is shortest */
	uint64_t limit_bytes, free_bytes;
} machines[] = {
	{ "no groups at all", MACHINE_ANY_NODE, { MEMINFO },
	  "the machine", 4096 * MIB, 2048 * MIB },
	{ "nothing that can be read", MACHINE_ANY_NODE, { { NULL, NULL } },
	  "the machine", MACHINE_UNKNOWN, MACHINE_UNKNOWN },
	{ "groups without a limit", MACHINE_ANY_NODE,
	  { MEMINFO, { "/proc/self/cgroup", "0::/a/b\n" },
	    { "/proc/self/mountinfo", V2_HERE },
	    { CG "/a/b/memory.max", "max\n" }, { CG "/a/b/memory.high", "max\n" },
	    { CG "/a/memory.max", "max\n" } },
	  "the machine", 4096 * MIB, 2048 * MIB },
	{ "a limit on our group; its files may go", MACHINE_ANY_NODE,
	  { MEMINFO, { "/proc/self/cgroup", "0::/a/b\n" },
	    { "/proc/self/mountinfo", V2_HERE },
	    { CG "/a/b/memory.max", "536870912\n" },
	    { CG "/a/b/memory.current", "268435456\n" },
	    { CG "/a/b/memory.stat", "anon 5\nfile 134217728\ninactive_anon 7\n"
	      "inactive_file 33554432\nactive_file 33554432\n" } },
	  "control group /a/b", 512 * MIB, 320 * MIB },
	{ "a group above is shorter", MACHINE_ANY_NODE,
	  { MEMINFO, { "/proc/self/cgroup", "0::/a/b\n" },
	    { "/proc/self/mountinfo", V2_HERE },
	    { CG "/a/b/memory.max", "536870912" },
	    { CG "/a/b/memory.current", "0" },
	    { CG "/a/memory.max", "1073741824" },
	    { CG "/a/memory.current", "1069547520" } },
	  "control group /a", 1024 * MIB, 4 * MIB },
	{ "memory.high counts too", MACHINE_ANY_NODE,
	  { MEMINFO, { "/proc/self/cgroup", "0::/a\n" },
	    { "/proc/self/mountinfo", V2_HERE },
	    { CG "/a/memory.max", "max" }, { CG "/a/memory.high", "67108864" },
	    { CG "/a/memory.current", "71303168" } },
	  "control group /a", 64 * MIB, 0 },
	{ "a namespace of its own", MACHINE_ANY_NODE,
	  { MEMINFO, { "/proc/self/cgroup", "0::/\n" },
	    { "/proc/self/mountinfo", V2_HERE },
	    { CG "/memory.max", "134217728" }, { CG "/memory.current", "0" } },
	  "control group /", 128 * MIB, 128 * MIB },
	{ "a container that shows only its part", MACHINE_ANY_NODE,
	  { MEMINFO, { "/proc/self/cgroup", "0::/docker/x/sub\n" },
	    { "/proc/self/mountinfo",
	      "30 23 0:26 /docker/x " CG " ro - cgroup2 cgroup rw\n" },
	    { CG "/memory.max", "134217728" }, { CG "/memory.current", "1048576" },
	    { CG "/sub/memory.max", "max" } },
	  "control group /docker/x", 128 * MIB, 127 * MIB },
	{ "a name that begins like the mount's", MACHINE_ANY_NODE,
	  { MEMINFO, { "/proc/self/cgroup", "0::/docker/xy\n" },
	    { "/proc/self/mountinfo",
	      "30 23 0:26 /docker/x " CG " ro - cgroup2 cgroup rw\n" },
	    { CG "/memory.max", "134217728" }, { CG "y/memory.max", "1" } },
	  "control group /docker/x", 128 * MIB, 128 * MIB },
	{ "a path outside the namespace", MACHINE_ANY_NODE,
	  { MEMINFO, { "/proc/self/cgroup", "0::/../other\n" },
	    { "/proc/self/mountinfo", V2_HERE },
	    { CG "/memory.max", "134217728" } },
	  "control group /", 128 * MIB, 128 * MIB },
	{ "version 1", MACHINE_ANY_NODE,
	  { MEMINFO, { "/proc/self/cgroup", "5:cpuset:/x\n4:cpu,memory:/a\n0::/\n" },
	    { "/proc/self/mountinfo", V1_HERE },
	    { CG "/memory/a/memory.limit_in_bytes", "134217728\n" },
	    { CG "/memory/a/memory.usage_in_bytes", "67108864\n" },
	    { CG "/memory/a/memory.stat", "cache 9\nactive_file 3\n"
	      "hierarchical_memory_limit 9223372036854771712\n"
	      "total_inactive_file 16777216\ntotal_active_file 16777216\n" },
	    { CG "/memory/memory.limit_in_bytes", "9223372036854771712\n" } },
	  "control group /a", 128 * MIB, 96 * MIB },
	{ "version 1 without any limit", MACHINE_ANY_NODE,
	  { MEMINFO, { "/proc/self/cgroup", "4:memory:/a\n" },
	    { "/proc/self/mountinfo", V1_HERE },
	    { CG "/memory/a/memory.limit_in_bytes", "9223372036854771712\n" } },
	  "the machine", 4096 * MIB, 2048 * MIB },
	{ "version 1, a limit above that is not mounted", MACHINE_ANY_NODE,
	  { MEMINFO, { "/proc/self/cgroup", "4:memory:/docker/x\n" },
	    { "/proc/self/mountinfo", "35 31 0:32 /docker/x " CG "/memory ro,nosuid"
	      " master:9 - cgroup cgroup rw,memory\n" },
	    { CG "/memory/memory.limit_in_bytes", "9223372036854771712\n" },
	    { CG "/memory/memory.usage_in_bytes", "1048576\n" },
	    { CG "/memory/memory.stat", "hierarchical_memory_limit 33554432\n" } },
	  "control group /docker/x", 32 * MIB, 31 * MIB },
	{ "both versions, memory in the first", MACHINE_ANY_NODE,
	  { MEMINFO, { "/proc/self/cgroup", "4:memory:/a\n0::/u\n" },
	    { "/proc/self/mountinfo", V1_HERE "41 31 0:38 / " CG "/unified rw - "
	      "cgroup2 cgroup2 rw\n" },
	    { CG "/unified/u/cgroup.procs", "1\n" },
	    { CG "/memory/a/memory.limit_in_bytes", "134217728\n" } },
	  "control group /a", 128 * MIB, 128 * MIB },
	{ "both versions, memory in the second", MACHINE_ANY_NODE,
	  { MEMINFO, { "/proc/self/cgroup", "4:cpu:/a\n0::/u\n" },
	    { "/proc/self/mountinfo",
	      "34 31 0:31 / " CG "/cpu rw - cgroup cgroup rw,cpu\n"
	      "41 31 0:38 / " CG "/unified rw - cgroup2 cgroup2 rw\n" },
	    { CG "/unified/u/memory.max", "134217728\n" } },
	  "control group /u", 128 * MIB, 128 * MIB },
	{ "a mount over the first one hides it", MACHINE_ANY_NODE,
	  { MEMINFO, { "/proc/self/cgroup", "4:memory:/here\n" },
	    { "/proc/self/mountinfo", V1_HERE
	      "50 35 0:32 /case " CG "/memory rw - cgroup cgroup rw,memory\n" },
	    { CG "/memory/memory.limit_in_bytes", "134217728\n" } },
	  "control group /case", 128 * MIB, 128 * MIB },
	{ "of two mounts, the one that shows our group", MACHINE_ANY_NODE,
	  { MEMINFO, { "/proc/self/cgroup", "4:memory:/here\n" },
	    { "/proc/self/mountinfo", V1_HERE
	      "50 23 0:32 /other /mnt rw - cgroup cgroup rw,memory\n" },
	    { CG "/memory/here/memory.limit_in_bytes", "268435456\n" },
	    { "/mnt/memory.limit_in_bytes", "1\n" } },
	  "control group /here", 256 * MIB, 256 * MIB },
	{ "a blank in the mount's name", MACHINE_ANY_NODE,
	  { MEMINFO, { "/proc/self/cgroup", "0::/a\n" },
	    { "/proc/self/mountinfo",
	      "30 23 0:26 / /my\\040groups rw - cgroup2 cgroup2 rw\n" },
	    { "/my groups/a/memory.max", "134217728\n" } },
	  "control group /a", 128 * MIB, 128 * MIB },
	{ "strict accounting", MACHINE_ANY_NODE,
	  { { "/proc/meminfo", "MemTotal: 4194304 kB\nMemAvailable: 2097152 kB\n"
	      "CommitLimit: 2097152 kB\nCommitted_AS: 1048576 kB\n" },
	    { "/proc/sys/vm/overcommit_memory", "2\n" } },
	  "vm.overcommit_memory=2", 2048 * MIB, 1024 * MIB },
	{ "no strict accounting", MACHINE_ANY_NODE,
	  { { "/proc/meminfo", "MemTotal: 4194304 kB\nMemAvailable: 2097152 kB\n"
	      "CommitLimit: 2097152 kB\nCommitted_AS: 1048576 kB\n" },
	    { "/proc/sys/vm/overcommit_memory", "0\n" } },
	  "the machine", 4096 * MIB, 2048 * MIB },
	{ "one node", 1,
	  { MEMINFO, { "/sys/devices/system/node/node1/meminfo",
	      "Node 1 MemTotal: 2097152 kB\nNode 1 MemFree:    524288 kB\n"
	      "Node 1 Active(file): 262144 kB\nNode 1 Inactive(file): 262144 kB\n" } },
	  "NUMA node 1", 2048 * MIB, 1024 * MIB },
	{ "a cpuset that leaves some nodes", MACHINE_ANY_NODE,
	  { MEMINFO, { "/proc/self/status", "Mems_allowed:\t5\n"
	      "Mems_allowed_list:\t1,3-4\n" },
	    { "/sys/devices/system/node/has_memory", "0-1,3\n" },
	    { "/sys/devices/system/node/node0/meminfo",
	      "Node 0 MemTotal: 2097152 kB\nNode 0 MemFree: 2097152 kB\n" },
	    { "/sys/devices/system/node/node1/meminfo",
	      "Node 1 MemTotal: 1048576 kB\nNode 1 MemFree: 524288 kB\n" },
	    { "/sys/devices/system/node/node3/meminfo",
	      "Node 3 MemTotal: 1048576 kB\nNode 3 MemFree: 262144 kB\n" } },
	  "allowed nodes 1,3-4", 2048 * MIB, 768 * MIB },
	{ "a cpuset that leaves all nodes", MACHINE_ANY_NODE,
	  { MEMINFO, { "/proc/self/status", "Mems_allowed_list:\t0-7\n" },
	    { "/sys/devices/system/node/has_memory", "0\n" },
	    { "/sys/devices/system/node/node0/meminfo",
	      "Node 0 MemTotal: 2097152 kB\nNode 0 MemFree: 1024 kB\n" } },
	  "the machine", 4096 * MIB, 2048 * MIB },
};

static char root[FOLDER_BYTES];

static int open_file(void *context, const char *path)
{
	char full[4096];

	snprintf(full, sizeof full, "%s%s", (const char *)context, path);
	return open(full, O_RDONLY);
}

/* A few letters at a time, as a file may come. */
static long read_file(void *context, int file, char *text, size_t bytes)
{
	(void)context;
	return read(file, text, bytes < 7 ? bytes : 7);
}

static void close_file(void *context, int file)
{
	(void)context;
	close(file);
}

static const struct machine_files files = { open_file, read_file, close_file, root };

static void put(const char *path, const char *text)
{
	char full[512];
	FILE *out;

	snprintf(full, sizeof full, "%s%s", root, path);
	for (char *p = full + strlen(root) + 1; (p = strchr(p, '/')) != NULL; p++) {
		*p = 0;
		mkdir(full, 0700);
		*p = '/';
	}
	out = fopen(full, "w");
	ck_assert_ptr_nonnull(out);
	fputs(text, out);
	fclose(out);
}

static void setup(void)
{
	folder_make(root);
}

/* Of each machine, where least is left, with its limit. */
START_TEST(the_shortest_is_found)
{
	const struct text_file *f = machines[_i].file;
	struct machine_memory m;

	for (; f->path != NULL; f++)
		put(f->path, f->text);
	machine_memory(&files, machines[_i].node, &m);
	ck_assert_msg(strcmp(m.name, machines[_i].name) == 0 &&
		      m.limit_bytes == machines[_i].limit_bytes &&
		      m.free_bytes == machines[_i].free_bytes,
		      "%s: %s gives %llu, %llu of it free", machines[_i].what, m.name,
		      (unsigned long long)m.limit_bytes,
		      (unsigned long long)m.free_bytes);
}
END_TEST

/* Lines of any length and a file without a last newline are read. */
START_TEST(long_lines_are_passed_over)
{
	struct machine_memory m;
	char *text = malloc(20000);

	put("/proc/self/cgroup", "0::/a");
	put(CG "/a/memory.max", "134217728");
	memset(text, 'x', 9000);
	strcpy(text + 9000, " - cgroup2 cgroup2 rw\n" V2_HERE);
	put("/proc/self/mountinfo", text);
	free(text);
	machine_memory(&files, MACHINE_ANY_NODE, &m);
	ck_assert_str_eq(m.name, "control group /a");
	ck_assert_uint_eq(m.free_bytes, 128 * MIB);
	ck_assert_uint_eq(m.total_bytes, 0);
	ck_assert_uint_eq(m.available_bytes, MACHINE_UNKNOWN);
}
END_TEST

CHECK_MAIN("machine",
	CASE("machine", .setup = setup),
	EACH(the_shortest_is_found, machines),
	TEST(long_lines_are_passed_over))

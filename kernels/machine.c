/* SPDX-License-Identifier: Apache-2.0 */
/*
 * machine.c - /proc/meminfo, /proc/self/cgroup and mountinfo, and the groups' files.
 *
 * A control group is found by its path in /proc/self/cgroup, below the mount of its
 * hierarchy. In a container the mount often shows only a part: then its root is cut
 * off the path. Where the path is not below that root, as it was written in another
 * namespace, the mounted group itself is taken: it is ours, or one above ours.
 */
#include "kernels/machine.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_BYTES	4096u	/* of longer lines the beginning counts */
#define PATH_BYTES	1024u
#define NODES_MAX	1024
#define NO_LIMIT	(1ull << 60)	/* and above: version 1 says "none" so */

typedef void line_fn(void *argument, const char *line);

/* Each line, without its newline, to `take`. False: the file cannot be read. */
static bool each_line(const struct machine_files *files, const char *path,
		      line_fn *take, void *argument)
{
	char text[LINE_BYTES], piece[512];
	int file = files->open(files->context, path);
	size_t used = 0;
	long n;

	if (file < 0)
		return false;
	while ((n = files->read(files->context, file, piece, sizeof piece)) > 0)
		for (long i = 0; i < n; i++) {
			if (piece[i] != '\n') {
				if (used < sizeof text - 1)
					text[used++] = piece[i];
				continue;
			}
			text[used] = 0;
			take(argument, text);
			used = 0;
		}
	files->close(files->context, file);
	text[used] = 0;
	if (used > 0)
		take(argument, text);
	return true;
}

struct wanted {
	const char *name;	/* "": a file of one number */
	uint64_t value;
};

static void value_line(void *argument, const char *line)
{
	struct wanted *w = argument;
	size_t bytes = strlen(w->name);
	char *end;
	uint64_t n;

	if (w->value != MACHINE_UNKNOWN || strncmp(line, w->name, bytes) != 0 ||
	    (bytes > 0 && line[bytes] != ' ' && line[bytes] != ':'))
		return;
	line += bytes;
	line += strspn(line, ": \t");
	n = strtoull(line, &end, 10);
	if (end == line)
		return;
	w->value = strncmp(end, " kB", 3) == 0 ? n * 1024 : n;
}

uint64_t machine_value(const struct machine_files *files, const char *path,
		       const char *name)
{
	struct wanted w = { name, MACHINE_UNKNOWN };

	(void)each_line(files, path, value_line, &w);
	return w.value;
}

/* Known, or 0. */
static uint64_t amount(const struct machine_files *files, const char *path,
		       const char *name)
{
	uint64_t n = machine_value(files, path, name);

	return n == MACHINE_UNKNOWN ? 0 : n;
}

static void consider(struct machine_memory *m, uint64_t free_bytes,
		     uint64_t limit_bytes, const char *kind, const char *name)
{
	if (m->free_bytes <= free_bytes)
		return;
	m->free_bytes = free_bytes;
	m->limit_bytes = limit_bytes;
	snprintf(m->name, sizeof m->name, "%.15s%.1024s", kind, name);
}

/* ---- control groups ---- */

struct hierarchy {
	bool v2;
	bool has_path, has_mount, covers;
	char path[PATH_BYTES];		/* of this process, by /proc/self/cgroup */
	char root[PATH_BYTES];		/* of what is mounted */
	char point[PATH_BYTES];		/* where */
};

static bool has_word(const char *list, size_t bytes, const char *word)
{
	size_t n = strlen(word);

	for (const char *end = list + bytes; list < end; list++) {
		size_t have = strcspn(list, ",");

		if (have > (size_t)(end - list))
			have = (size_t)(end - list);
		if (have == n && memcmp(list, word, n) == 0)
			return true;
		list += have;
	}
	return false;
}

/* "4:memory:/a/b", or "0::/a/b" in version 2. */
static void group_line(void *argument, const char *line)
{
	struct hierarchy *h = argument;
	const char *list = strchr(line, ':'), *path;

	path = list ? strchr(list + 1, ':') : NULL;
	if (path == NULL || path[1] != '/' || strlen(path + 1) >= PATH_BYTES)
		return;
	if (h->v2 ? strncmp(line, "0::", 3) != 0 :
	    !has_word(list + 1, (size_t)(path - list - 1), "memory"))
		return;
	strcpy(h->path, path + 1);
	h->has_path = true;
}

/* mountinfo writes blanks and backslashes as three octal digits. */
static void unescape(char *text)
{
	char *to = text;

	for (; *text; text++) {
		if (text[0] == '\\' && text[1] >= '0' && text[1] <= '3' &&
		    text[2] >= '0' && text[2] <= '7' &&
		    text[3] >= '0' && text[3] <= '7') {
			*to++ = (char)((text[1] - '0') << 6 |
				       (text[2] - '0') << 3 | (text[3] - '0'));
			text += 3;
		} else {
			*to++ = *text;
		}
	}
	*to = 0;
}

/* Is the path at or below the root? "/" has everything below it but "/..". */
static bool is_below(const char *path, const char *root)
{
	size_t bytes = strlen(root);

	if (strncmp(path, "/..", 3) == 0)
		return false;
	if (strcmp(root, "/") == 0)
		return true;
	return strncmp(path, root, bytes) == 0 &&
	       (path[bytes] == 0 || path[bytes] == '/');
}

/*
 * "31 23 0:28 ROOT POINT rw,relatime - TYPE SOURCE OPTIONS". A later mount at the
 * same point hides an earlier one; else one that shows our group is better.
 */
static void mount_line(void *argument, const char *line)
{
	struct hierarchy *h = argument;
	char root[PATH_BYTES], point[PATH_BYTES], type[32], options[512];
	const char *rest = strstr(line, " - ");
	bool covers;

	if (rest == NULL ||
	    sscanf(line, "%*s %*s %*s %1023s %1023s", root, point) != 2 ||
	    sscanf(rest + 3, "%31s %*s %511s", type, options) != 2)
		return;
	if (h->v2 ? strcmp(type, "cgroup2") != 0 : strcmp(type, "cgroup") != 0 ||
	    !has_word(options, strlen(options), "memory"))
		return;
	unescape(root);
	unescape(point);
	covers = is_below(h->path, root);
	if (h->has_mount && strcmp(point, h->point) != 0 &&
	    (h->covers || !covers))
		return;
	strcpy(h->root, root);
	strcpy(h->point, point);
	h->covers = covers;
	h->has_mount = true;
}

/* The lower of two files' numbers; "max" and a missing file are none. */
static uint64_t group_limit(const struct machine_files *files, const char *one,
			    const char *other, const char *other_name)
{
	uint64_t a = machine_value(files, one, "");
	uint64_t b = machine_value(files, other, other_name);

	return a < b ? a : b;
}

/* What is left in one group. Cached files count as free: the kernel drops them for us. */
static void judge_group(const struct machine_files *files, bool v2,
			const char *dir, const char *name,
			struct machine_memory *m)
{
	char limit[PATH_BYTES + 64], other[PATH_BYTES + 64];
	char usage[PATH_BYTES + 64], stat[PATH_BYTES + 64];
	uint64_t limit_bytes, used, cache;

	snprintf(limit, sizeof limit, "%s/%s", dir,
		 v2 ? "memory.max" : "memory.limit_in_bytes");
	snprintf(other, sizeof other, "%s/%s", dir,
		 v2 ? "memory.high" : "memory.stat");
	snprintf(usage, sizeof usage, "%s/%s", dir,
		 v2 ? "memory.current" : "memory.usage_in_bytes");
	snprintf(stat, sizeof stat, "%s/memory.stat", dir);
	/* In version 1 memory.stat also tells of limits above, mounted or not. */
	limit_bytes = group_limit(files, limit, other,
				  v2 ? "" : "hierarchical_memory_limit");
	if (limit_bytes >= NO_LIMIT)
		return;
	used = amount(files, usage, "");
	cache = amount(files, stat, v2 ? "inactive_file" : "total_inactive_file") +
		amount(files, stat, v2 ? "active_file" : "total_active_file");
	used = used > cache ? used - cache : 0;
	consider(m, used < limit_bytes ? limit_bytes - used : 0, limit_bytes,
		 "control group ", name);
}

/* Our group, and those above it as far as they are mounted. */
static void judge_groups(const struct machine_files *files, bool v2,
			 struct machine_memory *m)
{
	struct hierarchy h = { .v2 = v2 };
	char below[PATH_BYTES] = "", dir[2 * PATH_BYTES], name[2 * PATH_BYTES];
	char *cut;

	if (!each_line(files, "/proc/self/cgroup", group_line, &h) || !h.has_path ||
	    !each_line(files, "/proc/self/mountinfo", mount_line, &h) ||
	    !h.has_mount)
		return;
	if (strcmp(h.root, "/") == 0)
		h.root[0] = 0;
	if (h.covers)
		strcpy(below, h.path + strlen(h.root));
	if (strcmp(below, "/") == 0)
		below[0] = 0;
	for (;;) {
		snprintf(dir, sizeof dir, "%s%s", h.point, below);
		snprintf(name, sizeof name, "%s%s", h.root, below);
		if (strlen(dir) < PATH_BYTES)
			judge_group(files, v2, dir, name[0] ? name : "/", m);
		cut = strrchr(below, '/');
		if (cut == NULL)
			return;
		*cut = 0;
	}
}

/* ---- the machine ---- */

/* With strict accounting every page of shared memory counts as committed. */
static void judge_commit(const struct machine_files *files,
			 struct machine_memory *m)
{
	uint64_t limit = machine_value(files, "/proc/meminfo", "CommitLimit");
	uint64_t used = amount(files, "/proc/meminfo", "Committed_AS");

	if (machine_value(files, "/proc/sys/vm/overcommit_memory", "") == 2 &&
	    limit != MACHINE_UNKNOWN)
		consider(m, used < limit ? limit - used : 0, limit,
			 "", "vm.overcommit_memory=2");
}

/* What is free of a node's memory; false: there is no such node to be seen. */
static bool node_amount(const struct machine_files *files, int node,
			uint64_t *ret_free, uint64_t *ret_total)
{
	char path[64], free[32], total[32], active[40], inactive[40];
	uint64_t n;

	snprintf(path, sizeof path, "/sys/devices/system/node/node%d/meminfo", node);
	snprintf(total, sizeof total, "Node %d MemTotal", node);
	snprintf(free, sizeof free, "Node %d MemFree", node);
	snprintf(active, sizeof active, "Node %d Active(file)", node);
	snprintf(inactive, sizeof inactive, "Node %d Inactive(file)", node);
	n = machine_value(files, path, total);
	if (n == MACHINE_UNKNOWN)
		return false;
	*ret_total = n;
	*ret_free = amount(files, path, free) + amount(files, path, active) +
		    amount(files, path, inactive);
	return true;
}

static void judge_node(const struct machine_files *files, int node,
		       struct machine_memory *m)
{
	uint64_t free, total;
	char name[16];

	snprintf(name, sizeof name, "%d", node);
	if (node_amount(files, node, &free, &total))
		consider(m, free, total, "NUMA node ", name);
}

struct list {
	const char *name;	/* of a line; "": the first */
	bool found;
	char text[128];		/* "0-1,4" */
};

static void list_line(void *argument, const char *line)
{
	struct list *l = argument;
	size_t bytes = strlen(l->name);

	if (l->found || strncmp(line, l->name, bytes) != 0)
		return;
	line += bytes;
	line += strspn(line, ": \t");
	l->found = strlen(line) < sizeof l->text;
	if (l->found)
		strcpy(l->text, line);
}

static bool list_has(const struct list *l, int n)
{
	const char *p = l->text;

	while (*p >= '0' && *p <= '9') {
		char *end;
		long from = strtol(p, &end, 10), to = from;

		if (*end == '-')
			to = strtol(end + 1, &end, 10);
		if (n >= from && n <= to)
			return true;
		p = end + (*end == ',');
	}
	return false;
}

/* A cpuset may leave only some nodes to this process. */
static void judge_allowed(const struct machine_files *files,
			  struct machine_memory *m)
{
	struct list allowed = { .name = "Mems_allowed_list" }, all = { .name = "" };
	uint64_t free, total, free_bytes = 0, total_bytes = 0;
	bool is_left_out = false;

	(void)each_line(files, "/proc/self/status", list_line, &allowed);
	(void)each_line(files, "/sys/devices/system/node/has_memory", list_line,
			&all);
	for (int n = 0; allowed.found && all.found && n < NODES_MAX; n++) {
		if (!list_has(&all, n))
			continue;
		if (!list_has(&allowed, n)) {
			is_left_out = true;
		} else if (node_amount(files, n, &free, &total)) {
			free_bytes += free;
			total_bytes += total;
		}
	}
	if (is_left_out && total_bytes > 0)
		consider(m, free_bytes, total_bytes, "allowed nodes ",
			 allowed.text);
}

void machine_memory(const struct machine_files *files, int node,
		    struct machine_memory *ret_memory)
{
	struct machine_memory m = { .free_bytes = MACHINE_UNKNOWN,
				    .limit_bytes = MACHINE_UNKNOWN,
				    .name = "the machine" };

	m.total_bytes = amount(files, "/proc/meminfo", "MemTotal");
	m.available_bytes = machine_value(files, "/proc/meminfo", "MemAvailable");
	consider(&m, m.available_bytes, m.total_bytes, "the machine", "");
	judge_commit(files, &m);
	judge_groups(files, true, &m);
	judge_groups(files, false, &m);
	judge_allowed(files, &m);
	if (node >= 0)
		judge_node(files, node, &m);
	*ret_memory = m;
}

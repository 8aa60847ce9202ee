/* SPDX-License-Identifier: Apache-2.0 */
/*
 * budget_show.c - print a budget, and read what the machine gives.
 */
#include "daemon/shell/budget.h"
#include "daemon/shell/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/resource.h>

static int open_file(void *context, const char *path)
{
	(void)context;
	return sys_open(path, O_RDONLY, 0);
}

static long read_file(void *context, int file, char *text, size_t bytes)
{
	(void)context;
	return sys_read(file, text, bytes);
}

static void close_file(void *context, int file)
{
	(void)context;
	sys_close(file);
}

static const struct machine_files files = {
	.open = open_file, .read = read_file, .close = close_file,
};

/* Count the memory as free that this process gives back when it ends. */
static void add_returned(int pid, struct machine_memory *m)
{
	char path[64];
	uint64_t n;

	snprintf(path, sizeof path, "/proc/%d/status", pid);
	n = machine_value(&files, path, "RssShmem");
	if (n == MACHINE_UNKNOWN || m->free_bytes == MACHINE_UNKNOWN)
		return;
	m->free_bytes = m->limit_bytes - m->free_bytes < n ? m->limit_bytes :
			m->free_bytes + n;
}

void budget_look(int node, int pid, struct budget_given *ret_given)
{
	int n_files = sys_raise_descriptors();
	uint64_t mapped;

	machine_memory(&files, node, &ret_given->memory);
	if (pid > 0)
		add_returned(pid, &ret_given->memory);
	ret_given->file_bytes = sys_limit(RLIMIT_FSIZE);
	ret_given->range_bytes = sys_limit(RLIMIT_AS);
	ret_given->n_files = n_files < 0 ? UINT64_MAX : (uint64_t)n_files;
	mapped = machine_value(&files, "/proc/self/status", "VmSize");
	if (ret_given->range_bytes != UINT64_MAX && mapped != MACHINE_UNKNOWN)
		ret_given->range_bytes -= mapped < ret_given->range_bytes ?
					  mapped : ret_given->range_bytes;
}

static double mib(uint64_t bytes)
{
	return (double)bytes / (1 << 20);
}

void budget_print(const struct config *config, const struct budget *budget,
		  const struct budget_given *given, FILE *out)
{
	const struct machine_memory *m = &given->memory;

	fprintf(out, "\n# memory in MiB: pages, index, records, tables, the kernel's\n");
	for (uint32_t i = 0; i < config->n_spaces; i++) {
		const struct budget_space *b = &budget->space[i];

		fprintf(out, "# space %s takes %.2f: %.2f + %.2f + %.2f + %.2f + "
			"%.2f\n", config->space[i].name, mib(b->sum),
			mib(b->pages), mib(b->index), mib(b->records),
			mib(b->tables), mib(b->kernel));
	}
	fprintf(out, "# with the daemon's own, %.2f, it is %.2f; at most %.2f more "
		"with all lanes and jobs at their limits\n", mib(budget->own),
		mib(budget->sum), mib(budget->at_limits));
	if (m->free_bytes == MACHINE_UNKNOWN)
		fprintf(out, "# what this machine gives cannot be read\n");
	else
		fprintf(out, "# %s gives at most %.2f, %.2f of it free\n", m->name,
			mib(m->limit_bytes), mib(m->free_bytes));
}

void budget_print_json(const struct config *config, const struct budget *budget,
		       const struct budget_given *given, FILE *out)
{
	const struct machine_memory *m = &given->memory;

	fprintf(out, "\"memory\": {\"takes_bytes\": %" PRIu64 ", "
		"\"own_bytes\": %" PRIu64 ", \"at_limits_bytes\": %" PRIu64
		", \"spaces\": [", budget->sum, budget->own, budget->at_limits);
	for (uint32_t i = 0; i < config->n_spaces; i++) {
		const struct budget_space *b = &budget->space[i];

		fprintf(out, "%s{\"name\": \"%s\", \"takes_bytes\": %" PRIu64
			", \"pages_bytes\": %" PRIu64 ", \"index_bytes\": %" PRIu64
			", \"records_bytes\": %" PRIu64 ", \"tables_bytes\": %" PRIu64
			", \"kernel_bytes\": %" PRIu64 "}", i ? ", " : "",
			config->space[i].name, b->sum, b->pages, b->index,
			b->records, b->tables, b->kernel);
	}
	fputs("]}, \"given\": {\"by\": ", out);
	config_json_text(m->name, out);
	if (m->free_bytes == MACHINE_UNKNOWN)
		fputs(", \"free_bytes\": null, \"limit_bytes\": null}", out);
	else
		fprintf(out, ", \"free_bytes\": %" PRIu64 ", \"limit_bytes\": %"
			PRIu64 "}", m->free_bytes, m->limit_bytes);
}

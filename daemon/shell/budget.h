/* SPDX-License-Identifier: Apache-2.0 */
/*
 * budget.h - compute what memory and descriptors a configuration takes, and judge
 * whether this machine has them.
 *
 * Only budget_look() makes system calls: it reads what the machine gives.
 */
#ifndef CKV_BUDGET_H
#define CKV_BUDGET_H

#include "daemon/shell/config.h"
#include "kernels/machine.h"

/* Bytes of one space, all taken at start. */
struct budget_space {
	uint64_t pages;		/* the pool */
	uint64_t index;
	uint64_t records;
	uint64_t tables;	/* private memory: nodes, policies, queues; and the stats */
	uint64_t kernel;	/* at most: the kernel's page tables and files for them */
	uint64_t sum;		/* of the five */
	uint64_t file;		/* size of its largest file */
	uint64_t range;		/* addresses, with gaps between slabs */
};

struct budget {
	struct budget_space space[CONFIG_SPACES_MAX];
	uint64_t own;		/* the daemon's code, stacks and tables */
	uint64_t sum;		/* all that is taken at start */
	uint64_t at_limits;	/* taken later if all lanes and jobs are used */
	uint64_t range;		/* addresses of all of it */
	uint64_t n_files;	/* descriptors open at start */
	uint64_t n_files_at_limits; /* ... if all clients and lanes are there */
};

/* What the machine gives; UINT64_MAX: no limit. */
struct budget_given {
	struct machine_memory memory;
	uint64_t file_bytes;	/* RLIMIT_FSIZE */
	uint64_t range_bytes;	/* RLIMIT_AS less what is mapped already */
	uint64_t n_files;	/* RLIMIT_NOFILE */
};

void budget_count(const struct config *config, struct budget *ret_budget);

/*
 * Does the budget fit? 0; -ENOMEM, -EFBIG or -EMFILE, and `refused` is told everything
 * that does not fit. `warned` is told what will not fit later, if all lanes and jobs
 * are used.
 */
int budget_judge(const struct config *config, const struct budget *budget,
		 const struct budget_given *given,
		 const struct config_complaint *refused,
		 const struct config_complaint *warned);

/*
 * Read what the machine gives. node: the NUMA node that all memory will come from, or
 * MACHINE_ANY_NODE. pid: the ckvd that serves the socket now; 0: none. Its shared
 * memory counts as free, because it must end before this configuration is served.
 */
void budget_look(int node, int pid, struct budget_given *ret_given);

/* Print as comments of a configuration file, or as two members of a JSON object. */
void budget_print(const struct config *config, const struct budget *budget,
		  const struct budget_given *given, FILE *out);
void budget_print_json(const struct config *config, const struct budget *budget,
		       const struct budget_given *given, FILE *out);

#endif

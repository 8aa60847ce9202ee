/* SPDX-License-Identifier: Apache-2.0 */
/*
 * budget.h - what a configuration takes, and whether this machine gives it.
 *
 * Counting and judging call nothing; budget_look() reads what the machine gives.
 */
#ifndef CKV_BUDGET_H
#define CKV_BUDGET_H

#include "daemon/shell/config.h"
#include "kernels/machine.h"

/* Bytes of one space, all of it taken at start. */
struct budget_space {
	uint64_t pages;		/* the pool */
	uint64_t index;
	uint64_t records;
	uint64_t tables;	/* private: nodes, policies, queues */
	uint64_t kernel;	/* at most: page tables and files of the slabs */
	uint64_t sum;
	uint64_t file;		/* the largest file */
	uint64_t range;		/* addresses */
};

struct budget {
	struct budget_space space[CONFIG_SPACES_MAX];
	uint64_t own;		/* the daemon itself, with its tables */
	uint64_t sum;		/* all that is taken at start */
	uint64_t at_limits;	/* more, when all lanes and jobs are in use */
	uint64_t range;		/* addresses of it all */
	uint64_t n_files;	/* open at start */
	uint64_t n_files_at_limits;
};

/* What the machine gives; UINT64_MAX is no limit. */
struct budget_given {
	struct machine_memory memory;
	uint64_t file_bytes;	/* RLIMIT_FSIZE */
	uint64_t range_bytes;	/* RLIMIT_AS, without what is mapped already */
	uint64_t n_files;	/* RLIMIT_NOFILE */
};

void budget_count(const struct config *config, struct budget *ret_budget);

/*
 * Everything that does not fit is told to `refused`: -ENOMEM, -EFBIG or -EMFILE. What
 * may not fit later, when all limits are used, is told to `warned`.
 */
int budget_judge(const struct config *config, const struct budget *budget,
		 const struct budget_given *given,
		 const struct config_complaint *refused,
		 const struct config_complaint *warned);

/*
 * Ask the machine; node: MACHINE_ANY_NODE or that of all memory. Where process `pid` serves already (0: none), its shared memory
 * counts as free: it ends before this configuration is served.
 */
void budget_look(int node, int pid, struct budget_given *ret_given);

/* As comments of the configuration, and as two members of an object. */
void budget_print(const struct config *config, const struct budget *budget,
		  const struct budget_given *given, FILE *out);
void budget_print_json(const struct config *config, const struct budget *budget,
		       const struct budget_given *given, FILE *out);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * doctor.h - findings about this machine, and who collects them.
 */
#ifndef CKV_CLI_DOCTOR_H
#define CKV_CLI_DOCTOR_H

#include "kernels/cuda_device.h"
#include "kernels/machine.h"

#include <jansson.h>
#include <stddef.h>
#include <stdio.h>

enum doctor_level { DOCTOR_OK, DOCTOR_WARN, DOCTOR_FAIL };

struct finding {
	enum doctor_level level;
	const char *name;	/* "io_uring" */
	char what[8192];	/* what was found */
	const char *cost;	/* what it costs; NULL when ok */
	const char *todo;	/* what to do about it; NULL when ok */
};

enum { DOCTOR_MAX = 32 + CUDA_DEVICES_MAX };

struct doctor {
	size_t n;
	struct finding finding[DOCTOR_MAX];
};

/* Add one finding. cost and todo are dropped when it is ok. */
void doctor_add(struct doctor *doctor, enum doctor_level level,
		const char *name, const char *cost, const char *todo,
		const char *format, ...) __attribute__((format(printf, 6, 7)));

void doctor_kernel(struct doctor *doctor);	/* io_uring, pidfd, limits */
void doctor_memory(struct doctor *doctor);	/* huge pages, memfd, NUMA */
/* config NULL: that of the system, if there is one. */
void doctor_pools(struct doctor *doctor, const char *ckvd, const char *config);
void doctor_processor(struct doctor *doctor);	/* instructions, clock */
/* By the driver at `library`, files below `root`: NULL and "" but in tests. */
void doctor_gpu(struct doctor *doctor, const char *library, const char *root);
void doctor_daemon(struct doctor *doctor, const char *socket);

/* The finding about what the machine gives. */
void doctor_amount(struct doctor *doctor, const struct machine_memory *memory);

/* First line of a file without its newline, "" if it cannot be read. */
const char *doctor_read(const char *path, char *out, size_t bytes);

void doctor_print(FILE *file, const struct doctor *doctor);
json_t *doctor_json(const struct doctor *doctor);
size_t doctor_count(const struct doctor *doctor, enum doctor_level level);

#endif

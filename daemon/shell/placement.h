/* SPDX-License-Identifier: Apache-2.0 */
/*
 * placement.h - memory and threads on one NUMA node.
 */
#ifndef CKV_PLACEMENT_H
#define CKV_PLACEMENT_H

#include <stddef.h>
#include <stdint.h>

struct placement;

/*
 * Bind this thread, and those it creates from now on, to the processors of
 * `node`. On a machine with one node nothing needs binding: 0, and *ret_placement
 * is NULL. -EINVAL there is no such node (said in the log); -ENOMEM.
 */
int placement_create(uint32_t node, struct placement **ret_placement);
void placement_destroy(struct placement *placement);	/* NULL is allowed */

/* Memory that has not been touched yet: from that node. What fails is logged. */
void placement_bind(void *placement, void *base, size_t bytes);

#endif

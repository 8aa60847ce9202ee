/* SPDX-License-Identifier: Apache-2.0 */
/*
 * placement.h - bind memory and threads to one NUMA node.
 */
#ifndef CKV_PLACEMENT_H
#define CKV_PLACEMENT_H

#include <stddef.h>
#include <stdint.h>

struct placement;

/*
 * Bind this thread, and the threads that it creates later, to the processors of
 * `node`. On a machine with one node nothing is bound: 0, and *ret_placement is NULL.
 * -EINVAL: there is no such node, and the log says so. -ENOMEM.
 */
int placement_create(uint32_t node, struct placement **ret_placement);
void placement_destroy(struct placement *placement);	/* NULL is allowed */

/* Take memory that is not touched yet from that node. If that fails the log says so. */
void placement_bind(void *placement, void *base, size_t bytes);

#endif

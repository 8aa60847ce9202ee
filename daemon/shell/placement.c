/* SPDX-License-Identifier: Apache-2.0 */
/*
 * placement.c - find and bind a NUMA node by hwloc.
 */
#include "daemon/shell/placement.h"
#include "daemon/shell/log.h"
#include "daemon/shell/sys.h"

#include <errno.h>
#include <hwloc.h>
#include <string.h>

struct placement {
	hwloc_topology_t topology;
	hwloc_obj_t node;
};

static int find_node(struct placement *p, uint32_t node)
{
	int n = hwloc_get_nbobjs_by_type(p->topology, HWLOC_OBJ_NUMANODE);

	p->node = hwloc_get_numanode_obj_by_os_index(p->topology, node);
	if (p->node == NULL) {
		log_line(LOG_ERROR, "numa_node = %u: this machine has %d nodes "
			 "and none of that number", node, n);
		return -EINVAL;
	}
	if (n > 1)
		return 1;
	log_line(LOG_INFO, "numa_node = %u: the machine has one node, nothing to "
		 "bind", node);
	return 0;
}

int placement_create(uint32_t node, struct placement **ret_placement)
{
	struct placement *p;
	int r;

	r = sys_alloc(1, sizeof *p, &p);
	if (r < 0)
		return r;
	if (hwloc_topology_init(&p->topology) != 0) {
		sys_free(p);
		return -ENOMEM;
	}
	r = hwloc_topology_load(p->topology) != 0 ? -ENOMEM :
	    find_node(p, node);
	if (r <= 0) {
		placement_destroy(p);
		if (r == 0)
			*ret_placement = NULL;
		return r;
	}
	if (hwloc_set_cpubind(p->topology, p->node->cpuset,
			      HWLOC_CPUBIND_THREAD) != 0)
		log_line(LOG_WARNING, "the reactor is not bound to node %u: %s",
			 node, strerror(errno));
	*ret_placement = p;
	return 0;
}

void placement_destroy(struct placement *placement)
{
	if (placement == NULL)
		return;
	hwloc_topology_destroy(placement->topology);
	sys_free(placement);
}

void placement_bind(void *placement, void *base, size_t bytes)
{
	struct placement *p = placement;

	if (p == NULL)
		return;
	if (hwloc_set_area_membind(p->topology, base, bytes, p->node->nodeset,
				   HWLOC_MEMBIND_BIND,
				   HWLOC_MEMBIND_BYNODESET) != 0)
		log_line(LOG_WARNING, "%zu MiB are not bound to their node: %s",
			 bytes >> 20, strerror(errno));
}

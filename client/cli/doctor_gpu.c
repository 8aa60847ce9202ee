/* SPDX-License-Identifier: Apache-2.0 */
/*
 * doctor_gpu.c - GPUs: what is there, whether processes can share its memory, MPS.
 *
 * Blocks are kept in host memory, so nothing here can fail.
 */
#include "client/cli/doctor.h"
#include "client/cli/text.h"

#include <errno.h>

#define HOST	"blocks are kept in host memory, which needs none"

/* No driver is an ordinary machine; a driver that shows nothing is a thing to mend. */
static void add_refusal(struct doctor *doctor, const struct cuda_devices *all, int r)
{
	if (r == -ENOENT)
		doctor_add(doctor, DOCTOR_OK, "GPU", NULL, NULL, "%s; no blocks in GPU memory, "
			   "all that keeps them in host memory works", all->why);
	else
		doctor_add(doctor, DOCTOR_WARN, "GPU", "no GPU can be used; " HOST,
			   r == -ENOSYS ? "install a newer driver" :
			   r == -EACCES ? "let this user open the device files, or give the "
			   "container its GPUs" :
			   r == -ENODEV ? "nothing, if there is no GPU; else see what nvidia-smi "
			   "shows" : "see what nvidia-smi and the kernel's log say", "%s", all->why);
}

static void add_device(struct doctor *doctor, struct cuda_devices *all,
		       const struct cuda_device *d)
{
	char bytes[TEXT_SHORT], node[32] = "NUMA node not known";
	int r = cuda_device_judge(all, d, 0);

	if (d->numa_node != CUDA_DEVICE_ANY_NODE)
		snprintf(node, sizeof node, "NUMA node %d", d->numa_node);
	doctor_add(doctor, r == 0 ? DOCTOR_OK : DOCTOR_WARN, "GPU",
		   "processes cannot share its memory; " HOST,
		   r == -EBUSY ? "set its compute mode, as said" : "nothing, or take another GPU",
		   "%d: %s, %s, %s, %s, compute capability %d.%d, %s; %s%s%s%s", d->index,
		   d->name, d->uuid, d->pci, text_bytes(bytes, d->memory_bytes), d->major,
		   d->minor, node, r == 0 ? "processes can share its memory" : all->why,
		   d->has_rdma ? "" : "; network cards do not reach its memory",
		   d->has_read_only ? "" : "; it does not read what is mapped read-only",
		   d->has_word_writes ? "" : "; its streams do not write 64-bit words");
}

static void add_mps(struct doctor *doctor, const struct cuda_devices *all)
{
	if (all->has_mps)
		doctor_add(doctor, DOCTOR_OK, "MPS", NULL, NULL, "runs (%s is there): kernels of "
			   "several processes run side by side, and a fatal fault of one of them "
			   "reaches all", all->mps);
	else
		doctor_add(doctor, DOCTOR_OK, "MPS", NULL, NULL, "does not run (no %s): processes "
			   "take turns on a GPU, and a fault of one reaches no other", all->mps);
}

void doctor_gpu(struct doctor *doctor, const char *library, const char *root)
{
	struct cuda_devices all;
	int r = cuda_devices_open(library, root, &all);

	if (r < 0) {
		add_refusal(doctor, &all, r);
		return;
	}
	doctor_add(doctor, DOCTOR_OK, "GPU", NULL, NULL, "the driver has CUDA %d.%d and shows %u; "
		   "this version keeps no blocks in their memory", all.version / 1000,
		   all.version % 1000 / 10, all.n);
	for (unsigned i = 0; i < all.n; i++)
		add_device(doctor, &all, &all.device[i]);
	add_mps(doctor, &all);
}

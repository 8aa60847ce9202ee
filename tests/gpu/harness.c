/* SPDX-License-Identifier: Apache-2.0 */
/* harness.c - what the tests ask of the harness, where a GPU runs the kernels. */
#include "front.h"
#include "tests/simt/simt.h"

uint32_t simt_multiprocessors;

/* Orders of threads are the GPU's own affair. */
void simt_schedule(enum simt_order order, uint64_t seed)
{
	(void)order;
	(void)seed;
}

uint64_t simt_n_launches(void)
{
	return front_n_launches;
}

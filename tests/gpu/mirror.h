/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mirror.h - host memory at the disposal of a GPU, for the length of one call.
 *
 * A call collects what it needs: each piece gets a copy on the device, as aligned as
 * the original, with a guard behind it. mirror_finish() waits, sees whether the device
 * is well and the guards are whole, and copies back what may have changed. What goes
 * wrong there ends the program: a fault of the GPU spoils all that would follow.
 */
#ifndef CKV_GPU_MIRROR_H
#define CKV_GPU_MIRROR_H

#include "kernels/ckv_kernels.h"

#define MIRROR_MAX	4096u

struct mirror_piece {
	void *host, *device, *base;	/* base: as allocated */
	size_t bytes;
	int back;			/* copied back in the end */
};

struct mirror {
	struct mirror_piece piece[MIRROR_MAX];
	uint32_t n;
};

/* The one that calls take turns with; empty. */
struct mirror *mirror_begin(void);

/* The device's copy; NULL of NULL. */
const void *mirror_in(struct mirror *m, const void *host, size_t bytes);
void *mirror_inout(struct mirror *m, void *host, size_t bytes);

/* Rows whose blocks are on the device, all layers of them. */
struct ckv_cuda_rows mirror_rows(struct mirror *m, const struct ckv_cuda_rows *rows);

/* An area for each (layer, head), the last of `bytes`. */
struct ckv_cuda_out mirror_out(struct mirror *m, const struct ckv_cuda_out *out,
			       uint32_t n_layers, uint32_t n_heads, size_t bytes);

/* Wait, look, copy back if the launch was taken (r == 0), free. Returns r. */
int mirror_finish(struct mirror *m, int r);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * window_check.c - which window inputs are possible, and where one is broken.
 *
 * The vectorised code only notices that some number is not finite, or that some
 * lse cannot be true. Which one it was is found here: slowly, but only after an error.
 */
#include "kernels/window.h"
#include "kernels/elem.h"
#include "kernels/method.h"

#include <errno.h>
#include <math.h>

int window_check(const struct ckv_window *in, uint32_t first_head,
		 uint32_t n_heads)
{
	if (in == NULL || rows_check(&in->k) < 0 ||
	    rows_check(&in->q) < 0)
		return -EINVAL;
	if (in->k.dim != in->q.dim || in->q.n_heads % in->k.n_heads != 0)
		return -EINVAL;
	if (in->q.n_heads / in->k.n_heads * in->q.n_tokens >
	    CKV_KERNEL_MAX_ROWS)
		return -EINVAL;
	if (in->q.n_tokens > CKV_KERNEL_MAX_WINDOW ||
	    in->k.n_tokens <= in->q.n_tokens)
		return -EINVAL;
	if (first_head > in->k.n_heads || n_heads > in->k.n_heads - first_head)
		return -EINVAL;
	return 0;
}

uint32_t window_row_fault(const void *row, uint32_t dim, enum ckv_elem elem)
{
	for (uint32_t d = 0; d < dim; d++)
		if (!isfinite(elem_at(row, d, elem)))
			return d;
	return dim;
}

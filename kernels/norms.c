/* SPDX-License-Identifier: Apache-2.0 */
/*
 * norms.c - the L2 norm of every key: what it is, and the choice of code.
 */
#include "kernels/elem.h"
#include "kernels/keys.h"
#include "kernels/method.h"

#include <errno.h>
#include <float.h>
#include <math.h>

int keys_check(const struct ckv_rows *k, uint32_t first_head, uint32_t n_heads)
{
	if (k == NULL || rows_check(k) < 0)
		return -EINVAL;
	return first_head <= k->n_heads && n_heads <= k->n_heads - first_head
		? 0 : -EINVAL;
}

int keys_squares(const struct ckv_rows *k, uint32_t head, uint32_t token,
		 double *ret_squares, struct ckv_fault *ret_fault)
{
	const void *row = ckv_rows_at(k, head, token);
	double squares = 0.0;

	for (uint32_t d = 0; d < k->dim; d++) {
		double x = (double)elem_at(row, d, k->elem);

		if (!isfinite(x)) {
			if (ret_fault != NULL)
				*ret_fault = (struct ckv_fault){
					CKV_INPUT_KEY, head, token, d };
			return -EDOM;
		}
		squares += x * x;
	}
	if (squares > (double)FLT_MAX)
		return -ERANGE;
	*ret_squares = squares;
	return 0;
}

int ckv_norms_ref(const struct ckv_rows *k, uint32_t first_head,
		  uint32_t n_heads, double *norm, struct ckv_fault *ret_fault)
{
	int r = keys_check(k, first_head, n_heads);

	if (r < 0 || norm == NULL)
		return -EINVAL;
	for (uint32_t h = first_head; h < first_head + n_heads; h++)
		for (uint32_t t = 0; t < k->n_tokens; t++) {
			double *to = &norm[(size_t)h * k->n_tokens + t];

			r = keys_squares(k, h, t, to, ret_fault);
			if (r < 0)
				return r;
			*to = sqrt(*to);
		}
	return 0;
}

int ckv_norms(const struct ckv_rows *k, uint32_t first_head, uint32_t n_heads,
	      float *norm, struct ckv_fault *ret_fault)
{
	const struct keys_code *code = keys_code_best();
	int r = keys_check(k, first_head, n_heads);

	if (r < 0 || norm == NULL)
		return -EINVAL;
	for (uint32_t h = first_head; h < first_head + n_heads; h++) {
		r = code->norms(k, h, norm + (size_t)h * k->n_tokens, ret_fault);
		if (r < 0)
			return r;
	}
	return 0;
}

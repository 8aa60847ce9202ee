/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool.c - smoothing scores over neighbours, and reducing rows to one.
 *
 * Both take little time beside the scoring before them, so what counts is that
 * they round in one defined way. A pool adds from left to right in float, as the
 * published programs do. A reduction adds in double, which is exact enough that the
 * order of the rows makes no difference, for any number of heads that exists.
 */
#include "kernels/ckv_kernels.h"

#include <errno.h>
#include <math.h>

static float average_at(const float *in, uint32_t n, uint32_t at,
			uint32_t kernel)
{
	uint32_t half = kernel / 2;
	uint32_t from = at < half ? 0 : at - half;
	uint32_t to = n - at > half ? at + half + 1 : n;
	float sum = 0.0f;

	for (uint32_t i = from; i < to; i++)
		sum += in[i];
	return sum / (float)kernel;
}

/* The same as average_at() everywhere, four at a time between the borders. */
static void average(const float *in, uint32_t n, uint32_t kernel, float *out)
{
	typedef float four __attribute__((vector_size(16), aligned(4),
					  may_alias));
	uint32_t half = kernel / 2, i = 0;

	for (; i < n && (i < half || n < 4); i++)
		out[i] = average_at(in, n, i, kernel);
	for (; i + 4 + half <= n; i += 4) {
		four sum = { 0 };

		for (uint32_t k = 0; k < kernel; k++)
			sum += *(const four *)(in + i - half + k);
		*(four *)(out + i) = sum / (float)kernel;
	}
	for (; i < n; i++)
		out[i] = average_at(in, n, i, kernel);
}

static float maximum_at(const float *in, uint32_t n, uint32_t at,
			uint32_t kernel)
{
	uint32_t half = kernel / 2;
	uint32_t from = at < half ? 0 : at - half;
	uint32_t to = n - at > half ? at + half + 1 : n;
	float max = -INFINITY;

	for (uint32_t i = from; i < to; i++) {
		if (in[i] != in[i])
			return in[i];
		if (in[i] > max)
			max = in[i];
	}
	return max;
}

int ckv_pool(enum ckv_pool pool, uint32_t kernel, const float *in, uint32_t n,
	     float *out)
{
	if (kernel % 2 == 0 || (n > 0 && (in == NULL || out == NULL)))
		return -EINVAL;
	switch (pool) {
	case CKV_POOL_AVG:
		average(in, n, kernel, out);
		return 0;
	case CKV_POOL_MAX:
		for (uint32_t i = 0; i < n; i++)
			out[i] = maximum_at(in, n, i, kernel);
		return 0;
	}
	return -EINVAL;
}

static float reduce_at(enum ckv_reduce reduce, const float *in, uint32_t n_rows,
		       size_t row_stride)
{
	double sum = 0.0;
	float max = in[0];

	if (reduce == CKV_REDUCE_MAX) {
		for (uint32_t i = 1; i < n_rows; i++) {
			float x = in[i * row_stride];

			if (x > max || x != x)
				max = x;
		}
		return max;
	}
	for (uint32_t i = 0; i < n_rows; i++)
		sum += (double)in[i * row_stride];
	return (float)(reduce == CKV_REDUCE_MEAN ? sum / n_rows : sum);
}

int ckv_reduce(enum ckv_reduce reduce, const float *in, uint32_t n_rows,
	       size_t row_stride, uint32_t n, float *out)
{
	if (n_rows == 0 || (n > 0 && (in == NULL || out == NULL)) ||
	    (reduce != CKV_REDUCE_MEAN && reduce != CKV_REDUCE_SUM &&
	     reduce != CKV_REDUCE_MAX))
		return -EINVAL;
	for (uint32_t i = 0; i < n; i++)
		out[i] = reduce_at(reduce, in + i, n_rows, row_stride);
	return 0;
}

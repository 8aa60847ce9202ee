/* SPDX-License-Identifier: Apache-2.0 */
/*
 * harness.cu - small kernels, right and wrong, that show what the harness sees.
 */
#include "harness.h"

#include "kernels/common.cuh"

#include <errno.h>

/* out[i] = in[n - 1 - i] through shared memory. */
__global__ void reverse_kernel(const uint32_t *in, uint32_t *out, int barrier)
{
	CKV_SHARED(uint32_t, s);

	s[threadIdx.x] = in[threadIdx.x];
	if (barrier)
		__syncthreads();
	out[threadIdx.x] = s[blockDim.x - 1 - threadIdx.x];
}

/* Sum before each thread, with all that block_sum_before() uses. */
__global__ void before_kernel(const uint32_t *in, uint32_t *out)
{
	CKV_SHARED(uint32_t, room);
	uint32_t all, before = block_sum_before(in[threadIdx.x], room, &all);

	out[threadIdx.x] = before;
	if (threadIdx.x == 0)
		out[blockDim.x] = all;
}

/* What each lane gets from each warp operation, one word after another. */
__global__ void lanes_kernel(const uint32_t *in, uint32_t *out)
{
	uint32_t lane = threadIdx.x, x = in[lane], *to = out + lane * 16;

	*to++ = __shfl_sync(ALL_LANES, x, 5);
	*to++ = __shfl_sync(ALL_LANES, x, 3, 8);
	*to++ = __shfl_up_sync(ALL_LANES, x, 2);
	*to++ = __shfl_down_sync(ALL_LANES, x, 3, 16);
	*to++ = __shfl_xor_sync(ALL_LANES, x, 9);
	*to++ = __ballot_sync(ALL_LANES, x & 1);
	*to++ = (uint32_t)__any_sync(ALL_LANES, x == 37);
	*to++ = (uint32_t)__all_sync(ALL_LANES, x < 100);
	*to++ = __match_any_sync(ALL_LANES, x % 4);
	*to++ = __reduce_add_sync(ALL_LANES, x);
	*to++ = __reduce_min_sync(ALL_LANES, x);
	*to++ = __reduce_max_sync(ALL_LANES, x);
	*to++ = (uint32_t)__syncthreads_count(x & 1);
	/* Half a warp by itself; the other half ends meanwhile. */
	if (lane < 16)
		*to = __reduce_add_sync(0xffffu, x);
}

__global__ void wrong_kernel(enum wrong wrong, uint32_t *out)
{
	CKV_SHARED(uint32_t, s);
	uint32_t i = threadIdx.x, n = blockDim.x;

	switch (wrong) {
	case WRONG_PAST_SHARED:
		out[i] = s[i + 1];
		break;
	case WRONG_BEFORE_SHARED:
		out[i] = s[(int)i - 1];
		break;
	case WRONG_FAR_PAST_SHARED:
		s[i + 20000] = 1;
		break;
	case WRONG_TWO_BARRIERS:
		if (i % 2)
			__syncthreads();
		else
			__syncthreads();
		break;
	case WRONG_BARRIER_WITHOUT_ONE:
		if (i != 3)
			__syncthreads();
		break;
	case WRONG_SHUFFLE_FROM_OUTSIDE:
		if (i < 16)
			out[i] = __shfl_sync(0xffffu, i, 20);
		break;
	case WRONG_LANE_ENDED:
		if (i != 7)
			out[i] = __ballot_sync(ALL_LANES, 1);
		break;
	case WRONG_NOT_IN_MASK:
		out[i] = __ballot_sync(0xfffffffeu, 1);
		break;
	case WRONG_TWO_MASKS:
		out[i] = __any_sync(i < 16 ? ALL_LANES : 0xffff00ffu, 1);
		break;
	case WRONG_LANE_IN_BARRIER:
		if (i < 8)
			__syncthreads();
		out[i] = __any_sync(ALL_LANES, 1);
		break;
	case WRONG_PARTIAL_WARP:
		if (i >= n / 32 * 32)
			out[i] = __any_sync(ALL_LANES, 1);
		break;
	case WRONG_ALIGNMENT:
		out[i] = ((const uint4 *)(out + 1))->x;
		break;
	case WRONG_GLOBAL:
		out[n] = 1;
		break;
	}
}

/* Each kernel has its arguments in its own types. */
#define LAUNCH(kernel, grid, block, shared_bytes, args)				\
	(simt_launch(#kernel, kernel, grid, block, shared_bytes, args) < 0 ? -EIO : 0)

int harness_reverse(const uint32_t *in, uint32_t n, int barrier, uint32_t *out)
{
	void *const args[] = { &in, &out, &barrier };

	return LAUNCH(reverse_kernel, 1, n, n * 4, args);
}

int harness_before(const uint32_t *in, uint32_t n, uint32_t *out)
{
	void *const args[] = { &in, &out };

	return LAUNCH(before_kernel, 1, n, WARP * 4, args);
}

int harness_lanes(const uint32_t *in, uint32_t *out)
{
	void *const args[] = { &in, &out };

	return LAUNCH(lanes_kernel, 1, WARP, 0, args);
}

int harness_wrong(enum wrong wrong, uint32_t n, uint32_t *out)
{
	void *const args[] = { &wrong, &out };

	return LAUNCH(wrong_kernel, 1, n, n * 4, args);
}

int harness_launch(uint32_t grid, uint32_t block, uint32_t shared_bytes)
{
	uint32_t *none = nullptr;
	void *const args[] = { &none, &none };

	return LAUNCH(before_kernel, grid, block, shared_bytes, args);
}

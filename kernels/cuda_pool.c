/* SPDX-License-Identifier: Apache-2.0 */
/* cuda_pool.c - launchers of pool.cu and snapkv_score.cu. */
#include "kernels/cuda_launch.h"
#include "kernels/cuda_task.h"

#include <errno.h>

static bool pool_ok(enum ckv_pool pool, uint32_t kernel)
{
	return kernel % 2 == 1 && (pool == CKV_POOL_AVG || pool == CKV_POOL_MAX);
}

static bool reduce_ok(enum ckv_reduce reduce)
{
	return reduce == CKV_REDUCE_MEAN || reduce == CKV_REDUCE_SUM ||
	       reduce == CKV_REDUCE_MAX;
}

int ckv_cuda_pool(enum ckv_pool pool, uint32_t kernel, const float *in,
		  uint32_t n_rows, uint32_t n, float *out, void *stream)
{
	uint32_t n_tiles = (uint32_t)cuda_pieces(n, POOL_THREADS);
	uint64_t n_blocks = (uint64_t)n_rows * n_tiles;
	struct cuda_shape shape = { (uint32_t)n_blocks, POOL_THREADS, 0 };
	void *const args[] = { &pool, &kernel, &in, &n, &n_tiles, &out };

	if (!pool_ok(pool, kernel) || n_blocks > INT32_MAX ||
	    (n_blocks > 0 && (in == NULL || out == NULL)))
		return -EINVAL;
	if (n_blocks == 0)
		return 0;	/* an empty grid is a launch error */
	return cuda_launch(KERNEL_pool, shape, stream, args);
}

int ckv_cuda_reduce(enum ckv_reduce reduce, const float *in, uint32_t n_groups,
		    uint32_t group, uint32_t n, float *out, void *stream)
{
	uint32_t n_tiles = (uint32_t)cuda_pieces(n, POOL_THREADS);
	uint64_t n_blocks = (uint64_t)n_groups * n_tiles;
	struct cuda_shape shape = { (uint32_t)n_blocks, POOL_THREADS, 0 };
	void *const args[] = { &reduce, &in, &group, &n, &n_tiles, &out };

	if (!reduce_ok(reduce) || group == 0 || n_blocks > INT32_MAX ||
	    (n_blocks > 0 && (in == NULL || out == NULL)))
		return -EINVAL;
	if (n_blocks == 0)
		return 0;
	return cuda_launch(KERNEL_reduce, shape, stream, args);
}

static int task_of(const struct ckv_snapkv *m, const struct ckv_shape *shape,
		   struct snapkv_task *ret)
{
	if (m == NULL || shape == NULL || shape->n_kv_heads == 0 ||
	    shape->n_q_heads == 0 || shape->n_q_heads > CKV_KERNEL_MAX_HEADS ||
	    shape->n_q_heads % shape->n_kv_heads != 0 || m->window == 0 ||
	    shape->n_tokens <= m->window ||
	    shape->n_tokens > CKV_KERNEL_MAX_TOKENS ||
	    !pool_ok(m->pool, m->kernel) || m->kernel > SNAPKV_MAX_KERNEL ||
	    !reduce_ok(m->reduce) || (m->mode != CKV_SNAPKV_KVPRESS &&
				      m->mode != CKV_SNAPKV_OFFICIAL))
		return -EINVAL;
	ret->pool = m->pool;
	ret->reduce = m->reduce;
	ret->pools_first = m->mode == CKV_SNAPKV_KVPRESS;
	ret->window = m->window;
	ret->kernel = m->kernel;
	ret->n_kv_heads = shape->n_kv_heads;
	ret->group = shape->n_q_heads / shape->n_kv_heads;
	ret->n = shape->n_tokens - m->window;
	ret->n_tiles = (uint32_t)cuda_pieces(ret->n, SNAPKV_TILE);
	return 0;
}

int ckv_cuda_snapkv_score(const struct ckv_snapkv *m,
			  const struct ckv_shape *shape, uint32_t n_layers,
			  const float *score, uint32_t *max, float *out,
			  void *stream)
{
	struct snapkv_task t;
	void *const args[] = { &t, &score, &max, &out };
	struct cuda_shape grid;
	uint64_t n_blocks;

	if (task_of(m, shape, &t) < 0 || score == NULL || out == NULL)
		return -EINVAL;
	n_blocks = (uint64_t)n_layers * t.n_kv_heads * t.n_tiles;
	if (n_layers == 0 || n_blocks > INT32_MAX)
		return -EINVAL;
	grid = (struct cuda_shape){ (uint32_t)n_blocks, SNAPKV_TILE,
				    (SNAPKV_TILE + t.kernel - 1) * sizeof(float) };
	return cuda_launch(KERNEL_snapkv_scores, grid, stream, args);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attend.c - grouped-query attention over pages and views, where they lie.
 *
 * For each kv head the runs are listed once; then the queries of a few tokens,
 * of all heads in the group, pass over them three times: scores, softmax, sum
 * of values. Tiles and runs only decide when a product is computed. A query's
 * softmax and its sum of values go over its rows in reading order from the
 * first, so no bit of the result depends on them.
 */
#include "client/examples/engine/attend.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct tile {
	uint32_t head;			/* kv head */
	uint32_t token, n_tokens;	/* of the batch */
	uint32_t visible;		/* rows that the first token sees */
	const struct kv_run *run;
	uint32_t n_runs;
	enum vec_dtype dtype;
	size_t stride;			/* of a row of scores */
};

static int make_room(struct engine *eng, size_t n_scores, uint32_t n_runs)
{
	if (n_scores > eng->n_scores) {
		float *more = realloc(eng->scores, n_scores * sizeof(*more));

		if (more == NULL)
			return -ENOMEM;
		eng->scores = more;
		eng->n_scores = n_scores;
	}
	if (n_runs > eng->n_runs) {
		struct kv_run *more = realloc(eng->runs,
					      n_runs * sizeof(*more));

		if (more == NULL)
			return -ENOMEM;
		eng->runs = more;
		eng->n_runs = n_runs;
	}
	return 0;
}

/* How many rows of the run that begins at row `at` the t-th token sees. */
static size_t seen(const struct tile *tile, uint32_t t, uint32_t at, uint32_t n)
{
	uint32_t visible = tile->visible + t;

	if (visible <= at)
		return 0;
	return visible - at < n ? visible - at : n;
}

static float *head_of(const struct engine *eng, float *rows,
		      const struct tile *tile, uint32_t t, uint32_t g)
{
	const struct config *c = &eng->m->cfg;
	uint32_t group = c->n_heads / c->n_kv_heads;
	size_t token = tile->token + t, head = tile->head * group + g;

	return rows + (token * c->n_heads + head) * c->head_dim;
}

static void tile_scores(struct engine *eng, const struct tile *tile)
{
	const struct config *c = &eng->m->cfg;
	uint32_t group = c->n_heads / c->n_kv_heads, at = 0;

	for (uint32_t i = 0; i < tile->n_runs; at += tile->run[i++].n)
		for (uint32_t row = 0; row < tile->n_tokens * group; row++)
			eng->ops->scores[tile->dtype](
				eng->scores + row * tile->stride + at,
				head_of(eng, eng->q, tile, row / group,
					row % group), tile->run[i].k,
				seen(tile, row / group, at, tile->run[i].n),
				c->head_dim);
}

static void tile_mix(struct engine *eng, const struct tile *tile)
{
	const struct config *c = &eng->m->cfg;
	uint32_t group = c->n_heads / c->n_kv_heads, at = 0;

	for (uint32_t i = 0; i < tile->n_runs; at += tile->run[i++].n)
		for (uint32_t row = 0; row < tile->n_tokens * group; row++)
			eng->ops->mix[tile->dtype](
				head_of(eng, eng->mix, tile, row / group,
					row % group),
				eng->scores + row * tile->stride + at,
				tile->run[i].v,
				seen(tile, row / group, at, tile->run[i].n),
				c->head_dim);
}

static void attend_tile(struct engine *eng, const struct tile *tile)
{
	const struct config *c = &eng->m->cfg;
	uint32_t group = c->n_heads / c->n_kv_heads;
	uint32_t n_rows = tile->n_tokens * group;

	tile_scores(eng, tile);
	for (uint32_t row = 0; row < n_rows; row++) {
		uint32_t t = row / group;

		eng->sum[row] = eng->ops->softmax(eng->scores +
						  row * tile->stride,
						  tile->visible + t);
		memset(head_of(eng, eng->mix, tile, t, row % group), 0,
		       c->head_dim * sizeof(float));
	}
	tile_mix(eng, tile);
	for (uint32_t row = 0; row < n_rows; row++) {
		float *out = head_of(eng, eng->mix, tile, row / group,
				     row % group);

		for (uint32_t d = 0; d < c->head_dim; d++)
			out[d] /= eng->sum[row];
	}
}

int attend(struct engine *eng, const struct kv *kv, uint32_t layer, uint32_t n,
	   uint32_t pos)
{
	const struct config *c = &eng->m->cfg;
	uint32_t n_runs = kv_n_runs(kv, pos + n);
	size_t stride = (size_t)kv->view_rows_max + (pos + n - kv->first) +
			VEC_PAD;
	uint32_t rows = ATTEND_TILE * (c->n_heads / c->n_kv_heads);
	int r = make_room(eng, rows * stride, n_runs);

	if (r < 0)
		return r;
	for (uint32_t head = 0; head < c->n_kv_heads; head++) {
		uint32_t all = kv_runs(kv, layer, head, pos + n, eng->runs);
		struct tile tile = { .head = head, .run = eng->runs,
				     .n_runs = n_runs, .stride = stride,
				     .dtype = kv->geo.dtype };

		for (uint32_t t = 0; t < n; t += ATTEND_TILE) {
			tile.token = t;
			tile.n_tokens = n - t < ATTEND_TILE ? n - t :
					ATTEND_TILE;
			tile.visible = all - n + t + 1;
			attend_tile(eng, &tile);
		}
	}
	return 0;
}

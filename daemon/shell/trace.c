/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trace.c - number the blocks of a trace.
 *
 * Two blocks are the same if their ids and all ids before them are the same. So each
 * distinct pair {parent's number, id} gets the next number, by a hash table that grows.
 */
#include "daemon/shell/trace.h"
#include "daemon/shell/trace_rows.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define NO_PARENT UINT32_MAX

struct seen {			/* a distinct block, by {parent, id} */
	uint64_t id;
	uint32_t parent;
	uint32_t block;		/* number + 1; 0: empty */
};

struct reader {
	struct trace trace;
	struct seen *seen;
	uint32_t n_seen_max;	/* power of two */
	uint32_t n_refs_max, n_blocks_max, n_requests_max;
};

static int grow(uint32_t **array, uint32_t n, uint32_t *n_max)
{
	uint32_t more = *n_max ? *n_max * 2 : 1024;
	uint32_t *larger;

	if (n < *n_max)
		return 0;
	if (more < *n_max)
		return -ENOMEM;
	larger = realloc(*array, more * sizeof *larger);
	if (larger == NULL)
		return -ENOMEM;
	*array = larger;
	*n_max = more;
	return 0;
}

static struct seen *seen_place(const struct reader *r, uint32_t parent,
			       uint64_t id)
{
	uint64_t h = (id + 1) * 0x9e3779b97f4a7c15u ^
		     ((uint64_t)parent + 1) * 0xd6e8feb86659fd93u;
	uint32_t i = (uint32_t)(h ^ h >> 32);

	for (;; i++) {
		struct seen *s = &r->seen[i & (r->n_seen_max - 1)];

		if (s->block == 0 || (s->id == id && s->parent == parent))
			return s;
	}
}

static int seen_grow(struct reader *r)
{
	uint32_t n_old = r->n_seen_max, n = n_old ? 2 * n_old : 4096;
	struct seen *old = r->seen, *larger;

	if (n < n_old)
		return -ENOMEM;
	larger = realloc(NULL, n * sizeof *larger);
	if (larger == NULL)
		return -ENOMEM;
	memset(larger, 0, n * sizeof *larger);
	r->seen = larger;
	r->n_seen_max = n;
	for (uint32_t i = 0; i < n_old; i++)
		if (old[i].block != 0)
			*seen_place(r, old[i].parent, old[i].id) = old[i];
	free(old);
	return 0;
}

/* The number of a block; a new block gets the next number. */
static int number(struct reader *r, uint32_t parent, uint64_t id,
		  uint32_t *ret_block)
{
	struct trace *t = &r->trace;
	struct seen *s;

	if (2 * t->n_blocks >= r->n_seen_max && seen_grow(r) < 0)
		return -ENOMEM;
	if (grow(&t->parents, t->n_blocks, &r->n_blocks_max) < 0)
		return -ENOMEM;
	s = seen_place(r, parent, id);
	if (s->block == 0) {
		t->parents[t->n_blocks++] = parent;
		*s = (struct seen){
			.id = id, .parent = parent, .block = t->n_blocks,
		};
	}
	*ret_block = s->block - 1;
	return 0;
}

static int add_request(struct reader *r, const uint64_t *ids, uint32_t n)
{
	struct trace *t = &r->trace;
	uint32_t block = NO_PARENT;

	for (uint32_t i = 0; i < n; i++) {
		if (number(r, block, ids[i], &block) < 0 ||
		    grow(&t->refs, t->n_refs, &r->n_refs_max) < 0)
			return -ENOMEM;
		t->refs[t->n_refs++] = block;
	}
	if (grow(&t->ends, t->n_requests, &r->n_requests_max) < 0)
		return -ENOMEM;
	t->ends[t->n_requests++] = t->n_refs;
	return 0;
}

static int number_rows(struct reader *r, const struct trace_rows *rows)
{
	int ret = 0;

	for (uint32_t i = 0; ret == 0 && i < rows->n_rows; i++)
		ret = add_request(r, rows->ids + rows->row[i].first_id,
				  rows->row[i].n_ids);
	r->trace.n_without = rows->n_without;
	r->trace.first_without = rows->first_without;
	r->trace.n_continued = rows->n_continued;
	r->trace.sorted = rows->sorted;
	return ret;
}

int trace_read(FILE *file, struct trace *ret_trace, char *text,
	       size_t text_bytes)
{
	struct reader r = { 0 };
	struct trace_rows rows;
	int ret = trace_rows_read(file, &rows, text, text_bytes);

	if (ret < 0)
		return ret;
	ret = number_rows(&r, &rows);
	trace_rows_free(&rows);
	if (ret == 0 && r.trace.n_refs == 0) {
		snprintf(text, text_bytes, "it has no request with a block; %u "
			 "rows have no hash_ids", r.trace.n_without);
		ret = -EBADMSG;
	}
	free(r.seen);
	if (ret < 0)
		trace_free(&r.trace);
	else
		*ret_trace = r.trace;
	return ret;
}

void trace_free(struct trace *trace)
{
	free(trace->refs);
	free(trace->parents);
	free(trace->ends);
	*trace = (struct trace){ 0 };
}

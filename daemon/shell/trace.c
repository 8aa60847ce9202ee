/*
 * trace.c - read a trace and number its blocks.
 *
 * A block is its id and everything before it, so {parent, id} pairs are
 * numbered in order of appearance through a hash table that grows.
 */
#include "daemon/shell/trace.h"

#include <errno.h>
#include <jansson.h>
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

/* The number of a block; new ones are numbered on. */
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

static int add_request(struct reader *r, const json_t *ids)
{
	struct trace *t = &r->trace;
	uint32_t block = NO_PARENT;
	size_t i;
	json_t *id;

	json_array_foreach(ids, i, id) {
		if (!json_is_integer(id) || json_integer_value(id) < 0)
			return -EBADMSG;
		if (number(r, block, (uint64_t)json_integer_value(id),
			   &block) < 0 ||
		    grow(&t->refs, t->n_refs, &r->n_refs_max) < 0)
			return -ENOMEM;
		t->refs[t->n_refs++] = block;
	}
	if (grow(&t->ends, t->n_requests, &r->n_requests_max) < 0)
		return -ENOMEM;
	t->ends[t->n_requests++] = t->n_refs;
	return 0;
}

static int read_line(struct reader *r, const char *line, size_t bytes,
		     uint32_t line_no, char *text, size_t text_bytes)
{
	json_error_t error;
	json_t *object = json_loadb(line, bytes, 0, &error);
	json_t *ids = json_object_get(object, "hash_ids");
	int ret;

	if (object == NULL) {
		snprintf(text, text_bytes, "line %u: %s", line_no, error.text);
		return -EBADMSG;
	}
	ret = json_is_array(ids) ? add_request(r, ids) : -EBADMSG;
	if (ret == -EBADMSG)
		snprintf(text, text_bytes, "line %u: \"hash_ids\" must be a "
			 "list of numbers from 0", line_no);
	json_decref(object);
	return ret;
}

int trace_read(FILE *file, struct trace *ret_trace, char *text,
	       size_t text_bytes)
{
	struct reader r = { 0 };
	uint32_t line_no = 0;
	size_t line_max = 0;
	char *line = NULL;
	ssize_t bytes;
	int ret = 0;

	while (ret == 0 && (bytes = getline(&line, &line_max, file)) > 0) {
		line_no++;
		if (strspn(line, " \t\r\n") < (size_t)bytes)
			ret = read_line(&r, line, (size_t)bytes, line_no, text,
					text_bytes);
	}
	if (ret == 0 && ferror(file))
		ret = -EIO;
	if (ret == 0 && r.trace.n_refs == 0) {
		snprintf(text, text_bytes, "it has no request with a block");
		ret = -EBADMSG;
	}
	free(line);
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

/* SPDX-License-Identifier: Apache-2.0 */
/* methods.c - see methods.h. The first is what the others are measured against. */
#include "tests/quality/methods.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define INT4 "kivi(bits=4, group=64)"
#define INT2 "kivi(bits=2, group=64)"

const struct compared compared[] = {
	{ .name = "plain", .encode = "plain" },
	{ .name = "random", .select = "random", .keys = "seed=1" },
	{ .name = "streamingllm (first+last)", .select = "streamingllm",
	  .keys = "sinks=4" },
	{ .name = "chunkkv", .select = "chunkkv", .keys = "chunk=16",
	  .windowed = 1, .reads_queries = 1 },
	{ .name = "chunkkv paper", .select = "chunkkv",
	  .keys = "mode=paper, chunk=10", .windowed = 1, .reads_queries = 1 },
	{ .name = "chunkkv reuse=2", .select = "chunkkv",
	  .keys = "chunk=16, reuse=2", .windowed = 1, .reads_queries = 1 },
	{ .name = "snapkv avg", .select = "snapkv", .keys = "pool=avg",
	  .windowed = 1, .reads_queries = 1 },
	{ .name = "snapkv max", .select = "snapkv", .keys = "pool=max",
	  .windowed = 1, .reads_queries = 1 },
	{ .name = "pyramidkv", .select = "pyramidkv", .windowed = 1,
	  .reads_queries = 1 },
	{ .name = "h2o", .select = "h2o", .reads_queries = 1 },
	{ .name = "tova", .select = "tova", .reads_queries = 1 },
	{ .name = "l2norm", .select = "l2norm" },
	{ .name = "keydiff", .select = "keydiff" },
	{ .name = "fp8", .encode = "fp8(scale=head)" },
	{ .name = "int8", .encode = "int8(group=64)" },
	{ .name = "int4", .encode = INT4 },
	{ .name = "int4, keys per token", .encode = INT4, .key_per_token = 1 },
	{ .name = "int2", .encode = INT2 },
	{ .name = "random + int4", .select = "random", .keys = "seed=1",
	  .encode = INT4 },
	{ .name = "first+last + int4", .select = "streamingllm",
	  .keys = "sinks=4", .encode = INT4 },
	{ .name = "chunkkv + fp8", .select = "chunkkv", .keys = "chunk=16",
	  .encode = "fp8(scale=head)", .windowed = 1, .reads_queries = 1 },
	{ .name = "chunkkv + int4", .select = "chunkkv", .keys = "chunk=16",
	  .encode = INT4, .windowed = 1, .reads_queries = 1 },
	{ .name = "chunkkv + int2", .select = "chunkkv", .keys = "chunk=16",
	  .encode = INT2, .windowed = 1, .reads_queries = 1 },
	{ .name = "snapkv + int4", .select = "snapkv", .keys = "pool=max",
	  .encode = INT4, .windowed = 1, .reads_queries = 1 },
	{ .name = "snapkv + int2", .select = "snapkv", .keys = "pool=max",
	  .encode = INT2, .windowed = 1, .reads_queries = 1 },
	{ .name = "keydiff + int4", .select = "keydiff", .encode = INT4 },
};

const uint32_t n_compared = sizeof(compared) / sizeof(compared[0]);

uint32_t compared_at(const char *name)
{
	for (uint32_t i = 0; i < n_compared; i++)
		if (strcmp(compared[i].name, name) == 0)
			return i;
	assert(!"a method of that name");
	return 0;
}

void compared_text(const struct compared *m, uint32_t num, uint32_t den,
		   uint32_t window, char text[METHOD_TEXT_BYTES])
{
	size_t n = METHOD_TEXT_BYTES, at;

	if (m->select == NULL) {
		snprintf(text, n, "%s", m->encode);
		return;
	}
	at = (size_t)snprintf(text, n, "%s(bytes=%u/%u", m->select, num, den);
	if (m->windowed)
		at += (size_t)snprintf(text + at, n - at, ", window=%u", window);
	if (m->keys != NULL)
		at += (size_t)snprintf(text + at, n - at, ", %s", m->keys);
	at += (size_t)snprintf(text + at, n - at, ")");
	if (m->encode != NULL)
		snprintf(text + at, n - at, " + %s", m->encode);
}

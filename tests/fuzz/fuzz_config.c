/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_config.c - any text as a configuration file. What is accepted is within
 * the limits of its table, and what follows from it fits together.
 */
#include "daemon/core/space.h"
#include "daemon/shell/config.h"
#include "daemon/shell/sys.h"
#include "tests/fuzz/fuzz.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void count(void *context, const char *text)
{
	assert(text[0] != 0);
	++*(int *)context;
}

static void check_params(const struct param *param, const void *params)
{
	char text[CONFIG_TEXT_BYTES], again[CONFIG_TEXT_BYTES];
	const char *place;
	uint64_t value;

	for (; param->name; param++) {
		place = (const char *)params + param->offset;
		if (param->type == PARAM_TEXT) {
			assert(memchr(place, 0, CONFIG_TEXT_BYTES) != NULL);
			assert(strlen(place) >= param->min &&
			       strlen(place) <= param->max);
			continue;
		}
		memcpy(&value, place, sizeof value);
		assert((value >= param->min && value <= param->max) ||
		       (value == CONFIG_NONE && param->init != NULL &&
			strcmp(param->init, CONFIG_UNSET) == 0));
		/* What is printed says the same when it is read. */
		param_text(param, params, text);
		assert(param_set(param, (char *)again - param->offset, text,
				 text) == 0);
		assert(memcmp(again, place, sizeof value) == 0);
	}
}

static void check_space(const struct config_space *space)
{
	const struct ckv_pool_shape *p = &space->pool;
	uint64_t n_pages = (uint64_t)p->n_slabs * p->slab_pages;

	check_params(space_param, &space->params);
	assert(space->policy != NULL && space->geometry.dtype != 0);
	assert(p->page_bytes >= ckv_block_bytes(&space->geometry));
	assert(p->page_bytes > 0 && p->page_bytes % CKV_PIECE_BYTES == 0);
	assert(p->slab_stride % CKV_HUGE_BYTES == 0);
	assert(p->slab_stride / p->page_bytes >= p->slab_pages);
	assert(p->n_slabs >= 1 && p->n_slabs <= CONFIG_SLABS_MAX);
	assert(n_pages * p->page_bytes <= space->params.pool);
	assert(p->n_block_pages >= 1 && space->n_pages_max <= p->n_block_pages);
	assert(p->n_view_pages == 0 || p->first_view_page % p->slab_pages == 0);
	assert((uint64_t)p->first_view_page + p->n_view_pages <= n_pages);
	assert(p->n_view_pages == 0 || p->n_block_pages <= p->first_view_page);
	assert(p->n_block_pages <= n_pages);
	assert(space_buckets(p) * (uint64_t)CKV_BUCKET_ENTRIES >= n_pages);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct config *config = NULL;
	const uint8_t *end;
	int n_said = 0, r;
	const struct config_complaint complaint = { count, &n_said };
	char *text;

	/* The parser is handed a string: what is before the first zero. */
	end = size ? memchr(data, 0, size) : NULL;
	size = end ? (size_t)(end - data) : size;
	text = malloc(size + 1);
	assert(text != NULL);
	if (size > 0)
		memcpy(text, data, size);
	text[size] = 0;

	r = config_parse("fuzz", text, &complaint, &config);
	free(text);
	if (r < 0) {
		assert(r == -EINVAL && n_said > 0 && config == NULL);
		return 0;
	}
	assert(n_said == 0);
	assert(config->n_spaces >= 1 && config->n_spaces <= CONFIG_SPACES_MAX);
	check_params(daemon_param, &config->daemon);
	for (uint32_t i = 0; i < config->n_spaces; i++)
		check_space(&config->space[i]);
	config_free(config);
	return 0;
}

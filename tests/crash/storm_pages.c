/* SPDX-License-Identifier: Apache-2.0 */
/*
 * storm_pages.c - what the storm's keys are, and what belongs under them.
 */
#include "tests/crash/storm.h"

#include <stdio.h>

/* The numbers are finite as f32, so that views can be made of them. */
#define FINITE	0xbfffffffbfffffffu

static uint64_t word_of(const struct ckv_key *key, uint64_t i)
{
	uint64_t k[4], x;

	memcpy(k, key, sizeof k);
	x = k[0] + k[1] * 0x9e3779b97f4a7c15u + k[2] * 0xc2b2ae3d27d4eb4fu + k[3];
	x = (x ^ i) * 0xd6e8feb86659fd93u;
	return (x ^ x >> 32) & FINITE;
}

/* Four chains share their first blocks. */
static uint32_t branch_of(uint32_t chain, uint32_t i)
{
	return i < STORM_SHARED ? chain / 4 : 0x10000 + chain;
}

void storm_keys(const struct ckv_space *space, uint32_t chain,
		struct ckv_key ret_keys[STORM_DEPTH])
{
	struct ckv_space_info info;

	ckv_space_get_info(space, &info);
	for (uint32_t i = 0; i < STORM_DEPTH; i++) {
		uint32_t tokens[64];

		if (info.model.scheme == CKV_ENGINE_KEYS) {
			ret_keys[i] = raw_key(0x5000 + branch_of(chain, i), i);
			continue;
		}
		for (uint32_t t = 0; t < info.model.block_tokens; t++)
			tokens[t] = branch_of(chain, i) * 64 + t;
		(void)ckv_keys(space, i == 0 ? NULL : ret_keys[i - 1].byte,
			       tokens, info.model.block_tokens, NULL, 0,
			       ret_keys[i].byte);
	}
}

void storm_fill(const struct ckv_key *key, void *page, size_t bytes)
{
	volatile uint64_t *words = page;

	for (uint64_t i = 0; i < bytes / 8; i++)
		words[i] = word_of(key, i);
}

static void tell_wrong(struct storm *storm, const char *where,
		       const struct ckv_key *key, uint64_t word, uint64_t got)
{
	char hex[2 * CKV_KEY_BYTES + 1];

	for (uint32_t i = 0; i < CKV_KEY_BYTES; i++)
		snprintf(hex + 2 * i, 3, "%02x", key->byte[i]);
	storm_tell(storm, "%s: key %s, word %llu of its page is %016llx, "
		   "%016llx was stored", where, hex, (unsigned long long)word,
		   (unsigned long long)got,
		   (unsigned long long)word_of(key, word));
}

bool storm_page_right(struct storm *storm, const char *where,
		      const struct ckv_key *key, const void *page, size_t bytes)
{
	const volatile uint64_t *words = page;

	for (uint64_t i = 0; i < bytes / 8; i++) {
		uint64_t got = words[i];

		if (got == word_of(key, i))
			continue;
		tell_wrong(storm, where, key, i, got);
		return false;
	}
	return true;
}

/* One row of a run, as it is in the page of its token. */
static bool row_right(struct storm *storm, const char *where,
		      const struct ckv_space_info *info,
		      const struct ckv_key *keys, uint32_t position,
		      uint32_t section, uint32_t dim, const void *row)
{
	uint32_t block = position / info->model.block_tokens;
	uint64_t at = (uint64_t)section * info->model.block_tokens +
		      position % info->model.block_tokens;
	uint64_t words[64];

	memcpy(words, row, dim * sizeof(float));
	at = at * dim * sizeof(float) / sizeof words[0];
	for (uint32_t i = 0; i < dim * sizeof(float) / sizeof words[0]; i++) {
		if (words[i] == word_of(&keys[block], at + i))
			continue;
		tell_wrong(storm, where, &keys[block], at + i, words[i]);
		return false;
	}
	return true;
}

bool storm_view_right(struct storm *storm, const char *where,
		      const struct ckv_lane *lane,
		      const struct ckv_space_info *info,
		      const struct ckv_key *keys, const struct ckv_view *view)
{
	const struct ckv_model *m = &info->model;
	struct ckv_run run;

	for (uint32_t i = 0; i < m->n_layers * m->n_kv_heads; i++) {
		uint32_t layer = i / m->n_kv_heads, head = i % m->n_kv_heads;
		uint32_t k = layer * 2 * m->n_kv_heads + head;

		if (ckv_view_run(lane, view, layer, head, &run) != 0 ||
		    run.k == NULL || run.n_kept == 0) {
			storm_tell(storm, "%s: a view has no run %u", where, i);
			return false;
		}
		for (uint32_t n = 0; n < run.n_kept; n++) {
			const float *row_k = (const float *)run.k + n * m->dim_k;
			const float *row_v = (const float *)run.v + n * m->dim_v;

			if (run.positions[n] >= view->n_tokens) {
				storm_tell(storm, "%s: a view keeps token %u of %u",
					   where, run.positions[n], view->n_tokens);
				return false;
			}
			if (!row_right(storm, where, info, keys, run.positions[n],
				       k, m->dim_k, row_k) ||
			    !row_right(storm, where, info, keys, run.positions[n],
				       k + m->n_kv_heads, m->dim_v, row_v))
				return false;
		}
	}
	return true;
}

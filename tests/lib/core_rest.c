/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core_rest.c - see core_model.h.
 */
#include "tests/lib/core_model.h"

static struct {
	struct lent_page page;
	uint64_t serial;
} rest[SPACE_LEVELS_MAX * PAGES];
static uint32_t n_rest;

uint32_t pages_of(int l, struct lent_page *ret_pages)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < n_scratch[l]; i++)
		ret_pages[n++] = (struct lent_page){ work(), scratch[l][i] };
	for (uint32_t k = 1; k <= KEYS; k++)
		if (is_lent(k) && model[k].lane == l)
			ret_pages[n++] = (struct lent_page){ model[k].lent_at,
							     model[k].page };
	return n;
}

void rest_pages(int memory, const struct lent_page *pages, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		if (!core.config.level[pages[i].level].rests_after_death)
			continue;
		MUST(!page_rests(pages[i].level, pages[i].page));
		rest[n_rest].page = pages[i];
		rest[n_rest++].serial = core.lane[memory].serial;
	}
}

bool page_rests(uint32_t level, uint32_t page)
{
	for (uint32_t i = 0; i < n_rest; i++)
		if (rest[i].page.level == level && rest[i].page.page == page)
			return true;
	return false;
}

uint32_t n_written(void)
{
	return n_rest;
}

/* Of one lane that has ended, or of all. */
void do_quiet(void)
{
	uint64_t serial = n_rest > 0 && below(3) ? rest[below(n_rest)].serial : 0;
	uint32_t n = 0;
	int32_t units;

	do
		units = 1 + (int32_t)below(8);
	while (!space_quiet(core.space, serial, &units));
	for (uint32_t i = 0; i < n_rest; i++)
		if (serial != 0 && rest[i].serial != serial)
			rest[n++] = rest[i];
	n_rest = n;
	MUST(space_written(core.space) >= n_rest);
}

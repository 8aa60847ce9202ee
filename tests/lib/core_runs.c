/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core_runs.c - see core_model.h: the spaces that are tried.
 */
#include "tests/lib/core_model.h"

/*
 * One level; the host's and one or two without pages; the device's and the host's, without and
 * with one more. There the daemon works at the host's, but for one run. The farther ones are
 * so small that they are full, too.
 */
struct space_config config_of(int run)
{
	struct space_config config = core_config(PAGES, VIEW_PAGES);
	uint32_t n_places = PAGES + VIEW_PAGES;

	config.pace = &pace;
	config.level[0].policy = policy_at((uint32_t)run % 2);
	config.n_levels = 1 + (uint32_t)run / 2 % 3;
	if (config.n_levels > 1 && run % 2 == 1) {
		config.level[0].number = CKV_LEVEL_DEVICE;
		config.work_level = run != KINDS - 1;
		config.level[0].rests_after_death = run >= KINDS;
	}
	config.level[0].n_ahead = PAGES / (1 + (uint32_t)run % 2) + 1;
	for (uint32_t l = 1; l < config.n_levels; l++) {
		config.level[l] = (struct space_level){
			.number = (uint8_t)(config.level[l - 1].number - 1),
			.n_places = FAR_PLACES, .n_places_max = FAR_PLACES,
			.n_ahead = FAR_PLACES / 2,
			.policy = policy_at((uint32_t)run % 2),
		};
		config.level[l].n_lent_max = PAGES;
		if (config.level[l].number >= CKV_LEVEL_HOST)
			config.level[l].pool = core_pool(FAR_PLACES, 0);
		n_places += FAR_PLACES;
	}
	if (config.work_level == 1) {
		config.level[0].pool = core_pool(PAGES, 0);
		config.level[1].pool = core_pool(FAR_PLACES, VIEW_PAGES);
	}
	config.n_moves_max = MOVES;
	config.n_events_max = EVENTS;
	config.n_buckets = run < KINDS ? space_buckets_for(n_places) : 2;
	return config;
}

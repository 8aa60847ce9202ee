/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config_limits.c - limits that depend on each other: refuse those under which nothing
 * could work, and compute the value of a limit that is not set.
 */
#include "daemon/shell/config.h"
#include "daemon/shell/users.h"

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <string.h>

/* Do the limits of pins allow a lane of the default size (lane_pins)? */
static int judge_pins(const struct config_space *space, uint64_t lane_pins,
		      char text[CONFIG_WHY_BYTES])
{
	const struct space_params *p = &space->params;
	const struct {
		const char *name, *how;
		uint64_t most;
	} row[] = {
		{ "max_pins", "", p->max_pins },
		{ "max_pins_per_user", p->max_pins_per_user != CONFIG_NONE ? "" :
		  " (not set: half of max_pins)", user_pins_max(space) },
		{ "max_pins_per_client", p->max_pins_per_client != CONFIG_NONE ? "" :
		  " (not set: a quarter of max_pins)", client_pins_max(space) },
	};

	for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
		if (row[i].most >= lane_pins)
			continue;
		snprintf(text, CONFIG_WHY_BYTES, "space %s: %s is %" PRIu64 "%s, less "
			 "than a lane has that asks for none: no such lane could be "
			 "opened; expected a larger one, or lane_pins in [daemon] "
			 "below %" PRIu64, space->name, row[i].name, row[i].most,
			 row[i].how, lane_pins);
		return -EINVAL;
	}
	return 0;
}

static int judge_inputs(const struct daemon_params *p, char text[CONFIG_WHY_BYTES])
{
	char wanted[CONFIG_TEXT_BYTES], most[CONFIG_TEXT_BYTES];
	const struct {
		const char *name;
		uint64_t most;
	} row[] = {
		{ "max_input_bytes", p->max_input_bytes },
		{ "max_input_bytes_per_user", p->max_input_bytes_per_user },
	};

	for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
		if (row[i].most >= p->max_query_bytes)	/* true for one that is not set */
			continue;
		param_bytes_text(p->max_query_bytes, wanted);
		param_bytes_text(row[i].most, most);
		snprintf(text, CONFIG_WHY_BYTES, "daemon: max_query_bytes is %.40s, "
			 "above %s, %.40s: what one compression may read could never "
			 "be copied; expected a smaller max_query_bytes", wanted,
			 row[i].name, most);
		return -EINVAL;
	}
	return 0;
}

int config_judge_limits(const struct config *config,
			const struct config_complaint *complaint)
{
	char text[CONFIG_WHY_BYTES];
	int r = judge_inputs(&config->daemon, text);

	if (r < 0)
		complaint->say(complaint->context, text);
	for (uint32_t i = 0; i < config->n_spaces; i++) {
		if (judge_pins(&config->space[i], config->daemon.lane_pins, text) == 0)
			continue;
		complaint->say(complaint->context, text);
		r = -EINVAL;
	}
	return r;
}

/* ---- keys that are not set ---- */

static bool daemon_number(const struct daemon_params *p, const char *name,
			  uint64_t *ret_n)
{
	const struct {
		const char *name;
		uint64_t n;
	} row[] = {
		{ "max_clients_per_user", user_clients_max(p) },
		{ "max_lanes_per_user", user_lanes_max(p) },
		{ "max_jobs_per_user", user_jobs_max(p) },
		{ "max_prefetches_per_user", user_prefetches_max(p) },
		{ "max_input_bytes_per_user", user_inputs_max(p) },
		{ "workers", config_workers(p) },
	};

	for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
		if (strcmp(row[i].name, name) != 0)
			continue;
		*ret_n = row[i].n;
		return true;
	}
	return false;
}

static bool space_number(const struct config_space *space, const char *name,
			 uint64_t *ret_n)
{
	bool opaque = space->geometry.layout == CKV_LAYOUT_OPAQUE;
	const struct {
		const char *name;
		uint64_t n;
		bool counts;
	} row[] = {
		{ "head_dim_v", space->geometry.dim_v, !opaque },
		{ "slab", ckv_slab_bytes(&space->pool), true },
		{ "lent_pages_per_user", user_lent_max(space), true },
		{ "max_pins_per_user", user_pins_max(space), true },
		{ "max_pins_per_client", client_pins_max(space), true },
	};

	for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
		if (!row[i].counts || strcmp(row[i].name, name) != 0)
			continue;
		*ret_n = row[i].n;
		return true;
	}
	return false;
}

void config_unset_text(const struct config *config, const struct config_space *space,
		       const struct param *param, char text[CONFIG_TEXT_BYTES])
{
	struct param row = *param;
	uint64_t n;

	row.offset = 0;
	if (space == NULL ? daemon_number(&config->daemon, param->name, &n) :
			    space_number(space, param->name, &n))
		param_text(&row, &n, text);
	else
		text[0] = 0;
}

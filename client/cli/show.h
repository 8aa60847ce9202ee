/* SPDX-License-Identifier: Apache-2.0 */
/*
 * show.h - rendering of what was copied from the daemon, as text and as JSON.
 *
 * Nothing here reads shared memory or the clock, so a test can feed it.
 */
#ifndef CKV_CLI_SHOW_H
#define CKV_CLI_SHOW_H

#include "client/cli/stats.h"

#include <stdio.h>

/* `socket` is shown as given; `all` adds every counter with its meaning. */
void show_status(FILE *file, const struct shot *shot, const char *socket,
		 bool all);
json_t *show_status_json(const struct shot *shot, const char *socket);

void show_spaces(FILE *file, const struct shot *shot);
json_t *show_spaces_json(const struct shot *shot);

void show_clients(FILE *file, const struct shot *shot);
json_t *show_clients_json(const struct shot *shot);

/*
 * One frame of `ckv top`: what happened from `before` to `now`. It has at most
 * `width` columns and `height` lines; 0: any.
 */
void show_top(FILE *file, const struct shot *before, const struct shot *now,
	      unsigned width, unsigned height);
json_t *show_top_json(const struct shot *before, const struct shot *now);

const char *show_dtype(uint32_t dtype);
const char *show_key_scheme(uint32_t scheme);
const char *show_client_state(const struct shot_client *client);

/* Blocks found at any level, of those looked for: what clients claim. */
uint64_t show_hits(const uint64_t *space_stat);

#endif

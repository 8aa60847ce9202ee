/* SPDX-License-Identifier: Apache-2.0 */
/* users.c - see users.h. */
#include "daemon/shell/users.h"
#include "daemon/shell/log.h"
#include "daemon/shell/sys.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

/* By default a user may be lent at least as many pages as one request can ask for. */
#define LENT_AT_LEAST CKV_BATCH_MAX

static uint64_t half(uint64_t n)
{
	return n / 2 + n % 2;
}

void users_warn(const struct config *config)
{
	for (uint32_t i = 0; i < config->n_spaces; i++)
		if (config_allows_nobody(&config->space[i]))
			log_line(LOG_WARNING, "space %s: allow_read and allow_write "
				 "are empty, so nobody may attach to it",
				 config->space[i].name);
}

uint32_t users_max(const struct daemon_params *p)
{
	return (uint32_t)(p->max_clients + p->max_jobs);
}

int users_create(struct daemon *d)
{
	uint32_t n = users_max(&d->config->daemon) + d->n_old_clients;
	uint32_t n_spaces = d->config->n_spaces;
	int r;

	r = sys_alloc(n, sizeof d->user[0], &d->user);
	if (r == 0)
		r = sys_alloc((size_t)n * n_spaces, sizeof *d->user_pins,
			      &d->user_pins);
	if (r < 0)
		return r;
	d->n_users_max = n;
	for (uint32_t i = 0; i < n; i++)
		d->user[i].n_pins = d->user_pins + (size_t)i * n_spaces;
	return 0;
}

void users_destroy(struct daemon *d)
{
	sys_free(d->user_pins);
	sys_free(d->user);
}

/* Only connections and jobs hold anything; a job may outlive its connection. */
static bool is_used(const struct user *user)
{
	return user->n_clients > 0 || user->n_jobs > 0;
}

struct user *user_of(struct daemon *d, uid_t uid)
{
	uint32_t n = users_max(&d->config->daemon);
	struct user *unused = NULL;

	for (uint32_t i = 0; i < n; i++) {
		struct user *user = &d->user[i];

		if (is_used(user) && user->uid == uid)
			return user;
		if (!is_used(user) && unused == NULL)
			unused = user;
	}
	/*
	 * All rows may be in use when one connection too many is accepted, by a new
	 * user; its caller then turns it away.
	 */
	if (unused != NULL) {
		assert(unused->n_lanes == 0 && unused->input_bytes == 0);
		unused->uid = uid;
		unused->n_mute = unused->n_fds_unread = 0;
	}
	return unused;
}

uint32_t user_number(const struct daemon *d, const struct user *user)
{
	return (uint32_t)(user - d->user);
}

/* ---- limits ---- */

static uint64_t or_half(uint64_t given, uint64_t of)
{
	return given == CONFIG_NONE ? half(of) : given;
}

uint32_t user_clients_max(const struct daemon_params *p)
{
	return (uint32_t)or_half(p->max_clients_per_user, p->max_clients);
}

uint32_t user_lanes_max(const struct daemon_params *p)
{
	return (uint32_t)or_half(p->max_lanes_per_user, p->max_lanes);
}

uint32_t user_jobs_max(const struct daemon_params *p)
{
	return (uint32_t)or_half(p->max_jobs_per_user, p->max_jobs);
}

uint32_t user_prefetches_max(const struct daemon_params *p)
{
	return (uint32_t)or_half(p->max_prefetches_per_user, p->max_prefetches);
}

/* The limit n, but at least what one compression may read. */
static uint64_t inputs_max(const struct daemon_params *p, uint64_t n)
{
	return n > p->max_query_bytes ? n : p->max_query_bytes;
}

uint64_t user_inputs_max(const struct daemon_params *p)
{
	return inputs_max(p, or_half(p->max_input_bytes_per_user,
				     p->max_input_bytes));
}

uint32_t user_lent_max(const struct config_space *space)
{
	uint64_t n = half(space->pool.n_block_pages);

	if (space->params.lent_pages_per_user != CONFIG_NONE)
		return (uint32_t)space->params.lent_pages_per_user;
	return (uint32_t)(n > LENT_AT_LEAST ? n : LENT_AT_LEAST);
}

uint64_t user_pins_max(const struct config_space *space)
{
	return or_half(space->params.max_pins_per_user, space->params.max_pins);
}

uint64_t client_pins_max(const struct config_space *space)
{
	return space->params.max_pins_per_client == CONFIG_NONE ?
	       half(half(space->params.max_pins)) :
	       space->params.max_pins_per_client;
}

/* ---- lanes ---- */

static int may_have_lane(const struct daemon *d, const struct client *client,
			 char text[232])
{
	const struct daemon_params *p = &d->config->daemon;
	const struct {
		const char *whose, *limit;
		uint32_t n;
		uint64_t most;
		int error;
	} row[] = {
		{ "this client", "max_client_lanes", client->n_lanes,
		  p->max_client_lanes, -EMFILE },
		{ "this user", "max_lanes_per_user", client->user->n_lanes,
		  user_lanes_max(p), -EUSERS },
		{ "all clients", "max_lanes", d->n_lanes, d->n_lanes_max,
		  -EMFILE },
	};

	for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
		if (row[i].n < row[i].most)
			continue;
		snprintf(text, 232, "%u lanes of %s are open; at most %" PRIu64
			 " (%s)", row[i].n, row[i].whose, row[i].most,
			 row[i].limit);
		return row[i].error;
	}
	return 0;
}

static int may_have_pins(const struct daemon *d, const struct client *client,
			 uint32_t space, uint32_t n_pins, char text[232])
{
	const struct served_space *served = &d->served[space];
	const struct {
		const char *whose, *limit;
		uint64_t n, most;
	} row[] = {
		{ "this client", "max_pins_per_client",
		  client->attached[space].n_pins, client_pins_max(served->config) },
		{ "this user", "max_pins_per_user", client->user->n_pins[space],
		  user_pins_max(served->config) },
		{ "all clients", "max_pins", served->n_pins,
		  served->config->params.max_pins },
	};

	for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
		if (row[i].n + n_pins <= row[i].most)
			continue;
		snprintf(text, 232, "space %s: %" PRIu64 " pins of %s and %u more; "
			 "at most %" PRIu64 " (%s)", served->config->name,
			 row[i].n, row[i].whose, n_pins, row[i].most,
			 row[i].limit);
		return -EUSERS;
	}
	return 0;
}

int user_may_open_lane(const struct daemon *d, const struct client *client,
		       uint32_t space, uint32_t n_pins, char text[232])
{
	int r = may_have_lane(d, client, text);

	return r < 0 ? r : may_have_pins(d, client, space, n_pins, text);
}

bool user_may_pin(const struct daemon *d, const struct client *client, uint32_t space)
{
	char text[232];

	return may_have_pins(d, client, space, 1, text) == 0;
}

void user_count_pins(struct daemon *d, struct client *client, uint32_t space, int more)
{
	uint64_t n = (uint64_t)(int64_t)more;	/* wraps: minus is plus its complement */

	client->attached[space].n_pins += n;
	client->user->n_pins[space] += n;
	if (!client_is_old(d, client))
		d->served[space].n_pins += n;
	assert(client->user->n_pins[space] <= INT64_MAX);
}

/* What a client of before holds counts against no limit of the others. */
static uint32_t *lanes_of(struct daemon *d, const struct client *client)
{
	return client_is_old(d, client) ? &d->n_old_open : &d->n_lanes;
}

static void show_lanes(struct daemon *d)
{
	ckv_hint_store64(&d->stats->lanes, d->n_lanes + d->n_old_open);
	ckv_hint_store64(&d->stats->lanes_of_before, d->n_old_open);
}

void user_count_lane(struct daemon *d, struct client *client, uint32_t space,
		     uint32_t n_pins)
{
	client->n_lanes++;
	client->user->n_lanes++;
	*lanes_of(d, client) += 1;
	user_count_pins(d, client, space, (int)n_pins);
	show_lanes(d);
}

void user_uncount_lane(struct daemon *d, struct client *client, uint32_t space,
		       uint32_t n_pins)
{
	assert(client->n_lanes > 0 && client->user->n_lanes > 0);
	client->n_lanes--;
	client->user->n_lanes--;
	*lanes_of(d, client) -= 1;
	user_count_pins(d, client, space, -(int)n_pins);
	show_lanes(d);
}

/* ---- jobs ---- */

void user_count_inputs(struct daemon *d, struct user *user, uint64_t bytes)
{
	user->input_bytes += bytes;
	d->input_bytes += bytes;
}

void user_uncount_inputs(struct daemon *d, struct user *user, uint64_t bytes)
{
	assert(user->input_bytes >= bytes);
	user->input_bytes -= bytes;
	d->input_bytes -= bytes;
}

int user_may_queue(const struct daemon *d, const struct user *user,
		   uint64_t bytes, char *text, size_t text_bytes)
{
	const struct daemon_params *p = &d->config->daemon;
	const struct {
		const char *whose, *limit;
		uint64_t n, most;
	} row[] = {
		{ "this user", "max_input_bytes_per_user", user->input_bytes,
		  user_inputs_max(p) },
		{ "all users", "max_input_bytes", d->input_bytes,
		  inputs_max(p, p->max_input_bytes) },
	};

	for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
		if (bytes <= row[i].most && row[i].n <= row[i].most - bytes)
			continue;
		snprintf(text, text_bytes, "%" PRIu64 " bytes of inputs of %s "
			 "wait, and %" PRIu64 " more would; at most %" PRIu64
			 " (%s)", row[i].n, row[i].whose, bytes, row[i].most,
			 row[i].limit);
		return -EAGAIN;
	}
	return 0;
}

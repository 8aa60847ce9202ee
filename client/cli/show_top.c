/* SPDX-License-Identifier: Apache-2.0 */
/*
 * show_top.c - one frame of `ckv top`: rates between two copies of the counters.
 *
 * Space i and counter i are the same thing in both copies, because the daemon's
 * spaces are constant; a client is found again by its pid and time of attach.
 */
#include "client/cli/cli.h"
#include "client/cli/show.h"
#include "client/cli/text.h"

#include <inttypes.h>
#include <stdlib.h>

/* What happened in a second. A counter that went back counts from zero. */
static double per_second(uint64_t before, uint64_t now, double seconds)
{
	if (now < before)
		before = 0;
	return seconds > 0 ? (double)(now - before) / seconds : 0;
}

static double seconds_between(const struct shot *before, const struct shot *now)
{
	return (double)(now->taken_ns - before->taken_ns) / 1e9;
}

static uint64_t requests_before(const struct shot *before,
				const struct shot_client *c)
{
	for (uint32_t i = 0; i < before->n_clients; i++)
		if (before->clients[i].pid == c->pid &&
		    before->clients[i].attached_s == c->attached_s)
			return before->clients[i].requests;
	return 0;
}

static void top_head(FILE *file, const struct shot *before,
		     const struct shot *now, unsigned width)
{
	const uint64_t *a = before->global, *b = now->global;
	double s = seconds_between(before, now);
	char age[TEXT_SHORT], requests[TEXT_SHORT], failed[TEXT_SHORT];
	char sleeps[TEXT_SHORT], clients[TEXT_SHORT], lanes[TEXT_SHORT], line[400];

	snprintf(line, sizeof line, "ckvd %s pid %u %s%s  %s  %s  "
		 "%s requests/s  %s failed/s  %s sleeps/s",
		 now->head.version, now->head.pid, now->alive ? "up " : "GONE",
		 now->alive ? text_age(age, b[GLOBAL_uptime_s]) : "",
		 text_count(clients, now->n_clients, "client"),
		 text_count(lanes, b[GLOBAL_lanes], "lane"),
		 text_rate(requests, per_second(a[GLOBAL_requests],
						b[GLOBAL_requests], s)),
		 text_rate(failed, per_second(a[GLOBAL_requests_failed],
					      b[GLOBAL_requests_failed], s)),
		 text_rate(sleeps, per_second(a[GLOBAL_reactor_sleeps],
					      b[GLOBAL_reactor_sleeps], s)));
	fprintf(file, "%.*s\n", width ? (int)width : (int)sizeof line, line);
}

static void cell_rate(struct table *t, const uint64_t *before,
		      const uint64_t *now, int counter, double seconds)
{
	char text[TEXT_SHORT];

	table_cell(t, "%s", text_rate(text, per_second(before[counter],
						       now[counter], seconds)));
}

static unsigned top_spaces(FILE *file, const struct shot *before,
			   const struct shot *now, unsigned width, unsigned rows)
{
	static const char *const heads[] = {
		"SPACE", ">USED", ">HIT*", ">LOOKUP/S", ">ASKED/S", ">PUBLISH/S",
		">EVICT/S", ">BLOCKS", ">LENT", ">VIEWS", ">BAD SUMS",
	};
	double seconds = seconds_between(before, now);
	struct table t;

	table_init(&t, heads, sizeof heads / sizeof heads[0]);
	for (uint32_t i = 0; i < now->n_spaces && i < before->n_spaces; i++) {
		const struct shot_space *s = &now->spaces[i];
		const uint64_t *a = before->spaces[i].stat, *b = s->stat;
		uint64_t asked = b[SPACE_claimed_blocks_asked] -
				 a[SPACE_claimed_blocks_asked];
		char text[TEXT_SHORT];

		if (!s->known)
			continue;
		table_cell(&t, "%s", s->row.name);
		table_cell(&t, "%s", text_percent(text, b[SPACE_pages_total] -
			b[SPACE_pages_free], b[SPACE_pages_total]));
		table_cell(&t, "%s", text_percent(text, show_hits(b) -
						  show_hits(a), asked));
		cell_rate(&t, a, b, SPACE_claimed_lookups, seconds);
		cell_rate(&t, a, b, SPACE_claimed_blocks_asked, seconds);
		cell_rate(&t, a, b, SPACE_published, seconds);
		cell_rate(&t, a, b, SPACE_evicted, seconds);
		table_cell(&t, "%" PRIu64, b[SPACE_blocks]);
		table_cell(&t, "%" PRIu64, b[SPACE_pages_lent]);
		table_cell(&t, "%" PRIu64, b[SPACE_views]);
		table_cell(&t, "%" PRIu64, b[SPACE_checksum_failed]);
	}
	return table_print(&t, file, width, rows);
}

struct busy {
	const struct shot_client *client;
	double requests_per_s;
};

static int busier(const void *a, const void *b)
{
	double x = ((const struct busy *)a)->requests_per_s;
	double y = ((const struct busy *)b)->requests_per_s;

	return x < y ? 1 : x > y ? -1 : 0;
}

/* The clients, those with most requests first. The caller frees. */
static struct busy *sort_clients(const struct shot *before,
				 const struct shot *now)
{
	double seconds = seconds_between(before, now);
	struct busy *busy = cli_alloc(now->n_clients, sizeof *busy);

	for (uint32_t i = 0; i < now->n_clients; i++) {
		const struct shot_client *c = &now->clients[i];

		busy[i].client = c;
		busy[i].requests_per_s = per_second(requests_before(before, c),
						    c->requests, seconds);
	}
	qsort(busy, now->n_clients, sizeof *busy, busier);
	return busy;
}

static void top_clients(FILE *file, const struct shot *before,
			const struct shot *now, unsigned width, unsigned rows)
{
	static const char *const heads[] = {
		">PID", "NAME", "STATE", ">REQUESTS/S", ">LANES", ">PINS",
		">LENT", ">AGE",
	};
	struct busy *busy = sort_clients(before, now);
	struct table t;

	table_init(&t, heads, sizeof heads / sizeof heads[0]);
	for (uint32_t i = 0; i < now->n_clients; i++) {
		const struct shot_client *c = busy[i].client;
		char text[TEXT_SHORT];

		table_cell(&t, "%u", c->pid);
		table_cell(&t, "%s", c->name);
		table_cell(&t, "%s", show_client_state(c));
		table_cell(&t, "%s", text_rate(text, busy[i].requests_per_s));
		table_cell(&t, "%" PRIu64, c->lanes);
		table_cell(&t, "%" PRIu64, c->pins);
		table_cell(&t, "%" PRIu64, c->pages_lent);
		table_cell(&t, "%s", text_age(text, now->taken_s > c->attached_s ?
					      now->taken_s - c->attached_s : 0));
	}
	table_print(&t, file, width, rows);
	free(busy);
}

void show_top(FILE *file, const struct shot *before, const struct shot *now,
	      unsigned width, unsigned height)
{
	unsigned used, rows = height ? height / 2 : 0;

	top_head(file, before, now, width);
	if (height && height < 6)
		return;
	fputc('\n', file);
	used = 2 + top_spaces(file, before, now, width, height ? rows - 2 : 0);
	/* A blank line, the heads of the columns, and one client at least. */
	if (height && used + 3 > height)
		return;
	fputc('\n', file);
	top_clients(file, before, now, width, height ? height - used - 2 : 0);
}

static json_t *space_rates(const struct shot_space *before,
			   const struct shot_space *now, double seconds)
{
	json_t *rates = json_object();

	for (uint32_t i = 0; i < N_SPACE_STATS; i++)
		if (strcmp(space_stat_help[i].kind, "counter") == 0)
			json_object_set_new(rates, space_stat_help[i].name,
				json_real(per_second(before->stat[i],
						     now->stat[i], seconds)));
	return json_pack("{s:s, s:o, s:o}", "name", now->row.name, "stats",
			 stats_space_json(now), "per_s", rates);
}

json_t *show_top_json(const struct shot *before, const struct shot *now)
{
	double seconds = seconds_between(before, now);
	struct busy *busy = sort_clients(before, now);
	json_t *spaces = json_array(), *clients = json_array();
	json_t *rates = json_object();

	for (uint32_t i = 0; i < N_GLOBAL_STATS; i++)
		if (strcmp(global_stat_help[i].kind, "counter") == 0)
			json_object_set_new(rates, global_stat_help[i].name,
				json_real(per_second(before->global[i],
						     now->global[i], seconds)));
	for (uint32_t i = 0; i < now->n_spaces && i < before->n_spaces; i++)
		if (now->spaces[i].known)
			json_array_append_new(spaces, space_rates(
				&before->spaces[i], &now->spaces[i], seconds));
	for (uint32_t i = 0; i < now->n_clients; i++) {
		const struct shot_client *c = busy[i].client;

		json_array_append_new(clients, json_pack(
			"{s:I, s:s, s:s, s:f, s:I, s:I, s:I}",
			"pid", (json_int_t)c->pid, "name", c->name,
			"state", show_client_state(c),
			"requests_per_s", busy[i].requests_per_s,
			"lanes", (json_int_t)c->lanes,
			"pins", (json_int_t)c->pins,
			"pages_lent", (json_int_t)c->pages_lent));
	}
	free(busy);
	return json_pack("{s:f, s:b, s:o, s:o, s:o, s:o}", "seconds", seconds,
			 "alive", (int)now->alive,
			 "global", stats_global_json(now), "per_s", rates,
			 "spaces", spaces, "clients", clients);
}

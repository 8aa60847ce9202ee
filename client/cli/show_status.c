/* SPDX-License-Identifier: Apache-2.0 */
/*
 * show_status.c - `ckv status`: the daemon and its spaces on one screen.
 */
#include "client/cli/cli.h"
#include "client/cli/show.h"
#include "client/cli/text.h"
#include "proto/ckv_text.h"

#include <inttypes.h>

uint64_t show_hits(const uint64_t *stat)
{
	return stat[SPACE_claimed_blocks_device] + stat[SPACE_claimed_blocks_host] +
	       stat[SPACE_claimed_blocks_disk] + stat[SPACE_claimed_blocks_remote];
}

static void show_daemon(FILE *file, const struct shot *shot, const char *socket)
{
	const struct ckv_stats_head *head = &shot->head;
	const uint64_t *g = shot->global;
	uint64_t pool = 0, huge = 0;
	char age[TEXT_SHORT], part[TEXT_SHORT], total[TEXT_SHORT];
	char requests[TEXT_SHORT], died[TEXT_SHORT], lying[TEXT_SHORT];

	for (uint32_t i = 0; i < shot->n_spaces; i++) {
		const struct ckv_space_row *row = &shot->spaces[i].row;

		pool += ckv_pool_bytes(&row->pool);
		huge += row->huge_bytes;
	}
	fprintf(file, "ckvd %s, pid %u, %s%s, %u worker%s, at %s\n", head->version,
		head->pid, shot->alive ? "up " : "NOT ALIVE",
		shot->alive ? text_age(age, g[GLOBAL_uptime_s]) : "",
		head->n_workers, head->n_workers == 1 ? "" : "s", socket);
	fprintf(file, "loop %s, pools %s of which %s in huge pages; %s\n", head->loop,
		text_bytes(total, pool), text_bytes(part, huge), g[GLOBAL_stored] > 0 ?
		"a service manager was given them to keep" : "a restart loses what is in them");
	fprintf(file, "%s, %s, %s (%" PRIu64 " failed), %s died, %s closed for "
		"lying\n", text_count(part, shot->n_clients, "client"),
		text_count(total, g[GLOBAL_lanes], "lane"),
		text_count(requests, g[GLOBAL_requests], "request"),
		g[GLOBAL_requests_failed],
		text_count(died, g[GLOBAL_clients_died], "client"),
		text_count(lying, g[GLOBAL_lanes_closed_lying], "lane"));
}

static void show_pools(FILE *file, const struct shot *shot)
{
	static const char *const heads[] = {
		"SPACE", ">POOL", ">USED", ">BLOCKS", ">LENT", ">VIEWS", ">VIEW USED",
		">EVICTED", ">BAD SUMS", ">HIT*",
	};
	struct table t;

	table_init(&t, heads, sizeof heads / sizeof heads[0]);
	for (uint32_t i = 0; i < shot->n_spaces; i++) {
		const struct shot_space *s = &shot->spaces[i];
		const uint64_t *n = s->stat;
		char pool[TEXT_SHORT], used[TEXT_SHORT], views[TEXT_SHORT];
		char hit[TEXT_SHORT];

		table_cell(&t, "%s", s->row.name);
		table_cell(&t, "%s", text_bytes(pool, s->row.pool.page_bytes *
			(s->row.pool.n_block_pages + (uint64_t)
			 s->row.pool.n_view_pages)));
		for (unsigned c = 2; !s->known && c < t.n_columns; c++)
			table_cell(&t, "-");
		if (!s->known)
			continue;
		table_cell(&t, "%s", text_percent(used, n[SPACE_pages_total] -
			n[SPACE_pages_free], n[SPACE_pages_total]));
		table_cell(&t, "%" PRIu64, n[SPACE_blocks]);
		table_cell(&t, "%" PRIu64, n[SPACE_pages_lent]);
		table_cell(&t, "%" PRIu64, n[SPACE_views]);
		table_cell(&t, "%s", text_percent(views, n[SPACE_view_pages_used],
						  n[SPACE_view_pages_total]));
		table_cell(&t, "%" PRIu64, n[SPACE_evicted]);
		table_cell(&t, "%" PRIu64, n[SPACE_checksum_failed]);
		table_cell(&t, "%s", text_percent(hit, show_hits(n),
						  n[SPACE_claimed_blocks_asked]));
	}
	fputc('\n', file);
	table_print(&t, file, 0, 0);
	for (uint32_t i = 0; i < shot->n_spaces; i++)
		if (!shot->spaces[i].known)
			fprintf(file, "  %s: counters not shown: %s\n",
				shot->spaces[i].row.name, shot->spaces[i].why);
}

static void show_levels(FILE *file, const struct shot *shot)
{
	static const char *const heads[] = {
		"SPACE", ">LOOKUPS", ">BLOCKS ASKED", ">DEVICE", ">HOST", ">DISK",
		">REMOTE", ">MISSED",
	};
	static const int levels[] = {
		SPACE_claimed_blocks_device, SPACE_claimed_blocks_host,
		SPACE_claimed_blocks_disk, SPACE_claimed_blocks_remote,
		SPACE_claimed_blocks_missed,
	};
	struct table t;

	table_init(&t, heads, sizeof heads / sizeof heads[0]);
	for (uint32_t i = 0; i < shot->n_spaces; i++) {
		const struct shot_space *s = &shot->spaces[i];
		uint64_t asked = s->stat[SPACE_claimed_blocks_asked];
		char text[TEXT_SHORT];

		if (!s->known)
			continue;
		table_cell(&t, "%s", s->row.name);
		table_cell(&t, "%" PRIu64, s->stat[SPACE_claimed_lookups]);
		table_cell(&t, "%" PRIu64, asked);
		for (size_t l = 0; l < sizeof levels / sizeof levels[0]; l++)
			table_cell(&t, "%s", text_percent(text,
					s->stat[levels[l]], asked));
	}
	fputs("\n* as clients report: where the blocks they looked for were\n",
	      file);
	table_print(&t, file, 0, 0);
}

static void show_counters(FILE *file, const struct stat_help *help,
			  const uint64_t *value, uint32_t n)
{
	static const char *const heads[] = {
		"  COUNTER", ">VALUE", "UNIT", "KIND", "MEANING",
	};
	struct table t;

	table_init(&t, heads, sizeof heads / sizeof heads[0]);
	for (uint32_t i = 0; i < n; i++) {
		table_cell(&t, "  %s", help[i].name);
		table_cell(&t, "%" PRIu64, value[i]);
		table_cell(&t, "%s", help[i].unit);
		table_cell(&t, "%s", help[i].kind);
		table_cell(&t, "%s", help[i].help);
	}
	table_print(&t, file, 0, 0);
}

void show_status(FILE *file, const struct shot *shot, const char *socket,
		 bool all)
{
	show_daemon(file, shot, socket);
	if (shot->n_spaces) {
		show_pools(file, shot);
		show_levels(file, shot);
	}
	if (!all)
		return;
	fputs("\nthe daemon\n", file);
	show_counters(file, global_stat_help, shot->global, N_GLOBAL_STATS);
	for (uint32_t i = 0; i < shot->n_spaces; i++) {
		if (!shot->spaces[i].known)
			continue;
		fprintf(file, "\nspace %s\n", shot->spaces[i].row.name);
		show_counters(file, space_stat_help, shot->spaces[i].stat,
			      N_SPACE_STATS);
	}
}

static json_t *hit_ratio_json(const struct shot_space *s)
{
	uint64_t asked = s->stat[SPACE_claimed_blocks_asked];

	return asked ? json_real((double)show_hits(s->stat) / (double)asked)
		     : json_null();
}

json_t *show_status_json(const struct shot *shot, const char *socket)
{
	const struct ckv_stats_head *head = &shot->head;
	json_t *spaces = json_array();

	for (uint32_t i = 0; i < shot->n_spaces; i++) {
		const struct shot_space *s = &shot->spaces[i];
		const struct ckv_pool_shape *pool = &s->row.pool;

		json_array_append_new(spaces, json_pack(
			"{s:s, s:I, s:I, s:I, s:o, s:o, s:s*}",
			"name", s->row.name,
			"page_bytes", (json_int_t)pool->page_bytes,
			"pool_bytes", (json_int_t)ckv_pool_bytes(pool),
			"huge_bytes", (json_int_t)s->row.huge_bytes,
			"stats", stats_space_json(s),
			"claimed_hit_ratio", hit_ratio_json(s),
			"why", s->known ? NULL : s->why));
	}
	return json_pack("{s:{s:s, s:i, s:s, s:b, s:s, s:i, s:I, s:i}, s:o, s:o}",
		"daemon",
		"version", head->version, "pid", (int)head->pid,
		"socket", socket, "alive", (int)shot->alive,
		"loop", head->loop, "workers", (int)head->n_workers,
		"started_s", (json_int_t)head->started_s,
		"clients", (int)shot->n_clients,
		"global", stats_global_json(shot), "spaces", spaces);
}

int cmd_status(const struct cli *cli)
{
	char socket[512];
	struct shot shot;
	int r = stats_once(cli->socket, &shot);

	/* A path may hold any byte, JSON and a terminal not. */
	ckv_text_line(socket, sizeof socket, cli->socket);
	if (r != CLI_OK)
		return r;
	if (cli->json)
		r = text_json(show_status_json(&shot, socket));
	else
		show_status(stdout, &shot, socket, cli->all);
	shot_free(&shot);
	return r;
}

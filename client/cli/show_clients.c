/* SPDX-License-Identifier: Apache-2.0 */
/*
 * show_clients.c - `ckv clients`: who is attached, and what each one holds.
 */
#include "client/cli/cli.h"
#include "client/cli/show.h"
#include "client/cli/text.h"

#include <inttypes.h>
#include <pwd.h>

const char *show_client_state(const struct shot_client *client)
{
	if (client->stopped)
		return "stopped";
	return client->state == CKV_CLIENT_ATTACHED ? "attached" : "detached";
}

static const char *user_name(uint32_t uid, char *out)
{
	const struct passwd *user = getpwuid(uid);

	if (user)
		snprintf(out, TEXT_SHORT, "%s", user->pw_name);
	else
		snprintf(out, TEXT_SHORT, "%u", uid);
	return out;
}

static uint64_t client_age_s(const struct shot *shot,
			     const struct shot_client *client)
{
	return shot->taken_s > client->attached_s ?
	       shot->taken_s - client->attached_s : 0;
}

void show_clients(FILE *file, const struct shot *shot)
{
	static const char *const heads[] = {
		">PID", "USER", "NAME", "STATE", ">LANES", ">PINS", ">LENT",
		">REQUESTS", ">AGE", "SPACES",
	};
	struct table t;

	table_init(&t, heads, sizeof heads / sizeof heads[0]);
	for (uint32_t i = 0; i < shot->n_clients; i++) {
		const struct shot_client *c = &shot->clients[i];
		char text[TEXT_SHORT], spaces[256] = "";

		if (c->pid != 0)
			table_cell(&t, "%u", c->pid);
		else	/* another pid namespace: it has no number here */
			table_cell(&t, "elsewhere");
		table_cell(&t, "%s", user_name(c->uid, text));
		table_cell(&t, "%s", c->name);
		table_cell(&t, "%s", show_client_state(c));
		table_cell(&t, "%" PRIu64, c->lanes);
		table_cell(&t, "%" PRIu64, c->pins);
		table_cell(&t, "%" PRIu64, c->pages_lent);
		table_cell(&t, "%" PRIu64, c->requests);
		table_cell(&t, "%s", text_age(text, client_age_s(shot, c)));
		for (uint32_t s = 0; s < shot->n_spaces && s < 64; s++) {
			size_t n = strlen(spaces);

			if (c->spaces >> s & 1)
				snprintf(spaces + n, sizeof spaces - n, "%s%s",
					 n ? "," : "", shot->spaces[s].row.name);
		}
		table_cell(&t, "%s", *spaces ? spaces : "-");
	}
	table_print(&t, file, 0, 0);
	if (shot->n_clients == 0)
		fputs("(nobody is attached)\n", file);
}

json_t *show_clients_json(const struct shot *shot)
{
	json_t *json = json_array();

	for (uint32_t i = 0; i < shot->n_clients; i++) {
		const struct shot_client *c = &shot->clients[i];
		json_t *spaces = json_array();
		char user[TEXT_SHORT];

		for (uint32_t s = 0; s < shot->n_spaces && s < 64; s++)
			if (c->spaces >> s & 1)
				json_array_append_new(spaces, json_string(
					shot->spaces[s].row.name));
		json_array_append_new(json, json_pack(
			"{s:I, s:I, s:I, s:s, s:s, s:s, s:b, s:I, s:I, s:I, s:I,"
			" s:I, s:I, s:o}",
			"pid", (json_int_t)c->pid, "uid", (json_int_t)c->uid,
			"gid", (json_int_t)c->gid,
			"user", user_name(c->uid, user), "name", c->name,
			"state", show_client_state(c),
			"detached", (int)(c->state == CKV_CLIENT_DETACHED),
			"lanes", (json_int_t)c->lanes,
			"pins", (json_int_t)c->pins,
			"pages_lent", (json_int_t)c->pages_lent,
			"requests", (json_int_t)c->requests,
			"attached_s", (json_int_t)c->attached_s,
			"age_s", (json_int_t)client_age_s(shot, c),
			"spaces", spaces));
	}
	return json;
}

int cmd_clients(const struct cli *cli)
{
	struct shot shot;
	int r = stats_once(cli->socket, &shot);

	if (r != CLI_OK)
		return r;
	if (cli->json)
		r = text_json(show_clients_json(&shot));
	else
		show_clients(stdout, &shot);
	shot_free(&shot);
	return r;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * blocks.c - `ckv blocks`: what a space's index holds.
 */
#include "client/cli/cli.h"
#include "client/cli/observe.h"
#include "client/cli/scan.h"
#include "client/cli/text.h"

#include <inttypes.h>

static const char *const level_names[CKV_LEVELS] = {
	"none", "remote", "disk", "host", "device",
};

static const char *level_name(uint8_t level)
{
	return level < CKV_LEVELS ? level_names[level] : "?";
}

static void print_summary(const struct scan_summary *s)
{
	static const char *const heads[] = { "BLOCKS IN CHAIN", ">CHAINS", "" };
	struct table t;
	char a[TEXT_SHORT], b[TEXT_SHORT];
	uint64_t most = 1;

	printf("%s, %s, ", text_count(a, s->n_blocks, "block"),
	       text_count(b, s->n_tokens, "token"));
	printf("%s; ", text_count(a, s->n_views, "view"));
	if (s->n_blocks + s->n_views > 0)
		printf("%s with a checksum; ", text_percent(a, s->n_summed,
		       s->n_blocks + s->n_views));
	printf("index %s full\n", text_percent(b, s->n_taken, s->n_slots));
	printf("by level:");
	for (int l = CKV_LEVEL_DEVICE; l > CKV_LEVEL_NONE; l--)
		printf("  %s %" PRIu64, level_names[l], s->at_level[l]);
	printf("\n%s, %s, longest chain ", text_count(a, s->n_roots, "root"),
	       text_count(b, s->n_leaves, "chain end"));
	printf("%s\n", text_count(a, s->depth_max, "block"));
	if (s->n_leaves == 0)
		return;
	for (unsigned c = 0; c < SCAN_DEPTHS; c++)
		if (s->at_depth[c] > most)
			most = s->at_depth[c];
	table_init(&t, heads, 3);
	for (unsigned c = 0; c < SCAN_DEPTHS; c++) {
		unsigned bar = (unsigned)((s->at_depth[c] * 40 + most - 1) / most);

		if (s->at_depth[c] == 0)
			continue;
		if (c < 2)
			table_cell(&t, "%u", c + 1);
		else
			table_cell(&t, "%u-%u", (1u << (c - 1)) + 1, 1u << c);
		table_cell(&t, "%" PRIu64, s->at_depth[c]);
		table_cell(&t, "%.*s", (int)bar,
			   "########################################");
	}
	putchar('\n');
	table_print(&t, stdout, 0, 0);
}

static json_t *summary_json(const char *space, const struct scan_summary *s)
{
	json_t *levels = json_object(), *depths = json_array();

	for (int l = CKV_LEVEL_DEVICE; l > CKV_LEVEL_NONE; l--)
		json_object_set_new(levels, level_names[l],
				    json_integer((json_int_t)s->at_level[l]));
	for (unsigned c = 0; c < SCAN_DEPTHS; c++)
		if (s->at_depth[c])
			json_array_append_new(depths, json_pack("{s:I, s:I}",
				"at_most", (json_int_t)1 << c,
				"chains", (json_int_t)s->at_depth[c]));
	return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I,"
			 " s:I, s:o, s:o}",
		"space", space, "n_blocks", (json_int_t)s->n_blocks,
		"n_tokens", (json_int_t)s->n_tokens,
		"n_summed", (json_int_t)s->n_summed,
		"n_views", (json_int_t)s->n_views,
		"n_roots", (json_int_t)s->n_roots,
		"n_leaves", (json_int_t)s->n_leaves,
		"n_orphans", (json_int_t)s->n_orphans,
		"longest_chain", (json_int_t)s->depth_max,
		"slots", (json_int_t)s->n_slots,
		"slots_taken", (json_int_t)s->n_taken,
		"levels", levels, "chains_by_length", depths);
}

static void list_block(struct table *t, uint32_t slot, const struct ckv_block *b)
{
	char key[17];

	table_cell(t, "%s", text_hex(key, b->key.byte, 8));
	table_cell(t, "%s", level_name(b->level));
	table_cell(t, b->host_page == CKV_NONE ? "-" : "%u", b->host_page);
	table_cell(t, "%u", b->n_tokens);
	table_cell(t, "%u", slot);
	table_cell(t, b->parent_slot == CKV_NONE ? "-" : "%u", b->parent_slot);
	table_cell(t, "%u", b->generation);
	table_cell(t, "%s", b->flags & CKV_ENTRY_SUMMED ? "yes" : "no");
}

static json_t *block_json(uint32_t slot, const struct ckv_block *b)
{
	char key[2 * CKV_KEY_BYTES + 1];

	return json_pack("{s:s, s:s, s:o, s:i, s:I, s:o, s:I, s:b}",
		"key", text_hex(key, b->key.byte, CKV_KEY_BYTES),
		"level", level_name(b->level),
		"host_page", b->host_page == CKV_NONE ? json_null() :
			     json_integer(b->host_page),
		"tokens", (int)b->n_tokens, "slot", (json_int_t)slot,
		"parent_slot", b->parent_slot == CKV_NONE ? json_null() :
			       json_integer(b->parent_slot),
		"generation", (json_int_t)b->generation,
		"summed", (b->flags & CKV_ENTRY_SUMMED) != 0);
}

/* With json NULL: as a table. */
static int list_blocks(const struct ckv_index *index, uint64_t limit,
		       json_t *json)
{
	static const char *const heads[] = {
		"KEY", "LEVEL", ">PAGE", ">TOKENS", ">SLOT", ">PARENT",
		">GENERATION", "SUMMED",
	};
	uint32_t n_slots = index->n_buckets * CKV_BUCKET_ENTRIES;
	struct ckv_block block;
	struct table t;
	uint64_t n = 0;

	table_init(&t, heads, sizeof heads / sizeof heads[0]);
	for (uint32_t slot = 0; slot < n_slots && (!limit || n < limit); slot++) {
		if (!scan_slot(index, slot, &block) ||
		    (block.flags & CKV_ENTRY_VIEW))
			continue;
		n++;
		if (json)
			json_array_append_new(json, block_json(slot, &block));
		else
			list_block(&t, slot, &block);
	}
	if (json == NULL)
		table_print(&t, stdout, 0, 0);
	if (json == NULL && n == 0)
		puts("(no blocks)");
	return CLI_OK;
}

static int show_blocks(const struct cli *cli, const struct ckv_index *index)
{
	struct scan_summary summary;
	json_t *json;

	if (cli->list && !cli->json)
		return list_blocks(index, cli->limit, NULL);
	scan_summarise(index, &summary);
	if (!cli->json) {
		print_summary(&summary);
		return CLI_OK;
	}
	json = summary_json(cli->args[0], &summary);
	if (json && cli->list) {
		json_t *blocks = json_array();

		list_blocks(index, cli->limit, blocks);
		json_object_set_new(json, "blocks", blocks);
	}
	return text_json(json);
}

int cmd_blocks(const struct cli *cli)
{
	struct observed_space space;
	struct observer o;
	int r;

	if (cli->limit && !cli->list) {
		cli_fail("--limit is for a list: 'ckv blocks %s --list --limit %"
			 PRIu64 "'", cli->args[0], cli->limit);
		return CLI_USAGE;
	}
	if (observer_open(cli->socket, &o) < 0)
		return cli_fail("%s", o.why);
	if (observer_attach(&o, cli->args[0], CKV_ACCESS_READ, &space) < 0) {
		r = cli_fail("%s", o.why);
	} else {
		r = show_blocks(cli, &space.index);
		observer_release(&space);
	}
	observer_close(&o);
	return r;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * show_spaces.c - `ckv spaces`: what each space is for, and how it is laid out.
 */
#include "client/cli/cli.h"
#include "client/cli/show.h"
#include "client/cli/text.h"

#define MODEL_SHOWN	40u	/* letters */

const char *show_dtype(uint32_t dtype)
{
	switch (dtype) {
	case CKV_DTYPE_F32:	return "f32";
	case CKV_DTYPE_F16:	return "f16";
	case CKV_DTYPE_BF16:	return "bf16";
	case CKV_DTYPE_F8_E4M3:	return "f8_e4m3";
	default:		return "?";
	}
}

const char *show_key_scheme(uint32_t scheme)
{
	return scheme == CKV_KEYS_SHA256 ? "tokens" :
	       scheme == CKV_KEYS_ENGINE ? "engine" : "?";
}

static const char *show_layout(uint32_t layout)
{
	return layout == CKV_LAYOUT_HEAD_MAJOR ? "head-major" :
	       layout == CKV_LAYOUT_TOKEN_MAJOR ? "token-major" :
	       layout == CKV_LAYOUT_OPAQUE ? "opaque" : "?";
}

/* So many of the fingerprint's bytes as hex digits; "-": unknown, "none": zeros. */
static const char *show_weights(char text[2 * CKV_WEIGHTS_BYTES + 1],
				const struct ckv_space_row *row, size_t bytes)
{
	static const uint8_t zeros[CKV_WEIGHTS_BYTES];

	if (ckv_hint_load32(&row->weights_known) == 0)
		return "-";
	if (memcmp(row->geometry.weights, zeros, sizeof zeros) == 0)
		return "none";
	for (size_t i = 0; i < bytes; i++)
		snprintf(text + 2 * i, 3, "%02x", row->geometry.weights[i]);
	return text;
}

/* A long name is known by its end. */
static void model_cell(struct table *t, const char *model)
{
	size_t n = strlen(model);

	if (n > MODEL_SHOWN)
		table_cell(t, "...%s", model + n - (MODEL_SHOWN - 3));
	else
		table_cell(t, "%s", model);
}

void show_spaces(FILE *file, const struct shot *shot)
{
	static const char *const heads[] = {
		"SPACE", "MODEL", "WEIGHTS", ">LAYERS", ">KV HEADS", ">DIM K/V",
		"TYPE", "LAYOUT", ">TOKENS", "KEYS", ">PAGE", ">PAGES", ">VIEW PAGES", "POLICY",
		">NUMA", ">HUGE",
	};
	struct table t;

	table_init(&t, heads, sizeof heads / sizeof heads[0]);
	for (uint32_t i = 0; i < shot->n_spaces; i++) {
		const struct ckv_space_row *row = &shot->spaces[i].row;
		const struct ckv_geometry *g = &row->geometry;
		const struct ckv_pool_shape *p = &row->pool;
		char text[TEXT_SHORT], hex[2 * CKV_WEIGHTS_BYTES + 1];

		table_cell(&t, "%s", row->name);
		model_cell(&t, g->model);
		table_cell(&t, "%s", show_weights(hex, row, 6));
		table_cell(&t, "%u", g->n_layers);
		table_cell(&t, "%u", g->n_kv_heads);
		table_cell(&t, "%u/%u", g->dim_k, g->dim_v);
		table_cell(&t, "%s", g->dtype ? show_dtype(g->dtype) : "-");
		table_cell(&t, "%s", show_layout(g->layout));
		table_cell(&t, "%u", g->block_tokens);
		table_cell(&t, "%s", show_key_scheme(g->key_scheme));
		table_cell(&t, "%s", text_bytes(text, p->page_bytes));
		table_cell(&t, "%u", p->n_block_pages);
		table_cell(&t, "%u", p->n_view_pages);
		table_cell(&t, "%s", row->policy);
		if (row->numa_node == CKV_NONE)
			table_cell(&t, "-");
		else
			table_cell(&t, "%u", row->numa_node);
		table_cell(&t, "%s", text_percent(text, row->huge_bytes,
						  ckv_pool_bytes(p)));
	}
	table_print(&t, file, 0, 0);
	if (shot->n_spaces == 0)
		fputs("(the daemon has no space)\n", file);
}

/* All digits; null: nobody has named them. */
static json_t *weights_json(const struct ckv_space_row *row)
{
	char hex[2 * CKV_WEIGHTS_BYTES + 1];
	const char *text = show_weights(hex, row, CKV_WEIGHTS_BYTES);

	return text[0] == '-' ? json_null() : json_string(text);
}

static json_t *space_json(const struct ckv_space_row *row)
{
	const struct ckv_geometry *g = &row->geometry;
	const struct ckv_pool_shape *p = &row->pool;

	return json_pack("{s:s, s:{s:s, s:o, s:s, s:I, s:I, s:I, s:I, s:I, s:I,"
			 " s:I, s:s?, s:s},"
			 " s:{s:I, s:I, s:I, s:I, s:I, s:I, s:I}, s:s, s:I, s:o,"
			 " s:I, s:I}",
		"name", row->name,
		"geometry", "model", g->model, "weights", weights_json(row),
		"layout", show_layout(g->layout),
		"block_bytes", (json_int_t)ckv_block_bytes(g),
		"n_layers", (json_int_t)g->n_layers,
		"n_kv_heads", (json_int_t)g->n_kv_heads,
		"dim_k", (json_int_t)g->dim_k, "dim_v", (json_int_t)g->dim_v,
		"block_tokens", (json_int_t)g->block_tokens,
		"n_ranks", (json_int_t)g->n_ranks,
		"dtype", g->dtype ? show_dtype(g->dtype) : NULL,
		"keys", show_key_scheme(g->key_scheme),
		"pool", "page_bytes", (json_int_t)p->page_bytes,
		"slab_stride", (json_int_t)p->slab_stride,
		"slab_pages", (json_int_t)p->slab_pages,
		"n_slabs", (json_int_t)p->n_slabs,
		"n_block_pages", (json_int_t)p->n_block_pages,
		"first_view_page", (json_int_t)p->first_view_page,
		"n_view_pages", (json_int_t)p->n_view_pages,
		"policy", row->policy,
		"n_buckets", (json_int_t)row->n_buckets,
		"numa_node", row->numa_node == CKV_NONE ? json_null() :
			     json_integer(row->numa_node),
		"huge_bytes", (json_int_t)row->huge_bytes,
		"index_huge_bytes", (json_int_t)row->index_huge_bytes);
}

json_t *show_spaces_json(const struct shot *shot)
{
	json_t *json = json_array();

	for (uint32_t i = 0; i < shot->n_spaces; i++)
		json_array_append_new(json, space_json(&shot->spaces[i].row));
	return json;
}

int cmd_spaces(const struct cli *cli)
{
	struct shot shot;
	int r = stats_once(cli->socket, &shot);

	if (r != CLI_OK)
		return r;
	if (cli->json)
		r = text_json(show_spaces_json(&shot));
	else
		show_spaces(stdout, &shot);
	shot_free(&shot);
	return r;
}

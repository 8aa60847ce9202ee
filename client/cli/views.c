/* SPDX-License-Identifier: Apache-2.0 */
/*
 * views.c - `ckv views`: the compressed views that a space holds.
 *
 * The head of a view is copied from its first page without a pin; then its entry is
 * looked at again. Still the same generation: the page was the view's all along.
 */
#include "client/cli/cli.h"
#include "client/cli/observe.h"
#include "client/cli/scan.h"
#include "client/cli/show.h"
#include "client/cli/text.h"
#include "client/cli/views.h"
#include "proto/ckv_view.h"

#include <inttypes.h>
#include <stdlib.h>
#include <sys/mman.h>

struct view {
	struct ckv_block block;
	struct ckv_view_head head;
	bool known;		/* head was copied and is a view's */
};

static void read_head(const struct observed_space *space, uint32_t slot,
		      const void **slabs, struct view *view)
{
	const struct ckv_pool_shape *pool = &space->attached.pool;
	uint32_t page = view->block.host_page, slab, page_in_slab;
	struct ckv_block again;

	view->known = false;
	if (page == CKV_NONE || page / pool->slab_pages >= pool->n_slabs)
		return;
	slab = page / pool->slab_pages;
	page_in_slab = page % pool->slab_pages;
	if (slabs[slab] == NULL)
		slabs[slab] = observer_map_slab(space, slab);
	if (slabs[slab] == NULL)
		return;
	memcpy(&view->head, (const char *)slabs[slab] +
	       page_in_slab * pool->page_bytes, sizeof view->head);
	view->known = ckv_view_head_ok(&view->head,
				       view->block.n_pages * pool->page_bytes,
				       &space->attached.geometry) &&
		      scan_slot(&space->index, slot, &again) == 1 &&
		      again.generation == view->block.generation;
	view->head.method[CKV_METHOD_BYTES - 1] = '\0';
}

/* "kivi 4 bit", "fp8 head". */
static const char *encoding_text(char *out, const struct ckv_view_head *h)
{
	static const char *const name[] = {
		[CKV_ENCODING_PLAIN] = "plain", [CKV_ENCODING_BF16] = "bf16",
		[CKV_ENCODING_F16] = "f16", [CKV_ENCODING_FP8] = "fp8",
		[CKV_ENCODING_KIVI] = "kivi",
	};
	static const char *const scale[] = {
		[CKV_VIEW_SCALE_ONE] = "one", [CKV_VIEW_SCALE_TENSOR] = "tensor",
		[CKV_VIEW_SCALE_HEAD] = "head", [CKV_VIEW_SCALE_BLOCK] = "block",
	};

	if (h->encoding == CKV_ENCODING_KIVI)
		snprintf(out, TEXT_SHORT, "kivi %u bit", h->bits);
	else if (h->encoding == CKV_ENCODING_FP8)
		snprintf(out, TEXT_SHORT, "fp8 %s", scale[h->scale]);
	else
		snprintf(out, TEXT_SHORT, "%s", name[h->encoding]);
	return out;
}

static void list_view(struct table *t, const struct view *v)
{
	char key[17], method[CKV_METHOD_BYTES], text[TEXT_SHORT];

	table_cell(t, "%s", text_hex(key, v->block.key.byte, 8));
	if (!v->known) {
		table_cell(t, "(changed while it was read)");
		for (int i = 0; i < 8; i++)
			table_cell(t, "-");
		table_cell(t, "%u", v->block.n_pages);
		return;
	}
	text_clean(method, v->head.method, sizeof method);
	table_cell(t, "%s", method);
	table_cell(t, "%s", encoding_text(text, &v->head));
	table_cell(t, "%s", text_hex(key, v->head.chain.byte, 8));
	table_cell(t, "%u", v->head.n_tokens);
	table_cell(t, "%u", v->head.n_kept_max);
	table_cell(t, "%u", v->head.n_kept_min);
	table_cell(t, "%s", text_percent(text, v->head.n_kept_total,
		(uint64_t)v->head.n_tokens * v->head.n_layers *
		v->head.n_kv_heads));
	table_cell(t, "%s", text_bytes(text, v->head.n_bytes));
	table_cell(t, "%s", text_percent(text, v->head.n_bytes,
					 v->head.sizes.plain));
	table_cell(t, "%u", v->block.n_pages);
}

static json_t *encoding_json(const struct ckv_view_head *h)
{
	char text[TEXT_SHORT];
	json_t *json = json_pack("{s:s, s:I}", "text", encoding_text(text, h),
				 "full", (json_int_t)h->n_full);

	if (h->encoding == CKV_ENCODING_KIVI)
		json_object_update_new(json, json_pack("{s:I, s:I}",
			"bits", (json_int_t)h->bits,
			"group", (json_int_t)h->group));
	if (h->encoding == CKV_ENCODING_FP8 &&
	    h->scale == CKV_VIEW_SCALE_BLOCK)
		json_object_set_new(json, "block", json_integer(h->block));
	return json;
}

static json_t *inputs_json(const struct ckv_view_head *h)
{
	json_t *json = json_array();

	if (h->inputs & CKV_VIEW_QUERIES)
		json_array_append_new(json, json_string("queries"));
	if (h->inputs & CKV_VIEW_LSE)
		json_array_append_new(json, json_string("lse"));
	if (h->inputs & CKV_VIEW_SUMS)
		json_array_append_new(json, json_string("sums"));
	return json;
}

static json_t *sizes_json(const struct ckv_view_head *h)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I}",
		"bytes", (json_int_t)h->n_bytes,
		"head_bytes", (json_int_t)h->sizes.heads,
		"position_bytes", (json_int_t)h->sizes.positions,
		"code_bytes", (json_int_t)h->sizes.codes,
		"scale_bytes", (json_int_t)h->sizes.scales,
		"padding_bytes", (json_int_t)h->sizes.padding,
		"plain_bytes", (json_int_t)h->sizes.plain);
}

static json_t *view_json(const struct view *v)
{
	const struct ckv_view_head *h = &v->head;
	char key[2 * CKV_KEY_BYTES + 1], chain[2 * CKV_KEY_BYTES + 1];
	char digest[2 * CKV_KEY_BYTES + 1], method[CKV_METHOD_BYTES];
	json_t *json;

	text_hex(key, v->block.key.byte, CKV_KEY_BYTES);
	if (!v->known)
		return json_pack("{s:s, s:I, s:n}", "key", key, "pages",
				 (json_int_t)v->block.n_pages, "method");
	text_clean(method, h->method, sizeof method);
	json = json_pack("{s:s, s:I, s:s, s:o, s:s, s:s, s:o, s:I, s:I, s:I, s:I, "
			 "s:I, s:I}",
		"key", key, "pages", (json_int_t)v->block.n_pages,
		"method", method, "encoding", encoding_json(h),
		"chain", text_hex(chain, h->chain.byte, CKV_KEY_BYTES),
		"input_digest", text_hex(digest, h->input_digest.byte,
					 CKV_KEY_BYTES),
		"inputs", inputs_json(h),
		"tokens", (json_int_t)h->n_tokens,
		"kept_max", (json_int_t)h->n_kept_max,
		"kept_min", (json_int_t)h->n_kept_min,
		"kept_total", (json_int_t)h->n_kept_total,
		"always_lost", (json_int_t)h->n_always_lost,
		"window", (json_int_t)h->n_window);
	json_object_update_new(json, sizes_json(h));
	json_object_update_new(json, json_pack("{s:I, s:I, s:I, s:I, s:s}",
		"layers", (json_int_t)h->n_layers,
		"kv_heads", (json_int_t)h->n_kv_heads,
		"dim_k", (json_int_t)h->dim_k, "dim_v", (json_int_t)h->dim_v,
		"type", show_dtype(h->dtype)));
	return json;
}

static int show_views(const struct cli *cli, const struct observed_space *space)
{
	static const char *const heads[] = {
		"KEY", "METHOD", "ENCODING", "CHAIN", ">TOKENS", ">KEPT MAX",
		">KEPT MIN", ">KEPT", ">BYTES", ">OF PLAIN", ">PAGES",
	};
	uint32_t n_slots = space->index.n_buckets * CKV_BUCKET_ENTRIES;
	uint32_t n_slabs = space->attached.pool.n_slabs;
	const void **slabs = cli_alloc(n_slabs, sizeof *slabs);
	json_t *json = json_array();
	struct table t;
	uint64_t n = 0;
	int r = CLI_OK;

	table_init(&t, heads, sizeof heads / sizeof heads[0]);
	for (uint32_t slot = 0; slot < n_slots; slot++) {
		struct view view;

		if (cli->limit && n == cli->limit)
			break;
		if (!scan_slot(&space->index, slot, &view.block) ||
		    !(view.block.flags & CKV_ENTRY_VIEW))
			continue;
		n++;
		read_head(space, slot, slabs, &view);
		if (cli->json)
			json_array_append_new(json, view_json(&view));
		else
			list_view(&t, &view);
	}
	if (cli->json)
		r = text_json(json_pack("{s:s, s:O}", "space", cli->args[0],
					"views", json));
	else
		table_print(&t, stdout, 0, 0);
	if (!cli->json && n == 0)
		puts("(no views)");
	json_decref(json);
	for (uint32_t i = 0; i < n_slabs; i++)
		if (slabs[i])
			munmap((void *)(uintptr_t)slabs[i],
			       ckv_slab_bytes(&space->attached.pool));
	free(slabs);
	return r;
}

int cmd_views(const struct cli *cli)
{
	struct observed_space space;
	struct observer o;
	int r;

	if (cli->drop != NULL && !views_key_ok(cli->drop)) {
		cli_fail("--drop is '%s'; it must be 8 to 64 hexadecimal digits, the "
			 "beginning of a key that 'ckv views %s' lists",
			 cli->drop, cli->args[0]);
		return CLI_USAGE;
	}
	if (cli->drop != NULL && cli->limit) {
		cli_fail("--limit is for the list, which --drop does not print");
		return CLI_USAGE;
	}
	if (observer_open(cli->socket, &o) < 0)
		return cli_fail("%s", o.why);
	if (observer_attach(&o, cli->args[0], CKV_ACCESS_READ, &space) < 0) {
		r = cli_fail("%s", o.why);
	} else {
		r = cli->drop != NULL ? views_drop(cli, &space) :
					show_views(cli, &space);
		observer_release(&space);
	}
	observer_close(&o);
	return r;
}

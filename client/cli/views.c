/*
 * views.c - `ckv views`: the compressed views that a space holds.
 *
 * The head of a view is copied from its first page without a pin; then its entry is
 * looked at again. Still the same generation: the page was the view's all along.
 */
#include "client/cli/cli.h"
#include "client/cli/observe.h"
#include "client/cli/scan.h"
#include "client/cli/text.h"
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
	view->known = view->head.magic == CKV_VIEW_MAGIC &&
		      view->head.format == CKV_VIEW_FORMAT &&
		      scan_slot(&space->index, slot, &again) == 1 &&
		      again.generation == view->block.generation;
	view->head.method[CKV_METHOD_BYTES - 1] = '\0';
}

static void list_view(struct table *t, const struct view *v)
{
	char key[17], method[CKV_METHOD_BYTES], text[TEXT_SHORT];

	table_cell(t, "%s", text_hex(key, v->block.key.byte, 8));
	if (!v->known) {
		table_cell(t, "(changed while it was read)");
		for (int i = 0; i < 5; i++)
			table_cell(t, "-");
		table_cell(t, "%u", v->block.n_pages);
		return;
	}
	text_clean(method, v->head.method, sizeof method);
	table_cell(t, "%s", method);
	table_cell(t, "%s", text_hex(key, v->head.chain.byte, 8));
	table_cell(t, "%u", v->head.n_tokens);
	table_cell(t, "%u", v->head.n_kept_max);
	table_cell(t, "%s", text_percent(text, v->head.n_kept_total,
		(uint64_t)v->head.n_tokens * v->head.n_layers *
		v->head.n_kv_heads));
	table_cell(t, "%s", text_bytes(text, v->head.n_bytes));
	table_cell(t, "%u", v->block.n_pages);
}

static json_t *view_json(const struct view *v)
{
	char key[2 * CKV_KEY_BYTES + 1], chain[2 * CKV_KEY_BYTES + 1];
	char method[CKV_METHOD_BYTES];

	text_hex(key, v->block.key.byte, CKV_KEY_BYTES);
	if (!v->known)
		return json_pack("{s:s, s:I, s:n}", "key", key, "pages",
				 (json_int_t)v->block.n_pages, "method");
	text_clean(method, v->head.method, sizeof method);
	return json_pack("{s:s, s:I, s:s, s:s, s:I, s:I, s:I, s:I, s:I}",
		"key", key, "pages", (json_int_t)v->block.n_pages,
		"method", method,
		"chain", text_hex(chain, v->head.chain.byte, CKV_KEY_BYTES),
		"tokens", (json_int_t)v->head.n_tokens,
		"kept_max", (json_int_t)v->head.n_kept_max,
		"kept_total", (json_int_t)v->head.n_kept_total,
		"window", (json_int_t)v->head.n_window,
		"bytes", (json_int_t)v->head.n_bytes);
}

static int show_views(const struct cli *cli, const struct observed_space *space)
{
	static const char *const heads[] = {
		"KEY", "METHOD", "CHAIN", ">TOKENS", ">KEPT MAX", ">KEPT",
		">BYTES", ">PAGES",
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
			       (size_t)space->attached.pool.slab_stride);
	free(slabs);
	return r;
}

int cmd_views(const struct cli *cli)
{
	struct observed_space space;
	struct observer o;
	int r;

	if (observer_open(cli->socket, &o) < 0)
		return cli_fail("%s", o.why);
	if (observer_attach(&o, cli->args[0], CKV_ACCESS_READ, &space) < 0) {
		r = cli_fail("%s", o.why);
	} else {
		r = show_views(cli, &space);
		observer_release(&space);
	}
	observer_close(&o);
	return r;
}

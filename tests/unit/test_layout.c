/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_layout.c - the shared layouts as text, compared with a golden listing.
 *
 * One line per field (`struct.field offset size`), size, constant, enum value and
 * statistics row. A change of the wire format is thus a visible line of
 * tests/data/layout.txt. `test_layout --print` writes the listing.
 *
 * A field or a constant that the headers name and the tables here do not is a
 * failure too: the headers are read for names.
 */
#include "proto/ckv_attach.h"
#include "proto/ckv_ledger.h"
#include "proto/ckv_ops.h"
#include "proto/ckv_pin.h"
#include "proto/ckv_record.h"
#include "proto/ckv_stats.h"
#include "proto/ckv_view.h"
#include "tests/lib/check_main.h"
#include "tests/lib/text.h"

#include <glob.h>
#include <stdio.h>
#include <stdlib.h>

#define GOLDEN	"tests/data/layout.txt"

struct row {
	const char *name;	/* "ckv_key.byte", "ckv_key", "CKV_LINE" */
	size_t	    a, b;	/* offset and size; size and 0; value and 0 */
};

#define AT(type, field)							\
	{ #type "." #field, offsetof(struct type, field),		\
	  sizeof(((struct type *)0)->field) }
#define SIZE(type)	{ #type, sizeof(struct type), 0 }
#define NUM(name)	{ #name, (size_t)name, 0 }

static const struct row fields[] = {
	SIZE(ckv_key),
	AT(ckv_index_head, magic),
	AT(ckv_index_head, layout_version),
	AT(ckv_index_head, n_buckets),
	AT(ckv_index_head, seed),
	SIZE(ckv_index_head),
	AT(ckv_entry, key),
	AT(ckv_entry, meta),
	AT(ckv_entry, pages),
	AT(ckv_entry, chain),
	AT(ckv_entry, checksum),
	SIZE(ckv_entry),
	AT(ckv_bucket, sequence),
	AT(ckv_bucket, used),
	AT(ckv_bucket, tags),
	AT(ckv_bucket, entry),
	SIZE(ckv_bucket),
	SIZE(ckv_slot),
	SIZE(ckv_msg),
	AT(ckv_c_head, magic),
	AT(ckv_c_head, layout_version),
	AT(ckv_c_head, comp_credit),
	AT(ckv_c_head, pin_high),
	AT(ckv_c_head, touch_tail),
	AT(ckv_c_head, need_wake),
	AT(ckv_c_head, event_arm),
	AT(ckv_c_head, count),
	AT(ckv_c_head, closed),
	SIZE(ckv_c_head),
	AT(ckv_d_head, magic),
	AT(ckv_d_head, layout_version),
	AT(ckv_d_head, futex),
	AT(ckv_d_head, req_credit),
	AT(ckv_d_head, state),
	SIZE(ckv_d_head),
	SIZE(ckv_lane_shape),
	AT(ckv_ledger_head, magic), AT(ckv_ledger_head, layout_version),
	AT(ckv_ledger_head, n_spaces), AT(ckv_ledger_head, n_clients),
	AT(ckv_ledger_head, n_lanes), AT(ckv_ledger_head, state),
	AT(ckv_ledger_head, epoch), AT(ckv_ledger_head, next_serial),
	SIZE(ckv_ledger_head), AT(ckv_ledger_mark, state), AT(ckv_ledger_mark, zero),
	AT(ckv_ledger_mark, seal), SIZE(ckv_ledger_mark), AT(ckv_ledger_space, mark),
	AT(ckv_ledger_space, name), AT(ckv_ledger_space, geometry),
	AT(ckv_ledger_space, pool), AT(ckv_ledger_space, seed),
	AT(ckv_ledger_space, fingerprint), AT(ckv_ledger_space, huge_bytes),
	AT(ckv_ledger_space, n_buckets), AT(ckv_ledger_space, weights_known),
	AT(ckv_ledger_space, secret), AT(ckv_ledger_space, zero), SIZE(ckv_ledger_space),
	AT(ckv_ledger_client, mark), AT(ckv_ledger_client, serial),
	AT(ckv_ledger_client, pid), AT(ckv_ledger_client, uid), AT(ckv_ledger_client, gid),
	AT(ckv_ledger_client, zero), AT(ckv_ledger_client, name),
	AT(ckv_ledger_client, zero_too), SIZE(ckv_ledger_client),
	AT(ckv_ledger_lane, mark), AT(ckv_ledger_lane, serial),
	AT(ckv_ledger_lane, client_serial), AT(ckv_ledger_lane, arena_serial),
	AT(ckv_ledger_lane, offset), AT(ckv_ledger_lane, shape),
	AT(ckv_ledger_lane, client), AT(ckv_ledger_lane, space), AT(ckv_ledger_lane, zero),
	SIZE(ckv_ledger_lane),
	AT(ckv_req, seq),
	AT(ckv_req, op),
	AT(ckv_req, flags),
	AT(ckv_req, zero0),
	AT(ckv_req, tag),
	AT(ckv_req, arg_offset),
	AT(ckv_req, arg_bytes),
	AT(ckv_req, n),
	AT(ckv_req, zero1),
	SIZE(ckv_req),
	AT(ckv_comp, seq),
	AT(ckv_comp, result),
	AT(ckv_comp, tag),
	AT(ckv_comp, arg_offset),
	AT(ckv_comp, n),
	AT(ckv_comp, zero),
	SIZE(ckv_comp),
	SIZE(ckv_reserve_arg), SIZE(ckv_prefetch_arg), SIZE(ckv_cancel_arg),
	AT(ckv_page_name, page),
	AT(ckv_page_name, lending),
	AT(ckv_page_name, epoch),
	AT(ckv_page_name, level),
	AT(ckv_page_name, zero),
	SIZE(ckv_page_name),
	AT(ckv_lent, status),
	AT(ckv_lent, page),
	AT(ckv_lent, slot),
	AT(ckv_lent, generation),
	AT(ckv_lent, lending),
	AT(ckv_lent, level),
	SIZE(ckv_lent),
	AT(ckv_publish_item, name),
	AT(ckv_publish_item, n_tokens),
	AT(ckv_publish_item, flags),
	AT(ckv_publish_item, zero),
	AT(ckv_publish_item, checksum),
	SIZE(ckv_publish_item),
	AT(ckv_compress_arg, chain), AT(ckv_compress_arg, method),
	AT(ckv_compress_arg, n_query_heads), AT(ckv_compress_arg, n_window),
	AT(ckv_compress_arg, query_dtype), AT(ckv_compress_arg, inputs),
	AT(ckv_compress_arg, n_sum_heads), AT(ckv_compress_arg, n_sum_tokens),
	AT(ckv_compress_arg, zero), SIZE(ckv_compress_arg),
	AT(ckv_view_query, chain),
	AT(ckv_view_query, method),
	SIZE(ckv_view_query),
	AT(ckv_view_reply, key),
	AT(ckv_view_reply, bytes),
	AT(ckv_view_reply, sizes),
	AT(ckv_view_reply, n_kept_total),
	AT(ckv_view_reply, n_pages),
	AT(ckv_view_reply, n_tokens),
	AT(ckv_view_reply, n_kept_max),
	AT(ckv_view_reply, n_kept_min),
	AT(ckv_view_reply, n_always_lost),
	AT(ckv_view_reply, zero),
	AT(ckv_view_reply, text),
	SIZE(ckv_view_reply),
	AT(ckv_geometry, model), AT(ckv_geometry, weights), AT(ckv_geometry, opaque_bytes),
	AT(ckv_geometry, n_layers), AT(ckv_geometry, n_kv_heads), AT(ckv_geometry, dim_k),
	AT(ckv_geometry, dim_v), AT(ckv_geometry, block_tokens), AT(ckv_geometry, n_ranks),
	AT(ckv_geometry, dtype), AT(ckv_geometry, layout), AT(ckv_geometry, key_scheme),
	AT(ckv_geometry, zero), SIZE(ckv_geometry),
	AT(ckv_pool_shape, page_bytes),
	AT(ckv_pool_shape, slab_stride),
	AT(ckv_pool_shape, slab_pages),
	AT(ckv_pool_shape, n_slabs),
	AT(ckv_pool_shape, n_block_pages),
	AT(ckv_pool_shape, first_view_page),
	AT(ckv_pool_shape, n_view_pages),
	AT(ckv_pool_shape, zero),
	SIZE(ckv_pool_shape),
	AT(ckv_record, key),
	AT(ckv_record, checksum),
	AT(ckv_record, seal),
	AT(ckv_record, parent_slot),
	AT(ckv_record, slot),
	AT(ckv_record, generation),
	AT(ckv_record, n_tokens),
	AT(ckv_record, flags),
	AT(ckv_record, state),
	SIZE(ckv_record),
	AT(ckv_view_row, key),
	AT(ckv_view_row, name),
	AT(ckv_view_row, n_bytes),
	AT(ckv_view_row, checksum),
	AT(ckv_view_row, n_kept_total),
	AT(ckv_view_row, number),
	AT(ckv_view_row, sizes),
	AT(ckv_view_row, first_page),
	AT(ckv_view_row, n_pages),
	AT(ckv_view_row, n_tokens),
	AT(ckv_view_row, n_kept_max),
	AT(ckv_view_row, n_kept_min),
	AT(ckv_view_row, n_always_lost),
	AT(ckv_view_row, zero),
	AT(ckv_view_row, seal),
	SIZE(ckv_view_row),
	AT(ckv_view_sizes, heads),
	AT(ckv_view_sizes, positions),
	AT(ckv_view_sizes, codes),
	AT(ckv_view_sizes, scales),
	AT(ckv_view_sizes, padding),
	AT(ckv_view_sizes, plain),
	SIZE(ckv_view_sizes),
	AT(ckv_view_head, magic),
	AT(ckv_view_head, format),
	AT(ckv_view_head, n_bytes),
	AT(ckv_view_head, chain),
	AT(ckv_view_head, input_digest),
	AT(ckv_view_head, n_tokens),
	AT(ckv_view_head, n_layers),
	AT(ckv_view_head, n_kv_heads),
	AT(ckv_view_head, dim_k),
	AT(ckv_view_head, dim_v),
	AT(ckv_view_head, dtype),
	AT(ckv_view_head, encoding),
	AT(ckv_view_head, bits),
	AT(ckv_view_head, group),
	AT(ckv_view_head, scale),
	AT(ckv_view_head, block),
	AT(ckv_view_head, n_full),
	AT(ckv_view_head, n_window),
	AT(ckv_view_head, inputs),
	AT(ckv_view_head, n_always_lost),
	AT(ckv_view_head, n_kept_max),
	AT(ckv_view_head, n_kept_min),
	AT(ckv_view_head, zero0),
	AT(ckv_view_head, n_kept_total),
	AT(ckv_view_head, sizes),
	AT(ckv_view_head, method),
	AT(ckv_view_head, zero1),
	SIZE(ckv_view_head),
	AT(ckv_view_run, n_kept),
	AT(ckv_view_run, n_full),
	AT(ckv_view_run, positions),
	AT(ckv_view_run, code),
	AT(ckv_view_run, scale),
	AT(ckv_view_run, full),
	SIZE(ckv_view_run),
	AT(ckv_control_head, magic),
	AT(ckv_control_head, protocol_version),
	AT(ckv_control_head, type),
	AT(ckv_control_head, n_fds),
	AT(ckv_control_head, n_bytes),
	SIZE(ckv_control_head),
	AT(ckv_hello, layout_version),
	AT(ckv_hello, pid),
	AT(ckv_hello, name),
	SIZE(ckv_hello),
	AT(ckv_welcome, layout_version),
	AT(ckv_welcome, n_spaces),
	AT(ckv_welcome, epoch),
	AT(ckv_welcome, version),
	SIZE(ckv_welcome),
	AT(ckv_attach, space),
	AT(ckv_attach, access),
	AT(ckv_attach, any_geometry),
	AT(ckv_attach, geometry),
	SIZE(ckv_attach),
	AT(ckv_attached, space_id),
	AT(ckv_attached, n_buckets),
	AT(ckv_attached, geometry),
	AT(ckv_attached, pool),
	AT(ckv_attached, secret),
	SIZE(ckv_attached),
	AT(ckv_slabs, space_id),
	AT(ckv_slabs, first_slab),
	SIZE(ckv_slabs),
	AT(ckv_lane_open, space_id),
	AT(ckv_lane_open, zero),
	AT(ckv_lane_open, shape),
	SIZE(ckv_lane_open),
	AT(ckv_lane_opened, lane_id),
	AT(ckv_lane_opened, zero),
	AT(ckv_lane_opened, shape),
	AT(ckv_lane_opened, serial),
	AT(ckv_lane_opened, c_offset),
	SIZE(ckv_lane_opened),
	AT(ckv_lane_close, serial),
	SIZE(ckv_lane_close),
	AT(ckv_control_id, id),
	AT(ckv_control_id, zero),
	SIZE(ckv_control_id),
	AT(ckv_refused, error),
	AT(ckv_refused, zero),
	AT(ckv_refused, text),
	SIZE(ckv_refused),
	AT(ckv_stats_head, magic),
	AT(ckv_stats_head, layout_version),
	AT(ckv_stats_head, pid),
	AT(ckv_stats_head, n_spaces),
	AT(ckv_stats_head, n_client_rows),
	AT(ckv_stats_head, n_workers),
	AT(ckv_stats_head, started_s),
	AT(ckv_stats_head, version),
	AT(ckv_stats_head, loop),
	SIZE(ckv_stats_head),
	AT(ckv_space_row, name), AT(ckv_space_row, policy), AT(ckv_space_row, geometry),
	AT(ckv_space_row, pool), AT(ckv_space_row, n_buckets),
	AT(ckv_space_row, numa_node), AT(ckv_space_row, huge_bytes),
	AT(ckv_space_row, index_huge_bytes), AT(ckv_space_row, weights_known),
	AT(ckv_space_row, zero), SIZE(ckv_space_row), AT(ckv_client_row, state),
	AT(ckv_client_row, pid), AT(ckv_client_row, uid), AT(ckv_client_row, gid),
	AT(ckv_client_row, attached_s), AT(ckv_client_row, spaces),
	AT(ckv_client_row, lanes), AT(ckv_client_row, pins),
	AT(ckv_client_row, pages_lent), AT(ckv_client_row, requests),
	AT(ckv_client_row, name), SIZE(ckv_client_row),
	AT(ckv_world, magic),
	AT(ckv_world, layout_version),
	AT(ckv_world, life),
	AT(ckv_world, epoch),
	AT(ckv_world, reactor_sleeping),
	SIZE(ckv_world),
	AT(ckv_key, byte),
	AT(ckv_slot, word),
	AT(ckv_lane_shape, n_slots),
	AT(ckv_lane_shape, n_pins),
	AT(ckv_lane_shape, n_touches),
	AT(ckv_lane_shape, arg_bytes),
	AT(ckv_reserve_arg, parent), AT(ckv_reserve_arg, level), AT(ckv_reserve_arg, zero),
	AT(ckv_prefetch_arg, timeout_ns), AT(ckv_prefetch_arg, level),
	AT(ckv_prefetch_arg, flags), AT(ckv_cancel_arg, tag),
#define CKV_GLOBAL_STAT(name, kind, unit, help) AT(ckv_global_stats, name),
#include "proto/ckv_stats.def"
#define CKV_SPACE_STAT(name, kind, unit, help) AT(ckv_space_stats, name),
#include "proto/ckv_stats.def"
	SIZE(ckv_global_stats),
	SIZE(ckv_space_stats),
};

static const struct row numbers[] = {
	NUM(CKV_PROTOCOL_VERSION),
	NUM(CKV_LAYOUT_VERSION),
	NUM(CKV_LINE),
	NUM(CKV_PIECE_BYTES),
	NUM(CKV_HUGE_BYTES),
	NUM(CKV_KEY_BYTES),
	NUM(CKV_NAME_BYTES),
	NUM(CKV_MODEL_BYTES),
	NUM(CKV_WEIGHTS_BYTES),
	NUM(CKV_METHOD_BYTES),
	NUM(CKV_NONE), NUM(CKV_WRITER_UNKNOWN),
	NUM(CKV_LEVELS),
	NUM(CKV_LEVEL_NONE),
	NUM(CKV_LEVEL_REMOTE),
	NUM(CKV_LEVEL_DISK),
	NUM(CKV_LEVEL_HOST),
	NUM(CKV_LEVEL_DEVICE),
	NUM(CKV_DTYPE_F32),
	NUM(CKV_DTYPE_F16),
	NUM(CKV_DTYPE_BF16),
	NUM(CKV_DTYPE_F8_E4M3),
	NUM(CKV_LEDGER_MAGIC), NUM(CKV_LEDGER_USED), NUM(CKV_LEDGER_SPACES),
	NUM(CKV_LEDGER_CLIENTS), NUM(CKV_LEDGER_LANES), NUM(CKV_LEDGER_HEAD_BYTES),
	NUM(CKV_LEDGER_SPACES_OFFSET), NUM(CKV_LEDGER_CLIENTS_OFFSET),
	NUM(CKV_LEDGER_LANES_OFFSET), NUM(CKV_LEDGER_BYTES),
	NUM(CKV_CONTROL_MAGIC),
	NUM(CKV_CONTROL_BYTES_MAX),
	NUM(CKV_FDS_MAX),
	NUM(CKV_HELLO),
	NUM(CKV_WELCOME),
	NUM(CKV_ATTACH),
	NUM(CKV_ATTACHED),
	NUM(CKV_SLABS),
	NUM(CKV_SLAB_WRITE),
	NUM(CKV_LANE_OPEN),
	NUM(CKV_LANE_OPENED),
	NUM(CKV_LANE_CLOSE),
	NUM(CKV_DETACH),
	NUM(CKV_DONE),
	NUM(CKV_EVENT),
	NUM(CKV_REFUSED),
	NUM(CKV_SLAB_WANT),
	NUM(CKV_RELOAD),
	NUM(CKV_ACCESS_STATS),
	NUM(CKV_ACCESS_READ),
	NUM(CKV_ACCESS_WRITE),
	NUM(CKV_INDEX_MAGIC),
	NUM(CKV_INDEX_HEAD_BYTES),
	NUM(CKV_BUCKET_ENTRIES),
	NUM(CKV_HOMES),
	NUM(CKV_HOME_ENTRIES),
	NUM(CKV_HOME_WORTH),
	NUM(CKV_INDEX_READ_TRIES),
	NUM(CKV_GENERATION_FIRST),
	NUM(CKV_GENERATION_LAST),
	NUM(CKV_ENTRY_VIEW),
	NUM(CKV_ENTRY_SUMMED),
	NUM(CKV_C_MAGIC),
	NUM(CKV_D_MAGIC),
	NUM(CKV_SEGMENT_HEAD_BYTES),
	NUM(CKV_LANE_SLOTS_MAX),
	NUM(CKV_LANE_PINS_MAX),
	NUM(CKV_PINS_AT_ONCE),
	NUM(CKV_LANE_TOUCHES_MAX),
	NUM(CKV_LANE_ARG_BYTES_MAX),
	NUM(CKV_CLAIM_LOOKUPS),
	NUM(CKV_CLAIM_BLOCKS_ASKED),
	NUM(CKV_CLAIM_BLOCKS_DEVICE),
	NUM(CKV_CLAIM_BLOCKS_HOST),
	NUM(CKV_CLAIM_BLOCKS_DISK),
	NUM(CKV_CLAIM_BLOCKS_REMOTE),
	NUM(CKV_CLAIM_BLOCKS_MISSED),
	NUM(CKV_CLAIM_VERIFY_FAILED),
	NUM(CKV_CLAIM_PIN_RETRIES),
	NUM(CKV_CLAIMS),
	NUM(CKV_BATCH_MAX),
	NUM(CKV_OP_NOP),
	NUM(CKV_OP_RESERVE),
	NUM(CKV_OP_PUBLISH),
	NUM(CKV_OP_ABORT),
	NUM(CKV_OP_PREFETCH), NUM(CKV_OP_CANCEL), NUM(CKV_PREFETCH_PIN),
	NUM(CKV_OP_COMPRESS),
	NUM(CKV_OP_DROP),
	NUM(CKV_OP_STAT),
	NUM(CKV_REQ_SCRATCH),
	NUM(CKV_LAYOUT_HEAD_MAJOR),
	NUM(CKV_LAYOUT_TOKEN_MAJOR),
	NUM(CKV_LAYOUT_OPAQUE),
	NUM(CKV_WANT_SAME),
	NUM(CKV_WANT_ANY),
	NUM(CKV_WANT_SHAPE),
	NUM(CKV_KEYS_SHA256),
	NUM(CKV_KEYS_ENGINE),
	NUM(CKV_RECORD_FREE),
	NUM(CKV_RECORD_LENT),
	NUM(CKV_RECORD_LOADING),
	NUM(CKV_RECORD_QUARANTINE),
	NUM(CKV_RECORD_PUBLISHED),
	NUM(CKV_RECORD_VIEW),
	NUM(CKV_STATS_MAGIC),
	NUM(CKV_STATS_ROWS_OFFSET),
	NUM(CKV_SPACE_STATS_BYTES),
	NUM(CKV_CLIENT_FREE),
	NUM(CKV_CLIENT_ATTACHED),
	NUM(CKV_CLIENT_DETACHED),
	NUM(CKV_VIEW_MAGIC),
	NUM(CKV_VIEW_FORMAT),
	NUM(CKV_VIEW_HEAD_BYTES),
	NUM(CKV_ENCODING_PLAIN),
	NUM(CKV_ENCODING_BF16),
	NUM(CKV_ENCODING_F16),
	NUM(CKV_ENCODING_FP8),
	NUM(CKV_ENCODING_KIVI),
	NUM(CKV_VIEW_SCALE_ONE),
	NUM(CKV_VIEW_SCALE_TENSOR),
	NUM(CKV_VIEW_SCALE_HEAD),
	NUM(CKV_VIEW_SCALE_BLOCK),
	NUM(CKV_VIEW_QUERIES),
	NUM(CKV_VIEW_LSE),
	NUM(CKV_VIEW_SUMS),
	NUM(CKV_VIEW_K),
	NUM(CKV_VIEW_V),
	NUM(CKV_WORLD_MAGIC),
	NUM(CKV_WORLD_BYTES),
	NUM(CKV_LIFE_TID),
	NUM(CKV_LIFE_DIED),
};

/* The whole listing in one string, to be freed. */
static char *listing(void)
{
	char *text = NULL;
	size_t bytes;
	FILE *out = open_memstream(&text, &bytes);

	if (out == NULL)
		abort();
	for (size_t i = 0; i < COUNT(fields); i++)
		if (strchr(fields[i].name, '.'))
			fprintf(out, "%s %zu %zu\n", fields[i].name,
				fields[i].a, fields[i].b);
		else
			fprintf(out, "%s %zu\n", fields[i].name, fields[i].a);
	for (size_t i = 0; i < COUNT(numbers); i++)
		fprintf(out, "%s %#zx\n", numbers[i].name, numbers[i].a);
	fprintf(out, "CKV_DEFAULT_SOCKET %s\n", CKV_DEFAULT_SOCKET);
	fclose(out);
	return text;
}

/* Every offset, size and number of the wire format is as the golden file says. */
START_TEST(layout_is_the_golden_one)
{
	char *now = listing(), *golden = text_of(GOLDEN);
	char *a = now, *b = golden;

	while (*a != 0 && *a == *b) {
		a++;
		b++;
	}
	while (a > now && a[-1] != '\n') {
		a--;
		b--;
	}
	ck_assert_msg(strcmp(now, golden) == 0,
		      "layout changed: \"%.*s\" was \"%.*s\"; if that is meant, "
		      "raise CKV_LAYOUT_VERSION and run test_layout --print > %s",
		      (int)strcspn(a, "\n"), a, (int)strcspn(b, "\n"), b, GOLDEN);
	free(now);
	free(golden);
}
END_TEST

static bool listed(const char *name)
{
	for (size_t i = 0; i < COUNT(fields); i++)
		if (strcmp(fields[i].name, name) == 0)
			return true;
	for (size_t i = 0; i < COUNT(numbers); i++)
		if (strcmp(numbers[i].name, name) == 0)
			return true;
	return false;
}

/* Numbers that are no part of the wire format. */
static bool is_private(const char *name)
{
	size_t n = strlen(name);

	return strcmp(name, "CKV_RELAXED") == 0 ||
	       strcmp(name, "CKV_ASK") == 0 ||
	       strcmp(name, "CKV_CPU_X86") == 0 ||
	       strcmp(name, "CKV_DEFAULT_SOCKET") == 0 ||
	       strncmp(name, "CKV_ORDER_", 10) == 0 ||
	       (n > 2 && strcmp(name + n - 2, "_H") == 0);
}

/* Take the names that one line of a header introduces; count what is missing. */
static int missing_in_line(const char *line, bool in_enum)
{
	char type[64], name[64], full[130];
	int n = 0;

	if (sscanf(line, "CKV_AT(struct %63[a-z_], %63[a-z0-9_]", type,
		   name) == 2) {
		snprintf(full, sizeof full, "%s.%s", type, name);
		n += !listed(full);
	} else if (sscanf(line, "CKV_SIZE(struct %63[a-z_]", full) == 1) {
		n += !listed(full);
	} else if (sscanf(line, "#define %63[A-Z0-9_]%1[\t ]", full, name) == 2 &&
		   strncmp(full, "CKV_", 4) == 0) {
		n += !is_private(full) && !listed(full);
	}
	if (n != 0)
		fprintf(stderr, "not in test_layout.c: %s\n", full);
	if (!in_enum)
		return n;
	for (const char *p = strstr(line, "CKV_"); p; p = strstr(p + 1, "CKV_")) {
		sscanf(p, "%63[A-Z0-9_]", name);
		if (!listed(name)) {
			fprintf(stderr, "not in test_layout.c: %s\n", name);
			n++;
		}
	}
	return n;
}

/* Whatever the headers pin or number is in the listing, so nothing new escapes it. */
START_TEST(listing_has_every_name_of_the_headers)
{
	glob_t headers;
	char line[512];
	int missing = 0;

	ck_assert_int_eq(glob("proto/*.h", 0, NULL, &headers), 0);
	for (size_t i = 0; i < headers.gl_pathc; i++) {
		FILE *in = fopen(headers.gl_pathv[i], "r");
		bool in_enum = false;

		ck_assert_ptr_nonnull(in);
		while (fgets(line, sizeof line, in)) {
			char *comment = strstr(line, "/*");

			if (comment != NULL)
				*comment = 0;
			in_enum |= strncmp(line, "enum ckv_", 9) == 0;
			missing += missing_in_line(line, in_enum);
			in_enum &= strchr(line, '}') == NULL;
		}
		fclose(in);
	}
	ck_assert_uint_ge(headers.gl_pathc, 10);
	globfree(&headers);
	ck_assert_int_eq(missing, 0);
}
END_TEST

int main(int argc, char **argv)
{
	const struct check_row rows[] = {
		CASE("layout"),
		TEST(layout_is_the_golden_one),
		TEST(listing_has_every_name_of_the_headers),
	};

	if (argc == 2 && strcmp(argv[1], "--print") == 0) {
		char *text = listing();

		fputs(text, stdout);
		free(text);
		return EXIT_SUCCESS;
	}
	return check_main("layout", rows, sizeof rows / sizeof *rows);
}

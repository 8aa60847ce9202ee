/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_shell_weights.c - what a page of a space means: who names the weights, how long
 * they stay, and how a client with another geometry is told.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "daemon/shell/geometry.h"
#include "daemon/shell/log.h"
#include "daemon/shell/weights.h"
#include "tests/lib/check_main.h"
#include "tests/lib/core.h"

enum { CLIENTS = 3, NONE = -1 };

static struct core core;
static struct config_space config;
static struct daemon d;
static struct served_space served;
static struct client client[CLIENTS];
static struct attachment attached[CLIENTS];
static char text[232];
static int lane;

static void setup(void)
{
	struct space_config core_of = core_config(16, 8);

	log_setup(LOG_ERROR);
	core_open(&core, &core_of);
	lane = core_lane_open(&core, 0);
	memset(&config, 0, sizeof config);
	strcpy(config.name, "tiny");
	strcpy(config.geometry.model, "m");
	config.geometry.layout = CKV_LAYOUT_HEAD_MAJOR;
	served = (struct served_space){ .config = &config, .core = core.space };
	d = (struct daemon){ .served = &served, .n_spaces = 1, .client = client,
			     .n_clients_max = CLIENTS, .n_client_rows = CLIENTS };
	d.stats_memory.base = calloc(1, ckv_stats_bytes(1, CLIENTS));
	for (int i = 0; i < CLIENTS; i++)
		client[i] = (struct client){ .state = CLIENT_ATTACHED,
					     .attached = &attached[i] };
	memset(attached, 0, sizeof attached);
	weights_init(&served, NULL, false);
}

static void teardown(void)
{
	core_close(&core);
	free(d.stats_memory.base);
}

/* As control_attach() does; `value` fills the fingerprint. */
static int attach(int who, uint32_t access, enum ckv_want want, int value)
{
	struct ckv_attach message = { .access = access, .any_geometry = want };
	int r;

	memset(message.geometry.weights, value, CKV_WEIGHTS_BYTES);
	memset(text, 0, sizeof text);
	r = weights_attach(&d, 0, &message, text, &attached[who].holds_weights);
	if (r == 0)
		attached[who].access = access;
	return r;
}

static void leave(int who)
{
	attached[who].access = 0;
}

/* What everybody is shown; NONE: nobody has named any. */
static void expect_weights(int value)
{
	struct ckv_space_row *row = ckv_stats_space(d.stats_memory.base, 0);
	uint8_t want[CKV_WEIGHTS_BYTES];

	memset(want, value == NONE ? 0 : value, sizeof want);
	ck_assert_int_eq(served.weights_known, value != NONE);
	ck_assert_mem_eq(served.geometry.weights, want, sizeof want);
	ck_assert_uint_eq(ckv_hint_load32(&row->weights_known), value != NONE);
	ck_assert_mem_eq(row->geometry.weights, want, sizeof want);
}

/* The first that names them decides, a reader too; others are told both, and what to do. */
START_TEST(the_first_names_them)
{
	uint32_t access = _i == 0 ? CKV_ACCESS_READ : CKV_ACCESS_WRITE;

	expect_weights(NONE);
	ck_assert_int_eq(attach(0, access, CKV_WANT_SAME, 0xa1), 0);
	expect_weights(0xa1);
	ck_assert_int_eq(attach(1, CKV_ACCESS_WRITE, CKV_WANT_SAME, 0xb2),
			 -EINVAL);
	ck_assert_str_eq(text, "space tiny: weights are a1a1a1a1a1a1.. here, "
			 "b2b2b2b2b2b2.. at the client; use another space, or "
			 "restart ckvd to empty this one");
	ck_assert_int_eq(attach(1, CKV_ACCESS_READ, CKV_WANT_SAME, 0xb2),
			 -EINVAL);
	ck_assert_int_eq(attach(1, CKV_ACCESS_WRITE, CKV_WANT_SAME, 0), -EINVAL);
	ck_assert_ptr_nonnull(strstr(text, "none at the client"));
	ck_assert_int_eq(attach(1, CKV_ACCESS_WRITE, CKV_WANT_SAME, 0xa1), 0);
	expect_weights(0xa1);
}
END_TEST

/* Fingerprints that begin alike are shown whole, and fit. */
START_TEST(alike_ones_are_shown_whole)
{
	struct ckv_attach message = { .access = CKV_ACCESS_READ };
	bool named;

	memset(config.name, 'n', CONFIG_SPACE_NAME_MAX);
	ck_assert_int_eq(attach(0, CKV_ACCESS_READ, CKV_WANT_SAME, 0xa1), 0);
	memset(message.geometry.weights, 0xa1, CKV_WEIGHTS_BYTES);
	message.geometry.weights[CKV_WEIGHTS_BYTES - 1] = 0xa2;
	ck_assert_int_eq(weights_attach(&d, 0, &message, text, &named), -EINVAL);
	ck_assert_ptr_nonnull(strstr(text, "a1a1 here, "));
	ck_assert_ptr_nonnull(strstr(text, "a1a2 at the client; use another space"));
}
END_TEST

/* Zeros are a value like any other: they match zeros only, and a writer's ANY names them. */
START_TEST(zeros_match_zeros)
{
	enum ckv_want want = _i == 0 ? CKV_WANT_SAME : CKV_WANT_ANY;

	ck_assert_int_eq(attach(0, CKV_ACCESS_WRITE, want, _i == 0 ? 0 : 0xcc), 0);
	expect_weights(0);
	ck_assert_int_eq(attach(1, CKV_ACCESS_READ, CKV_WANT_SAME, 0xa1), -EINVAL);
	ck_assert_ptr_nonnull(strstr(text, "weights are none here, a1a1"));
	ck_assert_int_eq(attach(1, CKV_ACCESS_READ, CKV_WANT_SAME, 0), 0);
	expect_weights(0);
}
END_TEST

/* Who only looks names nothing and holds nothing, whatever it says. */
START_TEST(who_looks_names_nothing)
{
	static const struct {
		uint32_t access;
		enum ckv_want want;
	} way[] = {
		{ CKV_ACCESS_STATS, CKV_WANT_ANY },
		{ CKV_ACCESS_STATS, CKV_WANT_SAME },
		{ CKV_ACCESS_READ, CKV_WANT_ANY },
		{ CKV_ACCESS_READ, CKV_WANT_SHAPE },
	};

	ck_assert_int_eq(attach(0, way[_i].access, way[_i].want, 0xcc), 0);
	expect_weights(NONE);
	ck_assert_int_eq(attach(1, CKV_ACCESS_WRITE, CKV_WANT_SAME, 0xa1), 0);
	expect_weights(0xa1);
	leave(0);
	ck_assert_int_eq(attach(0, way[_i].access, way[_i].want, 0xa1), 0);
	leave(1);
	ck_assert_int_eq(attach(1, CKV_ACCESS_WRITE, CKV_WANT_SAME, 0xb2), 0);
	expect_weights(0xb2);
}
END_TEST

/* Whoever takes the space as it is, writers too, leaves it as it is. */
START_TEST(any_takes_what_there_is)
{
	ck_assert_int_eq(attach(0, CKV_ACCESS_READ, CKV_WANT_SAME, 0xa1), 0);
	ck_assert_int_eq(attach(1, CKV_ACCESS_WRITE, CKV_WANT_ANY, 0), 0);
	ck_assert_int_eq(attach(2, CKV_ACCESS_READ, CKV_WANT_SHAPE, 0), 0);
	expect_weights(0xa1);
	leave(0);
	/* The writer's pages would be of these weights. */
	ck_assert_int_eq(attach(0, CKV_ACCESS_READ, CKV_WANT_SAME, 0xb2), -EINVAL);
	leave(1);
	ck_assert_int_eq(attach(0, CKV_ACCESS_READ, CKV_WANT_SAME, 0xb2), 0);
}
END_TEST

/* A detached process may still write into what it was lent: it holds them until it is dead. */
START_TEST(a_process_holds_until_its_death)
{
	ck_assert_int_eq(attach(0, CKV_ACCESS_WRITE, CKV_WANT_SAME, 0xa1), 0);
	client[0].state = CLIENT_DETACHED;
	ck_assert_int_eq(attach(1, CKV_ACCESS_WRITE, CKV_WANT_SAME, 0xb2), -EINVAL);
	leave(0);
	ck_assert_int_eq(attach(1, CKV_ACCESS_WRITE, CKV_WANT_SAME, 0xb2), 0);
}
END_TEST

static void put_view(void)
{
	struct space_view view = { .key = core_key(9), .name = core_key(10),
				   .n_bytes = 100, .n_tokens = 16 };

	view.first_page = (uint32_t)space_view_alloc(core.space, 1);
	ck_assert_int_eq(space_view_publish(core.space, &view), 0);
}

/* A block, a view and a lent page hold them when everybody has left. */
START_TEST(what_is_stored_holds_them)
{
	struct ckv_lent lent;

	ck_assert_int_eq(attach(0, CKV_ACCESS_WRITE, CKV_WANT_SAME, 0xa1), 0);
	if (_i == 0)
		ck_assert_int_eq(core_put(&core, lane, 0, 1), 0);
	else if (_i == 1)
		put_view();
	else
		ck_assert_int_eq(core_reserve(&core, lane, 0, 1, &lent), 0);
	leave(0);
	ck_assert_int_eq(attach(1, CKV_ACCESS_WRITE, CKV_WANT_SAME, 0xb2), -EINVAL);
	ck_assert_int_eq(attach(1, CKV_ACCESS_WRITE, CKV_WANT_SAME, 0xa1), 0);
	leave(1);
	if (_i == 2)
		ck_assert_int_eq(core_abort(&core, lane, &lent), 0);
	else
		ck_assert_int_eq(core_drop(&core, _i == 0 ? 1 : 9), 0);
	ck_assert_int_eq(attach(1, CKV_ACCESS_WRITE, CKV_WANT_SAME, 0xb2), 0);
	expect_weights(0xb2);
}
END_TEST

/* Those of the configuration stay, with nobody there too. */
START_TEST(configured_ones_stay)
{
	memset(config.params.weights, 'a', 2 * CKV_WEIGHTS_BYTES);
	memset(config.geometry.weights, _i == 0 ? 0xaa : 0, CKV_WEIGHTS_BYTES);
	weights_init(&served, NULL, false);
	stats_weights(&d, 0);
	expect_weights(_i == 0 ? 0xaa : 0);
	ck_assert_int_eq(attach(0, CKV_ACCESS_WRITE, CKV_WANT_SAME, 0xb2), -EINVAL);
	ck_assert_ptr_nonnull(strstr(text, "use another space"));
	ck_assert_ptr_null(strstr(text, "restart"));	/* it would change nothing */
	ck_assert_int_eq(attach(0, CKV_ACCESS_WRITE, CKV_WANT_ANY, 0), 0);
	ck_assert_int_eq(attach(1, CKV_ACCESS_READ, CKV_WANT_SAME,
				_i == 0 ? 0xaa : 0), 0);
	expect_weights(_i == 0 ? 0xaa : 0);
}
END_TEST

static uint64_t fingerprint(void)
{
	return XXH3_64bits(&served.geometry, sizeof served.geometry);
}

static bool is_sealed(uint32_t page)
{
	return ckv_record_ok(&core.memory.records[0][page], fingerprint(), page);
}

/* Records of blocks and of views are of the geometry with the weights of their moment. */
START_TEST(records_keep_them)
{
	struct ckv_lent lent;
	uint64_t first = fingerprint();

	ck_assert_int_eq(attach(0, CKV_ACCESS_WRITE, CKV_WANT_SAME, 0xa1), 0);
	ck_assert_uint_ne(fingerprint(), first);
	ck_assert_int_eq(core_reserve(&core, lane, 0, 1, &lent), 0);
	put_view();
	ck_assert(is_sealed(lent.page) && is_sealed(16));
	ck_assert_int_eq(core_abort(&core, lane, &lent), 0);
	ck_assert_int_eq(core_drop(&core, 9), 0);
	leave(0);
	first = fingerprint();
	ck_assert_int_eq(attach(0, CKV_ACCESS_WRITE, CKV_WANT_SAME, 0xb2), 0);
	ck_assert_uint_ne(fingerprint(), first);
	ck_assert_int_eq(core_reserve(&core, lane, 0, 1, &lent), 0);
	ck_assert(is_sealed(lent.page));
}
END_TEST

/* ---- the rest of the geometry ---- */

static const struct ckv_geometry ours = {
	.model = "m", .opaque_bytes = 1, .n_layers = 2, .n_kv_heads = 3, .dim_k = 4,
	.dim_v = 5, .block_tokens = 6, .n_ranks = 7, .dtype = 1,
	.layout = CKV_LAYOUT_HEAD_MAJOR, .key_scheme = 1,
};

/* Each field is compared, and named with both values. */
START_TEST(a_field_that_differs_is_named)
{
	static const struct {
		size_t at;
		const char *says;
	} field[] = {
#define FIELD(name)	offsetof(struct ckv_geometry, name)
		{ FIELD(opaque_bytes), "space s: block_bytes is 1 here, 2 at the client" },
		{ FIELD(n_layers), "space s: n_layers is 2 here, 3 at the client" },
		{ FIELD(n_kv_heads), "space s: n_kv_heads is 3 here, 4 at the client" },
		{ FIELD(dim_k), "space s: dim_k is 4 here, 5 at the client" },
		{ FIELD(dim_v), "space s: dim_v is 5 here, 6 at the client" },
		{ FIELD(block_tokens), "space s: block_tokens is 6 here, 7 at the client" },
		{ FIELD(n_ranks), "space s: n_ranks is 7 here, 8 at the client" },
		{ FIELD(dtype), "space s: dtype is f32 here, f16 (2) at the client" },
		{ FIELD(key_scheme), "space s: key_scheme is tokens here, engine (2) at the client" },
		{ FIELD(layout), "space s: layout is head-major here, token-major (2) "
		  "at the client" },
		{ FIELD(model), "space s: model is m here, n at the client" },
	};
	struct ckv_geometry theirs = ours;

	ck_assert_int_eq(geometry_compare("s", &ours, &theirs, "at the client", text), 0);
	((uint8_t *)&theirs)[field[_i].at]++;
	ck_assert_int_eq(geometry_compare("s", &ours, &theirs, "at the client", text), -EINVAL);
	ck_assert_str_eq(text, field[_i].says);
}
END_TEST

/* Long names are compared to their end, and shown where they begin to differ. */
START_TEST(long_names_are_compared_whole)
{
	struct ckv_geometry a = ours, b;
	char space[CONFIG_SPACE_NAME_MAX + 1] = "";

	memset(space, 's', CONFIG_SPACE_NAME_MAX);
	memset(a.model, 'm', CKV_MODEL_BYTES - 1);
	b = a;
	ck_assert_int_eq(geometry_compare(space, &a, &b, "at the client", text), 0);
	b.model[CKV_MODEL_BYTES - 2] = 'n';
	ck_assert_int_eq(geometry_compare(space, &a, &b, "at the client", text), -EINVAL);
	ck_assert_ptr_nonnull(strstr(text, "m here, ..."));
	ck_assert_ptr_nonnull(strstr(text, "mn at the client"));
	b = a;
	memset(b.model, 'x', CKV_MODEL_BYTES - 1);
	ck_assert_int_eq(geometry_compare(space, &a, &b, "at the client", text), -EINVAL);
	ck_assert_ptr_nonnull(strstr(text, "mm... here, xx"));
	ck_assert_ptr_nonnull(strstr(text, "xx... at the client"));
}
END_TEST

/* A name that does not end is no name of ours, and nothing behind it is read. */
START_TEST(a_name_without_an_end_differs)
{
	struct ckv_geometry a = ours, *b = malloc(sizeof *b);

	memset(a.model, 'm', CKV_MODEL_BYTES - 1);
	memset(b, 'X', sizeof *b);
	memset(b->model, 'm', sizeof b->model);
	ck_assert_int_eq(geometry_compare("s", &a, b, "at the client", text), -EINVAL);
	ck_assert_ptr_null(strchr(text, 'X'));
	ck_assert_ptr_nonnull(strstr(text, "model is ...m"));
	free(b);
}
END_TEST

CHECK_MAIN("shell_weights",
	CASE("named", .setup = setup, .teardown = teardown),
	LOOP(the_first_names_them, 2),
	TEST(alike_ones_are_shown_whole),
	LOOP(zeros_match_zeros, 2),
	LOOP(who_looks_names_nothing, 4),
	TEST(any_takes_what_there_is),
	TEST(a_process_holds_until_its_death),
	LOOP(what_is_stored_holds_them, 3),
	LOOP(configured_ones_stay, 2),
	TEST(records_keep_them),
	CASE("same"),
	LOOP(a_field_that_differs_is_named, 11),
	TEST(long_names_are_compared_whole),
	TEST(a_name_without_an_end_differs))

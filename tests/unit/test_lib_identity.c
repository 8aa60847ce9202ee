/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_lib_identity.c - ckv_model against a real ckvd: names, layouts, weights.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "client/lib.h"
#include "tests/lib/check_main.h"
#include "tests/lib/daemon.h"

#define NAME_50		"0123456789012345678901234567890123456789/123456789"
#define NAME_250	NAME_50 NAME_50 NAME_50 NAME_50 NAME_50
#define LONG_NAME	NAME_250 "abcde"

#define SHAPE	"layers = 2\nkv_heads = 2\nhead_dim = 32\ndtype = f32\npool = 1M\n"

enum { TOKENS = 16, OPAQUE_BYTES = 10000 };

static struct test_daemon daemon_;
static struct ckv *ckv;
static struct ckv_space *space;
static struct ckv_lane *lane;
static const uint8_t key[CKV_KEY_SIZE] = { 1, 2, 3 };

static void setup(void)
{
	test_daemon_start(&daemon_, NULL,
			  "[space plain]\nmodel = " LONG_NAME "\nkeys = engine\n" SHAPE
			  "[space token]\nmodel = m\nlayout = token-major\n"
			  "keys = engine\n" SHAPE
			  "[space blob]\nmodel = m\nlayout = opaque\n"
			  "block_bytes = 10000\nkeys = engine\npool = 1M\n");
	ck_assert_int_eq(ckv_open(daemon_.socket, "test", &ckv), 0);
}

static void teardown(void)
{
	ckv = ckv_close(ckv);
	test_daemon_remove(&daemon_);
}

static struct ckv_model model(enum ckv_page_layout layout)
{
	struct ckv_model m = {
		.model = "m", .n_layers = 2, .n_kv_heads = 2, .dim_k = 32,
		.dim_v = 32, .block_tokens = TOKENS, .type = CKV_F32,
		.scheme = CKV_ENGINE_KEYS, .layout = layout,
	};

	if (layout == CKV_OPAQUE)
		m.block_bytes = OPAQUE_BYTES;
	return m;
}

static struct ckv_model long_model(int weights)
{
	struct ckv_model m = model(0);

	strcpy(m.model, LONG_NAME);
	memset(m.weights, weights, sizeof m.weights);
	return m;
}

static void attach(const char *name, const struct ckv_model *want, enum ckv_mode mode)
{
	int r = ckv_attach(ckv, name, want, mode, &space);

	ck_assert_msg(r == 0, "%s: %s", name, ckv_why(ckv));
	ck_assert_int_eq(ckv_lane_open(space, NULL, &lane), 0);
}

/* By a connection of its own: 0, or the refusal, which must say this. */
static void try_other(const char *name, const struct ckv_model *want, int result,
		      const char *says)
{
	struct ckv_space *s = NULL;
	struct ckv *other;

	ck_assert_int_eq(ckv_open(daemon_.socket, "other", &other), 0);
	ck_assert_int_eq(ckv_attach(other, name, want, CKV_WRITE, &s), result);
	ck_assert_msg(strstr(ckv_why(other), says) != NULL, "\"%s\" lacks \"%s\"",
		      ckv_why(other), says);
	ckv_close(other);
}

/* Write a block and read it back, all of it the engine's. */
static void round_trip(uint64_t bytes)
{
	struct ckv_page page;
	struct ckv_handle handle;
	struct ckv_pin pin;

	ck_assert_int_eq(ckv_reserve(lane, NULL, key, 1, &page), 1);
	memset(page.data, 0x5a, bytes);
	ck_assert_int_eq(ckv_publish(lane, &page, 1, TOKENS, CKV_SUM, NULL, NULL, NULL),
			 1);
	ck_assert_int_eq(ckv_lookup(lane, key, 1, CKV_VERIFY, &handle, &pin), 1);
	ck_assert_int_eq(((const uint8_t *)handle.data)[bytes - 1], 0x5a);
	ckv_unpin(lane, &pin);
}

/* A name of 255 letters is whole on both sides; one without an end is refused here. */
START_TEST(long_names_are_never_cut)
{
	struct ckv_model m = long_model(0);
	struct ckv_space_info info;

	attach("plain", &m, CKV_WRITE);
	ckv_space_get_info(space, &info);
	ck_assert_str_eq(info.model.model, LONG_NAME);
	m.model[254] = 'f';
	try_other("plain", &m, -EINVAL, "model is ");
	m.model[254] = 0;
	try_other("plain", &m, -EINVAL, "model is ");
	m.model[254] = 'e';
	m.model[255] = 'f';
	try_other("plain", &m, -EINVAL, "model: expected a text of at most 255");
}
END_TEST

/* Two that lay pages out differently cannot attach one space; no word is head-major. */
START_TEST(layouts_are_compared)
{
	struct ckv_model m = model(CKV_TOKEN_MAJOR);
	struct ckv_space_info info;

	attach("token", &m, CKV_WRITE);
	ckv_space_get_info(space, &info);
	ck_assert_uint_eq(info.model.layout, CKV_TOKEN_MAJOR);
	m.layout = CKV_HEAD_MAJOR;
	try_other("token", &m, -EINVAL, "layout is token-major here, head-major");
	m.layout = 0;
	try_other("token", &m, -EINVAL, "layout is token-major here, head-major");
	m.layout = CKV_OPAQUE;
	try_other("token", &m, -EINVAL, "layout is token-major here, opaque");
	m.layout = 77;
	try_other("token", &m, -EINVAL, "none of these (77)");
	m = long_model(0);
	try_other("plain", &m, 0, "");
	m.layout = CKV_HEAD_MAJOR;
	try_other("plain", &m, 0, "");
	round_trip(2 * 2 * 2 * TOKENS * 32 * 4);
}
END_TEST

/* Of opaque pages only their size counts. */
START_TEST(opaque_pages_have_a_size_only)
{
	struct ckv_model m = model(CKV_OPAQUE);
	struct ckv_space_info info;

	attach("blob", &m, CKV_WRITE);
	ckv_space_get_info(space, &info);
	ck_assert_uint_eq(info.model.layout, CKV_OPAQUE);
	ck_assert_uint_eq(info.model.block_bytes, OPAQUE_BYTES);
	ck_assert_uint_eq(info.model.n_layers + info.model.n_kv_heads +
			  info.model.dim_k + info.model.dim_v + info.model.type, 0);
	ck_assert_uint_eq(info.page_bytes, 12288);
	round_trip(OPAQUE_BYTES);
	m.n_layers = m.dim_k = m.type = 99;
	try_other("blob", &m, 0, "");
	m.block_bytes++;
	try_other("blob", &m, -EINVAL, "block_bytes is 10000 here, 10001");
}
END_TEST

/* What is not head-major is not compressed, and that is said by name. */
START_TEST(other_layouts_are_not_compressed)
{
	static const char *const name[] = { "token", "blob" };
	static const char *const says[] = {
		"space token: layout token-major cannot be compressed; expected "
		"head-major",
		"space blob: layout opaque cannot be compressed; expected head-major",
	};
	struct ckv_queries queries = { .n_query_heads = 2, .n_window = 4,
				       .type = CKV_F32 };
	struct ckv_queries_layout at;
	struct ckv_view_info info;

	attach(name[_i], NULL, CKV_WRITE);
	round_trip(100);
	ck_assert_int_eq(ckv_compress(lane, key, "streamingllm(keep=1/2)", NULL,
				      &info), -EINVAL);
	ck_assert_str_eq(ckv_why(ckv), says[_i]);
	ck_assert_int_eq(ckv_queries_lay_out(space, &queries, &at), -EINVAL);
}
END_TEST

/* Weights through the library: compared, told, and in what the space says of itself. */
START_TEST(weights_are_compared)
{
	struct ckv_model m = long_model(0x17), other = long_model(0x18);
	struct ckv_space_info info;

	attach("plain", &m, CKV_READ);
	ckv_space_get_info(space, &info);
	ck_assert_mem_eq(info.model.weights, m.weights, sizeof m.weights);
	try_other("plain", &other, -EINVAL, "weights are 171717171717.. here");
	try_other("plain", &m, 0, "");
	try_other("plain", NULL, 0, "");
	space = ckv_detach(space);
	try_other("plain", &other, 0, "");
}
END_TEST

/* What is stored holds them when everybody has gone; the next who comes then names them. */
START_TEST(stored_blocks_hold_the_weights)
{
	struct ckv_model m = long_model(0x17), other = long_model(0x18);

	attach("plain", &m, CKV_WRITE);
	round_trip(100);
	space = ckv_detach(space);
	try_other("plain", &other, -EINVAL, "weights are 171717171717.. here");
	attach("plain", &m, CKV_WRITE);
	ck_assert_int_eq(ckv_drop(lane, key, 1, NULL), 1);
	space = ckv_detach(space);
	try_other("plain", &other, 0, "");
}
END_TEST

static void reattach(void)
{
	struct timespec pause = { .tv_nsec = 5000000 };
	struct ckv_handle handle;
	struct ckv_pin pin;

	test_daemon_kill(&daemon_);
	test_daemon_restart(&daemon_);
	for (int i = 0; i < 2000 && !lib_lane_alive(lane); i++) {
		if (ckv_lookup(lane, key, 1, 0, &handle, &pin) >= 0)
			ckv_unpin(lane, &pin);
		nanosleep(&pause, NULL);
	}
	ck_assert_msg(lib_lane_alive(lane), "%s", ckv_why(ckv));
}

/* Who named weights names them again to the next daemon; a writer without does so, too. */
START_TEST(a_reattached_one_wants_what_it_had)
{
	struct ckv_model m = long_model(_i == 0 ? 0x17 : 0);
	struct ckv_model other = long_model(0x18);

	attach("plain", _i == 0 ? &m : NULL, _i == 0 ? CKV_READ : CKV_WRITE);
	reattach();
	try_other("plain", &other, -EINVAL, "weights are ");
	try_other("plain", &m, 0, "");
}
END_TEST

/* A reader that named none goes on with whatever the next daemon has, but for the shape. */
START_TEST(a_reattached_reader_names_nothing)
{
	struct ckv_model m = long_model(0x17), other = long_model(0x18);
	struct ckv_space_info info;
	struct ckv_space *s;
	struct ckv *first;

	ck_assert_int_eq(ckv_open(daemon_.socket, "first", &first), 0);
	ck_assert_int_eq(ckv_attach(first, "plain", &m, CKV_WRITE, &s), 0);
	attach("plain", NULL, CKV_READ);
	ckv_space_get_info(space, &info);
	ck_assert_mem_eq(info.model.weights, m.weights, sizeof m.weights);
	ckv_close(first);
	reattach();
	try_other("plain", &other, 0, "");
	ck_assert_int_eq(ckv_open(daemon_.socket, "first", &first), 0);
	ck_assert_int_eq(ckv_attach(first, "plain", &other, CKV_WRITE, &s), 0);
	ckv_close(first);
}
END_TEST

CHECK_MAIN("lib_identity",
	CASE("all", .setup = setup, .teardown = teardown),
	TEST(long_names_are_never_cut),
	TEST(layouts_are_compared),
	TEST(opaque_pages_have_a_size_only),
	LOOP(other_layouts_are_not_compressed, 2),
	TEST(weights_are_compared),
	TEST(stored_blocks_hold_the_weights),
	LOOP(a_reattached_one_wants_what_it_had, 2),
	TEST(a_reattached_reader_names_nothing))

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_cli_views.c - `ckv views`: what it lists, and what it forgets.
 */
#include "client/ckv.h"
#include "tests/lib/check_main.h"
#include "tests/lib/command.h"
#include "tests/lib/daemon.h"

#include <stdlib.h>
#include <string.h>

static struct test_daemon daemon_;

static void setup(void)
{
	test_daemon_start(&daemon_, NULL, NULL);
	setenv("CKV_SOCKET", daemon_.socket, 1);
}

static void teardown(void)
{
	test_daemon_remove(&daemon_);
}

struct viewer {			/* a client that has made one view in "tiny" */
	struct ckv *ckv;
	struct ckv_space *space;
	struct ckv_lane *lane;
	struct ckv_view_info info;
};

static void make_view(struct viewer *v)
{
	static const char method[] = "chunkkv(keep=1/2, chunk=16, window=16)";
	uint8_t keys[4][CKV_KEY_SIZE] = { { 1 }, { 2 }, { 3 }, { 4 } };
	struct ckv_page pages[4], scratch;
	struct ckv_queries queries = { .pages = &scratch, .n_pages = 1,
				       .n_query_heads = 2, .n_window = 16,
				       .type = CKV_F32 };

	ck_assert_int_eq(ckv_open(NULL, NULL, &v->ckv), 0);
	ck_assert_int_eq(ckv_attach(v->ckv, "tiny", NULL, CKV_WRITE, &v->space), 0);
	ck_assert_int_eq(ckv_lane_open(v->space, NULL, &v->lane), 0);
	ck_assert_int_eq(ckv_reserve(v->lane, NULL, keys[0], 4, pages), 4);
	for (int i = 0; i < 4; i++)
		memset(pages[i].data, i, 16384);
	ck_assert_int_eq(ckv_publish(v->lane, pages, 4, 16, CKV_SUM, NULL, NULL, NULL),
			 4);
	ck_assert_int_eq(ckv_reserve_scratch(v->lane, 1, &scratch), 0);
	memset(scratch.data, 0, 16384);
	ck_assert_msg(ckv_compress(v->lane, keys[3], method, &queries,
				   &v->info) == 0, "%s", ckv_why(v->ckv));
}

static const char *text_of(const json_t *object, const char *key)
{
	return json_string_value(json_object_get(object, key));
}

/* A view is shown with its method, what it kept and what it takes. */
START_TEST(a_view_is_shown)
{
	static const char *const size[] = { "head_bytes", "position_bytes",
		"code_bytes", "scale_bytes", "padding_bytes" };
	json_t *all, *view;
	struct viewer v;
	long sum = 0;

	make_view(&v);
	all = ckv_json("views tiny");
	view = json_array_get(json_object_get(all, "views"), 0);
	ck_assert_int_eq(number(view, "tokens"), 64);
	ck_assert_int_eq(number(view, "bytes"), (long)v.info.bytes);
	ck_assert_int_eq(number(view, "plain_bytes"), 4 * 16384);
	ck_assert_int_eq(number(view, "pages"), v.info.n_pages);
	ck_assert_int_eq(number(view, "kept_max"), v.info.n_kept_max);
	ck_assert_int_eq(number(view, "kept_min"), 32);
	ck_assert_int_eq(number(view, "kept_total"), 2 * 2 * 32);
	ck_assert_int_eq(number(view, "window"), 16);
	ck_assert_str_eq(text_of(json_object_get(view, "encoding"), "text"),
			 "plain");
	ck_assert_str_eq(json_string_value(json_array_get(
		json_object_get(view, "inputs"), 0)), "queries");
	ck_assert_ptr_nonnull(strstr(text_of(view, "method"), "chunkkv("));
	for (size_t i = 0; i < sizeof size / sizeof size[0]; i++)
		sum += number(view, size[i]);
	ck_assert_int_eq(sum, (long)v.info.bytes);
	json_decref(all);
	ckv("views tiny");
	ck_assert_ptr_nonnull(strstr(said.out, "chunkkv("));
	ck_assert_ptr_nonnull(strstr(said.out, "50.0%"));
	ckv_close(v.ckv);
}
END_TEST

/* One view is forgotten by the beginning of its key, unless it is pinned. */
START_TEST(a_view_is_dropped)
{
	char command[64], digits[9];
	struct ckv_view open;
	struct viewer v;

	make_view(&v);
	snprintf(digits, sizeof digits, "%02x%02X%02x%02x", v.info.key[0],
		 v.info.key[1], v.info.key[2], v.info.key[3]);
	snprintf(command, sizeof command, "views tiny --drop %s", digits);
	ck_assert_int_eq(ckv_view_open(v.lane, v.info.key, &open), 0);
	ckv(command);
	ck_assert_int_eq(said.rc, 1);
	ck_assert_ptr_nonnull(strstr(said.err, "is in use: a client has it pinned"));
	ckv_unpin(v.lane, &open.pin);
	ckv(command);
	ck_assert_msg(said.rc == 0, "%s", said.err);
	ck_assert_ptr_nonnull(strstr(said.out, "is dropped"));
	ckv(command);
	ck_assert_int_eq(said.rc, 1);
	ck_assert_ptr_nonnull(strstr(said.err, "has no view whose key begins with"));
	ckv("views tiny");
	ck_assert_ptr_nonnull(strstr(said.out, "(no views)"));
	/* A block is no view, and a word no key. */
	ckv("views tiny --drop 01000000");
	ck_assert_int_eq(said.rc, 1);
	ckv("views tiny --drop chunkkv");
	ck_assert_int_eq(said.rc, 2);
	ck_assert_ptr_nonnull(strstr(said.err, "8 to 64 hexadecimal digits"));
	ckv("blocks tiny");
	ck_assert_ptr_nonnull(strstr(said.out, "4 blocks"));
	ckv_close(v.ckv);
}
END_TEST

CHECK_MAIN("cli_views",
	CASE("all", .setup = setup, .teardown = teardown),
	TEST(a_view_is_shown),
	TEST(a_view_is_dropped))

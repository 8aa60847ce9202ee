/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_shell_floor.c - what an accuracy floor lets through, and what is said of the
 * rest; and that the recorded table is one.
 */
#include "daemon/shell/floor.h"
#include "tests/lib/check_main.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct quality_row rows[] = {
	{ "snapkv + plain", 1, 2, 512, 1000 },
	{ "snapkv + plain", 1, 2, 1800, 900 },
	{ "snapkv + plain", 1, 4, 512, 700 },
	{ "snapkv + plain", 1, 4, 1800, 412 },
	{ "snapkv + plain", 1, 8, 512, 200 },
	{ "snapkv + kivi(bits=4, group=64)", 1, 8, 512, 650 },
	{ "kivi(bits=4, group=64)", 29, 100, 512, 980 },
	{ "kivi(bits=4, group=64)", 28, 100, 1800, 970 },
	{ "fp8(scale=head)", 51, 100, 1800, 1000 },
};
static const struct quality_table table = {
	rows, sizeof rows / sizeof rows[0],
};

static struct ckv_object object(uint32_t n_tokens)
{
	return (struct ckv_object){
		.n_layers = 2, .n_kv_heads = 2, .n_tokens = n_tokens,
		.dim_k = 64, .dim_v = 64, .elem = CKV_ELEM_BF16,
		.head_bytes = 512, .run_bytes = 64, .align = 64,
	};
}

static char why[CKV_METHOD_WHY_BYTES];

/* Judge a method in a chain of n_tokens. */
static int judge(const char *text, uint32_t floor, uint32_t n_tokens)
{
	struct ckv_object o = object(n_tokens);
	struct ckv_method m;

	ck_assert_msg(ckv_method_parse(text, &m, why) == 0, "%s", why);
	memset(why, 0, sizeof why);
	return floor_check(&table, floor, &m, &m, &o, why);
}

/* A row is reached by what is given its share, exactly, and by nothing below it. */
static const struct {
	const char *method;
	uint32_t floor;
	int result;
} border[] = {
	{ "snapkv(bytes=1/2)", 90, 0 },
	{ "snapkv(bytes=1/2)", 91, -EPERM },	/* the longer documents count */
	{ "snapkv(bytes=1)", 90, 0 },		/* more bytes than were measured */
	{ "snapkv(bytes=0.499999)", 90, -EPERM },
	{ "snapkv(bytes=0.499999)", 41, 0 },
	{ "snapkv(bytes=1/4)", 41, 0 },
	{ "snapkv(bytes=1/4)", 42, -EPERM },
	{ "snapkv(bytes=0.249999)", 41, -EPERM },
	{ "snapkv(bytes=0.249999)", 20, 0 },
	{ "snapkv(bytes=1/8)", 20, 0 },
	{ "snapkv(bytes=0.124999)", 1, -EPERM },	/* below what was measured */
	{ "snapkv(keep=1/4)", 41, 0 },
	{ "snapkv(keep=1/4)", 42, -EPERM },
	{ "snapkv(keep=1/3)", 41, 0 },
	{ "snapkv(tokens=250)", 41, 0 },	/* of 1000 */
	{ "snapkv(tokens=249)", 41, -EPERM },
	{ "snapkv(tokens=2000)", 90, 0 },	/* more than there are */
	{ "snapkv(keep=1/2) + kivi(bits=4, group=64)", 65, 0 },
	{ "snapkv(keep=0.44) + kivi(bits=4, group=64)", 65, -EPERM },	/* 12.4 % */
	{ "snapkv(keep=0.45) + kivi(bits=4, group=64)", 65, 0 },	/* 12.7 % */
	{ "snapkv(bytes=1/4) + always(sinks=4)", 41, 0 },
	{ "kivi(bits=4, group=64)", 97, 0 },
	{ "kivi(bits=4, group=64)", 98, -EPERM },
	{ "kivi(bits=4, group=64, full=32)", 97, 0 },
	{ "fp8", 100, 0 },
	{ "fp8(scale=one)", 1, -EPERM },
	{ "kivi(bits=2, group=64)", 1, -EPERM },
	{ "kivi(bits=4, group=128)", 1, -EPERM },
	{ "keydiff(bytes=1/2)", 1, -EPERM },
	{ "plain", 1, -EPERM },
	{ "keydiff(bytes=1/2)", 0, 0 },		/* no floor */
};

START_TEST(a_floor_is_reached_from_its_row_on)
{
	ck_assert_msg(judge(border[_i].method, border[_i].floor, 1000) ==
		      border[_i].result, "%s at %u: %s", border[_i].method,
		      border[_i].floor, why);
	ck_assert_int_eq(why[0] != 0, border[_i].result != 0);
}
END_TEST

/* A refusal names the row and its number, or what is not there, and what would pass. */
static const struct {
	const char *method, *text;
	uint32_t floor;
} said[] = {
	{ "snapkv(bytes=1/4)",
	  "floor 90 %: at 25 % of the bytes 41.2 % are right (row snapkv + plain, 1/4, "
	  "1800 tokens, asked later); snapkv + plain passes, 90 % at 50 %", 90 },
	{ "snapkv(bytes=0.3)",
	  "floor 95 %: at 30 % of the bytes 41.2 % are right (row snapkv + plain, 1/4, "
	  "1800 tokens, asked later); kivi(bits=4, group=64) passes, 97 % at 28 %",
	  95 },
	{ "snapkv(bytes=1/16)",
	  "floor 41 %: snapkv + plain is not recorded at 6.25 % of the bytes or less; "
	  "snapkv + plain passes, 41.2 % at 25 %", 41 },
	{ "pyramidkv(bytes=1/2) + fp8",
	  "floor 98 %: pyramidkv + fp8(scale=head) is not recorded; fp8(scale=head) "
	  "passes, 100 % at 51 %", 98 },
};

START_TEST(a_refusal_names_the_row)
{
	ck_assert_int_eq(judge(said[_i].method, said[_i].floor, 1000), -EPERM);
	ck_assert_str_eq(why, said[_i].text);
}
END_TEST

/* With nothing recorded, and with nothing good enough, that is said. */
START_TEST(what_nothing_reaches_is_said)
{
	const struct quality_table none = { rows, 0 };
	struct ckv_object o = object(1000);
	struct ckv_method m;

	ck_assert_int_eq(ckv_method_parse("snapkv(bytes=1/2)", &m, why), 0);
	ck_assert_int_eq(floor_check(&none, 1, &m, &m, &o, why), -EPERM);
	ck_assert_str_eq(why, "floor 1 %: snapkv + plain is not recorded; nothing "
			 "recorded passes");
}
END_TEST

/* The longest names fit into the answer whole. */
START_TEST(the_longest_refusal_ends_with_what_passes)
{
	const struct quality_row two[] = {
		{ "streamingllm + kivi(bits=4, group=4096)", 1, 16, 67108864, 412 },
		{ "streamingllm + kivi(bits=8, group=4096)", 15, 16, 512, 999 },
	};
	const struct quality_table t = { two, 2 };
	struct ckv_object o = object(1000);
	struct ckv_method m;

	ck_assert_int_eq(ckv_method_parse("streamingllm(bytes=0.0666) + kivi(bits=4, "
					  "group=4096)", &m, why), 0);
	ck_assert_int_eq(floor_check(&t, 99, &m, &m, &o, why), -EPERM);
	ck_assert_ptr_nonnull(strstr(why, "group=4096) passes, 99.9 % at 93.8 %"));
}
END_TEST

/* A method of a row's family, given the row's share. */
static void method_of(const struct quality_row *row, struct ckv_method *ret)
{
	const char *plus = strstr(row->family, " + ");
	char text[FLOOR_FAMILY_BYTES + 48];

	if (plus == NULL)
		snprintf(text, sizeof text, "%s", row->family);
	else
		snprintf(text, sizeof text, "%.*s(bytes=%u/%u)%s",
			 (int)(plus - row->family), row->family, row->share_num,
			 row->share_den, plus);
	ck_assert_msg(ckv_method_parse(text, ret, why) == 0, "%s: %s", text, why);
}

/* The recorded table: each row supports what its worst length got, and no percent more. */
START_TEST(the_recorded_rows_decide)
{
	const struct quality_table *t = &quality_table;
	struct ckv_object o = object(1000);
	struct ckv_method m;

	for (uint32_t i = 0; i < t->n_rows; i++) {
		const struct quality_row *row = &t->row[i];
		uint32_t worst = row->right;

		for (uint32_t j = 0; j < t->n_rows; j++)
			if (strcmp(t->row[j].family, row->family) == 0 &&
			    (strstr(row->family, " + ") == NULL ||
			     t->row[j].share_num * row->share_den ==
			     row->share_num * t->row[j].share_den) &&
			    t->row[j].right < worst)
				worst = t->row[j].right;
		method_of(row, &m);
		ck_assert_msg(floor_check(t, worst / 10, &m, &m, &o, why) == 0,
			      "%s: %s", m.text, why);
		if (worst / 10 == 100)
			continue;
		ck_assert_int_eq(floor_check(t, worst / 10 + 1, &m, &m, &o, why),
				 -EPERM);
		ck_assert_ptr_nonnull(strstr(why, row->family));
	}
}
END_TEST

/* The recorded table: families are named as requests are, each row once, in range. */
START_TEST(the_recorded_table_is_sound)
{
	const struct quality_table *t = &quality_table;

	for (uint32_t i = 0; i < t->n_rows; i++) {
		const struct quality_row *row = &t->row[i];
		char family[FLOOR_FAMILY_BYTES];
		struct ckv_method m;

		ck_assert(row->share_num > 0 && row->share_num <= row->share_den);
		ck_assert(row->n_tokens > 0 && row->right <= 1000);
		method_of(row, &m);
		floor_family(&m, family);
		ck_assert_str_eq(family, row->family);
		for (uint32_t j = 0; j < i; j++)
			ck_assert(strcmp(t->row[j].family, row->family) != 0 ||
				  t->row[j].share_num * row->share_den !=
				  row->share_num * t->row[j].share_den ||
				  t->row[j].n_tokens != row->n_tokens);
	}
}
END_TEST

CHECK_MAIN("shell_floor",
	CASE("floor"),
	EACH(a_floor_is_reached_from_its_row_on, border),
	EACH(a_refusal_names_the_row, said),
	TEST(what_nothing_reaches_is_said),
	TEST(the_longest_refusal_ends_with_what_passes),
	TEST(the_recorded_table_is_sound),
	TEST(the_recorded_rows_decide))

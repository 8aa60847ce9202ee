/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_engine_identity.c - which weights a model has: what is seen, and what is not.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/examples/engine/identity.h"
#include "tests/lib/check_main.h"

enum { PIECE = 4096, WHOLE = 64 * PIECE, LARGE = 3 * WHOLE + 5, SMALL = 1000 };

static char dir[FOLDER_BYTES], config[FOLDER_BYTES + 16];
static uint8_t file[2 * LARGE];
static size_t head_bytes;

static void write_config(const char *text)
{
	folder_write(dir, "config.json", text, strlen(text));
}

/* Two tensors of bytes: a small one, and one that is not hashed whole. */
static size_t write_tensors(void)
{
	int n = snprintf((char *)file + 8, 1000, "{\"a\":{\"dtype\":\"U8\",\"shape\":"
			 "[%d],\"data_offsets\":[0,%d]},\"b\":{\"dtype\":\"U8\","
			 "\"shape\":[%d],\"data_offsets\":[%d,%d]}}", SMALL, SMALL,
			 LARGE, SMALL, SMALL + LARGE);

	memset(file, 0, 8);
	file[0] = (uint8_t)n;
	head_bytes = 8 + (size_t)n;
	for (size_t i = 0; i < SMALL + LARGE; i++)
		file[head_bytes + i] = (uint8_t)(i * 7 + i / 251);
	return head_bytes + SMALL + LARGE;
}

static void setup(void)
{
	folder_make(dir);
	snprintf(config, sizeof(config), "%s/config.json", dir);
	write_config("{\"rope_theta\": 10000.0}\n");
	write_tensors();
}

static void identity(const char *arithmetic, uint8_t ret[IDENTITY_BYTES])
{
	struct st_file f;
	struct err e = { "" };
	char why[256];

	ck_assert_msg(st_parse(file, head_bytes + SMALL + LARGE, &f, why,
			       sizeof(why)) == 0, "%s", why);
	ck_assert_int_eq(identity_of(config, arithmetic, &f, 1, ret, &e), 0);
	st_file_close(&f);
}

static bool changed(const uint8_t before[IDENTITY_BYTES])
{
	uint8_t now[IDENTITY_BYTES];

	identity("float", now);
	return memcmp(now, before, IDENTITY_BYTES) != 0;
}

/* The same bytes are the same model, wherever they lie. */
START_TEST(equal_files_are_equal)
{
	uint8_t one[IDENTITY_BYTES];

	identity("float", one);
	ck_assert(!changed(one));
	ck_assert(!changed(one));
}
END_TEST

/* Every byte of a small tensor, and the first and the last one of a large. */
START_TEST(data_is_seen)
{
	static const size_t large[] = { 0, 1, PIECE - 1, LARGE / 2, LARGE - PIECE,
					LARGE - 1 };
	uint8_t one[IDENTITY_BYTES];

	identity("float", one);
	for (size_t i = 0; i < SMALL; i++) {
		file[head_bytes + i] ^= 1;
		ck_assert_msg(changed(one), "byte %zu", i);
		file[head_bytes + i] ^= 1;
	}
	for (size_t i = 0; i < sizeof(large) / sizeof(large[0]); i++) {
		/* From the middle on: no two pieces are farther apart. */
		for (size_t j = 0; j < (i == 3 ? LARGE / 63 : 1); j++)
			file[head_bytes + SMALL + large[i] + j] ^= 1;
		ck_assert_msg(changed(one), "place %zu", large[i]);
		for (size_t j = 0; j < (i == 3 ? LARGE / 63 : 1); j++)
			file[head_bytes + SMALL + large[i] + j] ^= 1;
	}
	ck_assert(!changed(one));
}
END_TEST

/* 64 pieces of 4 KiB: of the large tensor no more and no less is looked at. */
START_TEST(so_much_of_a_large_tensor_is_seen)
{
	uint8_t one[IDENTITY_BYTES];
	size_t n = 0;

	identity("float", one);
	for (size_t i = 17; i < LARGE; i += PIECE / 2) {
		file[head_bytes + SMALL + i] ^= 1;
		n += (size_t)changed(one);
		file[head_bytes + SMALL + i] ^= 1;
	}
	ck_assert_uint_eq(n, 2 * 64);
}
END_TEST

/* Names, types and places; the configuration; what else the arithmetic depends on. */
START_TEST(all_the_rest_is_seen)
{
	uint8_t one[IDENTITY_BYTES], other[IDENTITY_BYTES];
	uint8_t *name = memchr(file + 8, 'b', head_bytes);

	identity("float", one);
	*name = 'c';
	ck_assert(changed(one));
	*name = 'b';
	write_config("{\"rope_theta\": 10000.1}\n");
	ck_assert(changed(one));
	write_config("{\"rope_theta\": 10000.0}\n");
	ck_assert(!changed(one));
	identity("half", other);
	ck_assert_mem_ne(one, other, sizeof(one));
}
END_TEST

/* What ends one part does not begin the next: the parts are told apart. */
START_TEST(parts_do_not_run_together)
{
	uint8_t one[IDENTITY_BYTES], other[IDENTITY_BYTES];

	write_config("bc");
	identity("a", one);
	write_config("c");
	identity("ab", other);
	ck_assert_mem_ne(one, other, sizeof(one));
}
END_TEST

/* Without config.json there is no identity. */
START_TEST(an_absent_configuration_is_named)
{
	uint8_t one[IDENTITY_BYTES];
	struct st_file f = { NULL };
	struct err e = { "" };

	unlink(config);
	ck_assert_int_eq(identity_of(config, "float", &f, 0, one, &e), -ENOENT);
	ck_assert_ptr_nonnull(strstr(e.text, "config.json: "));
}
END_TEST

CHECK_MAIN("engine_identity",
	CASE("all", .setup = setup),
	TEST(equal_files_are_equal),
	TEST(data_is_seen),
	TEST(so_much_of_a_large_tensor_is_seen),
	TEST(all_the_rest_is_seen),
	TEST(parts_do_not_run_together),
	TEST(an_absent_configuration_is_named))

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_engine_st.c - safetensors: what is whole is read, what is damaged is
 * refused with a line that names the tensor, and nothing crashes.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/examples/engine/st.h"
#include "tests/lib/check_main.h"

static uint8_t file[4096];
static size_t file_bytes;
static char err[256];
static uint8_t *copy;		/* of the file, as long as it, no longer */

/* A file in exactly-sized memory, so that a sanitizer sees any step outside. */
static int parse(struct st_file *ret)
{
	free(copy);
	copy = malloc(file_bytes);
	ck_assert(copy != NULL || file_bytes == 0);
	if (file_bytes != 0)
		memcpy(copy, file, file_bytes);
	return st_parse(copy, file_bytes, ret, err, sizeof(err));
}

static void make(const char *header, size_t data_bytes)
{
	size_t n = strlen(header);

	memset(file, 0, sizeof(file));
	file[0] = (uint8_t)n;
	file[1] = (uint8_t)(n >> 8);
	memcpy(file + 8, header, n);
	for (size_t i = 0; i < data_bytes; i++)
		file[8 + n + i] = (uint8_t)i;
	file_bytes = 8 + n + data_bytes;
}

#define WHOLE								\
	"{\"__metadata__\":{\"rule\":\"any\"},"				\
	"\"b\":{\"dtype\":\"BF16\",\"shape\":[3],\"data_offsets\":[8,14]}," \
	"\"a\":{\"dtype\":\"F32\",\"shape\":[2,1],\"data_offsets\":[0,8]}}"

/* Tensors and metadata of a whole file are found by name. */
START_TEST(whole_file_is_read)
{
	struct st_file f;
	const struct st_tensor *t;

	make(WHOLE, 14);
	ck_assert_int_eq(parse(&f), 0);
	ck_assert_uint_eq(f.n_tensors, 2);
	t = st_file_find(&f, "a");
	ck_assert_ptr_nonnull(t);
	ck_assert_int_eq(t->dtype, ST_F32);
	ck_assert_uint_eq(t->n_dims, 2);
	ck_assert_uint_eq(t->dim[0], 2);
	ck_assert_uint_eq(t->n_elems, 2);
	ck_assert_uint_eq(t->bytes, 8);
	ck_assert_uint_eq(t->data[3], 3);
	ck_assert_uint_eq(st_file_find(&f, "b")->data[0], 8);
	ck_assert_ptr_null(st_file_find(&f, "c"));
	ck_assert_str_eq(st_file_meta(&f, "rule"), "any");
	ck_assert_ptr_null(st_file_meta(&f, "else"));
	st_file_close(&f);
}
END_TEST

/* Cut anywhere, the file is refused. */
START_TEST(every_truncation_is_refused)
{
	struct st_file f;
	size_t whole;

	make(WHOLE, 14);
	whole = file_bytes;
	for (file_bytes = 0; file_bytes < whole; file_bytes++) {
		ck_assert_int_eq(parse(&f), -EINVAL);
		ck_assert_uint_gt(strlen(err), 0);
	}
}
END_TEST

/* Any one byte of the header changed: read or refused, never a crash. */
START_TEST(every_changed_byte_is_survived)
{
	struct st_file f;
	size_t header = 8 + strlen(WHOLE);

	for (size_t i = 0; i < header; i++) {
		for (unsigned bit = 0; bit < 8; bit++) {
			make(WHOLE, 14);
			file[i] ^= (uint8_t)(1u << bit);
			if (parse(&f) == 0)
				st_file_close(&f);
		}
	}
}
END_TEST

static const struct {
	const char *header;
	size_t data_bytes;
	const char *says;
} damaged[] = {
	{ "[]", 0, "not a JSON object" },
	{ "{", 0, "not a JSON object" },
	{ "{\"t\":{\"dtype\":\"F31\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4,
	  "tensor t: dtype F31" },
	{ "{\"t\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4,
	  "tensor t: dtype (absent)" },
	{ "{\"t\":7}", 0, "tensor t: dtype (absent)" },
	{ "{\"t\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4,
	  "tensor t: shape" },
	{ "{\"t\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,1],"
	  "\"data_offsets\":[0,4]}}", 4, "tensor t: shape" },
	{ "{\"t\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}", 4,
	  "tensor t: dimension 0" },
	{ "{\"t\":{\"dtype\":\"F32\",\"shape\":[1.5],\"data_offsets\":[0,4]}}", 4,
	  "tensor t: dimension 0" },
	{ "{\"t\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904,16],"
	  "\"data_offsets\":[0,4]}}", 4, "tensor t: dimension 1" },
	{ "{\"t\":{\"dtype\":\"F64\",\"shape\":[4611686018427387904],"
	  "\"data_offsets\":[0,0]}}", 0, "tensor t: 0 bytes do not hold" },
	{ "{\"t\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4,
	  "tensor t: data_offsets" },
	{ "{\"t\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}}", 4,
	  "tensor t: data_offsets" },
	{ "{\"t\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[-4,0]}}", 4,
	  "tensor t: data_offsets" },
	{ "{\"t\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 4,
	  "tensor t: ends at byte 8" },
	{ "{\"t\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", 4,
	  "tensor t: 4 bytes do not hold" },
	{ "{\"t\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", 8,
	  "tensor t: leaves a hole" },
	{ "{\"s\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
	  "\"t\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", 8,
	  "tensor t: overlaps" },
	{ "{\"t\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 6,
	  "2 bytes of data belong to no tensor" },
	{ "{\"t\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]},"
	  "\"t\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}", 0,
	  "not a JSON object: duplicate" },
	{ "{\"__metadata__\":{\"rule\":7}}", 0, "__metadata__ rule" },
	{ "{\"__metadata__\":[]}", 0, "__metadata__ is not" },
};

/* Each kind of damage is refused by name, and the output is left alone. */
START_TEST(damage_is_named)
{
	struct st_file f, before;

	memset(&before, 0xa5, sizeof(before));
	f = before;
	make(damaged[_i].header, damaged[_i].data_bytes);
	ck_assert_int_eq(parse(&f), -EINVAL);
	ck_assert_mem_eq(&f, &before, sizeof(f));
	ck_assert_msg(strstr(err, damaged[_i].says) != NULL,
		      "\"%s\" does not say \"%s\"", err, damaged[_i].says);
}
END_TEST

/* A header that claims more than the file holds is refused. */
START_TEST(lying_header_length_is_refused)
{
	struct st_file f;

	make(WHOLE, 14);
	memset(file, 0xff, 8);
	ck_assert_int_eq(parse(&f), -EINVAL);
	ck_assert_ptr_nonnull(strstr(err, "the header claims"));
}
END_TEST

/* A tensor without elements takes no place. */
START_TEST(empty_tensors_are_read)
{
	struct st_file f;

	make("{\"t\":{\"dtype\":\"F32\",\"shape\":[0,4],\"data_offsets\":[0,0]},"
	     "\"u\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]}}", 4);
	ck_assert_int_eq(parse(&f), 0);
	ck_assert_uint_eq(st_file_find(&f, "t")->bytes, 0);
	ck_assert_uint_eq(st_file_find(&f, "u")->n_elems, 1);
	st_file_close(&f);
}
END_TEST

/* Opening says which file it was. */
START_TEST(open_names_the_file)
{
	struct st_file f;

	ck_assert_int_eq(st_file_open("/nonexistent/m", &f, err, sizeof(err)),
			 -ENOENT);
	ck_assert_ptr_nonnull(strstr(err, "/nonexistent/m: No such file"));
	ck_assert_int_eq(st_file_open("/dev/null", &f, err, sizeof(err)), -EINVAL);
	ck_assert_ptr_nonnull(strstr(err, "/dev/null: empty"));
	ck_assert_int_eq(st_file_open("/", &f, err, sizeof(err)), -EINVAL);
}
END_TEST

CHECK_MAIN("engine_st",
	CASE("st"),
	TEST(whole_file_is_read),
	TEST(every_truncation_is_refused),
	TEST(every_changed_byte_is_survived),
	EACH(damage_is_named, damaged),
	TEST(lying_header_length_is_refused),
	TEST(empty_tensors_are_read),
	TEST(open_names_the_file))

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * safetensors.c - read a safetensors file that nobody vouches for.
 *
 * Layout: u64 header length, JSON header, data. Every tensor is copied to
 * memory of its own, so an offset that is not aligned, which the format
 * allows, is no trouble and a sanitizer sees the end of each tensor.
 */
#include "tests/lib/safetensors.h"

#include <errno.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_FILE_BYTES	((size_t)1 << 32)
#define MAX_TENSORS	4096u

struct tensor {
	struct st_tensor t;
	size_t from, to;	/* in the data */
	void *copy;
};

struct st_file {
	json_t *header;
	struct tensor *tensor;
	size_t n_tensors;
};

struct why {
	char *text;
	size_t bytes;
};

static int __attribute__((format(printf, 2, 3)))
refuse(const struct why *why, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(why->text, why->bytes, format, args);
	va_end(args);
	return -EPROTO;
}

static int read_all(const char *path, char **ret_bytes, size_t *ret_n,
		    const struct why *why)
{
	FILE *f = fopen(path, "rb");
	char *bytes = NULL;
	long n = -1;

	if (f != NULL && fseek(f, 0, SEEK_END) == 0)
		n = ftell(f);
	if (n >= 0 && (size_t)n < MAX_FILE_BYTES && fseek(f, 0, SEEK_SET) == 0)
		bytes = malloc((size_t)n + 1);
	if (bytes != NULL && fread(bytes, 1, (size_t)n, f) == (size_t)n) {
		fclose(f);
		*ret_bytes = bytes;
		*ret_n = (size_t)n;
		return 0;
	}
	free(bytes);
	if (f != NULL)
		fclose(f);
	refuse(why, "cannot be read");
	return -EIO;
}

static size_t elem_of(const char *name, enum st_elem *ret_elem)
{
	static const struct {
		const char *name;
		enum st_elem elem;
		size_t bytes;
	} known[] = {
		{ "F32", ST_F32, 4 }, { "F16", ST_F16, 2 },
		{ "BF16", ST_BF16, 2 }, { "I32", ST_I32, 4 },
		{ "I64", ST_OTHER, 8 }, { "U64", ST_OTHER, 8 },
		{ "F64", ST_F64, 8 }, { "U32", ST_OTHER, 4 },
		{ "I16", ST_OTHER, 2 }, { "U16", ST_OTHER, 2 },
		{ "I8", ST_OTHER, 1 }, { "U8", ST_U8, 1 },
		{ "BOOL", ST_OTHER, 1 },
	};

	for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
		if (name != NULL && strcmp(name, known[i].name) == 0) {
			*ret_elem = known[i].elem;
			return known[i].bytes;
		}
	}
	return 0;
}

/* A JSON value that is a size; -EPROTO if it is not. */
static int size_from(const json_t *value, size_t *ret_size)
{
	if (!json_is_integer(value) || json_integer_value(value) < 0)
		return -EPROTO;
	*ret_size = (size_t)json_integer_value(value);
	return 0;
}

static int read_shape(const json_t *shape, size_t elem_bytes,
		      struct st_tensor *t, const struct why *why)
{
	if (!json_is_array(shape) || json_array_size(shape) > ST_MAX_DIMS)
		return refuse(why, "tensor %s: shape is not a short list",
			      t->name);
	t->n_dims = (uint32_t)json_array_size(shape);
	t->n = 1;
	for (uint32_t i = 0; i < t->n_dims; i++) {
		if (size_from(json_array_get(shape, i), &t->dim[i]) < 0)
			return refuse(why, "tensor %s: size %u is not a count",
				      t->name, i);
		if (__builtin_mul_overflow(t->n, t->dim[i], &t->n))
			return refuse(why, "tensor %s: shape overflows",
				      t->name);
	}
	if (__builtin_mul_overflow(t->n, elem_bytes, &t->bytes))
		return refuse(why, "tensor %s: shape overflows", t->name);
	return 0;
}

/* One entry of the header against data of n_data bytes. */
static int read_tensor(const char *name, const json_t *entry, size_t n_data,
		       struct tensor *ret, const struct why *why)
{
	const json_t *offsets = json_object_get(entry, "data_offsets");
	size_t elem_bytes;
	int r;

	ret->t.name = name;
	elem_bytes = elem_of(json_string_value(json_object_get(entry, "dtype")),
			     &ret->t.elem);
	if (elem_bytes == 0)
		return refuse(why, "tensor %s: unknown dtype", name);
	r = read_shape(json_object_get(entry, "shape"), elem_bytes, &ret->t,
		       why);
	if (r < 0)
		return r;
	if (json_array_size(offsets) != 2 ||
	    size_from(json_array_get(offsets, 0), &ret->from) < 0 ||
	    size_from(json_array_get(offsets, 1), &ret->to) < 0)
		return refuse(why, "tensor %s: data_offsets are not two counts",
			      name);
	if (ret->from > ret->to || ret->to > n_data)
		return refuse(why, "tensor %s: data_offsets %zu..%zu leave the "
			      "%zu bytes of data", name, ret->from, ret->to,
			      n_data);
	if (ret->to - ret->from != ret->t.bytes)
		return refuse(why, "tensor %s: data_offsets hold %zu bytes, the "
			      "shape needs %zu", name, ret->to - ret->from,
			      ret->t.bytes);
	return 0;
}

static int by_offset(const void *a, const void *b)
{
	const struct tensor *x = a, *y = b;

	if (x->from != y->from)
		return x->from < y->from ? -1 : 1;
	return x->to < y->to ? -1 : x->to > y->to;
}

static int read_tensors(struct st_file *file, const char *data, size_t n_data,
			const struct why *why)
{
	const char *name;
	json_t *entry;

	json_object_foreach(file->header, name, entry) {
		struct tensor *to = &file->tensor[file->n_tensors];
		int r;

		if (strcmp(name, "__metadata__") == 0)
			continue;
		r = read_tensor(name, entry, n_data, to, why);
		if (r < 0)
			return r;
		to->copy = malloc(to->t.bytes + 1);
		if (to->copy == NULL)
			return -ENOMEM;
		memcpy(to->copy, data + to->from, to->t.bytes);
		to->t.data = to->copy;
		file->n_tensors++;
	}
	qsort(file->tensor, file->n_tensors, sizeof *file->tensor, by_offset);
	for (size_t i = 1; i < file->n_tensors; i++)
		if (file->tensor[i].from < file->tensor[i - 1].to)
			return refuse(why, "tensors %s and %s overlap",
				      file->tensor[i - 1].t.name,
				      file->tensor[i].t.name);
	return 0;
}

static int check_metadata(const json_t *header, const struct why *why)
{
	json_t *meta = json_object_get(header, "__metadata__"), *value;
	const char *key;

	if (meta == NULL)
		return 0;
	if (!json_is_object(meta))
		return refuse(why, "__metadata__ is not an object");
	json_object_foreach(meta, key, value)
		if (!json_is_string(value))
			return refuse(why, "__metadata__ %s is not a string",
				      key);
	return 0;
}

static int parse(struct st_file *file, const char *bytes, size_t n,
		 const struct why *why)
{
	uint64_t n_header;
	json_error_t error;
	int r;

	if (n < sizeof n_header)
		return refuse(why, "shorter than its 8-byte length");
	memcpy(&n_header, bytes, sizeof n_header);
	if (n_header > n - sizeof n_header)
		return refuse(why, "header of %llu bytes in a file of %zu",
			      (unsigned long long)n_header, n);
	file->header = json_loadb(bytes + 8, (size_t)n_header,
				  JSON_REJECT_DUPLICATES, &error);
	if (!json_is_object(file->header))
		return refuse(why, "header is not a JSON object: %s",
			      file->header ? "another kind" : error.text);
	if (json_object_size(file->header) > MAX_TENSORS)
		return refuse(why, "more than %u tensors", MAX_TENSORS);
	r = check_metadata(file->header, why);
	if (r < 0)
		return r;
	file->tensor = calloc(json_object_size(file->header) + 1,
			      sizeof *file->tensor);
	if (file->tensor == NULL)
		return -ENOMEM;
	return read_tensors(file, bytes + 8 + n_header,
			    n - 8 - (size_t)n_header, why);
}

int st_open(const char *path, struct st_file **ret_file, char *why,
	    size_t why_bytes)
{
	const struct why to = { why, why_bytes };
	struct st_file *file;
	char *bytes;
	size_t n;
	int r;

	snprintf(why, why_bytes, "out of memory");
	r = read_all(path, &bytes, &n, &to);
	if (r < 0)
		return r;
	file = calloc(1, sizeof *file);
	r = file == NULL ? -ENOMEM : parse(file, bytes, n, &to);
	free(bytes);
	if (r < 0) {
		st_close(file);
		return r;
	}
	*ret_file = file;
	return 0;
}

void st_close(struct st_file *file)
{
	if (file == NULL)
		return;
	for (size_t i = 0; i < file->n_tensors; i++)
		free(file->tensor[i].copy);
	free(file->tensor);
	json_decref(file->header);
	free(file);
}

const struct st_tensor *st_find(const struct st_file *file, const char *name)
{
	for (size_t i = 0; i < file->n_tensors; i++)
		if (strcmp(file->tensor[i].t.name, name) == 0)
			return &file->tensor[i].t;
	return NULL;
}

const char *st_meta(const struct st_file *file, const char *key)
{
	return json_string_value(json_object_get(
		json_object_get(file->header, "__metadata__"), key));
}

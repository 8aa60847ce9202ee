/* SPDX-License-Identifier: Apache-2.0 */
/*
 * st.c - safetensors: the header is parsed by jansson, then every number in it
 * is checked against the bytes that are really there. Nothing is copied.
 *
 * Failure modes: any input is either accepted whole or refused with one line;
 * no input makes it read outside of `buf`.
 */
#include "client/examples/engine/st.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Longer headers are refused, as by the format's own library. */
#define HEADER_BYTES_MAX	100000000u

static const struct {
	const char *name;
	size_t bytes;
} dtypes[] = {
	[ST_BOOL] = { "BOOL", 1 },
	[ST_U8]   = { "U8", 1 },
	[ST_I8]   = { "I8", 1 },
	[ST_I16]  = { "I16", 2 },
	[ST_U16]  = { "U16", 2 },
	[ST_F16]  = { "F16", 2 },
	[ST_BF16] = { "BF16", 2 },
	[ST_I32]  = { "I32", 4 },
	[ST_U32]  = { "U32", 4 },
	[ST_F32]  = { "F32", 4 },
	[ST_I64]  = { "I64", 8 },
	[ST_U64]  = { "U64", 8 },
	[ST_F64]  = { "F64", 8 },
};

#define N_DTYPES	(sizeof(dtypes) / sizeof(dtypes[0]))

struct st_err {
	char *text;
	size_t bytes;
};

__attribute__((format(printf, 3, 4)))
static int refuse(struct st_err e, int code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(e.text, e.bytes, fmt, ap);
	va_end(ap);
	return code;
}

const char *st_dtype_name(enum st_dtype dtype)
{
	return dtypes[dtype].name;
}

static int read_dtype(const json_t *entry, struct st_tensor *t, struct st_err e)
{
	const char *name = json_string_value(json_object_get(entry, "dtype"));

	for (size_t i = 0; name != NULL && i < N_DTYPES; i++) {
		if (strcmp(dtypes[i].name, name) == 0) {
			t->dtype = (enum st_dtype)i;
			return 0;
		}
	}
	return refuse(e, -EINVAL, "tensor %s: dtype %s is not known", t->name,
		      name != NULL ? name : "(absent)");
}

static int read_shape(const json_t *entry, struct st_tensor *t, struct st_err e)
{
	const json_t *shape = json_object_get(entry, "shape");
	const json_t *dim;
	size_t i;

	if (!json_is_array(shape) || json_array_size(shape) > ST_DIMS_MAX)
		return refuse(e, -EINVAL, "tensor %s: shape is not a list of "
			      "at most %u numbers", t->name, ST_DIMS_MAX);
	t->n_elems = 1;
	t->n_dims = (uint32_t)json_array_size(shape);
	json_array_foreach(shape, i, dim) {
		json_int_t n = json_integer_value(dim);

		if (!json_is_integer(dim) || n < 0 ||
		    __builtin_mul_overflow(t->n_elems, (uint64_t)n,
					   &t->n_elems))
			return refuse(e, -EINVAL, "tensor %s: dimension %zu is "
				      "not a possible size", t->name, i);
		t->dim[i] = (uint64_t)n;
	}
	return 0;
}

/* Where the tensor lies: inside the data, and as long as its shape says. */
static int read_place(const json_t *entry, const uint8_t *data,
		      size_t data_bytes, struct st_tensor *t, struct st_err e)
{
	const json_t *pair = json_object_get(entry, "data_offsets");
	const json_t *from = json_array_get(pair, 0);
	const json_t *to = json_array_get(pair, 1);
	uint64_t begin, end, want;

	if (json_array_size(pair) != 2 || !json_is_integer(from) ||
	    !json_is_integer(to) || json_integer_value(from) < 0 ||
	    json_integer_value(to) < json_integer_value(from))
		return refuse(e, -EINVAL, "tensor %s: data_offsets is not a "
			      "range", t->name);
	begin = (uint64_t)json_integer_value(from);
	end = (uint64_t)json_integer_value(to);
	if (end > data_bytes)
		return refuse(e, -EINVAL, "tensor %s: ends at byte %llu of the "
			      "data, which has %zu: truncated?", t->name,
			      (unsigned long long)end, data_bytes);
	if (__builtin_mul_overflow(t->n_elems, dtypes[t->dtype].bytes, &want) ||
	    want != end - begin)
		return refuse(e, -EINVAL, "tensor %s: %llu bytes do not hold "
			      "its shape", t->name,
			      (unsigned long long)(end - begin));
	t->data = data + begin;
	t->bytes = (size_t)want;
	return 0;
}

static int by_place(const void *a, const void *b)
{
	const struct st_tensor *x = a, *y = b;

	if (x->data != y->data)
		return x->data < y->data ? -1 : 1;
	return (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

/* Every byte of the data belongs to exactly one tensor. */
static int check_cover(struct st_file *f, const uint8_t *data,
		       size_t data_bytes, struct st_err e)
{
	const uint8_t *at = data;

	if (f->n_tensors != 0)
		qsort(f->tensor, f->n_tensors, sizeof(*f->tensor), by_place);
	for (size_t i = 0; i < f->n_tensors; i++) {
		const struct st_tensor *t = &f->tensor[i];

		if (t->data != at)
			return refuse(e, -EINVAL, "tensor %s: %s the tensor "
				      "before it", t->name,
				      t->data < at ? "overlaps" :
				      "leaves a hole after");
		at += t->bytes;
	}
	if (at != data + data_bytes)
		return refuse(e, -EINVAL, "%zu bytes of data belong to no "
			      "tensor", (size_t)(data + data_bytes - at));
	return 0;
}

static int read_metadata(const json_t *meta, struct st_err e)
{
	const char *key;
	json_t *value;

	if (!json_is_object(meta))
		return refuse(e, -EINVAL, "__metadata__ is not an object");
	json_object_foreach((json_t *)meta, key, value)
		if (!json_is_string(value))
			return refuse(e, -EINVAL, "__metadata__ %s is not a "
				      "string", key);
	return 0;
}

static int read_entries(struct st_file *f, const uint8_t *data,
			size_t data_bytes, struct st_err e)
{
	const char *name;
	json_t *entry;
	int r = 0;

	json_object_foreach(f->header, name, entry) {
		struct st_tensor *t = &f->tensor[f->n_tensors];

		if (strcmp(name, "__metadata__") == 0) {
			r = read_metadata(entry, e);
		} else {
			t->name = name;
			r = read_dtype(entry, t, e);
			if (r == 0)
				r = read_shape(entry, t, e);
			if (r == 0)
				r = read_place(entry, data, data_bytes, t, e);
			f->n_tensors++;
		}
		if (r < 0)
			return r;
	}
	return check_cover(f, data, data_bytes, e);
}

static int read_header(const uint8_t *buf, size_t bytes, json_t **ret_header,
		       size_t *ret_data_at, struct st_err e)
{
	json_error_t why;
	uint64_t n = 0;

	if (bytes < 8)
		return refuse(e, -EINVAL, "%zu bytes are too few for a "
			      "safetensors file", bytes);
	for (unsigned i = 0; i < 8; i++)
		n |= (uint64_t)buf[i] << (8 * i);
	if (n > HEADER_BYTES_MAX || n > bytes - 8)
		return refuse(e, -EINVAL, "the header claims %llu bytes, the "
			      "file has %zu: not safetensors, or truncated",
			      (unsigned long long)n, bytes);
	*ret_header = json_loadb((const char *)buf + 8, (size_t)n,
				 JSON_REJECT_DUPLICATES, &why);
	if (!json_is_object(*ret_header)) {
		json_decref(*ret_header);
		return refuse(e, -EINVAL, "the header is not a JSON object: %s",
			      why.text);
	}
	*ret_data_at = 8 + (size_t)n;
	return 0;
}

int st_parse(const void *buf, size_t bytes, struct st_file *ret, char *err,
	     size_t err_bytes)
{
	struct st_err e = { err, err_bytes };
	struct st_file f = { 0 };
	size_t data_at = 0;
	int r;

	r = read_header(buf, bytes, &f.header, &data_at, e);
	if (r < 0)
		return r;
	f.tensor = calloc(json_object_size(f.header) + 1, sizeof(*f.tensor));
	if (f.tensor == NULL) {
		r = refuse(e, -ENOMEM, "out of memory");
		goto err_header;
	}
	f.head = buf;
	f.head_bytes = data_at;
	r = read_entries(&f, (const uint8_t *)buf + data_at, bytes - data_at, e);
	if (r < 0)
		goto err_tensors;
	*ret = f;
	return 0;

err_tensors:
	free(f.tensor);
err_header:
	json_decref(f.header);
	return r;
}

static int map_file(const char *path, void **ret_map, size_t *ret_bytes)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	void *map;
	int r = 0;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0)
		r = -errno;
	else if (!S_ISREG(st.st_mode) || st.st_size == 0)
		r = -EINVAL;
	if (r < 0)
		goto out_close;
	map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (map == MAP_FAILED) {
		r = -errno;
		goto out_close;
	}
	*ret_map = map;
	*ret_bytes = (size_t)st.st_size;
out_close:
	close(fd);
	return r;
}

int st_file_open(const char *path, struct st_file *ret, char *err, size_t err_bytes)
{
	struct st_err e = { err, err_bytes };
	char why[256];
	size_t bytes = 0;
	void *map = NULL;
	int r;

	r = map_file(path, &map, &bytes);
	if (r == -EINVAL)
		return refuse(e, r, "%s: empty, or not a file", path);
	if (r < 0)
		return refuse(e, r, "%s: %s", path, strerror(-r));
	r = st_parse(map, bytes, ret, why, sizeof(why));
	if (r < 0) {
		munmap(map, bytes);
		return refuse(e, r, "%s: %s", path, why);
	}
	ret->map = map;
	ret->map_bytes = bytes;
	return 0;
}

void st_file_close(struct st_file *f)
{
	free(f->tensor);
	json_decref(f->header);
	if (f->map != NULL)
		munmap(f->map, f->map_bytes);
	memset(f, 0, sizeof(*f));
}

const struct st_tensor *st_file_find(const struct st_file *f, const char *name)
{
	for (size_t i = 0; i < f->n_tensors; i++)
		if (strcmp(f->tensor[i].name, name) == 0)
			return &f->tensor[i];
	return NULL;
}

const char *st_file_meta(const struct st_file *f, const char *name)
{
	const json_t *meta = json_object_get(f->header, "__metadata__");

	return json_string_value(json_object_get(meta, name));
}

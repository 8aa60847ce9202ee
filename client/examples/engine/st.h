/* SPDX-License-Identifier: Apache-2.0 */
/*
 * st.h - reading safetensors files.
 *
 * A safetensors file is an 8-byte little-endian length, a JSON header of that
 * length, and raw little-endian tensor data. The header maps each tensor's name
 * to its dtype, shape and byte range within the data; "__metadata__" maps
 * strings to strings. A file is accepted only if every range lies in the data,
 * has the size that its shape and dtype ask for, and all ranges together cover
 * the data exactly once: so a damaged or truncated file is refused here, and
 * whoever reads a tensor later needs no check of his own.
 */
#ifndef ENGINE_ST_H
#define ENGINE_ST_H

#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#define ST_DIMS_MAX	8u

enum st_dtype {
	ST_BOOL, ST_U8, ST_I8, ST_I16, ST_U16, ST_F16, ST_BF16,
	ST_I32, ST_U32, ST_F32, ST_I64, ST_U64, ST_F64,
};

struct st_tensor {
	const char *name;		/* belongs to the file's header */
	enum st_dtype dtype;
	uint32_t n_dims;
	uint64_t dim[ST_DIMS_MAX];
	uint64_t n_elems;		/* product of the dimensions */
	const uint8_t *data;		/* n_elems values, at any alignment */
	size_t bytes;
};

struct st_file {
	json_t *header;
	const uint8_t *head;		/* the length and the JSON, as they are */
	size_t head_bytes;
	struct st_tensor *tensor;	/* sorted by their place in the data */
	size_t n_tensors;
	void *map;			/* st_file_open(): the mapping, else NULL */
	size_t map_bytes;
};

/*
 * Judge the `bytes` bytes at `buf` and list the tensors in them.
 *
 * On success the caller owns *ret and gives it to st_file_close(); its tensors point
 * into `buf`, which must outlive it. On failure *ret is untouched and `err`
 * (err_bytes > 0) holds one line that names the tensor and what is wrong.
 *
 *   -EINVAL  not a safetensors file, or a damaged one
 *   -ENOMEM  out of memory
 */
int st_parse(const void *buf, size_t bytes, struct st_file *ret, char *err,
	     size_t err_bytes);

/* Map `path` read-only and st_parse() it; also the errors of open and mmap. */
int st_file_open(const char *path, struct st_file *ret, char *err,
	    size_t err_bytes);

/* Release what st_parse() or st_file_open() gave. */
void st_file_close(struct st_file *f);

/* The tensor of that name, or NULL. */
const struct st_tensor *st_file_find(const struct st_file *f, const char *name);

/* The metadata string of that name, or NULL. */
const char *st_file_meta(const struct st_file *f, const char *name);

/* "F32" and so on. */
const char *st_dtype_name(enum st_dtype dtype);

#endif

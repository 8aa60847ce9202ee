/* SPDX-License-Identifier: Apache-2.0 */
/*
 * safetensors.h - read a safetensors file that nobody vouches for.
 *
 * The whole file is read and every tensor checked when it is opened: known
 * element type, sizes that multiply without overflow and agree with the
 * offsets, offsets inside the file, no two tensors overlapping. Afterwards
 * data pointers can be used as they are.
 */
#ifndef CKV_TESTS_SAFETENSORS_H
#define CKV_TESTS_SAFETENSORS_H

#include <stddef.h>
#include <stdint.h>

#define ST_MAX_DIMS	8u

struct st_file;			/* opaque */

enum st_elem { ST_F64, ST_F32, ST_F16, ST_BF16, ST_I32, ST_U8, ST_OTHER };

struct st_tensor {
	const char *name;
	enum st_elem elem;
	uint32_t n_dims;
	size_t dim[ST_MAX_DIMS];
	size_t n;		/* product of the dims */
	const void *data;	/* 8-byte aligned copy; valid until st_close() */
	size_t bytes;
};

/*
 * The caller gives *ret_file back to st_close(). On failure `why` says what
 * is wrong, in words; it holds why_bytes.
 *
 *   -EIO       cannot be read
 *   -EPROTO    is not what a safetensors file may be
 *   -ENOMEM
 */
int st_open(const char *path, struct st_file **ret_file, char *why,
	    size_t why_bytes);
void st_close(struct st_file *file);

/* NULL if there is none of that name. */
const struct st_tensor *st_find(const struct st_file *file, const char *name);

/* Value of a key of __metadata__; NULL if absent. */
const char *st_meta(const struct st_file *file, const char *key);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_safetensors.c - any bytes as a safetensors file. What is accepted keeps
 * the promises of st.h: every tensor lies in the file, is as long as its shape
 * says, and all together cover the data once.
 */
#include "client/examples/engine/st.h"
#include "tests/fuzz/fuzz.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

static uint64_t follow(const struct st_tensor *t, const uint8_t *data,
		       size_t size)
{
	uint64_t n_elems = 1, sum = 0;

	assert(t->data >= data && t->bytes <= size);
	assert((size_t)(t->data - data) <= size - t->bytes);
	assert(t->n_dims <= ST_DIMS_MAX && st_dtype_name(t->dtype) != NULL);
	for (uint32_t i = 0; i < t->n_dims; i++)
		n_elems *= t->dim[i];
	assert(n_elems == t->n_elems);
	assert(n_elems == 0 ? t->bytes == 0 : t->bytes % n_elems == 0 &&
	       t->bytes / n_elems >= 1 && t->bytes / n_elems <= 8);
	for (size_t i = 0; i < t->bytes; i++)
		sum += t->data[i];
	return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct st_file f, untouched;
	volatile uint64_t sum = 0;
	size_t covered = 0;
	uint64_t header_bytes;
	char err[160];
	int r;

	memset(&f, 0x5a, sizeof f);
	memset(&untouched, 0x5a, sizeof untouched);
	memset(err, 0, sizeof err);
	r = st_parse(data, size, &f, err, sizeof err);
	if (r < 0) {
		assert(r == -EINVAL && err[0] != 0);
		assert(memchr(err, 0, sizeof err) != NULL);
		assert(memcmp(&f, &untouched, sizeof f) == 0);
		return 0;
	}
	memcpy(&header_bytes, data, sizeof header_bytes);
	for (size_t i = 0; i < f.n_tensors; i++) {
		sum += follow(&f.tensor[i], data, size);
		assert(f.tensor[i].data == data + 8 + header_bytes + covered);
		covered += f.tensor[i].bytes;
		assert(st_file_find(&f, f.tensor[i].name) == &f.tensor[i]);
	}
	assert(covered == size - 8 - header_bytes);
	st_file_meta(&f, "format");
	st_file_close(&f);
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz.h - what every target is: a function that is handed bytes.
 *
 * It must return 0, whatever the bytes are, leave nothing behind, and do the
 * same for the same bytes. What must hold is asserted; a sanitizer sees the rest.
 * libFuzzer calls it with bytes it makes up, replay_main.c with those of a file.
 */
#ifndef CKV_FUZZ_H
#define CKV_FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The bytes of an input, taken from the front; past the end there are zeros. */
struct fuzz_input {
	const uint8_t *data;
	size_t size;
};

static inline uint8_t fuzz_u8(struct fuzz_input *in)
{
	if (in->size == 0)
		return 0;
	in->size--;
	return *in->data++;
}

static inline uint16_t fuzz_u16(struct fuzz_input *in)
{
	uint16_t low = fuzz_u8(in);

	return (uint16_t)(low | fuzz_u8(in) << 8);
}

static inline uint32_t fuzz_u32(struct fuzz_input *in)
{
	uint32_t low = fuzz_u16(in);

	return low | (uint32_t)fuzz_u16(in) << 16;
}

/* Copy up to `bytes` of the input to `to`; how many there were. */
static inline size_t fuzz_take(struct fuzz_input *in, void *to, size_t bytes)
{
	size_t n = bytes < in->size ? bytes : in->size;

	for (size_t i = 0; i < n; i++)
		((uint8_t *)to)[i] = in->data[i];
	in->data += n;
	in->size -= n;
	return n;
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * method_value.h - inside the text of methods: what may stand after a `=`.
 */
#ifndef CKV_KERNELS_METHOD_VALUE_H
#define CKV_KERNELS_METHOD_VALUE_H

#include "kernels/ckv_method.h"

struct method_word {
	const char *word;	/* ends with NULL */
	uint32_t is;
};

struct method_out {		/* text so far; what does not fit is counted only */
	char *text;
	size_t n, room;
};

void method_put(struct method_out *out, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* Reading takes all of `text`, or returns -EINVAL and leaves the method as it was. */
struct ckv_method_value {
	int (*read)(const struct ckv_method_value *v, const char *text,
		    struct ckv_method *m);
	void (*write)(const struct ckv_method_value *v,
		      const struct ckv_method *m, struct method_out *out);
	/* Does it change what this method does? NULL: always. */
	int (*counts)(const struct ckv_method *m);
	const char *with;	/* what it needs to count; NULL: idle, it is dropped */
	size_t at;		/* of its field in struct ckv_method */
	uint32_t min, max;
	const struct method_word *word;
};

int value_read_number(const struct ckv_method_value *v, const char *text,
		      struct ckv_method *m);
int value_read_odd(const struct ckv_method_value *v, const char *text,
		   struct ckv_method *m);
void value_write_number(const struct ckv_method_value *v,
			const struct ckv_method *m, struct method_out *out);

/* One of `word`. */
int value_read_word(const struct ckv_method_value *v, const char *text,
		    struct ckv_method *m);
void value_write_word(const struct ckv_method_value *v,
		      const struct ckv_method *m, struct method_out *out);

/* 1/4 or 0.25: two numbers from `at`, reduced. Above 0, at most 1. */
int value_read_share(const struct ckv_method_value *v, const char *text,
		     struct ckv_method *m);
void value_write_share(const struct ckv_method_value *v,
		       const struct ckv_method *m, struct method_out *out);

/* A number of 64 bits, at most 18 digits. */
int value_read_seed(const struct ckv_method_value *v, const char *text,
		    struct ckv_method *m);
void value_write_seed(const struct ckv_method_value *v,
		      const struct ckv_method *m, struct method_out *out);

/* Layers 0 to 63 as 0/1 or 0-1: a bit each. `none`. */
int value_read_layers(const struct ckv_method_value *v, const char *text,
		      struct ckv_method *m);
void value_write_layers(const struct ckv_method_value *v,
			const struct ckv_method *m, struct method_out *out);

/* Token ranges 0-15/64-79, inclusive: into select.always, sorted and joined. `none`. */
int value_read_ranges(const struct ckv_method_value *v, const char *text,
		      struct ckv_method *m);
void value_write_ranges(const struct ckv_method_value *v,
			const struct ckv_method *m, struct method_out *out);

/* 2, 4, 8 or auto. */
int value_read_bits(const struct ckv_method_value *v, const char *text,
		    struct ckv_method *m);
void value_write_bits(const struct ckv_method_value *v,
		      const struct ckv_method *m, struct method_out *out);

#endif

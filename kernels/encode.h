/* SPDX-License-Identifier: Apache-2.0 */
/*
 * encode.h - inside the encodings: what the parts share.
 *
 * Each encoding is a few steps over runs of numbers. Their definition is one
 * number after another, in fp8.c, kivi.c and convert.c; the same steps in vectors
 * give the same bits. encode_rows.c and decode_rows.c go through the rows.
 *
 * A step does not stop at a number that cannot be encoded: its return value says that
 * there was one, and encode_rows.c then looks for the place.
 */
#ifndef CKV_KERNELS_ENCODE_H
#define CKV_KERNELS_ENCODE_H

#include "kernels/ckv_kernels.h"

/* kivi of one side: what every group of it has in common. */
struct kivi_form {
	enum ckv_elem elem;
	uint32_t bits, group, dim;
};

/* Words of codes in a row of values. */
static inline size_t kivi_row_words(const struct kivi_form *f)
{
	uint32_t per_word = 32u / f->bits;

	return (f->dim + per_word - 1u) / per_word;
}

/* Channels of the group that begins at channel d of a row of values. */
static inline uint32_t kivi_group_at(const struct kivi_form *f, uint32_t d)
{
	return f->dim - d < f->group ? f->dim - d : f->group;
}

/* One instruction set's code. */
struct encode_code {
	/* The largest magnitude among n numbers, as bits of a float. */
	uint32_t (*amax)(enum ckv_elem elem, const void *x, size_t n);

	/* n numbers in another type. Returns amax() of what went in and came out. */
	uint32_t (*convert)(enum ckv_elem from, const void *x, size_t n,
			    enum ckv_elem to, void *out);

	/* n numbers under one scale, which is above 0. Returns their amax(). */
	uint32_t (*fp8_encode)(enum ckv_elem elem, const void *x, size_t n,
			       float scale, uint8_t *code);
	void (*fp8_decode)(const uint8_t *code, size_t n, float scale,
			   enum ckv_elem out_elem, void *out);

	/*
	 * n rows: of one group of keys, or any rows of values. The pointers are to the
	 * first word, scale and min of these rows. Returns 0, or -1: a number is
	 * not finite, or a group does not fit the type.
	 */
	int (*kivi_encode_keys)(const struct kivi_form *f, const void *rows,
				size_t n, uint32_t *code, void *scale, void *min);
	int (*kivi_encode_values)(const struct kivi_form *f, const void *rows,
				  size_t n, uint32_t *code, void *scale, void *min);

	/* Rows [first, first + n) of one group of keys; n rows of values. */
	void (*kivi_decode_keys)(const struct kivi_form *f, const uint32_t *code,
				 const void *scale, const void *min, size_t first,
				 size_t n, enum ckv_elem out_elem, void *out);
	void (*kivi_decode_values)(const struct kivi_form *f,
				   const uint32_t *code, const void *scale,
				   const void *min, size_t n,
				   enum ckv_elem out_elem, void *out);
};

/* The definition: one number after another. */
const struct encode_code *encode_code_plain(void);

/* In vectors; NULL where the compiler or the processor cannot. base is always there. */
const struct encode_code *encode_code_base(void);
const struct encode_code *encode_code_avx2(void);

/* One call of ckv_encode_rows() or ckv_decode_rows(), but for its rows. */
struct encode_area {
	const struct ckv_encode *e;
	enum ckv_elem elem;
	enum ckv_side side;
	size_t first, n, n_all;
	uint32_t dim;
	void *code, *scale;	/* of all rows; not written by a decode */
};

/* 0, or -EINVAL: impossible sizes, an area that is missing or not aligned. */
int encode_area_check(const struct encode_area *a);

/* Rows that share a scale, and are encoded at once; 0: any number of them. */
size_t encode_rows_together(const struct ckv_encode *e, enum ckv_side side);

/* The type that rows are stored in when nothing is quantised. */
enum ckv_elem encode_stored(const struct ckv_encode *e, enum ckv_elem elem);

/* Where a row's codes, scales and mins begin. Keys: the first row of a group. */
struct kivi_place {
	uint32_t *code;
	void *scale, *min;
};
struct kivi_place encode_kivi_place(const struct encode_area *a, size_t row);

/* The public calls with chosen code. */
int encode_amax(const struct encode_code *code, enum ckv_elem elem,
		const void *rows, size_t n, uint32_t dim, float *ret_amax,
		struct ckv_fault *ret_fault);
int encode_rows(const struct encode_code *code, const struct encode_area *a,
		const void *rows, float amax, struct ckv_fault *ret_fault);
int decode_rows(const struct encode_code *code, const struct encode_area *a,
		enum ckv_elem out_elem, void *out);

/* ---- the definitions, one file each ---- */

uint32_t plain_amax(enum ckv_elem elem, const void *x, size_t n);
uint32_t plain_convert(enum ckv_elem from, const void *x, size_t n,
		       enum ckv_elem to, void *out);
uint32_t plain_fp8_encode(enum ckv_elem elem, const void *x, size_t n,
			  float scale, uint8_t *code);
void plain_fp8_decode(const uint8_t *code, size_t n, float scale,
		      enum ckv_elem out_elem, void *out);

struct kivi_run {		/* one group of n numbers, `stride` apart */
	const struct kivi_form *form;
	const void *x;
	size_t stride, n;
};

struct kivi_code {		/* numbers [first, first + n) of one group */
	const struct kivi_form *form;
	const uint32_t *word;	/* of the group, `stride` apart */
	const void *scale, *min;
	size_t stride, first, n;
};

/* Can the group be encoded? */
int plain_kivi_fits(const struct kivi_run *g);

/* Words go `stride` apart, numbers `stride` apart. -1: it cannot be encoded. */
int plain_kivi_encode(const struct kivi_run *g, uint32_t *code, void *scale,
		      void *min);
void plain_kivi_decode(const struct kivi_code *c, enum ckv_elem out_elem,
		       void *out);

int plain_kivi_encode_keys(const struct kivi_form *f, const void *rows,
			   size_t n, uint32_t *code, void *scale, void *min);
int plain_kivi_encode_values(const struct kivi_form *f, const void *rows,
			     size_t n, uint32_t *code, void *scale, void *min);
void plain_kivi_decode_keys(const struct kivi_form *f, const uint32_t *code,
			    const void *scale, const void *min, size_t first,
			    size_t n, enum ckv_elem out_elem, void *out);
void plain_kivi_decode_values(const struct kivi_form *f, const uint32_t *code,
			      const void *scale, const void *min, size_t n,
			      enum ckv_elem out_elem, void *out);

#endif

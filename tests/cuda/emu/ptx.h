/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ptx.h - what the C that ptx2c.py writes is made of: PTX's words for this processor.
 *
 * A register is an unsigned integer of its size. Memory is the process' own, but for
 * shared memory, whose addresses begin at 0 of the block's area.
 */
#ifndef CKV_EMU_PTX_H
#define CKV_EMU_PTX_H

#include "tests/simt/simt.h"

#include <math.h>
#include <string.h>

/* A kernel, as the driver launches it. */
struct ptx_param {
	uint32_t offset, bytes;
};

struct ptx_kernel {
	const char *name;
	void (*run)(unsigned char *params);	/* one thread, as a fiber */
	const struct ptx_param *param;
	uint32_t n_params;
	uint32_t shared_bytes;			/* besides what a launch asks for */
	uint32_t max_threads;			/* of a block; 0: no limit of its own */
};

/* Puts a kernel into the table that the driver searches. */
#define PTX_KERNEL(kernel) \
	static const struct ptx_kernel *const at_##kernel \
		__attribute__((used, section("ptx_kernels"))) = &kernel

/* The table of one library of kernels; linked into each. */
const struct ptx_kernel *const *ptx_kernels(size_t *ret_n);

/* Find a kernel; NULL if this table has none of that name. */
const struct ptx_kernel *ptx_find(const char *name);

/* Would a GPU take the launch? shared_bytes come on top of the kernel's own. */
int ptx_fits(const struct ptx_kernel *kernel, struct simt_dim grid, struct simt_dim block,
	     size_t shared_bytes);

/* A copy of its parameters, *arg[i] in their places, freed by free(); NULL without any. */
unsigned char *ptx_params(const struct ptx_kernel *kernel, void *const *arg);

/* Run one that fits. 0 or -EINVAL. One at a time. */
int ptx_run(const struct ptx_kernel *kernel, struct simt_dim grid, struct simt_dim block,
	    size_t shared_bytes, unsigned char *params);

#define PTX_SITE(name, line)	((struct simt_site){ name, PTX_FILE, line })

/* ---- bits and numbers ---- */

static inline float ptx_float(uint32_t bits)
{
	float x;

	memcpy(&x, &bits, sizeof x);
	return x;
}

static inline uint32_t ptx_float_bits(float x)
{
	uint32_t bits;

	memcpy(&bits, &x, sizeof bits);
	return bits;
}

static inline double ptx_double(uint64_t bits)
{
	double x;

	memcpy(&x, &bits, sizeof x);
	return x;
}

static inline uint64_t ptx_double_bits(double x)
{
	uint64_t bits;

	memcpy(&bits, &x, sizeof bits);
	return bits;
}

static inline uint64_t ptx_both(uint32_t low, uint32_t high)
{
	return (uint64_t)high << 32 | low;
}

static inline uint32_t ptx_pair(uint16_t high, uint16_t low)
{
	return (uint32_t)high << 16 | low;
}

static inline uint32_t ptx_reversed(uint32_t x)
{
	uint32_t r = 0;

	for (uint32_t i = 0; i < 32; i++)
		r |= (x >> i & 1) << (31 - i);
	return r;
}

static inline uint64_t ptx_ones(uint32_t n)
{
	return n >= 64 ? ~(uint64_t)0 : ((uint64_t)1 << n) - 1;
}

/* Of place and length the low eight bits count. */
static inline uint32_t ptx_extracted(uint32_t x, uint32_t at, uint32_t n)
{
	at &= 255;
	return at >= 32 ? 0 : (uint32_t)(x >> at & ptx_ones(n & 255));
}

static inline uint64_t ptx_inserted(uint64_t x, uint64_t into, uint32_t at, uint32_t n,
				    uint32_t n_bits)
{
	uint64_t mask;

	at &= 255;
	if (at >= n_bits)
		return into;
	mask = ptx_ones(n & 255) << at;
	return (into & ~mask) | (x << at & mask);
}

/* Byte i of the result is the one that the i-th digit of `which` names. */
static inline uint32_t ptx_permuted(uint64_t bytes, uint32_t which)
{
	uint32_t r = 0;

	for (uint32_t i = 0; i < 4; i++) {
		uint32_t digit = which >> 4 * i & 15;
		uint32_t byte = (uint32_t)(bytes >> 8 * (digit & 7)) & 255;

		if (digit & 8)
			byte = byte & 128 ? 255 : 0;
		r |= byte << 8 * i;
	}
	return r;
}

static inline uint32_t ptx_lop3(uint32_t a, uint32_t b, uint32_t c, uint32_t table)
{
	uint32_t r = 0;

	for (uint32_t i = 0; i < 8; i++)
		if (table >> i & 1)
			r |= (i & 4 ? a : ~a) & (i & 2 ? b : ~b) & (i & 1 ? c : ~c);
	return r;
}

#define PTX_HALVES(name, type, sign)						\
	static inline uint32_t name(uint32_t a, uint32_t b)			\
	{									\
		type a0 = (type)a, a1 = (type)(a >> 16);			\
		type b0 = (type)b, b1 = (type)(b >> 16);			\
										\
		return ptx_pair((uint16_t)(a1 sign b1 ? a1 : b1),		\
				(uint16_t)(a0 sign b0 ? a0 : b0));		\
	}
PTX_HALVES(ptx_min_s16x2, int16_t, <)
PTX_HALVES(ptx_max_s16x2, int16_t, >)
PTX_HALVES(ptx_min_u16x2, uint16_t, <)
PTX_HALVES(ptx_max_u16x2, uint16_t, >)

/* Of a number and a NaN the number; -0 is less than +0. */
static inline float ptx_min(float a, float b)
{
	if (isnan(a) || isnan(b))
		return isnan(a) ? b : a;
	return a < b || (a == b && signbit(a)) ? a : b;
}

static inline float ptx_max(float a, float b)
{
	if (isnan(a) || isnan(b))
		return isnan(a) ? b : a;
	return a > b || (a == b && !signbit(a)) ? a : b;
}

static inline float ptx_flushed(float x)
{
	return fabsf(x) < 0x1p-126f ? copysignf(0.0f, x) : x;
}

static inline float ptx_from_f16(uint16_t bits)
{
	_Float16 x;

	memcpy(&x, &bits, sizeof x);
	return (float)x;
}

static inline uint16_t ptx_to_f16(float x)
{
	_Float16 half = (_Float16)x;
	uint16_t bits;

	memcpy(&bits, &half, sizeof bits);
	return isnan(x) ? 0x7fff : bits;
}

static inline uint16_t ptx_to_bf16(float x)
{
	uint32_t bits = ptx_float_bits(x);

	return isnan(x) ? 0x7fff : (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

uint32_t ptx_min_f16x2(uint32_t a, uint32_t b);
uint32_t ptx_min_bf16x2(uint32_t a, uint32_t b);
uint32_t ptx_fma_f16x2(uint32_t a, uint32_t b, uint32_t c);
uint32_t ptx_fma_bf16x2(uint32_t a, uint32_t b, uint32_t c);

/* Four bits of exponent, three of mantissa; 0x7f and 0xff are NaN. */
float ptx_e4m3_value(uint8_t code);
uint8_t ptx_to_e4m3(float x);	/* the nearest; too large ones become +-448 */

static inline uint16_t ptx_from_e4m3(uint8_t code)
{
	return ptx_to_f16(ptx_e4m3_value(code));
}

/* ---- memory ---- */

/*
 * End the process if a GPU would refuse an access, or if it leaves what it belongs to:
 * the latter under ASan, which knows the heap's blocks and the launch's shared memory.
 * They are functions, so that one translation does for both.
 */
void ptx_load(uint64_t at, uint32_t bytes, const char *file, int line);
void ptx_store(uint64_t at, uint32_t bytes, const char *file, int line);

#define PTX_AT(type, at)	(*(type *)(uintptr_t)(at))

/* What lies at `at`, which `change`, of `old` and `v`, replaces at once. */
#define PTX_ATOM(type, at, value, change) __extension__ ({			\
		type *p_ = (type *)(uintptr_t)(at), v = (value), old = *p_;	\
										\
		while (!__atomic_compare_exchange_n(p_, &old, (type)(change),	\
				0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))		\
			;							\
		old; })

/* ---- of a warp ---- */

enum ptx_shuffle { PTX_UP, PTX_DOWN, PTX_BFLY, PTX_IDX };

/* The lane that this one reads; *ret_inside: is it of the same piece? */
uint32_t ptx_shuffle_from(enum ptx_shuffle how, uint32_t b, uint32_t c,
			  uint8_t *ret_inside);

enum ptx_half { PTX_F16, PTX_BF16 };

/* d = a b + d of a warp: mma.sync.aligned.m16n8k16.row.col, added up in float. */
void ptx_mma_m16n8k16(float d[4], const uint32_t a[4], const uint32_t b[2],
		      enum ptx_half half, struct simt_site site);

#endif

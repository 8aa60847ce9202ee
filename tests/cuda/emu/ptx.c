/* SPDX-License-Identifier: Apache-2.0 */
/* ptx.c - see ptx.h. */
#include "ptx.h"

#include <sanitizer/asan_interface.h>
#include <stdlib.h>

struct call {
	const struct ptx_kernel *kernel;
	unsigned char *params;
};

static void run_thread(void *arg)
{
	const struct call *c = arg;

	c->kernel->run(c->params);
}

int ptx_fits(const struct ptx_kernel *kernel, struct simt_dim grid, struct simt_dim block,
	     size_t shared_bytes)
{
	uint64_t n = (uint64_t)block.x * block.y * block.z;
	uint32_t most = kernel->max_threads != 0 ? kernel->max_threads : SIMT_MAX_THREADS;

	return n > 0 && n <= most && block.z <= 64 && grid.x > 0 && grid.x <= INT32_MAX &&
	       grid.y > 0 && grid.y <= UINT16_MAX && grid.z > 0 && grid.z <= UINT16_MAX &&
	       kernel->shared_bytes + shared_bytes <= SIMT_MAX_SHARED;
}

unsigned char *ptx_params(const struct ptx_kernel *kernel, void *const *arg)
{
	const struct ptx_param *last;
	unsigned char *params;

	if (kernel->n_params == 0)
		return NULL;
	last = &kernel->param[kernel->n_params - 1];
	params = aligned_alloc(64, ((size_t)last->offset + last->bytes + 63) & ~(size_t)63);
	if (params == NULL)
		abort();
	for (uint32_t i = 0; i < kernel->n_params; i++)
		memcpy(params + kernel->param[i].offset, arg[i], kernel->param[i].bytes);
	return params;
}

int ptx_run(const struct ptx_kernel *kernel, struct simt_dim grid, struct simt_dim block,
	    size_t shared_bytes, unsigned char *params)
{
	struct call call = { kernel, params };
	struct simt_launch launch = { kernel->name, grid, block,
				      kernel->shared_bytes + shared_bytes, run_thread, &call };

	return simt_run(&launch);
}

static void check(uint64_t at, uint32_t bytes, struct simt_site site)
{
	if (at % bytes != 0)
		simt_die(site, "%u bytes at %#llx, which is not aligned", bytes,
			 (unsigned long long)at);
#ifdef __SANITIZE_ADDRESS__
	void *wrong = __asan_region_is_poisoned((void *)(uintptr_t)at, bytes);

	if (wrong != NULL) {
		__asan_describe_address(wrong);
		simt_die(site, "%u bytes at %#llx, which is nobody's", bytes,
			 (unsigned long long)at);
	}
#endif
}

void ptx_load(uint64_t at, uint32_t bytes, const char *file, int line)
{
	check(at, bytes, (struct simt_site){ "load", file, line });
}

void ptx_store(uint64_t at, uint32_t bytes, const char *file, int line)
{
	check(at, bytes, (struct simt_site){ "store", file, line });
}

static float e4m3_value(uint8_t code)
{
	int exponent = code >> 3 & 15, mantissa = code & 7;
	float x = exponent == 0 ? ldexpf((float)mantissa, -9)
				: ldexpf((float)(8 + mantissa), exponent - 10);

	if ((code & 0x7f) == 0x7f)
		return NAN;
	return code & 0x80 ? -x : x;
}

/* Of each code, so that looking for the nearest is a matter of looking. */
static float e4m3_values[256];

__attribute__((constructor)) static void list_e4m3_values(void)
{
	for (unsigned code = 0; code < 256; code++)
		e4m3_values[code] = e4m3_value((uint8_t)code);
}

float ptx_e4m3_value(uint8_t code)
{
	return e4m3_values[code];
}

/* Looks at all values, so that it owes nothing to the kernels' own way. */
uint8_t ptx_to_e4m3(float x)
{
	uint8_t sign = signbit(x) ? 0x80 : 0, best = 0;
	float least = INFINITY;

	if (isnan(x))
		return 0x7f;
	if (fabsf(x) >= 448.0f)
		return sign | 0x7e;
	for (uint8_t code = 0; code < 0x7f; code++) {
		float away = fabsf(e4m3_values[code] - fabsf(x));

		if (away < least || (away == least && code % 2 == 0)) {
			best = code;
			least = away;
		}
	}
	return sign | best;
}

/* ---- pairs of halves ---- */

static float from_bf16(uint16_t bits)
{
	return ptx_float((uint32_t)bits << 16);
}

static float min_or_nan(float a, float b)
{
	return isnan(a) || isnan(b) ? NAN : ptx_min(a, b);
}

/*
 * The sum, or if it is no double that of the two around it whose last bit is 1: rounded
 * again, to far fewer bits, it is as if it had been rounded once.
 */
static double sum_to_odd(double a, double b)
{
	double s = a + b, b_in_s = s - a, lost = (a - (s - b_in_s)) + (b - b_in_s);
	uint64_t bits = ptx_double_bits(s);

	if (!isfinite(s) || lost == 0.0 || bits & 1)
		return s;
	return ptx_double((lost > 0.0) == (s > 0.0) ? bits + 1 : bits - 1);
}

static uint16_t fma_f16(uint16_t a, uint16_t b, uint16_t c)
{
	double x = sum_to_odd((double)ptx_from_f16(a) * ptx_from_f16(b), ptx_from_f16(c));
	_Float16 half = (_Float16)x;
	uint16_t bits;

	memcpy(&bits, &half, sizeof bits);
	return isnan(x) ? 0x7fff : bits;
}

static uint16_t fma_bf16(uint16_t a, uint16_t b, uint16_t c)
{
	double x = sum_to_odd((double)from_bf16(a) * from_bf16(b), from_bf16(c));
	float near = (float)x;
	uint32_t bits = ptx_float_bits(near);

	/* To odd once more, on the way by a float. */
	if (!isnan(x) && (double)near != x && !(bits & 1) && isfinite(x))
		near = ptx_float(fabs((double)near) < fabs(x) ? bits + 1 : bits - 1);
	return ptx_to_bf16(near);
}

#define PAIRS_MIN(name, from, to)						\
	uint32_t name(uint32_t a, uint32_t b)					\
	{									\
		return ptx_pair(to(min_or_nan(from((uint16_t)(a >> 16)),	\
					      from((uint16_t)(b >> 16)))),	\
				to(min_or_nan(from((uint16_t)a), from((uint16_t)b))));	\
	}
PAIRS_MIN(ptx_min_f16x2, ptx_from_f16, ptx_to_f16)
PAIRS_MIN(ptx_min_bf16x2, from_bf16, ptx_to_bf16)

#define PAIRS_FMA(name, fma_half)						\
	uint32_t name(uint32_t a, uint32_t b, uint32_t c)			\
	{									\
		return ptx_pair(fma_half((uint16_t)(a >> 16), (uint16_t)(b >> 16),	\
					 (uint16_t)(c >> 16)),			\
				fma_half((uint16_t)a, (uint16_t)b, (uint16_t)c));	\
	}
PAIRS_FMA(ptx_fma_f16x2, fma_f16)
PAIRS_FMA(ptx_fma_bf16x2, fma_bf16)

/* By the text of the PTX ISA, in which c holds a bound and the mask of pieces. */
uint32_t ptx_shuffle_from(enum ptx_shuffle how, uint32_t b, uint32_t c,
			  uint8_t *ret_inside)
{
	int lane = (int)simt_lane(), step = (int)(b & 31), from = lane;
	int bound = (int)(c & 31), piece = (int)(c >> 8 & 31);
	int last = (lane & piece) | (bound & ~piece);

	switch (how) {
	case PTX_UP:
		from = lane - step;
		break;
	case PTX_DOWN:
		from = lane + step;
		break;
	case PTX_BFLY:
		from = lane ^ step;
		break;
	case PTX_IDX:
		from = (lane & piece) | (step & ~piece);
		break;
	}
	*ret_inside = how == PTX_UP ? from >= last : from <= last;
	return (uint32_t)(*ret_inside ? from : lane);
}

/* ---- mma ---- */

/*
 * Fragments of the lanes of each warp. A lane writes into one of two, meets the others
 * and reads theirs; it writes that one again after it has met them once more, by when
 * they have read it.
 */
static struct fragment {
	uint32_t a[4], b[2];
} fragments[2][SIMT_MAX_THREADS];
static uint8_t turn[SIMT_MAX_THREADS];

static float half_of(uint32_t pair, uint32_t upper, enum ptx_half half)
{
	uint16_t bits = (uint16_t)(upper ? pair >> 16 : pair);

	return half == PTX_F16 ? ptx_from_f16(bits) : ptx_float((uint32_t)bits << 16);
}

/*
 * Where the PTX ISA puts an element of a 16 x 16 matrix A and of a 16 x 8 matrix B: a
 * group of four lanes has a row of A (and the one 8 below it), a column of B.
 */
static float element_a(const struct fragment *warp, uint32_t row, uint32_t col,
		       enum ptx_half half)
{
	const struct fragment *lane = warp + row % 8 * 4 + col % 8 / 2;

	return half_of(lane->a[row / 8 + col / 8 * 2], col % 2, half);
}

static float element_b(const struct fragment *warp, uint32_t row, uint32_t col,
		       enum ptx_half half)
{
	const struct fragment *lane = warp + col * 4 + row % 8 / 2;

	return half_of(lane->b[row / 8], row % 2, half);
}

void ptx_mma_m16n8k16(float d[4], const uint32_t a[4], const uint32_t b[2],
		      enum ptx_half half, struct simt_site site)
{
	const struct simt_thread *t = simt_self;
	uint32_t self = t->thread.x + t->block_dim.x *
			(t->thread.y + t->block_dim.y * t->thread.z);
	uint32_t lane = self % SIMT_WARP;
	struct fragment *mine = fragments[turn[self]];

	turn[self] ^= 1;
	memcpy(mine[self].a, a, sizeof mine->a);
	memcpy(mine[self].b, b, sizeof mine->b);
	simt_meet_warp(SIMT_SYNC, 0xffffffffu, 0, 0, site);
	for (uint32_t i = 0; i < 4; i++) {
		uint32_t row = lane / 4 + i / 2 * 8, col = lane % 4 * 2 + i % 2;

		for (uint32_t k = 0; k < 16; k++)
			d[i] += element_a(mine + self - lane, row, k, half) *
				element_b(mine + self - lane, k, col, half);
	}
}

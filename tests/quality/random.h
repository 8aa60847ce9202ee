/* SPDX-License-Identifier: Apache-2.0 */
/* random.h - numbers that are the same on every run: splitmix64 and what is drawn from it. */
#ifndef QUALITY_RANDOM_H
#define QUALITY_RANDOM_H

#include <math.h>
#include <stdint.h>

struct random {
	uint64_t state;
};

/* A stream for each (seed, stream): jobs draw independently of each other. */
static inline struct random random_begin(uint64_t seed, uint64_t stream)
{
	return (struct random){ seed * 0x9e3779b97f4a7c15u ^
				(stream + 1) * 0xd1b54a32d192ed03u };
}

static inline uint64_t random_bits(struct random *r)
{
	uint64_t z = r->state += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

/* From 0 to n - 1. */
static inline uint32_t random_below(struct random *r, uint32_t n)
{
	return (uint32_t)((random_bits(r) >> 32) * n >> 32);
}

/* In (0, 1). */
static inline double random_unit(struct random *r)
{
	return ((double)(random_bits(r) >> 11) + 0.5) * 0x1p-53;
}

/* Standard normal. */
static inline float random_normal(struct random *r)
{
	double u = random_unit(r), v = random_unit(r);

	return (float)(sqrt(-2.0 * log(u)) * cos(2.0 * M_PI * v));
}

#endif

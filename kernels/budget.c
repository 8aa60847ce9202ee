/* SPDX-License-Identifier: Apache-2.0 */
/*
 * budget.c - how many of n are kept.
 *
 * Two arithmetics, never mixed: ours is exact over integers; kvpress's is
 * binary64 truncation, which falls below the decimal answer for some ratios
 * (1000 tokens with 0.8 removed keep 199) and has to, to agree with it.
 */
#include "kernels/ckv_kernels.h"

#include <assert.h>

uint32_t ckv_budget_kvpress(uint32_t n, double removed)
{
	double keep = 1.0 - removed;

	assert(removed >= 0.0 && removed < 1.0);
	return (uint32_t)((double)n * keep);
}

uint32_t ckv_budget_ratio(uint32_t n, uint32_t num, uint32_t den)
{
	assert(den > 0 && num <= den);
	return (uint32_t)((uint64_t)n * num / den);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * budget.c - how many of n are kept.
 *
 * There are two ways to compute it, and a method uses one of them. Ours is exact, in
 * integers. kvpress computes in binary64 and truncates, which for some ratios gives one
 * less than the exact answer (1000 tokens with 0.8 removed keep 199); so must we.
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

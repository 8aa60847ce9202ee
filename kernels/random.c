/* SPDX-License-Identifier: Apache-2.0 */
/*
 * random.c - keep tokens drawn at random: the baseline that every method has
 * to beat.
 *
 * The number of a (seed, layer, position) is a hash of the three. There is no state from
 * one draw to the next, so a GPU or another process gets the same numbers in any order.
 * The hash is the last step of SplitMix64.
 */
#include "kernels/elem.h"
#include "kernels/select_any.h"

static uint64_t mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15u;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

static uint32_t budget(const struct ckv_selection *s, uint32_t layer,
		       uint32_t n_layers, uint32_t n_tokens)
{
	(void)layer;
	(void)n_layers;
	return budget_floor(s, n_tokens);
}

static size_t scratch_bytes(const struct ckv_selection *s,
			    const struct ckv_layer *in)
{
	(void)s;
	return words_bytes(in->k.n_tokens);
}

static int choose(const struct select_job *job, uint32_t *pos,
		  struct select_choice *ret_choice, struct ckv_fault *ret_fault)
{
	uint64_t stream = mix(mix(job->s->seed) + job->in->layer);
	float *score = job->scratch;

	(void)ret_fault;
	for (uint32_t t = 0; t < job->n_tokens; t++)
		/* 30 bits: a finite float, and floats order like their bits. */
		score[t] = elem_from_bits((uint32_t)(mix(stream + t) >> 34));
	return choose_best(job, 1, score, pos, ret_choice);
}

const struct select_method select_random = {
	.one_set = 1,
	.budget = budget,
	.scratch_bytes = scratch_bytes,
	.choose = choose,
};

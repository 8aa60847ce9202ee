/* SPDX-License-Identifier: Apache-2.0 */
/* keys_base.c - norms and key difference with four lanes, on any processor. */
#define LANES		4
#define TARGET
#define FMA(a, b, c)	((a) * (b) + (c))

#include "kernels/keys_body.h"

const struct keys_code *keys_code_base(void)
{
	return &code;
}

const struct keys_code *keys_code_best(void)
{
	const struct keys_code *best = keys_code_avx512();

	if (best == NULL)
		best = keys_code_avx2();
	return best == NULL ? &code : best;
}

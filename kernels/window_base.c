/* SPDX-License-Identifier: Apache-2.0 */
/* window_base.c - window scoring with four lanes, on any processor. */
#define LANES		4
#define PANEL_ROWS	4
#define PACK		4
#define TARGET
#define FMA(a, b, c)	((a) * (b) + (c))
#define MAX(a, b)	((vf)(((vi)(a) & ((a) > (b))) | ((vi)(b) & ~((a) > (b)))))
#define ANY(mask)	((mask)[0] | (mask)[1] | (mask)[2] | (mask)[3])
#define UMAX(a, b)	(((a) & (pu)((a) > (b))) | ((b) & ~(pu)((a) > (b))))
#define WIDEN(p)	__builtin_convertvector(*(const ph_loose *)(p), pu)

#include "kernels/window_body.h"

const struct window_code *window_code_base(void)
{
	return &code;
}

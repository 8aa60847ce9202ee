/* SPDX-License-Identifier: Apache-2.0 */
/*
 * args.c - the lane's argument area, cut into stretches.
 *
 * First fit over a short list of gaps sorted by place; requests complete in any
 * order, so stretches come back in any order and gaps are joined. There are at
 * most as many stretches as requests outstanding, hence one gap more.
 */
#include "client/lib.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

enum { UNIT = 64 };		/* stretches do not share a cache line */

/* `bytes` is a multiple of 4096; at most n_max stretches are out at once. */
int lib_args_init(struct lib_args *args, uint32_t bytes, uint32_t n_max)
{
	args->n_gaps_max = n_max + 1;
	args->gaps = lib_sys_alloc(args->n_gaps_max, sizeof *args->gaps);
	if (args->gaps == NULL)
		return -ENOMEM;
	args->gaps[0] = (struct lib_stretch){ 0, bytes };
	args->n_gaps = 1;
	return 0;
}

void lib_args_free(struct lib_args *args)
{
	lib_sys_free(args->gaps);
	args->gaps = NULL;
}

/* -EAGAIN: no gap is long enough now. */
int lib_args_take(struct lib_args *args, uint32_t bytes, uint32_t *ret_start)
{
	uint32_t need = (uint32_t)ckv_round_up(bytes, UNIT);

	for (uint32_t i = 0; i < args->n_gaps; i++) {
		struct lib_stretch *gap = &args->gaps[i];

		if (gap->bytes < need)
			continue;
		*ret_start = gap->start;
		gap->start += need;
		gap->bytes -= need;
		if (gap->bytes == 0) {
			args->n_gaps--;
			memmove(gap, gap + 1,
				(args->n_gaps - i) * sizeof *gap);
		}
		return 0;
	}
	return -EAGAIN;
}

/* Give back a stretch as it was taken. */
void lib_args_give(struct lib_args *args, uint32_t start, uint32_t bytes)
{
	uint32_t n = (uint32_t)ckv_round_up(bytes, UNIT), i = 0;
	struct lib_stretch *gap = args->gaps;

	if (n == 0)
		return;
	while (i < args->n_gaps && gap[i].start < start)
		i++;
	assert(i == 0 || gap[i - 1].start + gap[i - 1].bytes <= start);
	assert(i == args->n_gaps || start + n <= gap[i].start);
	if (i > 0 && gap[i - 1].start + gap[i - 1].bytes == start) {
		gap[--i].bytes += n;
	} else {
		assert(args->n_gaps < args->n_gaps_max);
		memmove(&gap[i + 1], &gap[i], (args->n_gaps - i) * sizeof *gap);
		gap[i] = (struct lib_stretch){ start, n };
		args->n_gaps++;
	}
	if (i + 1 < args->n_gaps && gap[i].start + gap[i].bytes ==
				    gap[i + 1].start) {
		gap[i].bytes += gap[i + 1].bytes;
		args->n_gaps--;
		memmove(&gap[i + 1], &gap[i + 2],
			(args->n_gaps - i - 1) * sizeof *gap);
	}
}

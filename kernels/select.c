/* SPDX-License-Identifier: Apache-2.0 */
/*
 * select.c - the best k of n scores, in one defined order.
 *
 * Scores become integers that sort the same way, so that the rest need not
 * treat ties, signed zeros and NaN as special cases. The k-th largest of these
 * integers is found byte by byte from the highest: each of four passes counts
 * how often each byte occurs. A last pass in order of index takes everything
 * above it, and the first of those equal to it. So positions come out
 * ascending, and of equal scores the lower index is taken, without a sort.
 */
#include "kernels/ckv_kernels.h"

#include <errno.h>
#include <string.h>

/* Larger means better; all NaN are 0, below -infinity; -0 is +0. */
static uint32_t score_key(float score)
{
	uint32_t bits;

	if (score != score)
		return 0;
	score += 0.0f;
	memcpy(&bits, &score, sizeof bits);
	return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

/*
 * Key of the k-th best score, 1 <= k <= n. *ret_n_equal is how many with just
 * that key belong to the best k.
 */
static uint32_t kth_key(const float *score, uint32_t n, uint32_t k,
			uint32_t *ret_n_equal)
{
	uint32_t prefix = 0, mask = 0;

	for (int shift = 24; shift >= 0; shift -= 8) {
		uint32_t count[256] = { 0 };
		uint32_t byte = 255;

		for (uint32_t i = 0; i < n; i++) {
			uint32_t key = score_key(score[i]);

			if ((key & mask) == prefix)
				count[key >> shift & 255]++;
		}
		while (count[byte] < k)
			k -= count[byte--];
		prefix |= byte << shift;
		mask |= 255u << shift;
	}
	*ret_n_equal = k;
	return prefix;
}

int ckv_select_top(const float *score, uint32_t n, uint32_t k, uint32_t base,
		   uint32_t *pos, uint32_t *ret_n_nan)
{
	uint32_t n_nan = 0, n_equal = 0, kth = UINT32_MAX;

	if (k > n || (n > 0 && score == NULL) || (k > 0 && pos == NULL))
		return -EINVAL;
	if (k > 0)
		kth = kth_key(score, n, k, &n_equal);
	for (uint32_t i = 0; i < n; i++) {
		uint32_t key = score_key(score[i]);

		n_nan += key == 0;
		if (key > kth || (key == kth && n_equal > 0)) {
			n_equal -= key == kth;
			*pos++ = base + i;
		}
	}
	if (ret_n_nan != NULL)
		*ret_n_nan = n_nan;
	return 0;
}

static int ranks_before(const float *score, uint32_t a, uint32_t b)
{
	uint32_t ka = score_key(score[a]), kb = score_key(score[b]);

	return ka > kb || (ka == kb && a < b);
}

/* Restore the heap below `i`: a parent never ranks before its children. */
static void sift_down(const float *score, uint32_t *heap, uint32_t i, uint32_t n)
{
	for (;;) {
		uint32_t child = 2 * i + 1;
		uint32_t index = heap[i];

		if (child >= n)
			return;
		if (child + 1 < n &&
		    ranks_before(score, heap[child], heap[child + 1]))
			child++;
		if (ranks_before(score, heap[child], index))
			return;
		heap[i] = heap[child];
		heap[child] = index;
		i = child;
	}
}

int ckv_rank(const float *score, uint32_t n, uint32_t *order)
{
	if (n > 0 && (score == NULL || order == NULL))
		return -EINVAL;
	for (uint32_t i = 0; i < n; i++)
		order[i] = i;
	for (uint32_t i = n / 2; i-- > 0;)
		sift_down(score, order, i, n);
	for (uint32_t left = n; left-- > 1;) {
		uint32_t worst = order[0];

		order[0] = order[left];
		order[left] = worst;
		sift_down(score, order, 0, left);
	}
	return 0;
}

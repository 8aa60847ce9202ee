/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gather.cu - survivors of K and V out of their pages, one launch for an object.
 *
 * The bytes of a (layer, head, side) are one run of vectors, as wide as every row and
 * stride allows. A block moves AT_ONCE * THREADS of them: first all positions are
 * asked for, then all page addresses, then all vectors, so each step waits once
 * for AT_ONCE independent loads. The grid grows with the rows. Moves twice the
 * survivors' bytes, and 4 bytes a position.
 */
#include "common.cuh"

enum { THREADS = GATHER_THREADS, AT_ONCE = GATHER_AT_ONCE };

__device__ static void report_position(const struct gather_task &t,
				       const struct gather_side &s,
				       uint32_t layer, uint32_t head,
				       uint32_t token, uint64_t *status)
{
	enum ckv_input input = &s == &t.side[0] ? CKV_INPUT_KEY
						: CKV_INPUT_VALUE;

	fault_report(status, cuda_fault_word(
		CUDA_FAULT_POSITION, layer, input, head,
		min(token, CKV_KERNEL_MAX_TOKENS - 1), 0));
}

/*
 * Loads are never conditional, because a conditional one would wait for the one before
 * it. A thread past the end reads the last survivor again, and a position outside the
 * rows reads the last row.
 */
template <typename Unit>
__device__ static __forceinline__ void
gather_kernel(const struct gather_task &t, uint64_t *status)
{
	uint32_t index = blockIdx.x / t.n_tiles;
	const struct gather_side &s = t.side[index % t.n_sides];
	uint32_t n_heads = s.rows.rows.n_heads;
	uint32_t head = index / t.n_sides % n_heads;
	uint32_t i = index / t.n_sides / n_heads, set = i / t.kept.reuse;
	uint32_t n = t.kept.n == nullptr ? t.kept.max_n
					 : min(t.kept.n[set], t.kept.max_n);
	uint32_t n_rows = min(n, t.n_newest), last = s.rows.rows.n_tokens - 1;
	uint32_t at = blockIdx.x % t.n_tiles * (THREADS * AT_ONCE) + threadIdx.x;
	uint32_t layer = i * s.rows.layer_step, token[AT_ONCE];
	const uint32_t *pos = t.kept.pos + n - n_rows + ((size_t)set *
		t.kept.n_sets + (t.kept.n_sets > 1 ? head : 0)) * t.kept.max_n;
	Unit *to = (Unit *)((char *)s.out.base + i * s.out.layer_stride_bytes +
			    head * s.out.head_stride_bytes);
	Unit x[AT_ONCE];

	if (at / s.row_units >= n_rows)
		return;
#pragma unroll
	for (uint32_t u = 0; u < AT_ONCE; u++)
		token[u] = __ldg(pos + min((at + u * THREADS) / s.row_units,
					   n_rows - 1));
#pragma unroll
	for (uint32_t u = 0; u < AT_ONCE; u++)
		x[u] = __ldg((const Unit *)row_at(s.rows, layer, head,
						  min(token[u], last),
						  s.row_bytes) +
			     (at + u * THREADS) % s.row_units);
#pragma unroll
	for (uint32_t u = 0; u < AT_ONCE; u++) {
		if ((at + u * THREADS) / s.row_units >= n_rows)
			break;
		if (token[u] <= last)
			to[at + u * THREADS] = x[u];
		else
			report_position(t, s, layer, head, token[u], status);
	}
}

#define GATHER(bytes, Unit)							\
	CKV_ENTRY(gather_##bytes, (THREADS), (const __grid_constant__ struct gather_task t,	\
		  uint64_t *status), gather_kernel<Unit>(t, status))
GATHER(16, uint4)
GATHER(8, uint2)
GATHER(4, uint32_t)
GATHER(2, uint16_t)

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * window_mma.cuh - products of a few keys and sixteen queries, in a warp's registers.
 *
 * There are two ways, mma_math and plain_math, and both leave the products in the same
 * places: a warp has 8 * TILES tokens, and lane 4 * g + q gets, of the query rows g and
 * g + 8 and of the tokens 2 * q and 2 * q + 1 of each eight,
 *
 *   dots[n][2 * h + c] = q[g + 8 * h] . k[8 * n + 2 * q + c]       n < TILES; h, c < 2
 *
 * which is how m16n8k16 spreads its result.
 *
 * mma_math: bf16 or f16 on tensor cores, products exact, added in float. Keys go from
 * memory straight to registers, 16 bytes a lane: only one warp ever needs a key, so
 * nothing would be gained by a copy in shared memory. The instruction wants lane q to
 * have numbers 2q, 2q+1, 2q+8 and 2q+9 of each 16. A sum has no fixed order of terms, so
 * lane q takes numbers 8q .. 8q+7 of each 32 instead, the same of keys and of queries,
 * which is one load and enough for two instructions. Queries lie in shared memory in the
 * order of the registers that want them, one 16-byte load for four instructions.
 *
 * plain_math: any numbers of any length, one multiply-add at a time from memory.
 */
#ifndef CKV_KERNELS_WINDOW_MMA_CUH
#define CKV_KERNELS_WINDOW_MMA_CUH

#include "kernels/common.cuh"

struct lane_place {
	uint32_t lane, g, q;
};

static __device__ __forceinline__ float elem_load(const char *row, uint32_t i,
						  enum ckv_elem elem)
{
	if (elem == CKV_ELEM_F32)
		return __ldg((const float *)row + i);
	return elem == CKV_ELEM_BF16 ? float_from_bf16(__ldg((const uint16_t *)row + i))
				     : float_from_f16(__ldg((const uint16_t *)row + i));
}

static __device__ __forceinline__ uint4 load16(const char *from)
{
	return __ldg((const uint4 *)from);
}

static __device__ __forceinline__ const char *shuffle_address(const char *p, uint32_t from)
{
	return (const char *)__shfl_sync(ALL_LANES, (unsigned long long)p, from);
}

/* ---- four instructions that only a GPU has, and their twins ---- */

/* Ask L2 for the line at p; nothing here. */
static __device__ __forceinline__ void prefetch_l2(const char *p)
{
#ifdef __CUDA_ARCH__
	asm volatile("prefetch.global.L2 [%0];" :: "l"(p));
#else
	(void)p;
#endif
}

/* 2^x: within 2 ulp, results below 2^-126 are 0. */
static __device__ __forceinline__ float exp2_fast(float x)
{
#ifdef __CUDA_ARCH__
	float y;

	asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
	return y;
#else
	return exp2f(x);
#endif
}

/* The larger of each half. */
static __device__ __forceinline__ uint32_t max_u16x2(uint32_t a, uint32_t b)
{
#ifdef __CUDA_ARCH__
	return __vmaxu2(a, b);
#else
	return max(a & 0xffffu, b & 0xffffu) | max(a >> 16, b >> 16) << 16;
#endif
}

/* The number in the low half of a word. */
template <bool BF16> static __device__ __forceinline__ float half_of(uint32_t word)
{
	return BF16 ? float_from_bf16((uint16_t)word) : float_from_f16((uint16_t)word);
}

/*
 * d += a . b, a 16 x 16 and b 16 x 8, spread over the warp as PTX says for
 * mma.m16n8k16. The twin asks the other lanes for what they hold.
 */
template <bool BF16>
static __device__ __forceinline__ void mma_16816(float d[4], uint4 a, uint32_t b0,
						 uint32_t b1)
{
#ifdef __CUDA_ARCH__
	if (BF16)
		asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
		    "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
		    : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
		    : "r"(a.x), "r"(a.y), "r"(a.z), "r"(a.w), "r"(b0), "r"(b1));
	else
		asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
		    "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
		    : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
		    : "r"(a.x), "r"(a.y), "r"(a.z), "r"(a.w), "r"(b0), "r"(b1));
#else
	/* All lanes leave what they hold, meet, and look; the next time elsewhere. */
	static struct { uint32_t a[4], b[2]; } left[2][32][WARP];
	static uint8_t turn[32 * WARP];
	uint32_t lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
	auto *of = left[turn[threadIdx.x]++ % 2][warp];

	of[lane] = { { a.x, a.y, a.z, a.w }, { b0, b1 } };
	__syncwarp();
	for (uint32_t q = 0; q < 4; q++)
		for (uint32_t i = 0; i < 16; i++) {	/* row, column, half of k, number */
			uint32_t r = i >> 3, c = i >> 2 & 1, h = i >> 1 & 1, n = i & 1;
			uint32_t x = of[lane / 4 * 4 + q].a[r + 2 * h];
			uint32_t y = of[lane % 4 * 8 + 4 * c + q].b[h];

			d[2 * r + c] += half_of<BF16>(x >> 16 * n) *
					half_of<BF16>(y >> 16 * n);
		}
#endif
}

template <bool BF16, int BLOCKS, int N_TILES> struct mma_math {
	static const int TILES = N_TILES;
	static const int KEYS = N_TILES;	/* keys that a lane holds parts of */
	static const uint32_t ROW_BYTES = BLOCKS * 64;	/* of a query in the stage */

	uint4 key[N_TILES][BLOCKS];

	/* Which token of the tile key i is. */
	static __device__ __forceinline__ uint32_t token(uint32_t i, struct lane_place at)
	{
		return 8 * i + at.g;
	}

	/* Numbers from `dim` on are zero. row[i] NULL: no such token. */
	__device__ __forceinline__ void load(const struct ckv_cuda_window &in,
					     struct lane_place at,
					     const char *const row[KEYS])
	{
		uint32_t dim = in.k.rows.dim;

#pragma unroll
		for (int i = 0; i < KEYS; i++)
#pragma unroll
			for (int b = 0; b < BLOCKS; b++) {
				uint32_t d = 32 * b + 8 * at.q;

				key[i][b] = row[i] != NULL && d < dim ?
					load16(row[i] + 2 * d) : make_uint4(0, 0, 0, 0);
			}
	}

	/* The largest magnitude that this lane holds; NaN or infinity if it has one. */
	__device__ __forceinline__ float top() const
	{
		uint32_t most = 0;

#pragma unroll
		for (int i = 0; i < KEYS; i++)
#pragma unroll
			for (int b = 0; b < BLOCKS; b++) {
				uint4 v = key[i][b];

				most = max_u16x2(most, v.x & 0x7fff7fffu);
				most = max_u16x2(most, v.y & 0x7fff7fffu);
				most = max_u16x2(most, v.z & 0x7fff7fffu);
				most = max_u16x2(most, v.w & 0x7fff7fffu);
			}
		return half_of<BF16>(max(most & 0xffffu, most >> 16));
	}

	/* Part i of a query, of parts(). `from` NULL: a row of zeros. */
	typedef uint4 part;
	static __host__ __device__ uint32_t parts() { return BLOCKS * 4; }
	static __device__ __forceinline__ uint4 get(const char *from, uint32_t i,
						    uint32_t dim)
	{
		return from != NULL && 8 * i < dim ? load16(from + 16 * i)
						   : make_uint4(0, 0, 0, 0);
	}

	/* To row `row` of the stage: registers of the lanes that will want it, for two
	   instructions. */
	static __device__ __forceinline__ void put(char *stage, uint32_t row, uint32_t i,
						   uint4 v)
	{
		uint32_t *to = (uint32_t *)stage + row / 16 * (16 * ROW_BYTES / 4) +
			       (i / 4 * 64 + row % 8 * 4 + i % 4) * 4 + row % 16 / 8;

		to[0] = v.x;
		to[2] = v.y;
		to[32 * 4] = v.z;
		to[32 * 4 + 2] = v.w;
	}

	/* Sum of a query's magnitudes, one after another; its loads eight at a time. */
	static __device__ __forceinline__ float magnitudes(const char *row, uint32_t dim,
							   enum ckv_elem)
	{
		float sum = 0.0f;

		for (uint32_t d = 0; d < dim; d += 64) {
			uint4 v[8];

#pragma unroll
			for (uint32_t i = 0; i < 8; i++)
				v[i] = load16(row + 2 * min(d + 8 * i, dim - 8));
#pragma unroll
			for (uint32_t i = 0; i < 8; i++) {
				const uint32_t word[4] = { v[i].x, v[i].y, v[i].z, v[i].w };

				if (d + 8 * i >= dim)
					break;
#pragma unroll
				for (uint32_t k = 0; k < 4; k++) {
					sum += fabsf(half_of<BF16>(word[k]));
					sum += fabsf(half_of<BF16>(word[k] >> 16));
				}
			}
		}
		return sum;
	}

	/* Against the sixteen query rows that begin at row `first` of the stage. */
	__device__ __forceinline__ void dot(const char *stage, uint32_t first,
					    struct lane_place at,
					    float dots[N_TILES][4]) const
	{
		const uint4 *query = (const uint4 *)(stage + first * ROW_BYTES) + at.lane;

#pragma unroll
		for (int b = 0; b < BLOCKS; b++) {
			uint4 v = query[64 * b], w = query[64 * b + 32];

#pragma unroll
			for (int n = 0; n < N_TILES; n++)
				mma_16816<BF16>(dots[n], v, key[n][b].x, key[n][b].y);
#pragma unroll
			for (int n = 0; n < N_TILES; n++)
				mma_16816<BF16>(dots[n], w, key[n][b].z, key[n][b].w);
		}
	}
};

struct plain_math {
	static const int TILES = 2;
	static const int KEYS = 4;
	static const uint32_t ROW_BYTES = sizeof(const char *);

	const char *key[KEYS];
	enum ckv_elem k_elem, q_elem;
	uint32_t dim, first_dim;

	static __device__ uint32_t token(uint32_t i, struct lane_place at)
	{
		return 8 * (i / 2) + 2 * at.q + i % 2;
	}

	__device__ void load(const struct ckv_cuda_window &in, struct lane_place at,
			     const char *const row[KEYS])
	{
		for (int i = 0; i < KEYS; i++)
			key[i] = row[i];
		k_elem = in.k.rows.elem;
		q_elem = in.q.rows.elem;
		dim = in.k.rows.dim;
		first_dim = at.g;
	}

	__device__ float top() const
	{
		float most = 0.0f;

		for (int i = 0; i < KEYS; i++)
			for (uint32_t d = first_dim; key[i] != NULL && d < dim; d += 8) {
				float x = fabsf(elem_load(key[i], d, k_elem));

				if (!(x <= most))
					most = x;
				if (!is_finite(most))
					return most;
			}
		return most;
	}

	/* The stage holds addresses. */
	static __host__ __device__ uint32_t parts() { return 1; }
	typedef const char *part;
	static __device__ part get(const char *from, uint32_t, uint32_t) { return from; }
	static __device__ void put(char *stage, uint32_t row, uint32_t, part from)
	{
		((const char **)stage)[row] = from;
	}

	static __device__ float magnitudes(const char *row, uint32_t dim, enum ckv_elem elem)
	{
		float sum = 0.0f;

		for (uint32_t i = 0; i < dim; i++)
			sum += fabsf(elem_load(row, i, elem));
		return sum;
	}

	__device__ void dot(const char *stage, uint32_t first, struct lane_place at,
			    float dots[2][4]) const
	{
		const char *const *row = (const char *const *)stage + first + at.g;

		for (uint32_t d = 0; d < dim; d++) {
			float q0 = row[0] == NULL ? 0.0f : elem_load(row[0], d, q_elem);
			float q1 = row[8] == NULL ? 0.0f : elem_load(row[8], d, q_elem);

#pragma unroll
			for (int i = 0; i < KEYS; i++) {
				float x = key[i] == NULL ? 0.0f
							 : elem_load(key[i], d, k_elem);
				float *to = dots[i / 2] + i % 2;

				to[0] = fmaf(q0, x, to[0]);
				to[2] = fmaf(q1, x, to[2]);
			}
		}
	}
};

#endif

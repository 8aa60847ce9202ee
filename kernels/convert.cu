/* SPDX-License-Identifier: Apache-2.0 */
/*
 * convert.cu - encodings that take each number for itself: plain, bf16, f16, and fp8
 * once its scale is known; and the largest magnitude of a head or layer, which is
 * that scale.
 *
 * A block takes AT_ONCE * 256 vectors of 16 bytes of one area. It asks for all positions
 * first, then for all page addresses, then for all vectors, so that it waits three times
 * and not once for each. bf16 to fp8 reads 2 bytes a number and writes 1; with a scale of
 * a head or layer the rows are read twice.
 */
#include "kernels/encode.cuh"
#include "kernels/fp8.cuh"

static const uint32_t AT_ONCE = ENCODE_AT_ONCE;

/* ------------------------------------------------ what becomes of a vector */

/* Stored as kind S, or unchanged. */
template <typename V, enum ckv_elem S> struct to_kind {
	static const uint32_t BYTES = S == CKV_ELEM_F32 ? 4 : 2;

	__device__ bool begin(const struct encode_task &, const struct encode_run &, bool)
	{
		return true;
	}

	/* x comes back as its rows would hold it after a decode. */
	__device__ static float back(float x)
	{
		return round_to<(enum ckv_elem)V::ELEM>(round_to<S>(x));
	}

	__device__ bool put(char *to, typename V::raw, float *x) const
	{
		put_numbers<S, V::N>(to, x);
#pragma unroll
		for (int i = 0; i < V::N; i++)
			x[i] = back(x[i]);
		return all_finite<V::N>(x);
	}
};

template <typename V> struct unchanged {
	static const uint32_t BYTES = V::BYTES / V::N;

	__device__ bool begin(const struct encode_task &, const struct encode_run &, bool)
	{
		return true;
	}

	__device__ bool put(char *to, typename V::raw raw, float *) const
	{
		*(typename V::raw *)to = raw;
		return true;
	}
};

template <int N>
__device__ static inline void put_fp8(char *to, const float *x)
{
	uint32_t word[N / 4 > 0 ? N / 4 : 1] = { 0 };

	for (int i = 0; i < N; i += 2)
		word[i / 4] |= fp8_pair(x[i], N > 1 ? x[i + 1] : 0.0f) << 8 * (i % 4);
	if (N == 1)
		*(uint8_t *)to = (uint8_t)word[0];
	else if (N == 4)
		*(uint32_t *)to = word[0];
	else
		*(uint2 *)to = make_uint2(word[0], word[N / 4 - 1]);
}

/* x by a scale that all threads have: N codes. */
template <int N>
__device__ static inline void put_scaled(char *to, struct divisor d, const float *x)
{
	float q[N];

	if (d.by == 1.0f && d.factor == 1.0f) {
		put_fp8<N>(to, x);
		return;
	}
#pragma unroll
	for (int i = 0; i < N; i++)	/* the corrections of -0 add up to 0 */
		q[i] = d.by == 0.0f ? 0.0f : copysignf(divide<2>(x[i], d), x[i]);
	put_fp8<N>(to, q);
}

/* The scale with which the largest magnitude, given as bits, gets the largest code. */
__device__ static inline float fp8_scale(uint32_t amax)
{
	return divide_by_number(__uint_as_float(amax), 448.0);
}

template <typename V> struct to_fp8 {
	static const uint32_t BYTES = 1;
	struct divisor scale;

	__device__ bool begin(const struct encode_task &t, const struct encode_run &r,
			      bool first)
	{
		uint32_t tensor = t.e.scale == CKV_FP8_TENSOR;
		float by;

		if (t.e.scale == CKV_FP8_ONE) {
			scale = divisor_of(1.0f);
			return true;
		}
		by = fp8_scale(t.amax[r.index * t.rows.rows.n_heads + (tensor ? 0 : r.head)]);
		scale = divisor_of(by);
		if (first)
			*(float *)r.scale = by;
		return true;
	}

	__device__ bool put(char *to, typename V::raw, float *x) const
	{
		put_scaled<V::N>(to, scale, x);
		return all_finite<V::N>(x);
	}
};

/* ------------------------------------------------------------------- walk */

/* The first number of a vector that cannot be stored. */
template <typename V, bool NARROW, enum ckv_elem S>
__device__ static void report_vector(const struct encode_task &t,
				     const struct encode_run &r, typename V::raw raw,
				     uint32_t token, uint32_t dim)
{
	float x[V::N];

	V::unpack(raw, x);
	for (uint32_t i = 0; i < V::N; i++)
		if (!is_finite(x[i]))
			encode_fault(t, r, CUDA_FAULT_DOM, token, dim + i);
		else if (NARROW && !is_finite(to_kind<V, S>::back(x[i])))
			encode_fault(t, r, CUDA_FAULT_RANGE, token, dim + i);
}

template <typename V, typename Op, bool NARROW, enum ckv_elem S>
__device__ static __forceinline__ void
pointwise_kernel(const struct encode_task &t, struct encode_walk w)
{
	struct encode_run r = encode_run_at(t, blockIdx.x / w.n_tiles);
	uint32_t at = blockIdx.x % w.n_tiles * (ENCODE_THREADS * AT_ONCE) + threadIdx.x;
	uint32_t token[AT_ONCE];
	typename V::raw raw[AT_ONCE];
	Op op;

	if (at / w.row_units >= r.n)
		return;
	op.begin(t, r, at == 0);
#pragma unroll
	for (uint32_t u = 0; u < AT_ONCE; u++)
		token[u] = encode_token(r, min((at + u * ENCODE_THREADS) / w.row_units,
					       r.n - 1));
#pragma unroll
	for (uint32_t u = 0; u < AT_ONCE; u++)
		raw[u] = load_numbers<V>(encode_row(t, r, token[u]),
					 (at + u * ENCODE_THREADS) % w.row_units);
#pragma unroll
	for (uint32_t u = 0; u < AT_ONCE; u++) {
		uint32_t unit = at + u * ENCODE_THREADS;
		float x[V::N];

		if (unit / w.row_units >= r.n)
			break;
		encode_judge_token(t, r, token[u]);
		V::unpack(raw[u], x);
		if (!op.put(r.code + (size_t)unit * (V::N * Op::BYTES), raw[u], x))
			report_vector<V, NARROW, S>(t, r, raw[u], token[u],
						    unit % w.row_units * V::N);
	}
}

/* The largest magnitude of each area, or of all areas of a layer, as bits; NaN is above all. */
template <typename V>
__device__ static __forceinline__ void
amax_kernel(const struct encode_task &t, struct encode_walk w)
{
	struct encode_run r = encode_run_at(t, blockIdx.x / w.n_tiles);
	uint32_t at = blockIdx.x % w.n_tiles * (ENCODE_THREADS * AT_ONCE) + threadIdx.x;
	uint32_t most = 0, last = r.n * w.row_units - 1;
	typename V::raw raw[AT_ONCE];

	if (r.n == 0)
		return;
	/* Past the end the last vector is read again, which changes no maximum. */
#pragma unroll
	for (uint32_t u = 0; u < AT_ONCE; u++) {
		uint32_t unit = min(at + u * ENCODE_THREADS, last);

		raw[u] = load_numbers<V>(encode_row(t, r, encode_token(r, unit /
								       w.row_units)),
					 unit % w.row_units);
	}
#pragma unroll
	for (uint32_t u = 0; u < AT_ONCE; u++) {
		float x[V::N];

		V::unpack(raw[u], x);
#pragma unroll
		for (uint32_t i = 0; i < V::N; i++)
			most = max(most, __float_as_uint(x[i]) & 0x7fffffffu);
	}
	most = __reduce_max_sync(ALL_LANES, most);
	if (threadIdx.x % WARP == 0)
		atomicMax(t.amax + r.index * t.rows.rows.n_heads +
			  (t.e.scale == CKV_FP8_TENSOR ? 0 : r.head), most);
}

__device__ static __forceinline__ void clear_kernel(uint32_t *word, uint32_t n)
{
	uint32_t i = blockIdx.x * blockDim.x + threadIdx.x;

	if (i < n)
		word[i] = 0;
}

/* -------------------------------------------------------------- fp8, blocks */

/*
 * Rows that share a scale: first their largest magnitude is found, then they are read
 * again, from L1, and encoded.
 */
template <typename V>
__device__ static __forceinline__ void
fp8_block_kernel(const struct encode_task &t, struct encode_walk w)
{
	CKV_SHARED(uint32_t, most_of);
	struct encode_run r = encode_run_at(t, blockIdx.x / w.n_tiles);
	uint32_t tile = blockIdx.x % w.n_tiles, first = tile * t.e.block;
	uint32_t n, most = 0;
	struct divisor d;
	float x[V::N], by;

	if (first >= r.n)
		return;
	n = min(t.e.block, r.n - first) * w.row_units;
#pragma unroll 4
	for (uint32_t i = threadIdx.x; i < n; i += ENCODE_THREADS) {
		uint32_t token = encode_token(r, first + i / w.row_units);

		V::unpack(load_numbers<V>(encode_row(t, r, token), i % w.row_units), x);
#pragma unroll
		for (uint32_t k = 0; k < V::N; k++)
			most = max(most, __float_as_uint(x[k]) & 0x7fffffffu);
	}
	most = __reduce_max_sync(ALL_LANES, most);
	if (threadIdx.x % WARP == 0)
		most_of[threadIdx.x / WARP] = most;
	__syncthreads();
	for (uint32_t i = 0; i < ENCODE_THREADS / WARP; i++)
		most = max(most, most_of[i]);
	by = fp8_scale(most);
	d = divisor_of(by);
	if (threadIdx.x == 0)
		((float *)r.scale)[tile] = by;
#pragma unroll 4
	for (uint32_t i = threadIdx.x; i < n; i += ENCODE_THREADS) {
		uint32_t token = encode_token(r, first + i / w.row_units);
		typename V::raw raw = load_numbers<V>(encode_row(t, r, token),
						      i % w.row_units);

		encode_judge_token(t, r, token);
		V::unpack(raw, x);
		put_scaled<V::N>(r.code + ((size_t)first * w.row_units + i) * V::N, d, x);
		if (!all_finite<V::N>(x))
			report_vector<V, false, CKV_ELEM_F32>(t, r, raw, token,
							      i % w.row_units * V::N);
	}
}

/* ----------------------------------------------------------------- kernels */

#define TASK	const __grid_constant__ struct encode_task t, struct encode_walk w
#define POINTWISE(V)								\
	CKV_ENTRY(encode_plain_##V, (ENCODE_THREADS), (TASK),			\
		  pointwise_kernel<V, unchanged<V>, false, CKV_ELEM_F32>(t, w))	\
	CKV_ENTRY(encode_bf16_##V, (ENCODE_THREADS), (TASK),			\
		  pointwise_kernel<V, to_kind<V, CKV_ELEM_BF16>, true, CKV_ELEM_BF16>(t, w))	\
	CKV_ENTRY(encode_f16_##V, (ENCODE_THREADS), (TASK),			\
		  pointwise_kernel<V, to_kind<V, CKV_ELEM_F16>, true, CKV_ELEM_F16>(t, w))	\
	CKV_ENTRY(encode_fp8_##V, (ENCODE_THREADS), (TASK),			\
		  pointwise_kernel<V, to_fp8<V>, false, CKV_ELEM_F32>(t, w))	\
	CKV_ENTRY(encode_fp8_block_##V, (ENCODE_THREADS, 1), (TASK), fp8_block_kernel<V>(t, w))	\
	CKV_ENTRY(amax_##V, (ENCODE_THREADS), (TASK), amax_kernel<V>(t, w))
CKV_EACH_NUMBERS(POINTWISE)

CKV_ENTRY(clear, (ENCODE_THREADS), (uint32_t *word, uint32_t n), clear_kernel(word, n))

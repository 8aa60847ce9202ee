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
		q[i] = copysignf(divide<2>(x[i], d), x[i]);
	if (d.by == 0.0f) {
#pragma unroll
		for (int i = 0; i < N; i++)
			q[i] = 0.0f;
	}
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

/* A block's vectors, which one thread after the other has. */
struct fp8_tile {
	uint32_t first, n;	/* row; vectors */
	uint32_t of_scale;	/* vectors that share a scale */
};

/* Vector i, or the last one; *ret_token is its row's. */
template <typename V>
__device__ static inline typename V::raw fp8_load(const struct encode_task &t,
						  const struct encode_run &r,
						  const struct encode_walk &w,
						  const struct fp8_tile &tile, uint32_t i,
						  uint32_t *ret_token)
{
	i = min(i, tile.n - 1);
	*ret_token = encode_token(r, tile.first + i / w.row_units);
	return load_numbers<V>(encode_row(t, r, *ret_token), i % w.row_units);
}

/* A warp's vectors, which share a scale, count for it. */
template <typename V>
__device__ static inline void fp8_count(typename V::raw raw, struct fp8_room *room)
{
	uint32_t most = 0;
	float x[V::N];

	V::unpack(raw, x);
#pragma unroll
	for (uint32_t k = 0; k < V::N; k++)
		most = max(most, __float_as_uint(x[k]) & 0x7fffffffu);
	most = __reduce_max_sync(ALL_LANES, most);
	if (threadIdx.x % WARP == 0)
		atomicMax(&room->most, most);
}

template <typename V>
__device__ static inline void fp8_put(const struct encode_task &t,
				      const struct encode_run &r,
				      const struct encode_walk &w,
				      const struct fp8_tile &tile,
				      const struct fp8_room *room, uint32_t i,
				      typename V::raw raw, uint32_t token)
{
	const struct fp8_room *mine = room + i / tile.of_scale;
	struct divisor d = { mine->by, mine->inverse, mine->factor };
	float x[V::N];

	encode_judge_token(t, r, token);
	V::unpack(raw, x);
	put_scaled<V::N>(r.code + ((size_t)tile.first * w.row_units + i) * V::N, d, x);
	if (!all_finite<V::N>(x))
		report_vector<V, false, CKV_ELEM_F32>(t, r, raw, token,
						      i % w.row_units * V::N);
}

/* From the largest magnitudes to scales, which thread i writes for the i-th. */
__device__ static inline void fp8_settle(const struct encode_run &r,
					 const struct encode_walk &w, uint32_t tile,
					 uint32_t n_scales, struct fp8_room *room)
{
	__syncthreads();
	for (uint32_t i = threadIdx.x; i < n_scales; i += ENCODE_THREADS) {
		float by = fp8_scale(room[i].most);
		struct divisor d = divisor_of(by);

		room[i].by = d.by;
		room[i].inverse = d.inverse;
		room[i].factor = d.factor;
		((float *)r.scale)[(size_t)tile * w.n_scales + i] = by;
	}
	__syncthreads();
}

/*
 * Rows that share a scale: first their largest magnitude is found, then they are encoded.
 * Vectors that fit in registers are read once, all at the same time; else they are read
 * again, from L1.
 */
template <typename V>
__device__ static __forceinline__ void
fp8_block_kernel(const struct encode_task &t, struct encode_walk w)
{
	CKV_SHARED(struct fp8_room, room);	/* [n_scales] */
	struct encode_run r = encode_run_at(t, blockIdx.x / w.n_tiles);
	uint32_t at = blockIdx.x % w.n_tiles, n_rows = w.n_scales * t.e.block;
	struct fp8_tile tile = { at * n_rows, 0, t.e.block * w.row_units };
	uint32_t token[FP8_AT_ONCE], n_scales;
	typename V::raw raw[FP8_AT_ONCE];

	if (tile.first >= r.n)
		return;
	tile.n = min(n_rows, r.n - tile.first) * w.row_units;
	n_scales = ceil_div(tile.n, tile.of_scale);
#pragma unroll
	for (uint32_t u = 0; u < FP8_AT_ONCE; u++)
		raw[u] = fp8_load<V>(t, r, w, tile, threadIdx.x + u * ENCODE_THREADS,
				     &token[u]);
	for (uint32_t i = threadIdx.x; i < n_scales; i += ENCODE_THREADS)
		room[i].most = 0;
	__syncthreads();
#pragma unroll
	for (uint32_t u = 0; u < FP8_AT_ONCE; u++) {
		uint32_t i = threadIdx.x + u * ENCODE_THREADS;

		fp8_count<V>(raw[u], room + min(i, tile.n - 1) / tile.of_scale);
	}
	for (uint32_t i = FP8_AT_ONCE * ENCODE_THREADS; i < tile.n; i += ENCODE_THREADS)
		fp8_count<V>(fp8_load<V>(t, r, w, tile, i + threadIdx.x, token + 3), room);
	fp8_settle(r, w, at, n_scales, room);
#pragma unroll
	for (uint32_t u = 0; u < FP8_AT_ONCE; u++) {
		uint32_t i = threadIdx.x + u * ENCODE_THREADS;

		if (i < tile.n)
			fp8_put<V>(t, r, w, tile, room, i, raw[u], token[u]);
	}
	for (uint32_t i = threadIdx.x + FP8_AT_ONCE * ENCODE_THREADS; i < tile.n;
	     i += ENCODE_THREADS) {
		raw[0] = fp8_load<V>(t, r, w, tile, i, token);
		fp8_put<V>(t, r, w, tile, room, i, raw[0], token[0]);
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
	CKV_ENTRY(encode_fp8_block_##V, (ENCODE_THREADS, 4), (TASK), fp8_block_kernel<V>(t, w))	\
	CKV_ENTRY(amax_##V, (ENCODE_THREADS), (TASK), amax_kernel<V>(t, w))
CKV_EACH_NUMBERS(POINTWISE)

CKV_ENTRY(clear, (ENCODE_THREADS), (uint32_t *word, uint32_t n), clear_kernel(word, n))

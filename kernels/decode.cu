/* SPDX-License-Identifier: Apache-2.0 */
/*
 * decode.cu - rows from their codes, all layers and heads in one launch.
 *
 * bf16, f16 and fp8: each thread decodes vectors of codes, which need no others. KIVI: a
 * thread has 8 channels, of some rows of values, or of those rows of keys whose codes
 * share a word; int4 to bf16 reads 0.56 bytes a number and writes 2. Where a length is no multiple of a vector, numbers are
 * decoded one by one.
 */
#include "kernels/fp8.cuh"
#include "kernels/kivi.cuh"

struct decode_run {		/* one (layer, head) */
	uint32_t n;
	const char *code, *scale;
	char *out;
};

__device__ static inline struct decode_run decode_run_at(const struct decode_task &t)
{
	uint32_t i = blockIdx.x / t.n_tiles;
	uint32_t head = i % t.object.n_heads, layer = i / t.object.n_heads;
	struct decode_run r = {
		t.object.layer_n == nullptr ? t.object.n
					    : min(t.object.layer_n[layer], t.object.n),
		out_at(t.in.code, layer, head), out_at(t.in.scale, layer, head),
		out_at(t.out, layer, head) };

	return r;
}

/* ---------------------------------------------------- each number for itself */

/* N numbers of kind S: where they are, how they become floats. */
template <enum ckv_elem S, int COUNT> struct from_kind {
	static const int N = COUNT;

	__device__ static void get(const struct decode_task &, const struct decode_run &r,
				   size_t i, uint32_t, float *x)
	{
		typedef numbers<S, N == 1 ? (S == CKV_ELEM_F32 ? 4 : 2) : 16> V;

#pragma unroll
		for (int k = 0; k < N; k += V::N)
			V::unpack(load_numbers<V>(r.code, (uint32_t)((i * N + k) / V::N)),
				  x + k);
	}
};

template <int COUNT> struct from_fp8 {
	static const int N = COUNT;

	__device__ static void get(const struct decode_task &t, const struct decode_run &r,
				   size_t i, uint32_t row, float *x)
	{
		const float *scale = (const float *)r.scale;
		float by = 1.0f;
		uint32_t word[2] = { 0, 0 };

		if (t.e.scale == CKV_FP8_BLOCK)
			by = __ldg(scale + row / t.e.block);
		else if (t.e.scale != CKV_FP8_ONE)
			by = __ldg(scale);
		if (N == 1) {
			word[0] = __ldg((const uint8_t *)r.code + i);
		} else {
			uint2 v = __ldg((const uint2 *)r.code + i);

			word[0] = v.x;
			word[1] = v.y;
		}
#pragma unroll
		for (int k = 0; k < N; k += 2) {
			float low, high;

			fp8_unpair(word[k / 4] >> 8 * (k % 4), &low, &high);
			x[k] = __fmul_rn(low, by);
			if (N > 1)
				x[k + 1] = __fmul_rn(high, by);
		}
	}
};

template <typename From, enum ckv_elem OUT>
__device__ static __forceinline__ void
decode_pointwise_kernel(const struct decode_task &t)
{
	const uint32_t out_bytes = OUT == CKV_ELEM_F32 ? 4 : 2;
	struct decode_run r = decode_run_at(t);
	uint32_t at = blockIdx.x % t.n_tiles * (DECODE_THREADS * DECODE_AT_ONCE) +
		      threadIdx.x;
	float x[DECODE_AT_ONCE][From::N];

#pragma unroll
	for (uint32_t u = 0; u < DECODE_AT_ONCE; u++) {
		uint32_t i = at + u * DECODE_THREADS;

		if (i / t.row_units < r.n)
			From::get(t, r, i, i / t.row_units, x[u]);
	}
#pragma unroll
	for (uint32_t u = 0; u < DECODE_AT_ONCE; u++) {
		uint32_t i = at + u * DECODE_THREADS;

		if (i / t.row_units < r.n)
			put_numbers<OUT, From::N>(r.out + (size_t)i * (From::N * out_bytes),
						  x[u]);
	}
}

/* -------------------------------------------------------------------- kivi */

template <int BITS> __device__ static inline float code_number(uint32_t word, uint32_t i)
{
	uint32_t code = word >> i * BITS & ((1u << BITS) - 1u);

	return __fsub_rn(__uint_as_float(KIVI_WHOLE | code), 8388608.0f);
}

/* Keys: 8 channels, and all rows of a word of codes. */
template <enum ckv_elem E, enum ckv_elem OUT, int BITS>
__device__ static __forceinline__ void
decode_keys_kernel(const struct decode_task &t)
{
	typedef numbers<E, 16> V;
	const uint32_t PER_WORD = 32 / BITS, out_bytes = OUT == CKV_ELEM_F32 ? 4 : 2;
	struct decode_run r = decode_run_at(t);
	uint32_t at = blockIdx.x % t.n_tiles * DECODE_THREADS + threadIdx.x;
	uint32_t column = at % t.row_units, first = at / t.row_units * PER_WORD;
	uint32_t dim = t.object.dim, group = first / t.e.group;
	float scale[8], min[8], x[8];
	uint4 low, high;

	if (first >= r.n)
		return;
	low = __ldg((const uint4 *)r.code + at * 2);
	high = __ldg((const uint4 *)r.code + at * 2 + 1);
	V::unpack(load_numbers<V>(r.scale, group * t.row_units + column), scale);
	V::unpack(load_numbers<V>(r.scale, (ceil_div(r.n, t.e.group) + group) *
					   t.row_units + column), min);
	const uint32_t word[8] = { low.x, low.y, low.z, low.w, high.x, high.y, high.z,
				   high.w };
#pragma unroll
	for (uint32_t i = 0; i < PER_WORD; i++) {
		if (first + i >= r.n)
			return;
#pragma unroll
		for (uint32_t c = 0; c < 8; c++)
			x[c] = kivi_number<E>(code_number<BITS>(word[c], i), scale[c],
					      min[c]);
		put_numbers<OUT, 8>(r.out + ((size_t)(first + i) * dim + 8 * column) *
				    out_bytes, x);
	}
}

/* The i-th eight codes of those that follow each other, in a word or two. */
template <int BITS>
__device__ static inline void load_codes(const char *code, uint32_t i, uint32_t word[2])
{
	if constexpr (BITS == 2) {
		word[0] = __ldg((const uint16_t *)code + i);
	} else if constexpr (BITS == 4) {
		word[0] = __ldg((const uint32_t *)code + i);
	} else {
		uint2 v = __ldg((const uint2 *)code + i);

		word[0] = v.x;
		word[1] = v.y;
	}
}

/*
 * Values: 8 channels of some rows. Neighbours have neighbouring channels, so each store of
 * a warp is without a gap. In place of a row past the end a thread decodes its first again,
 * so that no load waits for a condition.
 */
template <enum ckv_elem E, enum ckv_elem OUT, int BITS>
__device__ static __forceinline__ void
decode_values_kernel(const struct decode_task &t)
{
	typedef numbers<E, 2> one;
	const uint32_t PER_WORD = 32 / BITS, out_bytes = OUT == CKV_ELEM_F32 ? 4 : 2;
	struct decode_run r = decode_run_at(t);
	uint32_t column = threadIdx.x % t.row_units, group = column * 8 / t.e.group;
	uint32_t first = blockIdx.x % t.n_tiles * (t.n_rows * DECODE_VALUE_ROWS) +
			 threadIdx.x / t.row_units;
	uint32_t at[DECODE_VALUE_ROWS], word[DECODE_VALUE_ROWS][2];
	typename one::raw scale[DECODE_VALUE_ROWS], min[DECODE_VALUE_ROWS];

	if (threadIdx.x >= t.n_rows * t.row_units || first >= r.n)
		return;
#pragma unroll
	for (uint32_t u = 0; u < DECODE_VALUE_ROWS; u++) {
		uint32_t row = first + u * t.n_rows, g;

		row = row < r.n ? row : first;
		at[u] = row * t.row_units + column;
		g = row * t.row_groups + group;
		load_codes<BITS>(r.code, at[u], word[u]);
		scale[u] = load_numbers<one>(r.scale, g);
		min[u] = load_numbers<one>(r.scale, r.n * t.row_groups + g);
	}
#pragma unroll
	for (uint32_t u = 0; u < DECODE_VALUE_ROWS; u++) {
		float by, least, x[8];

		one::unpack(scale[u], &by);
		one::unpack(min[u], &least);
#pragma unroll
		for (uint32_t k = 0; k < 8; k++)
			x[k] = kivi_number<E>(code_number<BITS>(word[u][k / PER_WORD],
								k % PER_WORD), by, least);
		put_numbers<OUT, 8>(r.out + (size_t)at[u] * (8 * out_bytes), x);
	}
}

/* Any shape, one number a thread. */
template <enum ckv_elem E, enum ckv_elem OUT>
__device__ static __forceinline__ void
decode_lone_kernel(const struct decode_task &t, bool keys)
{
	typedef numbers<E, E == CKV_ELEM_F32 ? 4 : 2> V;
	const uint32_t out_bytes = OUT == CKV_ELEM_F32 ? 4 : 2;
	struct decode_run r = decode_run_at(t);
	uint32_t at = blockIdx.x % t.n_tiles * DECODE_THREADS + threadIdx.x;
	uint32_t dim = t.object.dim, row = at / dim, d = at % dim, bits = t.e.bits;
	uint32_t per_word = 32 / bits, group, n_groups, word, along = keys ? row : d;
	float scale, min, x;

	if (row >= r.n)
		return;
	if (keys) {
		group = row / t.e.group * dim + d;
		n_groups = ceil_div(r.n, t.e.group) * dim;
		word = row / per_word * dim + d;
	} else {
		group = row * ceil_div(dim, t.e.group) + d / t.e.group;
		n_groups = r.n * ceil_div(dim, t.e.group);
		word = row * ceil_div(dim, per_word) + d / per_word;
	}
	word = __ldg((const uint32_t *)r.code + word) >> along % per_word * bits;
	V::unpack(load_numbers<V>(r.scale, group), &scale);
	V::unpack(load_numbers<V>(r.scale, n_groups + group), &min);
	x = kivi_number<E>((float)(word & ((1u << bits) - 1u)), scale, min);
	put_numbers<OUT, 1>(r.out + (size_t)at * out_bytes, &x);
}

/* ----------------------------------------------------------------- kernels */

#define F32	CKV_ELEM_F32
#define BF16	CKV_ELEM_BF16
#define F16	CKV_ELEM_F16
#define TASK	const __grid_constant__ struct decode_task t
#define ENTRY(name, ...)							\
	CKV_ENTRY(decode_##name, (DECODE_THREADS), (TASK), decode_##__VA_ARGS__(t))

#define POINTWISE(name, OUT, S)							\
	ENTRY(name##_x8, pointwise_kernel<from_kind<S, 8>, OUT>)		\
	ENTRY(name##_x1, pointwise_kernel<from_kind<S, 1>, OUT>)
POINTWISE(f32_f32, F32, F32)
POINTWISE(bf16_f32, F32, BF16)
POINTWISE(bf16_bf16, BF16, BF16)
POINTWISE(bf16_f16, F16, BF16)
POINTWISE(f16_f32, F32, F16)
POINTWISE(f16_bf16, BF16, F16)
POINTWISE(f16_f16, F16, F16)

#define FP8(name, OUT)								\
	ENTRY(fp8_##name##_x8, pointwise_kernel<from_fp8<8>, OUT>)		\
	ENTRY(fp8_##name##_x1, pointwise_kernel<from_fp8<1>, OUT>)
FP8(f32, F32)
FP8(bf16, BF16)
FP8(f16, F16)

#define LONE(name, E, OUT)							\
	CKV_ENTRY(decode_lone_##name, (DECODE_THREADS), (TASK, bool keys),	\
		  decode_lone_kernel<E, OUT>(t, keys))
LONE(f32_f32, F32, F32)
LONE(bf16_f32, BF16, F32)
LONE(bf16_bf16, BF16, BF16)
LONE(f16_f32, F16, F32)
LONE(f16_f16, F16, F16)

#define KIVI(name, E, OUT, BITS)						\
	ENTRY(keys_##name##_##BITS, keys_kernel<E, OUT, BITS>)			\
	CKV_ENTRY(decode_values_##name##_##BITS, (DECODE_THREADS, 4), (TASK),	\
		  decode_values_kernel<E, OUT, BITS>(t))
#define EACH(BITS)								\
	KIVI(bf16_f32, BF16, F32, BITS)						\
	KIVI(bf16_bf16, BF16, BF16, BITS)					\
	KIVI(f16_f32, F16, F32, BITS)						\
	KIVI(f16_f16, F16, F16, BITS)
EACH(8)
EACH(4)
EACH(2)

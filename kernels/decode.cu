/* SPDX-License-Identifier: Apache-2.0 */
/*
 * decode.cu - rows from their codes, all layers and heads in one launch.
 *
 * bf16, f16 and fp8: each thread decodes vectors of codes, which need no others. KIVI: a
 * thread has 16 channels of a row of values, or 8 channels of those rows of keys whose
 * codes share a word, and reads scale and min once for them; int4 to bf16 reads 0.56
 * bytes a number and writes 2. Where a length is no multiple of a vector, numbers are
 * decoded one by one.
 */
#include "kernels/fp8.cuh"
#include "kernels/kivi.cuh"

static const uint32_t DECODE_THREADS = 256, DECODE_AT_ONCE = 4;

struct decode_task {
	struct ckv_cuda_object object;
	struct ckv_cuda_coded in;
	struct ckv_cuda_out out;
	struct ckv_encode e;
	uint32_t n_tiles;	/* of an area */
	uint32_t row_units;	/* threads that share a row */
};

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
__global__ void __launch_bounds__(DECODE_THREADS)
decode_pointwise_kernel(const __grid_constant__ struct decode_task t)
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
__global__ void __launch_bounds__(DECODE_THREADS)
decode_keys_kernel(const __grid_constant__ struct decode_task t)
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

/* The i-th BITS / 2 words, which 16 codes take. */
template <int BITS>
__device__ static inline void load_words(const char *code, uint32_t i, uint32_t word[4])
{
	if constexpr (BITS == 2) {
		word[0] = __ldg((const uint32_t *)code + i);
	} else if constexpr (BITS == 4) {
		uint2 v = __ldg((const uint2 *)code + i);

		word[0] = v.x;
		word[1] = v.y;
	} else {
		uint4 v = __ldg((const uint4 *)code + i);

		word[0] = v.x;
		word[1] = v.y;
		word[2] = v.z;
		word[3] = v.w;
	}
}

/* Values: 16 channels of a row. */
template <enum ckv_elem E, enum ckv_elem OUT, int BITS>
__global__ void __launch_bounds__(DECODE_THREADS)
decode_values_kernel(const __grid_constant__ struct decode_task t)
{
	const uint32_t PER_WORD = 32 / BITS, out_bytes = OUT == CKV_ELEM_F32 ? 4 : 2;
	struct decode_run r = decode_run_at(t);
	uint32_t at = blockIdx.x % t.n_tiles * (DECODE_THREADS * DECODE_AT_ONCE) +
		      threadIdx.x;
	uint32_t groups = ceil_div(t.object.dim, t.e.group);
	uint32_t word[DECODE_AT_ONCE][4];
	float scale[DECODE_AT_ONCE], min[DECODE_AT_ONCE], x[16];

#pragma unroll
	for (uint32_t u = 0; u < DECODE_AT_ONCE; u++) {
		uint32_t i = at + u * DECODE_THREADS, row = i / t.row_units;
		uint32_t g = row * groups + i % t.row_units * 16 / t.e.group;

		if (row >= r.n)
			break;
		load_words<BITS>(r.code, i, word[u]);
		numbers<E, 2>::unpack(load_numbers<numbers<E, 2> >(r.scale, g), &scale[u]);
		numbers<E, 2>::unpack(load_numbers<numbers<E, 2> >(r.scale,
								   r.n * groups + g),
				      &min[u]);
	}
#pragma unroll
	for (uint32_t u = 0; u < DECODE_AT_ONCE; u++) {
		uint32_t i = at + u * DECODE_THREADS;

		if (i / t.row_units >= r.n)
			break;
#pragma unroll
		for (uint32_t k = 0; k < 16; k++)
			x[k] = kivi_number<E>(code_number<BITS>(word[u][k / PER_WORD],
								k % PER_WORD),
					      scale[u], min[u]);
		put_numbers<OUT, 16>(r.out + (size_t)i * 16 * out_bytes, x);
	}
}

/* Any shape, one number a thread. */
template <enum ckv_elem E, enum ckv_elem OUT>
__global__ void __launch_bounds__(DECODE_THREADS)
decode_lone_kernel(const __grid_constant__ struct decode_task t, bool keys)
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

/* --------------------------------------------------------------- launchers */

/* Blocks of all areas for as many threads as `units`; 0: too many. */
static uint32_t decode_grid(struct decode_task *t, uint64_t units, uint32_t at_once)
{
	uint64_t n = ceil_div(units, (uint64_t)DECODE_THREADS * at_once);

	t->n_tiles = (uint32_t)n;
	n *= (uint64_t)t->object.n_layers * t->object.n_heads;
	return n <= INT32_MAX && units <= INT32_MAX ? (uint32_t)n : 0;
}

static bool decode_aligned(const struct decode_task &t, uint32_t bytes)
{
	return cuda_out_unit(&t.in.code, bytes) == bytes && cuda_out_unit(&t.out, 16) == 16;
}

template <enum ckv_elem S, enum ckv_elem OUT>
static int launch_kind(struct decode_task t, void *stream)
{
	bool wide = decode_aligned(t, 16) && t.object.dim % 8 == 0;
	uint32_t grid;

	t.row_units = wide ? t.object.dim / 8 : t.object.dim;
	grid = decode_grid(&t, (uint64_t)t.object.n * t.row_units, DECODE_AT_ONCE);
	if (grid == 0)
		return -EINVAL;
	if (wide)
		CKV_LAUNCH((decode_pointwise_kernel<from_kind<S, 8>, OUT>), grid,
			   DECODE_THREADS, 0, stream, t);
	else
		CKV_LAUNCH((decode_pointwise_kernel<from_kind<S, 1>, OUT>), grid,
			   DECODE_THREADS, 0, stream, t);
	return launch_result();
}

template <enum ckv_elem OUT>
static int launch_fp8(struct decode_task t, void *stream)
{
	bool wide = decode_aligned(t, 8) && t.object.dim % 8 == 0;
	uint32_t grid;

	t.row_units = wide ? t.object.dim / 8 : t.object.dim;
	grid = decode_grid(&t, (uint64_t)t.object.n * t.row_units, DECODE_AT_ONCE);
	if (grid == 0)
		return -EINVAL;
	if (wide)
		CKV_LAUNCH((decode_pointwise_kernel<from_fp8<8>, OUT>), grid, DECODE_THREADS,
			   0, stream, t);
	else
		CKV_LAUNCH((decode_pointwise_kernel<from_fp8<1>, OUT>), grid, DECODE_THREADS,
			   0, stream, t);
	return launch_result();
}

template <enum ckv_elem E, enum ckv_elem OUT>
static int launch_kivi_lone(struct decode_task t, bool keys, void *stream)
{
	uint32_t grid = decode_grid(&t, (uint64_t)t.object.n * t.object.dim, 1);

	if (grid == 0)
		return -EINVAL;
	CKV_LAUNCH((decode_lone_kernel<E, OUT>), grid, DECODE_THREADS, 0, stream, t, keys);
	return launch_result();
}

template <enum ckv_elem E, enum ckv_elem OUT, int BITS>
static int launch_kivi(struct decode_task t, bool keys, void *stream)
{
	uint32_t at_once = keys ? 1 : DECODE_AT_ONCE, grid;
	uint64_t rows = keys ? ceil_div(t.object.n, 32u / BITS) : t.object.n;

	t.row_units = t.object.dim / (keys ? 8 : 16);
	grid = decode_grid(&t, rows * t.row_units, at_once);
	if (grid == 0)
		return -EINVAL;
	if (keys)
		CKV_LAUNCH((decode_keys_kernel<E, OUT, BITS>), grid, DECODE_THREADS, 0,
			   stream, t);
	else
		CKV_LAUNCH((decode_values_kernel<E, OUT, BITS>), grid, DECODE_THREADS, 0,
			   stream, t);
	return launch_result();
}

template <enum ckv_elem E, enum ckv_elem OUT>
static int decode_kivi(const struct decode_task &t, bool keys, void *stream)
{
	bool whole = keys ? t.object.dim % 8 == 0 && cuda_out_unit(&t.in.scale, 16) == 16
			  : t.object.dim % 16 == 0 && t.e.group % 16 == 0;

	if constexpr (E != CKV_ELEM_F32) {
		if (whole && decode_aligned(t, 16)) {
			if (t.e.bits == 8)
				return launch_kivi<E, OUT, 8>(t, keys, stream);
			if (t.e.bits == 4)
				return launch_kivi<E, OUT, 4>(t, keys, stream);
			return launch_kivi<E, OUT, 2>(t, keys, stream);
		}
	}
	return launch_kivi_lone<E, OUT>(t, keys, stream);
}

/* Rows of kind E, to the same kind or to float. */
template <enum ckv_elem E, enum ckv_elem OUT>
static int decode_as(const struct decode_task &t, enum ckv_side side, void *stream)
{
	switch (t.e.kind) {
	case CKV_ENCODE_PLAIN:
		return launch_kind<E, OUT>(t, stream);
	case CKV_ENCODE_BF16:
		return launch_kind<CKV_ELEM_BF16, OUT>(t, stream);
	case CKV_ENCODE_F16:
		return launch_kind<CKV_ELEM_F16, OUT>(t, stream);
	case CKV_ENCODE_FP8:
		return launch_fp8<OUT>(t, stream);
	case CKV_ENCODE_KIVI:
		return decode_kivi<E, OUT>(t, side == CKV_SIDE_KEY, stream);
	}
	return -EINVAL;
}

static int decode_check(const struct ckv_encode *e, enum ckv_side side,
			const struct ckv_cuda_object *o, const struct ckv_cuda_coded *in,
			enum ckv_elem out_elem, const struct ckv_cuda_out *out)
{
	if (ckv_encode_check(e) < 0 || o == NULL || in == NULL || out == NULL ||
	    (side != CKV_SIDE_KEY && side != CKV_SIDE_VALUE) || o->n_layers == 0 ||
	    o->n_layers > CKV_CUDA_MAX_LAYERS || o->n_heads == 0 ||
	    o->n_heads > CKV_KERNEL_MAX_HEADS || o->dim == 0 ||
	    o->dim > CKV_KERNEL_MAX_DIM || o->n > CKV_KERNEL_MAX_TOKENS ||
	    ckv_elem_bytes(o->elem) == 0 ||
	    (out_elem != CKV_ELEM_F32 && out_elem != o->elem))
		return -EINVAL;
	if (o->n > 0 && (in->code.base == NULL || cuda_out_unit(&in->code, 4) < 4 ||
			 out->base == NULL ||
			 cuda_out_unit(out, 4) < ckv_elem_bytes(out_elem)))
		return -EINVAL;
	if (ckv_scale_bytes(e, o->elem, side, o->n, o->dim) > 0 &&
	    (in->scale.base == NULL || cuda_out_unit(&in->scale, 4) < 4))
		return -EINVAL;
	return 0;
}

int ckv_cuda_decode(const struct ckv_encode *e, enum ckv_side side,
		    const struct ckv_cuda_object *object, const struct ckv_cuda_coded *in,
		    enum ckv_elem out_elem, const struct ckv_cuda_out *out, void *stream)
{
	struct decode_task t = {};
	int r = decode_check(e, side, object, in, out_elem, out);

	if (r < 0 || object->n == 0)
		return r;
	t.object = *object;
	t.in = *in;
	t.out = *out;
	t.e = *e;
	if (object->elem == CKV_ELEM_F32)
		return decode_as<CKV_ELEM_F32, CKV_ELEM_F32>(t, side, stream);
	if (object->elem == CKV_ELEM_BF16)
		return out_elem == CKV_ELEM_BF16
			? decode_as<CKV_ELEM_BF16, CKV_ELEM_BF16>(t, side, stream)
			: decode_as<CKV_ELEM_BF16, CKV_ELEM_F32>(t, side, stream);
	return out_elem == CKV_ELEM_F16
		? decode_as<CKV_ELEM_F16, CKV_ELEM_F16>(t, side, stream)
		: decode_as<CKV_ELEM_F16, CKV_ELEM_F32>(t, side, stream);
}

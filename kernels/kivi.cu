/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kivi.cu - groups of numbers as codes of 8, 4 or 2 bits, gathered and encoded at once.
 *
 * Three kernels. Two are for rows of 16-bit numbers that are whole 16-byte vectors, in
 * groups of a size that suits a block:
 *
 *   keys    a block holds whole groups in registers, 64 numbers a thread; per channel
 *           the threads meet once in shared memory for the extremes and once for the
 *           scale. Rows are read once.
 *   values  a thread has 16 channels of a row; a group is a few neighbouring lanes,
 *           who meet by shuffles.
 *
 * bf16 to int4 in groups of 64 reads 2 bytes a number and writes 0.56. It takes 14
 * to 19 instructions a number; at 80 % of an H200's copy bandwidth there is time for 25. The
 * third kernel, for everything else (float, odd lengths, huge groups), has one thread for
 * a group.
 */
#include "kernels/kivi_keys.cuh"

static const uint32_t LONE_THREADS = KIVI_LONE_THREADS;

/* Where the numbers of a group are; a fault of the group is reported at the first. */
struct kivi_group {
	uint32_t first, n, stride;	/* rows if stride is 0, else channels of row `first` */
	uint32_t dim;
};

/* ------------------------------------------------------- one thread, a group */

template <typename V>
__device__ static float number_at(const struct encode_task &t, const struct encode_run &r,
				  const struct kivi_group &g, uint32_t i, uint32_t *token)
{
	float x;

	*token = encode_token(r, g.stride == 0 ? g.first + i : g.first);
	V::unpack(load_numbers<V>(encode_row(t, r, *token),
				  g.dim + (g.stride == 0 ? 0 : i)), &x);
	return x;
}

/* Extremes of a group into *s; reports what cannot be encoded. */
template <typename V, int BITS>
__device__ static void study_group(const struct encode_task &t, const struct encode_run &r,
				   const struct kivi_group &g, struct kivi_scale *s)
{
	const enum ckv_elem E = (enum ckv_elem)V::ELEM;
	float min = INFINITY, max = -INFINITY;
	bool finite = true;
	uint32_t token;

	for (uint32_t i = 0; i < g.n; i++) {
		float x = number_at<V>(t, r, g, i, &token);

		encode_judge_token(t, r, token);
		if (!is_finite(x)) {
			encode_fault(t, r, CUDA_FAULT_DOM, token,
				     g.dim + (g.stride == 0 ? 0 : i));
			finite = false;
		}
		if (x < min || (x == min && __float_as_uint(x) == 0x80000000u))
			min = x;
		max = fmaxf(max, x);
	}
	if (!kivi_scale_of<E, BITS>(min, max, s) && finite)
		encode_fault(t, r, CUDA_FAULT_RANGE, encode_token(r, g.first), g.dim);
}

template <typename V, int BITS>
__device__ static void encode_group(const struct encode_task &t, const struct encode_run &r,
				    const struct kivi_group &g, uint32_t *code,
				    struct kivi_place p)
{
	const enum ckv_elem E = (enum ckv_elem)V::ELEM;
	const uint32_t per_word = 32 / BITS;
	struct kivi_scale s;
	uint32_t token;

	study_group<V, BITS>(t, r, g, &s);
	put_numbers<E, 1>(p.scale, &s.scale);
	put_numbers<E, 1>(p.min, &s.min);
	for (uint32_t i = 0; i < g.n; i += per_word) {
		uint32_t word = 0;

		for (uint32_t k = 0; k < per_word && i + k < g.n; k++) {
			float x = number_at<V>(t, r, g, i + k, &token);

			word |= (kivi_code<E, BITS>(x, s) - KIVI_WHOLE) << k * BITS;
		}
		code[(size_t)(i / per_word) * (g.stride == 0 ? t.rows.rows.dim : 1)] = word;
	}
}

/* Neighbouring threads have neighbouring channels of keys, or groups of values. */
template <typename V, int BITS>
__device__ static __forceinline__ void
lone_kernel(const struct encode_task &t, uint32_t n_tiles, bool keys)
{
	const enum ckv_elem E = (enum ckv_elem)V::ELEM;
	const uint32_t per_word = 32 / BITS;
	struct encode_run r = encode_run_at(t, blockIdx.x / n_tiles);
	uint32_t i = blockIdx.x % n_tiles * LONE_THREADS + threadIdx.x;
	uint32_t dim = t.rows.rows.dim, group = t.e.group;
	uint32_t across = keys ? dim : ceil_div(dim, group), row, column;
	struct kivi_group g;

	row = i / across * (keys ? group : 1);
	column = i % across * (keys ? 1 : group);
	if (row >= r.n)
		return;
	if (keys) {
		g = { row, min(group, r.n - row), 0, column };
		encode_group<V, BITS>(t, r, g,
			(uint32_t *)r.code + (size_t)(row / per_word) * dim + column,
			kivi_place_at<E>(r, (size_t)i, (size_t)ceil_div(r.n, group) * dim));
	} else {
		g = { row, min(group, dim - column), 1, column };
		encode_group<V, BITS>(t, r, g,
			(uint32_t *)r.code + (size_t)row * ceil_div(dim, per_word) +
				column / per_word,
			kivi_place_at<E>(r, (size_t)i, (size_t)r.n * across));
	}
}

/* -------------------------------------------------- keys, groups in registers */

template <enum ckv_elem E, int BITS>
__device__ static __forceinline__ void
keys_kernel(const struct encode_task &t, struct kivi_block b)
{
	typedef struct key_run<E, BITS> run;
	CKV_SHARED(float, shared);
	struct encode_run r = encode_run_at(t, blockIdx.x / b.n_tiles);
	uint32_t first_group = blockIdx.x % b.n_tiles * b.n_groups;
	uint32_t dim = t.rows.rows.dim;
	struct key_room room = key_room_in(shared, b.n_groups * dim);
	bool special;
	run k;

	if ((size_t)first_group * t.e.group >= r.n)
		return;
	load_run<E, BITS>(t, r, b, first_group, &k);
	post_extremes<E, BITS>(k, dim, room.extremes);
	__syncthreads();
	special = settle_scales<E, BITS>(t, r, b, first_group, room);
	if (__syncthreads_or(special))
		report_run<E, BITS>(t, r, k);
	if (k.n > 0)
		put_run<E, BITS>(k, room, k.y / b.runs * dim + k.dim, dim,
				 (uint32_t *)r.code +
				 (size_t)(k.row / run::PER_WORD) * dim + k.dim);
}

/* ------------------------------------------- values, groups in a few lanes */

static const uint32_t VALUES_THREADS = KIVI_VALUES_THREADS;
static const uint32_t VALUES_AT_ONCE = KIVI_VALUES_AT_ONCE;
static const uint32_t VALUE_NUMBERS = KIVI_VALUE_NUMBERS;

struct value_place {
	uint32_t row, dim, group;	/* of the first number; group of the row */
	bool there;
};

__device__ static inline struct value_place value_at(const struct encode_task &t,
						     const struct encode_run &r,
						     const struct kivi_walk &w,
						     uint32_t unit)
{
	struct value_place v;
	uint32_t lane;

	v.row = cuda_over(unit, w.row_lanes);
	lane = unit - v.row * w.row_lanes.n;
	v.dim = lane * VALUE_NUMBERS;
	v.group = lane >> w.group_bits;
	v.there = v.row < r.n && v.dim < t.rows.rows.dim;
	return v;
}

/* Extremes of a group whose numbers lie in neighbouring lanes. */
template <enum ckv_elem E>
__device__ static inline uint32_t join_extremes(const uint32_t word[8], bool there,
						uint32_t lanes)
{
	uint32_t least, most, all;

	extremes_of<E, 8>(word, 1, &least, &most);
	all = min_halves<E>((least & 0xffffu) | most << 16,
			    least >> 16 | (most & 0xffff0000u));
	all = there ? all : extremes_none<E>();
	for (uint32_t step = lanes / 2; step > 0; step /= 2)
		all = min_halves<E>(all, __shfl_xor_sync(ALL_LANES, all, step));
	return all;
}

template <enum ckv_elem E>
__device__ static void report_value(const struct encode_task &t, const struct encode_run &r,
				    const uint32_t word[8], uint32_t token, uint32_t dim)
{
#pragma unroll
	for (uint32_t i = 0; i < VALUE_NUMBERS; i++) {
		float x = i % 2 ? half_high<E>(word[i / 2]) : half_low<E>(word[i / 2]);

		if (!is_finite(x))
			encode_fault(t, r, CUDA_FAULT_DOM, token, dim + i);
	}
}

/* Words of codes of the numbers of eight words. */
template <enum ckv_elem E, int BITS>
__device__ static inline void put_value(const uint32_t word[8], const struct kivi_scale &s,
					uint32_t *to)
{
	const uint32_t HALF = 8 / BITS;		/* words of numbers for half a word */
	uint32_t codes[8], out[BITS / 2], factor, base;
	struct kivi_pair p;

	kivi_steps<E>(s, &factor, &base, &p.low);
	p.high = p.low;
	p.factor = factor | factor << 16;
	p.base = base | base << 16;
#pragma unroll
	for (uint32_t i = 0; i < 8; i++)
		codes[i] = kivi_codes<E, BITS>(word[i], p);
#pragma unroll
	for (uint32_t i = 0; i < BITS / 2; i++) {
		const uint32_t *first = codes + i * 2 * HALF;
		uint32_t a = kivi_join<E, BITS, HALF, 2 * BITS>(first);
		uint32_t b = kivi_join<E, BITS, HALF, 2 * BITS>(first + HALF);
		uint32_t even = (a & 0xffffu) | b << 16, odd = a >> 16 | (b & 0xffff0000u);

		out[i] = even | odd << BITS;
	}
	if (BITS == 2)
		to[0] = out[0];
	else if (BITS == 4)
		*(uint2 *)to = make_uint2(out[0], out[BITS / 2 - 1]);
	else
		*(uint4 *)to = make_uint4(out[0], out[1 % (BITS / 2)], out[2 % (BITS / 2)],
					  out[3 % (BITS / 2)]);
}

template <enum ckv_elem E, int BITS>
__device__ static inline void encode_value(const struct encode_task &t,
					   const struct encode_run &r,
					   const struct kivi_walk &w, uint32_t unit,
					   uint32_t token, const uint32_t word[8])
{
	struct value_place v = value_at(t, r, w, unit);
	uint32_t all = join_extremes<E>(word, v.there, 1u << w.group_bits);
	uint32_t row_groups = w.row_lanes.n >> w.group_bits, row_words;
	struct kivi_scale s;
	struct kivi_place p;
	float least, most;
	bool fits, finite;

	if (!v.there)
		return;
	encode_judge_token(t, r, token);
	extremes_get<E>(all, &least, &most);
	finite = is_finite(least) && is_finite(most);
	fits = kivi_scale_of<E, BITS>(least, most, &s);
	if (!finite)
		report_value<E>(t, r, word, token, v.dim);
	else if (!fits)
		encode_fault(t, r, CUDA_FAULT_RANGE, token, v.group * t.e.group);
	row_words = t.rows.rows.dim / (32 / BITS);
	put_value<E, BITS>(word, s, (uint32_t *)r.code + (size_t)v.row * row_words +
			   v.dim / (32 / BITS));
	if (v.dim % t.e.group != 0)
		return;
	p = kivi_place_at<E>(r, (size_t)v.row * row_groups + v.group,
			     (size_t)r.n * row_groups);
	put_numbers<E, 1>(p.scale, &s.scale);
	put_numbers<E, 1>(p.min, &s.min);
}

template <enum ckv_elem E, int BITS>
__device__ static __forceinline__ void
values_kernel(const struct encode_task &t, struct kivi_walk w)
{
	typedef numbers<E, 16> V;
	struct encode_run r = encode_run_at(t, blockIdx.x / w.n_tiles);
	uint32_t first = blockIdx.x % w.n_tiles * (VALUES_THREADS * VALUES_AT_ONCE);
	uint32_t token[VALUES_AT_ONCE], word[VALUES_AT_ONCE][8];

	if (cuda_over(first, w.row_lanes) >= r.n)
		return;
#pragma unroll
	for (uint32_t u = 0; u < VALUES_AT_ONCE; u++)
		token[u] = encode_token(r, min(cuda_over(first + u * VALUES_THREADS +
							 threadIdx.x, w.row_lanes),
					       r.n - 1));
#pragma unroll
	for (uint32_t u = 0; u < VALUES_AT_ONCE; u++) {
		uint32_t unit = first + u * VALUES_THREADS + threadIdx.x;
		uint32_t i = value_at(t, r, w, unit).dim / V::N;
		const char *row = encode_row(t, r, token[u]);
		uint4 x, y;

		i = min(i, t.rows.rows.dim / V::N - 2);
		x = load_numbers<V>(row, i);
		y = load_numbers<V>(row, i + 1);
		word[u][0] = x.x; word[u][1] = x.y; word[u][2] = x.z; word[u][3] = x.w;
		word[u][4] = y.x; word[u][5] = y.y; word[u][6] = y.z; word[u][7] = y.w;
	}
#pragma unroll
	for (uint32_t u = 0; u < VALUES_AT_ONCE; u++)
		encode_value<E, BITS>(t, r, w, first + u * VALUES_THREADS + threadIdx.x,
				      token[u], word[u]);
}

/* ----------------------------------------------------------------- kernels */

#define TASK	const __grid_constant__ struct encode_task t
#define LONE(name, V, BITS)							\
	CKV_ENTRY(kivi_lone_##name##_##BITS, (LONE_THREADS, 1),			\
		  (TASK, uint32_t n_tiles, bool keys), lone_kernel<V, BITS>(t, n_tiles, keys))
#define HALVES(name, E, BITS)							\
	CKV_ENTRY(kivi_keys_##name##_##BITS, (KIVI_KEYS_THREADS, 1),		\
		  (TASK, struct kivi_block b), keys_kernel<E, BITS>(t, b))	\
	CKV_ENTRY(kivi_values_##name##_##BITS, (VALUES_THREADS),			\
		  (TASK, struct kivi_walk w), values_kernel<E, BITS>(t, w))
#define EACH(BITS)								\
	LONE(f32, f32x1, BITS)							\
	LONE(bf16, bf16x1, BITS)						\
	LONE(f16, f16x1, BITS)							\
	HALVES(bf16, CKV_ELEM_BF16, BITS)					\
	HALVES(f16, CKV_ELEM_F16, BITS)
EACH(8)
EACH(4)
EACH(2)

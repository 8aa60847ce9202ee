/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kivi_keys.cuh - keys in groups of rows: what a thread of keys_kernel() does with its own.
 *
 * Threads lie over the rows so that neighbours read neighbouring channels, and each has
 * some rows that follow each other. A group's extremes come from several threads, through
 * shared memory; scale and min go back the same way.
 */
#ifndef CKV_KERNELS_KIVI_KEYS_CUH
#define CKV_KERNELS_KIVI_KEYS_CUH

#include "kernels/kivi.cuh"

#include <type_traits>

/*
 * What a thread holds: RUN rows of 2 * WORDS channels. The rows are as many as share a
 * word of codes, and no more than fit in registers.
 */
template <enum ckv_elem E, int BITS> struct key_run {
	static const uint32_t RUN = BITS == 2 ? 16 : 8, PER_WORD = 32 / BITS;
	static const uint32_t WORDS = 32 / RUN;
	typedef std::conditional_t<WORDS == 2, uint2, uint4> words;

	uint32_t word[RUN][WORDS];
	uint32_t row, n;	/* the first, and how many there are */
	uint32_t y, dim;	/* of the block's runs; the first channel */
};

/* What settle_scales() leaves in shared memory, and what it gets: see struct kivi_pair. */
struct key_room {
	float *inverse;		/* [groups][dim], as the next two */
	uint16_t *factor, *base;
	uint32_t *extremes;	/* [runs][dim] */
};

__device__ static inline struct key_room key_room_in(float *shared, uint32_t n)
{
	struct key_room room;

	room.inverse = shared;
	room.factor = (uint16_t *)(shared + n);
	room.base = room.factor + n;
	room.extremes = (uint32_t *)(room.base + n);
	return room;
}

__device__ static inline void spread(uint2 v, uint32_t *to)
{
	to[0] = v.x;
	to[1] = v.y;
}

__device__ static inline void spread(uint4 v, uint32_t *to)
{
	to[0] = v.x;
	to[1] = v.y;
	to[2] = v.z;
	to[3] = v.w;
}

/* A thread past the end reads the last row again, and has n = 0. */
template <enum ckv_elem E, int BITS>
__device__ static inline void load_run(const struct encode_task &t,
				       const struct encode_run &r,
				       const struct kivi_block &b, uint32_t first_group,
				       struct key_run<E, BITS> *k)
{
	typedef struct key_run<E, BITS> run;
	const uint32_t RUN = run::RUN;
	uint32_t token[RUN];

	k->y = threadIdx.x / b.columns;
	k->dim = threadIdx.x % b.columns * (2 * run::WORDS);
	k->row = (first_group + k->y / b.runs) * t.e.group + k->y % b.runs * RUN;
	k->n = k->y < b.n_groups * b.runs && k->row < r.n ? min(r.n - k->row, RUN)
							  : 0;
#pragma unroll
	for (uint32_t i = 0; i < RUN; i++)
		token[i] = encode_token(r, min(k->row + i, r.n - 1));
#pragma unroll
	for (uint32_t i = 0; i < RUN; i++)
		spread(__ldg((const typename run::words *)(encode_row(t, r, token[i]) +
							   2 * k->dim)), k->word[i]);
#pragma unroll
	for (uint32_t i = 0; i < RUN; i++)
		if (i < k->n)
			encode_judge_token(t, r, token[i]);
}

/* The extremes of each of a thread's channels to shared memory: [y][dim]. */
template <enum ckv_elem E, int BITS>
__device__ static inline void post_extremes(const struct key_run<E, BITS> &k, uint32_t dim,
					    uint32_t *extremes)
{
	const uint32_t RUN = key_run<E, BITS>::RUN, WORDS = key_run<E, BITS>::WORDS;
	uint32_t *to = extremes + k.y * dim + k.dim;

	if (k.n == 0)
		return;
#pragma unroll
	for (uint32_t j = 0; j < WORDS; j++) {
		uint32_t least, most;

		extremes_of<E, RUN>(&k.word[0][j], WORDS, &least, &most);
		*(uint2 *)(to + 2 * j) = make_uint2((least & 0xffffu) | most << 16,
						    least >> 16 | (most & 0xffff0000u));
	}
}

/*
 * From the extremes of every run to scale and min of every channel. A channel with a
 * number that is not finite has the inverse NaN; true if there is one.
 */
template <enum ckv_elem E, int BITS>
__device__ static inline bool settle_scales(const struct encode_task &t,
					    const struct encode_run &r,
					    const struct kivi_block &b,
					    uint32_t first_group,
					    const struct key_room &room)
{
	uint32_t dim = t.rows.rows.dim, n_groups = ceil_div(r.n, t.e.group);
	bool special = false;

	for (uint32_t i = threadIdx.x; i < b.n_groups * dim; i += blockDim.x) {
		uint32_t g = i / dim, d = i % dim, row = (first_group + g) * t.e.group;
		uint32_t all = extremes_none<E>(), factor, base;
		struct kivi_place p;
		struct kivi_scale s;
		float least, most, inverse;
		bool fits, finite;

		if (first_group + g >= n_groups)
			break;
		for (uint32_t k = 0; k < b.runs && row + k * key_run<E, BITS>::RUN < r.n;
		     k++)
			all = min_halves<E>(all,
					    room.extremes[(g * b.runs + k) * dim + d]);
		extremes_get<E>(all, &least, &most);
		finite = is_finite(least) && is_finite(most);
		fits = kivi_scale_of<E, BITS>(least, most, &s);
		if (finite && !fits)
			encode_fault(t, r, CUDA_FAULT_RANGE, encode_token(r, row), d);
		special |= !finite;
		kivi_steps<E>(s, &factor, &base, &inverse);
		room.factor[i] = (uint16_t)factor;
		room.base[i] = (uint16_t)base;
		room.inverse[i] = finite ? inverse : NAN;
		p = kivi_place_at<E>(r, (size_t)(first_group + g) * dim + d,
				     (size_t)n_groups * dim);
		put_numbers<E, 1>(p.scale, &s.scale);
		put_numbers<E, 1>(p.min, &s.min);
	}
	return special;
}

/* Report those numbers of a thread that are not finite. */
template <enum ckv_elem E, int BITS>
__device__ static void report_run(const struct encode_task &t, const struct encode_run &r,
				  const struct key_run<E, BITS> &k)
{
	for (uint32_t i = 0; i < k.n; i++)
		for (uint32_t c = 0; c < 2 * key_run<E, BITS>::WORDS; c++) {
			uint32_t token = encode_token(r, k.row + i);
			float x;

			numbers<E, 2>::unpack(load_numbers<numbers<E, 2> >(
				encode_row(t, r, token), k.dim + c), &x);
			if (!is_finite(x))
				encode_fault(t, r, CUDA_FAULT_DOM, token, k.dim + c);
		}
}

/* Words of codes of a thread's channels, [RUN / PER_WORD] of each; `at`: its channels. */
template <enum ckv_elem E, int BITS>
__device__ static inline void put_run(const struct key_run<E, BITS> &k,
				      const struct key_room &room, uint32_t at,
				      uint32_t dim, uint32_t *to)
{
	typedef struct key_run<E, BITS> run;
	const uint32_t HALF = 16 / BITS, N = run::RUN / run::PER_WORD;
	uint32_t factor[run::WORDS], base[run::WORDS], inverse[2 * run::WORDS];
	uint32_t out[N][2 * run::WORDS];

	spread(*(const typename run::words *)(room.factor + at), factor);
	spread(*(const typename run::words *)(room.base + at), base);
	spread(*(const typename run::words *)(room.inverse + at), inverse);
	spread(*(const typename run::words *)(room.inverse + at + run::WORDS),
	       inverse + run::WORDS);
#pragma unroll
	for (uint32_t j = 0; j < run::WORDS; j++) {
		struct kivi_pair p = { factor[j], base[j], __uint_as_float(inverse[2 * j]),
				       __uint_as_float(inverse[2 * j + 1]) };
		uint32_t codes[run::RUN];

#pragma unroll
		for (uint32_t i = 0; i < run::RUN; i++)
			codes[i] = kivi_codes<E, BITS>(k.word[i][j], p);
#pragma unroll
		for (uint32_t w = 0; w < N; w++) {
			uint32_t *first = codes + w * run::PER_WORD;
			uint32_t a = kivi_join<E, BITS, HALF, BITS>(first);
			uint32_t b = kivi_join<E, BITS, HALF, BITS>(first + HALF);

			out[w][2 * j] = (a & 0xffffu) | b << 16;
			out[w][2 * j + 1] = a >> 16 | (b & 0xffff0000u);
		}
	}
#pragma unroll
	for (uint32_t w = 0; w < N; w++) {
		uint32_t n = k.n > w * run::PER_WORD ? k.n - w * run::PER_WORD : 0;
		uint32_t there = n < run::PER_WORD ? (1u << n * BITS) - 1 : UINT32_MAX;
		uint4 *row = (uint4 *)(to + (size_t)w * dim);

#pragma unroll
		for (uint32_t c = 0; n > 0 && c < 2 * run::WORDS; c += 4)
			row[c / 4] = make_uint4(out[w][c] & there, out[w][c + 1] & there,
						out[w][c + 2] & there,
						out[w][c + 3] & there);
	}
}

#endif

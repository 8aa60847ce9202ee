/* SPDX-License-Identifier: Apache-2.0 */
/*
 * xxh3.cuh - XXH3-64 of a run of bytes, by four lanes (the hash of libxxhash).
 *
 * Of more than 240 bytes XXH3 makes eight sums over stripes of 64 bytes. Four lanes share
 * that: each takes 16 bytes of every stripe and two of the sums, and needs nothing from
 * the others until the end. Together they read 64 consecutive bytes at a time, and a warp
 * works on eight pieces. Up to 240 bytes one lane does all.
 *
 * The seed changes the secret: it is added to its even words and subtracted from the odd
 * ones. A word of the secret that does not begin at a multiple of 8 bytes is put together
 * from two.
 */
#ifndef CKV_KERNELS_XXH3_CUH
#define CKV_KERNELS_XXH3_CUH

#include "kernels/common.cuh"

#define XXH3_SECRET_WORDS	24u
#define XXH3_STRIPE		64u
#define XXH3_BLOCK_STRIPES	16u
#define XXH3_LONG		240u	/* bytes, and more: stripes */

#define XXH_P32_1	0x9e3779b1u
#define XXH_P32_2	0x85ebca77u
#define XXH_P32_3	0xc2b2ae3du
#define XXH_P64_1	0x9e3779b185ebca87u
#define XXH_P64_2	0xc2b2ae3d27d4eb4fu
#define XXH_P64_3	0x165667b19e3779f9u
#define XXH_P64_4	0x85ebca77c2b2ae63u
#define XXH_P64_5	0x27d4eb2f165667c5u

__device__ static const uint64_t xxh3_secret[XXH3_SECRET_WORDS] = {
	0xbe4ba423396cfeb8u, 0x1cad21f72c81017cu, 0xdb979083e96dd4deu,
	0x1f67b3b7a4a44072u, 0x78e5c0cc4ee679cbu, 0x2172ffcc7dd05a82u,
	0x8e2443f7744608b8u, 0x4c263a81e69035e0u, 0xcb00c391bb52283cu,
	0xa32e531b8b65d088u, 0x4ef90da297486471u, 0xd8acdea946ef1938u,
	0x3f349ce33f76faa8u, 0x1d4f0bc7c7bbdcf9u, 0x3159b4cd4be0518au,
	0x647378d9c97e9fc8u, 0xc3ebd33483acc5eau, 0xeb6313faffa081c5u,
	0x49daf0b751dd0d17u, 0x9e68d429265516d3u, 0xfca1477d58be162bu,
	0xce31d07ad1b8f88fu, 0x280416958f3acb45u, 0x7e404bbbcafbd7afu,
};

/* 64 bits of the secret from byte `at` on, its words changed by the seed. */
__device__ static inline uint64_t xxh3_key(const uint64_t *secret, uint32_t at,
					   uint64_t seed)
{
	uint32_t word = at / 8, shift = at % 8 * 8;
	uint64_t low = secret[word] + (word % 2 ? 0 - seed : seed), high;

	if (shift == 0)
		return low;
	high = secret[word + 1] + (word % 2 ? seed : 0 - seed);
	return low >> shift | high << (64 - shift);
}

__device__ static inline uint64_t xxh3_fold(uint64_t a, uint64_t b)
{
	return a * b ^ __umul64hi(a, b);
}

__device__ static inline uint64_t xxh3_avalanche(uint64_t h)
{
	h = (h ^ h >> 37) * 0x165667919e3779f9u;
	return h ^ h >> 32;
}

/* N bytes at p, lowest first, wherever p is. */
template <int N> __device__ static inline uint64_t xxh3_read(const uint8_t *p)
{
	uint64_t x = 0;

#pragma unroll
	for (int i = 0; i < N; i++)
		x |= (uint64_t)p[i] << 8 * i;
	return x;
}

/* ---------------------------------------------------- up to 240 bytes, one lane */

/* Sixteen bytes with the secret from byte `at` on, which the seed has not changed. */
__device__ static inline uint64_t xxh3_mix(const uint8_t *p, const uint64_t *secret,
					   uint32_t at, uint64_t seed)
{
	return xxh3_fold(xxh3_read<8>(p) ^ (xxh3_key(secret, at, 0) + seed),
			 xxh3_read<8>(p + 8) ^ (xxh3_key(secret, at + 8, 0) - seed));
}

__device__ static inline uint64_t xxh3_final64(uint64_t h)
{
	h = (h ^ h >> 33) * XXH_P64_2;
	h = (h ^ h >> 29) * XXH_P64_3;
	return h ^ h >> 32;
}

__device__ static uint64_t xxh3_to_16(const uint8_t *p, uint32_t n, const uint64_t *secret,
				      uint64_t seed)
{
	uint64_t x, y;

	if (n == 0)
		return xxh3_final64(seed ^ secret[7] ^ secret[8]);
	if (n < 4) {
		x = (uint64_t)p[0] << 16 | (uint64_t)p[n / 2] << 24 | p[n - 1] | n << 8;
		y = (uint32_t)(secret[0] ^ secret[0] >> 32);
		return xxh3_final64(x ^ (y + seed));
	}
	if (n <= 8) {
		uint32_t low = (uint32_t)seed;

		seed ^= (uint64_t)(low << 24 | (low & 0xff00u) << 8 | (low >> 8 & 0xff00u) |
				   low >> 24) << 32;
		x = xxh3_read<4>(p + n - 4) + (xxh3_read<4>(p) << 32);
		x ^= (secret[1] ^ secret[2]) - seed;
		x ^= (x << 49 | x >> 15) ^ (x << 24 | x >> 40);
		x *= 0x9fb21c651e98df25u;
		x ^= (x >> 35) + n;
		x *= 0x9fb21c651e98df25u;
		return x ^ x >> 28;
	}
	x = xxh3_read<8>(p) ^ ((secret[3] ^ secret[4]) + seed);
	y = xxh3_read<8>(p + n - 8) ^ ((secret[5] ^ secret[6]) - seed);
	seed = 0;
	for (int i = 0; i < 8; i++)	/* x, its bytes turned round */
		seed |= (x >> 8 * i & 0xffu) << (56 - 8 * i);
	return xxh3_avalanche(n + seed + y + xxh3_fold(x, y));
}

__device__ static uint64_t xxh3_short(const uint8_t *p, uint32_t n, const uint64_t *secret,
				      uint64_t seed)
{
	uint64_t sum = n * XXH_P64_1;

	if (n <= 16)
		return xxh3_to_16(p, n, secret, seed);
	if (n <= 128) {
		for (uint32_t i = (n - 1) / 32 + 1; i-- > 0;) {
			sum += xxh3_mix(p + 16 * i, secret, 32 * i, seed);
			sum += xxh3_mix(p + n - 16 * (i + 1), secret, 32 * i + 16, seed);
		}
		return xxh3_avalanche(sum);
	}
	for (uint32_t i = 0; i < n / 16; i++) {
		if (i == 8)
			sum = xxh3_avalanche(sum);
		sum += xxh3_mix(p + 16 * i, secret, i < 8 ? 16 * i : 16 * (i - 8) + 3, seed);
	}
	if (n < 9 * 16)
		sum = xxh3_avalanche(sum);
	sum += xxh3_mix(p + n - 16, secret, 119, seed);
	return xxh3_avalanche(sum);
}

/* ------------------------------------------------------------ stripes, four lanes */

struct xxh3_sums {
	uint64_t even, odd;
};

__device__ static inline void xxh3_add(struct xxh3_sums *s, uint64_t x, uint64_t y,
				       uint64_t x_key, uint64_t y_key)
{
	x_key ^= x;
	y_key ^= y;
	s->even += y + (x_key & 0xffffffffu) * (x_key >> 32);
	s->odd += x + (y_key & 0xffffffffu) * (y_key >> 32);
}

__device__ static inline uint64_t xxh3_scramble(uint64_t sum, uint64_t key)
{
	return (sum ^ sum >> 47 ^ key) * XXH_P32_1;
}

/* Sixteen bytes at p, which is that much aligned, or only 8. */
template <bool WIDE> __device__ static inline uint4 xxh3_load(const uint8_t *p)
{
	if constexpr (WIDE) {
		return __ldg((const uint4 *)p);
	} else {
		uint2 low = __ldg((const uint2 *)p), high = __ldg((const uint2 *)p + 1);

		return make_uint4(low.x, low.y, high.x, high.y);
	}
}

/* Stripes [0, n) of a block, from this lane's bytes on. */
template <bool WIDE>
__device__ static inline void xxh3_stripes(struct xxh3_sums *s, const uint8_t *p,
					   uint32_t n, const uint64_t *secret,
					   uint64_t seed, uint32_t lane)
{
#pragma unroll 8
	for (uint32_t i = 0; i < n; i++) {
		uint4 v = xxh3_load<WIDE>(p + i * XXH3_STRIPE);

		xxh3_add(s, (uint64_t)v.y << 32 | v.x, (uint64_t)v.w << 32 | v.z,
			 xxh3_key(secret, (i + 2 * lane) * 8, seed),
			 xxh3_key(secret, (i + 2 * lane + 1) * 8, seed));
	}
}

/* This lane's share of the hash of n > 240 bytes. */
template <bool WIDE>
__device__ static inline uint64_t xxh3_share(const uint8_t *p, uint64_t n,
					     const uint64_t *secret, uint64_t seed,
					     uint32_t lane)
{
	const uint32_t block = XXH3_STRIPE * XXH3_BLOCK_STRIPES;
	uint64_t blocks = (n - 1) / block, left = n - 1 - blocks * block;
	uint32_t key = 8 * (2 * lane);
	struct xxh3_sums s = {
		lane == 0 ? XXH_P32_3 : lane == 1 ? XXH_P64_2 : lane == 2 ? XXH_P64_4 : XXH_P64_5,
		lane == 0 ? XXH_P64_1 : lane == 1 ? XXH_P64_3 : lane == 2 ? XXH_P32_2 : XXH_P32_1,
	};

	for (uint64_t i = 0; i < blocks; i++) {
		xxh3_stripes<WIDE>(&s, p + i * block + 16 * lane, XXH3_BLOCK_STRIPES, secret,
				   seed, lane);
		s.even = xxh3_scramble(s.even, xxh3_key(secret, 128 + key, seed));
		s.odd = xxh3_scramble(s.odd, xxh3_key(secret, 128 + key + 8, seed));
	}
	xxh3_stripes<WIDE>(&s, p + blocks * block + 16 * lane,
			   (uint32_t)(left / XXH3_STRIPE), secret, seed, lane);
	p += n - XXH3_STRIPE + 16 * lane;	/* the last 64 bytes, wherever they begin */
	xxh3_add(&s, xxh3_read<8>(p), xxh3_read<8>(p + 8), xxh3_key(secret, 121 + key, seed),
		 xxh3_key(secret, 121 + key + 8, seed));
	return xxh3_fold(s.even ^ xxh3_key(secret, 11 + key, seed),
			 s.odd ^ xxh3_key(secret, 11 + key + 8, seed));
}

/*
 * The hash of n bytes at p, aligned to 16 bytes or, if not WIDE, to 8, on all four
 * lanes. All lanes of the warp call; `secret` is xxh3_secret, in shared memory.
 */
template <bool WIDE>
__device__ static inline uint64_t xxh3_four(const uint8_t *p, uint64_t n,
					    const uint64_t *secret, uint64_t seed)
{
	uint64_t sum = 0;

	if (n > XXH3_LONG)
		sum = xxh3_share<WIDE>(p, n, secret, seed, threadIdx.x % 4);
	sum += __shfl_xor_sync(ALL_LANES, (unsigned long long)sum, 1);
	sum += __shfl_xor_sync(ALL_LANES, (unsigned long long)sum, 2);
	if (n > XXH3_LONG)
		return xxh3_avalanche(sum + n * XXH_P64_1);
	return xxh3_short(p, (uint32_t)n, secret, seed);
}

#endif

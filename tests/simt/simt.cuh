/* SPDX-License-Identifier: Apache-2.0 */
/*
 * simt.cuh - CUDA's words, as far as the .cu files use them, for simt.h.
 *
 * Included before a .cu file that is compiled as C++ (-include). What is missing here
 * does not compile, on purpose: float atomics, static __shared__ arrays.
 */
#ifndef CKV_SIMT_CUH
#define CKV_SIMT_CUH

#include "simt.h"

#include <cmath>
#include <cstring>
#include <tuple>
#include <type_traits>

#if !defined(__SANITIZE_ADDRESS__)
#error "the harness guards shared memory with ASan: -fsanitize=address,undefined"
#endif

#define CKV_SIMT	1

#define __global__
#define __device__
#define __host__
#define __forceinline__	inline __attribute__((always_inline))
#define __noinline__	__attribute__((noinline))
#define __launch_bounds__(...)
#define __grid_constant__

/* ---- built-in types and variables ---- */

struct dim3 {
	unsigned x, y, z;
	constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1)
		: x(x_), y(y_), z(z_) {}
};

struct alignas(8) uint2 { unsigned x, y; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
struct alignas(8) float2 { float x, y; };
struct alignas(16) float4 { float x, y, z, w; };
static inline uint2 make_uint2(unsigned x, unsigned y) { return { x, y }; }
static inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w)
{
	return { x, y, z, w };
}
static inline float2 make_float2(float x, float y) { return { x, y }; }
static inline float4 make_float4(float x, float y, float z, float w)
{
	return { x, y, z, w };
}

#define threadIdx	(simt_self->thread)
#define blockIdx	(simt_self->block)
#define blockDim	(simt_self->block_dim)
#define gridDim		(simt_self->grid_dim)
#define warpSize	32

/* ---- launches ---- */

/* Run a kernel whose i-th argument is at args[i]; they are copied once, as CUDA does. */
template <typename... P>
static int simt_launch(const char *name, void (*kernel)(P...), dim3 grid,
		       dim3 block, size_t shared_bytes, void *const *args)
{
	size_t i = 0;
	struct call {
		void (*kernel)(P...);
		std::tuple<std::decay_t<P>...> args;
	} c = { kernel, std::tuple<std::decay_t<P>...>{
			*static_cast<const std::decay_t<P> *>(args[i++])... } };
	struct simt_launch l = {
		name, { grid.x, grid.y, grid.z }, { block.x, block.y, block.z },
		shared_bytes,
		[](void *arg) {
			call *self = static_cast<call *>(arg);

			std::apply(self->kernel, self->args);
		}, &c };

	static_assert((std::is_trivially_copyable<std::decay_t<P>>::value && ...),
		      "a kernel's arguments are copied as bytes");
	return simt_run(&l);
}

/* CKV_ENTRY() here: the kernel as a function, and what kernels.c finds it by. */
#define SIMT_ENTRY(name, parameters, ...) \
	static void ckvk_##name parameters { __VA_ARGS__; } \
	extern "C" { \
	extern const struct simt_kernel simt_##name; \
	const struct simt_kernel simt_##name = { \
		[](uint32_t grid, uint32_t block, size_t shared_bytes, void *const *args) { \
			return simt_launch(#name, ckvk_##name, grid, block, shared_bytes, \
					   args); \
		} }; \
	}

/* ---- meeting others ---- */

#define SIMT_SITE(name)	(simt_site{ name, __FILE__, __LINE__ })

#define __syncthreads() \
	((void)simt_meet_block(SIMT_SYNC, 0, SIMT_SITE("__syncthreads")))
#define __syncthreads_count(p) \
	((int)simt_meet_block(SIMT_COUNT, (p) != 0, SIMT_SITE("__syncthreads_count")))
#define __syncthreads_and(p) \
	((int)simt_meet_block(SIMT_ALL, (p) != 0, SIMT_SITE("__syncthreads_and")))
#define __syncthreads_or(p) \
	((int)simt_meet_block(SIMT_ANY, (p) != 0, SIMT_SITE("__syncthreads_or")))

#define SIMT_WARP_OP(op, mask, value, name) \
	simt_meet_warp(op, mask, value, 0, SIMT_SITE(name))
#define SIMT_FULL	0xffffffffu

static inline void simt_syncwarp(uint32_t mask, simt_site site)
{
	simt_meet_warp(SIMT_SYNC, mask, 0, 0, site);
}
#define SIMT_MASK_OR_ALL(x, ...) SIMT_MASK_(__VA_OPT__(__VA_ARGS__ ,) SIMT_FULL)
#define SIMT_MASK_(mask, ...) mask
#define __syncwarp(...) \
	simt_syncwarp(SIMT_MASK_OR_ALL(0, __VA_ARGS__), SIMT_SITE("__syncwarp"))

#define __ballot_sync(mask, p) \
	((unsigned)SIMT_WARP_OP(SIMT_BALLOT, mask, \
		(uint64_t)((p) ? 1 : 0) << simt_lane(), "__ballot_sync"))
#define __any_sync(mask, p) \
	((int)SIMT_WARP_OP(SIMT_ANY, mask, (p) ? 1 : 0, "__any_sync"))
#define __all_sync(mask, p) \
	((int)SIMT_WARP_OP(SIMT_ALL, mask, (p) ? 1 : 0, "__all_sync"))
#define __match_any_sync(mask, v) \
	((unsigned)SIMT_WARP_OP(SIMT_MATCH, mask, (uint64_t)(v), "__match_any_sync"))
#define __reduce_add_sync(mask, v) \
	((unsigned)SIMT_WARP_OP(SIMT_ADD, mask, (unsigned)(v), "__reduce_add_sync"))
#define __reduce_min_sync(mask, v) \
	((unsigned)SIMT_WARP_OP(SIMT_MIN, mask, (unsigned)(v), "__reduce_min_sync"))
#define __reduce_max_sync(mask, v) \
	((unsigned)SIMT_WARP_OP(SIMT_MAX, mask, (unsigned)(v), "__reduce_max_sync"))
#define __reduce_or_sync(mask, v) \
	((unsigned)SIMT_WARP_OP(SIMT_OR, mask, (unsigned)(v), "__reduce_or_sync"))

template <typename T>
static inline T simt_shuffle(uint32_t mask, T value, uint32_t from, simt_site site)
{
	static_assert(sizeof(T) <= 8 && std::is_trivially_copyable<T>::value, "");
	uint64_t bits = 0;
	T out;

	std::memcpy(&bits, &value, sizeof value);
	bits = simt_meet_warp(SIMT_SHUFFLE, mask, bits, from, site);
	std::memcpy(&out, &bits, sizeof out);
	return out;
}

/* Lane that a shuffle of pieces of `width` lanes reads. */
static inline uint32_t simt_from(uint32_t index, uint32_t width)
{
	return (simt_lane() & ~(width - 1)) | (index & (width - 1));
}
static inline uint32_t simt_from_up(uint32_t delta, uint32_t width)
{
	uint32_t at = simt_lane() & (width - 1);

	return at >= delta ? simt_lane() - delta : simt_lane();
}
static inline uint32_t simt_from_down(uint32_t delta, uint32_t width)
{
	uint32_t at = simt_lane() & (width - 1);

	return at + delta < width ? simt_lane() + delta : simt_lane();
}
static inline uint32_t simt_from_xor(uint32_t bits, uint32_t width)
{
	uint32_t to = simt_lane() ^ bits;

	/* A lane of a later piece cannot be read; of an earlier one it can. */
	return to / width > simt_lane() / width ? simt_lane() : to;
}
#define SIMT_WIDTH_(x, width, ...) width
#define SIMT_WIDTH(...)	SIMT_WIDTH_(0 __VA_OPT__(,) __VA_ARGS__, 32)
#define __shfl_sync(mask, v, i, ...) \
	simt_shuffle(mask, v, simt_from(i, SIMT_WIDTH(__VA_ARGS__)), \
		     SIMT_SITE("__shfl_sync"))
#define __shfl_up_sync(mask, v, d, ...) \
	simt_shuffle(mask, v, simt_from_up(d, SIMT_WIDTH(__VA_ARGS__)), \
		     SIMT_SITE("__shfl_up_sync"))
#define __shfl_down_sync(mask, v, d, ...) \
	simt_shuffle(mask, v, simt_from_down(d, SIMT_WIDTH(__VA_ARGS__)), \
		     SIMT_SITE("__shfl_down_sync"))
#define __shfl_xor_sync(mask, v, b, ...) \
	simt_shuffle(mask, v, simt_from_xor(b, SIMT_WIDTH(__VA_ARGS__)), \
		     SIMT_SITE("__shfl_xor_sync"))

static inline void __threadfence() {}
static inline void __threadfence_block() {}

/* ---- atomics: integers only, so that order does not matter ---- */

#define SIMT_ATOMIC(name, expression) \
	template <typename T> static inline T name(T *at, std::common_type_t<T> v) \
	{ \
		static_assert(std::is_integral<T>::value, \
			      #name ": integers only, a sum of floats depends on its order"); \
		T old = *at; \
		*at = static_cast<T>(expression); \
		return old; \
	}
SIMT_ATOMIC(atomicAdd, old + v)
SIMT_ATOMIC(atomicSub, old - v)
SIMT_ATOMIC(atomicMin, v < old ? v : old)
SIMT_ATOMIC(atomicMax, v > old ? v : old)
SIMT_ATOMIC(atomicAnd, old & v)
SIMT_ATOMIC(atomicOr, old | v)
SIMT_ATOMIC(atomicExch, v)

/* ---- loads, bits, arithmetic of one defined rounding ---- */

template <typename T> static inline T __ldg(const T *from) { return *from; }
template <typename T> static inline T __ldcs(const T *from) { return *from; }
template <typename T> static inline T __ldcg(const T *from) { return *from; }
template <typename T> static inline void __stcs(T *to, T value) { *to = value; }
template <typename T> static inline void __stcg(T *to, T value) { *to = value; }

template <typename To, typename From> static inline To simt_bits(From from)
{
	static_assert(sizeof(To) == sizeof(From), "");
	To to;

	std::memcpy(&to, &from, sizeof to);
	return to;
}
static inline float __uint_as_float(unsigned x) { return simt_bits<float>(x); }
static inline unsigned __float_as_uint(float x) { return simt_bits<unsigned>(x); }
static inline float __int_as_float(int x) { return simt_bits<float>(x); }
static inline int __float_as_int(float x) { return simt_bits<int>(x); }

static inline int __popc(unsigned x) { return __builtin_popcount(x); }
static inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
static inline int __clz(unsigned x) { return x == 0 ? 32 : __builtin_clz(x); }
static inline int __ffs(unsigned x) { return __builtin_ffs((int)x); }
static inline unsigned __umulhi(unsigned a, unsigned b)
{
	return (unsigned)((uint64_t)a * b >> 32);
}
static inline unsigned long long __umul64hi(unsigned long long a,
					    unsigned long long b)
{
	return (unsigned long long)((unsigned __int128)a * b >> 64);
}

static inline float __fmul_rn(float a, float b) { return a * b; }
static inline float __fadd_rn(float a, float b) { return a + b; }
static inline float __fsub_rn(float a, float b) { return a - b; }
static inline float __fdiv_rn(float a, float b) { return a / b; }
static inline float __fsqrt_rn(float a) { return std::sqrt(a); }
static inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
#define __expf(x)	expf(x)	/* within the GPU's bound, not its bits */
#define __logf(x)	logf(x)

template <typename T> static inline T min(T a, T b) { return b < a ? b : a; }
template <typename T> static inline T max(T a, T b) { return a < b ? b : a; }

#endif

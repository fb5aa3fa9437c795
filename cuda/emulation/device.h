// What kernels find in the language: indices, barriers, exchange within a warp, atomics and arithmetic, under CUDA's
// names and with CUDA's meaning.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "cuda/emulation/block.h"
#include "cuda/emulation/vectors.h"

#define __global__
#define __device__
#define __host__
#define __constant__ static const
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(bytes) alignas(bytes)

namespace vivace::emulation {

template <auto read>
struct Coordinate {
  operator unsigned() const { return read(); }
};
// threadIdx.x and the like are objects that read where the calling thread is.
template <auto get>
struct Coordinates {
  Coordinate<[] { return get().x; }> x;
  Coordinate<[] { return get().y; }> y;
  Coordinate<[] { return get().z; }> z;
};

template <class T>
inline uint64_t to_bits(T value) {
  static_assert(sizeof(T) <= 8);
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  return bits;
}
template <class T>
inline T from_bits(uint64_t bits) {
  T value;
  std::memcpy(&value, &bits, sizeof(T));
  return value;
}

// The value of the lane that `source` chooses for this lane, or this lane's own where it chooses none (-1).
template <class T, class Source>
inline T shuffle_from(unsigned mask, T value, Source&& source) {
  Block& block = *this_thread->block;
  Exchange& all = block.exchange(mask, shuffle, to_bits(value));
  const int from = source(this_thread->lane());
  if (from >= 0 && (mask >> from & 1) == 0) block.fail("a shuffle reads a lane that its mask leaves out");
  const bool there = from >= 0 && (all.mask >> from & 1) != 0;
  const T result = there ? from_bits<T>(all.values[from]) : value;
  block.release(all);
  return result;
}

// Folds the values of all lanes of the mask.
template <class T, class Fold>
inline T fold_lanes(unsigned mask, ExchangeKind kind, T value, T start, Fold&& fold) {
  Block& block = *this_thread->block;
  Exchange& all = block.exchange(mask, kind, to_bits(value));
  T result = start;
  for (int lane = 0; lane < 32; ++lane)
    if ((all.mask >> lane & 1) != 0) result = fold(result, from_bits<T>(all.values[lane]), lane);
  block.release(all);
  return result;
}

// Whole numbers of 32 bits; the lowest lane's value is where the fold begins.
template <class T, class Fold>
inline T reduce_words(unsigned mask, T value, Fold&& fold) {
  static_assert(std::is_integral_v<T> && sizeof(T) == 4);
  bool begun = false;
  return fold_lanes(mask, reduce_lanes, value, value, [&](T a, T b, int) {
    const T result = begun ? fold(a, b) : b;
    begun = true;
    return result;
  });
}

// To whole numbers as cards do it: NaN is 0, beyond the range its end.
inline int to_int(float whole) {
  if (whole != whole) return 0;
  if (whole >= 0x1p31f) return INT32_MAX;
  return whole < -0x1p31f ? INT32_MIN : static_cast<int>(whole);
}

}  // namespace vivace::emulation

inline const vivace::emulation::Coordinates<[] { return vivace::emulation::this_thread->index; }> threadIdx;
inline const vivace::emulation::Coordinates<[] { return vivace::emulation::this_thread->block->index(); }> blockIdx;
inline const vivace::emulation::Coordinates<[] { return vivace::emulation::this_thread->block->launch().block; }>
    blockDim;
inline const vivace::emulation::Coordinates<[] { return vivace::emulation::this_thread->block->launch().grid; }>
    gridDim;
inline constexpr int warpSize = 32;

inline void __syncthreads() {
  vivace::emulation::this_thread->block->barrier(0);
}
inline int __syncthreads_count(int predicate) {
  return vivace::emulation::this_thread->block->barrier(predicate != 0 ? 1 : 0);
}
inline int __syncthreads_or(int predicate) {
  return __syncthreads_count(predicate) > 0 ? 1 : 0;
}
inline int __syncthreads_and(int predicate) {
  return __syncthreads_count(predicate == 0 ? 1 : 0) == 0 ? 1 : 0;
}
inline void __threadfence() {
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
}
inline void __threadfence_block() {
  __threadfence();
}

inline void __syncwarp(unsigned mask = 0xffffffffu) {
  vivace::emulation::fold_lanes(mask, vivace::emulation::sync_lanes, 0, 0, [](int a, int, int) { return a; });
}
template <class T>
inline T __shfl_sync(unsigned mask, T value, int source, int width = 32) {
  return vivace::emulation::shuffle_from(
      mask, value, [&](int lane) { return lane / width * width + ((source % width) + width) % width; });
}
template <class T>
inline T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32) {
  return vivace::emulation::shuffle_from(mask, value, [&](int lane) {
    return lane % width < static_cast<int>(delta) ? -1 : lane - static_cast<int>(delta);
  });
}
template <class T>
inline T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32) {
  return vivace::emulation::shuffle_from(mask, value, [&](int lane) {
    return lane % width + static_cast<int>(delta) >= width ? -1 : lane + static_cast<int>(delta);
  });
}
template <class T>
inline T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32) {
  return vivace::emulation::shuffle_from(mask, value, [&](int lane) {
    const int from = lane ^ bits;
    return from / width > lane / width ? -1 : from;
  });
}
inline unsigned __ballot_sync(unsigned mask, int predicate) {
  return vivace::emulation::fold_lanes(mask, vivace::emulation::vote, predicate != 0 ? 1u : 0u, 0u,
                                       [](unsigned sum, unsigned one, int lane) { return sum | one << lane; });
}
inline int __any_sync(unsigned mask, int predicate) {
  return __ballot_sync(mask, predicate) != 0 ? 1 : 0;
}
inline int __all_sync(unsigned mask, int predicate) {
  return __ballot_sync(mask, predicate == 0 ? 1 : 0) == 0 ? 1 : 0;
}
// Of 32-bit whole numbers only, as on cards.
template <class T>
inline T __reduce_add_sync(unsigned mask, T value) {
  return vivace::emulation::reduce_words(mask, value, [](T a, T b) { return static_cast<T>(a + b); });
}
template <class T>
inline T __reduce_max_sync(unsigned mask, T value) {
  return vivace::emulation::reduce_words(mask, value, [](T a, T b) { return a > b ? a : b; });
}
template <class T>
inline T __reduce_min_sync(unsigned mask, T value) {
  return vivace::emulation::reduce_words(mask, value, [](T a, T b) { return a < b ? a : b; });
}
inline unsigned __reduce_and_sync(unsigned mask, unsigned value) {
  return vivace::emulation::reduce_words(mask, value, [](unsigned a, unsigned b) { return a & b; });
}
inline unsigned __reduce_or_sync(unsigned mask, unsigned value) {
  return vivace::emulation::reduce_words(mask, value, [](unsigned a, unsigned b) { return a | b; });
}
inline unsigned __reduce_xor_sync(unsigned mask, unsigned value) {
  return vivace::emulation::reduce_words(mask, value, [](unsigned a, unsigned b) { return a ^ b; });
}
// The lanes that have this lane's value.
template <class T>
inline unsigned __match_any_sync(unsigned mask, T value) {
  const uint64_t mine = vivace::emulation::to_bits(value);
  return static_cast<unsigned>(vivace::emulation::fold_lanes(
      mask, vivace::emulation::match_lanes, mine, uint64_t{0},
      [=](uint64_t found, uint64_t one, int lane) { return found | static_cast<uint64_t>(one == mine) << lane; }));
}

// Blocks run on several threads of this machine: atomics are atomic.
namespace vivace::emulation {
template <class T, class Change>
inline T change(T* address, Change&& next) {
  T old;
  __atomic_load(address, &old, __ATOMIC_RELAXED);
  for (;;) {
    T wanted = next(old);
    if (__atomic_compare_exchange(address, &old, &wanted, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED)) return old;
  }
}
}  // namespace vivace::emulation
template <class T>
inline T atomicAdd(T* address, T value) {
  return vivace::emulation::change(address, [&](T old) { return static_cast<T>(old + value); });
}
template <class T>
inline T atomicMax(T* address, T value) {
  return vivace::emulation::change(address, [&](T old) { return old > value ? old : value; });
}
template <class T>
inline T atomicMin(T* address, T value) {
  return vivace::emulation::change(address, [&](T old) { return old < value ? old : value; });
}
template <class T>
inline T atomicExch(T* address, T value) {
  return vivace::emulation::change(address, [&](T) { return value; });
}
template <class T>
inline T atomicCAS(T* address, T compare, T value) {
  return vivace::emulation::change(address, [&](T old) { return old == compare ? value : old; });
}

inline float __uint_as_float(unsigned bits) {
  return vivace::emulation::from_bits<float>(bits);
}
inline unsigned __float_as_uint(float value) {
  return static_cast<unsigned>(vivace::emulation::to_bits(value));
}
inline float __int_as_float(int bits) {
  return __uint_as_float(static_cast<unsigned>(bits));
}
inline int __float_as_int(float value) {
  return static_cast<int>(__float_as_uint(value));
}
inline int __float2int_rn(float value) {
  return vivace::emulation::to_int(std::nearbyint(value));
}
inline int __float2int_rd(float value) {
  return vivace::emulation::to_int(std::floor(value));
}
inline float __fadd_rn(float a, float b) {
  return a + b;
}
inline float __fsub_rn(float a, float b) {
  return a - b;
}
inline float __fmul_rn(float a, float b) {
  return a * b;
}
inline float __fdiv_rn(float a, float b) {
  return a / b;
}
inline float __fsqrt_rn(float a) {
  return std::sqrt(a);
}
inline float __fmaf_rn(float a, float b, float c) {
  return std::fma(a, b, c);
}
inline float __fdividef(float a, float b) {
  return a / b;
}
inline float __expf(float a) {
  return std::exp(a);
}
inline float __logf(float a) {
  return std::log(a);
}
inline float rsqrtf(float a) {
  return 1.0f / std::sqrt(a);
}
inline float __frcp_rn(float a) {
  return 1.0f / a;
}
inline float __saturatef(float a) {
  return a > 1.0f ? 1.0f : a > 0.0f ? a : 0.0f;
}
inline int __popc(unsigned a) {
  return __builtin_popcount(a);
}
inline int __popcll(unsigned long long a) {
  return __builtin_popcountll(a);
}
inline int __ffs(int a) {
  return __builtin_ffs(a);
}
inline int __ffsll(long long a) {
  return __builtin_ffsll(a);
}
inline int __clz(int a) {
  return a == 0 ? 32 : __builtin_clz(static_cast<unsigned>(a));
}
inline int __clzll(long long a) {
  return a == 0 ? 64 : __builtin_clzll(static_cast<unsigned long long>(a));
}
inline unsigned __umulhi(unsigned a, unsigned b) {
  return static_cast<unsigned>(static_cast<uint64_t>(a) * b >> 32);
}
// Four bytes of the eight of (y, x), each chosen by a nibble of the selector.
inline unsigned __byte_perm(unsigned x, unsigned y, unsigned selector) {
  const uint64_t bytes = static_cast<uint64_t>(y) << 32 | x;
  unsigned result = 0;
  for (int i = 0; i < 4; ++i) {
    const unsigned nibble = selector >> (4 * i) & 15;
    unsigned byte = static_cast<unsigned>(bytes >> (8 * (nibble & 7))) & 255;
    if ((nibble & 8) != 0) byte = (byte & 128) != 0 ? 255 : 0;
    result |= byte << (8 * i);
  }
  return result;
}
inline int __dp4a(int a, int b, int sum) {
  for (int i = 0; i < 4; ++i) sum += static_cast<int8_t>(a >> (8 * i)) * static_cast<int8_t>(b >> (8 * i));
  return sum;
}
inline unsigned __dp4a(unsigned a, unsigned b, unsigned sum) {
  for (int i = 0; i < 4; ++i) sum += (a >> (8 * i) & 255) * (b >> (8 * i) & 255);
  return sum;
}
template <class T>
inline T __ldg(const T* address) {
  return *address;
}
template <class T>
inline T __ldcg(const T* address) {
  return *address;
}
template <class T>
inline T __ldcs(const T* address) {
  return *address;
}
// Of floating numbers the one that is a number.
template <class A, class B>
constexpr auto min(A a, B b) {
  if constexpr (std::is_floating_point_v<A> || std::is_floating_point_v<B>)
    return a < b || b != b ? a : b;
  else
    return a < b ? a : b;
}
template <class A, class B>
constexpr auto max(A a, B b) {
  if constexpr (std::is_floating_point_v<A> || std::is_floating_point_v<B>)
    return a > b || b != b ? a : b;
  else
    return a > b ? a : b;
}

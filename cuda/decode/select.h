// Selection by rank within a block of threads: greater score first, of equals the lower place. Nothing is sorted.
// Masses are whole numbers, so that sums are the same in any order and may be made by atomics; results are exact.
#pragma once
#include <cuda_runtime.h>

#include <cstdint>

#include "cuda/core/reduce.h"
#include "cuda/core/shared.h"
#include "cuda/decode/select_sizes.h"

namespace vivace::cuda {

constexpr int select_few = 256;  // are compared with each other; not more than threads of a block

// Floats as integers in the same order; -0 counts as 0.
__device__ inline uint32_t float_order(float value) {
  const uint32_t bits = __float_as_uint(value + 0.0f);
  return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
}

// Ranks as integers that all differ, the first rank the greatest.
__device__ inline uint64_t rank_key(uint32_t order, int place) {
  return static_cast<uint64_t>(order) << 32 | (0xFFFFFFFFu - static_cast<uint32_t>(place));
}

// The sum of the values of the threads up to this one.
template <class T>
__device__ inline T scan_block(T value) {
  SHARED(T, warps, 32);
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  for (int step = 1; step < 32; step *= 2) {
    const T other = __shfl_up_sync(0xffffffffu, value, static_cast<unsigned>(step));
    if (lane >= step) value = other + value;
  }
  __syncthreads();  // the last call may still be read
  if (lane == 31) warps[warp] = value;
  __syncthreads();
  T before = T{0};
  for (int i = 0; i < warp; ++i) before += static_cast<T>(warps[i]);
  return before + value;
}

__device__ inline uint64_t least_of_block(uint64_t value) {
  return fold_block(value, [](uint64_t a, uint64_t b) { return a < b ? a : b; });
}

// The last key of the smallest set of first ranks whose masses together reach `wanted`, at least one; all, when they do
// not reach it. mass(i) of [0, count): 0 is out of the running; the sum fits 63 bits. `words`: select_words.
template <class Score, class Mass>
__device__ uint64_t select_rank(int count, uint64_t wanted, Score&& score, Mass&& mass, unsigned long long* words) {
  SHARED(uint64_t, keys, select_few);
  SHARED(uint64_t, masses, select_few);
  SHARED(uint64_t, narrowed, 2);  // the bucket, the mass of those above it
  const int thread = static_cast<int>(threadIdx.x), threads = static_cast<int>(blockDim.x);
  uint32_t low = 0, high = 0xFFFFFFFFu;
  uint64_t have = 0;
  if (wanted == 0) wanted = 1;
  for (;;) {
    uint32_t least = 0xFFFFFFFFu, greatest = 0;
    int found = 0;
    for (int i = thread; i < count; i += threads) {
      const uint32_t order = float_order(score(i));
      if (order < low || order > high || mass(i) == 0) continue;
      least = order < least ? order : least;
      greatest = order > greatest ? order : greatest;
      ++found;
    }
    found = sum_of_block(found);
    low = fold_block(least, [](uint32_t a, uint32_t b) { return a < b ? a : b; });
    high = fold_block(greatest, [](uint32_t a, uint32_t b) { return a > b ? a : b; });
    if (found == 0) return 0;
    if (found <= select_few) break;
    if (low == high) {  // equals: the first places
      int last = -1;
      for (int base = 0; base < count; base += threads) {
        const int i = base + thread;
        const bool in = i < count && float_order(score(i)) == low && mass(i) != 0;
        const uint64_t sum = have + scan_block(in ? static_cast<uint64_t>(mass(i)) : uint64_t{0});
        const uint64_t first = least_of_block(in && sum >= wanted ? static_cast<uint64_t>(i) : ~uint64_t{0});
        if (first != ~uint64_t{0}) return rank_key(low, static_cast<int>(first));
        last = max_of_block(in ? i : last);
        have = fold_block(sum, [](uint64_t a, uint64_t b) { return a > b ? a : b; });
      }
      return rank_key(low, last);
    }
    const int width = 32 - __clz(static_cast<int>(high - low)), shift = width > 10 ? width - 10 : 0;
    for (int i = thread; i < select_buckets; i += threads) words[i] = 0;
    __syncthreads();
    for (int i = thread; i < count; i += threads) {
      const uint32_t order = float_order(score(i));
      const uint64_t m = mass(i);
      if (order < low || order > high || m == 0) continue;
      atomicAdd(words + ((order - low) >> shift), static_cast<unsigned long long>(m));
    }
    __syncthreads();
    // Thread 0 has the greatest buckets.
    const int each = select_buckets / threads, top = select_buckets - 1 - thread * each;
    uint64_t own = 0;
    for (int i = 0; i < each; ++i) own += words[top - i];
    uint64_t before = have + scan_block(own) - own;
    if (thread == 0) narrowed[0] = select_buckets;
    __syncthreads();
    const uint64_t reached = least_of_block(before + own >= wanted ? static_cast<uint64_t>(thread) : ~uint64_t{0});
    // Where nobody reaches it, the last bucket that has mass.
    const int chosen = reached != ~uint64_t{0} ? static_cast<int>(reached) : max_of_block(own != 0 ? thread : 0);
    if (thread == chosen) {
      int bucket = -1;
      uint64_t above = before;
      for (int i = 0; i < each; ++i) {
        const uint64_t m = words[top - i];
        if (m == 0) continue;
        bucket = top - i;
        above = before;
        if (before + m >= wanted) break;
        before += m;
      }
      narrowed[0] = static_cast<uint64_t>(bucket);
      narrowed[1] = above;
    }
    __syncthreads();
    const auto bucket = static_cast<uint32_t>(static_cast<uint64_t>(narrowed[0]));
    have = narrowed[1];
    low += bucket << shift;
    const uint32_t end = low + ((1u << shift) - 1);
    high = end < high && end >= low ? end : high;
    __syncthreads();
  }
  if (thread == 0) words[select_buckets] = 0;
  __syncthreads();
  for (int i = thread; i < count; i += threads) {
    const uint32_t order = float_order(score(i));
    if (order < low || order > high || mass(i) == 0) continue;
    const auto at = static_cast<int>(atomicAdd(words + select_buckets, 1ull));
    keys[at] = rank_key(order, i);
    masses[at] = static_cast<uint64_t>(mass(i));
  }
  __syncthreads();
  const auto few = static_cast<int>(words[select_buckets]);
  uint64_t kept = ~uint64_t{0};
  for (int i = thread; i < few; i += threads) {
    const uint64_t key = keys[i];
    uint64_t greater = have;
    for (int j = 0; j < few; ++j)
      greater += static_cast<uint64_t>(keys[j]) > key ? static_cast<uint64_t>(masses[j]) : 0;
    if (greater < wanted && key < kept) kept = key;
  }
  kept = least_of_block(kept);
  __syncthreads();
  return kept;
}

}  // namespace vivace::cuda

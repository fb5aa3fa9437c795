// The places of the largest of many values, ascending, of equal ones the first: found without sorting, by a block of
// threads. Values are counted by ranges of what they are as whole numbers, then the range that has the last one wanted
// is looked at again, until it is one value.
#pragma once
#include "cuda/core/reduce.h"
#include "cuda/core/shared.h"

namespace vivace::cuda {

inline constexpr int score_buckets = 2048;

// Grows with the float.
__device__ inline uint32_t rank_of(float value) {
  const uint32_t bits = __float_as_uint(value);
  return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
}

struct LastTaken {
  uint32_t rank;  // of the last one wanted
  int above;      // that are larger
};

template <int threads>
__device__ LastTaken last_taken(const float* values, int count, int wanted) {
  SHARED(int, buckets, score_buckets);
  SHARED(int, parts, threads / 32);
  SHARED(int, found, 2);
  constexpr int each = score_buckets / threads;
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32;
  uint32_t low = 0xffffffffu, high = 0;
  for (int i = thread; i < count; i += threads) {
    const uint32_t rank = rank_of(values[i]);
    low = rank < low ? rank : low;
    high = rank > high ? rank : high;
  }
  low = fold_block(low, [](uint32_t a, uint32_t b) { return a < b ? a : b; });
  high = fold_block(high, [](uint32_t a, uint32_t b) { return a > b ? a : b; });
  int above = 0;
  while (low != high) {
    int shift = 0;
    while ((high - low) >> shift >= static_cast<uint32_t>(score_buckets)) ++shift;
    for (int i = thread; i < score_buckets; i += threads) buckets[i] = 0;
    __syncthreads();
    for (int i = thread; i < count; i += threads) {
      const uint32_t rank = rank_of(values[i]);
      if (rank >= low && rank <= high) add_shared(buckets, static_cast<int>((rank - low) >> shift), 1);
    }
    __syncthreads();
    // Thread 0 has the greatest ranges.
    const int top = score_buckets - 1 - thread * each;
    int own = 0;
    for (int i = 0; i < each; ++i) own += buckets[top - i];
    int up_to = own;
    for (int step = 1; step < 32; step *= 2) {
      const int other = __shfl_up_sync(0xffffffffu, up_to, static_cast<unsigned>(step));
      if (lane >= step) up_to += other;
    }
    if (lane == 31) parts[thread / 32] = up_to;
    __syncthreads();
    for (int warp = 0; warp < thread / 32; ++warp) up_to += parts[warp];
    int before = above + up_to - own;
    if (before < wanted && above + up_to >= wanted) {
      int at = top;
      while (before + buckets[at] < wanted) before += buckets[at--];
      found[0] = at;
      found[1] = before;
    }
    __syncthreads();
    above = found[1];
    low += static_cast<uint32_t>(static_cast<int>(found[0])) << shift;
    const uint32_t end = low + ((1u << shift) - 1);
    high = end < high ? end : high;
    __syncthreads();
  }
  return {low, above};
}

// Calls put(n, place) for the n-th place. wanted ≤ count. Each warp has a part of the values of its own.
template <int threads, class Put>
__device__ void take_largest(const float* values, int count, int wanted, Put&& put) {
  constexpr int warps = threads / 32;
  SHARED(int, greater, warps);
  SHARED(int, equal, warps);
  if (wanted <= 0) return;
  const LastTaken last = last_taken<threads>(values, count, wanted);
  const int lane = static_cast<int>(threadIdx.x % 32), warp = static_cast<int>(threadIdx.x / 32);
  const int part = ((count + warps - 1) / warps + 31) / 32 * 32, begin = warp * part;
  const int end = begin + part < count ? begin + part : count, room = wanted - last.above;
  int counts[2] = {0, 0};
  for (int i = begin + lane; i < end; i += 32) {
    const uint32_t rank = rank_of(values[i]);
    counts[0] += rank > last.rank ? 1 : 0;
    counts[1] += rank == last.rank ? 1 : 0;
  }
  for (int step = 16; step > 0; step /= 2)
    for (int& one : counts) one += __shfl_xor_sync(0xffffffffu, one, step);
  if (lane == 0) {
    greater[warp] = counts[0];
    equal[warp] = counts[1];
  }
  __syncthreads();
  int above = 0, same = 0;
  for (int w = 0; w < warp; ++w) {
    above += greater[w];
    same += equal[w];
  }
  for (int from = begin; from < end; from += 32) {
    const int i = from + lane;
    const uint32_t rank = i < end ? rank_of(values[i]) : 0, less = (1u << lane) - 1;
    const bool is_above = i < end && rank > last.rank, is_same = i < end && rank == last.rank;
    const uint32_t all_above = __ballot_sync(0xffffffffu, is_above ? 1 : 0);
    const uint32_t all_same = __ballot_sync(0xffffffffu, is_same ? 1 : 0);
    const int same_before = same + __popc(all_same & less), above_before = above + __popc(all_above & less);
    if (is_above || (is_same && same_before < room)) put(above_before + (same_before < room ? same_before : room), i);
    above += __popc(all_above);
    same += __popc(all_same);
  }
}

}  // namespace vivace::cuda

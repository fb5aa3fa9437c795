// Sums and maxima over a block of threads. Every thread of the block calls them and gets the result; the order of
// summation depends on the block's size alone.
#pragma once
#include "cuda/core/shared.h"

namespace vivace::cuda {

template <class T, class Fold>
__device__ inline T fold_block(T value, Fold&& fold) {
  SHARED(T, parts, 32);
  for (int step = 16; step > 0; step /= 2) value = fold(value, __shfl_xor_sync(0xffffffffu, value, step));
  const unsigned warps = blockDim.x / 32;
  if (warps == 1) return value;
  __syncthreads();  // the last call may still be read
  if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = value;
  __syncthreads();
  T all = parts[0];
  for (unsigned warp = 1; warp < warps; ++warp) all = fold(all, static_cast<T>(parts[warp]));
  return all;
}

template <class T>
__device__ inline T sum_of_block(T value) {
  return fold_block(value, [](T a, T b) { return a + b; });
}
template <class T>
__device__ inline T max_of_block(T value) {
  return fold_block(value, [](T a, T b) { return a > b ? a : b; });
}

}  // namespace vivace::cuda

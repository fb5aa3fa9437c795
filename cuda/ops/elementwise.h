// The grid of kernels that compute each value by itself.
#pragma once
#include "cuda/core/launch.h"
#include "cuda/program/device_op.h"

namespace vivace::cuda {

inline constexpr int elementwise_block = 128;

// Blocks for `count` values; each thread goes on by the whole grid.
inline Launch elementwise(int64_t count, const DeviceRun& run) {
  const int64_t blocks = (count + elementwise_block - 1) / elementwise_block;
  const int64_t most = int64_t{32} * run.device->multiprocessors;
  const unsigned grid = static_cast<unsigned>(blocks < 1 ? 1 : blocks < most ? blocks : most);
  return Launch{dim3(grid), dim3(elementwise_block), 0, run.stream};
}

// Calls body(i) for this thread's share of [0, count).
template <class Body>
__device__ inline void for_each_value(int64_t count, Body&& body) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += step) body(i);
}

template <class T>
inline T* values_of(const Tensor& tensor) {
  return reinterpret_cast<T*>(tensor.data);
}

}  // namespace vivace::cuda

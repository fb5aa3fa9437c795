// What the ops that end in a root mean square share: one order of summation, so one result.
#pragma once
#include "cuda/core/reduce.h"

namespace vivace::cuda {

inline constexpr unsigned rms_threads = 128;

// 1 / √(mean(x²) + ε) for all threads of a block of rms_threads.
__device__ inline float inverse_rms(const float* x, int64_t width, float epsilon) {
  float sum = 0;
  for (int64_t i = threadIdx.x; i < width; i += blockDim.x) sum = fmaf(x[i], x[i], sum);
  return 1.0f / sqrtf(sum_of_block(sum) / static_cast<float>(width) + epsilon);
}

}  // namespace vivace::cuda

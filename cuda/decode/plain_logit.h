// The logit that the model gave a token, read by a block of threads.
#pragma once
#include <cuda_runtime.h>

#include <cstdint>

#include "cuda/core/shared.h"
#include "cuda/decode/draw_row.h"

namespace vivace::cuda {

// Of the row `x`, whatever bias and penalties made of it. Every thread of the block calls it and gets the result.
__device__ inline float plain_logit(const float* x, const DrawRow& row, const DrawLists& lists, int32_t token) {
  SHARED(float, found, 1);
  const int thread = static_cast<int>(threadIdx.x);
  __syncthreads();  // the last call may still be read
  if (thread == 0) found[0] = x[token];
  __syncthreads();
  if ((row.flags & draw_adjusted) != 0) {
    for (int i = thread; i < row.seen_count; i += static_cast<int>(blockDim.x))
      if (lists.seen[row.seen_begin + i] == token) found[0] = lists.old_seen[row.seen_begin + i];
    __syncthreads();
    for (int i = thread; i < row.bias_count; i += static_cast<int>(blockDim.x))
      if (lists.bias_tokens[row.bias_begin + i] == token) found[0] = lists.old_biased[row.bias_begin + i];
    __syncthreads();
  }
  return found[0];
}

}  // namespace vivace::cuda

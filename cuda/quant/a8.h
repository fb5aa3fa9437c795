// A warp quantises 32 values to a block of A8 (cpp/ops/linear/a8.h): the same bits as on the CPU.
#pragma once
#include <cuda_runtime.h>

#include "cuda/core/shared.h"
#include "ops/linear/a8.h"

namespace vivace::cuda {

// Lane i has value i. All lanes of a warp call this.
__device__ inline void quantize_block(float value, A8Block* block) {
  static_assert(offsetof(A8Block, minus_sums) == 4 && offsetof(A8Block, scaled_sums) == 16);
  const int lane = static_cast<int>(threadIdx.x % 32);
  const uint32_t top = __reduce_max_sync(0xffffffffu, __float_as_uint(value) & 0x7fffffffu);
  const bool spoilt = top >= 0x7f800000u, empty = top < 0x0d800000u || spoilt;  // 2^-100, infinity
  const float largest = __uint_as_float(top);
  const float scale = spoilt ? __uint_as_float(0x7fc00000u) : empty ? 0.0f : largest / 127.0f;
  const int code = empty ? 0 : __float2int_rn(value * (127.0f / largest));
  const int all = __reduce_add_sync(0xffffffffu, code), low = __reduce_add_sync(0xffffffffu, lane < 16 ? code : 0);
  block->codes[lane] = static_cast<int8_t>(code);
  if (lane >= 8) return;
  // Words of the head: scale; minus the sums of both halves and of all; their products with the scale; nothing.
  const int sum = lane % 4 == 3 ? all : lane == 1 || lane == 4 ? low : lane == 2 || lane == 5 ? all - low : all;
  const uint32_t word = lane == 0   ? __float_as_uint(scale)
                        : lane < 4  ? static_cast<uint32_t>(-sum)
                        : lane == 7 ? 0u
                        : spoilt    ? __float_as_uint(scale)
                                    : __float_as_uint(static_cast<float>(sum) * scale);
  store_as(reinterpret_cast<uint32_t*>(block), static_cast<size_t>(lane), word);
}

}  // namespace vivace::cuda

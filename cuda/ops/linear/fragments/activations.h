// x of the kernels for weights in fragments: per 128 columns of a row a power of two and 16-bit floats. Rounding them
// is all that is lost, and nothing is too large: the largest of the 128 lies in [2^14, 2^15).
//
// In scratch memory (F16, rows · 256 bytes per unit) rows are contiguous within a unit, so that a tile of x is one
// piece.
#pragma once
#include <cstdint>

#include "cuda/core/packed.h"
#include "cuda/core/shared.h"
#include "cuda/ops/linear/arguments.h"
#include "cuda/quant/fragments.h"

namespace vivace::cuda {

// A lane's four columns of 128, and the power of two that belongs to all of them.
struct HalvedX {
  uint2 values;
  float scale;
};

// What a warp reads of a row; columns beyond it and rows beyond the last are zeros.
__device__ inline float4 load_x(const LinearArguments& a, int row, int unit) {
  const int k = unit * FragmentLayout::columns + 4 * static_cast<int>(threadIdx.x % 32);
  if (row >= a.rows || k >= a.columns) return make_float4(0, 0, 0, 0);
  return load_as<float4>(a.x + row * a.x_stride, static_cast<size_t>(4 * k));
}
// All lanes of a warp call this with the 128 values of one row.
__device__ inline HalvedX halve_x(const float4& x) {
  const auto size = [](float value) { return __float_as_uint(value) & 0x7fffffffu; };
  const uint32_t top = __reduce_max_sync(0xffffffffu, max(max(size(x.x), size(x.y)), max(size(x.z), size(x.w))));
  // 2^(14 - exponent of the largest); its reciprocal must be a normal number.
  const uint32_t up = min(268u - (top >> 23), 253u);
  const float factor = __uint_as_float(up << 23);
  return {make_uint2(pack_f16(x.x * factor, x.y * factor), pack_f16(x.z * factor, x.w * factor)),
          __uint_as_float((254u - up) << 23)};
}

}  // namespace vivace::cuda

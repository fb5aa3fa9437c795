// Sums of products with F32, F16 and BF16 weights: a register tile of 4 weight rows against a few batch rows, all of k.
//
// An output is a vector of partial sums over k (lane k mod lanes), one multiply-add each in order of k, then added
// across lanes in the fixed order of core/simd.h: it depends on neither the number of rows nor the place in the tile.
#pragma once
#include <cstring>

#include "core/simd/codes.h"

namespace vivace::VIVACE_ISA {

inline constexpr int weight_tile = 4;                    // weight rows of a register tile
inline constexpr int row_tile = F32::lanes > 8 ? 4 : 2;  // batch rows; 16 vectors of sums where there are 32 registers

struct WeightF32 {
  using Stored = float;
  static F32 load_all(const float* p) { return load(p); }
};

struct WeightF16 {
  using Stored = uint16_t;
  static F32 load_all(const uint16_t* p) { return load_f16(p); }
};

struct WeightBF16 {
  using Stored = uint16_t;
  static F32 load_all(const uint16_t* p) { return load_bf16(p); }
};

// The first `count` weights, then zeros; like all reads of weights, from any address.
template <class Weight>
inline F32 load_first(const typename Weight::Stored* p, int count) {
  typename Weight::Stored values[F32::lanes] = {};
  std::memcpy(values, p, sizeof(values[0]) * static_cast<size_t>(count));
  return Weight::load_all(values);
}

// out[r][n] = weights[n] · x[r] for R batch rows. Meanwhile as many bytes as the weights have are fetched from `next`
// on (null: none).
template <class Weight, int R>
inline void multiply_floats(const typename Weight::Stored* const* weights, const float* const* x, int64_t columns,
                            const std::byte* next, float (*out)[weight_tile]) {
  F32 sums[R][weight_tile];
  for (int r = 0; r < R; ++r)
    for (int n = 0; n < weight_tile; ++n) sums[r][n] = zero();
  const auto step = [&](auto&& weight_at, auto&& x_at) {
    F32 w[weight_tile];
    for (int n = 0; n < weight_tile; ++n) w[n] = weight_at(weights[n]);
    for (int r = 0; r < R; ++r) {
      const F32 value = x_at(x[r]);
      for (int n = 0; n < weight_tile; ++n) sums[r][n] = fma(w[n], value, sums[r][n]);
    }
  };
  int64_t k = 0;
  constexpr int step_bytes = weight_tile * F32::lanes * static_cast<int>(sizeof(typename Weight::Stored));
  for (; k + F32::lanes <= columns; k += F32::lanes) {
    if (next != nullptr) {
      for (int line = 0; line < step_bytes; line += 64) prefetch(next + line);
      next += step_bytes;
    }
    step([&](const auto* p) { return Weight::load_all(p + k); }, [&](const float* p) { return load(p + k); });
  }
  if (k < columns) {
    const int rest = static_cast<int>(columns - k);
    step([&](const auto* p) { return load_first<Weight>(p + k, rest); },
         [&](const float* p) { return load_partial(p + k, rest); });
  }
  for (int r = 0; r < R; ++r) sum4(out[r], sums[r][0], sums[r][1], sums[r][2], sums[r][3]);
}

}  // namespace vivace::VIVACE_ISA

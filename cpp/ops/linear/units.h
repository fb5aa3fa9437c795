// How linear kernels divide their work, and their epilogue. For files compiled per level.
#pragma once
#include "core/simd.h"
#include "program/op.h"

namespace vivace::VIVACE_ISA {

inline constexpr int64_t unit_cache_bytes =
    512 * 1024;  // of activations in a unit: they stay in the second-level cache

inline int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}
inline int64_t smaller(int64_t a, int64_t b) {
  return a < b ? a : b;
}

// Batch rows per unit: a multiple of 8, at most `most`.
inline int64_t block_of_rows(int64_t bytes_per_row, int64_t most) {
  const int64_t rows = unit_cache_bytes / (bytes_per_row + 1) / 8 * 8;
  return rows < 8 ? 8 : smaller(rows, most);
}

// Calls unit(first weight row, first batch row, batch rows) for the units of this member.
template <class Unit>
inline void for_units(const OpRun& run, Team& team, int weight_rows, int64_t block, Unit&& unit) {
  const int64_t rows = run.outputs[0].rows;
  const int64_t across = ceil_div(run.inputs[1].rows, weight_rows), units = across * ceil_div(rows, block);
  team.share_out(units, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t first = i / across * block;
      unit(i % across * weight_rows, first, smaller(block, rows - first));
    }
  });
}

// y[row, n … n + count) = sums + bias + residual
inline void finish(const OpRun& run, int64_t row, int64_t n, int64_t count, const float* sums) {
  const Tensor &bias = run.inputs[2], &residual = run.inputs[3];
  float* y = run.outputs[0].row<float>(row) + n;
  if (count == F32::lanes) {
    F32 value = load(sums);
    if (bias.data != nullptr) value += load(bias.row<const float>(0) + n);
    if (residual.data != nullptr) value += load(residual.row<const float>(row) + n);
    return store(y, value);
  }
  for (int64_t i = 0; i < count; ++i) {
    float value = sums[i];
    if (bias.data != nullptr) value += bias.row<const float>(0)[n + i];
    if (residual.data != nullptr) value += residual.row<const float>(row)[n + i];
    y[i] = value;
  }
}

}  // namespace vivace::VIVACE_ISA

// The unit of `gated_linear`: 32 columns of its result, which are one block of A8, for a block of rows of the batch.
// For files compiled per level.
#pragma once
#include "ops/activations.h"
#include "ops/linear/families/sums.h"
#include "ops/linear/quantize_block.h"

namespace vivace::VIVACE_ISA {

inline constexpr int gated_columns = 32;

struct GatedBlock {
  alignas(64) float values[2][row_block][gated_columns];  // of gate and of up

  // y[first + row, n … n + 32) = activation(gate) · up, as floats or quantised.
  void finish(const OpRun& run, int64_t n, int64_t first, int64_t rows) {
    if (run.attributes[0] == 0)
      finish_with([](F32 x) { return silu(x); }, run.outputs[0], n, first, rows);
    else
      finish_with([](F32 x) { return gelu_tanh(x); }, run.outputs[0], n, first, rows);
  }

 private:
  template <class Activation>
  void finish_with(Activation activation, const Tensor& y, int64_t n, int64_t first, int64_t rows) {
    const auto count = static_cast<size_t>(smaller(gated_columns, y.columns - n));
    // One loop after the other: in each of them, several rows are on their way at once.
    for (int64_t row = 0; row < rows; ++row) {
      const float* gate = values[0][row];
      float* up = values[1][row];
      for (int k = 0; k < gated_columns; k += F32::lanes) store(up + k, activation(load(gate + k)) * load(up + k));
    }
    for (int64_t row = 0; row < rows; ++row) {
      const float* up = values[1][row];
      if (y.dtype == DType::A8)
        quantize_block(up, y.row<A8Block>(first + row)[n / gated_columns]);
      else
        std::memcpy(y.row<float>(first + row) + n, up, count * sizeof(float));
    }
  }
};

template <class Sums>
void gated_with(const OpRun& run, Team& team) {
  const Tensor &gate = run.inputs[1], &up = run.inputs[2];
  Sums all(run);
  alignas(64) BlockSums sums[2];
  GatedBlock unit;
  const auto keep = [&](int side, int64_t at, int64_t rows, const BlockSums& from) {
    for (int64_t row = 0; row < rows; ++row) std::memcpy(unit.values[side][row] + at, from[row], sizeof(from[row]));
  };
  const bool pairs = Sums::pairs(run.outputs[0].rows);
  for_units(run, team, gated_columns, block_of_rows(run.inputs[0].stride, row_block),
            [&](int64_t n, int64_t first, int64_t rows) {
              const int64_t end = smaller(n + gated_columns, gate.rows);
              if (pairs) {  // the same rows of both
                for (int64_t at = n; at < end; at += lanes) {
                  const WeightRows parts[2] = {{&gate, at, all.place(gate, at + lanes)},
                                               {&up, at, all.place(up, at + lanes)}};
                  all.two(parts, {first, rows}, sums);
                  for (int side = 0; side < 2; ++side) keep(side, at - n, rows, sums[side]);
                }
              } else {  // each a long stream
                for (int side = 0; side < 2; ++side) {
                  const Tensor &weight = run.inputs[1 + side], &other = run.inputs[2 - side];
                  for (int64_t at = n; at < end; at += lanes) {
                    const std::byte* follows =
                        at + lanes < end ? all.place(weight, at + lanes) : all.place(other, side == 0 ? n : end);
                    all.one({&weight, at, follows}, {first, rows}, sums[0]);
                    keep(side, at - n, rows, sums[0]);
                  }
                }
              }
              unit.finish(run, n, first, rows);
            });
}

}  // namespace vivace::VIVACE_ISA

// The unit of `gated_linear`: 32 columns of its result, which are one block of A8, or several times as many, for a
// block of rows of the batch. For files compiled per level.
#pragma once
#include "ops/activations.h"
#include "ops/linear/families/sums.h"
#include "ops/linear/quantize_block.h"

namespace vivace::VIVACE_ISA {

inline constexpr int gated_columns = 32;
inline constexpr int few_gated_rows = 8, most_gated_columns = row_block * gated_columns / few_gated_rows;

// Columns of a unit. Few rows of the batch have long units, for wherever the stream of gate ends and that of up begins,
// memory has to be waited for (10 % of the time with 32); but each member wants many.
inline int columns_of_unit(int64_t all, int64_t rows, int threads) {
  int columns = rows <= few_gated_rows ? most_gated_columns : gated_columns;
  while (columns > gated_columns && all / columns < 16 * threads) columns /= 2;
  return columns;
}

class GatedBlock {
 public:
  explicit GatedBlock(int columns) : columns_(columns) {}
  int columns() const { return columns_; }
  // Values of gate (side 0) or up for a row of the block.
  float* row(int side, int64_t row) { return values_[side] + row * columns_; }

  // y[first + row, n … n + columns) = activation(gate) · up, as floats or quantised.
  void finish(const OpRun& run, int64_t n, int64_t first, int64_t rows) {
    if (run.attributes[0] == 0)
      finish_with([](F32 x) { return silu(x); }, run.outputs[0], n, first, rows);
    else
      finish_with([](F32 x) { return gelu_tanh(x); }, run.outputs[0], n, first, rows);
  }

 private:
  template <class Activation>
  void finish_with(Activation activation, const Tensor& y, int64_t n, int64_t first, int64_t rows) {
    const int64_t count = smaller(columns_, y.columns - n);
    // One loop after the other: in each of them, several rows are on their way at once.
    for (int64_t r = 0; r < rows; ++r) {
      const float* gate = row(0, r);
      float* up = row(1, r);
      for (int64_t k = 0; k < count; k += F32::lanes) store(up + k, activation(load(gate + k)) * load(up + k));
    }
    for (int64_t r = 0; r < rows; ++r) {
      const float* up = row(1, r);
      if (y.dtype == DType::A8)
        for (int64_t k = 0; k < count; k += 32) quantize_block(up + k, y.row<A8Block>(first + r)[(n + k) / 32]);
      else
        std::memcpy(y.row<float>(first + r) + n, up, static_cast<size_t>(count) * sizeof(float));
    }
  }

  const int columns_;
  alignas(64) float values_[2][row_block * gated_columns];
};

template <class Sums>
void gated_with(const OpRun& run, Team& team) {
  const Tensor &gate = run.inputs[1], &up = run.inputs[2];
  Sums all(run);
  alignas(64) BlockSums sums[2];
  const int64_t all_rows = run.outputs[0].rows;
  const bool pairs = Sums::pairs(all_rows);
  GatedBlock unit(pairs ? gated_columns : columns_of_unit(gate.rows, all_rows, team.threads()));
  const auto keep = [&](int side, int64_t at, int64_t rows, const BlockSums& from) {
    for (int64_t row = 0; row < rows; ++row) std::memcpy(unit.row(side, row) + at, from[row], sizeof(from[row]));
  };
  for_units(run, team, unit.columns(), block_of_rows(run.inputs[0].stride, row_block),
            [&](int64_t n, int64_t first, int64_t rows) {
              const int64_t end = smaller(n + unit.columns(), gate.rows);
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

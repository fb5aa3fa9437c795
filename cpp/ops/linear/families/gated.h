// The unit of `gated_linear` and `expert_gate_up`: 32 columns of the result, which are one block of A8, or several
// times as many, for a block of rows of the batch. For files compiled per level.
#pragma once
#include "ops/activations.h"
#include "ops/linear/families/sums.h"
#include "ops/linear/quantize_block.h"

namespace vivace::VIVACE_ISA {

inline constexpr int gated_columns = 32;
inline constexpr int few_gated_rows = 8, most_gated_columns = row_block * gated_columns / few_gated_rows;

// Columns of a unit. Few rows of the batch have long units, for wherever the stream of gate ends and that of up begins,
// memory has to be waited for (10 % of the time with 32); but each member wants many. `all`: columns of all weights.
inline int columns_of_unit(int64_t all, int64_t rows, int threads) {
  int columns = rows <= few_gated_rows ? most_gated_columns : gated_columns;
  while (columns > gated_columns && all / columns < 16 * threads) columns /= 2;
  return columns;
}

class GatedBlock {
 public:
  // `activation`: 0 silu, 1 gelu_tanh.
  GatedBlock(int columns, int activation) : columns_(columns), activation_(activation) {}
  int columns() const { return columns_; }

  // Multiplies the columns of a unit, from n on, of gate and up with rows of the batch. `in_pairs`: the same rows of
  // both at once, else each is a long stream; `follows` is what is read after them.
  template <class Sums>
  void multiply(Sums& all, const Tensor& gate, const Tensor& up, int64_t n, const std::byte* follows,
                const BatchRows& batch, bool in_pairs) {
    const Tensor* const sides[2] = {&gate, &up};
    const int64_t end = smaller(n + columns_, gate.rows);
    if (in_pairs) {
      for (int64_t at = n; at < end; at += lanes) {
        const WeightRows parts[2] = {{&gate, at, all.place(gate, at + lanes)}, {&up, at, all.place(up, at + lanes)}};
        all.two(parts, batch, sums_);
        for (int side = 0; side < 2; ++side) keep(side, at - n, batch.count, sums_[side]);
      }
      return;
    }
    for (int side = 0; side < 2; ++side) {
      const Tensor& weight = *sides[side];
      for (int64_t at = n; at < end; at += lanes) {
        const std::byte* next = at + lanes < end ? all.place(weight, at + lanes)
                                : side == 0      ? all.place(up, n)
                                                 : follows;
        all.one({&weight, at, next}, batch, sums_[0]);
        keep(side, at - n, batch.count, sums_[0]);
      }
    }
  }

  // y[rows[r], n … n + columns) = activation(gate) · up of row r of the block, as floats or quantised.
  void finish(const Tensor& y, int64_t n, const BatchRows& rows) {
    if (activation_ == 0)
      finish_with([](F32 x) { return silu(x); }, y, n, rows);
    else
      finish_with([](F32 x) { return gelu_tanh(x); }, y, n, rows);
  }

 private:
  // Values of gate (side 0) or up for a row of the block.
  float* row(int side, int64_t row) { return values_[side] + row * columns_; }

  void keep(int side, int64_t at, int64_t rows, const BlockSums& from) {
    for (int64_t r = 0; r < rows; ++r) std::memcpy(row(side, r) + at, from[r], sizeof(from[r]));
  }

  template <class Activation>
  void finish_with(Activation activation, const Tensor& y, int64_t n, const BatchRows& rows) {
    const int64_t count = smaller(columns_, y.columns - n);
    // One loop after the other: in each of them, several rows are on their way at once.
    for (int64_t r = 0; r < rows.count; ++r) {
      const float* gate = row(0, r);
      float* up = row(1, r);
      for (int64_t k = 0; k < count; k += F32::lanes) store(up + k, activation(load(gate + k)) * load(up + k));
    }
    for (int64_t r = 0; r < rows.count; ++r) {
      const float* up = row(1, r);
      if (y.dtype == DType::A8)
        for (int64_t k = 0; k < count; k += 32) quantize_block(up + k, y.row<A8Block>(rows[r])[(n + k) / 32]);
      else
        std::memcpy(y.row<float>(rows[r]) + n, up, static_cast<size_t>(count) * sizeof(float));
    }
  }

  const int columns_, activation_;
  alignas(64) float values_[2][row_block * gated_columns];
  alignas(64) BlockSums sums_[2];
};

template <class Sums>
void gated_with(const OpRun& run, Team& team) {
  const Tensor &gate = run.inputs[1], &up = run.inputs[2], &y = run.outputs[0];
  Sums all(run.inputs[0]);
  const bool pairs = Sums::pairs(y.rows);
  GatedBlock unit(pairs ? gated_columns : columns_of_unit(gate.rows, y.rows, team.threads()),
                  static_cast<int>(run.attributes[0]));
  for_units(run, team, unit.columns(), block_of_rows(run.inputs[0].stride, row_block),
            [&](int64_t n, int64_t first, int64_t rows) {
              unit.multiply(all, gate, up, n, all.place(gate, n + unit.columns()), {first, rows}, pairs);
              unit.finish(y, n, {first, rows});
            });
}

}  // namespace vivace::VIVACE_ISA

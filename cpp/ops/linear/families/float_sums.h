// The sums of products of weights of floats, with the face of families/sums.h. For files compiled per level.
#pragma once
#include "ops/linear/families/sums.h"
#include "ops/linear/float_tile.h"

namespace vivace::VIVACE_ISA {

inline constexpr int few_float_rows = 8;

// A tile of weight rows from n on times a block of the batch: tile(first row of a few, their sums) for each.
template <class Weight, class Tile>
inline void multiply_tile(const Tensor& x, const Tensor& weight, int64_t n, const std::byte* next,
                          const BatchRows& batch, Tile&& tile) {
  const typename Weight::Stored* weights[weight_tile];
  for (int i = 0; i < weight_tile; ++i)  // rows beyond the last are the last again
    weights[i] = weight.row<const typename Weight::Stored>(smaller(n + i, weight.rows - 1));
  // With few rows, memory is the limit; with many, fetching once per row tile would only take load slots.
  if (batch.count > few_float_rows) next = nullptr;
  const auto multiply_rows = [&]<int R>(int64_t row) {
    const float* rows_of_x[R];
    float sums[R][weight_tile];
    for (int r = 0; r < R; ++r) rows_of_x[r] = x.row<const float>(batch[row + r]);
    multiply_floats<Weight, R>(weights, rows_of_x, weight.columns, next, sums);
    for (int r = 0; r < R; ++r) tile(row + r, sums[r]);
  };
  int64_t row = 0;
  for (; row + row_tile <= batch.count; row += row_tile) multiply_rows.template operator()<row_tile>(row);
  for (; row < batch.count; ++row) multiply_rows.template operator()<1>(row);
}

template <class Weight>
class FloatSums {
 public:
  explicit FloatSums(const Tensor& x) : x_(x) {}

  static bool pairs(int64_t) { return false; }
  static const std::byte* place(const Tensor& weight, int64_t n) { return weight.data + n * weight.stride; }

  void one(const WeightRows& part, const BatchRows& batch, BlockSums& sums) {
    const Tensor& weight = *part.weight;
    for (int at = 0; at < lanes && part.n + at < weight.rows; at += weight_tile) {
      const int64_t n = part.n + at;
      const bool last = at + weight_tile >= lanes || n + weight_tile >= weight.rows;
      multiply_tile<Weight>(
          x_, weight, n, last ? part.follows : place(weight, n + weight_tile), batch,
          [&](int64_t row, const float* tile) { std::memcpy(sums[row] + at, tile, sizeof(float) * weight_tile); });
    }
  }

  void two(const WeightRows (&parts)[2], const BatchRows& batch, BlockSums (&sums)[2]) {
    for (int p = 0; p < 2; ++p) one(parts[p], batch, sums[p]);
  }

 private:
  const Tensor& x_;
};

}  // namespace vivace::VIVACE_ISA

// What softmax and log_softmax share: rows are cut into pieces of fixed width, so that a team can work on one long row
// (a vocabulary) and the sums are the same for every team.
#pragma once
#include "core/tensor.h"
#include "core/thread_pool.h"

namespace vivace {

inline constexpr int64_t softmax_piece = 4096;  // columns
constexpr int64_t softmax_pieces(int64_t columns) {
  return (columns + softmax_piece - 1) / softmax_piece;
}
// Per piece its maximum and its sum.
constexpr size_t softmax_scratch(const Tensor& x) {
  return static_cast<size_t>(x.rows * softmax_pieces(x.columns)) * 2 * sizeof(float);
}

}  // namespace vivace

#if defined(VIVACE_ISA)
#include "core/simd.h"
#include "ops/norm/sums.h"

namespace vivace::VIVACE_ISA {

// Calls finish(in, out, count, max, total) for this member's pieces, where max and total = Σ e^(x − max) are the row's.
// With `store_powers`, `out` holds e^(x − max) by then.
template <bool store_powers, class Finish>
inline void softmax_rows(const Tensor& x, const Tensor& y, std::byte* scratch, Team& team, Finish&& finish) {
  const int64_t pieces = softmax_pieces(x.columns);
  float* found = reinterpret_cast<float*>(scratch);  // [rows, pieces, 2]
  int64_t begin, end;
  team.range(x.rows * pieces, 1, begin, end);
  const auto for_pieces = [&](auto&& body) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t row = item / pieces, from = item % pieces * softmax_piece;
      const int64_t count = x.columns - from < softmax_piece ? x.columns - from : softmax_piece;
      body(found + 2 * item, found + 2 * row * pieces, x.row<const float>(row) + from, y.row<float>(row) + from, count);
    }
  };
  const auto row_max = [&](const float* row) {
    float largest = row[0];
    for (int64_t piece = 1; piece < pieces; ++piece) largest = row[2 * piece] > largest ? row[2 * piece] : largest;
    return largest;
  };

  for_pieces([&](float* mine, const float*, const float* in, float*, int64_t count) {
    F32 largest = set1(in[0]);
    for_lanes(count, [&](int64_t i, int n) { largest = max(largest, first_lanes(load_some(in + i, n), n, in[0])); });
    mine[0] = max_of(largest);
  });
  team.barrier();
  for_pieces([&](float* mine, const float* row, const float* in, float* out, int64_t count) {
    const F32 largest = set1(row_max(row));
    mine[1] = sum_over(count, [&](int64_t i, int n) {
      const F32 power = exp(load_some(in + i, n) - largest);
      if constexpr (store_powers) store_some(out + i, power, n);
      return first_lanes(power, n, 0.0f);
    });
  });
  team.barrier();
  for_pieces([&](float*, const float* row, const float* in, float* out, int64_t count) {
    double total = 0;
    for (int64_t piece = 0; piece < pieces; ++piece) total += static_cast<double>(row[2 * piece + 1]);
    finish(in, out, count, row_max(row), total);
  });
}

}  // namespace vivace::VIVACE_ISA
#endif

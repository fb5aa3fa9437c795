// The sums of products that `linear`, `gated_linear` and the ops of experts are made of: `lanes` rows of a quantised
// weight, or twice as many, times a block of rows of the batch. For files compiled per level.
#pragma once
#include "ops/linear/families/stretch.h"
#include "ops/linear/panels.h"
#include "ops/linear/units.h"

namespace vivace::VIVACE_ISA {

inline constexpr int row_block = 128;  // batch rows of a unit, at most

using BlockSums = float[row_block][lanes];

// Rows [n, n + lanes) of a weight; rows beyond its last are zeros.
struct WeightRows {
  const Tensor* weight;
  int64_t n;
  const std::byte* follows;  // what is read after them, and so fetched before their end
};

// Weights as they lie in the file.
template <class Codec>
class FileSums {
 public:
  explicit FileSums(const Tensor& x) : x_(x), all_groups_(static_cast<int>(x_.columns / 32)) {}

  static bool pairs(int64_t) { return false; }
  static const std::byte* place(const Tensor& weight, int64_t n) { return weight.data + n * weight.stride; }

  VIVACE_APART void one(const WeightRows& part, const BatchRows& batch, BlockSums& sums) {
    constexpr int size = stretch_bytes<Codec>;
    const Tensor& weight = *part.weight;
    const int weight_rows = static_cast<int>(smaller(lanes, weight.rows - part.n));
    Rows stretches = {place(weight, part.n), weight.stride};
    const std::byte* next = part.follows;
    std::memset(sums, 0, static_cast<size_t>(batch.count) * sizeof(sums[0]));
    for (int group = 0; group < all_groups_; group += groups) {
      const int count = all_groups_ - group < groups ? all_groups_ - group : groups;
      if (count == groups && weight_rows == lanes)
        read_stretch<Codec>(stretches, raw_);
      else
        read_part<Codec>(stretches, weight_rows, count * 32 / Codec::width, raw_);
      multiply_stretch<FileOrder, Codec>(raw_, panel_, group, count, next, x_, batch, sums);
      stretches.data += size;
      next += lanes * size;
    }
  }

  void two(const WeightRows (&parts)[2], const BatchRows& batch, BlockSums (&sums)[2]) {
    for (int p = 0; p < 2; ++p) one(parts[p], batch, sums[p]);
  }

 private:
  const Tensor& x_;
  const int all_groups_;
  Ints raw_[raw_words<Codec>];
  Panel panel_;
};

// Weights that were laid side by side when the model was loaded: one long stream per `lanes` rows. Where registers
// allow, two panels share broadcasts (or pairs of rows) of many rows of the batch.
template <class Codec>
class PanelSums {
  static constexpr int size = lanes * 4 * words_of_panel<Codec>;
  // Fetched so far ahead: what memory gives while one line is on its way (two stretches of Q4_0 were too few).
  static constexpr int ahead = (8192 + size - 1) / size * size;
  static constexpr int shared_rows = panels_in_pairs ? dot_rows / 2 : dot_rows;

 public:
  explicit PanelSums(const Tensor& x)
      : x_(x),
        all_groups_(static_cast<int>(x_.columns / 32)),
        unit_bytes_(panel_unit_bytes(Codec::width, sizeof(typename Codec::Block), x_.columns, lanes)) {}

  static bool pairs(int64_t rows) { return panels_in_pairs && rows > raw_rows<PanelOrder, Codec>; }
  const std::byte* place(const Tensor& weight, int64_t n) const { return weight.data + n / lanes * unit_bytes_; }

  VIVACE_APART void one(const WeightRows& part, const BatchRows& batch, BlockSums& sums) {
    const std::byte* const panel = place(*part.weight, part.n);
    std::memset(sums, 0, static_cast<size_t>(batch.count) * sizeof(sums[0]));
    for (int group = 0; group < all_groups_; group += groups) {
      const int64_t at = group / groups * size;
      multiply_stretch<PanelOrder, Codec>(reinterpret_cast<Raw>(panel + at), panels_[0], group, groups_from(group),
                                          fetched(part, panel, at), x_, batch, sums);
    }
  }

  void two(const WeightRows (&parts)[2], const BatchRows& batch, BlockSums (&sums)[2]) {
    if constexpr (panels_in_pairs) {
      pair(parts, batch, sums);
    } else {
      for (int p = 0; p < 2; ++p) one(parts[p], batch, sums[p]);
    }
  }

 private:
  int groups_from(int group) const { return all_groups_ - group < groups ? all_groups_ - group : groups; }
  const std::byte* fetched(const WeightRows& part, const std::byte* panel, int64_t at) const {
    const int64_t next = at + ahead;
    return next < unit_bytes_ ? panel + next : part.follows + (next - unit_bytes_);
  }

  VIVACE_APART void pair(const WeightRows (&parts)[2], const BatchRows& batch, BlockSums (&sums)[2]) {
    const std::byte* const places[2] = {place(*parts[0].weight, parts[0].n), place(*parts[1].weight, parts[1].n)};
    for (auto& part : sums) std::memset(part, 0, static_cast<size_t>(batch.count) * sizeof(part[0]));
    for (int group = 0; group < all_groups_; group += groups) {
      const int count = groups_from(group);
      const int64_t at = group / groups * size;
      for (int p = 0; p < 2; ++p) {
        const Raw raw = reinterpret_cast<Raw>(places[p] + at);
        read_scales<PanelOrder, Codec>(raw, count, panels_[p].scales);
        unpack<PanelOrder, Codec>(raw, count, panels_[p]);
      }
      const A8Block* rows_of_x[shared_rows];
      const auto multiply_rows = [&]<int R>(int64_t row) {
        for (int r = 0; r < R; ++r) rows_of_x[r] = x_.row<const A8Block>(batch[row + r]) + group;
        const int64_t tile = row / shared_rows;  // each of the first two fetches for one panel
        const std::byte* next = tile < 2 ? fetched(parts[tile], places[tile], at) : nullptr;
        multiply_panels<Codec, 2, R>(panels_, count, next, rows_of_x, {sums[0] + row, sums[1] + row});
      };
      int64_t row = 0;
      for (; row + shared_rows <= batch.count; row += shared_rows) multiply_rows.template operator()<shared_rows>(row);
      for (; row + 2 <= batch.count; row += 2) multiply_rows.template operator()<2>(row);
      if (row < batch.count) multiply_rows.template operator()<1>(row);
    }
  }

  const Tensor& x_;
  const int all_groups_;
  const int64_t unit_bytes_;
  Panel panels_[2];
};

}  // namespace vivace::VIVACE_ISA

// A stretch of 256 columns of `lanes` weight rows times the rows of a block of the batch, for files compiled per level.
#pragma once
#include "core/tensor.h"
#include "ops/linear/codecs.h"
#include "ops/linear/order.h"

namespace vivace::VIVACE_ISA {

// Rows of the batch that meet a weight: some in a row, or those that a list names (of an expert).
struct BatchRows {
  int64_t first, count;
  const int32_t* list = nullptr;
  int64_t operator[](int64_t i) const { return list != nullptr ? list[first + i] : first + i; }
};

// Few rows: codes go from the bytes of a stretch straight into dot products.
template <class Order, class Codec, int R>
VIVACE_APART void multiply_raw(Raw raw, const Scales& scales, int count, const std::byte* next, const A8Block* const* x,
                               float (*sums)[lanes]) {
  const Scales* const all_scales[1] = {&scales};
  F32 sum[1][R];
  for (int r = 0; r < R; ++r) sum[0][r] = load(sums[r]);
  for_groups(count, [&]<int g>() {
    Ints words[8];
    fetch_group<Codec>(next, g);
    Codec::template codes<Order, g>(raw, words);
    constexpr bool in_pairs = has_pair_dot && R > 1;
#if defined(VIVACE_PAIR_DOT)
    if constexpr (in_pairs) pair_words(words);
#endif
    multiply_group<Codec, 1, R, in_pairs>(
        g, all_scales, x, [&](int, int w) { return words[w]; }, sum);
  });
  for (int r = 0; r < R; ++r) store(sums[r], sum[0][r]);
}

// Many rows: codes are unpacked once.
template <class Codec, int P, int R>
inline void multiply_panels(const Panel* panels, int count, const std::byte* next, const A8Block* const* x,
                            float (*const (&sums)[P])[lanes]) {
  const Scales* scales[P];
  F32 sum[P][R];
  for (int p = 0; p < P; ++p) {
    scales[p] = &panels[p].scales;
    for (int r = 0; r < R; ++r) sum[p][r] = load(sums[p][r]);
  }
  for (int g = 0; g < count; ++g) {
    if (next != nullptr) fetch_group<Codec>(next, g);
    multiply_group<Codec, P, R, has_pair_dot>(
        g, scales, x, [&](int p, int w) { return load_ints(panels[p].codes[g][w]); }, sum);
  }
  for (int p = 0; p < P; ++p)
    for (int r = 0; r < R; ++r) store(sums[p][r], sum[p][r]);
}

template <class Order, class Codec>
void unpack(Raw raw, int count, Panel& panel) {
  for_groups(count, [&]<int g>() {
    Ints words[8];
    Codec::template codes<Order, g>(raw, words);
#if defined(VIVACE_PAIR_DOT)
    pair_words(words);
#endif
    for (int w = 0; w < 8; ++w) store_ints(panel.codes[g][w], words[w]);
  });
}

// Whether two panels share the broadcasts (or pairs of rows) of many rows of the batch: with 4 lanes it was not tried.
inline constexpr bool panels_in_pairs = F32::lanes >= 8 || has_pair_dot;

// Batch rows up to which a panel is not worth its stores (measured).
template <class Order, class Codec>
inline constexpr int raw_rows = dot_rows > 4 && !Order::is_panel && Codec::width != 32  ? 2
                                : dot_rows > 4 || (Order::is_panel && !panels_in_pairs) ? 4
                                                                                        : 2;

// sums[row] += a stretch of `count` groups, from column group `group` on, times every row of the block. `next` is
// fetched meanwhile.
template <class Order, class Codec>
void multiply_stretch(Raw raw, Panel& panel, int group, int count, const std::byte* next, const Tensor& x,
                      const BatchRows& batch, float (*sums)[lanes]) {
  const int64_t rows = batch.count;
  read_scales<Order, Codec>(raw, count, panel.scales);
  const bool few = rows <= raw_rows<Order, Codec>;
  if (!few) unpack<Order, Codec>(raw, count, panel);
  const A8Block* rows_of_x[dot_rows];
  const auto multiply_rows = [&]<int R>(int64_t row) {
    for (int r = 0; r < R; ++r) rows_of_x[r] = x.row<const A8Block>(batch[row + r]) + group;
    if constexpr (R <= raw_rows<Order, Codec>) {
      if (few) return multiply_raw<Order, Codec, R>(raw, panel.scales, count, next, rows_of_x, sums + row);
    }
    multiply_panels<Codec, 1, R>(&panel, count, row == 0 ? next : nullptr, rows_of_x, {sums + row});
  };
  int64_t row = 0;
  for (; row + dot_rows <= rows; row += dot_rows) multiply_rows.template operator()<dot_rows>(row);
  if constexpr (dot_rows > 4)
    for (; row + 4 <= rows; row += 4) multiply_rows.template operator()<4>(row);
  for (; row + 2 <= rows; row += 2) multiply_rows.template operator()<2>(row);
  if (row < rows) multiply_rows.template operator()<1>(row);
}

}  // namespace vivace::VIVACE_ISA

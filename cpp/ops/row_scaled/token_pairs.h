// W?A8 on levels that multiply matrices of bytes (core/simd/pair_dot.h): unpacked weight rows in pairs, and their sums
// with pairs of batch rows. For files compiled per level.
#pragma once
#include "core/simd/bytes.h"
#include "core/simd/pair_dot.h"

namespace vivace::VIVACE_ISA {
#if defined(VIVACE_PAIR_DOT)

// What a pair of weight rows and a pair of batch rows make: [batch row, weight row].
using PairSums = Ints;

// Puts 16 columns of weight row `row`, from column k on, where PairDot's instruction takes them: eight columns of a
// row, the same of its partner.
inline void store_paired(int8_t* pair, int64_t k, int row, Bytes codes) {
  int8_t* to = pair + 2 * k + 8 * (row % 2);
  vst1_s8(to, vget_low_s8(codes.v));
  vst1_s8(to + 16, vget_high_s8(codes.v));
}

// Adds the products of `count` columns, a multiple of 16, of W pairs of weight rows and R batch rows; a last batch row
// alone is its own partner. Meanwhile the columns `ahead` elements further are fetched (0: none).
template <int W, int R>
inline void add_pairs(const int8_t* const* weights, const int8_t* const* x, int64_t count, int64_t ahead,
                      PairSums (*sums)[W]) {
  constexpr int pairs = (R + 1) / 2;
  int32x4_t own[pairs][W];
  for (int r = 0; r < pairs; ++r)
    for (int w = 0; w < W; ++w) own[r][w] = sums[r][w].v;
  for (int64_t k = 0; k < count; k += 16) {
    if (ahead != 0 && k % 64 == 0)
      for (int r = 0; r < R; ++r) prefetch(x[r] + ahead + k);
    PairedBytes codes[W];
    for (int w = 0; w < W; ++w) codes[w] = {vld1q_s8(weights[w] + 2 * k), vld1q_s8(weights[w] + 2 * k + 16)};
    for (int r = 0; r < pairs; ++r) {
      const int partner = 2 * r + 1 < R ? 2 * r + 1 : 2 * r;
      const PairedBytes both = pair_bytes(vld1q_s8(x[2 * r] + k), vld1q_s8(x[partner] + k));
      for (int w = 0; w < W; ++w) {
        own[r][w] = vmmlaq_s32(own[r][w], both.low, codes[w].low);
        own[r][w] = vmmlaq_s32(own[r][w], both.high, codes[w].high);
      }
    }
  }
  for (int r = 0; r < pairs; ++r)
    for (int w = 0; w < W; ++w) sums[r][w].v = own[r][w];
}

// The sums of one batch row, 0 or 1 of its pair, with four weight rows.
inline void totals_of_pairs(int32_t* out, PairSums left, PairSums right, int row) {
  const int64x2_t a = vreinterpretq_s64_s32(left.v), b = vreinterpretq_s64_s32(right.v);
  vst1q_s32(out, vreinterpretq_s32_s64(row == 0 ? vzip1q_s64(a, b) : vzip2q_s64(a, b)));
}

#endif
}  // namespace vivace::VIVACE_ISA

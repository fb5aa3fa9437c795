// A panel: 256 columns of as many weight rows as a vector has lanes, unpacked so that one row is one lane.
//
// Unpacking costs about as much as reading the weights from memory; a panel is then used against every row of the
// batch. An output is the sum over its groups of codes, in order of k, of one multiply-add each: it depends on
// neither the number of rows nor the lane, and is the same on every level that has fused multiply-add.
#pragma once
#include "core/simd/codes.h"
#include "ops/linear/a8.h"

namespace vivace::VIVACE_ISA {

inline constexpr int lanes = F32::lanes;
inline constexpr int stretch = 256;          // columns of a panel
inline constexpr int groups = stretch / 32;  // groups of codes of a panel

struct Panel {
  alignas(64) uint8_t codes[groups][8][4 * lanes];  // [group, word, lane × 4 codes]
  alignas(64) float scales[2 * groups][lanes];      // per group, or per half group
  alignas(64) float mins[2 * groups][lanes];        // value = scale · (code - offset) + min
};

// sums[r] += panel · x[r] over `count` groups, for R rows of the batch at once.
template <class Codec, int R>
inline void multiply(const Panel& panel, int count, const A8Block* const* x, float (*sums)[lanes]) {
  constexpr int parts = Codec::halves ? 2 : 1, steps = 8 / parts;
  constexpr int offset = Codec::highest == signed_codes ? signed_bias : Codec::offset;
  F32 sum[R];
  for (int r = 0; r < R; ++r) sum[r] = load(sums[r]);
  for (int g = 0; g < count; ++g) {
    for (int part = 0; part < parts; ++part) {
      Dot<Codec::highest, steps> dot[R];
      for (int r = 0; r < R; ++r) dot[r].start();
      VIVACE_UNROLL
      for (int step = 0; step < steps; ++step) {
        const Ints codes = load_ints(panel.codes[g][part * steps + step]);
        for (int r = 0; r < R; ++r) dot[r].step(codes, x[r][g].codes + 4 * (part * steps + step));
      }
      const F32 scale = load(panel.scales[g * parts + part]);
      const bool first = parts == 1 || part == 0, second = parts == 1 || part == 1;
      for (int r = 0; r < R; ++r) {
        const A8Block& block = x[r][g];
        Ints whole = dot[r].finish();
        if constexpr (offset != 0) whole = whole + weigh_pair(block.sums, first ? -offset : 0, second ? -offset : 0);
        sum[r] = fma(to_f32(whole), scale * set1(block.scale), sum[r]);
        if constexpr (Codec::has_min) {
          const F32 activations = to_f32(weigh_pair(block.sums, first, second)) * set1(block.scale);
          sum[r] = fma(load(panel.mins[g * parts + part]), activations, sum[r]);
        }
      }
    }
  }
  for (int r = 0; r < R; ++r) store(sums[r], sum[r]);
}

}  // namespace vivace::VIVACE_ISA

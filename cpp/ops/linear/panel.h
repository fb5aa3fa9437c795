// A panel: 256 columns of as many weight rows as a vector has lanes, unpacked so that one row is one lane.
//
// Unpacking costs about as much as reading the weights from memory; a panel is then used against every row of the
// batch. For a row or two, codes go straight into dot products instead (linear_kernel.cpp). An output is the sum over
// its groups of codes, in order of k, of one multiply-add each: it depends on neither the number of rows nor the lane,
// and is the same on every level that has fused multiply-add.
#pragma once
#include "core/isa.h"
#include "core/simd/codes.h"
#include "ops/linear/a8.h"

namespace vivace::VIVACE_ISA {

inline constexpr int lanes = F32::lanes;
static_assert(lanes == isa_lanes(Isa::VIVACE_ISA));
inline constexpr int stretch = 256;          // columns of a panel
inline constexpr int groups = stretch / 32;  // groups of codes of a panel

struct Scales {
  alignas(64) float scales[2 * groups][lanes];  // per group, or per half group
  alignas(64) float mins[2 * groups][lanes];    // value = scale · (code - offset) + min
};

struct Panel {
  alignas(64) uint8_t codes[groups][8][4 * lanes];  // [group, word, lane × 4 codes]
  Scales scales;
};

// The power of two that an offset is.
constexpr int log2_of(int offset) {
  return offset > 1 ? 1 + log2_of(offset / 2) : 0;
}

// sum[p][r] += (half) group g of the rows of panel p · block g of x[r], for P panels and R rows of the batch; words(p,
// w): word w of the group. Activations are broadcast once for all panels.
template <class Codec, int P, int R, int part, class Words>
inline void multiply_part(int g, const Scales* const* scales, const A8Block* const* x, Words&& words,
                          F32 (&sum)[P][R]) {
  constexpr int parts = Codec::halves ? 2 : 1, steps = 8 / parts;
  constexpr int offset = Codec::highest == signed_codes ? signed_bias : Codec::offset;
  constexpr int share = Codec::halves ? part : A8Block::all;
  static_assert(offset == 0 || offset == 1 << log2_of(offset));
  Dot<Codec::highest, steps> dot[P][R];
  // A sum begins with what the offset takes off: exact like all of it, so that order does not matter.
  for (int r = 0; r < R; ++r) {
    Ints first = splat(0);
    if constexpr (offset != 0) first = splat(x[r][g].minus_sums[share]) << log2_of(offset);
    for (int p = 0; p < P; ++p) dot[p][r].start(first);
  }
  VIVACE_UNROLL
  for (int step = 0; step < steps; ++step) {
    Ints codes[P];
    for (int p = 0; p < P; ++p) codes[p] = words(p, part * steps + step);
    for (int r = 0; r < R; ++r)
      for (int p = 0; p < P; ++p) dot[p][r].step(codes[p], x[r][g].codes + 4 * (part * steps + step));
  }
  for (int p = 0; p < P; ++p) {
    const F32 scale = load(scales[p]->scales[g * parts + part]);
    for (int r = 0; r < R; ++r) {
      sum[p][r] = fma(to_f32(dot[p][r].finish()), scale * set1(x[r][g].scale), sum[p][r]);
      if constexpr (Codec::has_min)
        sum[p][r] = fma(load(scales[p]->mins[g * parts + part]), set1(x[r][g].scaled_sums[share]), sum[p][r]);
    }
  }
}

template <class Codec, int P, int R, class Words>
inline void multiply_group(int g, const Scales* const* scales, const A8Block* const* x, Words&& words,
                           F32 (&sum)[P][R]) {
  multiply_part<Codec, P, R, 0>(g, scales, x, words, sum);
  if constexpr (Codec::halves) multiply_part<Codec, P, R, 1>(g, scales, x, words, sum);
}

}  // namespace vivace::VIVACE_ISA

// A panel: 256 columns of as many weight rows as a vector has lanes, unpacked so that one row is one lane.
//
// Unpacking costs about as much as reading the weights from memory; a panel is then used against every row of the
// batch. For a row or two, codes go straight into dot products instead (families/stretch.h). An output is the sum over
// its groups of codes, in order of k, of one multiply-add each: it depends on neither the number of rows nor the lane,
// and is the same on every level that has fused multiply-add.
#pragma once
#include "core/isa.h"
#include "core/simd/pair_dot.h"
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
  alignas(64) uint8_t codes[groups][8][4 * lanes];  // [group, word, lane × 4 codes]; words in pairs for PairDot
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

#if defined(VIVACE_PAIR_DOT)

// The same sums from words in pairs, two rows of the batch at once; a last one alone is its own partner.
template <class Codec, int P, int R, int part, class Words>
inline void multiply_part_in_pairs(int g, const Scales* const* scales, const A8Block* const* x, Words&& words,
                                   F32 (&sum)[P][R]) {
  constexpr int parts = Codec::halves ? 2 : 1, steps = 2 / parts, pairs = (R + 1) / 2;
  constexpr int share = Codec::halves ? part : A8Block::all;
  const auto partner = [](int pair) { return 2 * pair + 1 < R ? 2 * pair + 1 : 2 * pair; };
  PairDot dot[P][pairs];
  for (int r = 0; r < pairs; ++r) {
    int32_t first = 0, second = 0;
    if constexpr (Codec::offset != 0) {
      first = x[2 * r][g].minus_sums[share] * Codec::offset;
      second = x[partner(r)][g].minus_sums[share] * Codec::offset;
    }
    for (int p = 0; p < P; ++p) dot[p][r].start(first, second);
  }
  VIVACE_UNROLL
  for (int step = 0; step < steps; ++step) {
    Ints codes[P][4];
    for (int p = 0; p < P; ++p)
      for (int w = 0; w < 4; ++w) codes[p][w] = words(p, 4 * (part * steps + step) + w);
    for (int r = 0; r < pairs; ++r) {
      const int at = 16 * (part * steps + step);
      const PairedBytes both = pair_bytes(vld1q_s8(x[2 * r][g].codes + at), vld1q_s8(x[partner(r)][g].codes + at));
      for (int p = 0; p < P; ++p) dot[p][r].step(codes[p], both);
    }
  }
  for (int p = 0; p < P; ++p) {
    const F32 scale = load(scales[p]->scales[g * parts + part]);
    for (int r = 0; r < R; ++r) {
      sum[p][r] = fma(to_f32(dot[p][r / 2].finish(r % 2)), scale * set1(x[r][g].scale), sum[p][r]);
      if constexpr (Codec::has_min)
        sum[p][r] = fma(load(scales[p]->mins[g * parts + part]), set1(x[r][g].scaled_sums[share]), sum[p][r]);
    }
  }
}

#endif

// `in_pairs`: whether words are in the order of PairDot.
template <class Codec, int P, int R, bool in_pairs, class Words>
inline void multiply_group(int g, const Scales* const* scales, const A8Block* const* x, Words&& words,
                           F32 (&sum)[P][R]) {
#if defined(VIVACE_PAIR_DOT)
  if constexpr (in_pairs) {
    multiply_part_in_pairs<Codec, P, R, 0>(g, scales, x, words, sum);
    if constexpr (Codec::halves) multiply_part_in_pairs<Codec, P, R, 1>(g, scales, x, words, sum);
    return;
  }
#endif
  multiply_part<Codec, P, R, 0>(g, scales, x, words, sum);
  if constexpr (Codec::halves) multiply_part<Codec, P, R, 1>(g, scales, x, words, sum);
}

}  // namespace vivace::VIVACE_ISA

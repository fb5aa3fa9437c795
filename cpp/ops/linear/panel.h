// A panel: 256 columns of as many weight rows as a vector has lanes, unpacked so that one row is one lane.
//
// Unpacking costs about as much as reading the weights from memory; a panel is then used against every row of the
// batch. An output is the sum over its groups of codes, in order of k, of one multiply-add each: it depends on
// neither the number of rows nor the lane, and is the same on every level that has fused multiply-add.
#pragma once
#include "core/simd/codes.h"
#include "ops/linear/a8.h"
#include "ops/linear/codecs.h"

namespace vivace::VIVACE_ISA {

inline constexpr int lanes = F32::lanes;
inline constexpr int stretch = 256;          // columns of a panel
inline constexpr int groups = stretch / 32;  // groups of codes of a panel

struct Panel {
  alignas(64) uint8_t codes[groups][8][4 * lanes];  // [group, word, lane × 4 codes]
  alignas(64) float scales[2 * groups][lanes];      // per group, or per half group
  alignas(64) float mins[2 * groups][lanes];
};

// What the product loop must know of a format.
template <class Codec>
struct Form {
  static constexpr int highest = Codec::highest;
  static constexpr int offset = Codec::highest == signed_codes ? signed_bias : Codec::offset;
  static constexpr int parts = Codec::halves ? 2 : 1;  // scales per group
  static constexpr bool has_min = Codec::has_min;
};

// Unpacks the first `count` groups of `lanes` rows. `ahead`: where, relative to them, the next unpacking will read.
template <class Codec>
inline void unpack(const std::byte* const* rows, int count, int64_t ahead, Panel& panel) {
  using Block = typename Codec::Block;
  constexpr int bytes = static_cast<int>(sizeof(Block)) * stretch / Codec::width;
  for (int row = 0; row < lanes; ++row)
    for (int line = 0; line < bytes; line += 64) prefetch(rows[row] + ahead + line);

  for (int g = 0; g < count; ++g) {
    Bytes codes[lanes];
    for (int row = 0; row < lanes; ++row) {
      codes[row] = Codec::codes(rows[row], g);
      if constexpr (Codec::highest == signed_codes && signed_bias != 0)
        codes[row] = codes[row] ^ splat_byte(signed_bias);
    }
    Ints words[8];
    transpose(codes, words);
    for (int w = 0; w < 8; ++w) store_ints(panel.codes[g][w], words[w]);
  }

  if constexpr (Codec::width == 32) {
    for (int g = 0; g < count; ++g) {
      uint16_t d[lanes], m[lanes];
      for (int row = 0; row < lanes; ++row) {
        const Block& block = blocks_at<Block>(rows[row])[g];
        d[row] = half_bits(block.d);
        if constexpr (Codec::has_min) m[row] = half_bits(block.m);
      }
      store(panel.scales[g], load_f16(d));
      if constexpr (Codec::has_min) store(panel.mins[g], load_f16(m));
    }
  } else {
    constexpr int parts = Form<Codec>::parts;
    uint16_t d[lanes], dmin[lanes];
    int8_t scales[lanes][16], mins[lanes][16];
    for (int row = 0; row < lanes; ++row) {
      Codec::scales(rows[row], scales[row], mins[row]);
      d[row] = half_bits(blocks_at<Block>(rows[row])->d);
      if constexpr (Codec::has_min) dmin[row] = half_bits(blocks_at<Block>(rows[row])->dmin);
    }
    const auto spread = [](const int8_t(*small)[16], F32 unit, float(*out)[lanes]) {
      for (int part = 0; part < parts; ++part) {
        Bytes wide[lanes];
        for (int row = 0; row < lanes; ++row) wide[row] = widen(small[row] + 8 * part);
        Ints words[8];
        transpose(wide, words);
        for (int w = 0; w < 8; ++w) store(out[8 * part + w], to_f32(words[w]) * unit);
      }
    };
    spread(scales, load_f16(d), panel.scales);
    if constexpr (Codec::has_min) spread(mins, -load_f16(dmin), panel.mins);
  }
}

// sums[r] += panel · x[r] over `count` groups, for R rows of the batch at once.
template <class Form, int R>
inline void multiply(const Panel& panel, int count, const A8Block* const* x, float (*sums)[lanes]) {
  constexpr int parts = Form::parts, steps = 8 / parts;
  F32 sum[R];
  for (int r = 0; r < R; ++r) sum[r] = load(sums[r]);
  for (int g = 0; g < count; ++g) {
    for (int part = 0; part < parts; ++part) {
      Dot<Form::highest, steps> dot[R];
      for (int r = 0; r < R; ++r) dot[r].start();
      for (int step = 0; step < steps; ++step) {
        const Ints codes = load_ints(panel.codes[g][part * steps + step]);
        for (int r = 0; r < R; ++r) dot[r].step(codes, x[r][g].codes + 4 * (part * steps + step));
      }
      const F32 scale = load(panel.scales[g * parts + part]);
      for (int r = 0; r < R; ++r) {
        const A8Block& block = x[r][g];
        const bool first = parts == 1 || part == 0, second = parts == 1 || part == 1;
        Ints whole = dot[r].finish();
        if constexpr (Form::offset != 0)
          whole = whole + weigh_pair(block.sums, first ? -Form::offset : 0, second ? -Form::offset : 0);
        sum[r] = fma(to_f32(whole), scale * set1(block.scale), sum[r]);
        if constexpr (Form::has_min) {
          const F32 activations = to_f32(weigh_pair(block.sums, first, second)) * set1(block.scale);
          sum[r] = fma(load(panel.mins[g * parts + part]), activations, sum[r]);
        }
      }
    }
  }
  for (int r = 0; r < R; ++r) store(sums[r], sum[r]);
}

}  // namespace vivace::VIVACE_ISA
